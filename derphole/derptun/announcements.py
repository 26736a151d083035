"""Announcements: when the end of a token is told before it comes, and how long it is until then.

Pure; the present is an argument.  Source: design, section 4.
"""

from derphole.derptun.limits import ANNOUNCED_S
from tunnel.units import Seconds, WallTime


class Announcements:
    """The announcements of one token's end.

    Args:
        now: the present; what is already due is told once, and not one after the other.
        expires_at: Unix seconds.
    """

    def __init__(self, now: WallTime, expires_at: int) -> None:
        self.expires_at = expires_at
        left_s = expires_at - now
        # Of those that are due, only the last counts.
        passed = [each for each in ANNOUNCED_S if left_s <= each]
        self._waiting = passed[-1:] + [each for each in ANNOUNCED_S if left_s > each]

    def due(self, now: WallTime) -> Seconds | None:
        """Return how long it is until the end, if that is to be told now; once."""
        left_s = self.expires_at - now
        reached = [each for each in self._waiting if left_s <= each]
        if not reached or left_s <= 0:
            return None
        self._waiting = [each for each in self._waiting if each < min(reached)]
        return left_s

    def next_at(self) -> WallTime:
        """Return when something is due next: an announcement, or the end."""
        times = [self.expires_at - each for each in self._waiting]
        return WallTime(min([*times, float(self.expires_at)]))
