"""The folder that something is written to, and what is in it already.

Everything is done by descriptors of folders, and no symbolic link is followed but in the path that
the person gave.  All calls here may block: `derphole.edges.trees` makes them in a thread.
"""

import os
import stat
from contextlib import suppress

from derphole.edges.stdio import reason_text
from derphole.errors import SpaceShort, TargetUnwritable
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.names import numbered, part_name, shown, twin
from derphole.transfer.placing import Present
from tunnel.units import ByteCount

# Chosen.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700  # until it is complete
PROBE_BYTES = 4

# Windows has neither; there `Destination` refuses.  Nothing that is opened is inherited (PEP 446).
OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def target_in(output: str | None, name: bytes) -> tuple[bytes, bytes]:
    """Return the folder and the name that something is written to.

    Args:
        output: the path that the person gave: an existing folder is the one it goes into, anything
            else is its path; None for the current folder.
        name: what it is called otherwise.

    Raises:
        TargetUnwritable: the path ends with a separator, and there is no such folder.
    """
    if output is None:
        return b".", name
    path = os.fsencode(output)
    if os.path.isdir(path):
        return path, name
    folder, last = os.path.split(path)
    if last in (b"", b".", b".."):
        raise TargetUnwritable(shown(path), "there is no such folder")
    return folder or b".", last


class Destination:
    """An open folder.

    Attributes:
        fd: its descriptor.
        shown: what a person calls it.
        real_path: where it is, for later runs.

    Args:
        path: of the folder; links in it are followed.

    Raises:
        TargetUnwritable: it cannot be opened.
    """

    def __init__(self, path: bytes) -> None:
        self.shown = shown(path)
        self.real_path = os.path.realpath(path)
        self._path = path
        if os.open not in os.supports_dir_fd:  # Windows
            raise TargetUnwritable(
                self.shown, "on this system files can only be handed on, with -o -"
            )
        try:
            self.fd = os.open(path, OPEN_FOLDER)
        except OSError as error:
            raise TargetUnwritable(self.shown, reason_text(error)) from error

    def check_writable(self) -> None:
        """Make and remove a file; raises `TargetUnwritable`.

        Nothing less tells: root passes every permission, and a file system may be read-only, full
        or out of quota.
        """
        probe = part_name(os.urandom(PROBE_BYTES).hex().encode())
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK
            os.close(os.open(probe, flags, PRIVATE_FILE, dir_fd=self.fd))
            os.unlink(probe, dir_fd=self.fd)
        except OSError as error:
            raise TargetUnwritable(self.shown, reason_text(error)) from error

    def free_bytes(self) -> ByteCount | None:
        """Return how much may be written; None where the file system does not tell, as ramfs."""
        status = os.fstatvfs(self.fd)
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def check_space(self, needed: ByteCount) -> None:
        """Raise `SpaceShort` where less is free than is needed."""
        free = self.free_bytes()
        if free is not None and needed > free:
            raise SpaceShort(self.shown, free, needed)

    def path_of(self, name: bytes) -> str:
        """Return what a person calls something in it."""
        return shown(name if self._path == b"." else os.path.join(self._path, name))

    def present(self, name: bytes) -> Present:
        """Return what a name stands for."""
        return present(self.fd, name)

    def free_name(self, name: bytes) -> bytes:
        """Return `NAME (1)` or the first like it that nothing has."""
        return free_name(self.fd, name)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def present(folder: int, name: bytes) -> Present:
    """Return what a name in an open folder stands for; raises `OSError`."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return Present.NOTHING
    kinds = {stat.S_IFREG: Present.FILE, stat.S_IFDIR: Present.FOLDER, stat.S_IFLNK: Present.LINK}
    return kinds.get(stat.S_IFMT(mode), Present.OTHER)


def free_name(folder: int, name: bytes) -> bytes:
    """Return the first numbered name that nothing in an open folder has; raises `OSError`."""
    for candidate in numbered(name):
        if present(folder, candidate) is Present.NOTHING:
            return candidate
    raise FileExistsError


def taken_for(folder: int, name: bytes) -> bytes | None:
    """Return the other name that the file system takes for this one, if it does."""
    if name.isascii() and _is_exact(folder, name):
        return None
    return twin(name, map(os.fsencode, os.listdir(folder)))


def _is_exact(folder: int, name: bytes) -> bool:
    """Tell whether the folder tells capital letters from small ones, by a name that is there."""
    swapped = name.swapcase()
    if swapped == name:
        return True
    with suppress(OSError):
        one = os.stat(name, dir_fd=folder, follow_symlinks=False)
        other = os.stat(swapped, dir_fd=folder, follow_symlinks=False)
        return not os.path.samestat(one, other)
    return True


def is_like(folder: int, name: bytes, there: Present, entry: Entry) -> bool:
    """Tell whether what is there may be what an earlier run made of an entry."""
    if there is Present.FOLDER:
        return entry.type is EntryType.FOLDER
    if there is Present.LINK and entry.type is EntryType.LINK:
        return os.readlink(name, dir_fd=folder) == entry.target
    if there is Present.FILE and entry.type is EntryType.FILE:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
    return False
