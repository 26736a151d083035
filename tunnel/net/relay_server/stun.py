"""The STUN server: one UDP socket around `tunnel.proto.relay_server.stun_responder`.

The same answers serve Tailscale's clients and plain RFC 8489 ones.  An answer that cannot be sent
is dropped, as the network might have dropped it.
"""

import logging

import gevent
from gevent import socket

from tunnel.net.clock import monotonic
from tunnel.net.sockets import open_listener
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_server.stun_responder import MAX_REQUEST_SIZE, StunResponder

# Chosen: datagrams answered before other greenlets run.
DATAGRAMS_PER_TURN = 32
# Chosen: after a failed receive; such errors come from the system, not from one datagram.
RETRY_S = 0.1

_log = logging.getLogger(__name__)


class StunServer:
    """Answers binding requests on one address.

    Args:
        listen: host ("" for all addresses) and port (0 for any).
    """

    def __init__(self, listen: tuple[str, int]) -> None:
        self._listen = listen
        self._socket: socket.socket | None = None
        self._address: tuple[str, int] | None = None
        self._responder = StunResponder(monotonic())

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens, once started."""
        assert self._address is not None, "not started"
        return self._address

    def start(self, tasks: TaskGroup) -> None:
        """Bind and answer in a greenlet of `tasks`; raises `ListenFailed`."""
        self._socket = open_listener("STUN", *self._listen, socket.SOCK_DGRAM)
        self._address = self._socket.getsockname()[:2]
        tasks.spawn("stun", self._run, self._socket)

    def close(self) -> None:
        """Close the socket; the greenlet must have ended."""
        if self._socket is not None:
            self._socket.close()

    def _run(self, sock: socket.socket) -> None:
        turn = 0
        while True:
            try:
                data, source = sock.recvfrom(MAX_REQUEST_SIZE)
            except OSError as error:
                _log.warning("receiving STUN requests failed: %s", error)
                gevent.sleep(RETRY_S)
                continue
            answer = self._responder.answer(monotonic(), data, source[0], source[1])
            if answer is not None:
                self._send(sock, answer, source)
            turn += 1
            if turn % DATAGRAMS_PER_TURN == 0:
                gevent.sleep(0)

    @staticmethod
    def _send(sock: socket.socket, answer: bytes, source: tuple[str, int]) -> None:
        try:
            sock.sendto(answer, source)
        except OSError as error:
            _log.debug("a STUN answer was not sent: %s", error)
