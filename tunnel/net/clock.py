"""The two clocks, read here and nowhere else."""

import time

from tunnel.units import Instant, WallTime


def monotonic() -> Instant:
    """Return the monotonic clock; it does not run while the machine sleeps."""
    return Instant(time.monotonic())


def wall() -> WallTime:
    """Return seconds since 1970-01-01 UTC as this machine believes."""
    return WallTime(time.time())  # noqa: TID251 - this is the one place
