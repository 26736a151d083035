"""Small files that only their owner may use: read, made, and changed as a whole.  All calls block.

    read     through links; what is no file, or too large, is refused
    made     0600, complete under another name before it gets its own
    changed  under the lock of its folder, which everybody has who changes files in it by this
             program; the owner stays, and the mode where it is narrower or nothing secret is in it

Whoever reads never sees half of a file, and a process that is killed leaves the old one.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from derphole.edges.destination import NO_LINK, PRIVATE_FILE
from derphole.edges.replacing import Place, clear, locked, temporary, write_all
from tunnel.units import ByteCount
from tunnel.values import frozen

FOREIGN_BITS = 0o077
PERMISSIONS = 0o777
OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


@frozen
class ReadFile:
    """A file as it was read.

    Args:
        text: what is in it.
        mode: its permissions.
    """

    text: str
    mode: int

    @property
    def is_exposed(self) -> bool:
        """Whether others on this machine may read or change it."""
        return os.name == "posix" and bool(self.mode & FOREIGN_BITS)


def read_text(path: str, most: ByteCount) -> ReadFile:
    """Return a file of at most so many bytes; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, "it is a directory")
        data = bytearray()
        while len(data) <= most and (chunk := os.read(fd, most + 1 - len(data))):
            data += chunk
    finally:
        os.close(fd)
    if len(data) > most:
        raise OSError(errno.EFBIG, "it is too large")
    text = bytes(data).decode("utf-8", "surrogateescape")
    return ReadFile(text, stat.S_IMODE(status.st_mode))


def make(path: str, text: str, *, replaces: bool) -> None:
    """Write a file for its owner only; raises `OSError`, of it `FileExistsError`."""
    with _folder_of(path) as (folder, name), locked(folder):
        if not replaces and _status(folder, name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        clear(Place(folder, name))
        _put(folder, name, text.encode(), None)


def change(
    path: str,
    most: ByteCount,
    changed: Callable[[str], str],
    *,
    may_make: bool = True,
    is_secret: bool = True,
) -> None:
    """Replace a file by what `changed` makes of its text.

    Args:
        path: of the file; links are followed.
        most: bytes that it may have.
        changed: returns the new text; what it raises leaves the file as it is.
        may_make: whether there need be no file, which is one without text then.
        is_secret: whether others lose what they may do with the file.

    Raises `OSError`.
    """
    real = os.path.realpath(path)
    with _folder_of(real) as (folder, name), locked(folder):
        old = _status(folder, name)
        if old is None and not may_make:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        clear(Place(folder, name))
        text = "" if old is None else read_text(real, most).text
        new = changed(text)
        if new != text or old is None:
            kept = PRIVATE_FILE if is_secret else PERMISSIONS
            _put(folder, name, new.encode("utf-8", "surrogateescape"), old, kept)


@contextmanager
def _folder_of(path: str) -> Iterator[tuple[int, str]]:
    """Open the folder that a path is in; gives its descriptor and the name in there."""
    folder, name = os.path.split(path)
    if not name:
        raise OSError(errno.EISDIR, "it is a directory")
    fd = os.open(folder or ".", OPEN_FOLDER)
    try:
        yield fd, name
    finally:
        os.close(fd)


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _put(
    folder: int, name: str, data: bytes, old: os.stat_result | None, most: int = PRIVATE_FILE
) -> None:
    """Write a file beside its place and move it there; of the old one's mode `most` may stay."""
    beside = temporary(name)
    fd = os.open(
        beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, PRIVATE_FILE, dir_fd=folder
    )
    try:
        try:
            if old is not None:
                _make_alike(fd, old, most)
            write_all(fd, data)
            os.fsync(fd)  # a token whose file is empty after a power cut is lost
        finally:
            os.close(fd)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        with suppress(OSError):  # a file system without
            os.fsync(folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise


def _make_alike(fd: int, old: os.stat_result, most: int) -> None:
    """Give a file the owner of what it replaces, and what may stay of its mode."""
    os.fchmod(fd, stat.S_IMODE(old.st_mode) & most or PRIVATE_FILE)
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, old.st_uid, old.st_gid)
