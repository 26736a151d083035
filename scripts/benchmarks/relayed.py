"""File to file through the embedded relay, beside a gevent TCP forwarder in the same round.

A forwarder is one process that copies what a sender process writes to a receiver process.  Two of
them are measured: the textbook one (`recv(65536)`, `sendall`), which the bound is for, and the best
one that gevent allows (`recv_into` one 256 KiB buffer), to show how far the textbook is from that.
"""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figure import Figure
from processes import Process, Usage, listen, pipe, relay

CHUNK = 256 << 10
FORWARDER = """
import sys
from gevent import socket
from gevent.server import StreamServer
def forward(source, address):
    target = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    if sys.argv[2] == "textbook":
        while data := source.recv(65536):
            target.sendall(data)
    else:
        buffer = bytearray(262144)
        view = memoryview(buffer)
        while size := source.recv_into(buffer):
            target.sendall(view[:size])
    target.shutdown(1)
server = StreamServer(("127.0.0.1", 0), forward)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""
SENDER = """
import socket, sys
target = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
block = bytes(262144)
for _ in range(int(sys.argv[2]) // len(block)):
    target.sendall(block)
"""


def run(rounds: int, is_quick: bool) -> list[Figure]:
    size = (64 << 20) if is_quick else (1 << 30)
    rates, peaks, cpu, direct_rates = [], [], [], []
    forwarders: dict[str, list[float]] = {"textbook": [], "best": []}
    with tempfile.TemporaryDirectory(prefix="derphole-bench-") as folder:
        source = Path(folder, "source")
        digest = write_random(source, size)
        for _ in range(rounds):
            for kind, samples in forwarders.items():
                samples.append(forwarder_rate(size, kind) / 1e6)
            rate, usages = transfer_rate(
                source, Path(folder, "copy"), digest, size, "--force-relay"
            )
            rates.append(rate / 1e6)
            direct, _ = transfer_rate(source, Path(folder, "copy"), digest, size)
            direct_rates.append(direct / 1e6)
            peaks.append(max(usage.peak_mb for usage in usages))
            cpu.append(sum(usage.cpu_s for usage in usages) / (size / (1 << 30)))
    textbook, best = (
        [rate / forwarder for rate, forwarder in zip(rates, samples, strict=True)]
        for samples in forwarders.values()
    )
    return [
        Figure("relayed, file to file, vs gevent TCP forwarder", "x", textbook, 0.3, 0.5),
        Figure("  the same vs the best such forwarder", "x", best),
        Figure("  relayed rate, whole processes", "MB/s", rates),
        Figure("  the same file by the direct path", "MB/s", direct_rates),
        Figure("  forwarder rate, textbook", "MB/s", forwarders["textbook"]),
        Figure("  forwarder rate, best", "MB/s", forwarders["best"]),
        Figure("  CPU, both ends", "s/GiB", cpu),
        Figure("  peak memory of the larger process", "MB", peaks, 150, 100, is_upper_bound=True),
    ]


def write_random(path: Path, size: int) -> str:
    """Fill a file with random bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def transfer_rate(
    source: Path, copy: Path, digest: str, size: int, *options: str
) -> tuple[float, list[Usage]]:
    """Return bytes a second from the start of `pipe` to its exit, and what both ends cost."""
    with relay() as url:
        receiver, token = listen(url, copy)
        seconds, usages = timed(lambda: pipe(url, token, source, *options), receiver)
    check_copy(copy, digest)
    return size / seconds, usages


def timed(start: Callable[[], Process], receiver: Process) -> tuple[float, list[Usage]]:
    """Start a sender; return the seconds to its end, and what sender and receiver cost."""
    started = time.perf_counter()
    sender = start()
    sent = sender.finish()
    seconds = time.perf_counter() - started
    received = receiver.finish()
    if sent.exit_code or received.exit_code:
        raise RuntimeError(f"transfer failed: {sender.lines} {receiver.lines}")
    return seconds, [sent, received]


def check_copy(copy: Path, digest: str) -> None:
    """Raise `RuntimeError` unless a file has this SHA-256."""
    with copy.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise RuntimeError("the copy differs")


def forwarder_rate(size: int, kind: str) -> float:
    """Return bytes a second through the forwarder, from the first byte to the last."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        forwarder = subprocess.Popen(
            [sys.executable, "-c", FORWARDER, str(target.getsockname()[1]), kind],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert forwarder.stdout is not None
        port = forwarder.stdout.readline().strip()
        sender = subprocess.Popen([sys.executable, "-c", SENDER, port, str(size)])
        connection, _ = target.accept()
        buffer, total = bytearray(CHUNK), 0
        started = time.perf_counter()
        with connection:
            while count := connection.recv_into(buffer):
                total += count
        seconds = time.perf_counter() - started
        sender.wait()
        forwarder.kill()
        forwarder.wait()
    if total != size // CHUNK * CHUNK:
        raise RuntimeError("the forwarder lost bytes")
    return total / seconds
