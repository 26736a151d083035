"""Clocks that are wrong, clocks that jump, and machines that sleep in the middle of a transfer."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from desk import Desk, token_of
from faults import MIB, SLACK_S, FileTransfer, Stopwatch, start_relay
from shifted_clock import OFFSET
from support.processes import Process, await_true, record_figure

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("shifted_clock.py")
HALF_AN_HOUR_S = 1800.0
WRONG = {"late": -HALF_AN_HOUR_S, "right": 0.0, "early": HALF_AN_HOUR_S}
SIZE = 48 * MIB
RATE = "16M"
SLEEP_S = 10.0
RECOVERY_S = 30.0
LIFE_S = 3600.0
WAITING = r"^waiting for the other side to use the token \(2 s\)$"
UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

each_side = pytest.mark.parametrize("side", ["listen", "pipe"])


class Clock:
    """The wall clock of one process, in a file that it maps."""

    def __init__(self, desk: Desk, name: str, offset_s: float = 0.0) -> None:
        self._desk = desk
        self._file = desk.folder / f"{name}.clock"
        self._file.write_bytes(OFFSET.pack(offset_s))

    def jump_to(self, offset_s: float) -> None:
        """Set the clock; the process sees it at once."""
        with self._file.open("r+b") as file:
            file.write(OFFSET.pack(offset_s))

    def derphole(self, name: str, *words: str, **streams: object) -> Process:
        """Start a derphole command that lives by this clock."""
        command = [sys.executable, PROGRAM, self._file, "--", *words]
        return self._desk.run(name, command, **streams)  # type: ignore[arg-type]


def listener_whose_token_has_expired(desk: Desk) -> tuple[Process, str]:
    """A listener whose clock says so since a moment ago; it has not looked at it yet."""
    clock = Clock(desk, "issuer")
    listen = clock.derphole("listen", "listen", "--relay", desk.relay_url)
    token = token_of(listen)
    listen.await_line(WAITING)  # the next look at the clock is seconds away
    clock.jump_to(LIFE_S + 1.0)
    return listen, token


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("early", "right"), ("late", "right"), ("right", "early"), ("right", "late"),
        ("early", "late"), ("late", "early"),
    ],
)  # fmt: skip
def test_clocks_that_are_half_an_hour_wrong_change_nothing(
    desk: Desk, ours: str, theirs: str
) -> None:
    issuer, claimer = Clock(desk, "issuer", WRONG[ours]), Clock(desk, "claimer", WRONG[theirs])
    listen = issuer.derphole("listen", "listen", "--relay", desk.relay_url)

    pipe = claimer.derphole("pipe", "pipe", token_of(listen), stdin=b"in good time")

    pipe.ends_with(0, "^sent 12B")
    listen.ends_with(0, "^received 12B")
    assert listen.stdout == b"in good time"


def test_a_clock_that_is_so_early_that_the_token_looks_expired_is_named(desk: Desk) -> None:
    claimer = Clock(desk, "claimer", LIFE_S + 2 * HALF_AN_HOUR_S)
    listen = desk.listen()

    pipe = claimer.derphole("pipe", "pipe", token_of(listen), stdin=b"never read")

    pipe.ends_with(
        1, rf"^the token expired at {UTC} \(this machine's clock says {UTC}\); .* correct the clock"
    )
    listen.send_signal(signal.SIGTERM)
    listen.ends_with(143)


def test_the_issuer_s_clock_decides_and_the_refusal_shows_both(desk: Desk) -> None:
    listen, token = listener_whose_token_has_expired(desk)
    claimer = Clock(desk, "claimer", -HALF_AN_HOUR_S)

    pipe = claimer.derphole("pipe", "pipe", token, stdin=b"never read")

    pipe.ends_with(
        1, rf"^the token expired at {UTC} \(this machine's clock says {UTC}, the issuer's {UTC}\)"
    )
    listen.ends_with(1, "^token expired unclaimed; ")


def test_a_listener_that_slept_through_its_token_s_life_says_so_by_itself(desk: Desk) -> None:
    issuer = Clock(desk, "issuer")
    listen = issuer.derphole("listen", "listen", "--relay", desk.relay_url)
    token_of(listen)

    listen.send_signal(signal.SIGSTOP)
    issuer.jump_to(2 * LIFE_S)
    listen.send_signal(signal.SIGCONT)

    listen.ends_with(1, "^token expired unclaimed; run the command again", timeout_s=5.0 + SLACK_S)


def test_a_clock_that_is_set_back_does_not_end_a_token_early(desk: Desk) -> None:
    issuer = Clock(desk, "issuer")
    listen = issuer.derphole("listen", "listen", "--relay", desk.relay_url, "--expires", "3s")
    token = token_of(listen)

    issuer.jump_to(-HALF_AN_HOUR_S)
    life = Stopwatch()
    await_true(lambda: life.seconds > 3.5, "the token would have expired")
    pipe = desk.pipe(token, stdin=b"its own clock counts")

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == b"its own clock counts"


@each_side
def test_a_clock_that_jumps_in_a_transfer_changes_nothing(desk: Desk, side: str) -> None:
    clocks = {"listen": Clock(desk, "listen"), "pipe": Clock(desk, "pipe")}
    listen = clocks["listen"].derphole("listen", "listen", "--relay", desk.relay_url)
    pipe = clocks["pipe"].derphole("pipe", "pipe", token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"before")
    listen.await_output(6)

    for offset_s in (HALF_AN_HOUR_S, -HALF_AN_HOUR_S, 30 * 86400.0):
        size = len(listen.stdout)
        clocks[side].jump_to(offset_s)
        pipe.feed(b"; later")
        listen.await_output(size + 7)
    pipe.end_input()

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == b"before" + 3 * b"; later"
    for process in (listen, pipe):
        assert not any("no answer" in line for line in process.lines), process.story


@pytest.mark.slow
@pytest.mark.alongside("waits")
def test_machines_that_sleep_in_a_transfer_wake_up_and_go_on(desk: Desk) -> None:
    nights = []
    for side in ("listen", "pipe"):
        _, address = start_relay(desk, "127.0.0.1:0", "--rate", RATE)
        transfer = FileTransfer(desk, SIZE, "--relay", f"http://{address}", name=side)
        transfer.send()
        transfer.await_written(SIZE // 3)
        sleeper = transfer.listen if side == "listen" else transfer.pipe
        sleeper.send_signal(signal.SIGSTOP)
        nights.append((side, transfer, sleeper, Stopwatch()))

    # Who still has something to say hears that nobody answers.
    nights[0][1].pipe.await_line("^no answer from the other side for 5 s", 5.0 + SLACK_S)
    recoveries_s = {}
    for side, transfer, sleeper, night in nights:
        await_true(lambda: night.seconds >= SLEEP_S, "the night is over", SLEEP_S + SLACK_S)  # noqa: B023 - used at once
        sleeper.send_signal(signal.SIGCONT)
        morning, had = Stopwatch(), transfer.written
        transfer.await_written(had + 1, RECOVERY_S)
        recoveries_s[side] = morning.seconds

    for _, transfer, _, _ in nights:
        transfer.ends_well()
    figures = ", ".join(f"{side} {seconds:.2f} s" for side, seconds in recoveries_s.items())
    record_figure(f"bytes flow again after an end slept {SLEEP_S:.0f} s", figures, "30 s")
