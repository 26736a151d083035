"""Sockets that listen: one way to open them, one sentence when that fails.

An empty host means every address of this machine, IPv4 and IPv6 by one socket where the system can.
"""

import errno
import os

from gevent import socket

from tunnel.addresses import host_and_port
from tunnel.errors import TunnelError

# Chosen: connections that wait while the accept loop is held back by its rate limit.
BACKLOG = 512


class ListenFailed(TunnelError):
    """An address could not be listened on.

    Args:
        purpose: what was to listen ("relay", "STUN").
        host: as given.
        port: as given.
        cause: what the system said.
    """

    def __init__(self, purpose: str, host: str, port: int, cause: OSError) -> None:
        super().__init__(f"cannot listen on {host_and_port(host, port)}: {_reason(cause)}")
        self.purpose = purpose
        self.host = host
        self.port = port
        self.is_taken = cause.errno == errno.EADDRINUSE
        self.is_forbidden = cause.errno in (errno.EACCES, errno.EPERM)


def open_listener(purpose: str, host: str, port: int, kind: int) -> socket.socket:
    """Return a bound socket, listening if `kind` is SOCK_STREAM; raises `ListenFailed`.

    Args:
        purpose: for the error.
        host: an address, a name, or "" for every address of this machine.
        port: 0 for any.
        kind: SOCK_STREAM or SOCK_DGRAM.
    """
    try:
        if host:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
            return _bound(family, kind, address)
        try:
            return _bound(socket.AF_INET6, kind, ("::", port))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _bound(socket.AF_INET, kind, ("0.0.0.0", port))  # noqa: S104 - asked for by an empty host
    except OSError as error:
        raise ListenFailed(purpose, host, port, error) from error


def _bound(family: int, kind: int, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            is_any = address[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if is_any else 1)
        if kind == socket.SOCK_STREAM and os.name != "nt":
            # On Windows the option means that two programs may share the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(cause: OSError) -> str:
    if cause.errno == errno.EADDRINUSE:
        return "another program listens there"
    if cause.errno == errno.EADDRNOTAVAIL:
        return "it is not an address of this machine"
    return cause.strerror or str(cause)
