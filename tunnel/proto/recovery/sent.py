"""What one packet, or one burst of equal datagrams, carried, for the case that it is lost."""

from dataclasses import dataclass, field

from tunnel.units import Instant
from tunnel.wire.frames import Frame


@dataclass(slots=True)
class StreamRange:
    """Stream bytes in a packet: [start, stop), and whether the stream ends there."""

    stream: int
    start: int
    stop: int
    is_end: bool = False


@dataclass(slots=True)
class SentRecord:
    """Packets first .. first+count-1, sent together.

    Args:
        size: bytes of one packet.
        is_control: whether it went before data that waited in the same socket.
        unit: stream bytes of one packet, when `count` is more than one.
        mark: what the path's rate controller remembers of the moment of sending.
    """

    first: int
    count: int
    sent_at: Instant
    size: int
    is_ack_eliciting: bool
    ranges: list[StreamRange] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    unit: int = 0
    mark: object = None
    is_control: bool = False

    def split(self, count: int) -> "SentRecord":
        """Cut the first `count` packets off this burst and return them as a record."""
        (whole,) = self.ranges
        middle = whole.start + count * self.unit
        head = SentRecord(
            self.first, count, self.sent_at, self.size, self.is_ack_eliciting,
            [StreamRange(whole.stream, whole.start, middle)], [], self.unit, self.mark,
        )  # fmt: skip
        self.first += count
        self.count -= count
        whole.start = middle
        return head
