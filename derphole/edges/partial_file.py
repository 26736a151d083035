"""A file that gets its name only when it is complete, and can be continued until then.

It is written as `.NAME.derphole-part`, mode 0600, in the folder that it belongs to.  Whatever ends
the process leaves that file, for a later run to continue.  All calls block.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from derphole.edges.destination import NO_LINK, PRIVATE_FILE, present
from derphole.edges.stdio import reason_text
from derphole.edges.vectored import batches, drop_front
from derphole.errors import PartialUnusable
from derphole.transfer.names import part_name, shown
from derphole.transfer.placing import Present
from tunnel.units import KIB, Buffer, ByteCount

# Chosen.
ZERO_BLOCK: ByteCount = 64 * KIB  # zeros beyond the end of a file are left a hole in such blocks
MIN_ZEROS: ByteCount = 4 * KIB  # no file system has smaller holes

_ZEROS = bytes(ZERO_BLOCK)


class PartialFile:
    """A file that is written under a temporary name, and keeps it until `take_name`.

    Attributes:
        name: what the file is called once it is complete.
        part: its temporary name.
        folder: descriptor of the folder that it is in; it stays the caller's.

    Args:
        folder: descriptor of the folder.
        name: what the file is called once it is complete.
        held: bytes at its front that an earlier run wrote; 0 for a new file, and then what has the
            temporary name is removed, a link itself and never what it points to.
        is_alone: whether the folder was made by this run and nobody else may write there.

    Raises:
        PartialUnusable: what is there cannot be continued.
        OSError: no file can be made.
    """

    def __init__(
        self, folder: int, name: bytes, held: ByteCount = 0, *, is_alone: bool = False
    ) -> None:
        self.name = name
        self.part = part_name(name)
        self.folder = folder
        self._end = 0
        self._fd = self._continued(held) if held else self._made()
        self._identity = None if is_alone else _identity(os.fstat(self._fd))

    def _made(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK
        try:
            return os.open(self.part, flags, PRIVATE_FILE, dir_fd=self.folder)
        except FileExistsError:
            os.unlink(self.part, dir_fd=self.folder)
            return os.open(self.part, flags, PRIVATE_FILE, dir_fd=self.folder)

    def _continued(self, held: ByteCount) -> int:
        try:
            fd = os.open(self.part, os.O_RDWR | os.O_NONBLOCK | NO_LINK, dir_fd=self.folder)
        except OSError as error:
            raise PartialUnusable(shown(self.part), reason_text(error)) from error
        status = os.fstat(fd)
        fault = None
        if not stat.S_ISREG(status.st_mode):
            fault = "it is not a file"
        elif status.st_uid != os.geteuid():
            fault = "it belongs to another user"
        elif status.st_nlink != 1 and not self._is_named_already(status):
            fault = "it is a file with another name too"
        elif status.st_size < held:
            fault = f"it has {status.st_size} bytes, and {held} were expected"
        if fault is not None:
            os.close(fd)
            raise PartialUnusable(shown(self.part), fault)
        self._end = status.st_size
        return fd

    def _is_named_already(self, status: os.stat_result) -> bool:
        """Tell whether its other name is the final one: its process was killed in between."""
        with suppress(OSError):
            other = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
            if os.path.samestat(status, other) and status.st_nlink == 2:
                os.unlink(self.name, dir_fd=self.folder)
                return True
        return False

    @property
    def fd(self) -> int:
        """The descriptor, for who reads what is held."""
        return self._fd

    def write(self, offset: ByteCount, chunks: Sequence[Buffer]) -> None:
        """Write at an offset; zeros beyond the end become a hole.  Raises `OSError`."""
        if len(chunks) == 1 and 0 < len(chunks[0]) <= ZERO_BLOCK and chunks[0][0]:
            # Most files are small, and not zeros.
            count = os.pwrite(self._fd, chunks[0], offset)
            self._end = max(self._end, offset + count)
            if count == len(chunks[0]):
                return
            offset, chunks = offset + count, (memoryview(chunks[0])[count:],)
        begin = offset
        data: list[memoryview] = []  # to be written, from `begin` on
        zeros: list[memoryview] = []  # behind it
        zeros_size = 0
        for view in _blocks(chunks):
            if offset >= self._end and _is_zero(view):
                zeros.append(view)
                zeros_size += len(view)
            else:
                if zeros_size >= MIN_ZEROS:
                    self._put(begin, data)
                    begin, data = offset, [view]
                else:
                    data += [*zeros, view]
                zeros, zeros_size = [], 0
            offset += len(view)
        if zeros_size < MIN_ZEROS:
            data += zeros
        self._put(begin, data)

    def _put(self, offset: ByteCount, views: list[memoryview]) -> None:
        for batch in batches(views):
            while batch:
                count = os.pwritev(self._fd, batch, offset)
                offset += count
                drop_front(batch, count)
            self._end = max(self._end, offset)

    def finish(self, size: ByteCount, mode: int, mtime_ns: int) -> None:
        """Give the file its size, mode and time, and close it; its name comes last.

        Closing tells what a network file system or a quota kept back.

        Args:
            size: its bytes; what is missing at the end is a hole.
            mode: permissions as they will be, without set-id bits.
            mtime_ns: nanoseconds since 1970.

        Raises:
            OSError: it could not be done; the temporary file stays.
        """
        if size != self._end:
            os.ftruncate(self._fd, size)
        try:
            os.fchmod(self._fd, mode)
            os.utime(self._fd, ns=(mtime_ns, mtime_ns))
        except PermissionError:
            pass  # a file system without permissions or times
        self.close()

    def take_name(self, *, replaces: bool) -> None:
        """Rename the finished file.

        Args:
            replaces: whether what has its name is replaced.

        Raises:
            FileExistsError: something has its name, and is not to be replaced.
            OSError: it could not be done; the temporary file stays.
        """
        if self._identity is not None:
            there = os.stat(self.part, dir_fd=self.folder, follow_symlinks=False)
            if _identity(there) != self._identity:
                raise FileNotFoundError(
                    errno.ENOENT, "another process took its temporary file away"
                )
        give_name(self.folder, self.part, self.name, replaces=replaces)

    def close(self) -> None:
        """Close it; the temporary file stays.  Raises `OSError`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def discard(self) -> None:
        """Close and remove it."""
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            os.unlink(self.part, dir_fd=self.folder)


def give_name(folder: int, part: bytes, name: bytes, *, replaces: bool) -> None:
    """Rename within an open folder; raises `FileExistsError` rather than replace unasked."""
    if replaces:
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    try:
        # Unlike a rename, it replaces nothing that came meanwhile.
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if present(folder, name) is not Present.NOTHING:
            raise FileExistsError from None
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.unlink(part, dir_fd=folder)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _blocks(chunks: Iterable[Buffer]) -> Iterator[memoryview]:
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        for at in range(0, len(view), ZERO_BLOCK):
            yield view[at : at + ZERO_BLOCK]


def _is_zero(view: memoryview) -> bool:
    if view[0] or view[-1]:
        return False
    return bytes(view) == _ZEROS[: len(view)]
