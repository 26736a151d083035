"""Progress: how far a transfer is, measured by who runs it and shown by who watches it.

    a conversation      hands a `Measuring` to its `Watch`, for as long as bytes may move
    `Pace`              makes of measures, at any times, a `Progress` with its rate and its stalls
    the command line    draws it: `derphole.cli.frame.progress`

Bytes count once the receiver has them.  Pure; time is an argument.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from derphole.transfer_status import Progress
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.values import frozen

# Chosen: a rate that follows within seconds and can be read.
SMOOTHING_S: Seconds = 1.5


@frozen
class Measure:
    """How far a transfer is at a moment.

    Args:
        done: bytes that the receiver has.
        total: all bytes, None when unknown.
        path: the path they take, in words that begin with "relay" or "direct".
    """

    done: ByteCount
    total: ByteCount | None
    path: str


Measuring = Callable[[], Measure | None]  # None before anything can move
Watch = Callable[[Measuring], AbstractContextManager[object]]


def unwatched(measuring: Measuring) -> AbstractContextManager[object]:
    """Show nothing."""
    del measuring
    return nullcontext()


class Pace:
    """What follows from measures.

    Args:
        now: when the transfer began.
    """

    def __init__(self, now: Instant) -> None:
        self._began_at = self._taken_at = self._moved_at = now
        self._done: ByteCount = 0
        self._rate = 0.0
        self._weight = 0.0  # how much of the average is measured; the rest is its start at 0

    def take(self, now: Instant, measure: Measure) -> Progress:
        """Return how far it is by a measure taken now."""
        passed_s = now - self._taken_at
        if passed_s > 0:
            self._average(passed_s, (measure.done - self._done) / passed_s)
            self._taken_at = now
            if measure.done != self._done:
                self._moved_at = now
            self._done = measure.done
        return Progress(
            measure.done,
            measure.total,
            now - self._began_at,
            self._rate / self._weight if self._weight else 0.0,
            now - self._moved_at,
            measure.path,
        )

    def _average(self, passed_s: Seconds, rate: float) -> None:
        kept = math.exp(-passed_s / SMOOTHING_S)
        self._rate = kept * self._rate + (1 - kept) * max(0.0, rate)
        self._weight = kept * self._weight + (1 - kept)
