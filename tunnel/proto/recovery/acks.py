"""What arrived on one path of the other side, and when to tell it so.

Two ack-eliciting packets or MAX_ACK_DELAY_S make an acknowledgement due; the first few of a path
and those that close or open a gap are acknowledged at once.
"""

from tunnel.proto.ranges import RangeSet
from tunnel.proto.recovery.rtt import MAX_ACK_DELAY_S
from tunnel.units import Instant
from tunnel.wire.frames import MAX_ACK_RANGES, Ack

# Fixed by the protocol.
PACKETS_PER_ACK = 2
# Chosen: a new path gets its first samples without the delay.
PROMPT_PACKETS = 4


class AckState:
    """The receiving side of one path.

    Args:
        path: the other side's id of it.
    """

    def __init__(self, path: int) -> None:
        self.path = path
        self.deadline: Instant | None = None
        self._received = RangeSet()
        self._waiting = 0
        self._seen = 0
        self._largest = -1
        self._largest_at = Instant(0)

    @property
    def is_waiting(self) -> bool:
        """Whether an ack-eliciting packet has not been acknowledged yet."""
        return self._waiting > 0

    def received(self, now: Instant, first: int, count: int, is_ack_eliciting: bool) -> None:
        """Note authenticated packets first .. first+count-1 whose content is stored."""
        last = first + count - 1
        is_in_order = first == self._largest + 1
        self._received.add(first, last + 1)
        if len(self._received) > MAX_ACK_RANGES:
            self._received.forget_first()
        if last > self._largest:
            self._largest, self._largest_at = last, now
        if not is_ack_eliciting:
            return
        self._waiting += count
        self._seen += count
        is_prompt = self._waiting >= PACKETS_PER_ACK or self._seen <= PROMPT_PACKETS
        if is_prompt or not is_in_order:
            self.deadline = now
        elif self.deadline is None:
            self.deadline = Instant(now + MAX_ACK_DELAY_S)

    def is_due(self, now: Instant) -> bool:
        """Tell whether an acknowledgement must go out."""
        return self.deadline is not None and now >= self.deadline

    def take(self, now: Instant, relay_grant: int) -> Ack:
        """Return the acknowledgement of everything that arrived."""
        ranges = [(start, stop - 1) for start, stop in self._received]
        ranges.reverse()
        delay_us = min(int((now - self._largest_at) * 1e6), 0xFFFFFFFF)
        self._waiting = 0
        self.deadline = None
        return Ack(self.path, relay_grant, max(delay_us, 0), tuple(ranges))
