"""Repairs: pieces that are sent again, on a stream of their own behind the data stream.

    repair header   piece u32 LE | size u32 LE | XXH3-128 of the bytes 16     then the bytes

In any order, each piece at most once.  A piece that the source has no longer whole is shorter; what
is held of the rest is then as good as what can be had.  Pure.  Source: docs/protocol.md, section
"Conversations".
"""

from collections.abc import Sequence

from xxhash import xxh3_128

from derphole.speech.transfer_decisions import Piece, WritePiece
from derphole.speech.transfer_messages import PIECE_DIGEST_SIZE
from derphole.transfer.pieces import Claims, piece_digest
from tunnel.errors import DecodeError
from tunnel.units import Buffer
from tunnel.wire.reader import Reader

# Fixed by the protocol.
REPAIR_HEADER_SIZE = 8 + PIECE_DIGEST_SIZE


class WrongPiece(Exception):
    """The bytes of a piece are not those that its header announced."""


def repair_header(piece: int, data: Buffer) -> bytes:
    """Return what goes before the bytes of a piece."""
    numbers = piece.to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return numbers + piece_digest(data)


class RepairReader:
    """Cuts the repair stream into pieces; holds no more than a header.

    Args:
        claims: the pieces that may come.

    Attributes:
        repaired_count: pieces that have come whole.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._came = bytearray(claims.count)  # for each piece whether it came
        self.repaired_count = 0
        self._header = bytearray()
        self._piece: Piece | None = None
        self._size = self._position = 0  # of the piece under way
        self._wanted = b""
        self._digest = xxh3_128()

    def feed(self, chunks: Sequence[Buffer]) -> list[WritePiece]:
        """Take the next bytes; returns where to write what.

        Raises `DecodeError` for a piece that may not come, `WrongPiece`.
        """
        writes: list[WritePiece] = []
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[self._take(view, writes) :]
        return writes

    def finish(self) -> None:
        """Take the clean end of the stream; raises `DecodeError` in the middle of a piece."""
        if self._piece is not None or self._header:
            raise DecodeError("the repairs end within a piece")

    def _take(self, view: memoryview, writes: list[WritePiece]) -> int:
        """Take some bytes, at least one; returns how many."""
        piece = self._piece
        if piece is None:
            taken = view[: REPAIR_HEADER_SIZE - len(self._header)]
            self._header += taken
            if len(self._header) == REPAIR_HEADER_SIZE:
                self._begin()
            return len(taken)
        taken = view[: self._size - self._position]
        self._digest.update(taken)
        writes.append(WritePiece(piece.key, piece.offset + self._position, taken))
        self._position += len(taken)
        self._check_end()
        return len(taken)

    def _begin(self) -> None:
        reader = Reader(bytes(self._header))
        self._header.clear()
        number, self._size = reader.uint(4), reader.uint(4)
        self._wanted = reader.bytes(PIECE_DIGEST_SIZE)
        if number >= self._claims.count or self._came[number]:
            raise DecodeError(f"piece {number} is repaired, and is not held or was repaired before")
        piece = self._claims.piece(number)
        if self._size > piece.size:
            raise DecodeError(f"piece {number} is larger than what is held")
        self._came[number] = 1
        self._piece, self._position = piece, 0
        self._digest = xxh3_128()
        self._check_end()

    def _check_end(self) -> None:
        if self._position < self._size:
            return
        self._piece = None
        if self._digest.digest() != self._wanted:
            raise WrongPiece
        self.repaired_count += 1
