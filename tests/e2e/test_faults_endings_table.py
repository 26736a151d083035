"""Each cause of an ending is named on both sides: one row for a cause, a side and both commands.

Every row is played by real processes and printed as it came out (pytest -s, or a failure).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from desk import Desk, token_of
from faults import GIVE_UP_S, RELAYED, SLACK_S, STALL, heeded_signals, start_relay
from support.processes import Process
from test_faults_of_clocks import listener_whose_token_has_expired
from tokens import session_text

from derphole.token.grant import Capability

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLANTING = Path(__file__).with_name("record_secrets.py")
TOLD_S = 15.0

Played = tuple[Process | None, Process | None]


@dataclass(frozen=True, slots=True)
class End:
    """How one side ends: its exit code, and what its last words must match."""

    code: int
    says: str


@dataclass(frozen=True, slots=True)
class Row:
    """One cause.

    Args:
        cause: in words.
        side: where it arises.
        play: brings it about; returns listener and sender, None for a side that has no part.
        listen: how `listen` ends.
        pipe: how `pipe` ends.
        cut: in a cut run the row stops at this line, since its end takes a minute.
    """

    cause: str
    side: str
    play: Callable[[Desk], Played]
    listen: End | None
    pipe: End | None
    cut: str | None = None

    @property
    def name(self) -> str:
        return f"{self.cause} ({self.side})"


def under_way(desk: Desk, **streams: int) -> tuple[Process, Process]:
    """Both sides, with bytes of one chunk sent and written."""
    listen = desk.derphole(
        "listen", "listen", RELAYED, "--relay", desk.relay_url, **streams  # type: ignore[arg-type]
    )  # fmt: skip
    pipe = desk.pipe(token_of(listen), RELAYED, stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    if not streams:
        listen.await_output(13)
    return listen, pipe


def is_done(desk: Desk) -> Played:
    listen, pipe = under_way(desk)
    pipe.end_input()
    return listen, pipe


def ends_by(signum: signal.Signals, side: str) -> Callable[[Desk], Played]:
    def play(desk: Desk) -> Played:
        listen, pipe = under_way(desk)
        (listen if side == "listen" else pipe).send_signal(signum)
        return listen, pipe

    return play


def has_no_reader(desk: Desk) -> Played:
    read_end, write_end = os.pipe()
    listen, pipe = under_way(desk, stdout=write_end)
    os.close(write_end)
    assert os.read(read_end, 100) == b"the beginning"
    os.close(read_end)
    return listen, pipe


def has_a_full_disk(desk: Desk) -> Played:
    with open("/dev/full", "wb", buffering=0) as full:
        return under_way(desk, stdout=full.fileno())


def cannot_read(desk: Desk) -> Played:
    listen = desk.listen(RELAYED)
    with open(desk.folder / "write only", "wb") as unreadable:
        return listen, desk.pipe(token_of(listen), RELAYED, stdin=unreadable)


def fails_unexpectedly(side: str) -> Callable[[Desk], Played]:
    fault = (
        "derphole.edges.stdio:ByteSink.write"
        if side == "listen"
        else "derphole.edges.stdio:ByteSource.read"
    )

    def play(desk: Desk) -> Played:
        planted = [sys.executable, PLANTING, os.devnull, fault, "--"]
        quiet = {"DERPHOLE_DEBUG": "0"}  # so that no traceback is asked for
        if side == "listen":
            words = [*planted, "listen", "--relay", desk.relay_url]
            listen = desk.run("listen", words, variables=quiet)
            return listen, desk.pipe(token_of(listen), stdin=b"bytes")
        listen = desk.listen()
        words = [*planted, "pipe", token_of(listen)]
        return listen, desk.run("pipe", words, stdin=b"bytes", variables=quiet)

    return play


def comes_second(desk: Desk) -> Played:
    listen, first = under_way(desk)
    second = desk.pipe(token_of(listen), stdin=b"never read", name="second")
    second.wait()
    first.end_input()
    first.ends_with(0)
    return listen, second


def has_an_expired_token(desk: Desk) -> Played:
    listen, token = listener_whose_token_has_expired(desk)
    return listen, desk.pipe(token, stdin=b"never read")


def is_never_claimed(desk: Desk) -> Played:
    return desk.listen("--expires", "1s"), None


def waits_no_longer(side: str) -> Callable[[Desk], Played]:
    def play(desk: Desk) -> Played:
        if side == "listen":
            return desk.listen("--timeout", "1"), None
        port = int(desk.relay_url.rpartition(":")[2])
        return None, desk.pipe(session_text(Capability.LISTEN, port), "--timeout", "1")

    return play


def has_a_damaged_token(desk: Desk) -> Played:
    listen = desk.listen()
    token = token_of(listen)
    pipe = desk.pipe(token[:-1] + ("A" if token[-1] != "A" else "B"), stdin=b"never read")
    pipe.wait()
    desk.pipe(token, stdin=b"the true one", name="true").ends_with(0)
    return listen, pipe


def has_another_token(desk: Desk) -> Played:
    port = int(desk.relay_url.rpartition(":")[2])
    return None, desk.pipe(session_text(Capability.SEND, port), stdin=b"never read")


def is_killed(side: str) -> Callable[[Desk], Played]:
    def play(desk: Desk) -> Played:
        listen, pipe = under_way(desk)
        killed = listen if side == "listen" else pipe
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        return (None, pipe) if side == "listen" else (listen, None)

    return play


def loses_its_relay(desk: Desk) -> Played:
    relay, address = start_relay(desk)
    listen = desk.derphole("listen", "listen", RELAYED, "--relay", f"http://{address}")
    pipe = desk.pipe(token_of(listen), RELAYED, stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    listen.await_output(13)
    relay.send_signal(signal.SIGKILL)
    relay.wait()
    pipe.feed(b"the rest")
    return listen, pipe


DONE = (End(0, "^received 13B"), End(0, "^sent 13B"))
ABORTED = "^the other side stopped: it "
GONE = r"^timed out after 6\d s waiting for {} \(no answer from the other side\)"
FULL_DISK = "no space left on device"
ROWS = [
    Row("done", "both", is_done, *DONE),
    *(
        Row(
            signum.name, "listen", ends_by(signum, "listen"),
            End(128 + signum, f"^interrupted by {signum.name}$"),
            End(1, f"{ABORTED}was interrupted by {signum.name}; "),
        )
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ),
    *(
        Row(
            signum.name, "pipe", ends_by(signum, "pipe"),
            End(1, f"{ABORTED}was interrupted by {signum.name}; "),
            End(128 + signum, f"^interrupted by {signum.name}$"),
        )
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ),
    Row(
        "output closed", "listen", has_no_reader,
        End(1, "^standard output was closed after 13 bytes; find out why "),
        End(1, "^the receiver's output was closed; find out why "),
    ),
    Row(
        "disk full", "listen", has_a_full_disk,
        End(1, f"^writing to standard output failed after 0 bytes: {FULL_DISK}; "),
        End(1, f"{ABORTED}could not write its output: {FULL_DISK}; "),
    ),
    Row(
        "input unreadable", "pipe", cannot_read,
        End(1, f"{ABORTED}could not read its input: it is closed, or open only for the other "),
        End(1, "^reading from standard input failed: it is closed, or open only for the other "),
    ),
    Row(
        "a bug", "listen", fails_unexpectedly("listen"),
        End(1, "^unexpected ZeroDivisionError .*, which is a bug in the program; "),
        End(1, f"{ABORTED}failed; see its messages$"),
    ),
    Row(
        "a bug", "pipe", fails_unexpectedly("pipe"),
        End(1, f"{ABORTED}failed; see its messages$"),
        End(1, "^unexpected ZeroDivisionError .*, which is a bug in the program; "),
    ),
    Row("second claimer", "pipe", comes_second, DONE[0], End(1, "^already in use: ")),
    Row(
        "token expired", "pipe", has_an_expired_token,
        End(1, "^token expired unclaimed; run the command again"),
        End(1, r"^the token expired at .* \(this machine's clock says .*, the issuer's "),
    ),
    Row(
        "never claimed", "listen", is_never_claimed,
        End(1, "^token expired unclaimed; run the command again"), None,
    ),
    Row(
        "--timeout", "listen", waits_no_longer("listen"),
        End(1, "^timed out after 1 s waiting for the other side to use the token; check "), None,
    ),
    Row(
        "--timeout", "pipe", waits_no_longer("pipe"),
        None, End(1, "^timed out after 1 s waiting for the listener to answer: the relay says "),
    ),
    Row(
        "token damaged", "pipe", has_a_damaged_token,
        End(0, "^received 12B"), End(1, "^the token is damaged "),
    ),
    Row(
        "token of another command", "pipe", has_another_token,
        None, End(1, "^this token was printed by `.*`; use it with "),
    ),
    Row(
        "killed", "listen", is_killed("listen"),
        None, End(1, GONE.format("the listener's confirmation")), cut=STALL,
    ),
    Row(
        "killed", "pipe", is_killed("pipe"),
        End(1, GONE.format("the sender")), None, cut=STALL,
    ),
    Row(
        "relay lost", "both", loses_its_relay,
        End(1, GONE.format("the sender")), End(1, GONE.format("the listener's confirmation")),
        cut="^relay trouble: ",
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _heeded() -> Iterator[None]:
    with heeded_signals():
        yield


@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_cause_is_named_on_both_sides(desk: Desk, row: Row, is_full: bool) -> None:
    listen, pipe = row.play(desk)

    words = []
    for name, process, end in (("listen", listen, row.listen), ("pipe", pipe, row.pipe)):
        if process is None or end is None:
            assert process is None
            assert end is None
            continue
        if row.cut is not None and not is_full:
            process.await_line(row.cut, TOLD_S)
            process.send_signal(signal.SIGTERM)
            process.ends_with(143)
        else:
            process.ends_with(end.code, end.says, timeout_s=GIVE_UP_S + SLACK_S)
        words.append(f"{name} {process.wait()}: {process.lines[-1]}")
    print(f"{row.cause:26} {row.side:7}" + "\n".ljust(36).join(words))
