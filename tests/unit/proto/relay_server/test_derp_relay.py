"""The relay's routing and queues, frame by frame, on a clock moved by hand."""

import json

import pytest

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.errors import AuthenticationFailed, DecodeError, PeerError, ProtocolViolation
from tunnel.proto.relay_server.derp_relay import (
    DISCO_MAGIC,
    MAX_HEARD_KEYS,
    MAX_LOGIN,
    Relay,
    RoutingLimits,
)
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, GoneReason

SERVER = KeyPair.from_secret(b"\x22" * 32)
ALICE = KeyPair.from_secret(b"\x11" * 32)
BOB = KeyPair.from_secret(b"\x44" * 32)
CLIENT_JSON = b'{"version":2,"CanAckPings":true}'
NONCE = b"\x33" * 24
# Known answers of derp.py's own construction, made with another program.
CLIENT_INFO = bytes.fromhex(
    "02000000687b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
    + "33" * 24
    + "0cac76b82cb75df3a51a9d802720c3384d3eb8fccc9a8433ce902111b5d68524"
    "935652b1a16fbfc21be3b4a3ed66992a"
)
DISCO = DISCO_MAGIC + bytes(56)


class Party:
    """One connection to a relay, seen from its client."""

    def __init__(self, relay, now=0.0):
        self.relay = relay
        self.client = relay.open(now)

    def send(self, frame_type, *payload, now=0.0):
        self.relay.handle_frame(now, self.client, frame_type, memoryview(b"".join(payload)))

    def log_in(self, keys, text=CLIENT_JSON):
        sealed = box.seal(keys, SERVER.public, NONCE, text)
        self.send(FrameType.CLIENT_INFO, keys.public, NONCE, sealed)
        self.received()
        return self

    def send_packet(self, to, packet, now=0.0):
        self.send(FrameType.SEND_PACKET, to.public, packet, now=now)

    def received(self):
        """Everything that waits for this connection, as (type, payload)."""
        splitter = derp.FrameSplitter()
        frames = []
        while chunk := self.relay.output_to_send(self.client):
            splitter.feed(b"".join(chunk))
            frames += [(kind, bytes(payload)) for kind, payload in splitter.frames()]
        return frames

    def packets(self):
        return [payload[32:] for kind, payload in self.received() if kind == FrameType.RECV_PACKET]

    def gone(self):
        return [
            derp.decode_peer_gone(payload)
            for kind, payload in self.received()
            if kind == FrameType.PEER_GONE
        ]


def make_relay(**limits):
    return Relay(SERVER, RoutingLimits(**limits), entropy=bytes)


def pair_on(relay):
    return Party(relay).log_in(ALICE), Party(relay).log_in(BOB)


def test_the_greeting_is_the_server_key():
    party = Party(make_relay())

    assert party.received() == [
        (FrameType.SERVER_KEY, bytes.fromhex("44455250f09f9491") + SERVER.public)
    ]


def test_the_known_login_is_accepted_and_answered():
    relay = make_relay()
    party = Party(relay)
    party.received()

    party.send(CLIENT_INFO[0], CLIENT_INFO[5:])

    ((kind, payload),) = party.received()
    info = derp.decode_server_info(payload)
    assert kind == FrameType.SERVER_INFO
    assert json.loads(box.open_box(ALICE, SERVER.public, info.nonce, info.sealed)) == {"version": 2}
    assert relay.client_count == 1


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)])
def test_keys_of_low_order_are_refused(key):
    party = Party(make_relay())

    with pytest.raises(AuthenticationFailed):
        party.send(FrameType.CLIENT_INFO, key, NONCE, bytes(48))


def test_a_box_of_another_key_is_refused():
    sealed = box.seal(BOB, SERVER.public, NONCE, CLIENT_JSON)
    party = Party(make_relay())

    with pytest.raises(AuthenticationFailed):
        party.send(FrameType.CLIENT_INFO, ALICE.public, NONCE, sealed)


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 8000, b"9" * 5000, b'{"version":"2"}'])
def test_a_login_without_the_right_json_is_refused(text):
    with pytest.raises(DecodeError):
        Party(make_relay()).log_in(ALICE, text)


def test_a_login_has_a_bound():
    with pytest.raises(ProtocolViolation, match="a login of 8193 bytes"):
        Party(make_relay()).send(FrameType.CLIENT_INFO, bytes(MAX_LOGIN + 1))


@pytest.mark.parametrize("kind", [FrameType.SEND_PACKET, FrameType.PING, 0x77])
def test_nothing_but_a_login_is_taken_first(kind):
    with pytest.raises(ProtocolViolation):
        Party(make_relay()).send(kind, bytes(64))


def test_a_full_relay_takes_nobody_until_somebody_leaves():
    relay = make_relay(max_clients=1)
    alice = Party(relay).log_in(ALICE)

    assert relay.is_full
    with pytest.raises(ProtocolViolation):
        Party(relay).log_in(BOB)

    relay.close(alice.client)
    Party(relay).log_in(BOB)
    assert relay.client_count == 1


def test_a_packet_arrives_with_its_source():
    alice, bob = pair_on(make_relay())

    alice.send_packet(BOB, b"hello")

    assert bob.received() == [(FrameType.RECV_PACKET, ALICE.public + b"hello")]
    assert alice.received() == []


def test_packets_of_the_largest_size_pass_and_larger_ones_end_the_connection():
    alice, bob = pair_on(make_relay())

    alice.send_packet(BOB, bytes(65536))

    assert [len(packet) for packet in bob.packets()] == [65536]
    with pytest.raises(ProtocolViolation):
        alice.send_packet(BOB, bytes(65537))


def test_a_full_queue_drops_the_oldest():
    relay = make_relay()
    alice, bob = pair_on(relay)

    for number in range(40):
        alice.send_packet(BOB, bytes((number,)))

    assert bob.packets() == [bytes((number,)) for number in range(8, 40)]
    assert relay.counters.dropped_full == 8


def test_disco_has_its_own_queue_and_is_not_displaced():
    alice, bob = pair_on(make_relay())

    alice.send_packet(BOB, DISCO)
    for _ in range(40):
        alice.send_packet(BOB, b"bulk")

    assert bob.packets() == [DISCO] + [b"bulk"] * 32


def test_a_short_packet_with_the_disco_magic_is_ordinary():
    alice, bob = pair_on(make_relay(queue_packets=1))

    alice.send_packet(BOB, DISCO[:-1])
    alice.send_packet(BOB, b"newer")

    assert bob.packets() == [b"newer"]


def test_a_queue_is_bounded_in_bytes_too():
    alice, bob = pair_on(make_relay(queue_bytes=3000))

    for number in range(4):
        alice.send_packet(BOB, bytes((number,)) * 900)

    assert [packet[0] for packet in bob.packets()] == [1, 2, 3]


def test_slow_readers_cost_a_client_with_an_empty_queue_nothing():
    relay = make_relay()
    alice, bob = pair_on(relay)
    flooder = Party(relay).log_in(KeyPair.from_secret(b"\x55" * 32))
    readers = [KeyPair.from_secret((number << 8).to_bytes(32, "big")) for number in range(1, 141)]
    for reader in readers:
        Party(relay).log_in(reader)

    for _ in range(36):
        for reader in readers:
            flooder.send_packet(reader, bytes(61440))
            alice.send_packet(BOB, b"a packet of our links".ljust(61440))
            assert len(bob.packets()) == 1


def test_control_goes_before_data():
    alice, bob = pair_on(make_relay())
    alice.send_packet(BOB, b"data")
    bob.send(FrameType.PING, b"12345678")

    assert [kind for kind, _ in bob.received()] == [FrameType.PONG, FrameType.RECV_PACKET]


def test_a_ping_is_answered_with_its_first_eight_bytes_and_a_second_waits_for_no_slot():
    alice = Party(make_relay()).log_in(ALICE)

    alice.send(FrameType.PING, b"12345678 and more")
    alice.send(FrameType.PING, b"87654321")
    assert alice.received() == [(FrameType.PONG, b"12345678")]

    alice.send(FrameType.PING, b"87654321")
    assert alice.received() == [(FrameType.PONG, b"87654321")]


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (FrameType.PING, 7),
        (FrameType.PING, 1001),
        (FrameType.NOTE_PREFERRED, 0),
        (FrameType.NOTE_PREFERRED, 2),
        (FrameType.SEND_PACKET, 31),
        (FrameType.WATCH_CONNS, 0),
        (FrameType.CLOSE_PEER, 32),
        (FrameType.FORWARD_PACKET, 64),
    ],
)
def test_frames_that_end_the_connection(kind, size):
    alice = Party(make_relay()).log_in(ALICE)

    with pytest.raises(ProtocolViolation):
        alice.send(kind, bytes(size))


@pytest.mark.parametrize(
    ("kind", "size"),
    [(FrameType.NOTE_PREFERRED, 1), (FrameType.PONG, 8), (0x0C, 0), (0xFF, 5000), (0x02, 3)],
)
def test_frames_that_are_skipped(kind, size):
    alice = Party(make_relay()).log_in(ALICE)

    alice.send(kind, bytes(size))

    assert alice.received() == []


def test_an_absent_key_is_reported_for_disco_only_three_times_then_once_a_second():
    relay = make_relay()
    alice = Party(relay).log_in(ALICE)
    absent = derp.PeerGone(BOB.public, GoneReason.NOT_HERE)

    alice.send_packet(BOB, b"ordinary")
    assert alice.received() == []

    for _ in range(5):
        alice.send_packet(BOB, DISCO)
    assert alice.gone() == [absent] * 3

    alice.send_packet(BOB, DISCO, now=0.9)
    assert alice.gone() == []
    alice.send_packet(BOB, DISCO, now=1.1)
    assert alice.gone() == [absent]
    assert relay.counters.dropped_absent == 8


def test_those_who_received_from_a_key_hear_once_that_it_left():
    relay = make_relay()
    alice, bob = pair_on(relay)
    stranger = Party(relay).log_in(KeyPair.from_secret(b"\x55" * 32))
    alice.send_packet(BOB, b"one")
    alice.send_packet(BOB, b"two")
    bob.received()

    relay.close(alice.client)
    assert bob.gone() == [derp.PeerGone(ALICE.public, GoneReason.DISCONNECTED)]
    assert stranger.gone() == []

    again = Party(relay).log_in(ALICE)
    again.send_packet(BOB, b"three")
    relay.close(again.client)
    assert bob.gone() == []


def test_nobody_hears_of_a_departure_while_a_second_connection_of_the_key_stays():
    relay = make_relay()
    alice, bob = pair_on(relay)
    second = Party(relay).log_in(ALICE)
    alice.send_packet(BOB, b"one")
    bob.received()

    relay.close(alice.client)
    assert bob.gone() == []
    relay.close(second.client)
    assert len(bob.gone()) == 1


def test_what_a_connection_remembers_of_sources_is_bounded():
    relay = make_relay(max_clients=5000)
    bob = Party(relay).log_in(BOB)
    first = None
    for number in range(MAX_HEARD_KEYS + 1):
        sender = Party(relay).log_in(KeyPair.from_secret((number << 8).to_bytes(32, "big")))
        sender.send_packet(BOB, b"x")
        first = first or sender

    assert len(bob.client.heard_keys) == MAX_HEARD_KEYS
    bob.received()
    relay.close(first.client)
    assert bob.gone() == []
    relay.close(sender.client)
    assert len(bob.gone()) == 1


def test_the_newest_connection_of_a_key_gets_its_packets():
    relay = make_relay()
    alice, old = pair_on(relay)
    new = Party(relay).log_in(BOB)

    alice.send_packet(BOB, b"x")

    assert (old.packets(), new.packets()) == ([], [b"x"])


def test_the_last_writer_of_several_connections_becomes_the_active_one():
    relay = make_relay()
    alice, old = pair_on(relay)
    new = Party(relay).log_in(BOB)

    old.send(FrameType.NOTE_PREFERRED, b"\x01")
    alice.send_packet(BOB, b"x")

    assert (old.packets(), new.packets()) == ([b"x"], [])


def test_when_the_active_connection_leaves_the_other_takes_over():
    relay = make_relay()
    alice, old = pair_on(relay)
    new = Party(relay).log_in(BOB)

    relay.close(new.client)
    alice.send_packet(BOB, b"x")

    assert old.packets() == [b"x"]


def test_a_packet_to_oneself_comes_back():
    alice = Party(make_relay()).log_in(ALICE)

    alice.send_packet(ALICE, b"x")

    assert alice.packets() == [b"x"]


def test_a_keep_alive_is_due_after_a_minute_and_again():
    relay = Relay(SERVER, RoutingLimits(), entropy=lambda size: b"\xff" * size)
    alice = Party(relay).log_in(ALICE)
    due = relay.next_timeout(alice.client)

    assert 60.0 <= due <= 65.0
    relay.handle_timeout(due - 0.1, alice.client)
    assert alice.received() == []
    relay.handle_timeout(due, alice.client)
    assert alice.received() == [(FrameType.KEEP_ALIVE, b"")]
    assert relay.next_timeout(alice.client) == 2 * due


def test_nothing_is_due_before_the_login():
    relay = make_relay()

    assert relay.next_timeout(relay.open(0.0)) is None


def test_reading_is_delayed_above_the_rate_and_nothing_is_dropped():
    relay = make_relay(rate=1_000_000)
    alice, bob = pair_on(relay)

    assert relay.handle_read(0.0, alice.client, 1_000_000) == 0.0
    assert relay.handle_read(0.0, alice.client, 500_000) == 0.5
    assert relay.handle_read(0.0, bob.client, 500_000) == 0.0


def test_a_tiny_rate_still_lets_a_largest_frame_through_at_once():
    relay = make_relay(rate=1000)

    assert relay.handle_read(0.0, relay.open(0.0), derp.HEADER_SIZE + derp.MAX_SEND_PAYLOAD) == 0.0


def test_without_a_rate_reading_is_never_delayed():
    relay = make_relay()

    assert relay.handle_read(3.0, relay.open(0.0), 1 << 30) == 3.0


def test_a_client_is_named_once_when_it_gets_output_and_again_after_it_slept():
    relay = make_relay()
    alice, bob = pair_on(relay)
    relay.take_woken()

    alice.send_packet(BOB, b"1")
    alice.send_packet(BOB, b"2")
    assert relay.take_woken() == [bob.client]
    alice.send_packet(BOB, b"3")
    assert relay.take_woken() == []

    bob.received()
    alice.send_packet(BOB, b"4")
    assert relay.take_woken() == [bob.client]


def test_closing_twice_or_before_the_login_is_harmless():
    relay = make_relay()
    party = Party(relay)

    relay.close(party.client)
    relay.close(party.client)

    assert relay.client_count == 0


def test_a_broken_login_never_raises_anything_but_a_peer_error():
    for size in range(0, 130, 7):
        with pytest.raises(PeerError):
            Party(make_relay()).send(FrameType.CLIENT_INFO, b"\x09" * size)
