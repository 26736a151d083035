"""`support.fake_gateway` on real loopback sockets, with ports of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent import socket
from support.fake_gateway import FakeGateway

from tunnel.net.ports.portmap import GatewayPorts

LOOPBACK = "127.0.0.1"


class GatewayServer:
    """A gateway that listens; `ports` is what a `PortMapper` needs to find it."""

    def __init__(self, gateway: FakeGateway, host: str, *, answers_unicast: bool) -> None:
        self.gateway = gateway
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._udp = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
        for sock in self._udp:
            sock.bind((host, 0))
        self._http = socket.socket(family, socket.SOCK_STREAM)
        self._http.bind((host, 0))
        self._http.listen(8)
        gateway.ip = host
        gateway.http_port = self._http.getsockname()[1]
        mapping, search, everybody = (sock.getsockname()[1] for sock in self._udp)
        self.ports = GatewayPorts(mapping, search, (host, everybody))
        self._greenlets = [
            gevent.spawn(self._serve_mapping, self._udp[0]),
            gevent.spawn(self._serve_search, self._udp[1], answers_unicast),
            gevent.spawn(self._serve_search, self._udp[2], True),
            gevent.spawn(self._serve_http),
        ]
        if gateway.is_port_closed:
            self._udp[0].close()

    def close(self) -> None:
        """Stop serving."""
        gevent.killall(self._greenlets)
        for sock in (*self._udp, self._http):
            sock.close()

    def _serve_mapping(self, sock: socket.socket) -> None:
        if self.gateway.is_port_closed:
            return
        while True:
            data, source = sock.recvfrom(2048)
            answer = self.gateway.answer_datagram(time.monotonic(), data, source[0])
            if answer is not None:
                sock.sendto(b"junk", source)
                sock.sendto(answer, source)

    def _serve_search(self, sock: socket.socket, is_answered: bool) -> None:
        while True:
            data, source = sock.recvfrom(2048)
            answer = self.gateway.answer_search(data) if is_answered else None
            if answer is not None:
                sock.sendto(b"junk", source)
                sock.sendto(answer, source)

    def _serve_http(self) -> None:
        while True:
            connection, source = self._http.accept()
            self._greenlets.append(gevent.spawn(self._answer_http, connection, source[0]))

    def _answer_http(self, connection: socket.socket, source_ip: str) -> None:
        with connection:
            data = b""
            while b"\r\n\r\n" not in data or len(data) < _whole_size(data):
                piece = connection.recv(4096)
                if not piece:
                    return
                data += piece
            answer = self.gateway.answer_http(data, source_ip)
            if answer is None:
                connection.recv(1)  # until the other side has had enough
                return
            for start in range(0, len(answer), 100):
                connection.sendall(answer[start : start + 100])


def _whole_size(data: bytes) -> int:
    head, _, _ = data.partition(b"\r\n\r\n")
    sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + (int(sizes[0].partition(b":")[2]) if sizes else 0)


@contextmanager
def serving(
    gateway: FakeGateway | None = None, host: str = LOOPBACK, *, answers_unicast: bool = True
) -> Iterator[GatewayServer]:
    """Serve a gateway on loopback."""
    server = GatewayServer(gateway or FakeGateway(), host, answers_unicast=answers_unicast)
    try:
        yield server
    finally:
        server.close()
