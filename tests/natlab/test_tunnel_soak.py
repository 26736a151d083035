"""A tunnel that is left alone while something befalls it every 20 s: every probe after a heal works.

A probe is a new connection through the port of `open`, which runs from the first second to the last.
"""

import itertools
import random
import sys
import time
from collections.abc import Callable
from subprocess import PIPE

import pytest
from lab import Lab
from lab_transfers import Stage
from support.processes import Process, record_figure

EVERY_S = 20.0
FULL_S, CUT_S = 600.0, 60.0
RETURN_S = 10.0  # asserted at three times that
ECHO = """
import gevent, sys
from gevent.server import StreamServer
def echo(sock, address):
    while data := sock.recv(65536):
        sock.sendall(data)
server = StreamServer(("127.0.0.1", 0), echo)
server.start()
print(server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
"""
PROBER = """
import os, socket, sys, time
for line in sys.stdin:
    began_at, tries = time.monotonic(), 0
    while time.monotonic() - began_at < float(sys.argv[2]):
        tries += 1
        data = os.urandom(20000)
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=14) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                got = b""
                while part := sock.recv(65536):
                    got += part
            if got != data:
                print("wrong bytes", file=sys.stderr, flush=True)
                break
            print(f"works after {time.monotonic() - began_at:.2f} s", file=sys.stderr, flush=True)
            break
        except OSError:
            time.sleep(0.1)
    else:
        print(f"no connection in {tries} tries", file=sys.stderr, flush=True)
"""


class Soak:
    """The tunnel, what probes it, and the faults."""

    def __init__(self, lab: Lab, stage: Stage, folder: str) -> None:
        self.lab, self.stage = lab, stage
        self.server, self.client = f"{folder}/server.dts", f"{folder}/client.dtc"
        python = [sys.executable, "-u", "-c"]
        self.port = stage.start("echo", lab.a, [*python, ECHO]).await_line(r"^(\d+)$").group(1)
        made = ("derptun", "token", "server", "--relay", stage.url, "--output", self.server)
        stage.run("token server", lab.a, *made).ends_with(0)
        made = ("derptun", "token", "client", "--token-file", self.server, "--output", self.client)
        stage.run("token client", lab.a, *made).ends_with(0)
        self.serve: Process
        self.start_serve()
        self.open = stage.run("open", lab.b, "derptun", "open", "--token-file", self.client)
        bind = self.open.await_line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1)
        limit = str(3 * RETURN_S)
        self.prober = stage.start("prober", lab.b, [*python, PROBER, bind, limit], stdin=PIPE)
        self.probes = 0

    def start_serve(self) -> None:
        words = ("derptun", "serve", "--token-file", self.server, "--tcp", f"127.0.0.1:{self.port}")
        self.serve = self.stage.run("serve", self.lab.a, *words)
        self.serve.await_line("^serving ")

    def probe(self) -> float:
        """Try until a connection works; returns how long that took."""
        self.prober.feed(b"probe\n")
        self.probes += 1
        wanted = self.probes
        deadline = time.monotonic() + 4 * RETURN_S + 14
        while len(self.prober.lines) < wanted:
            assert time.monotonic() < deadline, self.prober.story
            time.sleep(0.05)
        said = self.prober.lines[wanted - 1]
        assert said.startswith("works after "), (said, self.open.story, self.serve.story)
        return float(said.split()[2])

    # -- what befalls it --------------------------------------------------------------------

    def server_killed(self, rng: random.Random) -> None:
        self.serve.send_signal(9)
        self.serve.wait()
        time.sleep(rng.choice((0.0, 4.0)))
        self.start_serve()

    def network_of_open_away(self, rng: random.Random) -> None:
        with self.lab.cut("b"):
            time.sleep(rng.choice((2.0, 6.0, 12.0)))

    def network_of_serve_away(self, rng: random.Random) -> None:
        with self.lab.cut("a"):
            time.sleep(rng.choice((2.0, 6.0, 12.0)))

    def relay_restarted(self, rng: random.Random) -> None:
        self.stage.relay.send_signal(9)
        self.stage.relay.wait()
        time.sleep(rng.choice((0.0, 3.0)))
        self.stage.start_relay()

    def udp_blocked(self, rng: random.Random) -> None:
        with self.lab.block_udp("a"):
            time.sleep(rng.choice((3.0, 8.0)))

    def server_stopped(self, rng: random.Random) -> None:
        self.serve.send_signal(19)
        time.sleep(rng.choice((2.0, 8.0)))
        self.serve.send_signal(18)


@pytest.mark.timeout(1200)
def test_every_probe_after_a_heal_succeeds(
    lab: Lab, stage: Stage, tmp_path: object, is_full: bool
) -> None:
    soak, rng = Soak(lab, stage, str(tmp_path)), random.Random(5)
    faults: list[Callable[[random.Random], None]] = [
        soak.server_killed,
        soak.network_of_open_away,
        soak.relay_restarted,
        soak.network_of_serve_away,
        soak.udp_blocked,
        soak.server_stopped,
    ]
    ends_at = time.monotonic() + (FULL_S if is_full else CUT_S)
    took: dict[str, float] = {}
    soak.probe()
    for fault in itertools.cycle(faults):
        if time.monotonic() >= ends_at:
            break
        next_at = time.monotonic() + EVERY_S
        fault(rng)
        took[fault.__name__] = max(took.get(fault.__name__, 0.0), soak.probe())
        if is_full:
            time.sleep(max(0.0, next_at - time.monotonic()))

    for name, worst_s in took.items():
        what = f"derptun soak: a connection works after {name.replace('_', ' ')}, worst"
        record_figure(what, f"{worst_s:.1f} s", f"{RETURN_S:.0f} s")
    assert soak.open.is_running
    soak.open.stop()
    soak.open.ends_with(0)
