"""Forward: one TCP connection and one stream, copied into each other until both ways are over.

    socket ──recv──► stream      end of file -> clean end; the other way goes on
    socket ◄──send── stream      clean end   -> shutdown;  a reset on either side is one on both

Each way is a straight line of code in a greenlet of its own.  A way that cannot go on waits, and
so does whoever feeds it: the stream's credit, or the kernel's buffer, holds the sender back.  What
waits in this process for all connections together is bounded by `Quota`.
"""

import errno
from collections.abc import Callable

from gevent import socket

from derphole.edges.tcp import close_with_reset
from derphole.speech.resets import ResetCode, reset_words
from tunnel.errors import LinkEnded, StreamReset
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.values import frozen

# Chosen: what all connections of a process may hold between socket and stream, each way, and the
# least and the most that one of them gets of it: a few datagrams, several bursts.
HELD: ByteCount = 16 << 20
LEAST_HELD: ByteCount = 16 << 10
MOST_HELD: ByteCount = 256 << 10
# Parts that fit this are joined for one send.
JOINED: ByteCount = 64 << 10


class Quota:
    """Shares a bound of memory among the connections that are open."""

    def __init__(self) -> None:
        self.connections = 0

    @property
    def size(self) -> ByteCount:
        """Bytes that each connection may hold each way."""
        return max(LEAST_HELD, min(MOST_HELD, HELD // max(1, self.connections)))


@frozen
class Outcome:
    """How a forwarded connection ended.

    Args:
        sent: bytes from the socket to the other side.
        received: bytes from the other side that the socket took.
        seconds: from its beginning.
        reason: in words.
        code: of the reset; None for a clean end both ways.
    """

    sent: ByteCount
    received: ByteCount
    seconds: Seconds
    reason: str
    code: int | None


class Forwarding:
    """One connection on its way; whoever made it calls `run`.

    Args:
        sock: a connected socket, closed at the end.
        stream: where its bytes go, and come from.
        quota: shared with the other connections.
        began_at: when the connection was made.
    """

    def __init__(
        self, sock: socket.socket, stream: Stream, quota: Quota, began_at: Instant
    ) -> None:
        self.began_at = began_at
        self._sock = sock
        self._stream = stream
        self._quota = quota
        self._sent = 0
        self._received = 0
        self._reason = "done"
        self._code: int | None = None
        self._is_aborted = False

    def run(self, tasks: TaskGroup) -> Outcome:
        """Copy both ways until both are over; the second one runs in a greenlet of `tasks`."""
        self._quota.connections += 1
        try:
            up = tasks.spawn("connection", self._guard, self._copy_up)
            self._guard(self._copy_down)
            up.join()
        finally:
            self._quota.connections -= 1
            self._sock.close()
        seconds = monotonic() - self.began_at
        return Outcome(self._sent, self._received, seconds, self._reason, self._code)

    def abort(self, code: int, reason: str | None = None) -> None:
        """End both ways now: what is on its way is lost, and both ends see a reset."""
        if self._is_aborted:
            return
        self._is_aborted = True
        self._code = code
        self._reason = reason or reset_words(code)
        self._stream.reset(code)
        self._stream.stop(code)
        close_with_reset(self._sock)  # wakes whichever way waits for the socket

    def _guard(self, copy: Callable[[], None]) -> None:
        """Run one way; its failure is the end of both."""
        try:
            copy()
        except StreamReset as reset:
            self.abort(reset.code)
        except LinkEnded:
            self.abort(ResetCode.NO_LINK)
        except OSError as error:
            self.abort(ResetCode.ABORTED, _socket_words(error))

    def _copy_up(self) -> None:
        stream, sock = self._stream, self._sock
        while True:
            data = sock.recv(stream.wait_room(self._quota.size))
            if not data:
                stream.end()
                return
            self._sent += len(data)
            stream.write(data)

    def _copy_down(self) -> None:
        sock = self._sock
        while chunks := self._stream.read(self._quota.size):
            size = sum(map(len, chunks))
            if len(chunks) > 1 and size <= JOINED:
                chunks = [b"".join(chunks)]
            for chunk in chunks:
                sent = sock.send(chunk)
                if sent < len(chunk):  # only then is it worth what `sendall` does around it
                    sock.sendall(memoryview(chunk)[sent:])
            self._received += size
        sock.shutdown(socket.SHUT_WR)


def _socket_words(error: OSError) -> str:
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "reset on this side"
    return f"failed on this side: {error.strerror or error}"
