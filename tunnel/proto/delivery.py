"""A round of a path: what was delivered and lost in it, at which rate and how quickly.

    began                                            acked_at
      |<-- acknowledgements of packets that were sent -->|
           sent_from ............ sent_until               about one RTT earlier

A round lasts until a packet sent after it began is acknowledged, so what a round delivers was sent
during the round before.  Its rate is taken over the longer of both spans: a bunch of late acks, or
a gap between packets, makes it lower, never higher.  Source: draft-cheng-iccrg-delivery-rate.
"""

from dataclasses import dataclass
from math import sqrt

from tunnel.proto.loss import SentRecord
from tunnel.units import ByteCount, BytesPerSecond, Instant, Seconds

# Fixed by the protocol.
MINIMUM_ROUND_S: Seconds = 0.005  # a sample over less than this measures bursts, not the path
LOSS_TOLERANCE = 0.05  # random loss up to this changes nothing
# Chosen: on a path that loses just 5 %, one round in a thousand looks worse by chance.
CHANCE_DEVIATIONS = 3


@dataclass(slots=True)
class Round:
    """What was acknowledged and lost since `began`.

    Args:
        began: when it began, at the acknowledgement that ended the round before.
        sent_from: when the newest packet acknowledged before it was sent.
        sent_until: when the newest packet acknowledged in it was sent.
        acked_at: when its last acknowledgement came.
        lowest_pace: the least bytes a second that were allowed to leave during it.
    """

    began: Instant
    sent_from: Instant
    sent_until: Instant
    acked_at: Instant
    lowest_pace: BytesPerSecond
    delivered: ByteCount = 0
    acked_packets: int = 0
    lost_packets: int = 0
    minimum_rtt_s: Seconds = float("inf")
    is_app_limited: bool = False

    def add(self, now: Instant, record: SentRecord) -> None:
        """Count an acknowledged record; its mark tells whether the sender was short of data."""
        self.delivered += record.count * record.size
        self.acked_packets += record.count
        self.minimum_rtt_s = min(self.minimum_rtt_s, now - record.sent_at)
        self.sent_until = max(self.sent_until, record.sent_at)
        self.acked_at = now
        self.is_app_limited |= record.mark is True

    @property
    def is_answered(self) -> bool:
        """Whether a packet sent in this very round was acknowledged."""
        return self.acked_packets > 0 and self.sent_until >= self.began

    @property
    def rate(self) -> BytesPerSecond:
        """The delivery rate: over the acks' time or the packets' own, whichever is longer."""
        span_s = max(self.acked_at - self.began, self.sent_until - self.sent_from, MINIMUM_ROUND_S)
        return self.delivered / span_s

    @property
    def is_lossy(self) -> bool:
        """Whether more than LOSS_TOLERANCE was lost, by more than chance explains."""
        expected = LOSS_TOLERANCE * (self.acked_packets + self.lost_packets)
        return self.lost_packets > expected + CHANCE_DEVIATIONS * sqrt(expected) + 1
