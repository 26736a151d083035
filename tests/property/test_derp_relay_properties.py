"""The relay machine against any frames, and its queues against a naive model."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.errors import PeerError
from tunnel.proto.derp_outbox import PacketQueue, QueueBudget
from tunnel.proto.derp_relay import DISCO_MAGIC, Relay, RoutingLimits
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
    budget = QueueBudget(limit=90)
    queue = PacketQueue(5, 100, budget)
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

    assert budget.used == sum(map(len, model))
    assert [queue.pop() for _ in range(len(queue))] == model
