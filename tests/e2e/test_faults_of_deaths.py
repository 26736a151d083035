"""kill -9 of either end at random moments: the survivor says so, ends with the cause, never lies.

Many pairs run at once, since a survivor only waits.  Every moment comes from SEED and is printed;
`DERPHOLE_FAULT_SEED` replaces it, so that a failure can be had again.
"""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from desk import Desk, token_of
from faults import (
    GIVE_UP_S,
    MIB,
    SILENCE_S,
    SLACK_S,
    STALL,
    FileTransfer,
    Stopwatch,
    start_relay,
)
from support.processes import Process, await_true, record_figure

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SEED = int(os.environ.get("DERPHOLE_FAULT_SEED", "20250607"))
CUT_KILLS, FULL_KILLS = 6, 50
SIZE = 24 * MIB
RATE = "8M"
LATEST_S = 3.0  # after the sender's start: 24 MiB at 8 MB/s, and the time that a process needs
LATEST_UNDER_WAY_S = 1.5  # after the first byte: the relay's rate lets no transfer be done by then
END_S = GIVE_UP_S + 5.0
AWAITED = {
    "listen": r"timed out after 6\d s waiting for the sender \(no answer from the other side",
    "pipe": r"timed out after 6\d s waiting for the listener's confirmation \(no answer from the other side",
}
# Before there is a link the survivor waits for the first word of the other side.
UNMET = {
    "listen": r"waiting for the other side to use the token \(\d+ s( of at most \d+ s)?\)",
    "pipe": r"waiting for the listener to answer \(\d+ s( of at most \d+ s)?\)",
}


@dataclass
class Death:
    """One pair of which one side was just killed.

    Args:
        moment: when it was, for people.
        killed: "listen" or "pipe".
        waits_whole: see the survivor end by itself; else it is ended after its first word.

    Attributes:
        word_after_s: when the survivor first said what it waits for; None when it was done.
        end_after_s: when it gave up by itself; None when it had no reason to.
    """

    moment: str
    killed: str
    transfer: FileTransfer
    waits_whole: bool
    clock: Stopwatch = field(default_factory=Stopwatch)
    word_after_s: float | None = None
    end_after_s: float | None = None

    @property
    def survivor(self) -> Process:
        return self.transfer.pipe if self.killed == "listen" else self.transfer.listen

    @property
    def side(self) -> str:
        return "pipe" if self.killed == "listen" else "listen"

    def follow(self) -> str:
        """See the survivor end as it should; return in words how it did."""
        survivor = self.survivor
        survivor.await_line(f"{UNMET[self.side]}|^connected-relay$", SILENCE_S + SLACK_S)
        if "connected-relay" not in survivor.lines:
            survivor.send_signal(signal.SIGTERM)
            survivor.ends_with(143, UNMET[self.side], "^interrupted by SIGTERM$")
            return self._row("it went on waiting for the other side, and said so")
        survivor.await_line(f"{STALL}|^(sent|received) ", SILENCE_S + SLACK_S)
        said_at_s = self.clock.seconds
        if any(line.startswith(("sent ", "received ")) for line in survivor.lines):
            return self._proved()
        self.word_after_s = said_at_s
        if not self.waits_whole:
            survivor.send_signal(signal.SIGTERM)
            survivor.ends_with(143, "^interrupted by SIGTERM$")
            return self._row(f"said what it waits for after {said_at_s:.1f} s")
        survivor.ends_with(1, AWAITED[self.side], timeout_s=END_S + SLACK_S - said_at_s)
        self.end_after_s = self.clock.seconds
        assert not any(line.startswith(("sent ", "received ")) for line in survivor.lines)
        return self._row(f"said so after {said_at_s:.1f} s, ended after {self.end_after_s:.1f} s")

    def _proved(self) -> str:
        """Success was told: then every byte is at its place, whoever died."""
        self.survivor.ends_with(0)
        assert self.transfer.is_exact, f"a false success; {self.survivor.story}"
        return self._row("was done, and the copy is exact")

    def _row(self, outcome: str) -> str:
        written = self.transfer.written
        self.transfer.remove()
        return f"{self.moment} {written:9} B written; {self.side} {outcome}"


class Killer:
    """Starts pairs and kills one side of each at a moment of its own."""

    def __init__(self, desk: Desk, *, is_full: bool) -> None:
        self._desk = desk
        self._is_full = is_full
        self._random = random.Random(SEED)
        _, address = start_relay(desk, "127.0.0.1:0", "--rate", RATE)
        self._where = ("--relay", f"http://{address}")

    def kill(self, number: int) -> Death:
        """Run a pair up to its moment, and kill one side.

        Every other pair dies with bytes on their way, so that half of the survivors must stall.
        """
        killed = self._random.choice(("listen", "pipe"))
        is_under_way = number % 2 == 0
        latest_s = LATEST_UNDER_WAY_S if is_under_way else LATEST_S
        after_s = self._random.uniform(0.0, latest_s)
        transfer = FileTransfer(self._desk, SIZE, *self._where, name=f"{number}", seed=number)
        token_of(transfer.listen)
        transfer.send()
        clock = Stopwatch()
        if is_under_way:
            transfer.await_written(1)
            clock = Stopwatch()
        await_true(lambda: clock.seconds >= after_s, "the moment has come", LATEST_S + SLACK_S)
        victim = transfer.listen if killed == "listen" else transfer.pipe
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        since = "the first byte" if is_under_way else "the start"
        moment = f"{number:3} kill -9 {killed:6} {after_s:.2f} s after {since:14}"
        return Death(moment, killed, transfer, waits_whole=self._is_full or number == 0)


@pytest.mark.timeout(1800)
@pytest.mark.alongside("waits")
def test_the_survivor_of_a_kill_never_lies_and_is_never_silent(desk: Desk, is_full: bool) -> None:
    count = FULL_KILLS if is_full else CUT_KILLS
    killer = Killer(desk, is_full=is_full)
    print(f"seed {SEED}")
    deaths: list[Death] = []
    with ThreadPoolExecutor(count) as followers:
        rows = []
        for number in range(count):
            deaths.append(killer.kill(number))
            rows.append(followers.submit(deaths[-1].follow))
        for row in rows:
            print(row.result())

    words_s = [death.word_after_s for death in deaths if death.word_after_s is not None]
    ends_s = [death.end_after_s for death in deaths if death.end_after_s is not None]
    assert len(words_s) >= count / 2, "too few survivors had a link that was silent"
    assert ends_s
    assert len(ends_s) == len(words_s) or not is_full
    assert GIVE_UP_S - SILENCE_S <= min(ends_s) <= max(ends_s) <= END_S + SLACK_S
    kills = f"after kill -9 (of {count} random moments)"
    record_figure(
        f"survivor's first word {kills}", f"{min(words_s):.1f} to {max(words_s):.1f} s", "5 s"
    )
    record_figure(f"survivor's end {kills}", f"{min(ends_s):.1f} to {max(ends_s):.1f} s", "65 s")
