# Invariant: repairs are written within what is held, no piece twice, and the same however they are cut.
from collections.abc import Iterator

from fuzzing import Feed

from derphole.speech.transfer_messages import Part
from derphole.transfer.pieces import Claims
from derphole.transfer.repairs import REPAIR_HEADER_SIZE, RepairReader, WrongPiece, repair_header
from tunnel.errors import DecodeError

PIECE = 32
SIZES = (1, 5, 24, 100, 1 << 20)


def claims() -> Claims:
    made = Claims(PIECE)
    for number, held in enumerate((70, 32, 1)):
        made.add(Part(bytes((number,)) * 16, held))
    return made


def outcome(stream: bytes, size: int) -> tuple[dict[tuple[bytes, int], int], str]:
    reader, written, ending = RepairReader(claims()), {}, "goes on"
    try:
        for start in range(0, len(stream), size):
            for write in reader.feed([stream[start : start + size]]):
                for place, byte in enumerate(bytes(write.data), write.offset):
                    assert (write.key, place) not in written
                    written[write.key, place] = byte
            assert len(reader._header) < REPAIR_HEADER_SIZE
    except (DecodeError, WrongPiece) as error:
        ending = repr(error)
    return written, ending


def cost(data: bytes) -> None:
    outcome(data, max(1, len(data)))


def run(data: bytes) -> None:
    feed = Feed(data)
    size, stream = SIZES[feed.uint(1) % len(SIZES)], feed.rest()
    size = max(size, len(stream) // 2000)
    known = claims()
    cut, cut_ending = outcome(stream, size)
    whole, ending = outcome(stream, max(1, len(stream)))
    assert cut_ending == ending
    assert all(0 <= place < known.held(key) for key, place in cut)
    # Of a feed that ends in an error nothing is told, so that a larger one may tell less.
    assert whole.items() <= cut.items()
    assert ending != "goes on" or whole == cut


def seeds() -> Iterator[bytes]:
    piece, short = bytes(range(32)), b"abc"
    yield b"\0" + repair_header(0, piece) + piece + repair_header(2, short) + short
    yield b"\1" + repair_header(3, piece) + piece + repair_header(3, piece) + piece
    yield b"\2" + repair_header(4, b"x") + b"y"
    yield b"\3" + repair_header(1, b"") + repair_header(9, b"")
