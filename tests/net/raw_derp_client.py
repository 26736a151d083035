"""A DERP client of the simplest kind, for tests of the relay: it shares only the frame codec."""

import os
from ssl import CERT_NONE

import gevent
from gevent import socket
from gevent.ssl import PROTOCOL_TLS_CLIENT, SSLContext
from nacl import bindings

from tunnel.wire import derp

PATIENCE_S = 10.0
UPGRADE = b"GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
FAST_START = UPGRADE[:-2] + b"Derp-Fast-Start: 1\r\n\r\n"


class RawClient:
    """One connection; every wait is bounded by `PATIENCE_S`.

    Args:
        source: the address it comes from.
        receive_buffer: bytes that the system keeps for it.
    """

    def __init__(self, address, *, tls=False, source="", receive_buffer=None):
        self.public, self.secret = bindings.crypto_box_keypair()
        self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.sock.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(address)
        if tls:
            context = SSLContext(PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = CERT_NONE
            context.set_alpn_protocols(["h2", "http/1.1"])
            self.sock = context.wrap_socket(self.sock)
        self._splitter = derp.FrameSplitter()
        self._frames = []

    def login(self, server_key):
        """The bytes of a login."""
        nonce = os.urandom(24)
        sealed = bindings.crypto_box(b'{"version":2}', nonce, server_key, self.secret)
        return derp.encode_frame(derp.FrameType.CLIENT_INFO, self.public, nonce, sealed)

    def connect(self):
        """Upgrade and log in; return self."""
        self.sock.sendall(UPGRADE)
        assert self.head().startswith(b"HTTP/1.1 101 ")
        self.finish_login()
        return self

    def finish_login(self):
        """Greeting, login, acceptance."""
        kind, greeting = self.frame()
        assert kind == derp.FrameType.SERVER_KEY
        self.sock.sendall(self.login(greeting[8:40]))
        assert self.frame()[0] == derp.FrameType.SERVER_INFO

    def head(self):
        """One HTTP head; what follows stays for `frame`."""
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = self.sock.recv(1)
            assert chunk, data
            data += chunk
        return data

    def frame(self):
        """The next frame as (type, payload); `EOFError` at the end of the stream."""
        with gevent.Timeout(PATIENCE_S):
            while not self._frames:
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError
                self._splitter.feed(data)
                self._frames += [(kind, bytes(body)) for kind, body in self._splitter.frames()]
        return self._frames.pop(0)

    def send(self, kind, *payload):
        self.sock.sendall(derp.encode_frame(kind, *payload))

    def send_packet(self, to, packet):
        self.send(derp.FrameType.SEND_PACKET, to.public, packet)

    def packet(self):
        """The next packet, other frames skipped, as (source key, packet)."""
        while True:
            kind, payload = self.frame()
            if kind == derp.FrameType.RECV_PACKET:
                return payload[:32], payload[32:]

    def rest(self):
        """Everything up to the end of the stream."""
        data = b""
        while chunk := self.sock.recv(65536):
            data += chunk
        return data

    def is_ended(self):
        """Wait for the end of the stream; true when it came."""
        try:
            while True:
                self.frame()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return True

    def close(self):
        self.sock.close()
