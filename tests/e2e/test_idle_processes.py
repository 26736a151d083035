"""A command that has nothing to do costs nothing: real processes, in the states they can be in.

All states side by side in one window, so that they cost little time together.  What is counted, and
the budget: `support.idle`.  Exact counts, state by state: tests/sim/test_idle_budget.py; states that
need a network of their own: tests/natlab/test_idle_in_the_lab.py.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from desk import Desk, token_of
from faults import start_relay
from support.idle import Idle, assert_idle
from support.processes import Process
from tunnels import Tunnel

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/schedstat"), reason="the kernel tells no wake-ups"
)

CLIENTS = 4
DIRECT = "connected-direct"
# The watchdog asks the hub a hundred times a second whether it still turns.
WITHOUT_WATCHDOG = {"DERPHOLE_WATCHDOG": "", "DERPHOLE_DEBUG": ""}


class Idlers:
    """Starts commands and leaves them alone."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.processes: dict[str, Idle] = {}

    def add(self, name: str, process: Process, links: int = 1) -> Process:
        """Have a process watched."""
        self.processes[name] = Idle(process.pid, links)
        return process

    def start(self, name: str, *words: str, stdin: int = subprocess.DEVNULL) -> Process:
        return self.desk.derphole(name, *words, stdin=stdin, variables=WITHOUT_WATCHDOG)

    def relay(self, name: str, *words: str, clients: int = 0) -> tuple[Process, str]:
        """Start a relay for that many clients."""
        relay = self.start(name, "relay", "--listen", "127.0.0.1:0", *words)
        if clients:
            self.add(name, relay, clients)
        return relay, relay.await_line(r"^relay ready: (http\S+)").group(1)

    def forward(self, name: str, *words: str, clients: int = 1) -> list[Process]:
        """Start a share that nobody connects to, and who opens it."""
        places = ("--max-clients", str(clients))
        share = self.start(f"{name}/share", "share", "--verbose", *places, *words, "127.0.0.1:9")
        self.add(f"{name}/share", share, clients)
        token = token_of(share)
        opened = []
        for number in range(clients):
            side = f"{name}/open" if clients == 1 else f"{name}/open {number}"
            flags = ("--force-relay",) if "--force-relay" in words else ()
            opened.append(self.add(side, self.start(side, "open", "--verbose", *flags, token)))
            opened[-1].await_line(r"^listening on ")
        return [share, *opened]

    def tunnel(self, url: str) -> None:
        """Start a server of derptun, who opens it, one that waits for it, and one connection."""
        tunnel = Tunnel(self.desk, url)
        client = tunnel.client("client")
        quiet = {"variables": WITHOUT_WATCHDOG}
        target = socket.create_server(("127.0.0.1", 0))
        self.desk.on_close(target.close)
        serve = tunnel.serve(target.getsockname()[1], "--verbose", **quiet)
        self.add("tunnel/serve", serve, 2)
        opened, _ = tunnel.open(client, "--verbose", **quiet)
        self.add("tunnel/open", opened).await_line(DIRECT)
        reading, writing = os.pipe()
        self.desk.on_close(lambda: os.close(writing))
        connect = tunnel.connect(client, "--verbose", stdin=reading, **quiet)
        os.close(reading)
        self.add("tunnel/connect", connect).await_line(DIRECT)
        nobody = Tunnel(self.desk, url, name="nobody")
        absent, _ = nobody.open(nobody.client("absent"), name="absent", is_ready=False, **quiet)
        self.add("tunnel/open, waiting for a server", absent).await_line("^waiting for server")


@contextmanager
def open_pipe() -> Iterator[int]:
    """A pipe that nothing is written to; yields the end to read from."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@pytest.fixture
def idlers(desk: Desk) -> Iterator[Idlers]:
    yield Idlers(desk)


@pytest.mark.timeout(400)
@pytest.mark.alongside("waits")
def test_share_and_open_stay_idle_and_direct_when_their_relay_is_killed(
    idlers: Idlers, is_full: bool
):
    for stun in ("off", "0"):
        relay, url = idlers.relay("relay", "--stun-port", stun)
        pair = idlers.forward(f"relay killed, STUN {stun}", "--relay", url)
        for process in pair:
            process.await_line(DIRECT)
        relay.send_signal(signal.SIGKILL)
        relay.wait()
        for process in pair:
            process.await_line(r"closed the connection|cannot be reached|broke off")

    assert_idle(idlers.processes, is_full=is_full)


@pytest.mark.timeout(400)
@pytest.mark.alongside("waits")
def test_every_state_of_every_command_is_idle(idlers: Idlers, is_full: bool):
    _, url = idlers.relay("relay", "--stun-port", "0", clients=20)
    gone, _ = start_relay(idlers.desk)
    nobody = idlers.start("nobody", "listen", "--relay", url)
    token_of_nobody = token_of(nobody)
    nobody.stop()
    gone.stop()

    token_of(idlers.add("listen, waiting for a claim", idlers.start("l", "listen", "--relay", url)))
    idlers.add(
        "listen, waiting with a code", idlers.start("c", "listen", "--json", "--relay", url)
    ).await_line('"event": "code"')
    idlers.add(
        "listen, waiting for a relay",
        idlers.start("r", "listen", "--timeout", "0", "--relay", "http://127.0.0.1:9"),
    ).await_line("cannot be reached")
    idlers.add(
        "pipe, waiting for somebody who is not there",
        idlers.start("p", "pipe", "--timeout", "0", token_of_nobody),
    ).await_line("waiting")
    with open_pipe() as reading:
        listen = idlers.add("listen, in a transfer", idlers.start("t", "listen", "--relay", url))
        pipe = idlers.start("i", "pipe", "--verbose", token_of(listen), stdin=reading)
        idlers.add("pipe, waiting for input", pipe).await_line(DIRECT)
        idlers.forward("by relay", "--force-relay", "--relay", url)
        for process in idlers.forward("direct", "--relay", url):
            process.await_line(DIRECT)
        for process in idlers.forward("many links", "--relay", url, clients=CLIENTS):
            process.await_line(DIRECT)
        idlers.tunnel(url)

        assert_idle(idlers.processes, is_full=is_full)
