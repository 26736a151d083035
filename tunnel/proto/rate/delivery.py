"""At which rate a path delivers: in rounds for direct paths, packet by packet for the relay.

A round of a path tells what was delivered and lost in it, at which rate and how quickly:

    began                                            acked_at
      |<-- acknowledgements of packets that were sent -->|
           sent_from ............ sent_until               about one RTT earlier

A round lasts until a packet sent after it began is acknowledged, so what a round delivers was sent
during the round before.  Its rate is taken over the longer of both spans: a bunch of late acks, or
a gap between packets, makes it lower, never higher.  But a gap that our own process left, since it
was not scheduled, says nothing about the path and is taken out of both.

On the relay a flight may be two frames, too few for rounds.  There each frame remembers how much
had been delivered when it was sent, and its acknowledgement tells how much has been since.
Source: draft-cheng-iccrg-delivery-rate; the gaps are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import ByteCount, BytesPerSecond, Instant, Seconds

# Fixed by the protocol.
LONGEST_GAP_S: Seconds = 0.1  # between acknowledgements, that a window lasts for; BBR's too
GAP_MEMORY_S: Seconds = 2.0
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


class AckGaps:
    """For how long nothing was acknowledged although something was there to be, at the worst.

    Then the other side's process was not scheduled, and will not be again; BBR calls the same ack
    aggregation.  A window has to last over such a gap, or the rate would fall with each.
    """

    def __init__(self, now: Instant) -> None:
        self._acked_at = self._since = now
        self._longest: tuple[Seconds, Seconds] = (0.0, 0.0)  # in this span and the last

    @property
    def longest_s(self) -> Seconds:
        """The longest gap lately, LONGEST_GAP_S at most."""
        return max(self._longest)

    def learn(self, now: Instant, due_at: float) -> bool:
        """Take an acknowledgement that might have come at `due_at`; tells whether a gap is news."""
        gap_s = min(now - max(self._acked_at, due_at), LONGEST_GAP_S)
        self.pass_by(now)
        is_news = gap_s > self._longest[0]
        if is_news:
            self._longest = (gap_s, self._longest[1])
        return is_news

    def pass_by(self, now: Instant) -> None:
        """Take an acknowledgement that says nothing about gaps."""
        self._acked_at = now
        if now >= self._since + GAP_MEMORY_S:
            self._longest, self._since = (0.0, self._longest[0]), now


class FlightMark(NamedTuple):
    """What a relay frame remembers of the moment at which it was sent.

    Args:
        delivered: bytes acknowledged until then.
        delivered_at: when the last of them was.
        sent_from: when the newest of them had been sent.
        is_limited: whether the sender, not the path, decides how much is in flight.
    """

    delivered: ByteCount
    delivered_at: Instant
    sent_from: Instant
    is_limited: bool


class DeliverySample(NamedTuple):
    """What an acknowledgement says about the path.

    Args:
        newest: the newest record that it acknowledges.
        rate: what was delivered since that was sent, in bytes a second.
        rtt_s: its round trip, what the other side held it for included.
        is_limited: whether the path might have delivered more.
    """

    newest: SentRecord
    rate: BytesPerSecond
    rtt_s: Seconds
    is_limited: bool


class DeliveryMeter:
    """Measures from frame to frame; keeps its marks in the records."""

    def __init__(self) -> None:
        self._delivered: ByteCount = 0
        self._delivered_at = self._sent_from = Instant(0.0)
        self._acked_number = -1
        self._dry_number = -1  # the newest frame with nothing behind it that might have left

    def begin(self, now: Instant) -> None:
        """Note that nothing is in flight: the time until now says nothing about the path."""
        self._delivered_at = self._sent_from = now

    def on_sent(self, record: SentRecord, has_more: bool) -> None:
        """Mark a record; `has_more`: the sender would send more if it might."""
        if not has_more:
            self._dry_number = record.first
        is_limited = self._dry_number > self._acked_number
        record.mark = FlightMark(self._delivered, self._delivered_at, self._sent_from, is_limited)

    def on_acked(self, arrived_at: Instant, records: Sequence[SentRecord]) -> DeliverySample:
        """Return what records that were acknowledged together tell; they are at least one."""
        self._delivered += sum(record.count * record.size for record in records)
        newest = max(records, key=lambda record: record.first)
        mark = newest.mark
        assert isinstance(mark, FlightMark)
        span_s = max(
            arrived_at - mark.delivered_at, newest.sent_at - mark.sent_from, MINIMUM_ROUND_S
        )
        self._delivered_at = arrived_at
        self._sent_from = max(self._sent_from, newest.sent_at)
        self._acked_number = max(self._acked_number, newest.first)
        rate = (self._delivered - mark.delivered) / span_s
        return DeliverySample(newest, rate, arrived_at - newest.sent_at, mark.is_limited)


class BestRate:
    """The best rate of this span of time and the last one.

    Args:
        span_s: how long a span is, at least; one without a sample goes on.
    """

    def __init__(self, span_s: Seconds) -> None:
        self._span_s = span_s
        self._since = self._learned_at = Instant(0.0)
        self.rate: BytesPerSecond | None = None  # the estimate, once there was a sample
        self._best: list[BytesPerSecond] = []  # of this span and the last

    def learn(self, now: Instant, sample: DeliverySample) -> float:
        """Take a sample; returns the new estimate in shares of the old one.

        What the sender limited counts only where it shows that the path delivers more than known.
        """
        before = self.rate
        if sample.is_limited and (before is None or sample.rate <= before):
            return 1.0
        self._learned_at = now
        if before is None or now >= self._since + self._span_s:
            self._best = [sample.rate, *self._best[:1]]
            self._since = now
        self._best[0] = max(self._best[0], sample.rate)
        self.rate = max(self._best)
        return self.rate / before if before else 1.0

    def forget_before(self, instant: Instant) -> None:
        """Forget an estimate that nothing confirmed since `instant`."""
        if self._learned_at < instant:
            self._best, self.rate = [], None
