"""A cursor over untrusted bytes: the one place that slices lengths which came from outside.

Every read checks its bound first and raises `Truncated`; integers are little-endian unless the
name says otherwise (DERP, STUN and the port mappers are big-endian).
"""

from struct import Struct
from typing import Any

from tunnel.errors import DecodeError, Truncated
from tunnel.units import Buffer

# Chosen: long runs pass quickly, and many short ones copy little.
_ZEROS_AT_ONCE = 256


class Reader:
    """Reads fixed-size values from the front of a buffer.

    Args:
        data: the bytes to read; views handed out share its memory.
    """

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)
        self._position = 0
        self._end = len(self._data)

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self._end - self._position

    def view(self, size: int) -> memoryview:
        """Take the next `size` bytes without a copy; raises `Truncated`."""
        start = self._position
        if size < 0 or size > self._end - start:
            raise Truncated(f"{size} bytes wanted, {self._end - start} left")
        self._position = start + size
        return self._data[start : start + size]

    def bytes(self, size: int) -> bytes:
        """Take a copy of the next `size` bytes; raises `Truncated`."""
        return bytes(self.view(size))

    def rest(self) -> memoryview:
        """Take everything that is left."""
        return self.view(self.remaining)

    def skip_zeros(self) -> None:
        """Pass over the zero bytes at the front, if there are any."""
        while self._position < self._end:
            piece = self._data[self._position : self._position + _ZEROS_AT_ONCE].tobytes()
            zeros = len(piece) - len(piece.lstrip(b"\0"))
            self._position += zeros
            if zeros < len(piece):
                return

    def fields(self, layout: Struct) -> tuple[Any, ...]:
        """Take the values of a fixed layout; raises `Truncated`."""
        start = self._position
        if layout.size > self._end - start:
            raise Truncated(f"{layout.size} bytes wanted, {self._end - start} left")
        self._position = start + layout.size
        return layout.unpack_from(self._data, start)

    def uint(self, size: int) -> int:
        """Take a little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.view(size), "little")

    def uint_be(self, size: int) -> int:
        """Take a big-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.view(size), "big")

    def finish(self) -> None:
        """Check that nothing is left; raises `DecodeError`."""
        if self.remaining:
            raise DecodeError(f"{self.remaining} bytes too many")
