"""Patience: a machine that boots has no network yet; what needs one is tried again."""

from collections.abc import Callable
from math import inf
from typing import TypeVar

import gevent

from derphole.errors import RelayTrouble, TimedOut
from derphole.rendezvous.waiting import FIRST_WAIT_REPORT_S
from derphole.status import RelayDown, Report, Waiting
from tunnel.net.clock import monotonic
from tunnel.units import Seconds

T = TypeVar("T")

# Chosen.
FIRST_PAUSE_S: Seconds = 2.0
LAST_PAUSE_S: Seconds = 30.0


def patiently(find: Callable[[], T], limit_s: Seconds | None, report: Report) -> T:
    """Return what `find` returns, once it does not raise `RelayTrouble` any more.

    Raises `TimedOut` after `limit_s`.  What is wrong is told whenever it changes.
    """
    began_at, pause_s, told = monotonic(), FIRST_PAUSE_S, ""
    word = gevent.spawn_later(
        FIRST_WAIT_REPORT_S, lambda: report(Waiting("the relay map", FIRST_WAIT_REPORT_S, limit_s))
    )
    try:
        while True:
            try:
                return find()
            except RelayTrouble as error:
                waited_s = monotonic() - began_at
                if limit_s is not None and waited_s >= limit_s:
                    raise TimedOut("a relay", waited_s, error.sentence) from error
                if error.detail != told:
                    told = error.detail
                    report(RelayDown(f"{error.detail}; trying again"))
                left_s = inf if limit_s is None else limit_s - waited_s
                gevent.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
    finally:
        word.kill()
