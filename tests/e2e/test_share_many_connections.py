"""A thousand connections at once, thousands one after another, and readers that do not read."""

import contextlib
import os
import resource
import socket
import threading
import time
from pathlib import Path

import pytest
from desk import Desk
from shared_port import SharedPort, exchange, line_server, read_to_end, shared_port
from support.processes import Process, await_true, record_figure

from tunnel.units import KIB, MIB

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files in /proc"),
]

MANY = 1000
MEMORY_MB = 150
SPARE_FILES = 64
SETTLED_S = 2.0


@pytest.fixture(autouse=True)
def _enough_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MANY + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine allows {hard} open files; {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files_of(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))  # noqa: PTH208 - counts, makes no paths


def memory_mb(process: Process) -> float:
    """Memory in use, without what is shared with nobody's help."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in text.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / KIB


def sides(link: SharedPort) -> tuple[tuple[str, Process], ...]:
    return ("share", link.share), ("open", link.open)


def connect_many(link: SharedPort, count: int, first: bytes) -> list[socket.socket]:
    """Open connections and say something on each."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.settimeout(30)
        # The kernel's memory for TCP is bounded too, and slow when it is short.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        client.connect(("127.0.0.1", link.port))
        client.sendall(first)
        clients.append(client)
    return clients


def await_files(link: SharedPort, before: dict[str, int]) -> None:
    """Wait until both processes hold no more files than before."""
    for name, process in sides(link):
        await_true(
            lambda p=process, n=name: files_of(p) <= before[n],
            f"{name} holds no more files than before",
        )


def test_a_thousand_connections_at_once_all_answer_in_little_memory(desk: Desk) -> None:
    link = shared_port(desk, line_server(desk))
    exchange(link.port, b"warm")
    before = {name: files_of(process) for name, process in sides(link)}

    clients = connect_many(link, MANY, b"echo\n")
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"%d" % number

    for name, process in sides(link):
        used = memory_mb(process)
        record_figure(
            f"{MANY} connections open: memory of {name}", f"{used:.0f} MB", f"<= {MEMORY_MB} MB"
        )
        assert used <= MEMORY_MB
        assert files_of(process) >= MANY
    for client in clients:
        client.close()
    await_files(link, before)
    link.stop()


def test_a_thousand_readers_that_do_not_read_cost_little_memory(desk: Desk) -> None:
    link = shared_port(desk, line_server(desk), "--force-relay")
    exchange(link.port, b"warm")
    before = {name: files_of(process) for name, process in sides(link)}

    clients = connect_many(link, MANY, b"flood\n")
    moved = [0, time.monotonic()]

    def is_settled() -> bool:
        """Whether hardly anything has come through for a while: every buffer is full."""
        now = sum(int(line.split(":")[1]) for line in counters(link))
        if now - moved[0] > MIB:  # what is left are pings and acknowledgements
            moved[:] = [now, time.monotonic()]
        return time.monotonic() - moved[1] > SETTLED_S

    await_true(lambda: sum(peeked(client) for client in clients) == MANY, "each has its first byte")
    await_true(is_settled, "all are stalled", timeout_s=150)
    # Another one goes on at its own speed meanwhile.
    assert exchange(link.port, b"z" * MIB) == b"z" * MIB

    for name, process in sides(link):
        used = memory_mb(process)
        record_figure(
            f"{MANY} stalled readers: memory of {name}", f"{used:.0f} MB", f"<= {MEMORY_MB} MB"
        )
        assert used <= MEMORY_MB
    for client in clients:
        client.close()
    await_files(link, before)
    link.stop()


def peeked(client: socket.socket) -> bool:
    """Whether a byte waits to be read."""
    with contextlib.suppress(BlockingIOError):
        return bool(client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return False


def counters(link: SharedPort) -> list[str]:
    """What both processes have read and written so far."""
    lines = []
    for _, process in sides(link):
        text = Path(f"/proc/{process.pid}/io").read_text(encoding="ascii")
        lines += [line for line in text.splitlines() if line.startswith(("rchar", "wchar"))]
    return lines


def test_connections_one_after_another_leave_nothing_behind(desk: Desk, is_full: bool) -> None:
    count = 2000 if is_full else 600
    link = shared_port(desk, line_server(desk))
    for _ in range(100):
        exchange(link.port, b"warm")
    before = {name: files_of(process) for name, process in sides(link)}
    memory = {name: memory_mb(process) for name, process in sides(link)}

    began = time.monotonic()
    for number in range(count):
        assert exchange(link.port, b"%d" % number) == b"%d" % number
    rate = count / (time.monotonic() - began)

    record_figure("connections one after another", f"{rate:.0f}/s", ">= 200/s, recorded")
    await_files(link, before)
    for name, process in sides(link):
        assert memory_mb(process) <= memory[name] + 8, name
    # What is left of a connection would be a greenlet: none holds a file, so ask the process.
    for name, process in sides(link):
        await_true(
            lambda p=process: connections_told(p) == count + 100,
            f"{name} has told the end of every connection",
        )
    link.stop()


def connections_told(process: Process) -> int:
    """How many connections a process says have ended."""
    return sum(line.startswith("connection ") for line in process.lines)


def test_one_that_never_reads_stalls_itself_alone(desk: Desk) -> None:
    link = shared_port(desk, line_server(desk), "--force-relay")
    (stalled,) = connect_many(link, 1, b"flood\n")
    assert stalled.recv(1)
    size = 2 * MIB
    got: list[int] = []

    def fetch() -> None:
        with link.connect() as client:
            client.sendall(b"give %d\n" % size)
            got.append(len(read_to_end(client)))

    threads = [threading.Thread(target=fetch) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert got == [size] * 10
    stalled.close()
    link.stop()


def test_more_than_the_default_number_of_connections_is_refused_clearly(desk: Desk) -> None:
    link = shared_port(desk, line_server(desk), "--max-connections=20")
    held = connect_many(link, 20, b"echo\nx")
    assert all(client.recv(1) == b"x" for client in held)

    with link.connect() as client, pytest.raises(ConnectionResetError):
        client.recv(1)

    link.open.await_line("too many connections$")
    for client in held:
        client.sendall(b"y")
        assert client.recv(1) == b"y"
        client.close()
    link.share.await_line("^connection 20 of client 1: .* done$")
    assert exchange(link.port, b"room again") == b"room again"
    link.stop()
