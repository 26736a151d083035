"""The file of the keys that let a user in: read, and replaced as a whole.

    HOME/.ssh/authorized_keys      a link is gone through only if its owner owns both ends

Who changes it has its folder locked, writes a new file beside the old one, with its owner, mode and
access list, and renames it: a process that is killed, or a disk that is full, leaves all keys as
they were.  What a killed one has written is removed by the next.  No other link is followed below
the home, so that a user cannot lead root elsewhere.  All calls block.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from derphole.edges.accounts import Account, is_private_group, may_use
from derphole.edges.alike import Kept, make_alike
from derphole.edges.destination import NO_LINK, OPEN_FOLDER, PRIVATE_FILE, PRIVATE_FOLDER
from derphole.edges.replacing import (
    Place,
    clear,
    is_still,
    locked,
    mount_named,
    read_old,
    temporary,
    without_name,
    write_all,
)
from derphole.edges.stdio import reason_text
from derphole.errors import KeysUnwritable
from derphole.ssh.authorized_keys import MAX_FILE, Standing, standing, with_key
from derphole.ssh.public_key import PublicKey
from derphole.ssh.strict_modes import Part

FOLDER, FILE = ".ssh", "authorized_keys"
# Chosen.
MAX_TRIES = 100  # while programs without our lock change the file
PROBE = b"\n" * 4096
# Where a file can be had without opening it, a device is not set off.
LOOK = getattr(os, "O_PATH", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))


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
        link = ""
        if not _is_within(real, home):
            folder = os.path.join(self._account.home, FOLDER)
            link = self.path if _is_within(os.path.realpath(folder), home) else folder
        parts = []
        while True:
            with suppress(OSError):
                parts.append(self._part(real, os.stat(real), link))
            parent = os.path.dirname(real)
            if real in (home, parent):
                return parts
            real = parent

    def _part(self, path: str, status: os.stat_result, link: str) -> Part:
        mode = stat.S_IMODE(status.st_mode)
        return Part(
            path,
            status.st_uid,
            mode,
            stat.S_ISDIR(status.st_mode),
            bool(mode & stat.S_IWGRP) and is_private_group(status, self._account),
            may_use(status, self._account),
            link,
        )

    def check_writable(self) -> None:
        """Write a file beside it, or into the home if there is no folder yet; leaves nothing.

        Raises `KeysUnwritable`.
        """
        with self._told(), self._home() as home:
            folder = self._folder(home)
            if folder is None:
                self._probe(home, None)
                return
            with self._place(folder) as place:
                self._probe(place.folder, read_old(place, MAX_FILE).kept)

    def contents(self) -> bytes:
        """Return what is in it; b'' if there is none.  Raises `KeysUnwritable`."""
        with self._told(), self._home() as home:
            folder = self._folder(home)
            if folder is None:
                return b""
            with self._place(folder) as place:
                return read_old(place, MAX_FILE).contents

    def add(self, key: PublicKey) -> Standing:
        """Add a key that is not in it; returns how it stood before.  Raises `KeysUnwritable`.

        It is on the disk when this returns.  The folder is made if it is missing.
        """
        with self._told(), self._home() as home:
            folder = self._folder(home)
            if folder is None:
                folder = self._made_folder(home)
            with self._place(folder) as place, locked(place.folder) as is_alone:
                if is_alone:
                    clear(place)
                for _ in range(MAX_TRIES):
                    old = read_old(place, MAX_FILE)
                    found = standing(old.contents, key)
                    if found is not Standing.ABSENT:
                        return found
                    if self._replace(place, with_key(old.contents, key), old.kept):
                        return found
            raise OSError(errno.EAGAIN, "other programs change it again and again")

    # -- the way there ----------------------------------------------------------------------------

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeysUnwritable(self.path, reason_text(error)) from error

    @contextmanager
    def _home(self) -> Iterator[int]:
        try:
            home = os.open(self._account.home, OPEN_FOLDER)
        except OSError as error:
            reason = f"the home {self._account.home} cannot be opened: {reason_text(error)}"
            raise OSError(error.errno, reason) from error
        try:
            yield home
        finally:
            os.close(home)

    def _folder(self, home: int) -> int | None:
        """Open the folder that the file is in; None if there is none."""
        try:
            aim = _aim(home, FOLDER)
        except FileNotFoundError:
            return None
        if aim is None:
            return os.open(FOLDER, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=home)
        owner, text = aim
        with _leading_somewhere(FOLDER):
            folder = os.open(text, OPEN_FOLDER, dir_fd=home)
        if os.fstat(folder).st_uid == owner:
            return folder
        os.close(folder)
        raise OSError(errno.EPERM, f"{FOLDER} is a link to a folder of somebody else")

    def _made_folder(self, home: int) -> int:
        """Make the folder, for the user; it is on the disk when this returns."""
        try:
            os.mkdir(FOLDER, PRIVATE_FOLDER, dir_fd=home)
            is_ours = True
        except FileExistsError:  # somebody else made it meanwhile
            is_ours = False
        folder = os.open(FOLDER, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=home)
        try:
            # A user may put another folder of root's into its place, but not an empty one of use.
            is_ours = is_ours and os.fstat(folder).st_uid == os.geteuid()
            if is_ours and not os.listdir(folder):
                os.fchmod(folder, PRIVATE_FOLDER)
                self._give(folder)
            with suppress(OSError):  # a file system that cannot
                os.fsync(home)
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _give(self, fd: int) -> None:
        """Give what root has made to the user."""
        if os.geteuid() == 0:
            os.fchown(fd, self._account.user_id, self._account.group_id)

    @contextmanager
    def _place(self, folder: int) -> Iterator[Place]:
        """Go through a link to the file; closes the folder at the end."""
        opened = [folder]
        try:
            aim = None
            with suppress(FileNotFoundError):
                aim = _aim(folder, FILE)
            name = FILE
            if aim is not None:
                folder, name = self._gone_through(folder, *aim)
                opened.append(folder)
            yield Place(folder, name)
        finally:
            for fd in opened:
                os.close(fd)

    def _gone_through(self, folder: int, owner: int, text: str) -> tuple[int, str]:
        """Return folder and name that a link to the file stands for."""
        with _leading_somewhere(FILE):
            fd = os.open(text, LOOK, dir_fd=folder)
        try:
            status = os.fstat(fd)
            if status.st_uid != owner:
                raise OSError(errno.EPERM, "it is a link to a file of somebody else")
            real = os.path.realpath(f"/proc/self/fd/{fd}")
            if not os.path.exists(real):  # no such file system here
                real = os.path.realpath(self.path)
            parent, name = os.path.split(real)
            other = os.open(parent, OPEN_FOLDER)
            try:
                there = os.stat(name, dir_fd=other, follow_symlinks=False)
                if not os.path.samestat(there, status):
                    raise OSError(errno.EAGAIN, "it was changed meanwhile")
            except BaseException:
                os.close(other)
                raise
            return other, name
        finally:
            os.close(fd)

    # -- the file ---------------------------------------------------------------------------------

    def _replace(self, place: Place, contents: bytes, old: Kept | None) -> bool:
        """Replace the file by one with these contents, which are on the disk then.

        Returns False, and has done nothing, if the file is not the old one any more.
        """
        name = temporary(place.name)
        fd = self._new(place.folder, name)
        try:
            try:
                write_all(fd, contents)
                if old is not None:
                    make_alike(fd, old)
                os.fsync(fd)
            finally:
                os.close(fd)
            if not is_still(place, old):
                os.unlink(name, dir_fd=place.folder)
                return False
            with mount_named():
                os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=place.folder)
            raise
        with suppress(OSError):  # a file system that cannot
            os.fsync(place.folder)
        return True

    def _new(self, folder: int, name: str) -> int:
        """Make a file of the user's."""
        fd = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, PRIVATE_FILE, dir_fd=folder
        )
        try:
            os.fchmod(fd, PRIVATE_FILE)
            self._give(fd)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        return fd

    def _probe(self, folder: int, old: Kept | None) -> None:
        """Write a file that has no name, or none for long, as a new one would be."""
        fd = self._nameless(folder)
        try:
            write_all(fd, PROBE)
            if old is not None:
                make_alike(fd, old)
        finally:
            os.close(fd)

    def _nameless(self, folder: int) -> int:
        fd = without_name(folder)
        if fd is None:
            name = temporary(FILE)
            fd = self._new(folder, name)
            with suppress(FileNotFoundError):  # who adds a key removes what others have left
                os.unlink(name, dir_fd=folder)
            return fd
        try:
            self._give(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd


# -- steps ----------------------------------------------------------------------------------------


def _is_within(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder


def _aim(folder: int, name: str) -> tuple[int, str] | None:
    """Return owner and text of a link; None for what is none.  Raises `OSError` for nothing."""
    if not hasattr(os, "O_PATH"):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            return None
        return status.st_uid, os.readlink(name, dir_fd=folder)
    # By one descriptor, so that owner and text are those of the same link.
    fd = os.open(name, os.O_PATH | NO_LINK, dir_fd=folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISLNK(status.st_mode):
            return None
        return status.st_uid, os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


@contextmanager
def _leading_somewhere(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise OSError(errno.ELOOP, f"{name} is a link that leads nowhere") from error
