"""What keeps a trace within bounds, whoever makes events happen: how fast it grows, and how far.

    Thinning      of each kind of event so many in a second; of the others it keeps the count
    BoundedFile   beginning ─── what came between is cut out ─── the newest

A fault is looked for at both ends of a trace: what a run began with, and what came last.  So at
its bound a file keeps its first half and the newest lines, and grows again from there.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from derphole.errors import UsageError
from tunnel.units import KIB, MIB, ByteCount, Seconds

# Chosen: what goes wrong in a second shows in fewer; strangers can make any number of them.
KIND_PER_S = 50
LEAST_SIZE: ByteCount = 64 * KIB  # room for a beginning and an end that say something
# Chosen: the newest part that a cut keeps is read and written in one go, which takes 2 ms.
MOST_KEPT: ByteCount = 4 * MIB
# Chosen: longer than any line but a crash's.
LINE_SEARCH: ByteCount = 16 * KIB


class Thinning:
    """Counts the events of each second by kind; pure."""

    def __init__(self) -> None:
        self._second = -1
        self._counts: Counter[str] = Counter()

    def turn(self, now_s: Seconds) -> dict[str, int]:
        """Begin a new second if it is time; returns how many of each kind the last one left out."""
        if int(now_s) == self._second:
            return {}
        self._second = int(now_s)
        return self.take_left_out()

    def admit(self, event: str) -> bool:
        """Tell whether one more event of a kind is kept in this second."""
        self._counts[event] += 1
        return self._counts[event] <= KIND_PER_S

    def take_left_out(self) -> dict[str, int]:
        """Return how many of each kind were left out, and forget them."""
        counts, self._counts = self._counts, Counter()
        return {kind: count - KIND_PER_S for kind, count in counts.items() if count > KIND_PER_S}


class BoundedFile:
    """A file of lines that is appended to, and never grows beyond its bound.

    Args:
        path: made with mode 0600 if it is not there.
        limit: of the whole file, what earlier runs left in it included; what is not a regular file
            has none.
        cut_line: returns the line to put where so many bytes were cut out.

    Raises `UsageError` for a file that cannot be written, and for a large one that is not a trace.
    """

    def __init__(
        self, path: Path, limit: ByteCount, cut_line: Callable[[ByteCount], bytes]
    ) -> None:
        self._limit = limit
        self._cut_line = cut_line
        self._cut_bytes: ByteCount = 0
        self._begin: ByteCount | None = None  # how much a cut leaves, from the first cut on
        try:
            self._fd = _open(path)
            status = os.fstat(self._fd)
            self._is_bounded = stat.S_ISREG(status.st_mode)
            if self._is_bounded and status.st_size > limit // 4:
                self._cut_earlier_runs(path, status.st_size)
        except OSError as error:
            raise UsageError(
                f"the trace file {path} cannot be written: {error.strerror}", shows_help=False
            ) from error

    def append(self, line: bytes) -> None:
        """Write a line, and make room for it first; raises `OSError`."""
        if self._is_bounded:
            if len(line) > self._limit // 4:
                return
            # Asked of the system each time: two runs may write to one file.
            if os.fstat(self._fd).st_size + len(line) > self._limit:
                self._cut(self._kept_begin())
        _write_all(self._fd, line)

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)

    def _cut_earlier_runs(self, path: Path, size: ByteCount) -> None:
        """Leave room for this run's beginning."""
        if b'"event": ' not in os.pread(self._fd, LINE_SEARCH, 0).partition(b"\n")[0]:
            os.close(self._fd)
            raise UsageError(
                f"{path} has {size} bytes and is not a trace; choose another file, since this one "
                "would be cut to --trace-size",
                shows_help=False,
            )
        self._cut(0)

    def _cut(self, begin: ByteCount) -> None:
        """Cut out what is behind `begin`, but for the newest lines."""
        size = os.fstat(self._fd).st_size
        kept = min(self._limit // 4 - LINE_SEARCH // 4, MOST_KEPT)
        start = max(begin, size - kept)
        newest = os.pread(self._fd, size - start, start)
        if start > begin:
            newest = newest.partition(b"\n")[2]  # it began in the middle of a line
        self._cut_bytes += size - begin - len(newest)
        # Not in place: with O_APPEND Linux writes at the end whatever position is asked for.
        os.ftruncate(self._fd, begin)
        _write_all(self._fd, self._cut_line(self._cut_bytes) + newest)

    def _kept_begin(self) -> ByteCount:
        """Return where a cut begins: where the last one did, unless another run cut since."""
        begin = self._begin
        if begin is None or (begin and os.pread(self._fd, 1, begin - 1) != b"\n"):
            begin = self._begin = self._end_of_line_before(self._limit // 2)
        return begin

    def _end_of_line_before(self, position: ByteCount) -> ByteCount:
        start = max(0, position - LINE_SEARCH)
        found = os.pread(self._fd, position - start, start).rfind(b"\n")
        return start + found + 1 if found >= 0 else start


def _open(path: Path) -> int:
    """Open for appending, and a regular file for reading too: a cut reads what it keeps."""
    flags = os.O_APPEND
    if path.exists() and not path.is_file():
        return os.open(path, flags | os.O_WRONLY)
    return os.open(path, flags | os.O_CREAT | os.O_RDWR, 0o600)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
