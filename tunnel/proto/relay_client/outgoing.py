"""Outgoing: whether what we send to a relay arrives there, by what its TCP has acknowledged.

    bytes written --FIRST_LOOK_S--> look --all acknowledged--> nothing to do until more is written
                                      |--some more acknowledged--> look again, after LOOK_S
                                      '--none for STUCK_S, though sent again--> `RelaySilent`

A connection may be stuck in one direction: we hear and are not heard, as where large packets
vanish.  A relay that only reads slowly closes its window, so nothing is unacknowledged then, and is
waited for.  And the sizes of segments to try, the largest first.
"""

from tunnel.errors import RelaySilent
from tunnel.proto.machine import Timed
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.values import frozen

# Chosen: together some 7 s, five repeats of a segment where a round trip is short.  The first look
# is late, since each wakes a process that may have nothing else to do.
FIRST_LOOK_S: Seconds = 3.0
STUCK_S: Seconds = 4.0  # since that look
LOOK_S: Seconds = 1.0
MIN_REPEATS = 3
# Chosen: what the system takes, what passes most tunnels, and what every network must pass.
SEGMENT_SIZES: tuple[ByteCount | None, ...] = (None, 1200, 536)


@frozen
class Unacknowledged:
    """What a kernel tells of a TCP connection.

    Args:
        segments: sent and not acknowledged.
        acknowledged: bytes acknowledged since the connection began.
        repeats: how often the oldest segment was sent again in vain.
    """

    segments: int
    acknowledged: ByteCount
    repeats: int


class Outgoing(Timed):
    """Watches one connection; its driver says when bytes were written, and looks when asked to."""

    def __init__(self) -> None:
        self._look_at: Instant | None = None
        self._acknowledged: ByteCount = -1
        self._moved_at: Instant | None = None

    def wrote(self, now: Instant) -> None:
        """Note that bytes were handed to the kernel."""
        if self._look_at is None:
            self._look_at = Instant(now + FIRST_LOOK_S)

    def next_timeout(self) -> Instant | None:
        """Return when to look; None while nothing is under way."""
        return self._look_at

    def looked(self, now: Instant, seen: Unacknowledged | None) -> None:
        """Take what the kernel tells, None where it tells nothing.

        Raises:
            RelaySilent: what we send does not arrive.
        """
        if seen is None or not seen.segments:
            self._look_at = self._moved_at = None
            return
        if seen.acknowledged != self._acknowledged or self._moved_at is None:
            self._acknowledged, self._moved_at = seen.acknowledged, now
        stuck_s = now - self._moved_at
        if stuck_s >= STUCK_S and seen.repeats >= MIN_REPEATS:
            raise RelaySilent(f"has not received what we sent for {stuck_s:.0f} s")
        self._look_at = Instant(now + LOOK_S)


def smaller_segments(size: ByteCount | None) -> ByteCount | None:
    """Return the size of segments to try after one with which a connection got stuck."""
    place = SEGMENT_SIZES.index(size)
    return SEGMENT_SIZES[min(place + 1, len(SEGMENT_SIZES) - 1)]
