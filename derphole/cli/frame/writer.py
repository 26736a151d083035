"""LineWriter: lines to a stream that may be slow, stalled or gone, without ever blocking us.

A thread of its own does the writing, where the system lets us have one; a bounded number of lines
may wait for it, and what is too much is dropped and counted.  A closed stream swallows everything:
messages never decide how a command ends.

On a terminal the last row may hold a bar, which is drawn over itself.  It gives way to every line
and comes back below it; of bars that wait only the newest is drawn.
"""

import threading
from queue import SimpleQueue
from typing import TextIO

from derphole.cli.frame.descriptors import write_text
from tunnel.units import Seconds
from tunnel.values import frozen

# Chosen: some hundred kilobytes; a reader that is further behind reads no status lines at all.
MAX_WAITING_LINES = 1000
# Chosen: without a thread, what a reader that is behind may hold us up for each line.
ALONE_S: Seconds = 1.0


@frozen
class Bar:
    """What the last row shows.

    Args:
        text: no wider than the row, without control characters; empty for nothing.
        cells: how wide it is.
        columns: how wide the row is; no more than that is overwritten.
    """

    text: str = ""
    cells: int = 0
    columns: int = 0


class LineWriter:
    """Writes lines in order.

    Args:
        stream: where they go; None swallows them.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._waiting: SimpleQueue[str | Bar | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # the watchdog reports from a thread of its own
        self._dropped = 0
        self._wanted = Bar()
        self._shown = Bar()
        self._bar_waits = False

    def write(self, line: str, *, is_vital: bool = False) -> None:
        """Queue a line; a vital one is never dropped."""
        if self._stream is None:
            return
        if not is_vital and self._waiting.qsize() >= MAX_WAITING_LINES:
            self._dropped += 1
            return
        if self._dropped:
            self._waiting.put(f"({self._dropped} lines dropped: standard error was not read)\n")
            self._dropped = 0
        self._waiting.put(line + "\n")
        self._start()

    def draw(self, bar: Bar) -> None:
        """Show a bar in place of the one before."""
        self._wanted = bar
        if self._stream is None or self._bar_waits:
            return
        self._bar_waits = True
        self._waiting.put(bar)
        self._start()

    def close(self, timeout_s: float) -> None:
        """Wait until every line is written, `timeout_s` seconds at most."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(timeout_s)
            self._thread = None

    def _start(self) -> None:
        """Start the thread; where there is none to be had, write what waits here and now."""
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="stderr", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._waiting.put(None)
                self._run(ALONE_S)
            else:
                self._thread = thread

    def _run(self, patience_s: Seconds | None = None) -> None:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, Bar):
                self._bar_waits = False  # before it is looked at: a later one is not missed
                self._show(self._wanted, patience_s)
                continue
            self._show(Bar(), patience_s)
            self._put(item, patience_s)
            if self._waiting.empty():
                self._show(self._wanted, patience_s)
        self._show(Bar(), patience_s)

    def _show(self, bar: Bar, patience_s: Seconds | None) -> None:
        """Overwrite the last row, as far as it is still in sight."""
        before, self._shown = self._shown, bar
        blanks = min(before.cells, bar.columns or before.columns) - bar.cells
        if bar.text:
            self._put("\r" + bar.text + " " * blanks, patience_s)
        elif before.text:
            self._put("\r" + " " * blanks + "\r", patience_s)

    def _put(self, text: str, patience_s: Seconds | None) -> None:
        if self._stream is None:
            return
        try:
            write_text(self._stream, text, patience_s)
        except (OSError, ValueError):  # nobody reads it any more, or it was closed
            self._stream = None
