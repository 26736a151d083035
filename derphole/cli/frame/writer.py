"""LineWriter: lines to a stream that may be slow, stalled or gone, without ever blocking us.

A thread of its own does the writing, where the system lets us have one; a bounded number of lines
may wait for it, and what is too much is dropped and counted.  A closed stream swallows everything:
messages never decide how a command ends.
"""

import threading
from queue import SimpleQueue
from typing import TextIO

# Chosen: some hundred kilobytes; a reader that is further behind reads no status lines at all.
MAX_WAITING_LINES = 1000


class LineWriter:
    """Writes lines in order.

    Args:
        stream: where they go; None swallows them.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # the watchdog reports from a thread of its own
        self._dropped = 0

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
        with self._starting:
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        """Start the thread; where there is none to be had, write what waits here and now."""
        thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._waiting.put(None)
            self._run()
        else:
            self._thread = thread

    def close(self, timeout_s: float) -> None:
        """Wait until every line is written, `timeout_s` seconds at most."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(timeout_s)
            self._thread = None

    def _run(self) -> None:
        while (text := self._waiting.get()) is not None:
            if self._stream is None:
                continue
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads it any more, or it was closed
                self._stream = None
