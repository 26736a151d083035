"""Deadlines: turns what a machine says of its next deadline into when a driver comes back.

A deadline that lies in the past after the machine did what was due is one that nobody moves: the
driver would come back at once, for ever, and take a whole processor.  It is said once, as the fault
of ours that it is, and the driver goes on at a walking pace.
"""

import logging

from tunnel.units import Instant, Seconds

# Chosen: a deadline that arises while others are served is done at the next turn, so a few in a row
# are not a fault.
MOST_TURNS = 16
STUCK_PAUSE_S: Seconds = 0.5

_log = logging.getLogger(__name__)


class Deadlines:
    """The deadlines of one machine.

    Args:
        whose: the machine, in words.
    """

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._turns = 0  # in a row that left a deadline in the past

    def come_back_at(self, due: Instant | None, worked_at: Instant) -> Instant | None:
        """Return when to come back to a machine that did at `worked_at` what was due."""
        if due is None or due > worked_at:
            self._turns = 0
            return due
        self._turns += 1
        if self._turns < MOST_TURNS:
            return worked_at
        if self._turns == MOST_TURNS:
            late_s = worked_at - due
            _log.error("%s has a deadline that nobody moves, %.3g s ago", self._whose, late_s)
        return Instant(worked_at + STUCK_PAUSE_S)
