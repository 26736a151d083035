"""ReceivedBurst: datagrams that the kernel handed over together, in one reused buffer.

UDP GRO joins datagrams of one sender into one read; all but the last have the same size.  The
layouts over the buffer, with their pointers, are made once for each size and kept.
"""

from collections.abc import Iterator

from tunnel.crypto.packets import MAX_BURST, BurstBuffer
from tunnel.units import Seconds
from tunnel.wire.packet import BULK_ALIGNMENT, BULK_HEADER_SIZE

# Chosen: sizes of which layouts are kept; a path has one or two.
MAX_LAYOUTS = 16


class ReceivedBurst:
    """A receive buffer, and what the last read put there.

    Args:
        size: of the buffer in bytes, a multiple of 8.
    """

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)
        self.view = memoryview(self.memory)
        self.size = 0
        self.segment_size = 0
        self.waited_s: Seconds = 0.0
        self._layouts: dict[tuple[int, int], BurstBuffer] = {}

    def set(self, size: int, segment_size: int, waited_s: Seconds = 0.0) -> None:
        """Note a read of `size` bytes in datagrams of `segment_size`.

        `waited_s` is how long they had been on this machine before the read.
        """
        self.size, self.segment_size, self.waited_s = size, segment_size, waited_s

    def datagrams(self) -> Iterator[memoryview]:
        """Yield the datagrams, in order; the views are valid until the next read."""
        for start in range(0, self.size, self.segment_size):
            yield self.view[start : min(start + self.segment_size, self.size)]

    def layout(self, tag_size: int) -> BurstBuffer | None:
        """Return the burst layout for this segment size, None where bulk datagrams do not fit."""
        segment = self.segment_size
        payload = segment - BULK_HEADER_SIZE - tag_size
        if payload <= 0 or segment % BULK_ALIGNMENT or payload % BULK_ALIGNMENT:
            return None
        known = self._layouts.get((segment, tag_size))
        if known is None:
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.pop(next(iter(self._layouts)))
            slots = min(MAX_BURST, len(self.memory) // segment)
            known = self._layouts[segment, tag_size] = BurstBuffer(
                payload, tag_size, slots, self.memory
            )
        return known if self.size <= known.slots * segment else None
