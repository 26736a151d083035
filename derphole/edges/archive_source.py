"""Makes the archive of a tree: reads its files, and says what befell them meanwhile.

    a file that, while it is read     is sent as
    becomes shorter                   what was read, with its true size
    grows                             what was there at first
    is written to                     what was read, and it is told
    cannot be read any more           nothing; the receiver drops what it has of it

None of that ends the archive.  Holes are found by SEEK_DATA and SEEK_HOLE, and neither read nor
sent.  All calls block.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence

from derphole.edges.source_tree import Found, Omitted, Source, Step, walk
from derphole.edges.stdio import reason_text
from derphole.transfer.archive import ArchiveWriter, extents_from
from derphole.transfer.entries import Change, Ending, Entry, EntryType, Extent
from derphole.transfer.outcome import Sent, Told, Totals
from tunnel.units import KIB, MIB, Buffer, ByteCount

# Chosen.
READ_BYTES: ByteCount = MIB
SMALL_FILE: ByteCount = 64 * KIB  # read at once
MAX_FOUND_EXTENTS = 1 << 16  # that are asked for; what is behind them is sent with its holes

CHANGES = {
    Change.GREW: "grew while it was read; what was there at first was sent",
    Change.SHRANK: "became shorter while it was read",
    Change.WRITTEN: "was written to while it was read",
}
_ZEROS = bytes(64 * KIB)

BeginAt = Callable[[Entry], ByteCount | None]


def from_the_start(entry: Entry) -> ByteCount | None:
    """Begin every entry at its front: the other side holds nothing."""
    del entry
    return 0


class ArchiveSource:
    """The bytes of an archive, made as they are asked for.

    Attributes:
        sent: what became of the tree so far.

    Args:
        sources: in the order of an archive.
        begin_at: tells how much of a file the other side holds already, not more than there is,
            or None for an entry that it has; asked once for every entry.  A folder that it has is
            sent all the same where something in it is.
    """

    def __init__(self, sources: Sequence[Source], begin_at: BeginAt = from_the_start) -> None:
        self.sent = Sent()
        self._begin_at = begin_at
        self._writer = ArchiveWriter()
        self._steps = walk(sources)
        self._chunks = self._make()

    def read(self) -> Buffer:
        """Return the next bytes, about 1 MiB at most; nothing at the end and ever after."""
        parts: list[Buffer] = []
        size = 0
        for chunk in self._chunks:
            if len(chunk) >= READ_BYTES and not parts:
                return chunk
            parts.append(chunk)
            size += len(chunk)
            if size >= READ_BYTES:
                break
        return b"".join(parts)

    def close(self) -> None:
        """Let go of its descriptors."""
        self._chunks.close()
        self._steps.close()

    def _make(self) -> Generator[Buffer, None, None]:
        held: list[Entry] = []  # folders that the other side has, above where the walk is
        for step in self._steps:
            if isinstance(step, Omitted):
                self.sent.omitted.add(step.path, step.reason)
                continue
            entry = step.entry
            while held and not entry.path.startswith(held[-1].path + b"/"):
                held.pop()
            offset = self._begin_at(entry)
            if offset is None:
                if entry.type is EntryType.FOLDER:
                    held.append(entry)
                continue
            for folder in held:
                yield self._writer.begin(folder)
            held.clear()
            if entry.type is EntryType.FILE:
                yield from self._file(step, offset)
            else:
                yield self._writer.begin(entry)
                self.sent.sent.add(entry)
        yield self._writer.finish()

    def _file(self, found: Found, offset: ByteCount) -> Iterator[Buffer]:
        entry = found.entry
        try:
            fd = found.open()
        except OSError as error:
            is_link = error.errno == errno.ELOOP
            reason = "is a link now" if is_link else f"cannot be read: {reason_text(error)}"
            self.sent.omitted.add(entry.path, reason)
            return
        try:
            if not offset and entry.size <= SMALL_FILE:
                data, ending = _read_whole(fd, entry)
                head = self._writer.begin(entry)
                self._writer.took(len(data))
                yield head + data + self._writer.end(ending)
            else:
                extents = _extents(fd, entry, offset) if found.has_holes else None
                yield self._writer.begin(entry, offset, extents)
                spans = [Extent(offset, entry.size - offset)] if extents is None else extents
                ending = yield from self._data(fd, entry, spans)
                yield self._writer.end(ending)
        finally:
            os.close(fd)
        self._note(entry, ending)

    def _data(
        self, fd: int, entry: Entry, spans: Sequence[Extent]
    ) -> Generator[Buffer, None, Ending]:
        """Yield the bytes of a file, as many as were announced; return how it ended."""
        change: Change | None = None
        size = entry.size
        for span in spans:
            at, end = span.offset, span.offset + span.size
            while at < end and change is None:
                try:
                    data = os.pread(fd, min(end - at, READ_BYTES), at)
                except OSError:
                    change = Change.BROKEN
                    break
                if not data:
                    change, size = Change.SHRANK, at
                    break
                self._writer.took(len(data))
                at += len(data)
                yield data
        yield from self._zeros()
        return Ending(size, change or _change(fd, entry))

    def _zeros(self) -> Iterator[Buffer]:
        """Fill up what was announced."""
        while self._writer.data_left:
            filler = _ZEROS[: self._writer.data_left]
            self._writer.took(len(filler))
            yield filler

    def _note(self, entry: Entry, ending: Ending) -> None:
        if ending.change is Change.BROKEN:
            self.sent.omitted.add(entry.path, "could not be read to its end")
            return
        self.sent.sent.add(entry)
        if ending.change is not None:
            self.sent.changed.add(entry.path, CHANGES[ending.change])


def _read_whole(fd: int, entry: Entry) -> tuple[bytes, Ending]:
    """Return as many bytes as were announced of a small file, and how it ended."""
    try:
        data = os.pread(fd, entry.size, 0)  # the kernel cuts this short at the end of the file only
    except OSError:
        return bytes(entry.size), Ending(entry.size, Change.BROKEN)
    if len(data) < entry.size:
        return data.ljust(entry.size, b"\0"), Ending(len(data), Change.SHRANK)
    return data, Ending(entry.size, _change(fd, entry))


def _change(fd: int, entry: Entry) -> Change | None:
    """Tell what befell a file that could be read to the end that it had."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):  # another thing took its place
        return Change.BROKEN
    if status.st_size > entry.size:
        return Change.GREW
    if status.st_size < entry.size or status.st_mtime_ns != entry.mtime_ns:
        return Change.WRITTEN
    return None


def _extents(fd: int, entry: Entry, offset: ByteCount) -> list[Extent] | None:
    """Return where a file has data, if a map of that is worth it."""
    return extents_from(found_extents(fd, offset, entry.size), offset, entry.size)


def found_extents(fd: int, offset: ByteCount, size: ByteCount) -> list[Extent]:
    """Return where a file has data; one extent for all of it where the system does not tell."""
    extents: list[Extent] = []
    at = offset
    try:
        while at < size and len(extents) < MAX_FOUND_EXTENTS:
            begin = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, begin, os.SEEK_HOLE)
            extents.append(Extent(begin, at - begin))
    except OSError as error:
        if error.errno != errno.ENXIO:  # which says that there is nothing but a hole
            return [Extent(offset, size - offset)]
        return extents
    if at < size:
        extents.append(Extent(at, size - at))
    return extents


class Survey:
    """Counts what would be sent, a little at a time, and looks whether it can be read.

    Attributes:
        totals: so far.
        omitted: what is not sent, files that cannot be opened included.
        is_done: whether everything was counted.

    Args:
        sources: in the order of an archive.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.totals = Totals()
        self.omitted = Told()
        self.is_done = False
        self._steps = walk(sources)

    def advance(self, steps: int) -> None:
        """Count so many entries more, or all that are left."""
        for _ in range(steps):
            step = next(self._steps, None)
            if step is None:
                self.is_done = True
                return
            self._count(step)

    def _count(self, step: Step) -> None:
        if isinstance(step, Omitted):
            self.omitted.add(step.path, step.reason)
        elif not step.is_readable():
            self.omitted.add(step.entry.path, "cannot be read: permission denied")
        else:
            self.totals.add(step.entry)

    def close(self) -> None:
        """Let go of its descriptors."""
        self._steps.close()
