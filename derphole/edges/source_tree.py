"""Walks what is to be sent.

The walk is lazy: it holds one listing and one descriptor for each folder on the way to the current
entry, opens folders without following a link, and yields entries in the order of an archive.  What
cannot be sent is a value too, never an error.  All calls block.
"""

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from derphole.edges.destination import NO_LINK, OPEN_FOLDER
from derphole.edges.stdio import reason_text
from derphole.errors import SourceUnusable
from derphole.transfer.archive import MIN_HOLE
from derphole.transfer.entries import PERMISSIONS, Entry, EntryType, link_fault
from derphole.transfer.names import is_reserved, order_key, part_fault, path_fault, shown
from derphole.transfer.selection import MAX_IGNORE_FILE, Selection
from tunnel.values import frozen

# A named pipe that took the place of a file must not hold us up.
OPEN_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # which Windows has not
DISK_BLOCK = 512  # of `st_blocks`, whatever the file system has
MISSING_STEP = "nothing was sent; correct the name, or use --text to send the words themselves"
EARLIEST_NS, LATEST_NS = -(1 << 63), (1 << 63) - 1
KINDS = {
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


@frozen
class Source:
    """Something that was named on the command line.

    Args:
        path: as it was given; a link is followed.
        name: what it is called in the archive.
        selection: what of it is sent.
    """

    path: bytes
    name: bytes
    selection: Selection = field(default_factory=Selection)


class Found(NamedTuple):
    """An entry that can be sent.

    Attributes:
        entry: as the folder lists it.
        folder: descriptor of the folder that it is in, good until the walk goes on; None for a
            source.
        name: in that folder, or the path of a source.
        has_holes: whether a file takes less of the disk than it is long.
    """

    entry: Entry
    folder: int | None
    name: bytes
    has_holes: bool = False

    def open(self) -> int:
        """Open a file for reading; raises `OSError`."""
        if self.folder is None:
            return os.open(self.name, OPEN_FILE)
        return os.open(self.name, OPEN_FILE | os.O_NOFOLLOW, dir_fd=self.folder)

    def is_readable(self) -> bool:
        """Tell whether a file can be opened, without doing it."""
        if self.entry.type is not EntryType.FILE:
            return True
        return os.access(self.name, os.R_OK, dir_fd=self.folder, effective_ids=True)


class Omitted(NamedTuple):
    """Something that is not sent.

    Attributes:
        path: in the archive; of a warning about a .gitignore, of that.
        reason: a phrase that goes on from it.
    """

    path: bytes
    reason: str


Step = Found | Omitted


def sources_named(paths: Sequence[str], name: str | None = None) -> list[Source]:
    """Return what was named on the command line, in the order of an archive.

    Args:
        paths: as they were given.
        name: what a single one is to be called.

    Raises:
        SourceUnusable: one of them is not there, has no name, or is called like another.
    """
    sources: dict[bytes, Source] = {}
    for path in map(os.fsencode, paths):
        _check_there(path)
        given = os.fsencode(name) if name is not None and len(paths) == 1 else _name_of(path)
        fault = part_fault(given)
        if fault is not None:
            raise SourceUnusable(shown(path), f"its name {fault}", "give it one with --name")
        if given in sources:
            both = f"{shown(sources[given].path)} is called {shown(given)} too"
            raise SourceUnusable(shown(path), both, "send one of them, or the folder they are in")
        sources[given] = Source(path, given)
    return sorted(sources.values(), key=lambda source: order_key(source.name))


def _check_there(path: bytes) -> None:
    """Raise `SourceUnusable` for what is not there, or is neither a file nor a folder."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        is_link = os.path.islink(path)
        reason = "it is a link that points nowhere" if is_link else "there is no such file"
        raise SourceUnusable(shown(path), reason, MISSING_STEP) from error
    except OSError as error:
        raise SourceUnusable(shown(path), reason_text(error)) from error
    if kind := KINDS.get(stat.S_IFMT(mode)):
        step = f"to send what comes out of it, use `derphole send - < {shown(path)}`"
        raise SourceUnusable(shown(path), kind.replace("is a", "it is a"), step)


def _name_of(path: bytes) -> bytes:
    last = os.path.basename(path.rstrip(b"/"))
    if last in (b"", b".", b".."):
        return os.path.basename(os.path.realpath(path))
    return last


def walk(sources: Sequence[Source]) -> Generator[Step, None, None]:
    """Yield everything that is sent of the sources, and what is not.

    Args:
        sources: in the order of an archive.
    """
    for source in sources:
        try:
            status = os.stat(source.path)
        except OSError as error:
            yield Omitted(source.name, f"cannot be read: {reason_text(error)}")
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        if not source.selection.takes_source(source.name, is_folder=is_folder):
            continue
        if is_folder:
            yield from _Walk(source).steps()
        elif stat.S_ISREG(status.st_mode):
            yield _file(source.name, None, source.path, status)
        else:
            yield Omitted(source.name, KINDS[stat.S_IFMT(status.st_mode)])


@dataclass(slots=True)
class _Level:
    """A folder that the walk is in: its path in the source, its descriptor, names still to come."""

    path: bytes
    fd: int
    names: Iterator[bytes]


class _Walk:
    """The walk of one source that is a folder."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._selection = source.selection
        self._levels: list[_Level] = []

    def steps(self) -> Iterator[Step]:
        """Yield what is in it; closes its descriptors, also when it is not asked to the end."""
        try:
            yield from self._enter(self._source.path, None, b"")
            while self._levels:
                level = self._levels[-1]
                name = next(level.names, None)
                if name is None:
                    os.close(self._levels.pop().fd)
                    if self._levels:
                        self._selection.left(self._levels[-1].path)
                else:
                    yield from self._visit(level, name)
        finally:
            for level in self._levels:
                os.close(level.fd)

    def _enter(self, name: bytes, folder: int | None, path: bytes) -> Iterator[Step]:
        flags = OPEN_FOLDER | (os.O_NOFOLLOW if folder is not None else 0)
        whole = self._whole(path)
        try:
            fd = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            yield Omitted(whole, f"cannot be read: {reason_text(error)}")
            return
        try:
            entry = _entry(whole, EntryType.FOLDER, os.fstat(fd))
            names = sorted(map(os.fsencode, os.listdir(fd)))
            bad = self._take_ignore_file(fd, path)
        except OSError as error:
            os.close(fd)
            yield Omitted(whole, f"cannot be read: {reason_text(error)}")
            return
        self._levels.append(_Level(path, fd, iter(names)))
        yield from bad
        yield Found(entry, folder, name)

    def _whole(self, path: bytes) -> bytes:
        return self._source.name + (b"/" + path if path else b"")

    def _take_ignore_file(self, fd: int, path: bytes) -> list[Omitted]:
        """Read the .gitignore of a folder; git does not follow one that is a link."""
        if not self._selection.uses_ignore_files or self._selection.listing is not None:
            return []
        text = b""
        with suppress(OSError):
            ignore_fd = os.open(b".gitignore", OPEN_FILE | NO_LINK, dir_fd=fd)
            try:
                if stat.S_ISREG(os.fstat(ignore_fd).st_mode):
                    text = os.read(ignore_fd, MAX_IGNORE_FILE)
            finally:
                os.close(ignore_fd)
        where = self._whole(path + b"/.gitignore" if path else b".gitignore")
        return [
            Omitted(where, f"has a line that is skipped, {fault}")
            for fault in self._selection.entered(path, text)
        ]

    def _visit(self, level: _Level, name: bytes) -> Iterator[Step]:
        path = level.path + b"/" + name if level.path else name
        whole = self._whole(path)
        try:
            status = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
        except FileNotFoundError:
            yield Omitted(whole, "vanished")
            return
        except OSError as error:
            yield Omitted(whole, f"cannot be read: {reason_text(error)}")
            return
        kind = stat.S_IFMT(status.st_mode)
        if not self._selection.takes(path, is_folder=kind == stat.S_IFDIR):
            return
        fault = KINDS.get(kind) or path_fault(whole)
        if fault is None and is_reserved(name):
            fault = "belongs to an unfinished transfer"
        if fault is not None:
            yield Omitted(whole, fault)
        elif kind == stat.S_IFDIR:
            yield from self._enter(name, level.fd, path)
        elif kind == stat.S_IFLNK:
            yield _link(level.fd, name, whole, status)
        else:
            yield _file(whole, level.fd, name, status)


def _entry(path: bytes, type_: EntryType, status: os.stat_result, target: bytes = b"") -> Entry:
    mode = status.st_mode & PERMISSIONS
    size = status.st_size if type_ is EntryType.FILE else 0
    return Entry(path, type_, size, clamped_time(status.st_mtime_ns), mode, target)


def clamped_time(mtime_ns: int) -> int:
    """Return the nearest time that can be told: 64 bits of nanoseconds, to the year 2262."""
    return max(EARLIEST_NS, min(mtime_ns, LATEST_NS))


def _file(path: bytes, folder: int | None, name: bytes, status: os.stat_result) -> Found:
    has_holes = status.st_blocks * DISK_BLOCK + MIN_HOLE <= status.st_size
    return Found(_entry(path, EntryType.FILE, status), folder, name, has_holes)


def _link(folder: int, name: bytes, whole: bytes, status: os.stat_result) -> Step:
    try:
        target = os.readlink(name, dir_fd=folder)
    except OSError as error:
        return Omitted(whole, f"cannot be read: {reason_text(error)}")
    fault = link_fault(whole, target)
    if fault is not None:
        return Omitted(whole, fault)
    return Found(_entry(whole, EntryType.LINK, status, target), folder, name)
