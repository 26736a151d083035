"""Standstill: tells that a transfer has not moved for a while, and that it moves again.

Pure; time is an argument.
"""

from tunnel.units import ByteCount, Instant, Seconds

# Fixed by the issue of a person who waits: five seconds without a word are too many.
STILL_S: Seconds = 5.0


class Standstill:
    """Watches how far a transfer is.

    Args:
        now: when it began.
    """

    def __init__(self, now: Instant) -> None:
        self._done: ByteCount = 0
        self._moved_at = now
        self._is_told = False

    def take(self, now: Instant, done: ByteCount, cause: str | None) -> str | None:
        """Return what a person is told now, if anything.

        Args:
            now: the time.
            done: how many bytes have come.
            cause: what is waited for, in words; None where that is no news.
        """
        still_s = now - self._moved_at
        if done != self._done:
            self._done, self._moved_at = done, now
            was_told, self._is_told = self._is_told, False
            return f"going on, after {still_s:.0f} s" if was_told else None
        if still_s < STILL_S or self._is_told or cause is None:
            return None
        self._is_told = True
        return f"nothing has moved for {still_s:.0f} s: waiting for {cause}"
