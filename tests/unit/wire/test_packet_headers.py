"""The two headers of sealed packets, byte for byte."""

import struct

import pytest

from tunnel.wire import packet

GENERAL = "82 03 0201 05040403 0100000000000020"
BULK = "81 00 0000 efbeadde 0700000000000000 0200000000000000 0010000000000000"


def test_a_general_header_is_these_bytes_both_ways():
    data = packet.encode_general_header(3, 0x0102, 0x03040405, (0x20 << 56) + 1)

    assert data == bytes.fromhex(GENERAL)
    fields = packet.decode_general_header(data)
    assert fields == (packet.GENERAL, 3, 0x0102, 0x03040405, (0x20 << 56) + 1)


def test_a_bulk_header_is_these_bytes_both_ways():
    data = packet.encode_bulk_header(0, 0, 0xDEADBEEF, 7, 2, 4096)

    assert data == bytes.fromhex(BULK)
    assert packet.decode_general_header(data) == (packet.BULK, 0, 0, 0xDEADBEEF, 7)
    assert packet.decode_bulk_fields(data) == (2, 4096)


def test_the_link_index_is_read_from_either_header_and_from_nothing_shorter():
    assert packet.link_index_of(bytes.fromhex(GENERAL)) == 0x03040405
    assert packet.link_index_of(memoryview(bytes.fromhex(BULK))) == 0xDEADBEEF
    assert packet.link_index_of(bytes.fromhex(GENERAL)[:-1]) is None
    assert packet.link_index_of(b"") is None


def test_the_first_word_is_the_first_eight_bytes_of_a_header():
    word = packet.first_word(packet.BULK, 5, 0xABCD, 0xDEADBEEF)

    header = packet.encode_bulk_header(5, 0xABCD, 0xDEADBEEF, 0, 0, 0)
    assert struct.pack("<Q", word) == header[:8]


def test_types_keep_apart_from_stun_and_from_the_disco_magic():
    for kind in (packet.BULK, packet.GENERAL):
        assert kind & 0xC0 == 0x80
        assert kind != 0x54


@pytest.mark.parametrize(
    ("size", "tag", "capacity"), [(1400, 32, 1336), (1400, 16, 1352), (57, 16, 8)]
)
def test_bulk_capacity_is_what_fits_in_whole_words(size, tag, capacity):
    assert packet.bulk_capacity(size, tag) == capacity
    assert packet.BULK_HEADER_SIZE + capacity + tag <= size
