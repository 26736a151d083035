"""Sockets by which the running tunnels of one user say how they are, to that user alone.

    $XDG_RUNTIME_DIR/derphole, else the user's state folder and /run   0700
        derptun-HOST-PID.sock                                          0600

Whoever connects gets one JSON object and the end.  A command that can make no socket works all the
same.  Sockets of processes of this host that are gone are removed by the next one.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import gevent
from gevent import socket

from derphole.edges.destination import PRIVATE_FILE, PRIVATE_FOLDER
from derphole.edges.kept_state import state_folder
from tunnel.units import ByteCount, Seconds

# Chosen.
PREFIX, SUFFIX = "derptun-", ".sock"
BACKLOG = 16
ANSWER_S: Seconds = 2.0  # a process that is stopped says nothing
MAX_ANSWER: ByteCount = 4 << 20
PAUSE_S: Seconds = 1.0
HOST_BYTES = 4
FOREIGN_BITS = 0o077

Describe = Callable[[], Mapping[str, object]]


def runtime_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of the sockets; None where there is no place for one."""
    given = environ.get("XDG_RUNTIME_DIR", "")
    if given and Path(given).is_absolute():
        return Path(given) / "derphole"
    state = state_folder(environ)
    return None if state is None else Path(os.fsdecode(state)) / "run"


@contextmanager
def told(folder: Path | None, describe: Describe) -> Iterator[None]:
    """Answer whoever of this user asks, for as long as the context lasts.

    Args:
        folder: of the sockets; None answers nobody.
        describe: returns how things are; must not block.
    """
    listener = None if folder is None else _bound(folder)
    if listener is None:
        yield
        return
    answering = gevent.spawn(_answer, listener, describe)
    try:
        yield
    finally:
        with suppress(OSError):
            Path(listener.getsockname()).unlink()
        answering.kill()
        listener.close()


def ask_all(folder: Path | None) -> list[dict[str, object]]:
    """Return what every running process of this user says, the longest running first.  Blocks."""
    if folder is None or not _is_ours(folder):
        return []
    _sweep(folder)
    answers = [_ask(path) for path in sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))]
    found = [answer for answer in answers if answer is not None]
    return sorted(found, key=lambda each: str(each.get("since", "")))


def _bound(folder: Path) -> socket.socket | None:
    """Return a socket that listens in the folder; None where there can be none."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = folder / f"{_prefix()}{os.getpid()}{SUFFIX}"
    try:
        folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        if not _is_ours(folder):
            raise OSError("another user's folder")
        _sweep(folder)
        path.unlink(missing_ok=True)  # of a process that had the same number
        listener.bind(str(path))
        path.chmod(PRIVATE_FILE)  # the folder has kept others away so far
        listener.listen(BACKLOG)
    except (OSError, ValueError):  # read-only, too long a path
        listener.close()
        return None
    return listener


def _prefix() -> str:
    """Return how the sockets of this host begin: several may share a home."""
    host = blake2b(socket.gethostname().encode(), digest_size=HOST_BYTES).hexdigest()
    return f"{PREFIX}{host}-"


def _sweep(folder: Path) -> None:
    """Remove what processes of this host that were killed have left."""
    for path in folder.glob(f"{_prefix()}*{SUFFIX}"):
        digits = path.name.removeprefix(_prefix()).removesuffix(SUFFIX)
        if digits.isdigit() and not _is_alive(int(digits)):
            with suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _is_ours(folder: Path) -> bool:
    """Tell whether nobody else can have put anything into the folder."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_private = not stat.S_IMODE(status.st_mode) & FOREIGN_BITS
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and is_private


def _answer(listener: socket.socket, describe: Describe) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError as error:
            if error.errno == errno.EBADF:
                return
            gevent.sleep(PAUSE_S)  # there is no descriptor to be had
            continue
        with client, suppress(OSError), gevent.Timeout(ANSWER_S, False):
            client.sendall(json.dumps(describe()).encode())


def _ask(path: Path) -> dict[str, object] | None:
    data = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_S)
        try:
            asking.connect(str(path))
            while len(data) <= MAX_ANSWER and (chunk := asking.recv(1 << 16)):
                data += chunk
        except OSError:  # its process was killed
            return None
    try:
        answer = json.loads(bytes(data))
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
