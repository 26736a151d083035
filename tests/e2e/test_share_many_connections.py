"""A thousand connections at once, thousands one after another, and readers that do not read."""

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import Desk
from memory_of import memory_mb
from shared_port import (
    SharedPort,
    await_path,
    exchange,
    line_server,
    read_to_end,
    shared_port,
)
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
GROWTH_MB = 2  # over 2000 connections: a kilobyte that stays of each would be seen
SLOWER_AT_MOST = 3


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


def check_peak(link: SharedPort, what: str) -> None:
    """Check the most memory that either process ever had."""
    for name, process in sides(link):
        peak = memory_mb(process, "VmHWM")
        record_figure(f"{what}: peak memory of {name}", f"{peak:.0f} MB", f"<= {MEMORY_MB} MB")
        assert peak <= MEMORY_MB


def sides(link: SharedPort) -> tuple[tuple[str, Process], ...]:
    return ("share", link.share), ("open", link.open)


def connect_many(link: SharedPort, count: int, first: bytes) -> list[socket.socket]:
    """Open connections and say something on each."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.settimeout(30)
        # The kernel's memory for TCP is bounded too, and slow when it is short.
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            client.setsockopt(socket.SOL_SOCKET, option, 16 * KIB)
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

    for _, process in sides(link):
        assert files_of(process) >= MANY
    check_peak(link, f"{MANY} connections open")
    for client in clients:
        client.close()
    await_files(link, before)
    link.stop()


PATHS = pytest.mark.parametrize("flags", [("--force-relay",), ()], ids=["relayed", "direct"])


def stalled_link(desk: Desk, server: int, flags: tuple[str, ...]) -> SharedPort:
    """Share a port, with traffic on the path that the flags mean."""
    link = shared_port(desk, server, *flags)
    await_path(link, flags)
    exchange(link.port, b"warm")
    return link


class Settled:
    """Whether a count has stood still for a while: every buffer on the way is full."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self.last, self._since = -1, time.monotonic()

    def __call__(self) -> bool:
        now = self._count()
        if now != self.last:
            self.last, self._since = now, time.monotonic()
        return time.monotonic() - self._since > SETTLED_S


@PATHS
@pytest.mark.alongside("computes")
def test_a_thousand_readers_that_do_not_read_cost_little_memory(
    desk: Desk, flags: tuple[str, ...], is_full: bool
) -> None:
    many = MANY if is_full else MANY // 10
    server = line_server(desk)
    link = stalled_link(desk, server, flags)
    before = {name: files_of(process) for name, process in sides(link)}

    def flooded() -> int:
        with socket.create_connection(("127.0.0.1", server), timeout=30) as client:
            client.sendall(b"flooded\n")
            return int(read_to_end(client))

    clients = connect_many(link, many, b"flood\n")
    await_true(lambda: sum(peeked(client) for client in clients) == many, "each has its first byte")
    settled = Settled(flooded)
    await_true(settled, "all are stalled", timeout_s=150)
    assert settled.last > many
    # Another one goes on at its own speed meanwhile.
    assert exchange(link.port, b"z" * MIB) == b"z" * MIB

    check_peak(link, f"{many} stalled clients, {'relayed' if flags else 'direct'}")
    for client in clients:
        client.close()
    await_files(link, before)
    link.stop()


@PATHS
@pytest.mark.alongside("computes")
def test_a_thousand_targets_that_do_not_read_cost_little_memory(
    desk: Desk, flags: tuple[str, ...], is_full: bool
) -> None:
    many = MANY if is_full else MANY // 10
    link = stalled_link(desk, line_server(desk), flags)
    before = files_of(link.share)
    clients = connect_many(link, many, b"sink\n")
    for client in clients:
        client.setblocking(False)
    taken = 0

    def push() -> int:
        """Write whatever the sockets take; returns how much they have taken so far."""
        nonlocal taken
        for client in clients:
            with contextlib.suppress(BlockingIOError):
                taken += client.send(bytes(64 * KIB))
        return taken

    await_true(Settled(push), "all are stalled", timeout_s=150)
    assert taken > many * 64 * KIB
    assert exchange(link.port, b"z" * MIB) == b"z" * MIB

    check_peak(link, f"{many} stalled targets, {'relayed' if flags else 'direct'}")
    for client in clients:
        client.close()
    # A client's end is behind its bytes, which nobody takes: only the link's end ends these.
    link.open.stop()
    link.open.ends_with(0)
    await_true(lambda: files_of(link.share) <= before, "share has closed what it held")
    link.share.stop()
    link.share.ends_with(0)


def peeked(client: socket.socket) -> bool:
    """Whether a byte waits to be read."""
    with contextlib.suppress(BlockingIOError):
        return bool(client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return False


def test_connections_one_after_another_leave_nothing_behind(desk: Desk, is_full: bool) -> None:
    count = 2000 if is_full else 600
    warm = 1000 if is_full else 300
    link = shared_port(desk, line_server(desk))
    for _ in range(warm):
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
        grown = memory_mb(process) - memory[name]
        record_figure(f"the same: growth of {name}", f"{grown:.1f} MB", f"<= {GROWTH_MB} MB")
        assert grown <= GROWTH_MB, name
    # What is left of a connection would be a greenlet: none holds a file, so ask the process.
    for name, process in sides(link):
        await_true(
            lambda p=process: connections_told(p) == count + warm,
            f"{name} has told the end of every connection",
        )
    link.stop()


def connections_told(process: Process) -> int:
    """How many connections a process says have ended."""
    return sum(line.startswith("connection ") for line in process.lines)


@PATHS
def test_one_that_never_reads_stalls_itself_alone(desk: Desk, flags: tuple[str, ...]) -> None:
    link = stalled_link(desk, line_server(desk), flags)
    alone_s = min(fetch_by_ten(link) for _ in range(2))
    (stalled,) = connect_many(link, 1, b"flood\n")
    assert stalled.recv(1)

    beside_s = min(fetch_by_ten(link) for _ in range(2))

    path = "relayed" if flags else "direct"
    figure = f"{beside_s / alone_s:.2f} times as long"
    record_figure(f"10 downloads beside a client that never reads, {path}", figure, "1, recorded")
    assert beside_s <= SLOWER_AT_MOST * alone_s
    stalled.close()
    link.stop()


def fetch_by_ten(link: SharedPort) -> float:
    """Have ten clients download at once; returns how long that took."""
    size = 8 * MIB
    got: list[int] = []

    def fetch() -> None:
        with link.connect() as client:
            client.sendall(b"give %d\n" % size)
            got.append(len(read_to_end(client)))

    began = time.monotonic()
    threads = [threading.Thread(target=fetch) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [size] * 10
    return time.monotonic() - began


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
