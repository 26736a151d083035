"""SendBacklog: whole frames waiting to be written to one TCP connection, control before data.

    append --> control --+
                         +--> gather(limit) --> written to the socket --> advance(size)
    append --> data -----+

A socket may take any part of what was gathered.  The frame it cut stays in front, since frames
never interleave; the whole frames behind it go back to their queues, so that control which arrives
meanwhile still passes them.  A frame is a tuple of buffers, which nobody changes any more; they are
never copied here.  This module does not know what a frame means or how it is written.
"""

from collections import deque
from collections.abc import Iterable

from tunnel.units import Buffer, ByteCount

# Chosen: more than the largest permitted flight of a link (24 relay frames of 60 KiB), so a caller
# that minds `has_room` never meets it; a caller that does not loses its newest frames.
MAX_DATA_BYTES = 4 << 20
# Chosen: thousands of acks and pongs; a relay that floods us with pings gets no more than this.
MAX_CONTROL_BYTES = 256 << 10
# Chosen: half of what sendmsg takes on Linux and macOS (IOV_MAX 1024).
MAX_BUFFERS = 512

_Frame = tuple[int, tuple[Buffer, ...]]  # size in bytes, parts


class SendBacklog:
    """Two bounded FIFO queues of frames and the frame that is half written."""

    __slots__ = ("_control", "_control_bytes", "_cut", "_data", "_data_bytes", "_gathered")

    def __init__(self) -> None:
        self._control: deque[_Frame] = deque()
        self._data: deque[_Frame] = deque()
        self._control_bytes = 0
        self._data_bytes = 0
        self._cut: _Frame | None = None  # the rest of a frame that was written in part
        self._gathered: list[tuple[_Frame, deque[_Frame] | None]] = []  # and where it waits

    @property
    def size_bytes(self) -> ByteCount:
        """Bytes appended and not yet written."""
        cut_bytes = 0 if self._cut is None else self._cut[0]
        return self._control_bytes + self._data_bytes + cut_bytes

    def append(self, parts: tuple[Buffer, ...], size: ByteCount, *, is_control: bool) -> bool:
        """Queue a frame of `size` bytes; returns False, and keeps nothing, if its queue is full."""
        if is_control:
            if self._control_bytes + size > MAX_CONTROL_BYTES:
                return False
            self._control.append((size, parts))
            self._control_bytes += size
        else:
            if self._data_bytes + size > MAX_DATA_BYTES:
                return False
            self._data.append((size, parts))
            self._data_bytes += size
        return True

    def gather(self, limit: ByteCount) -> list[Buffer]:
        """Return what to write next, in order: about `limit` bytes, at least one frame if any.

        Frames stay queued until `advance` reports them written; frames appended meanwhile are not
        touched by it.
        """
        gathered: list[tuple[_Frame, deque[_Frame] | None]] = []
        buffers: list[Buffer] = []
        size = 0
        if self._cut is not None:
            gathered.append((self._cut, None))
            buffers += self._cut[1]
            size = self._cut[0]
        for queue in (self._control, self._data):
            for frame in queue:
                if size >= limit or len(buffers) >= MAX_BUFFERS:
                    break
                gathered.append((frame, queue))
                buffers += frame[1]
                size += frame[0]
        self._gathered = gathered
        return buffers

    def advance(self, size: ByteCount) -> None:
        """Note that the first `size` bytes of the last `gather` were written."""
        for frame, queue in self._gathered:
            if size <= 0:
                break
            if queue is not None:
                self._take(queue)
            frame_size, parts = frame
            self._cut = None
            if size < frame_size:
                self._cut = (frame_size - size, _without_start(parts, size))
            size -= frame_size
        self._gathered = []

    def _take(self, queue: deque[_Frame]) -> None:
        # Gathered frames are the front of their queues, and nothing else removes from them.
        size, _ = queue.popleft()
        if queue is self._control:
            self._control_bytes -= size
        else:
            self._data_bytes -= size


def _without_start(parts: Iterable[Buffer], size: ByteCount) -> tuple[Buffer, ...]:
    """Return the parts behind the first `size` bytes."""
    rest: list[Buffer] = []
    for part in parts:
        if size >= len(part):
            size -= len(part)
        else:
            rest.append(memoryview(part)[size:])
            size = 0
    return tuple(rest)
