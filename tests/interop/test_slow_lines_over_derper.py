"""`listen` and `pipe` in network namespaces, derper between them, and a slow line on one side.

derper ends a client that does not take a whole write within two seconds.  The line must be filled
all the same, nothing sent twice, and nobody cut off.

What is in flight fills the line and little more, so a process or a machine that stands still for a
second leaves the line empty for most of it: where a line was not filled, it is tried again.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop_go import DerperVersion
from interop_support import require
from lab import Lab
from namespaces import missing_requirements, remove_leftovers
from support.processes import PROGRAM, Process, await_true, clean_environment, record_figure
from topology import Topology
from wires import Impairment, Way

pytestmark = [pytest.mark.interop, pytest.mark.natlab]

BUILD_AND_RUN_S = 1800
RELAY_PORT = 3340
TOKEN_EVENT = r'"event": "token".*"token": "(dhp1_[A-Za-z0-9_-]{20,})"'
BYTES_PER_KBIT = 125
RUN_S = 12.0  # what a transfer takes at the line's rate
FULL_RUN_S = 30.0
GOODPUT = 0.85  # of the line's rate
TRIES = 3
# The shorter queue that a line has, in milliseconds of its rate; with fewer packets TCP itself, the
# sender's own kernel, does not fill it.
SHORT_QUEUE_PACKETS = 10
SHORT_QUEUE_BITS = SHORT_QUEUE_PACKETS * 1514 * 8
# Rate in kbit/s, and how many milliseconds of it the line's queue holds.
CUT_LINES = ((128, 2000),)
LINE_BURST = "4kb"  # a line that is nothing but slow; a kernel's frame of two packets must pass
THROTTLE_BURST = "32kb"  # a fast line made slow by a token bucket
FULL_LINES = tuple(
    (kbit, queue)
    for kbit in (64, 128, 256, 512, 1000)
    for queue in (SHORT_QUEUE_BITS // kbit, 2000)
)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a transfer.

    Args:
        goodput: of the stream's bytes, in shares of the line's rate.
        sent: bytes that the sender sealed for the relay, in shares of the stream's.
        lost: packets that it called lost.
        connections: how often either side was connected by the relay.
    """

    goodput: float
    sent: float
    lost: int
    connections: int


class SlowLine:
    """A lab with a derper in its public namespace."""

    def __init__(self, lab: Lab, derper: Path, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._processes: list[Process] = []
        self._run = 0
        address = lab.public_addresses[0]
        self._url = f"http://{address}:{RELAY_PORT}"
        flags = ["-http-port", "-1", "-stun=false", "-mesh-psk-file", ""]
        command = [derper, "-a", f"{address}:{RELAY_PORT}", "-c", folder / "derper.json", *flags]
        self._start("derper", lab.public.command(command)).await_line("serving on")

    def close(self) -> None:
        for process in reversed(self._processes):
            process.stop()

    def transfer(self, site: str, way: Way, shape: Impairment, seconds: float) -> Run:
        """Move what the line carries in so many seconds from a to b."""
        self._run += 1
        kbit = int(str(shape.rate).removesuffix("kbit"))
        size = int(kbit * BYTES_PER_KBIT * seconds)
        payload = os.urandom(size)
        listen = self._derphole("b", "listen", "--relay", self._url)
        token = listen.await_line(TOKEN_EVENT).group(1)
        self._lab.wire(site).impair(shape, way)
        pipe = self._derphole("a", "pipe", "--force-relay", token, stdin=payload)
        await_true(lambda: listen.output_size, "the first bytes have come")
        began, first = time.monotonic(), listen.output_size
        codes = (pipe.wait(6 * seconds), listen.wait(6 * seconds))
        took_s = time.monotonic() - began
        story = f"{pipe.story}\n{listen.story}"
        assert codes == (0, 0), story
        assert listen.stdout == payload, story
        sent = self._last_counters("pipe")
        return Run(
            (size - first) / took_s / (kbit * BYTES_PER_KBIT),
            int(str(sent["bytes_sent"])) / size,
            int(str(sent["packets_lost"])),
            sum(self._connections(name) for name in ("listen", "pipe")),
        )

    def _derphole(self, host: str, command: str, *options: str, stdin: bytes = b"") -> Process:
        line = [PROGRAM, command, "--json", "--trace", self._trace(command), *options]
        return self._start(command, self._lab.host(host).command(line), stdin)

    def _start(self, name: str, command: list[str], stdin: bytes = b"") -> Process:
        environment = clean_environment(self._folder)
        process = Process(name, command, self._folder, environment, stdin=stdin)
        self._processes.append(process)
        return process

    def _trace(self, command: str) -> Path:
        return self._folder / f"{command}-{self._run}.trace"

    def _events(self, command: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._trace(command).read_text().splitlines()]

    def _last_counters(self, command: str) -> dict[str, object]:
        return [event for event in self._events(command) if "bytes_sent" in event][-1]

    def _connections(self, command: str) -> int:
        states = [event for event in self._events(command) if event["event"] == "relay.state"]
        return sum(event["state"] == "connected" for event in states)


@pytest.fixture(scope="session")
def obstacle() -> str:
    """Why no lab can be built here; the empty text means that it can."""
    reason = missing_requirements()
    if not reason:
        remove_leftovers()
    return reason


@pytest.fixture
def line(obstacle: str, derper_program: Path, tmp_path: Path) -> Iterator[SlowLine]:
    require(not obstacle, obstacle)
    with Lab(Topology()) as lab:
        line = SlowLine(lab, derper_program, tmp_path)
        try:
            yield line
        finally:
            line.close()


@pytest.mark.slow
@pytest.mark.timeout(BUILD_AND_RUN_S)
@pytest.mark.parametrize(("site", "way"), [("b", Way.DOWN), ("a", Way.UP)], ids=["to", "from"])
@pytest.mark.alongside("waits")
def test_a_slow_line_is_filled_without_a_cut_or_a_byte_sent_twice(
    line: SlowLine, derper_version: DerperVersion, site: str, way: Way, is_full: bool
) -> None:
    for kbit, queue_ms in FULL_LINES if is_full else CUT_LINES:
        shape = Impairment(rate=f"{kbit}kbit", queue_ms=queue_ms, burst=LINE_BURST)
        side = "receiver" if way is Way.DOWN else "sender"
        what = f"derper {derper_version.number}, {side} with {kbit} kbit/s, queue of {queue_ms} ms"
        for _ in range(TRIES):
            run = line.transfer(site, way, shape, FULL_RUN_S if is_full else RUN_S)
            record_run(what, run)
            assert run.sent <= 1.1, what
            assert run.lost == 0, what
            assert run.connections == 2, what
            if run.goodput >= GOODPUT:
                break
        assert run.goodput >= GOODPUT, what


@pytest.mark.slow
@pytest.mark.timeout(BUILD_AND_RUN_S)
def test_a_burst_that_a_throttled_line_lets_pass_costs_one_cut_at_most(
    line: SlowLine, derper_version: DerperVersion, is_full: bool
) -> None:
    for queue_ms in (100, 2000) if is_full else (100,):
        shape = Impairment(rate="64kbit", queue_ms=queue_ms, burst=THROTTLE_BURST)
        run = line.transfer("b", Way.DOWN, shape, FULL_RUN_S)

        what = f"derper {derper_version.number}, throttled to 64 kbit/s, queue of {queue_ms} ms"
        record_run(what, run)
        assert run.goodput >= 0.7, what  # a cut costs some seconds
        assert run.sent <= 1.6, what
        assert run.connections <= 3, what


def record_run(what: str, run: Run) -> None:
    record_figure(f"{what}: goodput", f"{run.goodput:.2f} of the rate", ">= 0.85, throttled 0.7")
    record_figure(f"{what}: sent", f"{run.sent:.3f} of the bytes", "<= 1.1, throttled 1.6")
    record_figure(f"{what}: connections", f"{run.connections}", "2, throttled 3")
