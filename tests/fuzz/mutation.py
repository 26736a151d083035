"""Mutations of byte strings for the driver that needs no library; all choices are the caller's."""

import random

INTERESTING = (0, 1, 7, 8, 16, 32, 63, 64, 127, 128, 255, 256, 1024, 4096, 16384, 32767, 32768,
               65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 62) - 1,
               1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
MAX_STEPS = 6
GROWTH = 12  # at most that many doublings of one piece


class Mutator:
    """Makes new inputs out of known ones.

    Args:
        rng: every choice comes from here.
        words: byte strings that mean something to the target.
        limit: the longest input made.
    """

    def __init__(self, rng: random.Random, words: tuple[bytes, ...], limit: int) -> None:
        self._rng = rng
        self._words = words
        self._limit = limit
        self._steps = [self._flip, self._set, self._insert, self._remove, self._number, self._copy,
                       self._grow, self._cut]  # fmt: skip
        if words:
            self._steps += [self._word, self._word]

    def mutate(self, data: bytes, other: bytes) -> bytes:
        """Return a changed `data`, perhaps with a piece of `other` in it."""
        made = bytearray(data)
        if self._rng.random() < 0.15:
            made = self._splice(made, other)
        for _ in range(self._rng.randint(1, MAX_STEPS)):
            self._rng.choice(self._steps)(made)
        return bytes(made[: self._limit])

    def _place(self, data: bytearray) -> int:
        return self._rng.randrange(len(data) + 1)

    def _piece(self, data: bytearray) -> slice:
        start = self._place(data)
        return slice(start, start + self._rng.choice((1, 2, 4, 8, 20, 64, 1024)))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)

    def _insert(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._rng.randbytes(self._rng.choice((1, 2, 4, 8, 32)))

    def _remove(self, data: bytearray) -> None:
        del data[self._piece(data)]

    def _number(self, data: bytearray) -> None:
        size = self._rng.choice((1, 2, 4, 8))
        value = self._rng.choice(INTERESTING) + self._rng.randint(-1, 1)
        order = self._rng.choice(("little", "big"))
        place = self._place(data)
        data[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, order)

    def _copy(self, data: bytearray) -> None:
        piece, place = bytes(data[self._piece(data)]), self._place(data)
        end = place + len(piece) if self._rng.random() < 0.5 else place
        data[place:end] = piece

    def _grow(self, data: bytearray) -> None:
        piece, place = bytes(data[self._piece(data)]), self._place(data)
        if piece and self._rng.random() < 0.2:
            data[place:place] = piece * min(
                1 << self._rng.randrange(GROWTH), self._limit // len(piece)
            )

    def _cut(self, data: bytearray) -> None:
        if self._rng.random() < 0.3:
            del data[self._place(data) :]

    def _word(self, data: bytearray) -> None:
        place = self._place(data)
        word = self._rng.choice(self._words)
        end = place + len(word) if self._rng.random() < 0.5 else place
        data[place:end] = word

    def _splice(self, data: bytearray, other: bytes) -> bytearray:
        cut = self._rng.randrange(len(other) + 1)
        return data[: self._place(data)] + other[cut:]
