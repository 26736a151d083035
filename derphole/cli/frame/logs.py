"""Log records of the packages become debug lines; everything else that prints is kept quiet.

Without this, `logging` would print warnings on its own, and gevent tracebacks of callbacks.  Lines
of one kind are thinned: who connects to a relay all the time decides how many there are.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gevent

from derphole.cli.frame.output import Output
from derphole.status import Level, Notice
from derphole.trace_bounds import Thinning
from derphole.watchdog import Stall, Watchdog

PACKAGES = ("derphole", "tunnel")
FAILED = " failed with "  # in the last line that gevent prints about an exception


class DebugLines(logging.Handler):
    """Hands log records to the output as debug lines.

    Args:
        output: where they go.
        shows_tracebacks: whether what gevent prints about a failed callback is shown whole, and
            not only the line that names callback and exception.
    """

    def __init__(self, output: Output, shows_tracebacks: bool) -> None:
        super().__init__()
        self._output = output
        self._shows_tracebacks = shows_tracebacks
        self._thinning = Thinning()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record, unless too many of its kind came in this second."""
        for kind, count in self._thinning.turn(record.created).items():
            self._output.debug(f"{count} more lines within a second were left out: {kind}")
        if self._thinning.admit(f"{record.name}: {record.msg}"):
            self._output.debug(f"{record.name}: {record.getMessage()}")

    def write(self, text: str) -> None:
        """Show what gevent prints about a callback that failed."""
        for line in text.splitlines():
            if self._shows_tracebacks or FAILED in line:
                self._output.debug(line)


@contextmanager
def stall_lines(output: Output) -> Iterator[None]:
    """Report every stall of the event loop within the context."""

    def report(stall: Stall) -> None:
        for line in str(stall).splitlines():
            output.report(Notice(line))

    with Watchdog(report):
        yield


@contextmanager
def debug_lines(output: Output, *, shows_tracebacks: bool = False) -> Iterator[None]:
    """Send log records and gevent's own messages to `output` within the context.

    That libuv, gevent's loop on Windows, rounds short waits up to 1 ms is nothing to tell.
    """
    warnings.filterwarnings("ignore", "libuv only supports millisecond timer", UserWarning)
    handler = DebugLines(output, shows_tracebacks)
    level = logging.DEBUG if output.level is Level.VERBOSE else logging.CRITICAL
    hub = gevent.get_hub()
    stream, hub.exception_stream = hub.exception_stream, handler
    loggers = [logging.getLogger(name) for name in PACKAGES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        hub.exception_stream = stream
        for logger, before in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(before)
            logger.propagate = True
