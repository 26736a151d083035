"""SIGINT, SIGTERM and SIGHUP at each stage of a life, once and twice: nothing hangs, nothing stays.

The folder for temporary files is the processes' empty working folder, which must stay empty.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Self

import pytest
import tcp_servers
from desk import Desk, is_full, token_of
from faults import MIB, RELAYED, Stopwatch, heeded_signals
from support.processes import Process, await_true, record_figure
from tcp_servers import TcpServer
from tokens import session_text

from derphole.token.grant import Capability

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
# A second one counts 0.3 s after the first was heeded, and a loaded machine heeds it late.
SECOND_SIGNAL_S = 0.8
AT_ONCE_S = 2.0  # less than is left of the linger by then
LINGER_S = 3.0  # what a goodbye gets when the relay does not take it
TOLD_S = 5.0
EARLY_S = 0.4  # until a command has loaded what it needs
UNREAD = 1 * MIB  # less than the windows


@dataclass
class Stage:
    """A process in the middle of something, who else hears of its end, and what is held open."""

    process: Process
    other: Process | None = None
    reader: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.reader is not None:
            self.reader.close()


def started(desk: Desk, name: str, *words: str, **streams: object) -> Process:
    variables = {"TMPDIR": str(desk.working_folder)}
    return desk.derphole(name, *words, variables=variables, **streams)  # type: ignore[arg-type]


def listening(desk: Desk, *words: str, **streams: object) -> Process:
    relay = words or ("--relay", desk.relay_url)
    return started(desk, "listen", "listen", RELAYED, "--verbose", *relay, **streams)


def piping(desk: Desk, token: str, **streams: object) -> Process:
    return started(desk, "pipe", "pipe", RELAYED, "--verbose", token, **streams)


def listen_asks_for_the_map(desk: Desk, port: int) -> Stage:
    url = f"http://127.0.0.1:{port}/map"
    process = started(desk, "listen", "listen", "--verbose", "--derp-map", url)
    return Stage(process)


def listen_asks_a_silent_relay(desk: Desk, port: int) -> Stage:
    return Stage(listening(desk, "--relay", f"http://127.0.0.1:{port}"))


def pipe_asks_a_silent_relay(desk: Desk, port: int) -> Stage:
    return Stage(piping(desk, session_text(Capability.LISTEN, port), stdin=b"never read"))


def listen_waits_for_a_claim(desk: Desk, _: int) -> Stage:
    process = listening(desk)
    token_of(process)
    return Stage(process)


def pipe_waits_for_the_listener(desk: Desk, _: int) -> Stage:
    port = int(desk.relay_url.rpartition(":")[2])
    process = piping(desk, session_text(Capability.LISTEN, port), stdin=b"never read")
    process.await_line("connected to relay")
    return Stage(process)


def under_way(desk: Desk) -> tuple[Process, Process]:
    listen = listening(desk, stdout=subprocess.DEVNULL)
    token = token_of(listen)
    with open("/dev/zero", "rb") as endless:
        pipe = piping(desk, token, stdin=endless)
    for process in (listen, pipe):
        process.await_line("^connected-relay$")
    return listen, pipe


def listen_is_in_a_flood(desk: Desk, _: int) -> Stage:
    listen, pipe = under_way(desk)
    return Stage(listen, pipe)


def pipe_is_in_a_flood(desk: Desk, _: int) -> Stage:
    listen, pipe = under_way(desk)
    return Stage(pipe, listen)


def stalled(desk: Desk) -> tuple[Process, Process, IO[bytes]]:
    """A sender that has sent it all to a listener that cannot write on: nobody reads its output."""
    read_end, write_end = os.pipe()
    listen = listening(desk, stdout=write_end)
    os.close(write_end)
    pipe = piping(desk, token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(bytes(UNREAD))
    pipe.end_input()
    await_true(lambda: is_full(read_end), "the listener's output is full")
    return listen, pipe, open(read_end, "rb", buffering=0)


def listen_has_a_stalled_output(desk: Desk, _: int) -> Stage:
    listen, pipe, reader = stalled(desk)
    return Stage(listen, pipe, reader)


def pipe_waits_for_the_confirmation(desk: Desk, _: int) -> Stage:
    listen, pipe, reader = stalled(desk)
    return Stage(pipe, listen, reader)


def idle(desk: Desk) -> tuple[Process, Process]:
    listen = listening(desk)
    pipe = piping(desk, token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"then nothing")
    listen.await_output(12)
    return listen, pipe


def listen_waits_for_more(desk: Desk, _: int) -> Stage:
    listen, pipe = idle(desk)
    return Stage(listen, pipe)


def pipe_waits_for_its_input(desk: Desk, _: int) -> Stage:
    listen, pipe = idle(desk)
    return Stage(pipe, listen)


STAGES: list[Callable[[Desk, int], Stage]] = [
    listen_asks_for_the_map, listen_asks_a_silent_relay, pipe_asks_a_silent_relay,
    listen_waits_for_a_claim, pipe_waits_for_the_listener, listen_is_in_a_flood,
    pipe_is_in_a_flood, listen_has_a_stalled_output, pipe_waits_for_the_confirmation,
    listen_waits_for_more, pipe_waits_for_its_input,
]  # fmt: skip


def is_at_a_relay(stage: Callable[[Desk, int], Stage]) -> bool:
    """Whether a relay has taken the process in, so that it says goodbye there."""
    return "silent_relay" not in stage.__name__ and "the_map" not in stage.__name__


def each_of(stages: list[Callable[[Desk, int], Stage]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", stages, ids=lambda stage: stage.__name__)


def reach(desk: Desk, server: TcpServer, stage: Callable[[Desk, int], Stage]) -> Stage:
    """Bring a process to a stage; where it waits for the server, until it has asked there."""
    asked = server.connections
    reached = stage(desk, server.port)
    if not is_at_a_relay(stage):
        await_true(lambda: server.connections > asked, "the server is asked")
    return reached


@contextmanager
def held(relay: Process) -> Iterator[None]:
    """Stop a relay, so that it takes no goodbye, and let it go on afterwards."""
    relay.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, relay.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        relay.send_signal(signal.SIGCONT)


def cut_short(process: Process, first: signal.Signals) -> float:
    """Signal a process that lingers, and again; return how long it took to end at the second."""
    process.send_signal(first)
    clock = Stopwatch()
    await_true(lambda: not process.is_running or clock.seconds > SECOND_SIGNAL_S, "it counts")
    assert process.is_running, f"it did not try to say goodbye; {process.story}"
    process.send_signal(signal.SIGINT)
    clock = Stopwatch()
    process.ends_with(130, timeout_s=AT_ONCE_S)
    return clock.seconds


def takes_signals(process: Process) -> bool:
    """Whether the program has taken SIGTERM over from the system (Linux)."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return bool(caught & 1 << (signal.SIGTERM - 1))


@pytest.fixture(autouse=True)
def _heeded() -> Iterator[None]:
    with heeded_signals():
        yield


@pytest.fixture(scope="module")
def told_s() -> Iterator[list[float]]:
    """From a signal at one side to the end of the other."""
    told_s: list[float] = []
    yield told_s
    if told_s:
        record_figure("the other side ends after a signal", f"at most {max(told_s):.2f} s", "5 s")


@each_of(STAGES)
def test_a_signal_at_any_stage_ends_the_process_and_is_told(
    desk: Desk, stage: Callable[[Desk, int], Stage], is_full: bool, told_s: list[float]
) -> None:
    # Each stage gets one of the three signals, and all of them in a full run.
    numbers = list(EXIT_CODES)
    chosen = numbers if is_full else [numbers[STAGES.index(stage) % len(numbers)]]
    with TcpServer(tcp_servers.read_to_end) as server:
        for signum in chosen:
            with reach(desk, server, stage) as reached:
                clock = Stopwatch()
                reached.process.send_signal(signum)

                interrupted = f"^interrupted by {signum.name}$"
                reached.process.ends_with(EXIT_CODES[signum], interrupted, timeout_s=TOLD_S)
                assert clock.seconds < LINGER_S, reached.process.story
                if reached.other is not None:
                    told = f"^the other side stopped: it was interrupted by {signum.name}; "
                    reached.other.ends_with(1, told, timeout_s=TOLD_S)
                    told_s.append(clock.seconds)


@pytest.fixture(scope="module")
def cut_short_s() -> Iterator[list[float]]:
    """From the second signal to the end of a process that lingered."""
    cut_short_s: list[float] = []
    yield cut_short_s
    if cut_short_s:
        figure = f"at most {max(cut_short_s):.2f} s ({len(cut_short_s)} stages)"
        record_figure("a second signal cuts a goodbye short", figure, "2 s")


@each_of([stage for stage in STAGES if is_at_a_relay(stage)])
def test_a_second_signal_ends_a_process_that_lingers_at_once(
    desk: Desk, stage: Callable[[Desk, int], Stage], cut_short_s: list[float]
) -> None:
    # Whether the other side hears of it is chance: a goodbye that is cut short may be lost.
    relay, desk.relay_url = desk.relay()
    with stage(desk, 0) as reached, held(relay):
        cut_short_s.append(cut_short(reached.process, signal.SIGINT))


@each_of([stage for stage in STAGES if not is_at_a_relay(stage)])
def test_two_signals_end_a_process_that_has_nobody_to_tell(
    desk: Desk, stage: Callable[[Desk, int], Stage]
) -> None:
    with TcpServer(tcp_servers.read_to_end) as server, reach(desk, server, stage) as reached:
        for _ in range(2):
            reached.process.send_signal(signal.SIGINT)
        reached.process.ends_with(130, timeout_s=AT_ONCE_S)


@pytest.mark.parametrize("side", ["listen", "pipe"])
def test_another_signal_cuts_a_goodbye_short_that_a_lone_one_waits_for(
    desk: Desk, side: str
) -> None:
    relay, desk.relay_url = desk.relay()
    listen, pipe = under_way(desk)
    ended, other = (listen, pipe) if side == "listen" else (pipe, listen)

    with held(relay):
        cut_short(ended, signal.SIGTERM)
        other.send_signal(signal.SIGTERM)
        clock = Stopwatch()
        other.ends_with(143, "^interrupted by SIGTERM$")
        assert SECOND_SIGNAL_S < clock.seconds < LINGER_S + AT_ONCE_S


def test_two_signals_at_once_are_one(desk: Desk) -> None:
    # What a shell and a launcher send together must not cut the goodbye off.
    listen, pipe = under_way(desk)

    pipe.send_signal(signal.SIGINT)
    pipe.send_signal(signal.SIGTERM)

    assert pipe.wait() in (130, 143)
    listen.ends_with(1, "^the other side stopped: it was interrupted by SIG", timeout_s=TOLD_S)


@pytest.mark.parametrize("signum", EXIT_CODES, ids=lambda signum: signum.name)
def test_a_signal_in_the_first_moments_is_no_traceback(
    desk: Desk, signum: signal.Signals, is_full: bool
) -> None:
    # While the interpreter itself starts nobody can say anything yet.
    steps = 60 if is_full else 6
    said = f"interrupted by {signum.name}"
    for step in range(steps):
        words = ["--relay", desk.relay_url, *(["--json"] if step % 2 else [])]
        process = started(desk, "listen", "listen", *words)
        clock = Stopwatch()
        await_true(lambda: takes_signals(process), "the program has begun")  # noqa: B023 - used at once
        moment_s = EARLY_S * step / steps
        await_true(lambda: clock.seconds >= moment_s, "the moment has come")  # noqa: B023 - as above
        process.send_signal(signum)

        process.ends_with(EXIT_CODES[signum])
        if step % 2:
            assert process.events[-1]["message"] == said
        else:
            assert process.lines[-1] == said
