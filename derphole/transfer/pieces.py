"""Pieces: what the receiver claims to hold of begun entries, and what became of each stretch of it.

    receiver                                       sender
    Claims (its partial files)   HAVE_PARTS -->    Claims
    reads its partial files      PIECES     -->    Comparison: reads the source, compares
                                 <-- repair        what differs

Both read what is held once, beside the running transfer.  A digest says what stands in the partial
file now: whatever was lost, torn or changed there is seen, and so is a source that is another.  It
is XXH3-128: the receiver could only deceive itself, the sender could as well send wrong bytes, and
a cryptographic digest would cost a slow machine more than the network does.  Pure.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from xxhash import xxh3_128

from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import PIECE_DIGEST_SIZE, Part
from tunnel.units import MIB, Buffer, ByteCount

# Fixed by the protocol.
PIECE_SIZE: ByteCount = 4 * MIB
MAX_PIECES = 1 << 20  # claimed in all: 4 TiB
MAX_PARTS = 1 << 16


def piece_digest(data: Buffer) -> bytes:
    """Return the XXH3-128 of a piece, big-endian."""
    return xxh3_128(data).digest()


class Claims:
    """What is claimed: parts in the order in which they were told, their pieces numbered through.

    Args:
        piece_size: in bytes; every piece but the last of a part has it.
    """

    def __init__(self, piece_size: ByteCount = PIECE_SIZE) -> None:
        self.parts: list[Part] = []
        self._piece_size = piece_size
        self._ends: list[int] = []  # one past the number of each part's last piece
        self._index_by_key: dict[bytes, int] = {}

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return self._ends[-1] if self._ends else 0

    def add(self, part: Part) -> None:
        """Add a part; raises `ValueError` for one without bytes, a repeated one, and too many."""
        count = self.count + -(-part.held // self._piece_size)
        if not part.held or part.key in self._index_by_key:
            raise ValueError("a part is empty or told twice")
        if len(self.parts) >= MAX_PARTS or count > MAX_PIECES:
            raise ValueError("more is held than may be told")
        self._index_by_key[part.key] = len(self.parts)
        self.parts.append(part)
        self._ends.append(count)

    def add_what_fits(self, parts: Iterable[Part]) -> None:
        """Add what can be claimed of these; the rest comes again."""
        for part in parts:
            room = (MAX_PIECES - self.count) * self._piece_size
            held = min(part.held, room)
            if held and len(self.parts) < MAX_PARTS:
                self.add(Part(part.key, held))

    def held(self, key: bytes) -> ByteCount:
        """Return how much of an entry is claimed."""
        index = self._index_by_key.get(key)
        return 0 if index is None else self.parts[index].held

    def numbers(self, key: bytes) -> range:
        """Return the numbers of an entry's pieces."""
        index = self._index_by_key.get(key)
        return range(0) if index is None else range(self._begin(index), self._ends[index])

    def piece(self, number: int) -> Piece:
        """Return a piece; raises `IndexError` where there is none."""
        if not 0 <= number < self.count:
            raise IndexError(f"there is no piece {number}")
        index = bisect_right(self._ends, number)
        part = self.parts[index]
        offset = (number - self._begin(index)) * self._piece_size
        return Piece(number, part.key, offset, min(self._piece_size, part.held - offset))

    def __iter__(self) -> Iterator[Piece]:
        return map(self.piece, range(self.count))

    def _begin(self, index: int) -> int:
        return self._ends[index - 1] if index else 0


class Comparison:
    """The sender's account of claimed pieces: each is compared, and sent again if it differs, once.

    One piece is under way at a time, so that little is held however much is claimed.

    Args:
        claims: what is claimed.

    Attributes:
        under_way: the piece that is compared, or sent again, now.
        repaired_count: pieces that were sent again.
    """

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.repaired_count = 0
        self._digests = bytearray()
        self._next_by_key: dict[bytes, int] = {}  # of entries that the source has
        self._ready: deque[bytes] = deque()  # those of them with a piece that can be compared
        self.under_way: Piece | None = None
        self._is_closed = False

    @property
    def heard_count(self) -> int:
        """How many digests are here."""
        return len(self._digests) // PIECE_DIGEST_SIZE

    @property
    def is_complete(self) -> bool:
        """Whether nothing claimed is left to be compared or sent again."""
        has_heard_all = self.heard_count == self.claims.count
        return self._is_closed and has_heard_all and not self._ready and self.under_way is None

    def hear(self, digests: Sequence[bytes]) -> None:
        """Take the next digests; raises `ValueError` for too many."""
        begin = self.heard_count
        end = begin + len(digests)
        if end > self.claims.count:
            raise ValueError("more pieces were told of than are held")
        self._digests += b"".join(digests)
        while begin < end:
            key = self.claims.piece(begin).key
            numbers = self.claims.numbers(key)
            if self._next_by_key.get(key) == begin and not self._is_under_way(key):
                self._ready.append(key)
            begin = numbers.stop

    def meet(self, key: bytes) -> None:
        """Take that the source has an entry of which something is claimed."""
        numbers = self.claims.numbers(key)
        if key in self._next_by_key or self._is_closed or not numbers:
            return
        self._next_by_key[key] = numbers.start
        if numbers.start < self.heard_count:
            self._ready.append(key)

    def close(self) -> None:
        """Take that the source has no more entries: what was not met need not be compared."""
        self._is_closed = True

    def next_piece(self) -> Piece | None:
        """Return the next piece to compare; None while one is under way, or none can be."""
        if self.under_way is not None or not self._ready:
            return None
        key = self._ready[0]
        number = self._next_by_key[key]
        self._next_by_key[key] = number + 1
        self.under_way = self.claims.piece(number)
        return self.under_way

    def is_equal(self, digest: bytes | None) -> bool:
        """Tell whether the piece under way is what the receiver has; if so it is done with.

        Args:
            digest: of the source's piece; None where it could not be read.
        """
        piece = self.under_way
        assert piece is not None
        start = piece.number * PIECE_DIGEST_SIZE
        is_equal = digest == bytes(self._digests[start : start + PIECE_DIGEST_SIZE])
        if is_equal:
            self._finish(piece)
        return is_equal

    def repair(self) -> Piece:
        """Take that the piece under way is sent again; returns it."""
        piece = self.under_way
        assert piece is not None
        self.repaired_count += 1
        self._finish(piece)
        return piece

    def _is_under_way(self, key: bytes) -> bool:
        return bool(self._ready) and self._ready[0] == key

    def _finish(self, piece: Piece) -> None:
        self.under_way = None
        number = piece.number + 1
        if number not in self.claims.numbers(piece.key) or number >= self.heard_count:
            self._ready.popleft()
