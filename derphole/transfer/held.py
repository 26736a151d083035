"""Held: what a receiver told its sender that it holds, in memory that does not grow with objects.

Keys come from outside, a million of them: as Python objects in a set they would take 100 MB.  Here
they stand in one table of bytes, at places that the process's own hash gives, so that nobody can
choose keys which collide.  Pure.
"""

from collections.abc import Callable, Sequence

from xxhash import xxh3_128

from derphole.speech.transfer_messages import KEY_SIZE, Checked, Part
from derphole.transfer.pieces import PIECE_SIZE, Claims
from tunnel.units import ByteCount

# Fixed by the protocol: finished entries that may be told; 16 MiB of keys, 32 MiB of memory.
MAX_HELD_ENTRIES = 1 << 20

_FIRST_SLOTS = 1 << 6
_EMPTY = bytes(KEY_SIZE)


class KeySet:
    """A set of 16-byte keys; the key of zeros is never in it."""

    def __init__(self) -> None:
        self._slots = _FIRST_SLOTS  # a power of 2; at most half of them are taken
        self._table = bytearray(_FIRST_SLOTS * KEY_SIZE)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: bytes) -> bool:
        return key != _EMPTY and self._find(key)[1]

    def add(self, key: bytes) -> None:
        """Add a key."""
        place, is_there = self._find(key)
        if is_there or key == _EMPTY:
            return
        self._table[place : place + KEY_SIZE] = key
        self._count += 1
        if 2 * self._count > self._slots:
            self._grow()

    def _find(self, key: bytes) -> tuple[int, bool]:
        """Return where a key is or belongs, and whether it is there."""
        slot = hash(key) & (self._slots - 1)
        while True:
            place = slot * KEY_SIZE
            found = self._table[place : place + KEY_SIZE]
            if found == key:
                return place, True
            if found == _EMPTY:
                return place, False
            slot = (slot + 1) & (self._slots - 1)

    def _grow(self) -> None:
        old, self._slots = self._table, 2 * self._slots
        self._table = bytearray(self._slots * KEY_SIZE)
        for start in range(0, len(old), KEY_SIZE):
            key = bytes(old[start : start + KEY_SIZE])
            if key != _EMPTY:
                place, _ = self._find(key)
                self._table[place : place + KEY_SIZE] = key


class Held:
    """What the receiver says it holds.

    Args:
        piece_size: of claimed pieces.
    """

    def __init__(self, piece_size: ByteCount = PIECE_SIZE) -> None:
        self.claims = Claims(piece_size)
        self.finished = KeySet()
        self._to_check = KeySet()
        self._checked = KeySet()  # keys and digests together
        self._told = 0

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is held."""
        return not self.claims.parts and not self._told

    @property
    def finished_count(self) -> int:
        """How many entries are said to be finished."""
        return len(self.finished) + len(self._to_check)

    def has(self, key: bytes, digest: Callable[[], bytes | None]) -> bool:
        """Tell whether an entry is finished there.

        Args:
            key: of the entry.
            digest: reads its content here, None where it cannot; called only if that is compared.
        """
        if key not in self._to_check:
            return key in self.finished
        found = digest()
        return found is not None and _together(key, found) in self._checked

    def add_parts(self, parts: Sequence[Part]) -> None:
        """Take begun entries; raises `ValueError` for too many, and for any that is told twice."""
        for part in parts:
            self.claims.add(part)

    def add_entries(self, keys: Sequence[bytes]) -> None:
        """Take finished entries; raises `ValueError` for too many."""
        self._count(len(keys))
        for key in keys:
            self.finished.add(key)

    def add_checked(self, files: Sequence[Checked]) -> None:
        """Take finished files that are to be compared; raises `ValueError` for too many."""
        self._count(len(files))
        for file in files:
            self._to_check.add(file.key)
            self._checked.add(_together(file.key, file.digest))

    def _count(self, told: int) -> None:
        self._told += told
        if self._told > MAX_HELD_ENTRIES:
            raise ValueError("more is held than may be told")


def _together(key: bytes, digest: bytes) -> bytes:
    return xxh3_128(key + digest).digest()
