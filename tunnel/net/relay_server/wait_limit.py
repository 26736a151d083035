"""A time limit for the many waits of one greenlet, by a timer that is made once.

`gevent.Timeout` makes a new timer each time, which costs ten times as much: too much for every
read and write of a relay.
"""

from types import TracebackType

import gevent

from tunnel.units import Seconds


class WaitLimit:
    """Use as a context manager around one wait at a time; `close` it at the end.

    Args:
        seconds: for each wait.
        kind: the exception that ends a wait which takes longer.
        text: what that exception says.
    """

    __slots__ = ("_kind", "_text", "_timer")

    def __init__(self, seconds: Seconds, kind: type[Exception], text: str) -> None:
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._kind = kind
        self._text = text

    def __enter__(self) -> None:
        self._timer.start(gevent.getcurrent().throw, self._kind, self._text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.stop()

    def close(self) -> None:
        """Give the timer back to the event loop."""
        self._timer.close()
