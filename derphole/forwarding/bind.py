"""Binding the port of `open`: a TCP address, or a socket file that only our user may use."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gevent import socket

from derphole.errors import BindFailed, UsageError
from derphole.forwarding.endpoints import ServiceAddress, TcpEndpoint, UnixEndpoint
from derphole.forwarding.presence import is_held
from tunnel.net.sockets import BACKLOG, ListenFailed, open_listener

OWNER_ONLY = 0o177  # umask under which a socket file is made


@contextmanager
def bound(where: ServiceAddress) -> Iterator[socket.socket]:
    """Give a socket that listens, and close it at the end; raises `BindFailed`."""
    if isinstance(where, UnixEndpoint):
        listener = _bound_unix(where.path)
    else:
        listener = _bound_tcp(where)
    try:
        yield listener
    finally:
        listener.close()
        if isinstance(where, UnixEndpoint):
            with suppress(OSError):
                Path(where.path).unlink()


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


def _bound_unix(path: str) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("this system has no unix sockets; use HOST:PORT", shows_help=False)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(OWNER_ONLY)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise BindFailed(
            f"cannot listen on unix:{path}: {reason}", "choose another path"
        ) from error
    finally:
        os.umask(mask)
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that a program left behind; raises `BindFailed` if one listens there."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise BindFailed(f"unix:{path} exists and is not a socket", "choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BindFailed(f"unix:{path} cannot be used: {reason}", "choose another path") from error
    try:
        if not is_held(path):
            Path(path).unlink()
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BindFailed(f"unix:{path} cannot be used: {reason}", "choose another path") from error
    step = "stop that program, or choose another path"
    raise BindFailed(f"cannot listen on unix:{path}: another program listens there", step)
