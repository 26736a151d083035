"""How a transfer's progress is shown: a bar on a terminal, lines or events elsewhere, or nothing.

    known size      45%|#########...........| 45.0MiB/100.0MiB [00:04<00:05, 11.2MiB/s] PATH
    unknown size   45.0MiB [00:04, 11.2MiB/s] PATH
    less room       45% 45.0MiB 11.2MiB/s relay

Every row fits the terminal as it is at that moment.  Nothing moved for `STILL_S`: that stands where
the rate was.  The bar is gone at the end, when the receipt says the same.
"""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import gevent

from derphole.cli.frame.output import Output, escaped
from derphole.cli.frame.writer import Bar
from derphole.progress import Measuring, Pace, Watch, unwatched
from derphole.status import Level, size_text
from derphole.transfer_status import Progress
from tunnel.net.clock import monotonic
from tunnel.net.tasks import TaskGroup
from tunnel.units import Seconds

# Chosen.
CELLS = 20
REDRAW_S: Seconds = 0.1
REDRAW_STILL_S: Seconds = 1.0  # while nothing moves
STILL_S: Seconds = 3.0
FIRST_LINE_S: Seconds = 5.0  # design, section 11
LINE_S: Seconds = 30.0
WIDEST, USUAL = 200, 80  # columns


def watch_for(
    output: Output, *, is_hidden: bool = False, says_lines: bool = False, stream: TextIO | None
) -> Watch:
    """Return what shows progress.

    Args:
        output: where it is shown, at the usual level or above.
        is_hidden: whether it is not to be shown at all.
        says_lines: whether a line is said now and then, or an event, where there is no terminal.
        stream: standard error, if there is one.
    """
    if is_hidden or stream is None or output.level < Level.NORMAL:
        return unwatched
    if not output.is_json and stream.isatty() and os.environ.get("TERM") != "dumb":
        return _BarOf(output, stream.fileno()).watch
    return _LinesOf(output).watch if says_lines else unwatched


class _BarOf:
    def __init__(self, output: Output, terminal: int) -> None:
        self._output = output
        self._terminal = terminal

    @contextmanager
    def watch(self, measuring: Measuring) -> Iterator[None]:
        """Draw until the context ends."""
        try:
            with TaskGroup("progress") as tasks:
                tasks.spawn("bar", self._run, measuring)
                yield
        finally:
            self._output.draw(Bar())

    def _run(self, measuring: Measuring) -> None:
        pace: Pace | None = None
        pause_s = REDRAW_S
        while True:
            gevent.sleep(pause_s)
            measure = measuring()
            if measure is None:  # a person may be asked meanwhile
                continue
            pace = pace or Pace(monotonic())
            progress = pace.take(monotonic(), measure)
            pause_s = REDRAW_S if progress.still_s < STILL_S else REDRAW_STILL_S
            if not self._is_in_background():
                columns = self._columns()
                text = bar_text(progress, columns - 1)  # the last column would wrap on some
                self._output.draw(Bar(text, cells_of(text), columns - 1))

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._terminal).columns
        except OSError:
            columns = 0
        return min(columns or USUAL, WIDEST)

    def _is_in_background(self) -> bool:
        """Tell whether the shell has given the terminal to somebody else."""
        try:
            return os.tcgetpgrp(self._terminal) != os.getpgrp()
        except (OSError, AttributeError):  # no terminal of ours, or no such thing here
            return False


class _LinesOf:
    def __init__(self, output: Output) -> None:
        self._output = output

    @contextmanager
    def watch(self, measuring: Measuring) -> Iterator[None]:
        """Say how far it is after `FIRST_LINE_S`, and then every `LINE_S`."""
        with TaskGroup("progress") as tasks:
            tasks.spawn("lines", self._run, measuring)
            yield

    def _run(self, measuring: Measuring) -> None:
        pace = Pace(monotonic())
        pause_s = FIRST_LINE_S
        while True:
            gevent.sleep(pause_s)
            measure = measuring()
            if measure is not None:
                self._output.report(pace.take(monotonic(), measure))
                pause_s = LINE_S


# -- the text of a bar --------------------------------------------------------------------------


def bar_text(progress: Progress, columns: int) -> str:
    """Return the fullest form that fits into so many columns."""
    forms = list(_forms(progress))
    for form in forms:
        if cells_of(form) <= columns:
            return form
    return _cut(forms[-1], columns)


def _forms(progress: Progress) -> Iterator[str]:
    """Yield the forms, the fullest first."""
    path = escaped(progress.path)
    short = path.split(" ", 1)[0]
    done, speed = size_text(progress.done), _speed(progress)
    elapsed = _clock(progress.elapsed_s)
    if progress.total is None:
        yield f"{done} [{elapsed}, {speed}] {path}"
        yield f"{done} [{elapsed}, {speed}] {short}"
        yield f"{done} {speed} {short}"
        yield f"{done} {speed}"
        return
    share = _share(progress.done, progress.total)
    # 100% is what the receipt says: the other side has confirmed it then.
    percent = f"{min(99, int(100 * share)):3}%"
    filled = int(CELLS * share)
    drawn = "#" * filled + "." * (CELLS - filled)
    amount = f"{done}/{size_text(progress.total)}"
    times = f"[{elapsed}<{_left(progress)}, {speed}]"
    yield f"{percent}|{drawn}| {amount} {times} {path}"
    yield f"{percent}|{drawn}| {amount} {times} {short}"
    yield f"{percent} {amount} {times} {short}"
    yield f"{percent} {amount} {speed} {short}"
    yield f"{percent} {done} {speed} {short}"
    yield f"{percent} {done} {speed}"


def _share(done: int, total: int) -> float:
    return min(1.0, done / total) if total else 1.0


def _speed(progress: Progress) -> str:
    if progress.still_s >= STILL_S:
        return f"nothing for {progress.still_s:.0f} s"
    return f"{size_text(round(progress.rate))}/s"


def _left(progress: Progress) -> str:
    """Return the time that is left, at the rate of now."""
    if progress.total is None or progress.still_s >= STILL_S or progress.rate < 1:
        return "--:--"
    return _clock(max(0, progress.total - progress.done) / progress.rate)


def _clock(seconds: Seconds) -> str:
    whole = round(seconds)
    return f"{whole // 60:02}:{whole % 60:02}"


def cells_of(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_cells_of_letter, text))


def _cells_of_letter(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _cut(text: str, columns: int) -> str:
    while cells_of(text) > columns:
        text = text[:-1]
    return text
