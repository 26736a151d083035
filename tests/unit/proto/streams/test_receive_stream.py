"""The receiving half of a stream."""

import pytest

from tunnel.errors import ProtocolViolation
from tunnel.proto.streams.receive_stream import MERGED_SIZE, ReceiveState, ReceiveStream

ENOUGH = 1 << 30


def read(stream, size=1 << 30):
    return b"".join(stream.read(size))


def test_segments_in_any_order_read_in_one():
    stream = ReceiveStream(0, ENOUGH)
    for offset, data in [(3, b"def"), (9, b"jk"), (0, b"abc"), (6, b"ghi")]:
        assert stream.receive(offset, data, False)

    assert stream.readable == 11
    assert stream.highest == 11
    assert read(stream, 4) == b"abcd"
    assert read(stream) == b"efghijk"
    assert stream.read_offset == 11


def test_overlaps_are_stored_once():
    stream = ReceiveStream(0, ENOUGH)
    stream.receive(0, b"abcd", False)
    stream.receive(2, b"cdef", False)
    stream.receive(1, b"bcd", False)
    stream.receive(8, b"ij", False)
    stream.receive(12, b"mn", False)
    stream.receive(7, b"hijklmno", False)
    stream.receive(9, b"jk", False)
    stream.receive(4, b"efgh", False)

    assert read(stream) == b"abcdefghijklmno"


def test_the_end_is_read_after_the_last_byte():
    stream = ReceiveStream(0, ENOUGH)
    stream.receive(3, b"def", True)
    assert stream.state is ReceiveState.ENDED
    stream.receive(0, b"abc", False)
    assert not stream.is_at_end

    assert read(stream, 6) == b"abcdef"
    assert stream.is_at_end


def test_an_empty_stream_is_at_its_end_at_once():
    stream = ReceiveStream(0, ENOUGH)
    stream.receive(0, b"", True)

    assert stream.is_at_end
    assert stream.receive(0, b"late", False)
    assert stream.readable == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, b"abcd", True), (4, b"x", False)),
        ((0, b"abcd", True), (0, b"ab", True)),
        ((2, b"cd", True), (0, b"abcdef", True)),
        ((4, b"ef", False), (0, b"abc", True)),
        ((0, b"abc", False), (90, b"x" * 11, False)),
    ],
)
def test_bytes_beyond_the_end_or_the_credit_are_a_violation(first, second):
    stream = ReceiveStream(0, 100)
    stream.receive(*first)

    with pytest.raises(ProtocolViolation):
        stream.receive(*second)


def test_a_reset_drops_what_was_not_read_and_stays():
    stream = ReceiveStream(0, 100)
    stream.receive(0, b"abc", False)
    stream.receive_reset(50, 7)

    assert stream.state is ReceiveState.RESET
    assert (stream.reset_code, stream.readable) == (7, 0)
    assert stream.receive(3, b"late", True)
    assert stream.state is ReceiveState.RESET
    with pytest.raises(ProtocolViolation):
        ReceiveStream(0, 100).receive_reset(101, 7)


def test_a_reset_after_the_end_was_read_says_nothing():
    stream = ReceiveStream(0, 100)
    stream.receive(0, b"abc", True)
    read(stream)

    stream.receive_reset(3, 7)

    assert stream.is_at_end
    assert stream.reset_code is None


def test_a_stopped_stream_counts_and_drops():
    stream = ReceiveStream(0, 100)
    stream.receive(0, b"abc", False)
    stream.receive(10, b"klm", False)
    stream.stop()
    assert stream.read_offset == 13

    assert stream.receive(3, b"defghij", False)
    assert stream.receive(13, b"nop", False)
    assert stream.readable == 0
    assert stream.read_offset == 16
    with pytest.raises(ProtocolViolation):
        stream.receive(16, bytes(100), False)
    stream.receive(16, b"", True)
    assert stream.is_at_end


def test_a_large_segment_is_not_copied_and_small_ones_are_joined():
    stream = ReceiveStream(0, ENOUGH)
    large = bytearray(10_000)
    stream.receive(0, memoryview(large), False)
    for i in range(1000):
        stream.receive(10_000 + i, b"x", False)

    chunks = stream.read(ENOUGH)

    assert len(chunks) == 2
    assert chunks[0].obj is large
    assert bytes(chunks[1]) == b"x" * 1000


def test_joined_buffers_stop_growing_at_their_size():
    stream = ReceiveStream(0, ENOUGH)
    for i in range(100):
        stream.receive(1000 * i, bytes(1000), False)

    assert max(map(len, stream.read(ENOUGH))) <= MERGED_SIZE


def test_a_read_takes_part_of_a_chunk():
    stream = ReceiveStream(0, ENOUGH)
    stream.receive(0, bytes(range(200)) * 50, False)

    assert read(stream, 100) == bytes(range(100))
    assert read(stream, 0) == b""
    assert read(stream, 100) == bytes(range(100, 200))
    assert stream.readable == 9800
