"""A stranger at the relay: a client that logs in with a key of its own and sends what it likes."""

import os
import socket

from nacl import bindings
from tcp_servers import PATIENCE_S

from tunnel.wire import derp

UPGRADE = b"GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"


class Stranger:
    """Logged in at a relay on this machine; every wait is bounded.

    Args:
        relay_port: of the relay.
        secret: of its key; None for a new one.

    Attributes:
        public: its key.
        packets: what others have sent to it so far, as `process` saw it.
        sources: whose each of them is.
    """

    def __init__(self, relay_port: int, secret: bytes | None = None) -> None:
        self.packets: list[bytes] = []
        self.sources: list[bytes] = []
        secret = secret or os.urandom(32)
        self.public = bindings.crypto_scalarmult_base(secret)
        self._splitter = derp.FrameSplitter()
        self._frames: list[tuple[int, bytes]] = []
        self._socket = socket.create_connection(("127.0.0.1", relay_port), PATIENCE_S)
        self._socket.sendall(UPGRADE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        kind, greeting = self._next_frame()
        assert kind == derp.FrameType.SERVER_KEY
        nonce = os.urandom(24)
        sealed = bindings.crypto_box(b'{"version":2}', nonce, greeting[8:40], secret)
        self._send(derp.FrameType.CLIENT_INFO, self.public, nonce, sealed)
        assert self._next_frame()[0] == derp.FrameType.SERVER_INFO

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, to: bytes, packet: bytes) -> None:
        """Send a packet to a client of the relay."""
        self._send(derp.FrameType.SEND_PACKET, to, packet)

    def process(self) -> None:
        """Return once the relay has dealt with everything sent, and what came back is read."""
        token = os.urandom(8)
        self._send(derp.FrameType.PING, token)
        while True:
            kind, payload = self._next_frame()
            if kind == derp.FrameType.RECV_PACKET:
                self.sources.append(payload[:32])
                self.packets.append(payload[32:])
            elif kind == derp.FrameType.PONG and payload == token:
                return

    def _send(self, kind: int, *payload: bytes) -> None:
        self._socket.sendall(derp.encode_frame(kind, *payload))

    def _next_frame(self) -> tuple[int, bytes]:
        while not self._frames:
            data = self._socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._splitter.feed(data)
            self._frames += [(kind, bytes(body)) for kind, body in self._splitter.frames()]
        return self._frames.pop(0)
