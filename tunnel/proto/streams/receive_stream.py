"""The receiving half of a stream: bytes arrive in any order and are read in one.

Memory is bounded by the credit that was given and by the number of gaps; small segments are
merged, so that a million one-byte packets cost a few large buffers and not a million objects.
This module knows no packets, paths or time.
"""

from bisect import bisect_right
from collections import deque
from enum import Enum

from tunnel.errors import ProtocolViolation
from tunnel.proto.budget import Account, Budget
from tunnel.units import Buffer

# Fixed by the protocol: a segment that would make one more gap is not stored and not acked.
MAX_GAPS = 1024
# Chosen: a gap costs up to 1 KiB of bookkeeping; all streams of a single link get 16 MiB of
# it together, all links of a process half as much again.
MAX_GAPS_OF_LINK = 16 * MAX_GAPS
# Chosen: segments up to this size are copied together.
SMALL_SEGMENT = 4 << 10
MERGED_SIZE = 64 << 10


class ReceiveState(Enum):
    """What is true of a receiving half."""

    OPEN = "open"  # more may come
    ENDED = "ended"  # the final size is known; not all of it was read
    DONE = "done"  # everything up to the end was read
    RESET = "reset"  # the other side gave up


class _Run:
    """Stored bytes without a gap: [start, stop)."""

    __slots__ = ("chunks", "start", "stop")

    def __init__(self, start: int) -> None:
        self.start = self.stop = start
        self.chunks: deque[Buffer] = deque()

    def append(self, data: Buffer) -> None:
        """Add bytes at the end."""
        if not len(data):
            return
        last = self.chunks[-1] if self.chunks else None
        if len(data) > SMALL_SEGMENT:
            self.chunks.append(data if _is_most_of_its_memory(data) else bytes(data))
        elif isinstance(last, bytearray) and len(last) + len(data) <= MERGED_SIZE:
            last += data
        else:
            self.chunks.append(bytearray(data))
        self.stop += len(data)

    def join(self, other: "_Run") -> None:
        """Add a run that starts where this one stops."""
        for chunk in other.chunks:
            self.append(chunk)


def _is_most_of_its_memory(data: Buffer) -> bool:
    """Tell whether keeping `data` keeps little else alive; a peer chooses what surrounds it."""
    return not isinstance(data, memoryview) or memoryview(data.obj).nbytes <= 2 * len(data)


class ReceiveStream:
    """One direction of a stream, seen from its reader.

    Args:
        stream: the stream's id.
        credit: the offset up to which bytes are taken at first.
        gaps: counts the gaps of all streams of the link; an account of its own by default.
    """

    def __init__(self, stream: int, credit: int, gaps: Account | None = None) -> None:
        self.stream = stream
        self.state = ReceiveState.OPEN
        self.limit = credit
        self.read_offset = 0  # bytes handed to the reader so far
        self.reset_code: int | None = None
        self.is_stopped = False  # the reader wants no more: bytes are counted and dropped
        self._ready = _Run(0)  # from read_offset on, without a gap
        self._later: list[_Run] = []  # sorted, disjoint, not touching each other or `_ready`
        self._final_size: int | None = None
        self._gaps = gaps or Account(Budget(MAX_GAPS_OF_LINK))

    @property
    def highest(self) -> int:
        """One past the highest byte stored."""
        return self._later[-1].stop if self._later else self._ready.stop

    @property
    def readable(self) -> int:
        """Bytes that can be read now."""
        return self._ready.stop - self.read_offset

    @property
    def is_at_end(self) -> bool:
        """Whether every byte up to the clean end was read."""
        return self.state is ReceiveState.DONE

    def receive(self, offset: int, data: Buffer, is_end: bool) -> bool:
        """Store a segment; returns False if it was not stored and must not be acknowledged.

        Raises `ProtocolViolation` for bytes beyond the credit or the end.
        """
        stop = offset + len(data)
        if self.state in (ReceiveState.RESET, ReceiveState.DONE):
            return True
        self._check_bounds(stop, is_end)
        if stop > offset and not self._store(offset, stop, memoryview(data)):
            return False
        if is_end:
            self._final_size = stop
            self.state = ReceiveState.ENDED
        self._settle()
        return True

    def receive_reset(self, final_size: int, code: int) -> None:
        """The other side gave up; what was not read is gone."""
        if self.state is ReceiveState.DONE:
            return
        self._check_bounds(final_size, is_end=False)
        self.state = ReceiveState.RESET
        self.reset_code = code
        self._drop()

    def read(self, size: int) -> list[Buffer]:
        """Take up to `size` bytes in order."""
        taken: list[Buffer] = []
        chunks = self._ready.chunks
        while chunks and size > 0:
            chunk = chunks[0]
            if len(chunk) <= size:
                chunks.popleft()
            else:
                chunks[0] = memoryview(chunk)[size:]
                chunk = memoryview(chunk)[:size]
            taken.append(chunk)
            size -= len(chunk)
            self.read_offset += len(chunk)
        self._settle()
        return taken

    def stop(self) -> None:
        """Want no more: drop what is stored and what comes."""
        self.is_stopped = True
        self._drop()
        self._settle()

    def forget_later(self) -> None:
        """Let go of what lies behind a hole, since the link is over: nobody will fill it."""
        self._gaps.take(-len(self._later))
        self._later = []

    def _check_bounds(self, stop: int, is_end: bool) -> None:
        if stop > self.limit:
            raise ProtocolViolation("stream bytes beyond the credit given")
        final = self._final_size
        if final is not None and (stop > final or (is_end and stop != final)):
            raise ProtocolViolation("stream bytes beyond the end of the stream")
        if is_end and stop < self.highest:
            raise ProtocolViolation("a stream ends before bytes that came already")

    def _drop(self) -> None:
        self.read_offset = self.highest
        self._ready = _Run(self.read_offset)
        self.forget_later()

    def _settle(self) -> None:
        if self.state is ReceiveState.ENDED and self.read_offset == self._final_size:
            self.state = ReceiveState.DONE

    def _store(self, start: int, stop: int, data: memoryview) -> bool:
        ready = self._ready
        if self.is_stopped:
            if stop > ready.stop:
                ready.start = ready.stop = self.read_offset = stop
            return True
        if start < ready.stop:
            if stop <= ready.stop:
                return True
            data = data[ready.stop - start :]
            start = ready.stop
        if start == ready.stop and (not self._later or stop < self._later[0].start):
            ready.append(data)  # the common case
            return True
        return self._store_later(start, stop, data)

    def _store_later(self, start: int, stop: int, data: memoryview) -> bool:
        runs = self._later
        low = bisect_right(runs, start, key=lambda run: run.start)
        if low and runs[low - 1].stop >= start:
            low -= 1
        high = bisect_right(runs, stop, key=lambda run: run.start)
        touched = runs[low:high]
        touches_ready = start == self._ready.stop
        if touches_ready:
            merged = self._ready
        elif touched and touched[0].start <= start:
            merged = touched.pop(0)  # it grows in place
        elif touched or self._may_open_a_gap:
            merged = _Run(start)
        else:
            return False
        for run in touched:
            merged.append(data[merged.stop - start : run.start - start])
            merged.join(run)
        if merged.stop < stop:
            merged.append(data[merged.stop - start :])
        before = len(runs)
        runs[low:high] = [] if touches_ready else [merged]
        self._gaps.take(len(runs) - before)
        return True

    @property
    def _may_open_a_gap(self) -> bool:
        # What fills the lowest gap needs no new one, so a full count delays and never blocks.
        return len(self._later) < MAX_GAPS and self._gaps.room > 0
