"""What processes cost that have nothing to do: wake-ups and processor time, as the kernel counts them.

A wake-up is a voluntary context switch of any thread: the process had waited for something.  On a
machine that others load as well, a process that wakes finds its memory gone from the caches, and
its time says as much about them as about it: then, and in short windows, three times the limit
passes, and the true figure is recorded all the same.
"""

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.processes import await_true, record_figure

# The budget of every state a command can be in, while nobody asks anything of it.
WAKEUPS_PER_S = 2.0
MORE_PER_LINK = 0.2
MOST_SHARE = 0.001  # of one processor
LOADED_FACTOR = 3
# Until a process is called calm; a spinning one never is.
CALM_LIMIT_S = 90.0
CALM_WINDOW_S = 4.0
# A short window says little: a process is asked again that used more in it, since one that never
# rests uses as much in each.  After its beginning, everything is refreshed once within a minute.
SHORT_WINDOW_S = 12.0
SHORT_WINDOWS = 12
REFRESHED_S = 60.0
FULL_WINDOW_S = 60.0
NANOSECOND = 1e-9
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Idle:
    """A process that is to be idle, and how many links it holds."""

    pid: int
    links: int = 1

    @property
    def most_wakeups_per_s(self) -> float:
        return WAKEUPS_PER_S + MORE_PER_LINK * max(0, self.links - 1)


@dataclass(frozen=True)
class Usage:
    """What the threads of a process have used so far: wake-ups and seconds, by thread."""

    at: float
    wakeups: dict[str, int]
    seconds: dict[str, float]

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Return what a process has used so far; one that has ended is not idle."""
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state != "Z", f"process {pid} has ended"
        wakeups, seconds = {}, {}
        for task in Path(f"/proc/{pid}/task").iterdir():
            # An idle thread of the pool may end between being listed and being read.
            with suppress(FileNotFoundError, ProcessLookupError):
                found = _SWITCHES.search((task / "status").read_text())
                assert found is not None, "this kernel counts no context switches"
                seconds[task.name] = _seconds(task)
                wakeups[task.name] = int(found[1])
        return cls(time.monotonic(), wakeups, seconds)

    def since(self, earlier: "Usage") -> tuple[float, float]:
        """Return wake-ups a second and the share of a processor since then."""
        took_s = self.at - earlier.at
        wakeups = sum(n - earlier.wakeups.get(task, 0) for task, n in self.wakeups.items())
        seconds = sum(s - earlier.seconds.get(task, 0.0) for task, s in self.seconds.items())
        return wakeups / took_s, seconds / took_s


def _seconds(task: Path) -> float:
    """Return the processor time of a thread, to the nanosecond where the kernel tells it so."""
    try:
        return int((task / "schedstat").read_text().split()[0]) * NANOSECOND
    except FileNotFoundError:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def await_calm(process: Idle) -> None:
    """Wait until a process wakes up no more often than its budget allows."""
    before, rate = Usage.of(process.pid), float("inf")

    def is_calm() -> bool:
        nonlocal before, rate
        now = Usage.of(process.pid)
        if now.at - before.at >= CALM_WINDOW_S:
            rate, before = now.since(before)[0], now
        return rate <= process.most_wakeups_per_s

    try:
        await_true(is_calm, "the process is calm", CALM_LIMIT_S)
    except AssertionError as error:
        raise AssertionError(f"{error}; {rate:.2f} wake-ups a second") from None


def assert_idle(processes: Mapping[str, Idle], *, is_full: bool) -> None:
    """Let time pass, and assert that none uses more than its budget.

    Each is to keep within it in one short window; at full size, in the first full one after all was
    refreshed.
    """
    over = dict.fromkeys(processes, "")
    for _ in range(SHORT_WINDOWS):
        over = _over_budget({name: processes[name] for name in over}, SHORT_WINDOW_S)
        if not over:
            break
    if is_full and not over:
        time.sleep(REFRESHED_S)  # what is awaited is that time passes
        over = _over_budget(processes, FULL_WINDOW_S)
    assert not over, "\n".join(over.values())


def _over_budget(processes: Mapping[str, Idle], window_s: float) -> dict[str, str]:
    """Let a window pass; return the processes that used more than their budget, and the figures."""
    before = {name: Usage.of(process.pid) for name, process in processes.items()}
    time.sleep(window_s)  # the window itself: there is nothing else to wait for
    over = {}
    # Where others run, and in a window too short for the beginning to be forgotten, more passes.
    is_quiet = window_s >= FULL_WINDOW_S and os.getloadavg()[0] < (os.cpu_count() or 1) / 2
    most_share = MOST_SHARE * (1 if is_quiet else LOADED_FACTOR)
    for name, process in processes.items():
        wakeups_per_s, share = Usage.of(process.pid).since(before[name])
        figure = f"{wakeups_per_s:.2f} wake-ups a second, {share:.3%} of a processor"
        must = f"{process.most_wakeups_per_s:.1f} a second, {MOST_SHARE:.1%}"
        record_figure(f"idle {window_s:g} s, {name}", figure, must)
        print(f"{name}: {figure}")
        # What falls into a short window by chance, such as one ping and its answer, is no rate.
        chance = 3 / window_s if window_s < FULL_WINDOW_S else 0.0
        if wakeups_per_s > process.most_wakeups_per_s + chance or share > most_share:
            over[name] = f"{name}: {figure}; must {must}"
    return over
