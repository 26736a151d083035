"""TCP through `share` and `open` by a direct path on loopback, beside the same TCP without them.

The client is this process, the server another one; with and without the two commands between them
they do the same in the same round: one download, small questions with small answers, and one
connection after another.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from figure import Figure
from processes import DERPHOLE, Process, relay

SERVER = """
import sys
from gevent.server import StreamServer
block = bytes(262144)
def serve(sock, address):
    try:
        size = int.from_bytes(sock.recv(8), "little")
        for _ in range(size // len(block)):
            sock.sendall(block)
        while data := sock.recv(65536):
            sock.sendall(data)
    except ConnectionError:
        pass  # the client has what it came for
    sock.close()
server = StreamServer(("127.0.0.1", 0), serve, backlog=1024)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""
CHUNK = 1 << 20


def run(rounds: int, is_quick: bool) -> list[Figure]:
    size = (64 << 20) if is_quick else (512 << 20)
    count = 200 if is_quick else 2000
    ratios, direct, forwarded, added, rates = [], [], [], [], []
    for _ in range(rounds):
        with server() as target, relay() as url, opened(url, target) as port:
            direct.append(download_rate(target, size) / 1e6)
            forwarded.append(download_rate(port, size) / 1e6)
            ratios.append(forwarded[-1] / direct[-1])
            added.append(1e3 * (round_trip_s(port, count) - round_trip_s(target, count)))
            rates.append(count / connections_s(port, count))
    return [
        Figure("forwarded TCP, one connection, vs direct TCP", "x", ratios, 0.12, 0.2),
        Figure("  forwarded rate", "MB/s", forwarded),
        Figure("  direct TCP rate", "MB/s", direct),
        Figure("  added round trip, median", "ms", added, 0.5, is_upper_bound=True),
        Figure("  connections one after another", "1/s", rates, 200),
    ]


@contextmanager
def server() -> Iterator[int]:
    """Run the server above; yields its port."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextmanager
def opened(url: str, target: int) -> Iterator[int]:
    """Run `share` and `open`; yields the port once traffic takes a direct path."""
    quiet = subprocess.DEVNULL
    share = Process([*DERPHOLE, "share", "--relay", url, str(target)], quiet, quiet)
    command = [*DERPHOLE, "open", "--verbose", share.wait_line(r"dhp1_\S+")]
    opener = Process(command, quiet, quiet)
    try:
        port = int(opener.wait_line(r"^listening on \S+").rpartition(":")[2])
        opener.wait_line("^connected-direct")
        yield port
    finally:
        opener.stop()
        share.stop()


def connect(port: int, size: int) -> socket.socket:
    """Connect, and ask for `size` bytes to begin with."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(size.to_bytes(8, "little"))
    return sock


def download_rate(port: int, size: int) -> float:
    """Return bytes a second, from the first byte to the last."""
    buffer, got = bytearray(CHUNK), 0
    with connect(port, size) as sock:
        sock.recv_into(buffer, 1, socket.MSG_PEEK)
        started = time.perf_counter()
        while got < size:
            count = sock.recv_into(buffer)
            if not count:
                raise RuntimeError(f"the connection ended after {got} bytes")
            got += count
        return size / (time.perf_counter() - started)


def round_trip_s(port: int, count: int) -> float:
    """Return the median time from one byte to its echo."""
    times = []
    with connect(port, 0) as sock:
        for _ in range(count):
            started = time.perf_counter()
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise RuntimeError("the echo is another one")
            times.append(time.perf_counter() - started)
    return median(times)


def connections_s(port: int, count: int) -> float:
    """Return how long so many connections take, each with one question and its answer."""
    started = time.perf_counter()
    for _ in range(count):
        with connect(port, 0) as sock:
            sock.sendall(b"hello")
            if sock.recv(5) != b"hello":
                raise RuntimeError("the echo is another one")
    return time.perf_counter() - started
