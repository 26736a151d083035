"""Waiting: for what other greenlets bring about, with a word about what is awaited.

Nobody waits in silence: what is awaited is reported before 2 s are over, together with what a
relay has to say for itself, and again every 30 s.  No wait goes on once no relay could work for
long enough.
"""

from collections.abc import Callable
from math import inf

from gevent.event import Event

from derphole.errors import DerpholeError, TimedOut
from derphole.rendezvous.relay_words import GiveUp, RelayWords
from derphole.status import RelayDown, Report, Waiting
from tunnel.net.clock import monotonic, wall
from tunnel.net.endpoint import Endpoint
from tunnel.units import Instant, Seconds, WallTime

# Chosen.
# Nobody waits in silence for longer than 2 s (design, section 5), of which starting takes a part.
FIRST_WAIT_REPORT_S: Seconds = 1.5
WAIT_REPORT_S: Seconds = 30.0
CLOCK_LOOK_S: Seconds = 5.0  # nothing tells us when the wall clock jumps


class Waiter:
    """Waits in the main greenlet; a failure in the background ends every wait.

    Args:
        report: told what is awaited.
        endpoint: asked what failed.
        relays: asked what is wrong with the relays.
    """

    def __init__(self, report: Report, endpoint: Endpoint, relays: RelayWords) -> None:
        self._report = report
        self._endpoint = endpoint
        self._relays = relays
        self._changed = Event()
        self._told_troubles: set[str] = set()  # since the last report of a wait

    def notice(self) -> None:
        """Have conditions looked at again: something has changed."""
        self._changed.set()

    def wait(
        self,
        what: str,
        is_true: Callable[[], object],
        limit_s: Seconds | None,
        deadline: WallTime | None = None,
        give_up: Callable[[], GiveUp | None] = lambda: None,
    ) -> bool:
        """Wait until `is_true`, reporting what is awaited; returns False at `deadline`.

        Raises `TimedOut` after `limit_s`, `RelayTrouble`, and what failed meanwhile.

        Args:
            what: what is awaited.
            is_true: looked at whenever something has changed.
            limit_s: how long to wait; None for as long as it takes.
            deadline: by the wall clock, which may be set, and goes on in a machine that sleeps.
            give_up: tells when to give up, as things are; its error is raised then.
        """
        started_at = monotonic()
        next_report_s = FIRST_WAIT_REPORT_S
        while True:
            self._changed.clear()  # whatever happens from here on is looked at
            if is_true():
                return True
            self._check_failure()
            waited_s = monotonic() - started_at
            if limit_s is not None and waited_s >= limit_s:
                self._report_trouble()
                raise self._timed_out(what, waited_s, give_up())
            if deadline is not None and wall() >= deadline:
                return False
            hopeless_in_s = self._time_left(self._relays.give_up, started_at)
            bound = give_up()
            left_s = self._time_left(bound, started_at)
            if waited_s >= next_report_s:
                ends_s = min(waited_s + left_s, inf if limit_s is None else limit_s)
                bound_s = ends_s if ends_s < inf else None
                self._report_waiting(what, waited_s, bound_s, bound.so_far if bound else None)
                next_report_s = waited_s + WAIT_REPORT_S
            elif waited_s >= FIRST_WAIT_REPORT_S:
                self._report_trouble()
            ends = [next_report_s - waited_s, hopeless_in_s, left_s]
            ends += [limit_s - waited_s] if limit_s is not None else []
            ends += [deadline - wall(), CLOCK_LOOK_S] if deadline is not None else []
            self._changed.wait(max(0.0, min(ends)))

    def idle_until(self, is_true: Callable[[], object]) -> None:
        """Wait until `is_true`; it is looked at every few seconds at least.

        Nothing is said unless no relay can work.  Raises `RelayTrouble`, and what failed
        meanwhile.
        """
        started_at = monotonic()
        while True:
            self._changed.clear()
            if is_true():
                return
            self._check_failure()
            if self._time_left(self._relays.give_up, started_at) < inf:
                self._report_trouble()
            self._changed.wait(CLOCK_LOOK_S)

    def _check_failure(self) -> None:
        if self._endpoint.failure is not None:
            raise self._endpoint.failure

    def _time_left(self, give_up: GiveUp | None, started_at: Instant) -> Seconds:
        """Return how long it may still be waited; raises the error once it is due."""
        if give_up is None:
            return inf
        left_s = give_up.at - monotonic()
        if left_s <= 0:
            self._report_trouble()
            raise give_up.error(monotonic() - started_at)
        return left_s

    def _timed_out(self, what: str, waited_s: Seconds, give_up: GiveUp | None) -> DerpholeError:
        if give_up is not None:
            return give_up.error(waited_s)
        return TimedOut(what, waited_s, self._relays.next_step)

    def _report_waiting(
        self, what: str, waited_s: Seconds, limit_s: Seconds | None, so_far: str | None
    ) -> None:
        self._told_troubles.clear()
        self._report_trouble()
        self._report(Waiting(what, waited_s, limit_s, so_far))

    def _report_trouble(self) -> None:
        """Say what keeps the relays from being used, once for each report of a wait."""
        trouble = self._relays.trouble
        if trouble and trouble not in self._told_troubles:
            self._told_troubles.add(trouble)
            self._report(RelayDown(trouble))
