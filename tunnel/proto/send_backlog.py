"""SendBacklog: whole frames waiting to be written to one TCP connection, control before data.

    append ─► control ─┐
                       ├─► gather(limit) ─► written to the socket ─► advance(size)
    append ─► data ────┘

A socket may take any part of what was gathered.  The frame it cut stays in front, since frames
never interleave; the whole frames behind it go back to their queues, so that control which arrives
meanwhile still passes them.  This module does not know what a frame is or how it is written.
"""

from collections import deque

from tunnel.units import ByteCount

# Chosen: more than the largest permitted flight of a link (24 relay frames of 60 KiB), so a caller
# that minds `has_room` never meets it; a caller that does not loses its newest frames.
MAX_DATA_BYTES = 4 << 20
# Chosen: thousands of acks and pongs; a relay that floods us with pings gets no more than this.
MAX_CONTROL_BYTES = 256 << 10
# Chosen: half of what sendmsg takes on Linux and macOS (IOV_MAX 1024).
MAX_BUFFERS = 512


class SendBacklog:
    """Two bounded FIFO queues of frames and the frame that is half written."""

    __slots__ = ("_control", "_control_bytes", "_cut", "_data", "_data_bytes", "_gathered")

    def __init__(self) -> None:
        self._control: deque[bytes] = deque()
        self._data: deque[bytes] = deque()
        self._control_bytes = 0
        self._data_bytes = 0
        self._cut: memoryview | None = None  # the rest of a frame that was written in part
        self._gathered: list[tuple[memoryview, bytes | None, bool]] = []

    @property
    def size_bytes(self) -> ByteCount:
        """Bytes appended and not yet written."""
        cut = 0 if self._cut is None else len(self._cut)
        return self._control_bytes + self._data_bytes + cut

    def append(self, frame: bytes, *, is_control: bool) -> bool:
        """Queue a frame; returns False, and keeps nothing, when its queue is full."""
        if is_control:
            if self._control_bytes + len(frame) > MAX_CONTROL_BYTES:
                return False
            self._control.append(frame)
            self._control_bytes += len(frame)
        else:
            if self._data_bytes + len(frame) > MAX_DATA_BYTES:
                return False
            self._data.append(frame)
            self._data_bytes += len(frame)
        return True

    def gather(self, limit: ByteCount) -> list[memoryview]:
        """Return what to write next, in order: about `limit` bytes, at least one frame if any.

        Frames stay queued until `advance` reports them written; frames appended meanwhile are not
        touched by it.
        """
        chosen: list[tuple[memoryview, bytes | None, bool]] = []
        size = 0
        if self._cut is not None:
            chosen.append((self._cut, None, False))
            size = len(self._cut)
        for queue, is_control in ((self._control, True), (self._data, False)):
            for frame in queue:
                if size >= limit or len(chosen) >= MAX_BUFFERS:
                    break
                chosen.append((memoryview(frame), frame, is_control))
                size += len(frame)
        self._gathered = chosen
        return [view for view, _, _ in chosen]

    def advance(self, size: ByteCount) -> None:
        """Note that the first `size` bytes of the last `gather` were written."""
        for view, frame, is_control in self._gathered:
            if size <= 0:
                break
            if frame is not None:
                self._take(frame, is_control=is_control)
            self._cut = view[size:] if size < len(view) else None
            size -= len(view)
        self._gathered = []

    def clear(self) -> int:
        """Drop everything; returns how many frames were not written whole."""
        count = len(self._control) + len(self._data) + (self._cut is not None)
        self._control.clear()
        self._data.clear()
        self._control_bytes = self._data_bytes = 0
        self._cut = None
        self._gathered = []
        return count

    def _take(self, frame: bytes, *, is_control: bool) -> None:
        # Gathered frames are a prefix of their queue, and only `advance` removes from it.
        if is_control:
            self._control.popleft()
            self._control_bytes -= len(frame)
        else:
            self._data.popleft()
            self._data_bytes -= len(frame)
