"""A new file that takes the place of an old one gets what the old one had beside its bytes.

Owner, mode and access list are kept, or nothing is done: a file of keys that more people may read
or write than before is worse than one without the new key.  Other attributes are kept as far as the
system lets us.  All calls block.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from derphole.edges.stdio import reason_text
from tunnel.values import frozen

# Who may do what with a file, beside its mode: acl(5), nfs4_acl(5).
POSIX_LIST = "system.posix_acl_access"
ACCESS_LISTS = (POSIX_LIST, "system.nfs4_acl")
WITHOUT_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@frozen
class Kept:
    """What a file has beside its bytes.

    Args:
        status: of the file.
        attributes: with their values.
    """

    status: os.stat_result
    attributes: Mapping[str, bytes]

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file is this one, and nobody wrote to it since."""
        return _version(status) == _version(self.status)


def kept(fd: int) -> Kept:
    """Return what an open file has; raises `OSError`."""
    attributes = {}
    for name in _names(fd):
        try:
            attributes[name] = os.getxattr(fd, name)
        except OSError:
            if name in ACCESS_LISTS:
                raise
    return Kept(os.fstat(fd), attributes)


def make_alike(fd: int, old: Kept) -> None:
    """Give an open file what an old one had; raises `OSError` if others could do more with it."""
    new, like = os.fstat(fd), old.status
    if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
        with _named("owner and group"):
            os.fchown(fd, like.st_uid, like.st_gid)
    if POSIX_LIST in _names(fd) and POSIX_LIST not in old.attributes:
        os.removexattr(fd, POSIX_LIST)  # its folder gives one to each new file
    for name, value in old.attributes.items():
        if name in ACCESS_LISTS:
            with _named("access list"):
                os.setxattr(fd, name, value)
        else:
            with suppress(OSError):  # it belongs to the system, or there is no room
                os.setxattr(fd, name, value)
    os.fchmod(fd, stat.S_IMODE(like.st_mode))


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say which property of a file could not be kept."""
    try:
        yield
    except OSError as error:
        reason = f"its {what} cannot be kept: {reason_text(error)}"
        raise OSError(error.errno, reason) from error


def _names(fd: int) -> list[str]:
    if not hasattr(os, "listxattr"):
        return []
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno in WITHOUT_ATTRIBUTES:
            return []
        raise


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
