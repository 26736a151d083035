"""Receive credit: how far the other side may send on each stream, out of one pool for the link.

Every stream owns a floor that is always covered; a stream whose reader keeps up and whose window
is used up within two round trips gets twice as much, while the pool lasts.  Memory is bounded by
pool + floor x streams, since credit never exceeds what was read plus the window.
"""

from dataclasses import dataclass

from tunnel.proto.receive_stream import ReceiveState, ReceiveStream
from tunnel.units import ByteCount, Instant, Seconds

# Fixed by the protocol: what a stream may send before any CREDIT arrives.
FLOOR = 16 << 10
# Chosen (design: 32 MiB for a link, 16 MiB for one stream).
POOL = 32 << 20
MAX_WINDOW = 16 << 20
# Chosen: the first step of a stream that has the pool to itself; a relay's first flight.
FIRST_WINDOW = 512 << 10


@dataclass(slots=True)
class _Window:
    size: ByteCount
    granted_at: Instant


class CreditPool:
    """Hands out receive windows."""

    def __init__(self) -> None:
        self._windows: dict[int, _Window] = {}
        self._leased: ByteCount = 0

    def renew(self, now: Instant, stream: ReceiveStream, rtt_s: Seconds) -> int | None:
        """Return a new limit for `stream` if it is time to tell one, and remember it there."""
        window = self._windows.get(stream.stream)
        if stream.state is not ReceiveState.OPEN:
            return None
        if window is None:
            window = self._windows[stream.stream] = _Window(FLOOR, now)
            self._grow(window, FIRST_WINDOW)
        elif stream.limit - stream.read_offset > window.size // 2:
            return None
        elif now - window.granted_at < 2 * rtt_s:
            self._grow(window, 2 * window.size)
        window.granted_at = now
        stream.limit = max(stream.limit, stream.read_offset + window.size)
        return stream.limit

    def release(self, stream: int) -> None:
        """Give back the window of a stream that is over."""
        window = self._windows.pop(stream, None)
        if window is not None:
            self._leased -= window.size - FLOOR

    def _grow(self, window: _Window, wanted: ByteCount) -> None:
        size = min(wanted, MAX_WINDOW, window.size + POOL - self._leased)
        self._leased += size - window.size
        window.size = size
