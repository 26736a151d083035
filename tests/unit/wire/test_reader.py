"""The reader: every bound is checked before a byte is touched."""

import pytest

from tunnel.errors import DecodeError, Truncated
from tunnel.wire.reader import Reader


def test_values_come_in_order_and_in_the_named_byte_order():
    reader = Reader(bytes.fromhex("01 0200 00000003 aabb cc"))

    assert reader.uint(1) == 1
    assert reader.uint(2) == 2
    assert reader.uint_be(4) == 3
    assert reader.bytes(2) == b"\xaa\xbb"
    assert reader.remaining == 1
    assert bytes(reader.rest()) == b"\xcc"
    reader.finish()


def test_a_view_shares_memory_and_bytes_are_a_copy():
    data = bytearray(b"abcd")
    reader = Reader(data)
    view, copy = reader.view(2), reader.bytes(2)

    data[:] = b"wxyz"

    assert bytes(view) == b"wx"
    assert copy == b"cd"


@pytest.mark.parametrize("size", [3, 1 << 40, -1])
def test_more_than_is_there_is_refused_and_takes_nothing(size):
    reader = Reader(b"ab")

    with pytest.raises(Truncated):
        reader.view(size)

    assert reader.remaining == 2


def test_bytes_that_nobody_asked_for_are_an_error():
    reader = Reader(b"ab")
    reader.uint(1)

    with pytest.raises(DecodeError, match="1 bytes too many"):
        reader.finish()
