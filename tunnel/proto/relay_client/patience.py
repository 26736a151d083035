"""Patience: how long a relay is waited for; longer each time that the time ran out.

    a region with other relays to turn to   NODE_S for each, doubled after a round, to MAX_NODE_S
    the only relay there is                 as long as for any step
    each step behind the connection         STEP_S, doubled after a round, to MAX_STEP_S

So a dead relay is left soon, and no network is too slow for ever.  Source: design §4, §10.
"""

from tunnel.units import Seconds
from tunnel.values import frozen

# Chosen: the first as the Go client; TLS of old takes two round trips, which may be 3 s long.
NODE_S: Seconds = 1.5
STEP_S: Seconds = 10.0
MAX_NODE_S: Seconds = 12.0
MAX_STEP_S: Seconds = 40.0


@frozen
class DialLimits:
    """How long one attempt may take.

    Args:
        node_s: for the look-up of the name, and again until the relay's TCP has answered.
        step_s: for each step behind that: the proxy's answer, TLS, the upgrade, the login.
    """

    node_s: Seconds = NODE_S
    step_s: Seconds = STEP_S


DEFAULT_LIMITS = DialLimits()


class Patience:
    """Grows with every round of attempts in which the time ran out.

    Args:
        base: what is waited at first.
    """

    __slots__ = ("_base", "_factor")

    def __init__(self, base: DialLimits = DEFAULT_LIMITS) -> None:
        self._base = base
        self._factor = 1

    def limits(self, *, has_others: bool) -> DialLimits:
        """Return the limits of the next attempt; `has_others`: another relay could be tried."""
        base = self._base
        step_s = min(base.step_s * self._factor, max(base.step_s, MAX_STEP_S))
        if not has_others:
            return DialLimits(step_s, step_s)
        return DialLimits(min(base.node_s * self._factor, max(base.node_s, MAX_NODE_S)), step_s)

    def ran_out(self) -> None:
        """Note a round of attempts that were cut off."""
        self._factor = min(2 * self._factor, 1 << 4)

    def reset(self) -> None:
        """Note that a relay was reached."""
        self._factor = 1
