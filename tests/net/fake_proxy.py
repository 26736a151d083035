"""An HTTP proxy of the tests' own: CONNECT with optional Basic authorization, names of its own."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent import socket

from tunnel.wire.http_head import head_size, parse_request_head


class FakeProxy:
    """Tunnels to `port_by_name`; anything else gets 502."""

    def __init__(self, port_by_name: dict[str, int], credentials: str = "") -> None:
        self.requests: list[str] = []
        self._port_by_name = port_by_name
        self._wanted = f"Basic {b64encode(credentials.encode()).decode()}" if credentials else ""
        self._greenlets: list[gevent.Greenlet] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]
        self._greenlets.append(gevent.spawn(self._accept))

    def close(self) -> None:
        self._listener.close()
        gevent.killall(self._greenlets, timeout=10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._greenlets.append(gevent.spawn(self._serve, sock))

    def _serve(self, client: socket.socket) -> None:
        try:
            data = b""
            while (size := head_size(data)) is None:
                data += client.recv(4096)
            head = parse_request_head(data[:size])
            self.requests.append(f"{head.method} {head.target}")
            if self._wanted and head.headers.get("proxy-authorization") != self._wanted:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            port = self._port_by_name.get(head.target.rpartition(":")[0])
            if port is None:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = gevent.spawn(_copy, server, client)
                self._greenlets.append(back)
                _copy(client, server)
                back.join()
        except OSError:
            pass
        finally:
            client.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def proxying(port_by_name: dict[str, int], credentials: str = "") -> Iterator[FakeProxy]:
    proxy = FakeProxy(port_by_name, credentials)
    try:
        yield proxy
    finally:
        proxy.close()
