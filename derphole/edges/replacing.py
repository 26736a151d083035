"""Steps of replacing a file as a whole, in an open folder; links are not followed.  All block."""

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from derphole.edges.alike import Kept, kept
from derphole.edges.destination import NO_LINK, PRIVATE_FILE
from tunnel.units import ByteCount, Seconds
from tunnel.values import frozen

READ_BYTES = 1 << 20
# Chosen.
LOCK_S: Seconds = 10.0  # nobody needs it for as long as that
LOCK_POLL_S: Seconds = 0.01
SUFFIX = ".derphole"
WITHOUT_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


@frozen
class Place:
    """Where the file is, once links are gone through.

    Args:
        folder: descriptor of its folder.
        name: in there.
    """

    folder: int
    name: str


@frozen
class Old:
    """What is there.

    Args:
        contents: of the file; none if there is no file.
        kept: what it has beside; None if there is no file.
    """

    contents: bytes
    kept: Kept | None


def read_old(place: Place, most: ByteCount) -> Old:
    """Return what is there; raises `OSError` for what is no file of at most so many bytes."""
    try:
        fd = os.open(place.name, os.O_RDONLY | os.O_NONBLOCK | NO_LINK, dir_fd=place.folder)
    except FileNotFoundError:
        return Old(b"", None)
    try:
        old = kept(fd)
        if not stat.S_ISREG(old.status.st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        parts, size = [], 0
        while data := os.read(fd, READ_BYTES):
            size += len(data)
            if size > most:
                raise OSError(errno.EFBIG, "it is too large")
            parts.append(data)
        return Old(b"".join(parts), old)
    finally:
        os.close(fd)


def without_name(folder: int) -> int | None:
    """Make a file without a name in a folder; None where the system cannot."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
        return os.open(".", flags, PRIVATE_FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in WITHOUT_NAMELESS:
            return None
        raise


def write_all(fd: int, data: bytes) -> None:
    """Write everything."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def is_still(place: Place, old: Kept | None) -> bool:
    """Tell whether the file is the one that was read, or there is still none."""
    try:
        status = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    except FileNotFoundError:
        return old is None
    return old is not None and old.is_of(status)


@contextmanager
def mount_named() -> Iterator[None]:
    """Say what is busy if nothing can take the place of a file."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise OSError(error.errno, "it is a mount point, which nothing can replace") from error


def temporary(name: str) -> str:
    """Return another name for what shall take the place of a file."""
    return f".{name}.{secrets.token_hex(4)}{SUFFIX}"


def clear(place: Place) -> None:
    """Remove what processes that were killed have left."""
    left = re.compile(re.escape(f".{place.name}.") + "[0-9a-f]{8}" + re.escape(SUFFIX))
    for name in os.listdir(place.folder):
        if left.fullmatch(name):
            with suppress(OSError):
                os.unlink(name, dir_fd=place.folder)


@contextmanager
def locked(folder: int) -> Iterator[bool]:
    """Hold the lock of a folder, for all who change files in it by this program.

    Gives False on a file system that has no locks.
    """
    import fcntl  # late: Windows has none

    deadline = time.monotonic() + LOCK_S
    is_locked = False
    while not is_locked:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise OSError(errno.EAGAIN, "another process keeps it locked") from error
            time.sleep(LOCK_POLL_S)
        except OSError:
            break
    yield is_locked
