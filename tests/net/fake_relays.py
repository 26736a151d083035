"""Relays of the tests' own: a script per connection decides how they behave or misbehave."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import gevent
from gevent import socket
from gevent.event import Event

from tunnel.crypto import box
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, GoneReason
from tunnel.wire.derpmap import FAMILY_OFF, RelayNode, RelayRegion
from tunnel.wire.http_head import encode_response_head, head_size

WAIT_S = 10.0
SERVER_KEYS = KeyPair.from_secret(b"\x22" * 32)


class Certificate(NamedTuple):
    cert_file: Path
    key_file: Path
    der: bytes

    @property
    def raw_pin(self) -> str:
        return "sha256-raw:" + sha256(self.der).hexdigest()


def make_certificate(folder: Path, name: str = "relay", alt: str = "DNS:relay.test") -> Certificate:
    """Make a self-signed certificate with the openssl command."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alt}"]
    command += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    import ssl

    return Certificate(cert, key, ssl.PEM_cert_to_DER_cert(cert.read_text()))


class FakeConnection:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.splitter = derp.FrameSplitter()
        self.client_key = b""
        self.request = b""

    def read_request(self) -> bytes:
        data = b""
        while (size := head_size(data)) is None:
            piece = self.socket.recv(4096)
            if not piece:
                raise ConnectionResetError
            data += piece
        self.splitter.feed(data[size:])
        self.request = data[:size]
        return self.request

    def upgrade(self) -> None:
        self.read_request()
        headers = {"Upgrade": "DERP", "Connection": "Upgrade", "Derp-Version": "2"}
        self.socket.sendall(encode_response_head(101, "Switching Protocols", headers))

    def greet(self) -> None:
        self.socket.sendall(derp.encode_server_key(derp.ServerKey(SERVER_KEYS.public)))

    def read_login(self) -> bytes:
        kind, payload = self.read_frame()
        assert kind == FrameType.CLIENT_INFO
        info = derp.decode_client_info(payload)
        self.client_key = info.key
        return box.open_box(SERVER_KEYS, info.key, info.nonce, info.sealed)

    def accept(self, message: bytes = b'{"version":2}') -> None:
        nonce = b"\x44" * 24
        sealed = box.seal(SERVER_KEYS, self.client_key, nonce, message)
        self.socket.sendall(derp.encode_server_info(derp.ServerInfo(nonce, sealed)))

    def log_in(self, message: bytes = b'{"version":2}') -> None:
        self.upgrade()
        self.greet()
        self.read_login()
        self.accept(message)

    def read_frame(self) -> tuple[int, bytes]:
        while True:
            for kind, payload in self.splitter.frames():
                return kind, bytes(payload)
            size = self.socket.recv_into(self.splitter.writable())
            if not size:
                raise ConnectionResetError
            self.splitter.wrote(size)

    def send_frame(self, kind: int, *payload: bytes) -> None:
        self.socket.sendall(derp.encode_frame(kind, *payload))

    def deliver(self, source: bytes, packet: bytes) -> None:
        self.send_frame(FrameType.RECV_PACKET, source, packet)

    def wait_for_end(self) -> None:
        """Read until the client hangs up, answering pings."""
        while True:
            kind, payload = self.read_frame()
            if kind == FrameType.PING:
                self.send_frame(FrameType.PONG, payload[:8])

    def echo(self) -> None:
        """Send every packet back to its sender, from its destination."""
        while True:
            kind, payload = self.read_frame()
            if kind == FrameType.SEND_PACKET:
                self.send_frame(FrameType.RECV_PACKET, payload)
            elif kind == FrameType.PING:
                self.send_frame(FrameType.PONG, payload[:8])


Script = Callable[[FakeConnection], None]


class FakeRelay:
    """Listens on a port of the system's choice; `script` serves each connection, then it closes."""

    def __init__(
        self, script: Script, host: str = "127.0.0.1", certificate: Certificate | None = None
    ) -> None:
        self.script = script
        self.host = host
        self.connections = 0
        self._certificate = certificate
        self._greenlets: list[gevent.Greenlet] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, 0))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]
        self._greenlets.append(gevent.spawn(self._accept))

    def node(self, **fields: object) -> RelayNode:
        """Return the node of this relay; host and addresses as given or its own."""
        values: dict[str, object] = {"host": self.host, "derp_port": self.port, "stun_port": -1}
        values["use_tls"] = self._certificate is not None
        if fields.get("host", self.host) != self.host:
            values |= {"ipv4": self.host, "ipv6": FAMILY_OFF}
        return RelayNode("900a", 900, **(values | fields))

    def region(self, **fields: object) -> RelayRegion:
        return RelayRegion(900, "own", "own", (self.node(**fields),))

    def close(self) -> None:
        self._listener.close()
        gevent.killall(self._greenlets, timeout=WAIT_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._greenlets.append(gevent.spawn(self._serve, sock))

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._certificate is not None:
                sock = self._wrap(sock)
            self.script(FakeConnection(sock))
        except OSError:
            pass
        finally:
            sock.close()

    def _wrap(self, sock: socket.socket) -> socket.socket:
        import ssl

        from gevent.ssl import SSLContext

        context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert self._certificate is not None
        context.load_cert_chain(self._certificate.cert_file, self._certificate.key_file)
        return context.wrap_socket(sock, server_side=True)


@contextmanager
def running(
    script: Script, host: str = "127.0.0.1", certificate: Certificate | None = None
) -> Iterator[FakeRelay]:
    relay = FakeRelay(script, host, certificate)
    try:
        yield relay
    finally:
        relay.close()


class Recorder:
    """A RelayObserver that keeps what it is told and can be waited on."""

    def __init__(self) -> None:
        self.packets: list[tuple[DerpKey, bytes]] = []
        self.gone: list[tuple[DerpKey, GoneReason]] = []
        self.states: list[RelayState] = []
        self.errors: list[str] = []
        self.reads = 0
        self.room_calls = 0
        self._changed = Event()

    def relay_packet(self, relay: RelayConnection, source: DerpKey, packet: memoryview) -> None:
        self.packets.append((source, bytes(packet)))
        self._changed.set()

    def relay_read_done(self, relay: RelayConnection) -> None:
        self.reads += 1

    def relay_peer_gone(self, relay: RelayConnection, key: DerpKey, reason: GoneReason) -> None:
        self.gone.append((key, reason))
        self._changed.set()

    def relay_changed(self, relay: RelayConnection) -> None:
        self.states.append(relay.state)
        if relay.last_error is not None:
            self.errors.append(str(relay.last_error))
        self._changed.set()

    def relay_has_room(self, relay: RelayConnection) -> None:
        self.room_calls += 1
        self._changed.set()

    def wait_connected(self, relay: RelayConnection, limit_s: float = WAIT_S) -> None:
        self.wait_until(lambda: relay.state is RelayState.CONNECTED, limit_s)

    def wait_until(self, is_true: Callable[[], bool], limit_s: float = WAIT_S) -> None:
        with gevent.Timeout(limit_s):
            while not is_true():
                self._changed.clear()
                self._changed.wait()
