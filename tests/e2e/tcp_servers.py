"""TCP servers of the tests' own, a thread per connection: a recording proxy and relays gone wrong."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from tunnel.wire import derp

PATIENCE_S = 30.0
JOIN_S = 5.0
SERVER_KEY = bytes(range(32))  # any point of the curve will do for a relay that admits nobody
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
    b"Derp-Version: 2\r\n\r\n"
)
WEB_PAGE = b"<html><body>It works!</body></html>"

Script = Callable[[socket.socket], None]


class TcpServer:
    """Serves each connection to a free port of the loopback by a script, then closes it.

    Args:
        script: called in a thread of its own; what it raises of `OSError` ends the connection.
        port: where it listens; 0 for a free one.
    """

    def __init__(self, script: Script, port: int = 0) -> None:
        self.connections = 0
        self._script = script
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._spawn(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and wait for the threads."""
        for sock in [self._listener, *self._sockets]:
            hang_up(sock)
        for thread in self._threads:
            thread.join(JOIN_S)
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE_S)
            self.connections += 1
            self._sockets.append(sock)
            self._spawn(partial(self._serve, sock))

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._script(sock)

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"tcp server {self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()


def hang_up(sock: socket.socket) -> None:
    """Wake whoever waits on a socket, and close it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


# ---- relays gone wrong ----


def read_request(sock: socket.socket) -> tuple[bytes, bytes]:
    """Read up to the end of an HTTP head; returns the path asked for, and what came behind."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            raise ConnectionResetError
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.split(b" ")[1], rest


def read_head(sock: socket.socket) -> bytes:
    """Read up to the end of an HTTP head; returns what came behind it."""
    return read_request(sock)[1]


def read_to_end(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


def serve_web_page(sock: socket.socket) -> None:
    """A web server that knows nothing of DERP."""
    read_head(sock)
    size = str(len(WEB_PAGE)).encode()
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + size + b"\r\n\r\n" + WEB_PAGE)


def hang_after_upgrade(sock: socket.socket) -> None:
    """Upgrade, and never say a word again."""
    read_head(sock)
    sock.sendall(UPGRADED)
    read_to_end(sock)


def redirect(location: str) -> Script:
    """A web server that sends everybody elsewhere."""

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        sock.sendall(head.encode())

    return serve


def refuse_the_key(sock: socket.socket) -> None:
    """Greet, take the login, and close: what relays do with a key they do not admit.

    Pages are those of Headscale, which lacks /generate_204.
    """
    path, rest = read_request(sock)
    if path != b"/derp":
        found = path in (b"/derp/latency-check", b"/derp/probe")
        sock.sendall(
            b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % (b"200 OK" if found else b"404 Not Found")
        )
        return
    splitter = derp.FrameSplitter()
    splitter.feed(rest)
    sock.sendall(UPGRADED + derp.encode_server_key(derp.ServerKey(SERVER_KEY)))
    while not any(kind == derp.FrameType.CLIENT_INFO for kind, _ in splitter.frames()):
        piece = sock.recv(4096)
        if not piece:
            return
        splitter.feed(piece)


def say_nonsense(sock: socket.socket) -> None:
    """Answer whatever comes first with what no protocol knows."""
    sock.recv(4096)
    sock.sendall(b"220 mail.example.com ESMTP\r\n")


def serve_nobody_over_tls(certificate: tuple[Path, Path]) -> Script:
    """A good TLS server, if one trusts its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as encrypted:
            read_to_end(encrypted)

    return serve


# ---- the recording proxy ----


@dataclass(slots=True)
class Recording:
    """Every byte of one connection, in both directions."""

    to_relay: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)

    def packets_to_relay(self) -> list[tuple[bytes, bytes]]:
        """Packets the client sent, as (destination key, packet)."""
        return _packets(self.to_relay, derp.FrameType.SEND_PACKET)

    def packets_to_client(self) -> list[tuple[bytes, bytes]]:
        """Packets the client got, as (source key, packet)."""
        return _packets(self.to_client, derp.FrameType.RECV_PACKET)


class RecordingProxy(TcpServer):
    """Passes each connection on to a relay and keeps every byte.

    Args:
        relay_port: where the relay listens on this machine.
    """

    def __init__(self, relay_port: int) -> None:
        self.recordings: list[Recording] = []
        self._relay_port = relay_port
        super().__init__(self._pass_on)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _pass_on(self, client: socket.socket) -> None:
        recording = Recording()
        self.recordings.append(recording)
        with socket.create_connection(("127.0.0.1", self._relay_port), PATIENCE_S) as relay:
            self._sockets.append(relay)
            back = threading.Thread(
                target=_copy, args=(relay, client, recording.to_client), daemon=True
            )
            back.start()
            _copy(client, relay, recording.to_relay)
            back.join(PATIENCE_S)


def _copy(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            record += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _packets(recorded: bytearray, wanted: derp.FrameType) -> list[tuple[bytes, bytes]]:
    """Return key and packet of every frame of a kind behind the HTTP head."""
    splitter = derp.FrameSplitter()
    splitter.feed(bytes(recorded).partition(b"\r\n\r\n")[2])
    packets = []
    for kind, payload in splitter.frames():
        if kind == wanted:
            key, packet = derp.split_packet(payload)
            packets.append((bytes(key), bytes(packet)))
    return packets
