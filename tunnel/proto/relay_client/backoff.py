"""How long to wait before trying again: 10 ms times n², capped, with jitter.

The first retry comes almost at once, a relay that stays away is asked every few seconds, and the
jitter keeps many clients of a restarted relay apart.  Source: tailscale util/backoff.
"""

from collections.abc import Callable

from tunnel.units import Seconds

# Chosen, as upstream: 10, 40, 90 ms ... and 5 s from the 23rd failure on.
STEP_S = 0.010
CAP_S = 5.0
JITTER_LOW = 0.5
JITTER_HIGH = 1.5

_ENTROPY_SIZE = 4


class Backoff:
    """Counts failures in a row and turns them into delays.

    Args:
        entropy: returns that many random bytes.
    """

    __slots__ = ("_entropy", "failures")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self.failures = 0

    def next_delay(self) -> Seconds:
        """Count one more failure and return how long to wait after it."""
        self.failures += 1
        base = min(CAP_S, STEP_S * self.failures**2)
        share = int.from_bytes(self._entropy(_ENTROPY_SIZE), "big") / (1 << 8 * _ENTROPY_SIZE)
        return base * (JITTER_LOW + (JITTER_HIGH - JITTER_LOW) * share)

    def reset(self) -> None:
        """Forget the failures: something worked."""
        self.failures = 0
