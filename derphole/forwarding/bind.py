"""Binding the port of `open`: a TCP address, or a socket file that only our user may use."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from gevent import socket

from derphole.errors import BindFailed, UsageError
from derphole.forwarding.endpoints import ServiceAddress, TcpEndpoint, UnixEndpoint
from derphole.forwarding.presence import is_held
from derphole.status import Caution
from tunnel.net.sockets import BACKLOG, ListenFailed, open_listener

OWNER_ONLY = 0o177  # umask under which a socket file is made


@contextmanager
def bound(where: ServiceAddress) -> Iterator[socket.socket]:
    """Give a socket that listens, and close it at the end; raises `BindFailed`."""
    if not isinstance(where, UnixEndpoint):
        with closing(_bound_tcp(where)) as listener:
            yield listener
        return
    unix, ours = _bound_unix(where.path)
    with closing(unix) as listener:
        try:
            yield listener
        finally:
            # Before it is closed: until then no other file can have the number of ours.
            with suppress(OSError):
                _remove(where.path, ours)


def reachable_from_elsewhere(where: ServiceAddress) -> Caution:
    """Return the warning about an address that is not this machine's alone."""
    return Caution(
        f"{where} can be reached from other machines: anyone who can connect to it can use the "
        "shared service"
    )


def address_text(listener: socket.socket) -> str:
    """Return where a socket listens, as people write it."""
    if listener.family == getattr(socket, "AF_UNIX", None):
        return str(UnixEndpoint(listener.getsockname()))
    host, port = listener.getsockname()[:2]
    return str(TcpEndpoint(host, port))


def _bound_tcp(where: TcpEndpoint) -> socket.socket:
    try:
        return open_listener("open", where.host, where.port, socket.SOCK_STREAM)
    except ListenFailed as error:
        step = "choose another address (port 0 takes any free one)"
        if error.is_taken:
            step = f"stop that program, or {step}"
        elif error.is_forbidden:
            step = "choose a port above 1023; lower ones need special rights"
        raise BindFailed(str(error), step) from error


def _bound_unix(path: str) -> tuple[socket.socket, os.stat_result]:
    """Return a socket that listens at a path, and the file that is there now."""
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("this system has no unix sockets; use HOST:PORT", shows_help=False)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(OWNER_ONLY)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
        return listener, os.lstat(path)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise BindFailed(
            f"cannot listen on unix:{path}: {reason}", "choose another path"
        ) from error
    finally:
        os.umask(mask)


def _remove_stale(path: str) -> None:
    """Remove a socket that a program left behind; raises `BindFailed` if one listens there."""
    try:
        stale = os.lstat(path)
        if not stat.S_ISSOCK(stale.st_mode):
            raise BindFailed(f"unix:{path} exists and is not a socket", "choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BindFailed(f"unix:{path} cannot be used: {reason}", "choose another path") from error
    try:
        if not is_held(path):
            _remove(path, stale)
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BindFailed(f"unix:{path} cannot be used: {reason}", "choose another path") from error
    step = "stop that program, or choose another path"
    raise BindFailed(f"cannot listen on unix:{path}: another program listens there", step)


def _remove(path: str, file: os.stat_result) -> None:
    """Remove a path if it still is that file's: another program may have made a new one there."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.lstat(path), file):
            Path(path).unlink()
