"""SIGINT, SIGTERM and SIGHUP end the command by an exception in its main greenlet.

    signal    with a terminal    without one
    SIGHUP    ends: it is gone   does what the command does on request; ends one that does nothing
    SIGUSR1   does what the command does on request

The exception is `Interrupted`, raised where the main greenlet waits, so that every `finally` runs
and the other side hears the reason.  A second signal, 300 ms or more after the first, ends the
process at once; a terminal that sends one signal to a whole pipeline twice does not.
"""

import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import gevent

from derphole import SIGNAL_EXIT_BASE
from derphole.cli.frame.ending import ENDING_SIGNALS
from derphole.errors import Interrupted
from tunnel.net.clock import monotonic
from tunnel.units import Instant, Seconds

# Chosen: longer than the two signals of a shell and of a launcher that passes its own on.
SECOND_SIGNAL_S: Seconds = 0.3
# Fixed by POSIX: another name of the terminal that controls a process.
TERMINAL = "/dev/tty"


class Watcher(Protocol):
    """What `gevent.signal_handler` returns."""

    def cancel(self) -> None:
        """Stop handling the signal."""


class EndingSignals:
    """A context in which the signals raise `Interrupted` in the greenlet that entered it.

    Args:
        on_request: called at SIGUSR1, and at SIGHUP where no terminal controls the process; must
            not block.

    Signals that were ignored when the program began (nohup, background jobs) stay ignored.
    """

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self._on_request = on_request
        self._requests: set[int] = set()
        self._main = gevent.getcurrent()
        self._first: Instant | None = None
        self._watchers: list[Watcher] = []

    def __enter__(self) -> "EndingSignals":
        self._main = gevent.getcurrent()
        if self._on_request is not None:
            self._requests = _request_signals()
        self._watchers = [
            gevent.signal_handler(signum, self._handle, signum)
            for signum in self._requests.union(ENDING_SIGNALS)
            if signal.getsignal(signum) is not signal.SIG_IGN
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._first is not None:
            return  # the process ends: the second of two must not kill it before its last words
        for watcher in self._watchers:
            watcher.cancel()

    def _handle(self, signum: int) -> None:
        if signum in self._requests and self._on_request is not None:
            self._on_request()
            return
        now = monotonic()
        if self._first is None:
            self._first = now
            gevent.kill(self._main, Interrupted(signum, signal.Signals(signum).name))
        elif now - self._first >= SECOND_SIGNAL_S:
            os._exit(SIGNAL_EXIT_BASE + signum)


def _request_signals() -> set[int]:
    """Return the signals that ask for something; Windows has none."""
    if not hasattr(signal, "SIGUSR1"):
        return set()
    return {signal.SIGUSR1} | (set() if has_terminal() else {signal.SIGHUP})


def has_terminal() -> bool:
    """Tell whether a terminal controls this process, so that SIGHUP means that it is gone."""
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
