"""ControlQueue: what one link still has to say, beside stream bytes and acknowledgements.

    frames of the link itself      sent until they are acknowledged
    the offer                      where we may be reached; the newest one, again and again
    pings                          by path; behind all data (tail), over every relay (wide)

By which path and when it goes is the `Sender`'s matter.
"""

from collections import deque
from collections.abc import Iterable

from tunnel.proto.link.path import Path
from tunnel.proto.streams.table import Streams
from tunnel.units import Instant, Seconds
from tunnel.wire import frames as wire

# Chosen.
OFFER_AGAIN_S: Seconds = 240.0  # shy of the life of a candidate at the other side


class ControlQueue:
    """Frames and pings that wait to go out.

    Args:
        streams: whose own control frames come behind the link's.
    """

    def __init__(self, streams: Streams) -> None:
        self.is_wide_ping_due = self.is_tail_ping_due = False
        self._streams = streams
        self._frames: deque[wire.Frame] = deque()
        self._offer: wire.Candidates | None = None  # the newest
        self._offer_at: Instant | None = None  # when it is told again; None: at once
        self._pings: dict[int, Path] = {}

    def clear(self) -> None:
        """Forget everything: the link is over."""
        self._frames.clear()
        self._pings.clear()
        self.is_wide_ping_due = self.is_tail_ping_due = False
        self._offer = self._offer_at = None

    # -- frames -----------------------------------------------------------------------------

    @property
    def has_frames(self) -> bool:
        """Whether a control frame waits."""
        return bool(self._frames) or self._streams.has_due

    def add(self, frame: wire.Frame) -> None:
        """Send a frame of the link itself, again and again until it is acknowledged."""
        self._frames.append(frame)

    def add_lost(self, frames: Iterable[wire.Frame]) -> None:
        """Send again what was lost, as far as it is worth anything still."""
        for frame in frames:
            if isinstance(frame, wire.Rekey | wire.RekeyAnswer | wire.ReceiveBuffer):
                if frame not in self._frames:  # probes bring the oldest along again and again
                    self._frames.append(frame)
            elif frame is self._offer:  # an older one is worth nothing any more
                self._offer_at = None

    def take_frames(self, packed: bytearray, room: int) -> list[wire.Frame]:
        """Pack control frames, up to `room` bytes in all, a first one in any case; returns them."""
        frames: list[wire.Frame] = []
        while True:
            due = self._frames
            frame = due.popleft() if due else self._streams.next_due()
            if frame is None:
                return frames
            encoded = wire.encode(frame)
            if packed and len(packed) + len(encoded) > room:
                due.appendleft(frame)
                return frames
            frames.append(frame)
            packed += encoded

    # -- the offer --------------------------------------------------------------------------

    def offer(self, candidates: wire.Candidates) -> None:
        """Tell where we may be reached, in place of what was to be told before; again and again."""
        self._offer, self._offer_at = candidates, None

    @property
    def offer_at(self) -> Instant | None:
        """When the offer is told again; None if there is none, or it is due at once."""
        return self._offer_at

    def offer_again(self, now: Instant) -> bool:
        """Queue the offer if that is due; returns whether it was."""
        offer = self._offer
        if offer is None or (self._offer_at is not None and now < self._offer_at):
            return False
        self._offer_at = Instant(now + OFFER_AGAIN_S)
        others = (frame for frame in self._frames if not isinstance(frame, wire.Candidates))
        self._frames = deque([*others, offer])
        return True

    # -- pings ------------------------------------------------------------------------------

    def ping(self, path: Path) -> None:
        """Have an acknowledgement asked for by a path."""
        self._pings[path.id] = path

    def next_pinged(self) -> Path | None:
        """Return a path by which one is to be asked for."""
        return next(iter(self._pings.values())) if self._pings else None

    def take_ping(self, path: Path) -> bool:
        """Tell, once, whether one is to be asked for by this path."""
        return self._pings.pop(path.id, None) is not None

    def ask_no_more(self, path: Path) -> None:
        """Drop the pings by a path."""
        self._pings.pop(path.id, None)
        if path.is_relay:
            self.is_tail_ping_due = False
