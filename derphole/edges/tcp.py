"""TCP sockets of the user: small pieces at once, an end seen as a reset, no room for more."""

import errno
import struct

from gevent import socket

# Why the system gives no socket now, though it may later.
NO_ROOM = {
    errno.EMFILE: "this process has as many files open as it may (`ulimit -n`)",
    errno.ENFILE: "the system has as many files open as it can",
    errno.ENOBUFS: "the system has no memory for another connection",
    errno.ENOMEM: "the system has no memory for another connection",
}

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds


def close_with_reset(sock: socket.socket) -> None:
    """Close a socket so that its other end sees a reset, and not a clean end."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL):  # closed, or reset already
            raise
    sock.close()


def prepare(sock: socket.socket) -> None:
    """Have small pieces sent at once, where the socket is one of TCP."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
