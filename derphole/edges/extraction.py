"""Makes a tree out of an archive, below one open folder and nowhere else.

    a folder      mkdir 0700, opened without following a link; mode and time when it is left
    a file        `.NAME.derphole-part`, 0600; mode, time and name when it is complete
    a link        as it is, if it stays in what is sent
    the rest      refused

The archive's order (`derphole.transfer.archive`) leaves no way to put anything through a link or
over what came before.  What is in the way is dealt with by the person's policy.  An entry that
cannot be made is told of in `Received`, all in it is left out, and the rest goes on; a disk that is
full ends it.  All calls block.
"""

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, ParamSpec, TypeVar

from derphole.edges.destination import (
    OPEN_FOLDER,
    PRIVATE_FOLDER,
    free_name,
    is_like,
    present,
    taken_for,
)
from derphole.edges.partial_file import PartialFile, give_name
from derphole.edges.recorder import NoRecorder, Recorder
from derphole.edges.stdio import reason_text
from derphole.transfer import archive_reader as archive
from derphole.transfer.archive_reader import ArchiveReader
from derphole.transfer.entries import Change, Ending, Entry
from derphole.transfer.names import System, is_reserved, local_part, part_name, shown
from derphole.transfer.outcome import Received
from derphole.transfer.placing import Placement, Policy, Present, placement
from tunnel.errors import MisuseError, ProtocolViolation
from tunnel.units import KIB, Buffer, ByteCount

# Chosen.
WORTH_BYTES: ByteCount = 256 * KIB  # below, a file that was begun comes again as a whole
PUT_BYTES: ByteCount = 1 << 20  # of one file, written together: what a kill in between may cost
MAX_CONTINUED = 64  # files of an earlier run; each holds two descriptors until the end

# What is wrong with one entry, and not with the disk.
OF_ONE_ENTRY = frozenset(
    (
        errno.EACCES, errno.EEXIST, errno.EFBIG, errno.EILSEQ, errno.EINVAL, errno.EISDIR,
        errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENOTSUP,
        errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EPERM,
    )
)  # fmt: skip
CHANGES = {
    Change.GREW: "grew while it was read; what was there at first was taken",
    Change.SHRANK: "became shorter while it was read",
    Change.WRITTEN: "was written to while it was read",
    Change.BROKEN: "could not be read to its end on the other side",
}

P = ParamSpec("P")
T = TypeVar("T")


class _Refused(Exception):
    """An entry is not made; its text goes on from the entry's path."""


class _Skipped(Exception):
    """An entry is left as it is, as the person wanted."""


class _Folder(NamedTuple):
    """A folder on the way to the current one.

    Attributes:
        fd: its descriptor; -1 where it was not made, nor anything in it.
        entry: what it gets when it is left; None for one that stays as it is.
        is_new: whether it was made in this run, so that whatever is in it came from the archive.
    """

    fd: int
    entry: Entry | None = None
    is_new: bool = False


class _File(NamedTuple):
    """The file under way.

    Attributes:
        entry: as it was announced.
        partial: where it is written.
        offset: where its data began.
        replaces: whether it may replace what has its name.
    """

    entry: Entry
    partial: PartialFile
    offset: ByteCount
    replaces: bool


class Extractor:
    """Extracts one archive.

    Attributes:
        received: what became of it so far.

    Args:
        root: descriptor of the folder; it stays the caller's.
        policy: what happens where something is already.
        system: whose rules for names hold.
        umask: permissions that nothing gets.
        is_continued: whether what is there may be from an earlier run of the same transfer.
        top_names: what the outermost entries are called here, where that was decided before.
        recorder: who keeps the journal.
        worth_bytes: a smaller file that is not complete at the end is removed.
    """

    def __init__(
        self,
        root: int,
        *,
        policy: Policy = Policy.REFUSE,
        system: System = System.LINUX,
        umask: int = 0o022,
        is_continued: bool = False,
        top_names: Mapping[bytes, bytes] | None = None,
        recorder: Recorder | None = None,
        worth_bytes: ByteCount = WORTH_BYTES,
    ) -> None:
        self._worth_bytes = worth_bytes
        self.received = Received()
        self._policy = policy
        self._system = system
        self._umask = umask
        self._is_continued = is_continued
        self._top_names = top_names or {}
        self._recorder = recorder or NoRecorder()
        self._reader = ArchiveReader()
        self._stack = [_Folder(os.dup(root))]
        self._file: _File | None = None
        self._data: list[memoryview] = []  # of it, to be written together
        self._data_at = self._data_end = 0
        self._continued: dict[bytes, tuple[_File, _Folder]] = {}
        self._given_up: set[bytes] = set()  # files that were to be continued, and were not made

    # -- what comes in ---------------------------------------------------------------------------

    def write(self, chunks: Iterable[Buffer]) -> None:
        """Extract the next bytes of the archive.

        Raises:
            ProtocolViolation, DecodeError: it is not one that a program of ours makes.
            PartialUnusable: the temporary file of an earlier run cannot be continued.
            OSError: the disk is full, or cannot be written for another reason.
        """
        try:
            for chunk in chunks:
                for event in self._reader.feed(chunk):
                    self._take(event)
        finally:
            self._put()

    def repair(self, path: bytes, offset: ByteCount, chunks: Sequence[Buffer]) -> None:
        """Write bytes of a continued file again, once all the others of it are written.

        Args:
            path: of the file, in the archive.
            offset: of the first of the bytes.
            chunks: the bytes.

        Raises:
            MisuseError: no such file was continued.
            OSError: they cannot be written.
        """
        if path in self._given_up:
            return
        if path not in self._continued:
            raise MisuseError("the file was not continued")
        self._continued[path][0].partial.write(offset, chunks)

    def finish(self) -> None:
        """Give continued files their names, once the archive and all repairs are written.

        Raises:
            ProtocolViolation: the archive is not complete.
            OSError: it could not be done.
        """
        if not self._reader.is_finished:
            path = self._reader.under_way
            where = f", in {shown(path)}" if path else ""
            raise ProtocolViolation(f"the archive ends before its end{where}")
        for path, (file, folder) in list(self._continued.items()):
            if folder.entry is not None:  # it was left, and may be closed to us
                with suppress(PermissionError):
                    os.fchmod(folder.fd, PRIVATE_FOLDER)
            self._complete(folder, file, Ending(file.entry.size))
            self._give_mode(folder)
            os.close(folder.fd)
            del self._continued[path]

    def close(self) -> None:
        """Close everything; the temporary file of a file that is not complete stays."""
        for file, folder in self._continued.values():
            self._stack.append(folder)
            _close(file)
        if self._file is not None:
            if self._file.entry.size < self._worth_bytes and not self._file.offset:
                self._file.partial.discard()
            _close(self._file)
        self._file = None
        self._continued.clear()
        for folder in self._stack:
            if folder.fd >= 0:
                os.close(folder.fd)
        self._stack.clear()

    # -- entries ---------------------------------------------------------------------------------

    def _take(self, event: archive.Event) -> None:
        match event:
            case archive.Data(offset, view):
                if offset != self._data_end or offset - self._data_at >= PUT_BYTES:
                    self._put()
                    self._data_at = offset
                self._data.append(view)
                self._data_end = offset + len(view)
            case archive.Began(entry, offset):
                self._file = self._try(entry.path, self._begin, entry, offset)
                if self._file is None and offset:
                    self._given_up.add(entry.path)
            case archive.Ended(ending):
                self._put()
                self._end(ending)
            case archive.Entered(entry):
                folder = self._try(entry.path, self._enter, entry)
                self._stack.append(folder or _Folder(-1))
            case archive.Left():
                self._settle(self._stack.pop())
            case archive.Linked(entry, fault):
                self._try(entry.path, self._link, entry, fault)
            case archive.LeftOut(path, what):
                self._try(path, _refuse, f"is a {what}")

    def _try(
        self, path: bytes, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Make one entry; None where it, or the folder that it is in, cannot be made."""
        if self._stack[-1].fd < 0:
            return None
        try:
            return make(*args, **kwargs)
        except _Skipped:
            self.received.skipped.add(path, "is there already")
        except _Refused as refusal:
            self.received.refused.add(path, str(refusal))
        except OSError as error:
            self._tell(path, error)
        return None

    def _tell(self, path: bytes, error: OSError) -> None:
        """Tell of an entry that failed; raises what is wrong with more than this one."""
        if error.errno not in OF_ONE_ENTRY:
            raise error
        self.received.refused.add(path, f"cannot be made: {reason_text(error)}")

    def _placed(self, entry: Entry) -> tuple[bytes, Placement]:
        """Return the name that an entry gets here, and what happens to what has it."""
        folder, its_name = self._stack[-1], entry.name
        if is_reserved(its_name):
            raise _Refused("has a name that belongs to unfinished transfers")
        name = its_name
        if len(self._stack) == 1:
            name = self._top_names.get(name, name)
        name = local_part(name, self._system)
        there = Present.NOTHING if folder.is_new else present(folder.fd, name)
        placed = Placement.NEW
        if there is not Present.NOTHING:
            name, placed = self._placed_beside(entry, name, there)
        if name != its_name:
            self.received.renamed.add(entry.path, f"is called {shown(name)} here")
        return name, placed

    def _placed_beside(self, entry: Entry, name: bytes, there: Present) -> tuple[bytes, Placement]:
        """Return name and placement of an entry whose name something has."""
        folder = self._stack[-1]
        is_ours = self._is_continued and is_like(folder.fd, name, there, entry)
        placed = placement(entry.type, there, self._policy, is_ours=is_ours)
        if placed is Placement.SKIP:
            raise _Skipped
        if placed is Placement.OTHER_NAME:
            return free_name(folder.fd, name), Placement.NEW
        self._refuse_twin(folder, name)
        if placed is Placement.REFUSE:
            raise _Refused(f"is there already, as {there.value}")
        return name, placed

    def _refuse_twin(self, folder: _Folder, name: bytes) -> None:
        other = taken_for(folder.fd, name)
        if other is not None:
            raise _Refused(_beside(other))

    def _enter(self, entry: Entry) -> _Folder:
        name, placed = self._placed(entry)
        folder = self._stack[-1]
        if placed is Placement.NEW:
            try:
                os.mkdir(name, PRIVATE_FOLDER, dir_fd=folder.fd)
            except FileExistsError:
                self._refuse_twin(folder, name)
                raise
        fd = os.open(name, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=folder.fd)
        if placed is Placement.NEW:
            return _Folder(fd, entry, is_new=True)
        if not self._is_continued:
            return _Folder(fd)
        with suppress(OSError):
            os.fchmod(fd, PRIVATE_FOLDER)  # it may have got its last mode already
        return _Folder(fd, entry)

    def _settle(self, folder: _Folder) -> None:
        """Give a folder that is complete its mode and time, and close it."""
        if folder.fd < 0:
            return
        self._give_mode(folder)
        if folder.entry is not None:
            self.received.made.folders += 1
            self._recorder.finished(folder.entry)
        os.close(folder.fd)

    def _give_mode(self, folder: _Folder) -> None:
        if folder.entry is not None:
            times = (folder.entry.mtime_ns, folder.entry.mtime_ns)
            with suppress(PermissionError):  # a file system without permissions or times
                os.fchmod(folder.fd, folder.entry.mode & ~self._umask)
                os.utime(folder.fd, ns=times)

    def _link(self, entry: Entry, fault: str | None) -> None:
        if fault is not None:
            raise _Refused(fault)
        name, placed = self._placed(entry)
        folder = self._stack[-1]
        made = part_name(name) if placed is Placement.REPLACE else name
        if made != name:
            with suppress(FileNotFoundError):
                os.unlink(made, dir_fd=folder.fd)
        try:
            os.symlink(entry.target, made, dir_fd=folder.fd)
        except FileExistsError:
            self._refuse_twin(folder, name)
            raise
        with suppress(OSError):
            times = (entry.mtime_ns, entry.mtime_ns)
            os.utime(made, ns=times, dir_fd=folder.fd, follow_symlinks=False)
        if made != name:
            give_name(folder.fd, made, name, replaces=True)
        self.received.made.links += 1
        self._recorder.finished(entry)

    # -- files -----------------------------------------------------------------------------------

    def _begin(self, entry: Entry, offset: ByteCount) -> _File:
        name, placed = self._placed(entry)
        folder = self._stack[-1]
        partial = PartialFile(folder.fd, name, offset, is_alone=folder.is_new)
        self.received.stored += offset
        self._recorder.began(entry, offset)
        return _File(entry, partial, offset, placed is Placement.REPLACE)

    def _put(self) -> None:
        """Write what has come of the file under way."""
        data, offset, size = self._data, self._data_at, self._data_end - self._data_at
        if not data:
            return
        self._data = []
        self._data_at = self._data_end
        file = self._file
        if file is None:
            return
        try:
            file.partial.write(offset, data)
        except OSError as error:
            self._tell(file.entry.path, error)
            file.partial.discard()
            self._file = None
            if file.offset:
                self._given_up.add(file.entry.path)
            return
        self.received.stored += size

    def _end(self, ending: Ending) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        if ending.change is Change.BROKEN:
            file.partial.discard()
            self.received.refused.add(file.entry.path, CHANGES[Change.BROKEN])
            if file.offset:
                self._given_up.add(file.entry.path)
            return
        if ending.change is not None:
            self.received.changed.add(file.entry.path, CHANGES[ending.change])
        folder = self._stack[-1]
        if file.offset:  # what was held may yet be repaired
            if len(self._continued) == MAX_CONTINUED:
                raise ProtocolViolation("more files are continued than this side asked for")
            file.partial.folder = os.dup(folder.fd)
            kept = _Folder(file.partial.folder, folder.entry)
            self._continued[file.entry.path] = file, kept
            return
        self._complete(folder, file, ending)

    def _complete(self, folder: _Folder, file: _File, ending: Ending) -> None:
        entry, partial = file.entry, file.partial
        try:
            partial.finish(ending.size, entry.mode & ~self._umask, entry.mtime_ns)
            self._recorder.finished(entry)
            partial.take_name(replaces=file.replaces)
        except FileExistsError:
            self._tell_taken(folder, file)
        except OSError as error:
            self._tell(entry.path, error)
            partial.discard()
        else:
            self.received.made.files += 1
            self.received.made.size += ending.size

    def _tell_taken(self, folder: _Folder, file: _File) -> None:
        """Tell of a complete file whose name is taken; only a twin's content is thrown away."""
        other = taken_for(folder.fd, file.partial.name)
        if other is not None:
            file.partial.discard()
            self.received.refused.add(file.entry.path, _beside(other))
            return
        here = shown(file.partial.part)
        self.received.refused.add(
            file.entry.path, f"is complete as {here}: something took its name meanwhile"
        )


def _beside(other: bytes) -> str:
    return f"cannot be beside {shown(other)} in this file system"


def _close(file: _File) -> None:
    with suppress(OSError):
        file.partial.close()


def _refuse(reason: str) -> None:
    raise _Refused(reason)
