"""The file of the keys that let a user in: read, and replaced as a whole.

    HOME/.ssh/authorized_keys      a link is gone through only if its owner owns both ends

Who changes it has its folder locked, writes a new file beside the old one, with its mode, owner and
attributes (ACLs among them), and renames it: a process that is killed, or a disk that is full,
leaves all keys as they were.  No other link is followed below the home, so that a user cannot lead
root elsewhere.  All calls block.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from derphole.edges.accounts import Account, is_private_group, may_read
from derphole.edges.destination import NO_LINK, OPEN_FOLDER
from derphole.edges.stdio import reason_text
from derphole.errors import KeysUnwritable
from derphole.ssh.authorized_keys import MAX_FILE, Standing, standing, with_key
from derphole.ssh.public_key import PublicKey
from derphole.ssh.strict_modes import Part
from tunnel.values import frozen

FOLDER, FILE = ".ssh", "authorized_keys"
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
READ_BYTES = 1 << 20


@frozen
class _Place:
    """Where the file is, once links are gone through.

    Args:
        folder: descriptor of its folder.
        name: in there.
    """

    folder: int
    name: str


class AuthorizedFile:
    """The keys of one account.

    Args:
        account: whose.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.path = os.path.join(account.home, FOLDER, FILE)

    def parts(self) -> list[Part]:
        """Return what sshd looks at: the file if it is there, and the folders above it."""
        home = os.path.realpath(self._account.home)
        real = os.path.realpath(self.path)
        parts = []
        while True:
            with suppress(OSError):
                parts.append(self._part(real, os.stat(real)))
            parent = os.path.dirname(real)
            if real in (home, parent):
                return parts
            real = parent

    def _part(self, path: str, status: os.stat_result) -> Part:
        return Part(
            path,
            status.st_uid,
            stat.S_IMODE(status.st_mode),
            stat.S_ISDIR(status.st_mode),
            is_private_group(status.st_gid, self._account),
            may_read(status, self._account),
        )

    def check_writable(self) -> None:
        """Make the folder if there is none, and write a file into it; raises `KeysUnwritable`."""
        with self._told(), self._place() as place:
            os.close(self._new(place, None))

    def contents(self) -> bytes:
        """Return what is in it; b'' if there is none.  Raises `KeysUnwritable`."""
        with self._told(), self._place() as place:
            return self._read(place)[0]

    def add(self, key: PublicKey) -> Standing:
        """Add a key that is not in it; returns how it stood before.  Raises `KeysUnwritable`.

        It is on the disk when this returns.
        """
        with self._told(), self._place() as place, _locked(place.folder):
            contents, status = self._read(place)
            found = standing(contents, key)
            if found is Standing.ABSENT:
                self._write(place, with_key(contents, key), status)
            return found

    # -- inside -----------------------------------------------------------------------------------

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeysUnwritable(self.path, reason_text(error)) from error

    @contextmanager
    def _place(self) -> Iterator[_Place]:
        """Open the folder that the file is in, made if it is missing."""
        home = os.open(self._account.home, OPEN_FOLDER)
        try:
            folder = self._folder(home)
        finally:
            os.close(home)
        try:
            name = FILE
            if _is_link(folder, FILE):
                folder, name = self._gone_through(folder)
            yield _Place(folder, name)
        finally:
            os.close(folder)

    def _folder(self, home: int) -> int:
        try:
            os.mkdir(FOLDER, PRIVATE_FOLDER, dir_fd=home)
        except FileExistsError:
            if _is_link(home, FOLDER):
                return self._linked_folder(home)
        else:
            self._give(home, FOLDER)
        return os.open(FOLDER, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=home)

    def _linked_folder(self, home: int) -> int:
        link = os.stat(FOLDER, dir_fd=home, follow_symlinks=False)
        folder = os.open(FOLDER, OPEN_FOLDER, dir_fd=home)
        if os.fstat(folder).st_uid == link.st_uid:
            return folder
        os.close(folder)
        raise OSError(errno.EPERM, f"{FOLDER} is a link to a folder of somebody else")

    def _gone_through(self, folder: int) -> tuple[int, str]:
        """Return folder and name that a link stands for; closes the folder of the link."""
        link = os.stat(FILE, dir_fd=folder, follow_symlinks=False)
        fd = os.open(FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(fd)
            if status.st_uid != link.st_uid:
                raise OSError(errno.EPERM, "it is a link to a file of somebody else")
            real = os.path.realpath(f"/proc/self/fd/{fd}")
            if not os.path.exists(real):  # no such file system here
                real = os.path.realpath(self.path)
            parent, name = os.path.split(real)
            other = os.open(parent, OPEN_FOLDER)
            there = os.stat(name, dir_fd=other, follow_symlinks=False)
            if not os.path.samestat(there, status):
                os.close(other)
                raise OSError(errno.EAGAIN, "it was changed meanwhile")
        finally:
            os.close(fd)
        os.close(folder)
        return other, name

    def _read(self, place: _Place) -> tuple[bytes, os.stat_result | None]:
        flags = os.O_RDONLY | os.O_NONBLOCK | NO_LINK
        try:
            fd = os.open(place.name, flags, dir_fd=place.folder)
        except FileNotFoundError:
            return b"", None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a file")
            if status.st_size > MAX_FILE:
                raise OSError(errno.EFBIG, "it is larger than any file of keys")
            parts = []
            while data := os.read(fd, READ_BYTES):
                parts.append(data)
            return b"".join(parts), status
        finally:
            os.close(fd)

    def _write(self, place: _Place, contents: bytes, like: os.stat_result | None) -> None:
        """Replace the file by one with these contents, which are on the disk then."""
        name = f".{place.name}.{secrets.token_hex(4)}"
        fd = self._new(place, name)
        try:
            try:
                view = memoryview(contents)
                while view:
                    view = view[os.write(fd, view) :]
                if like is not None:
                    _make_alike(fd, place, like)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=place.folder)
            raise
        with suppress(OSError):  # a file system that cannot
            os.fsync(place.folder)

    def _new(self, place: _Place, name: str | None) -> int:
        """Make a file of the user's; one without a name is removed at once."""
        made = name or f".{place.name}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK
        fd = os.open(made, flags, PRIVATE_FILE, dir_fd=place.folder)
        try:
            if os.geteuid() == 0:
                os.fchown(fd, self._account.user_id, self._account.group_id)
            if name is None:
                os.unlink(made, dir_fd=place.folder)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                os.unlink(made, dir_fd=place.folder)
            raise
        return fd

    def _give(self, folder: int, name: str) -> None:
        """Give a folder that root has made to the user."""
        if os.geteuid() == 0:
            ids = self._account.user_id, self._account.group_id
            os.chown(name, *ids, dir_fd=folder, follow_symlinks=False)


def _is_link(folder: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _make_alike(fd: int, place: _Place, like: os.stat_result) -> None:
    """Give a new file what the old one had: owner, attributes, mode."""
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(fd, like.st_uid, like.st_gid)
    if hasattr(os, "listxattr"):
        old = os.open(place.name, os.O_RDONLY | os.O_NONBLOCK | NO_LINK, dir_fd=place.folder)
        try:
            with suppress(OSError):  # a file system without attributes
                for name in os.listxattr(old):
                    os.setxattr(fd, name, os.getxattr(old, name))
        finally:
            os.close(old)
    os.fchmod(fd, stat.S_IMODE(like.st_mode))


@contextmanager
def _locked(folder: int) -> Iterator[None]:
    """Hold the lock of a folder, for everybody who changes a file in it by this program."""
    import fcntl  # late: Windows has none

    with suppress(OSError):  # a file system without locks
        fcntl.flock(folder, fcntl.LOCK_EX)
    yield
