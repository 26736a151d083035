"""The relay machine against any frames, and its queues against a naive model."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.errors import PeerError
from tunnel.proto.relay_server.derp_outbox import Outbox, PacketQueue, QueueBudget
from tunnel.proto.relay_server.derp_relay import DISCO_MAGIC, Relay, RoutingLimits
from tunnel.wire import derp
from tunnel.wire.derp import FrameType

SERVER = KeyPair.from_secret(b"\x22" * 32)
KEYS = [KeyPair.from_secret(bytes((number,)) * 32) for number in (8, 24, 40)]
PUBLIC = [keys.public for keys in KEYS]

FRAMES = st.tuples(st.integers(0, 255), st.binary(max_size=120))
PACKETS = st.tuples(
    st.just(int(FrameType.SEND_PACKET)),
    st.builds(
        lambda key, magic, body: key + magic + body,
        st.sampled_from([*PUBLIC, bytes(32)]),
        st.sampled_from([b"", DISCO_MAGIC + bytes(56)]),
        st.binary(max_size=50),
    ),
)


def log_in(relay, keys):
    client = relay.open(0.0)
    sealed = box.seal(keys, SERVER.public, bytes(24), b"{}")
    payload = memoryview(keys.public + bytes(24) + sealed)
    relay.handle_frame(0.0, client, FrameType.CLIENT_INFO, payload)
    return client


@given(FRAMES)
def test_any_first_frame_is_a_login_or_a_peer_error(frame):
    relay = Relay(SERVER, RoutingLimits(), bytes)
    client = relay.open(0.0)
    with suppress(PeerError):
        relay.handle_frame(0.0, client, frame[0], memoryview(frame[1]))
    assert relay.client_count == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(FRAMES, PACKETS)), max_size=60))
def test_any_frames_of_clients_leave_a_consistent_relay(steps):
    relay = Relay(SERVER, RoutingLimits(queue_packets=4), bytes)
    clients = [log_in(relay, keys) for keys in KEYS]
    is_open = [True] * len(clients)

    for time, (number, (kind, payload)) in enumerate(steps):
        if not is_open[number]:
            continue
        try:
            relay.handle_frame(float(time), clients[number], kind, memoryview(payload))
        except PeerError:
            relay.close(clients[number])
            is_open[number] = False

    assert relay.client_count == sum(is_open)
    woken = set(map(id, relay.take_woken()))
    for number, client in enumerate(clients):
        frames = relay.output_to_send(client)
        if frames and is_open[number]:
            assert id(client) in woken
        for frame in frames:
            assert len(frame) == derp.HEADER_SIZE + int.from_bytes(frame[1:5], "big")
            if frame[0] == FrameType.RECV_PACKET:
                assert frame[5:37] in PUBLIC
        relay.close(client)
    assert relay.client_count == 0


@given(st.lists(st.one_of(st.none(), st.integers(0, 40)), max_size=80))
def test_a_queue_keeps_the_newest_frames_that_fit(steps):
    queue = PacketQueue(5, 90)
    model = []

    for number, size in enumerate(steps):
        if size is None:
            if model:
                assert queue.pop() == model.pop(0)
            continue
        frame = bytes((number,)) * size
        before = len(model)
        while model and (len(model) >= 5 or sum(map(len, model)) + size > 90):
            model.pop(0)
        model.append(frame)
        assert queue.push(frame) == before + 1 - len(model)

    assert queue.size == sum(map(len, model))
    assert [queue.pop() for _ in range(len(queue))] == model


LIMIT, FLOOR, OUTBOXES, LARGEST = 2000, 200, 4, 150
SIZES = st.one_of(st.none(), st.integers(1, LARGEST))


@given(
    st.lists(st.tuples(st.integers(0, OUTBOXES - 1), SIZES, st.booleans()), max_size=200),
    st.integers(1, 1000),
)
def test_outboxes_within_their_floor_lose_nothing_to_others(steps, output_bytes):
    budget = QueueBudget(LIMIT, FLOOR)
    boxes = [Outbox(32, LIMIT, budget) for _ in range(OUTBOXES)]
    lost, written = 0, [0] * OUTBOXES

    for number, size, looks_like_disco in steps:
        before = [outbox.queued for outbox in boxes]
        if size is None:
            written[number] = sum(map(len, boxes[number].take(output_bytes)))
        else:
            lost = boxes[number].push_packet(bytes(size), looks_like_disco=looks_like_disco)
            before[number] += size
        after = [outbox.queued for outbox in boxes]
        assert budget.used == sum(after) + sum(written)
        # Others give way down to the floor only, the fullest ones first.
        for other in range(OUTBOXES):
            if other != number and after[other] < before[other]:
                assert size is not None
                assert lost
                assert after[other] > FLOOR - LARGEST
                assert before[other] > FLOOR
                assert after[other] >= max(after) - 2 * LARGEST
        assert budget.used <= LIMIT + sum(written) + OUTBOXES * FLOOR

    for outbox in boxes:
        outbox.clear()
    assert budget.used == 0
