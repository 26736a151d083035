"""The two headers of sealed packets, and the arithmetic of their sizes.

Every header is sent in the clear and is associated data of the seal, whole.  Little-endian.

    general   0  1  type 0x82             bulk   0  1  type 0x81
              1  1  key phase                    1  1  key phase
              2  2  path                         2  2  path
              4  4  link index                   4  4  link index
              8  8  number                       8  8  number
             16     sealed frames               16  8  stream
                                                24  8  offset
                                                32     sealed stream bytes, a multiple of 8

The top bit of the type keeps packets apart from STUN (top bits 00) and the disco magic (0x54).
`path` is the sender's own path id, `link index` the receiver's index of the link.  A header is
four (two) 64-bit words, so that a burst of headers is a strided store into one buffer.
Layout: docs/protocol.md, section "Packets".
"""

import struct

# Fixed by the protocol.
BULK = 0x81
GENERAL = 0x82
GENERAL_HEADER_SIZE = 16
BULK_HEADER_SIZE = 32
BULK_ALIGNMENT = 8
RELAY_PATH = 0
MAX_NUMBER = (1 << 62) - 1
MAX_RELAY_PACKET = 60 << 10  # with the header and the tag: a relay frame carries at most this

_GENERAL = struct.Struct("<BBHIQ")
_BULK = struct.Struct("<BBHIQQQ")


def first_word(packet_type: int, phase: int, path: int, link_index: int) -> int:
    """Return the first 64-bit word of a header, as it is stored."""
    return packet_type | phase << 8 | path << 16 | link_index << 32


def encode_general_header(phase: int, path: int, link_index: int, number: int) -> bytes:
    """Return the 16 header bytes of a general packet."""
    return _GENERAL.pack(GENERAL, phase, path, link_index, number)


def encode_bulk_header(
    phase: int, path: int, link_index: int, number: int, stream: int, offset: int
) -> bytes:
    """Return the 32 header bytes of a bulk packet."""
    return _BULK.pack(BULK, phase, path, link_index, number, stream, offset)


def store_bulk_header(
    memory: bytearray, start: int,
    phase: int, path: int, link_index: int, number: int, stream: int, offset: int,
) -> None:  # fmt: skip
    """Write the 32 header bytes of a bulk packet to `memory`, from byte `start` on."""
    _BULK.pack_into(memory, start, BULK, phase, path, link_index, number, stream, offset)


def decode_general_header(data: memoryview | bytes) -> tuple[int, int, int, int, int]:
    """Return (type, phase, path, link index, number) of at least 16 bytes; types may be bulk."""
    return _GENERAL.unpack_from(data)


def link_index_of(data: memoryview | bytes) -> int | None:
    """Return the link index of a packet, None if it is too short for one; nothing is checked."""
    return _GENERAL.unpack_from(data)[3] if len(data) >= GENERAL_HEADER_SIZE else None


def decode_bulk_fields(data: memoryview | bytes) -> tuple[int, int]:
    """Return (stream, offset) of at least 32 bytes of a bulk packet."""
    return struct.unpack_from("<QQ", data, GENERAL_HEADER_SIZE)


def general_capacity(packet_size: int, tag_size: int) -> int:
    """Return how many bytes of frames a general packet of `packet_size` bytes carries."""
    return packet_size - GENERAL_HEADER_SIZE - tag_size


def bulk_capacity(packet_size: int, tag_size: int) -> int:
    """Return how many stream bytes a bulk packet of at most `packet_size` bytes carries."""
    return (packet_size - BULK_HEADER_SIZE - tag_size) // BULK_ALIGNMENT * BULK_ALIGNMENT
