"""A round of a path: what was delivered and lost in it, at which rate and how quickly.

    began                                            acked_at
      |<-- acknowledgements of packets that were sent -->|
           sent_from ............ sent_until               about one RTT earlier

A round lasts until a packet sent after it began is acknowledged, so what a round delivers was sent
during the round before.  Its rate is taken over the longer of both spans: a bunch of late acks, or
a gap between packets, makes it lower, never higher.  But a gap that our own process left, since it
was not scheduled, says nothing of the path and is taken out of both.
Source: draft-cheng-iccrg-delivery-rate; the gaps are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from tunnel.proto.loss import SentRecord
from tunnel.units import ByteCount, BytesPerSecond, Instant, Seconds

# Fixed by the protocol.
MINIMUM_ROUND_S: Seconds = 0.005  # a sample over less than this measures bursts, not the path
LOSS_TOLERANCE = 0.05  # random loss up to this changes nothing
# Chosen: on a path that loses just 5 %, one round in a thousand looks worse by chance.
CHANCE_DEVIATIONS = 3


class Mark(NamedTuple):
    """What is remembered of the moment at which a record was sent.

    Args:
        is_app_limited: whether the sender had been short of data.
        overslept_s: for how long, in all, it had been late with data that might have left.
    """

    is_app_limited: bool
    overslept_s: Seconds


@dataclass(slots=True)
class Round:
    """What was acknowledged and lost since `began`.

    Args:
        began: when it began, at the acknowledgement that ended the round before.
        sent_from: when the newest packet acknowledged before it was sent.
        sent_until: when the newest packet acknowledged in it was sent.
        acked_at: when its last acknowledgement came.
        lowest_pace: the least bytes a second that were allowed to leave during it.
        overslept_from: for how long the sender had overslept at `sent_from`.
        overslept_until: the same at `sent_until`.
    """

    began: Instant
    sent_from: Instant
    sent_until: Instant
    acked_at: Instant
    lowest_pace: BytesPerSecond
    overslept_from: Seconds = 0.0
    overslept_until: Seconds = 0.0
    delivered: ByteCount = 0
    acked_packets: int = 0
    lost_packets: int = 0
    minimum_rtt_s: Seconds = float("inf")
    maximum_rtt_s: Seconds = 0.0
    is_app_limited: bool = False

    def add(self, arrived_at: Instant, rtt_s: Seconds, records: Sequence[SentRecord]) -> None:
        """Count records acknowledged together; `rtt_s` is that of the newest of them."""
        for record in records:
            self.delivered += record.count * record.size
            self.acked_packets += record.count
            if isinstance(record.mark, Mark):
                self.is_app_limited |= record.mark.is_app_limited
                self.overslept_until = max(self.overslept_until, record.mark.overslept_s)
            self.sent_until = max(self.sent_until, record.sent_at)
        self.minimum_rtt_s = min(self.minimum_rtt_s, rtt_s)
        self.maximum_rtt_s = max(self.maximum_rtt_s, rtt_s)
        self.acked_at = max(self.acked_at, arrived_at)

    @property
    def overslept_s(self) -> Seconds:
        """For how long the sender did not send what it might have."""
        return self.overslept_until - self.overslept_from

    @property
    def is_answered(self) -> bool:
        """Whether a packet sent in this very round was acknowledged."""
        return self.acked_packets > 0 and self.sent_until >= self.began

    @property
    def rate(self) -> BytesPerSecond:
        """The delivery rate: over the acks' time or the packets' own, whichever is longer."""
        return self.delivered / max(self._span_s, MINIMUM_ROUND_S)

    @property
    def rate_awake(self) -> BytesPerSecond:
        """The same, without the time that the sender overslept."""
        return self.delivered / max(self._span_s - self.overslept_s, MINIMUM_ROUND_S)

    @property
    def _span_s(self) -> Seconds:
        return max(self.acked_at - self.began, self.sent_until - self.sent_from)

    @property
    def is_lossy(self) -> bool:
        """Whether more than LOSS_TOLERANCE was lost, by more than chance explains."""
        expected = LOSS_TOLERANCE * (self.acked_packets + self.lost_packets)
        return self.lost_packets > expected + CHANCE_DEVIATIONS * sqrt(expected) + 1
