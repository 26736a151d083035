"""What this user's runs keep for later ones: a secret, and where unfinished transfers lie.

    $XDG_STATE_HOME/derphole, else ~/.local/state/derphole
        source-secret       32 bytes, 0600: sources are recognised by it
        receive/ID          one line: the path of a journal, for `receive --forget`

Whatever cannot be read or written there costs the comfort and not the transfer.  Blocks.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b

from derphole.edges.destination import NO_LINK, PRIVATE_FILE, PRIVATE_FOLDER
from derphole.transfer.offer import SOURCE_SECRET_SIZE

# Chosen.
MAX_PATH_FILE = 8192
ID_BYTES = 16
TEMPORARY_BYTES = 6


def state_folder(environ: Mapping[str, str]) -> bytes | None:
    """Return the folder of this user's state; None where there is no home."""
    given = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(given):
        return os.fsencode(os.path.join(given, "derphole"))
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return None
    return os.fsencode(os.path.join(home, ".local", "state", "derphole"))


class KeptState:
    """The state of one user.

    Args:
        folder: where it is; it need not exist.  None keeps nothing.
    """

    def __init__(self, folder: bytes | None) -> None:
        self._folder = folder

    def source_secret(self) -> bytes | None:
        """Return the secret that sources are recognised by, made when first asked for.

        None where none can be kept.
        """
        if self._folder is None:
            return None
        path = os.path.join(self._folder, b"source-secret")
        try:
            return _secret_in(path) or _made_secret(self._folder, path)
        except OSError:
            return None

    def remember(self, journal: bytes) -> None:
        """Keep where the journal of an unfinished transfer is."""
        if self._folder is None:
            return
        with suppress(OSError):
            folder = self._receive()
            os.makedirs(folder, PRIVATE_FOLDER, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK
            fd = os.open(os.path.join(folder, _id(journal)), flags, PRIVATE_FILE)
            try:
                os.write(fd, journal)
            finally:
                os.close(fd)

    def forget(self, journal: bytes) -> None:
        """Keep it no longer."""
        with suppress(OSError):
            if self._folder is not None:
                os.unlink(os.path.join(self._receive(), _id(journal)))

    def remembered(self) -> Iterator[bytes]:
        """Yield the paths of the journals that were kept in mind, sorted."""
        if self._folder is None:
            return
        paths: list[bytes] = []
        with suppress(OSError):
            for name in os.listdir(self._receive()):
                with suppress(OSError):
                    fd = os.open(os.path.join(self._receive(), name), os.O_RDONLY | NO_LINK)
                    try:
                        paths.append(os.read(fd, MAX_PATH_FILE))
                    finally:
                        os.close(fd)
        yield from sorted(path for path in paths if os.path.isabs(path) and b"\0" not in path)

    def _receive(self) -> bytes:
        assert self._folder is not None
        return os.path.join(self._folder, b"receive")


def _id(journal: bytes) -> bytes:
    return blake2b(journal, digest_size=ID_BYTES).hexdigest().encode()


def _secret_in(path: bytes) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | NO_LINK)
    except FileNotFoundError:
        return None
    try:
        secret = os.read(fd, SOURCE_SECRET_SIZE + 1)
    finally:
        os.close(fd)
    return secret if len(secret) == SOURCE_SECRET_SIZE else None


def _made_secret(folder: bytes, path: bytes) -> bytes | None:
    """Make a secret; of two processes that do so at once both return the same one."""
    os.makedirs(folder, PRIVATE_FOLDER, exist_ok=True)
    beside = path + b"." + os.urandom(TEMPORARY_BYTES).hex().encode()
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, PRIVATE_FILE)
    try:
        os.write(fd, os.urandom(SOURCE_SECRET_SIZE))
    finally:
        os.close(fd)
    try:
        if os.path.exists(path) and _secret_in(path) is None:
            os.replace(beside, path)  # it was cut or damaged
        else:
            with suppress(FileExistsError):
                os.link(beside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)
    return _secret_in(path)
