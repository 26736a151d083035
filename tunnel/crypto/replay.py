"""The replay window: which packet numbers of one path were opened already.

A window of the last 8192 numbers below the highest one seen; older numbers count as seen.
Source: the shape of RFC 6479, kept in one Python integer whose bit 0 is the highest number.
"""

# Fixed by the protocol: a sender may reorder by at most this many packets.
WINDOW = 8192
_MASK = (1 << WINDOW) - 1


class ReplayWindow:
    """Remembers authenticated packet numbers; check before opening, mark after."""

    __slots__ = ("_seen", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self._seen = 0

    def is_fresh(self, number: int) -> bool:
        """Tell whether `number` was never marked and is not older than the window."""
        behind = self.highest - number
        if behind < 0:
            return True
        return behind < WINDOW and not self._seen >> behind & 1

    def mark(self, number: int) -> None:
        """Remember an authenticated packet."""
        ahead = number - self.highest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self.highest = number
        else:
            self._seen |= 1 << -ahead

    def is_fresh_run(self, first: int, count: int) -> bool:
        """Tell whether all of first .. first+count-1 lie above everything marked so far."""
        return first > self.highest and count > 0

    def mark_run(self, first: int, count: int) -> None:
        """Remember a run for which `is_fresh_run` held; count is at most WINDOW."""
        ahead = first + count - 1 - self.highest
        run = (1 << count) - 1
        self._seen = (self._seen << ahead | run) & _MASK if ahead < WINDOW + count else run
        self.highest = first + count - 1
