"""ReceivedBurst: datagrams of one sender that came together, in one reused buffer.

    one read of many datagrams (UDP GRO)      -->  |datagram|datagram|datagram|last|   free
    many reads of one, each behind the others -->   all but the last have the same size

The layouts over the buffer, with their pointers, are made once for each size and kept.  Nothing in
it is authenticated.
"""

from collections.abc import Iterator

from tunnel.crypto.packets import MAX_BURST, BurstBuffer
from tunnel.units import Seconds
from tunnel.wire.packet import BULK_ALIGNMENT, BULK_HEADER_SIZE

# Fixed by Linux: what one read may bring.
MAX_READ = 65536
# Chosen: sizes of which layouts are kept; a path has one or two.
MAX_LAYOUTS = 16
# Chosen: shorter datagrams are not bulk packets, and somebody waits for them.
LEAST_JOINED = 1000


class ReceivedBurst:
    """A receive buffer, and what the last reads put there."""

    def __init__(self) -> None:
        self.memory = bytearray(2 * MAX_READ)
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

    @property
    def count(self) -> int:
        """How many datagrams there are."""
        return len(range(0, self.size, self.segment_size))

    @property
    def free(self) -> memoryview:
        """Where the next read goes: room for anything that one may bring."""
        return self.view[self.size :]

    @property
    def is_complete(self) -> bool:
        """Whether nothing can be joined any more."""
        segment = self.segment_size
        is_full = self.size + segment > min(MAX_READ, MAX_BURST * segment)
        return is_full or segment < LEAST_JOINED or self.size % segment > 0

    def try_join(self, size: int, segment_size: int) -> bool:
        """Join a read that was put into `free`, if it goes on as the others do."""
        joined, segment = self.size + size, self.segment_size
        if (
            not self.size
            or self.is_complete
            or joined > min(MAX_READ, MAX_BURST * segment)
            or not (segment_size == segment or size == segment_size < segment)
            or self.memory[self.size] != self.memory[0]  # another type of packet
        ):
            return False
        self.size = joined
        return True

    def begin_with_last(self, size: int, segment_size: int) -> None:
        """Begin anew with a read that was put into `free` and could not be joined."""
        if self.size:
            self.view[:size] = self.view[self.size : self.size + size]
        self.size, self.segment_size = size, segment_size

    def datagrams(self) -> Iterator[memoryview]:
        """Yield the datagrams, in order; the views are valid until the next read."""
        for start in range(0, self.size, self.segment_size):
            yield self.view[start : min(start + self.segment_size, self.size)]

    def layout(self, tag_size: int) -> BurstBuffer | None:
        """Return the burst layout for many bulk datagrams of this size, None if that is not so."""
        segment = self.segment_size
        payload = segment - BULK_HEADER_SIZE - tag_size
        if (
            self.size <= segment
            or payload <= 0
            or segment % BULK_ALIGNMENT
            or payload % BULK_ALIGNMENT
        ):
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
