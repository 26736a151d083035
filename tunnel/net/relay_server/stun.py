"""The STUN server: UDP around `tunnel.proto.relay_server.stun_responder`.

    one address                  one socket
    every address                one socket, and each answer from the address that was asked
    the same, but the system     a socket for each address that the machine has at the start, since
    does not tell which one      one for all would answer from another than was asked

The same answers serve Tailscale's clients and plain RFC 8489 ones.  An answer that cannot be sent
is dropped, as the network might have dropped it.
"""

import logging

import gevent
from gevent import socket

from tunnel.net.clock import monotonic
from tunnel.net.ifaces import local_addresses
from tunnel.net.relay_server.packet_info import (
    CONTROL_SIZE,
    Control,
    answer_control,
    ask_for_destination,
)
from tunnel.net.sockets import ListenFailed, open_listener
from tunnel.net.tasks import TaskGroup
from tunnel.net.threads import in_thread
from tunnel.proto.relay_server.source_network import is_unspecified, plain_address
from tunnel.proto.relay_server.stun_responder import MAX_REQUEST_SIZE, StunResponder

# Chosen: datagrams answered before other greenlets run.
DATAGRAMS_PER_TURN = 32
# Chosen: after a failed receive; such errors come from the system, not from one datagram.
RETRY_S = 0.1

_log = logging.getLogger(__name__)


class StunServer:
    """Answers binding requests on one address, or on every one of this machine.

    Args:
        listen: host ("" for all addresses) and port (0 for any).
        asks_destination: whether to use what the system tells of a datagram's destination.
    """

    def __init__(self, listen: tuple[str, int], *, asks_destination: bool = True) -> None:
        self._listen = listen
        self._asks_destination = asks_destination
        self._sockets: list[socket.socket] = []
        self._address: tuple[str, int] | None = None
        self._responder = StunResponder(monotonic())

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens, once started."""
        assert self._address is not None, "not started"
        return self._address

    def start(self, tasks: TaskGroup) -> None:
        """Bind, and answer in greenlets of `tasks`; raises `ListenFailed` holding nothing."""
        sock = open_listener("STUN", *self._listen, socket.SOCK_DGRAM)
        host, port = self._address = sock.getsockname()[:2]
        has_many = is_unspecified(plain_address(host))
        tells = has_many and self._asks_destination and ask_for_destination(sock)
        if has_many and not tells:
            sock.close()
            self._sockets = _one_for_each(host, port) or [
                open_listener("STUN", host, port, socket.SOCK_DGRAM)
            ]
        else:
            self._sockets = [sock]
        for each in self._sockets:
            tasks.spawn("stun", self._run, each, tells)

    def close(self) -> None:
        """Close the sockets; the greenlets must have ended."""
        for sock in self._sockets:
            sock.close()

    def _run(self, sock: socket.socket, tells: bool) -> None:
        turn = 0
        while True:
            control: Control = []
            try:
                if tells:
                    data, control, _, source = sock.recvmsg(MAX_REQUEST_SIZE, CONTROL_SIZE)
                else:
                    data, source = sock.recvfrom(MAX_REQUEST_SIZE)
            except OSError as error:
                _log.warning("receiving STUN requests failed: %s", error)
                gevent.sleep(RETRY_S)
                continue
            answer = self._responder.answer(monotonic(), data, source[0], source[1])
            if answer is not None:
                self._send(sock, answer, answer_control(control), source)
            turn += 1
            if turn % DATAGRAMS_PER_TURN == 0:
                gevent.sleep(0)

    @staticmethod
    def _send(
        sock: socket.socket, answer: bytes, control: Control, source: tuple[str, int]
    ) -> None:
        try:
            if control:
                sock.sendmsg([answer], control, 0, source)
            else:
                sock.sendto(answer, source)
        except OSError as error:
            _log.debug("a STUN answer was not sent: %s", error)


def _one_for_each(host: str, port: int) -> list[socket.socket]:
    """Return a socket of each address of this machine that a wildcard stands for, on one port."""
    sockets: list[socket.socket] = []
    for each in in_thread(local_addresses):
        if ":" in each.ip and ":" not in host:
            continue
        try:
            sockets.append(open_listener("STUN", each.ip, port, socket.SOCK_DGRAM))
        except ListenFailed as error:  # an address that went away, or is not usable yet
            _log.info("STUN is not answered at one address: %s", error)
    return sockets
