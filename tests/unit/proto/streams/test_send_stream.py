"""The sending half of a stream."""

import pytest

from tunnel.errors import MisuseError
from tunnel.proto.streams.send_stream import SMALL_CHUNK, SendState, SendStream

ENOUGH = 1 << 30


def take_all(stream, size=1 << 20):
    """Return what is sent: (offset, bytes, is_end)."""
    out = []
    while stream.has_something_to_send:
        offset, data, is_end = stream.take(size)
        out.append((offset, bytes(data), is_end))
    return out


def test_bytes_go_out_in_order_and_the_end_with_the_last():
    stream = SendStream(0, ENOUGH)
    stream.write(b"abc")
    stream.write(b"defg")
    stream.end()

    assert take_all(stream, 3) == [(0, b"abc", False), (3, b"def", False), (6, b"g", True)]
    assert (stream.buffered, stream.unsent, stream.sent_size) == (7, 0, 7)


def test_a_stream_opens_with_a_frame_of_its_own_unless_the_other_side_opened_it():
    assert take_all(SendStream(0, ENOUGH)) == [(0, b"", False)]

    answering = SendStream(0, ENOUGH)
    answering.forget_opening()
    assert not answering.has_something_to_send


def test_a_lost_opening_and_a_lost_end_go_out_again():
    stream = SendStream(0, ENOUGH)
    take_all(stream)
    stream.lost(0, 0, False)
    assert take_all(stream) == [(0, b"", False)]

    stream.end()
    assert take_all(stream) == [(0, b"", True)]
    stream.lost(0, 0, True)
    assert take_all(stream) == [(0, b"", True)]
    stream.acked(0, 0, True)
    assert stream.state is SendState.DONE
    stream.lost(0, 0, True)
    assert not stream.has_something_to_send


def test_what_is_lost_goes_out_before_what_is_new():
    stream = SendStream(0, ENOUGH)
    stream.write(b"abcdef")
    stream.take(2)
    stream.take(2)
    stream.lost(0, 2, False)

    assert take_all(stream) == [(0, b"ab", False), (4, b"ef", False)]


def test_only_what_was_not_acked_meanwhile_is_lost():
    stream = SendStream(0, ENOUGH)
    stream.write(b"abcdef")
    take_all(stream)
    stream.acked(2, 4, False)
    stream.lost(0, 6, False)

    assert take_all(stream) == [(0, b"ab", False), (4, b"ef", False)]
    stream.lost(0, 2, False)
    stream.acked(0, 2, False)
    assert not stream.has_something_to_send


def test_bytes_are_released_from_the_front_alone():
    stream = SendStream(0, ENOUGH)
    stream.write(b"x" * 10_000)
    stream.write(b"y" * 100)
    take_all(stream)

    stream.acked(5000, 10_000, False)
    assert stream.buffered == 10_100
    stream.acked(0, 4000, False)
    assert stream.buffered == 6100
    stream.lost(4000, 10_100, False)
    assert take_all(stream) == [(4000, b"x" * 1000, False), (10_000, b"y" * 100, False)]
    stream.acked(4000, 10_050, False)
    assert stream.buffered == 50
    stream.write(b"z")
    stream.lost(10_050, 10_100, False)
    assert take_all(stream) == [(10_050, b"y" * 50, False), (10_100, b"z", False)]


def test_credit_holds_new_bytes_back_but_not_lost_ones():
    stream = SendStream(0, 4)
    stream.write(b"abcdef")
    assert take_all(stream) == [(0, b"abcd", False)]
    assert not stream.has_something_to_send
    assert stream.unsent == 2

    stream.lost(1, 3, False)
    assert take_all(stream) == [(1, b"bc", False)]
    assert not stream.raise_limit(4, 0)
    assert not stream.raise_limit(3, 0)
    assert stream.raise_limit(5, 0)
    assert take_all(stream) == [(4, b"e", False)]


def test_the_end_waits_for_credit_and_for_lost_bytes():
    stream = SendStream(0, 4)
    stream.write(b"abcdef")
    stream.end()
    assert take_all(stream) == [(0, b"abcd", False)]
    stream.lost(0, 4, False)
    stream.raise_limit(6, 0)

    assert take_all(stream) == [(0, b"abcd", False), (4, b"ef", True)]


def test_small_writes_become_one_packet_and_large_ones_are_not_copied():
    stream = SendStream(0, ENOUGH)
    for i in range(1000):
        stream.write(bytes([i % 256]))
    large = bytearray(SMALL_CHUNK * 4)
    stream.write(b"")
    stream.write(large)

    offset, data, _ = stream.take(1000)
    assert (offset, bytes(data)) == (0, bytes(i % 256 for i in range(1000)))
    _, data, _ = stream.take(len(large))
    assert isinstance(data, memoryview)
    assert data.obj is large


def test_a_piece_over_several_chunks_is_joined():
    stream = SendStream(0, ENOUGH)
    stream.write(b"a" * 5000)
    stream.write(b"b" * 5000)
    stream.take(4000)

    _, data, _ = stream.take(2000)

    assert bytes(data) == b"a" * 1000 + b"b" * 1000


def test_a_reset_forgets_everything():
    stream = SendStream(0, ENOUGH)
    stream.write(b"x" * 5000)
    stream.take(1000)
    stream.reset()

    assert stream.state is SendState.RESET
    assert not stream.has_something_to_send
    assert stream.buffered == 0
    assert stream.sent_size == 1000
    stream.lost(0, 1000, False)
    stream.acked(0, 1000, False)
    stream.end()
    assert not stream.has_something_to_send
    assert stream.state is SendState.RESET


def test_a_finished_stream_cannot_be_reset_and_an_ended_one_not_written():
    stream = SendStream(0, ENOUGH)
    stream.write(b"x")
    stream.end()
    with pytest.raises(MisuseError, match="ended"):
        stream.write(b"y")
    take_all(stream)
    stream.acked(0, 1, True)

    stream.reset()

    assert stream.state is SendState.DONE


def test_every_byte_must_be_acked_and_the_end_too():
    stream = SendStream(0, ENOUGH)
    stream.write(b"abc")
    stream.end()
    take_all(stream)

    stream.acked(0, 2, False)
    stream.acked(3, 3, True)
    assert stream.state is SendState.ENDED
    stream.acked(2, 3, False)
    assert stream.state is SendState.DONE
