"""The sending half of a stream: bytes wait here until the other side has stored them.

    written --next--> sent --acked--> released
                       |
                       +--lost--> sent again, under new packet numbers

Offsets number the bytes of a stream from 0.  What is lost goes out before what is new.  How much
may wait is the link's part of what the process has for all streams; a floor is every stream's own,
so that a peer which acknowledges nothing stops only itself.  This module knows no packets, paths or
time.
"""

from collections import deque
from enum import Enum

from tunnel.errors import MisuseError, ProtocolViolation
from tunnel.proto.budget import Account, Budget
from tunnel.proto.ranges import RangeSet
from tunnel.proto.streams.receive_stream import MAX_GAPS, MAX_GAPS_OF_LINK
from tunnel.units import Buffer

# Chosen: joined when they wait together, so that a thousand one-byte writes are one packet.
SMALL_CHUNK = 4 << 10
# Chosen: what waits for acknowledgement in all streams of a single link, half as much again
# in all of a process; in one stream, which is more than a relay or a fast path has in flight; and
# what each stream may have in any case, as much as it may send before any credit.
HELD_OF_LINK = 16 << 20
MOST_HELD = 8 << 20
HELD_FLOOR = 16 << 10


class SendState(Enum):
    """What is true of a sending half."""

    OPEN = "open"  # more may be written
    ENDED = "ended"  # no more will be written; what waits is still sent
    DONE = "done"  # every byte and the end are acknowledged
    RESET = "reset"  # given up; the other side gets no clean end


class SendStream:
    """One direction of a stream, seen from its writer.

    Args:
        stream: the stream's id.
        credit: the offset up to which the other side takes bytes at first.
        held: counts what waits in all streams of the link; an account of its own by default.
        gaps: the same for the holes in what is acknowledged.
    """

    def __init__(
        self,
        stream: int,
        credit: int,
        held: Account | None = None,
        gaps: Account | None = None,
    ) -> None:
        self.stream = stream
        self.state = SendState.OPEN
        self.limit = credit
        self.recalls = 0  # how often credit was recalled and returned
        self.size = 0  # bytes written so far
        self.stop_code: int | None = None  # the other side wants no more
        self.awaited_room: int | None = None  # the writer waits until no more than this is unsent
        self._chunks: deque[Buffer] = deque()
        self._held = held or Account(Budget(HELD_OF_LINK))
        self._own = 0  # bytes in memory: what waits, and what is released of the first chunk
        self._base = 0  # offset of the first byte kept
        self._stored_at_reset: int | None = None
        self._next = 0  # lowest offset never sent
        self._lost = RangeSet()
        self._acked = RangeSet()
        self._gaps = gaps or Account(Budget(MAX_GAPS_OF_LINK))
        self._gap_count = 0
        self._opening_is_due = True
        self._end_is_due = False
        self._end_is_acked = False

    @property
    def buffered(self) -> int:
        """Bytes written and not yet released."""
        return self.size - self._base

    @property
    def stored(self) -> int:
        """Bytes from the first one on that the other side has stored, as far as is known."""
        return self._base if self._stored_at_reset is None else self._stored_at_reset

    @property
    def room(self) -> int:
        """How many bytes may be written now; 0 or less until more is released."""
        beyond = max(0, self._own - HELD_FLOOR)
        fair = max(0, (self._held.room - beyond) // 2)  # what it leaves to the link's others
        return min(MOST_HELD - self._own, max(0, HELD_FLOOR - self._own) + fair)

    @property
    def has_much_room(self) -> bool:
        """Whether what waits is at most half of what may wait."""
        return self.room >= self._own

    @property
    def unsent(self) -> int:
        """Bytes that wait for their first sending; credit may hold them back."""
        return self.size - self._next

    def is_held_back(self) -> bool:
        """Tell whether all that the other side takes was sent, and more waits."""
        return self._next >= self.limit and self.size > self.limit

    def has_awaited_room(self) -> bool:
        """Tell, once, that the writer may go on."""
        if self.awaited_room is None or self.unsent > self.awaited_room:
            return False
        self.awaited_room = None
        return True

    @property
    def sent_size(self) -> int:
        """One past the highest byte ever sent."""
        return self._next

    def forget_opening(self) -> None:
        """Send no opening frame: the other side opened this stream."""
        self._opening_is_due = False

    def write(self, data: Buffer) -> None:
        """Append `data`; the stream keeps the buffer, so it must not change any more."""
        if self.state is not SendState.OPEN:
            raise MisuseError(f"write on a stream that is {self.state.value}")
        if not len(data):
            return
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) + len(data) <= SMALL_CHUNK:
            last += data
        elif len(data) <= SMALL_CHUNK // 2:
            grown = bytearray(data)
            self._chunks.append(grown)
        else:
            self._chunks.append(data if isinstance(data, memoryview) else memoryview(data))
        self.size += len(data)
        self._keep(len(data))

    def end(self) -> None:
        """Say that no more will be written."""
        if self.state is SendState.OPEN:
            self.state = SendState.ENDED
            self._end_is_due = True

    def reset(self) -> None:
        """Give the stream up: forget what waits."""
        if self.state is not SendState.DONE:
            self._stored_at_reset = self.stored
            self.state = SendState.RESET
            self.forget_chunks()
            self._base = self.size
            self._lost = RangeSet()

    def forget_chunks(self) -> None:
        """Let go of what waits; it still counts as not acknowledged."""
        self._acked = RangeSet()
        self._count_gaps()
        self._keep(-self._own)
        self._chunks.clear()

    def raise_limit(self, limit: int, recalls: int) -> bool:
        """Take credit given after so many recalls; tells whether it is news.

        Raises `ProtocolViolation`.
        """
        if recalls > self.recalls:
            raise ProtocolViolation("credit that follows a recall never made")
        is_news = recalls == self.recalls and limit > self.limit
        if is_news:
            self.limit = limit
        return is_news

    def return_limit(self, limit: int, recalls: int) -> bool:
        """Give back credit above `limit` and above what was sent; False if it was done before.

        Raises `ProtocolViolation`.
        """
        if recalls > self.recalls + 1:
            raise ProtocolViolation("a recall of credit that skips one")
        if recalls <= self.recalls:
            return False
        self.recalls = recalls
        self.limit = max(limit, self._next)
        return True

    @property
    def has_something_to_send(self) -> bool:
        """Whether bytes, the opening or the end may go out now."""
        if self.state in (SendState.DONE, SendState.RESET):
            return False
        can_send_new = self._next < min(self.size, self.limit)
        return bool(self._lost) or can_send_new or self._opening_is_due or self._end_is_due_now

    @property
    def _end_is_due_now(self) -> bool:
        return self._end_is_due and self._next == self.size and not self._lost

    def sendable(self) -> tuple[int, int]:
        """Return (offset, size) of the next range to send; the size may be 0."""
        if self._lost:
            start, stop = self._lost.first
            return start, stop - start
        return self._next, max(0, min(self.size, self.limit) - self._next)

    def take(self, size: int) -> tuple[int, Buffer, bool]:
        """Take up to `size` bytes of the next range; returns (offset, data, whether it ends)."""
        offset, available = self.sendable()
        size = min(size, available)
        stop = offset + size
        if self._lost:
            self._lost.remove(offset, stop)
        else:
            self._next = stop
        self._opening_is_due = False
        is_end = self.state is SendState.ENDED and stop == self.size and not self._lost
        if is_end:
            self._end_is_due = False
        return offset, self._slice(offset, size), is_end

    def acked(self, start: int, stop: int, is_end: bool) -> None:
        """Note that [start, stop) is stored at the other side, and its end if `is_end`."""
        if self.state is SendState.RESET:
            return
        before = len(self._acked)
        self._acked.add(start, stop)
        if len(self._acked) > before and start > self._base and not self._may_have_a_gap:
            # No receiver that keeps the rules has so many runs behind holes.  It is sent again with
            # the hole before it, so that what is lost has no more parts than what is not.
            self._acked.remove(start, stop)
            self._lost.add(max(self._base, self._acked.stop_before(start)), stop)
        else:
            self._lost.remove(start, stop)
        self._count_gaps()
        self._end_is_acked = self._end_is_acked or is_end
        if self._acked and self._acked.first[0] <= self._base:
            self._release(self._acked.first[1])
        if self.state is SendState.ENDED and self._end_is_acked and self._base == self.size:
            self.state = SendState.DONE

    def lost(self, start: int, stop: int, is_end: bool) -> None:
        """Note that a packet with [start, stop) did not arrive."""
        if self.state is SendState.RESET:
            return
        for gap in self._acked.missing(max(start, self._base), stop):
            self._lost.add(*gap)
        if is_end and not self._end_is_acked:
            self._end_is_due = True
        elif start == stop:
            self._opening_is_due = True

    def _release(self, offset: int) -> None:
        while self._chunks and self._base + len(self._chunks[0]) <= offset:
            self._base += len(self._chunks.popleft())
            self._keep(self.buffered - self._own)
        if self._base < offset and self._chunks:
            # Part of a chunk is still needed: keep a view of the rest.  A bytearray may be growing
            # at its end, so it is cut instead.
            first, size = self._chunks[0], offset - self._base
            if isinstance(first, bytearray):
                del first[:size]
                self._keep(-size)
            else:
                self._chunks[0] = first[size:]
            self._base = offset

    @property
    def _may_have_a_gap(self) -> bool:
        return self._gap_count < MAX_GAPS and self._gaps.room > 0

    def _count_gaps(self) -> None:
        count = max(0, len(self._acked) - 1)
        if count != self._gap_count:
            self._gaps.take(count - self._gap_count)
            self._gap_count = count

    def _keep(self, change: int) -> None:
        """Note that so much more is in memory, or less; what the floor covers is nobody's else."""
        before = max(self._own, HELD_FLOOR)
        self._own += change
        self._held.take(max(self._own, HELD_FLOOR) - before)

    def _slice(self, offset: int, size: int) -> Buffer:
        """Return the bytes [offset, offset+size), without a copy where one chunk holds them."""
        position = self._base
        parts: list[Buffer] = []
        for chunk in self._chunks:
            stop = position + len(chunk)
            if stop > offset:
                start = max(0, offset - position)
                part = chunk[start : start + size]
                parts.append(part)
                size -= len(part)
                offset += len(part)
                if not size:
                    break
            position = stop
        if len(parts) == 1:
            return parts[0]
        return b"".join(parts)
