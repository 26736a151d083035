"""How much may be in flight on the relay.

The relay's window is the least of three:

    the grant     frames; the 32 slots of a DERP server belong to the destination connection, whose
                  owner hands out 24 of them, so that the queue never overflows
    the model     2 x rate x minimum round trip + one frame: what fits the path twice
    politeness    on public relays, after a while

What is beyond the path's own room waits in the relay, which ends a client that takes a frame too
slowly, or in our own socket, where it delays everything behind it.  While the path is not full the
rate is what the window let through, so the model grows with each round trip; once it is full, the
model stays.  A throttled line lets a burst pass at once and looks fast until then: the start is
bounded in time too, and what it saw is forgotten with the first queue (class `Start`).  When a
whole flight is lost, the relay may have cut off a client that could not take it: the start begins
again, with less.  Our own queue hides the minimum round trip, so now and then (MINIMUM_RTT_LIFE_S)
and when the rate falls, half of what fits is in flight until a frame sent then has come back.
Source: BBR's model (draft-ietf-ccwg-bbr), without its pacing: a relay's TCP paces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tunnel.proto.rate.delivery import AckGaps, BestRate, DeliveryMeter
from tunnel.proto.recovery.acks import PACKETS_PER_ACK
from tunnel.proto.recovery.rtt import MAX_ACK_DELAY_S
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import ByteCount, BytesPerSecond, Instant, Seconds

# Fixed by the protocol.
RELAY_GRANT_TOTAL = 24  # ack-eliciting frames all peers together may have in flight to us
RELAY_GRANT_MINIMUM = 2
FIRST_RELAY_FRAME = 16 << 10
FIRST_RELAY_WINDOW = 2
MAX_RELAY_FRAME = 60 << 10
MIN_RELAY_FRAME = 4 << 10  # smaller ones cost more in headers than they save in waiting
FRAME_S: Seconds = 0.02  # a frame keeps the line busy for no longer, where it may be so small
WINDOW_GAIN = 2.0  # times what fits the path
# Chosen.
START_GAIN = 4.0  # the same until the first queue is seen
LEAST_FRAMES = 3  # one on its way, one behind it, and one whose acknowledgement waits for data
MEASURING_SHARE = 0.5  # of what fits the path, in flight while its minimum round trip is measured
START_GROWTH = 3  # bytes more in flight for each one acknowledged until then, but ...
START_DOUBLES_S: Seconds = 0.01  # ... no faster: what comes back sooner may have been a burst
AGAIN_FRAME = MIN_RELAY_FRAME  # the first ones after a flight was lost
AGAIN_GROWTH = 1  # in place of START_GROWTH, from then on
AGAIN_SHARE = 0.5  # of a flight that was lost may be in flight at first ...
AGAIN_DOUBLES_S: Seconds = 1.0  # ... and twice as much after each second without a queue
MAX_DOUBLINGS = 16
BEST_FOR_S: Seconds = 1.0  # the best rate of this span and the last counts
RATE_FELL = 0.5  # from one such span to the next: the line, or the way, is another one
MINIMUM_RTT_LIFE_S: Seconds = 10.0  # or MINIMUM_RTT_LIFE_ROUNDS, since a measurement costs one,
MINIMUM_RTT_LIFE_ROUNDS = 30
LONGEST_RTT_LIFE_S: Seconds = 30.0  # but no longer: perhaps it is our own queue that was measured
RTT_TOLERANCE_S: Seconds = 0.005  # so close, or RTT_TOLERANCE of it, the minimum is seen again
RTT_TOLERANCE = 0.25
# Chosen: public relays are somebody else's; after a start of 8 MiB 256 KiB in flight will do.
POLITE_AFTER = 8 << 20
POLITE_WINDOW = 256 << 10


@dataclass(slots=True)
class Start:
    """How much may be in flight until the path was seen full for the first time.

    Args:
        first_frame: the size of the first frames.
        most: bytes in flight at first, since more was lost once.
        growth: bytes more in flight for each one acknowledged.
        acked_bytes: what was acknowledged since the beginning.
        began: when the first frame with more behind it was sent.
        for_s: how long that was ago, at the last acknowledgement.
    """

    first_frame: ByteCount = FIRST_RELAY_FRAME
    most: float = float("inf")
    growth: int = START_GROWTH
    acked_bytes: ByteCount = 0
    began: Instant | None = None
    for_s: Seconds = 0.0

    @classmethod
    def again(cls, lost_bytes: ByteCount) -> "Start":
        """Begin with little, after a flight of so many bytes was lost."""
        most = max(AGAIN_SHARE * lost_bytes, LEAST_FRAMES * AGAIN_FRAME)
        return cls(AGAIN_FRAME, most, AGAIN_GROWTH)

    @property
    def window(self) -> ByteCount:
        """What may be in flight before anything is known."""
        return FIRST_RELAY_WINDOW * self.first_frame

    @property
    def limit(self) -> float:
        """The most that may be in flight by now, in bytes."""
        return min(
            self.window + self.growth * self.acked_bytes,
            self.window * _doubled(self.for_s / START_DOUBLES_S),
            self.most * _doubled(self.for_s / AGAIN_DOUBLES_S),
        )

    def on_acked(self, arrived_at: Instant, size: ByteCount) -> None:
        """Note that so many bytes were acknowledged."""
        self.acked_bytes += size
        if self.began is not None:
            self.for_s = arrived_at - self.began


def _doubled(times: float) -> float:
    return float(2.0 ** min(times, MAX_DOUBLINGS))


class RelayController:
    """The window of relay frames: see the module docstring.

    A single loss changes nothing: a relay drops when others overfill its queue, or when it fails.

    Args:
        grant: ack-eliciting frames the other side lets us have in flight.
        is_polite: whether the relay is a public one.
    """

    def __init__(self, grant: int, is_polite: bool) -> None:
        self.is_polite = is_polite
        self.minimum_rtt_s: Seconds | None = None
        self.is_measuring = False  # the minimum round trip
        self.window: ByteCount  # the most bytes to have in flight, if the grant is large enough
        self._grant = grant
        self._packet_size: ByteCount
        self._gain = START_GAIN
        self._measured_from: int | None = None  # number of the first packet that tells
        self._minimum_seen_at = Instant(0.0)
        self._meter = DeliveryMeter()
        self._best = BestRate(BEST_FOR_S)
        self._gaps = AckGaps(Instant(0.0))
        self._acked_bytes = 0
        self._start = Start()
        self._decide()

    # -- queries ----------------------------------------------------------------------------

    @property
    def grant(self) -> int:
        """Ack-eliciting frames the other side lets us have in flight; settable."""
        return self._grant

    @grant.setter
    def grant(self, grant: int) -> None:
        if grant != self._grant:
            self._grant = grant
            self._decide()

    @property
    def rate(self) -> BytesPerSecond | None:
        """What the path is thought to deliver, or None while that is not known."""
        return self._best.rate

    def packet_size(self) -> ByteCount:
        """Return 16 KiB before the first round trip is known, then what the rate asks for."""
        return self._packet_size

    def may_send(self, packets_in_flight: int, bytes_in_flight: ByteCount) -> bool:
        """Tell whether the window has room for one more frame."""
        if self.minimum_rtt_s is None:
            return packets_in_flight < min(FIRST_RELAY_WINDOW, self._grant)
        if packets_in_flight >= self._grant:
            return False
        return packets_in_flight == 0 or bytes_in_flight + self._packet_size <= self.window

    # -- what happened ----------------------------------------------------------------------

    def on_idle_ended(self, now: Instant) -> None:
        """Note that something is sent though nothing was in flight: old knowledge is forgotten."""
        self._meter.begin(now)
        self._best.forget_before(Instant(now - MINIMUM_RTT_LIFE_S))
        if self._has_expired(now):  # there is no queue now: what comes back next will tell
            self.is_measuring, self._measured_from = False, 0
        self._decide()

    def on_sent(self, record: SentRecord, has_more: bool) -> None:
        """Note an ack-eliciting record; `has_more`: the sender would send more if it might."""
        if self._start.began is None and has_more:
            self._start.began = record.sent_at
        self._meter.on_sent(record, has_more and not self.is_measuring)
        if self.is_measuring and self._measured_from is None and record.ranges:
            self._measured_from = record.first  # a ping would have waited for no room

    def on_acked(
        self, arrived_at: Instant, records: Sequence[SentRecord], delay_s: Seconds
    ) -> None:
        """Learn from what the other side has now; records are at least one."""
        acked_bytes = sum(record.count * record.size for record in records)
        self._acked_bytes += acked_bytes
        self._start.on_acked(arrived_at, acked_bytes)
        self._learn_gap(arrived_at, records)
        sample = self._meter.on_acked(arrived_at, records)
        rtt_s = sample.rtt_s - (delay_s if delay_s < sample.rtt_s else 0.0)
        if self._learn_rtt(arrived_at, sample.newest, rtt_s):
            self._best = BestRate(BEST_FOR_S)  # a burst may have passed before this first queue
        has_fallen = self._best.learn(arrived_at, sample) < RATE_FELL
        if not sample.is_limited and (has_fallen or self._has_expired(arrived_at)):
            self.is_measuring = True
        self._decide()

    def on_flight_lost(self, lost_bytes: ByteCount) -> None:
        """Forget what is known of the path and begin with little: a whole flight was lost."""
        self.minimum_rtt_s, self.is_measuring, self._measured_from = None, False, None
        self._gain, self._best = START_GAIN, BestRate(BEST_FOR_S)
        self._start = Start.again(lost_bytes)
        self._decide()

    # -- the model --------------------------------------------------------------------------

    def _decide(self) -> None:
        """Work out frame and window anew; to be called when the model or the grant changed."""
        fitting = self._fitting()
        size = self._packet_size = self._frame_size(fitting)
        if self.is_measuring:
            self.window = max(int(MEASURING_SHARE * fitting / self._gain), size)
            return
        self.window = max(int(fitting) + size, LEAST_FRAMES * size)
        if self.is_polite and self._acked_bytes > POLITE_AFTER:
            self.window = min(self.window, POLITE_WINDOW)

    def _frame_size(self, fitting: float) -> ByteCount:
        if self.minimum_rtt_s is None:
            return self._start.first_frame
        # With few slots, or a long way, smaller frames would keep the grant from filling the path.
        size = max(fitting / max(self._grant - 1, 1), (self.rate or 0.0) * FRAME_S)
        size = min(size, fitting / min(LEAST_FRAMES, self._grant))
        return max(MIN_RELAY_FRAME, min(int(size), MAX_RELAY_FRAME))

    def _fitting(self) -> float:
        """Return some times the bytes that fit the path while an acknowledgement is delayed."""
        if self.rate is None or self.minimum_rtt_s is None:
            return self._start.window - MIN_RELAY_FRAME
        fits_s = self.minimum_rtt_s + MAX_ACK_DELAY_S
        late_s = max(0.0, self._gaps.longest_s - MAX_ACK_DELAY_S)
        fitting = self.rate * (self._gain * fits_s + late_s)
        if self._gain == START_GAIN:
            return min(fitting, self._start.limit)
        return fitting

    def _learn_gap(self, now: Instant, records: Sequence[SentRecord]) -> None:
        """Look for a process that was late: it answers many frames at once, not one slow one."""
        if len(records) > PACKETS_PER_ACK and self.minimum_rtt_s is not None:
            oldest = min(records, key=lambda record: record.first)
            self._gaps.learn(now, oldest.sent_at + self.minimum_rtt_s)
        else:
            self._gaps.pass_by(now)

    def _learn_rtt(self, now: Instant, newest: SentRecord, rtt_s: Seconds) -> bool:
        """Take a sample; one that was measured without a queue counts even if it is higher.

        Returns whether it tells of a queue for the first time.
        """
        known_s, measured_from = self.minimum_rtt_s, self._measured_from
        if measured_from is not None and newest.first >= measured_from:
            self.is_measuring, self._measured_from = False, None
            known_s = None
        if known_s is None or rtt_s < known_s:
            known_s = self.minimum_rtt_s = rtt_s
        if rtt_s <= known_s + max(RTT_TOLERANCE_S, RTT_TOLERANCE * known_s):
            self._minimum_seen_at = now
        is_start = self._gain == START_GAIN
        if rtt_s > WINDOW_GAIN * (known_s + MAX_ACK_DELAY_S) + self._gaps.longest_s:
            self._gain = WINDOW_GAIN
        return is_start and self._gain == WINDOW_GAIN

    def _has_expired(self, now: Instant) -> bool:
        rounds_s = MINIMUM_RTT_LIFE_ROUNDS * (self.minimum_rtt_s or 0.0)
        life_s = max(MINIMUM_RTT_LIFE_S, min(rounds_s, LONGEST_RTT_LIFE_S))
        return now >= self._minimum_seen_at + life_s
