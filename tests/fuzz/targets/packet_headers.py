# Invariant: the headers of 32 bytes encode to those bytes again, whole and word by word.
from collections.abc import Iterator

from tunnel.wire import packet as wire


def run(data: bytes) -> None:
    header = data[:32].ljust(32, b"\0")
    kind, phase, path, index, number = wire.decode_general_header(header)
    stream, offset = wire.decode_bulk_fields(header)
    word = wire.first_word(kind, phase, path, index)
    assert word.to_bytes(8, "little") + number.to_bytes(8, "little") == header[:16]
    again = wire.encode_bulk_header(phase, path, index, number, stream, offset)
    assert again[1:] == header[1:]
    assert wire.encode_general_header(phase, path, index, number)[1:] == header[1:16]
    capacity = wire.bulk_capacity(max(64, len(data)), data[0] % 33 if data else 16)
    assert capacity % wire.BULK_ALIGNMENT == 0


def seeds() -> Iterator[bytes]:
    yield wire.encode_bulk_header(1, 2, 3, 4, 5, 6)
    yield wire.encode_general_header(0, 0, 0xFFFFFFFF, wire.MAX_NUMBER)
