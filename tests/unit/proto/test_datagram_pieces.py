"""Datagrams of a link: what is packed together or cut, what is dropped, what is put together."""

import random

import pytest

from tunnel.errors import DecodeError, MisuseError, ProtocolViolation
from tunnel.proto.datagrams.incoming import (
    MAX_PARTIAL,
    DatagramArrived,
    IncomingDatagrams,
)
from tunnel.proto.datagrams.outgoing import (
    BYTES_OF_EACH,
    MAX_AGE_S,
    MAX_LEAD,
    MAX_WAIT_S,
    MAX_WAITING_BYTES,
    OutgoingDatagrams,
)
from tunnel.units import Instant
from tunnel.wire.frames import (
    DATAGRAM_HEADER_SIZE,
    MAX_DATAGRAM,
    MIN_PIECE,
    Datagram,
    decode_frames,
    encode,
)

NOW = Instant(5.0)
ROOM = 1152
LARGEST_WHOLE = ROOM - DATAGRAM_HEADER_SIZE


def packets_of(out, now=NOW, room=ROOM):
    """Return everything that waits, packet by packet, as frames."""
    packets = []
    while out.has_turn(now, do_streams_wait=False):
        packed = bytearray()
        out.pack(packed, room)
        assert 0 < len(packed) <= room
        packets.append(decode_frames(packed))
    return packets


def filled(*sizes):
    out = OutgoingDatagrams()
    for number, size in enumerate(sizes):
        out.send(NOW, 2 * number, bytes([number]) * size)
    return out


def taken(frames, now=NOW):
    incoming = IncomingDatagrams()
    return [arrived for frame in frames if (arrived := incoming.take(now, frame))], incoming


# -- on the way out ---------------------------------------------------------------------------


def test_small_ones_share_a_packet_in_their_order():
    (frames,) = packets_of(filled(200, 0, 300))

    assert [(frame.flow, frame.number, frame.whole) for frame in frames] == [
        (0, 0, 200), (2, 1, 0), (4, 2, 300),
    ]  # fmt: skip


def test_one_that_fits_a_packet_of_its_own_is_never_cut():
    first, second = packets_of(filled(700, LARGEST_WHOLE))

    assert [len(frame.data) for frame in first] == [700]
    assert [len(frame.data) for frame in second] == [LARGEST_WHOLE]


@pytest.mark.parametrize("size", [LARGEST_WHOLE + 1, 1252, 1452, 9000, MAX_DATAGRAM])
def test_a_larger_one_is_cut_into_pieces_that_fill_their_packets(size):
    packets = packets_of(filled(size, 20))
    pieces = [frame for frames in packets for frame in frames if frame.flow == 0]

    assert all(len(frame.data) == LARGEST_WHOLE for frame in pieces[:-1])
    assert [frame.offset for frame in pieces] == list(range(0, size, LARGEST_WHOLE))
    assert len(packets) == -(-size // LARGEST_WHOLE)  # the next one shares the last packet
    assert packets[-1][-1].flow == 2


def test_no_piece_but_the_last_is_smaller_than_allowed():
    packets = packets_of(filled(LARGEST_WHOLE - 400, 5000))

    assert [len(frame.data) for frame in packets[0]] == [LARGEST_WHOLE - 400]
    assert len(packets[1][0].data) == LARGEST_WHOLE >= MIN_PIECE


def test_more_than_udp_carries_is_refused():
    with pytest.raises(MisuseError):
        OutgoingDatagrams().send(NOW, 0, bytes(MAX_DATAGRAM + 1))


def test_what_waited_too_long_is_dropped_the_oldest_first():
    out = OutgoingDatagrams()
    out.send(NOW, 0, b"old")
    out.send(Instant(NOW + MAX_WAIT_S / 2), 0, b"newer")

    (frames,) = packets_of(out, Instant(NOW + MAX_WAIT_S * 1.01))

    assert [frame.data for frame in frames] == [b"newer"]
    assert (out.sent, out.dropped) == (1, 1)


def test_one_that_was_begun_is_finished_as_long_as_the_other_side_waits_for_it():
    for waited_s, is_finished in ((MAX_AGE_S * 0.99, True), (MAX_AGE_S * 1.01, False)):
        out = filled(3000)
        out.pack(bytearray(), ROOM)

        packets_of(out, Instant(NOW + waited_s))

        assert (out.sent, out.dropped) == ((1, 0) if is_finished else (0, 1))


@pytest.mark.parametrize("size", [0, 1, 1400, MAX_DATAGRAM])
def test_what_waits_is_bounded_in_bytes_however_small_each_is(size):
    out = OutgoingDatagrams()
    most = MAX_WAITING_BYTES // (size + BYTES_OF_EACH)
    for number in range(most + 10):
        out.send(NOW, number, bytes(size))

    assert out.dropped == 10
    assert packets_of(out, room=60_000)[0][0].flow == 10


def test_a_flood_leaves_streams_their_share():
    out = filled(*[1000] * 200)
    sent = 0
    while out.has_turn(NOW, do_streams_wait=True):
        packed = bytearray()
        out.pack(packed, ROOM)
        sent += len(packed)
    assert MAX_LEAD <= sent < MAX_LEAD + ROOM

    out.stream_sent(1000)  # of four bytes one is theirs
    again = 0
    while out.has_turn(NOW, do_streams_wait=True):
        packed = bytearray()
        out.pack(packed, ROOM)
        again += len(packed)
    assert 3000 - ROOM <= again < 3000 + 2 * ROOM
    assert out.has_turn(NOW, do_streams_wait=False)


def test_the_end_of_a_link_drops_what_waits():
    out = filled(10, 20)
    out.clear()

    assert not out.are_waiting
    assert out.dropped == 2


# -- on the way in ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1200, 1472, 9000, MAX_DATAGRAM])
@pytest.mark.parametrize("seed", range(5))
def test_pieces_in_any_order_make_the_datagram(size, seed):
    chance = random.Random(seed)
    data = chance.randbytes(size)
    out = OutgoingDatagrams()
    out.send(NOW, 6, data)
    frames = [frame for packet in packets_of(out) for frame in packet]
    chance.shuffle(frames)

    arrived, incoming = taken(frames)

    assert arrived == [DatagramArrived(6, data)]
    assert (incoming.received, incoming.incomplete) == (1, 0)


def test_one_whose_piece_is_lost_never_arrives_and_makes_room():
    frames = [
        frame for packet in packets_of(filled(*[3000] * (MAX_PARTIAL + 5))) for frame in packet
    ]
    cut = [frame for frame in frames if frame.offset]

    arrived, incoming = taken(cut)

    assert arrived == []
    assert incoming.incomplete == 5
    later = IncomingDatagrams()
    later.take(NOW, cut[0])
    later.take(Instant(NOW + MAX_AGE_S * 1.01), cut[-1])
    assert later.incomplete == 1
    later.clear()
    assert later.incomplete == 2


CONTRADICTIONS = [
    [Datagram(2, 1, 0, 2000, bytes(1000)), Datagram(4, 1, 1000, 2000, bytes(1000))],
    [Datagram(2, 1, 0, 2000, bytes(1000)), Datagram(2, 1, 1000, 2001, bytes(1001))],
    [Datagram(2, 1, 0, 2000, bytes(1000)), Datagram(2, 1, 0, 2000, bytes(1000))],
    [Datagram(2, 1, 0, 2000, bytes(1000)), Datagram(2, 1, 999, 2000, bytes(1001))],
    [Datagram(2, 1, 600, 2000, bytes(1400)), Datagram(2, 1, 0, 2000, bytes(601))],
    [Datagram(2, 1, 0, 2000, bytes(1000)), Datagram(2, 1, 0, 4, bytes(4))],
]


@pytest.mark.parametrize("frames", CONTRADICTIONS)
def test_pieces_that_contradict_each_other_end_the_link(frames):
    with pytest.raises(ProtocolViolation):
        taken(frames)


IMPOSSIBLE = [
    Datagram(2, 1, 0, 2000, bytes(MIN_PIECE - 1)),  # a piece that is too small
    Datagram(2, 1, 0, 2000, b""),
    Datagram(2, 1, 2000, 2000, b""),
    Datagram(2, 1, 1500, 2000, bytes(501)),  # beyond its end
    Datagram(2, 1, 1, 0, b""),
    Datagram(2, 1, 65000, MAX_DATAGRAM + 1, bytes(508)),
]


@pytest.mark.parametrize("frame", IMPOSSIBLE)
def test_sizes_that_no_datagram_has_are_refused(frame):
    with pytest.raises(DecodeError):
        decode_frames(encode(frame))
