"""A target shared and opened by two processes, and the programs that tests put behind it."""

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from desk import LISTENING, Desk, token_of
from support.processes import Process, await_true, free_port
from support.programs import await_listener

# Serves by the first line of a connection: "echo", "flood", "sink" (reads no more), "give SIZE",
# "flooded" (how many bytes all floods have sent).
SERVER = """
import resource, socket, sys
import gevent
from gevent.server import StreamServer
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
block = bytes(range(256)) * 1024
flooded = [0]
def line_of(sock):
    line = b""
    while not line.endswith(b"\\n"):
        byte = sock.recv(1)
        if not byte:
            return b""
        line += byte
    return line.decode().split()
def serve(sock, address):
    try:
        words = line_of(sock)
        if words[:1] == ["echo"]:
            while data := sock.recv(65536):
                sock.sendall(data)
        elif words[:1] == ["flood"]:
            # A thousand of these would fill the memory that the kernel has for TCP altogether.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            while True:
                flooded[0] += sock.send(block)
        elif words[:1] == ["sink"]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            gevent.sleep(3600)
        elif words[:1] == ["flooded"]:
            sock.sendall(b"%d" % flooded[0])
        elif words[:1] == ["give"]:
            left = int(words[1])
            while left > 0:
                sock.sendall(block[:left])
                left -= len(block)
    except OSError:
        pass
    finally:
        sock.close()
server = StreamServer(("127.0.0.1", 0), serve, backlog=2048)
server.start()
print(server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
"""


@dataclass
class SharedPort:
    """Both processes, the port of `open`, and the token."""

    share: Process
    open: Process
    port: int
    token: str

    def connect(self) -> socket.socket:
        """Connect to the port."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self) -> None:
        """End both, `open` first; both end with 0."""
        self.open.stop()
        self.open.ends_with(0)
        self.share.stop()
        self.share.ends_with(0)


def shared_port(desk: Desk, target: int | str, *flags: str, relay_url: str = "") -> SharedPort:
    """Share a target and open a port; `flags` are those of both."""
    url = relay_url or desk.relay_url
    share = desk.derphole("share", "share", "--verbose", "--relay", url, *flags, str(target))
    token = token_of(share)
    opened, port = opened_port(desk, token, *flags)
    return SharedPort(share, opened, port, token)


def await_path(link: SharedPort, flags: tuple[str, ...]) -> None:
    """Wait until traffic takes the path that `flags` mean."""
    if "--force-relay" not in flags:
        link.open.await_line("^connected-direct")


def opened_port(desk: Desk, token: str, *flags: str, name: str = "open") -> tuple[Process, int]:
    """Run `open`; returns it and its port."""
    kept = [flag for flag in flags if not flag.startswith("--max")]
    opened = desk.derphole(name, "open", "--verbose", *kept, token)
    port = int(opened.await_line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1))
    return opened, port


def line_server(desk: Desk) -> int:
    """Run the server above; returns its port."""
    server = desk.run("server", [sys.executable, "-c", SERVER])
    return int(server.await_line(r"^(\d+)$").group(1))


def web_server(desk: Desk, folder: Path) -> int:
    """Serve a folder by HTTP; returns the port."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory"]
    desk.run("web server", [*command, folder, str(port)])
    await_listener(port)
    return port


def await_single_listener(port: int) -> None:
    """Wait until something listens on a port that a single connection would use up."""
    tables = [path for name in ("tcp", "tcp6") if (path := Path("/proc/net", name)).exists()]
    if not tables:
        pytest.skip("this system has no table that tells who listens")

    def listens() -> bool:
        rows = [line.split() for table in tables for line in table.read_text().splitlines()]
        return any(row[1].endswith(f":{port:04X}") and row[3] == LISTENING for row in rows)

    await_true(listens, f"something listens on port {port}")


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes to the echo behind a port; returns what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(b"echo\n" + data)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def read_to_end(sock: socket.socket) -> bytes:
    """Read to the clean end."""
    data = bytearray()
    while chunk := sock.recv(1 << 16):
        data += chunk
    return bytes(data)


def is_reset(sock: socket.socket) -> bool:
    """Wait for the end of a connection; tells whether it was a reset."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False
