"""An authentic packet by a way that it may not come by: dropped, and its number is not used up.

Whoever carries packets can hand one on by another way, ahead of the true one.
"""

import pytest

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.keys import DerpKey, Secret
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import BurstBuffer
from tunnel.proto.link.parameters import Feature, LinkParameters
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.paths.table import NEWCOMERS
from tunnel.units import Instant
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

ROOT = bytes(range(32))
NOW = Instant(1000.0)
RELAY = 0
THEIRS = UdpEndpoint(0, "192.0.2.7", 41000)
NOT_PROBEABLE = UdpEndpoint(0, "224.0.0.1", 41000)
AEAD = AeadId.CHACHA20_POLY1305
PAYLOAD = 1024
COUNT = 8


def ends(features=0):
    """Return an issuer's link, and what the claimer seals with."""
    sealer, _ = packet_keys(ROOT, AEAD, False, 9)
    parameters = LinkParameters(
        is_issuer=True, peer_key=DerpKey(bytes(32)), root=Secret(ROOT), aead=AEAD,
        peer_index=7, features=features, relay=RELAY, peer_grant=24, our_grant=24, is_polite=False,
    )  # fmt: skip
    link = PeerLink(NOW, parameters, {RELAY}, bytes, lambda *_: None)
    link.use_lanes(NOW, {0: False}, allows_loopback=False)
    return link, sealer


def stream_packet(sealer, path, offset=0):
    frame = wire.StreamData(0, offset, b"true", False)
    return memoryview(sealer.seal_general(path, wire.encode_stream(frame))[1])


def burst_of(sealer, path, count=COUNT):
    """Return datagrams of one stream as a lane hands them on."""
    data = bytes(range(256)) * (count * PAYLOAD // 256)
    buffer = BurstBuffer(PAYLOAD, BY_ID[AEAD].tag_size, count)
    sealer.seal_burst(buffer, path, 0, 0, memoryview(data))
    burst = ReceivedBurst()
    burst.view[: len(buffer.data)] = buffer.data
    burst.set(len(buffer.data), buffer.datagram_size)
    return burst, data


def read(link):
    return b"".join(link.read(NOW, 0, 1 << 20)) if link.streams.is_known(0) else b""


def test_a_packet_of_the_relay_s_path_that_comes_by_udp_can_still_come_by_the_relay():
    link, sealer = ends()
    packet = stream_packet(sealer, layout.RELAY_PATH)

    assert not link.handle_packet(NOW, THEIRS, packet)
    assert read(link) == b""
    assert link.last_heard is None

    assert link.handle_packet(NOW, RELAY, packet)
    assert read(link) == b"true"
    assert not link.handle_packet(NOW, RELAY, packet)


def test_a_packet_of_a_direct_path_that_comes_by_the_relay_can_still_come_by_udp():
    link, sealer = ends()
    packet = stream_packet(sealer, 1)

    assert not link.handle_packet(NOW, RELAY, packet)

    assert link.handle_packet(NOW, THEIRS, packet)
    assert read(link) == b"true"


def test_a_burst_of_the_relay_s_path_that_comes_by_udp_can_still_come_by_the_relay():
    link, sealer = ends()
    burst, data = burst_of(sealer, layout.RELAY_PATH)

    link.handle_burst(NOW, THEIRS, burst)
    assert read(link) == b""
    assert link.counters.packets_dropped == COUNT

    for datagram in burst.datagrams():
        assert link.handle_packet(NOW, RELAY, datagram)
    assert read(link) == data


@pytest.mark.parametrize("is_burst", [False, True], ids=["packet", "burst"])
def test_what_comes_first_from_an_address_that_is_refused_can_still_come_from_its_own(is_burst):
    """A stranger on the way may hand on each packet from elsewhere, faster than the network."""
    link, sealer = ends()
    burst, data = burst_of(sealer, 1, COUNT if is_burst else 1)

    for refused in (NOT_PROBEABLE, NOT_PROBEABLE):
        link.handle_burst(NOW, refused, burst)
    assert read(link) == b""
    assert link.last_heard is None, "what may be repeated for ever is no sign of life"

    link.handle_burst(NOW, THEIRS, burst)
    assert read(link) == data


def test_what_comes_first_from_one_address_too_many_can_still_come_from_its_own():
    link, sealer = ends()
    link.handle_packet(NOW, THEIRS, memoryview(sealer.seal_general(1, wire.encode(wire.Ping()))[1]))
    for i in range(int(NEWCOMERS.burst)):
        newcomer = UdpEndpoint(0, f"192.0.{i + 3}.7", 41000)
        ping = sealer.seal_general(1, wire.encode(wire.Ping()))[1]
        link.handle_packet(NOW, newcomer, memoryview(ping))
    packet = stream_packet(sealer, 1)

    assert not link.handle_packet(NOW, UdpEndpoint(0, "192.0.99.7", 41000), packet)

    assert link.handle_packet(NOW, THEIRS, packet)
    assert read(link) == b"true"


def test_where_both_keep_to_the_relay_a_datagram_changes_nothing():
    link, sealer = ends(features=Feature.RELAY_ONLY)
    packet = memoryview(sealer.seal_general(1, wire.encode(wire.Close(16, "done")))[1])

    assert not link.handle_packet(NOW, THEIRS, packet)

    assert not link.is_closed
    assert link.last_heard is None


def test_a_datagram_that_stands_twice_in_one_burst_is_taken_once():
    link, sealer = ends()
    burst, data = burst_of(sealer, 1, 2)
    size = burst.segment_size
    burst.view[2 * size : 4 * size] = bytes(burst.view[: 2 * size])
    burst.set(4 * size, size)

    link.handle_burst(NOW, THEIRS, burst)

    assert read(link) == data
    assert link.counters.packets_received == 2
    assert link.counters.packets_dropped == 2


def test_a_relay_packet_larger_than_any_is_dropped():
    link, sealer = ends()
    most = layout.MAX_RELAY_PACKET - layout.GENERAL_HEADER_SIZE - BY_ID[AEAD].tag_size
    largest = sealer.seal_general(0, wire.encode(wire.Ping()).ljust(most, wire.PADDING))[1]
    larger = sealer.seal_general(0, wire.encode(wire.Ping()).ljust(most + 1, wire.PADDING))[1]

    assert not link.handle_packet(NOW, RELAY, memoryview(larger))
    assert link.handle_packet(NOW, RELAY, memoryview(largest))
