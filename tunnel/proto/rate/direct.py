"""The rate controller of direct paths: a model of delivery rate and minimum round-trip time.

Time is cut into rounds of at least max(RTT, 5 ms); each gives one sample of the delivery rate and
one judgement.  The estimate is the best of the last samples, under a ceiling that congestion sets.

    state         sends at                     goes on to
    STARTING      twice more each round        DRAINING: delivery flat for 2 rounds, all acks
                                               late, or heavy loss
    DRAINING      half the estimate            CRUISING: no more in flight than fits the path
                                               MEASURING: minimum RTT not seen for 10 s
    CRUISING      the estimate                 PROBING: after 6 rounds, at once if one paid
                                               DRAINING: instead, while a queue stands
                                               MEASURING: minimum RTT not seen for 10 s
    PROBING       1.25 x the estimate and      DRAINING: after a round
                  4 packets a round
    MEASURING     half of what fits the path   CRUISING: after 2 rounds, with a new minimum RTT

What the end of a round says, the first that is true; a lower ceiling begins with DRAINING:

    a queue and a loss               congestion: ceiling = 0.7 x the estimate
    a queue, delivery below pace     the link got slower: the same, each round
    over 5 % lost after PROBING      nothing to gain: ceiling = the estimate before
    over 5 % lost                    a policer: ceiling = what was delivered
    nothing of this after PROBING    the ceiling goes up as the probe did

Source: the model is BBR's (draft-ietf-ccwg-bbr), the rounds and the ceiling are ours.  Knows
nothing about what is sent, other paths, or whether the path still lives.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum

from tunnel.proto.rate.delivery import MINIMUM_ROUND_S, AckGaps, Mark, Round
from tunnel.proto.rate.pacer import Pacer
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import ByteCount, BytesPerSecond, Instant, Seconds

# Fixed by the protocol.
QUEUE_TOLERANCE_S: Seconds = 0.005  # below max(this, QUEUE_TOLERANCE of the RTT) there is no queue
QUEUE_TOLERANCE = 0.25
QUEUE_TOLERANCE_PACKETS = 8  # at a low rate a few packets, or a busy machine, look like a queue
BACK_OFF = 0.7  # CUBIC's factor, RFC 9438: what a TCP flow beside us does
# Chosen.
INITIAL_PACKETS = 10  # RFC 6928's initial window
INITIAL_ROUND_S: Seconds = 0.02  # the first packets leave over this, while no RTT is known
START_LEAD = (
    4.0  # STARTING runs at most two doublings ahead of what was delivered: one is in flight
)
START_GROWTH = 1.25  # delivery that grew by less has stopped growing
START_FLAT_ROUNDS = 2  # rounds without growth: a single one may be a hiccup
HINT_SAMPLES = 8  # that many acks in a row, all late: STARTING has filled a queue
DRAIN_GAIN = 0.5
PROBE_GAIN = 1.25  # BBR's: what a probe that finds nothing leaves in the queue drains in one round
PROBE_PACKETS = 4  # and so many a round on top, or a small flow would never catch up
PROBE_PAID = 1.1  # a probe that delivered so much more is followed by the next at once
CRUISE_ROUNDS = 6  # with probing and draining one cycle of eight, as in BBR
COURTEOUS_ROUNDS = 32  # while others keep a queue: a Reno flow wins that many packets first
COURTEOUS_S: Seconds = 2.0  # but no longer, on long paths; BBR waits as long
SAMPLE_ROUNDS = 10  # how long the best sample counts: longer than a cycle
DELIVERY_FELL = 0.8  # of what was sent a round before
FALLEN_ROUNDS = 2  # in a row: a single one is the gap that a cut leaves
MINIMUM_RTT_LIFE_S: Seconds = 10.0
SPARE_BURSTS = 3  # in flight beyond the model: one at the sender, one at the receiver, one in acks
QUEUE_SHARE = 0.75  # of the other side's receive buffer: what may wait there beside control
LEAST_WINDOW = 4  # packets: two bursts of the shortest kind
USUAL_PACKET = 1500  # where larger ones pass, a few of them are a queue indeed
MINIMUM_RATE: BytesPerSecond = 4_000.0  # 32 kbit/s; on a slower line the window still holds


class RateState(Enum):
    """What the controller is doing, in the words of the trace."""

    STARTING = "starting"
    DRAINING = "draining"
    CRUISING = "cruising"
    PROBING = "probing"
    MEASURING = "measuring"


class DirectController:
    """Decides for one direct path; a new or returned path gets a new one.

    Args:
        now: when the path was taken into use.
        packet_size: bytes of the largest packet, header and tag included.
        peer_buffer: bytes of the other side's receive buffer, or None if it did not tell.
    """

    def __init__(self, now: Instant, packet_size: ByteCount, peer_buffer: ByteCount | None) -> None:
        self.state = RateState.STARTING
        self.rate: BytesPerSecond  # what the path is thought to deliver
        self.rate_limit: BytesPerSecond  # what the pacer lets pass now
        self.window: ByteCount  # the most bytes to have in flight
        self._packet_size = packet_size
        self._start_rate = INITIAL_PACKETS * packet_size / INITIAL_ROUND_S
        self._peer_buffer = peer_buffer
        self.pacer = Pacer(now, self._start_rate, packet_size, peer_buffer)
        self._samples: deque[BytesPerSecond] = deque(maxlen=SAMPLE_ROUNDS)
        self._throughputs: deque[BytesPerSecond] = deque(maxlen=SAMPLE_ROUNDS)  # pauses included
        self._ceiling: BytesPerSecond = float("inf")
        self._minimum_rtt_s: Seconds | None = None
        self._minimum_seen_at = now
        self._in_flight: ByteCount = 0
        self._has_run_dry = True  # the sender had nothing more when it last sent
        self._is_blocked = False  # the window has been full since it last sent
        self._is_bound_by_buffer = False  # and it is the other side's buffer that made it so small
        self._overslept_s: Seconds = 0.0  # in all
        self._gaps = AckGaps(now)
        self._round = Round(now, now, now, now, self._start_rate)
        self._rounds_in_state = 0
        self._flat_rounds = 0
        self._fallen_rounds = 0
        self._cruise_rounds = CRUISE_ROUNDS
        self._has_paid = False  # the last probe delivered more
        self._rate_before_probe: BytesPerSecond | None = None  # while its outcome is open
        self._late_acks = 0  # in a row, while STARTING
        self._judged_from = now  # what was sent before has had its say
        self._probed_at = now
        self._pace_before: BytesPerSecond = 0.0  # the lowest pace of the round before this one
        self._decide(now)

    # -- queries ----------------------------------------------------------------------------

    @property
    def delivered_rate(self) -> BytesPerSecond | None:
        """The most that lately passed in a round, pauses included; None before the first round."""
        return max(self._throughputs, default=None)

    def packet_size(self) -> ByteCount:
        """Return the largest packet to send now, header and tag included."""
        return self._packet_size

    def sendable_packets(self, now: Instant, bytes_in_flight: ByteCount) -> int:
        """Return how many full packets may leave now as one burst: pacing and window allow it."""
        room = (self.window - bytes_in_flight) // self._packet_size
        return min(room, self.pacer.sendable_packets(now)) if room > 0 else 0

    def next_send_at(self, now: Instant, bytes_in_flight: ByteCount) -> Instant | None:
        """Return when pacing lets the next packet go, or None if only an ack will."""
        if bytes_in_flight + self._packet_size > self.window:
            return None
        return self.pacer.next_send_at(now)

    def set_packet_size(self, packet_size: ByteCount) -> None:
        """Go on with packets of another size; the model is in bytes and stays."""
        self._packet_size = packet_size
        self.pacer.set_packet_size(packet_size)
        self._set_window()

    def set_peer_buffer(self, peer_buffer: ByteCount) -> None:
        """Go on with what the other side says about its receive buffer now."""
        self._peer_buffer = peer_buffer
        self.pacer.set_peer_buffer(peer_buffer)
        self._set_window()

    # -- what happened ----------------------------------------------------------------------

    # Each is told what is in flight afterwards: the path's ledger counts it, and knows what was
    # given up without an answer.

    def on_sent(
        self, now: Instant, record: SentRecord, has_more: bool, bytes_in_flight: ByteCount
    ) -> None:
        """Note an ack-eliciting record; `has_more`: the sender would send more if it might.

        Probes and control count too, though they need not ask.
        When credit was lost it was a side, not the path, that set the time of sending: the sender
        had no data, or a process was not scheduled, be it ours, or theirs while its socket filled.
        The mark of a record says so.
        """
        size = record.count * record.size
        wasted_s = self.pacer.on_sent(now, size)
        if not self._has_run_dry and (not self._is_blocked or self._is_bound_by_buffer):
            self._overslept_s += wasted_s
        record.mark = Mark(self._has_run_dry and wasted_s > 0, self._overslept_s)
        self._has_run_dry = not has_more
        self._in_flight = bytes_in_flight
        self._is_blocked = self._in_flight + self._packet_size > self.window

    def on_acked(
        self,
        arrived_at: Instant,
        records: Sequence[SentRecord],
        delay_s: Seconds,
        bytes_in_flight: ByteCount,
    ) -> None:
        """Note records newly acknowledged together, at least one.

        `arrived_at` is when the acknowledgement came to this machine, and `delay_s` how long the
        newest record had been at the other one then: waiting for a process is not being queued.
        """
        now, self._in_flight = arrived_at, bytes_in_flight
        due_at = min(record.sent_at for record in records) + (self._minimum_rtt_s or 0.0)
        if self._gaps.learn(now, due_at):
            self._set_window()
        rtt_s = now - max(record.sent_at for record in records)
        rtt_s -= delay_s if delay_s < rtt_s else 0.0
        self._round.add(now, rtt_s, records)
        self._learn_rtt(now, rtt_s)
        awake_s = now - self._round.began - self._round.overslept_s
        if self._round.is_answered and awake_s >= self._round_span_s:
            self._end_round(now)
            self._decide(now)
        if self.state is RateState.STARTING and self._late_acks >= HINT_SAMPLES:
            self._enter(now, RateState.DRAINING)
            self._decide(now)
        if self.state is RateState.DRAINING and self._in_flight <= self._pipe:
            self._enter(now, RateState.CRUISING)
            self._decide(now)

    def on_lost(self, records: Sequence[SentRecord], bytes_in_flight: ByteCount) -> None:
        """Note records that were called lost together."""
        self._in_flight = bytes_in_flight
        self._round.lost_packets += sum(record.count for record in records)

    # -- what follows from the model --------------------------------------------------------

    def _decide(self, now: Instant) -> None:
        """Work out rate, pace and window anew; to be called when the model or the state changed."""
        if self._samples:
            self.rate = max(MINIMUM_RATE, min(max(self._samples), self._ceiling))
        else:
            self.rate = self._start_rate
        match self.state:
            case RateState.STARTING:
                self.rate_limit = self._start_rate
            case RateState.DRAINING:
                self.rate_limit = self.rate * DRAIN_GAIN
            case RateState.PROBING:
                self.rate_limit = self._more_than(self.rate)
            case RateState.CRUISING | RateState.MEASURING:
                self.rate_limit = self.rate
        self._round.lowest_pace = min(self._round.lowest_pace, self.rate_limit)
        self.pacer.set_rate(now, self.rate_limit)
        self._set_window()

    def _more_than(self, rate: BytesPerSecond) -> BytesPerSecond:
        return rate * PROBE_GAIN + PROBE_PACKETS * self._packet_size / self._round_span_s

    def _set_window(self) -> None:
        """Allow about what fits the path twice; the queue it tolerates where that is little."""
        span_s = max(self._round_span_s, self._gaps.longest_s)
        spare = SPARE_BURSTS * self.pacer.burst_packets * self._packet_size
        if self._minimum_rtt_s is None:
            self.window = INITIAL_PACKETS * self._packet_size
        elif self.state is RateState.STARTING:
            self.window = int(PROBE_GAIN * self._start_rate * span_s) + spare
        elif self.state is RateState.MEASURING:
            self.window = self._pipe // 2
        else:
            self.window = int(self.rate * (self._minimum_rtt_s + span_s)) + spare
        bounded = self._bounded_by_buffer(self.window)
        self._is_bound_by_buffer = bounded < self.window
        self.window = max(bounded, LEAST_WINDOW * self._packet_size)
        self._is_blocked |= self._in_flight + self._packet_size > self.window

    def _bounded_by_buffer(self, window: ByteCount) -> ByteCount:
        """Return a window that the other side's socket takes whole, unless the path is long.

        While their process is not scheduled, all that is in flight comes to wait there.
        """
        if self._peer_buffer is None or self._minimum_rtt_s is None:
            return window
        rate = self._start_rate if self.state is RateState.STARTING else self.rate
        if self._throughputs:  # rates without the pauses are too high where a window is what limits
            rate = min(rate, 2 * max(self._throughputs))
        pipe = int(rate * self._minimum_rtt_s)
        return min(window, max(2 * pipe, int(self._peer_buffer * QUEUE_SHARE)))

    # -- the model --------------------------------------------------------------------------

    @property
    def _pipe(self) -> ByteCount:
        """What fits the path without a queue, in bytes."""
        return int(self.rate * (self._minimum_rtt_s or INITIAL_ROUND_S))

    @property
    def _round_span_s(self) -> Seconds:
        return max(self._minimum_rtt_s or 0.0, MINIMUM_ROUND_S)

    def _is_late(self, rtt_s: Seconds) -> bool:
        """Tell whether a round-trip time shows a queue."""
        minimum_s = self._minimum_rtt_s or 0.0
        few_packets_s = QUEUE_TOLERANCE_PACKETS * min(self._packet_size, USUAL_PACKET) / self.rate
        tolerance_s = max(QUEUE_TOLERANCE_S, QUEUE_TOLERANCE * minimum_s, few_packets_s)
        return rtt_s >= minimum_s + tolerance_s

    def _is_slower_than_minimum(self, rtt_s: Seconds) -> bool:
        """Tell whether a round-trip time differs from the minimum at all."""
        minimum_s = self._minimum_rtt_s or 0.0
        return rtt_s > minimum_s + QUEUE_TOLERANCE_S / 5 + minimum_s / 20

    def _learn_rtt(self, now: Instant, rtt_s: Seconds) -> None:
        """Take a sample; one almost as low as the minimum keeps it alive."""
        known_s = self._minimum_rtt_s
        if known_s is None:
            self._start_rate = 2 * INITIAL_PACKETS * self._packet_size / max(rtt_s, MINIMUM_ROUND_S)
        if known_s is None or rtt_s < known_s:
            self._minimum_rtt_s = rtt_s
            self._decide(now)
        if not self._is_slower_than_minimum(rtt_s):
            self._minimum_seen_at = now
        self._late_acks = self._late_acks + 1 if self._is_late(rtt_s) else 0

    def _end_round(self, now: Instant) -> None:
        ended, rate_before = self._round, self.rate
        self._round = Round(
            now, ended.sent_until, ended.sent_until, now, self.rate_limit,
            ended.overslept_until, ended.overslept_until,
        )  # fmt: skip
        self._rounds_in_state += 1
        grew = self._learn_rate(ended)
        self._judge(now, ended, rate_before)
        self._step(now, ended, grew)
        self._pace_before = ended.lowest_pace

    def _learn_rate(self, ended: Round) -> bool:
        """Take a round's sample; returns whether delivery grew as STARTING expects it to."""
        self._throughputs.append(ended.rate)
        best = max(self._samples, default=0.0)
        rate = self._delivery_rate(ended)
        is_hindered = ended.is_app_limited or (ended.overslept_s > 0 and rate == ended.rate)
        if not is_hindered or rate > best:
            self._samples.append(rate)
        return rate >= best * START_GROWTH

    def _delivery_rate(self, ended: Round) -> BytesPerSecond:
        """Return what the path delivered while both processes ran.

        Unless there was a queue, which perhaps delivered while they did not.
        """
        return ended.rate if self._is_late(ended.maximum_rtt_s) else ended.rate_awake

    def _judge(self, now: Instant, ended: Round, rate: BytesPerSecond) -> None:
        """Move the ceiling; at most once for what was sent before the last cut."""
        if self.state in (RateState.STARTING, RateState.MEASURING):
            return  # MEASURING: whether there is a queue is what it finds out
        probed_from, self._rate_before_probe = self._rate_before_probe, None
        if self.state is RateState.PROBING:
            self._rate_before_probe = rate
        is_new = ended.sent_from >= self._judged_from
        is_lossy = is_new and ended.is_lossy
        has_queue = self._is_late(ended.minimum_rtt_s)
        # What this round delivered was sent in the round before.
        delivered = self._delivery_rate(ended)
        has_fallen = not ended.is_app_limited and delivered < DELIVERY_FELL * self._pace_before
        self._fallen_rounds = self._fallen_rounds + 1 if has_queue and has_fallen else 0
        is_slower = self._fallen_rounds >= FALLEN_ROUNDS
        if is_slower or (has_queue and is_new and ended.lost_packets):
            self._cut(now, BACK_OFF * rate)
        elif is_lossy and probed_from is not None:
            self._ceiling = probed_from
            self._cruise_rounds = 2 * CRUISE_ROUNDS
        elif is_lossy and self._pace_before >= rate:
            self._cut(now, min(BACK_OFF * rate if ended.is_app_limited else delivered, rate))
        elif probed_from is not None:
            self._ceiling = self._more_than(self._ceiling)
            self._cruise_rounds = CRUISE_ROUNDS
            if delivered > PROBE_PAID * probed_from:
                self._has_paid = True

    def _cut(self, now: Instant, ceiling: BytesPerSecond) -> None:
        self._ceiling = max(ceiling, MINIMUM_RATE)
        self._rate_before_probe = None
        self._enter(now, RateState.DRAINING)
        self._judged_from = now

    def _step(self, now: Instant, ended: Round, grew: bool) -> None:
        """Leave the state if its time has come."""
        match self.state:
            case RateState.STARTING:
                self._start_faster(now, ended, grew)
            case RateState.DRAINING:
                # Ends in the middle of a round, when the pipe has drained.  On a route that has
                # become longer it never would: the longer way looks like a queue.
                if now >= self._minimum_seen_at + MINIMUM_RTT_LIFE_S:
                    self._enter(now, RateState.MEASURING)
            case RateState.CRUISING:
                if ended.is_app_limited:
                    return
                if now >= self._minimum_seen_at + MINIMUM_RTT_LIFE_S:
                    self._enter(now, RateState.MEASURING)
                elif self._has_paid or self._rounds_in_state >= self._cruise_rounds:
                    self._enter(now, self._after_cruising(now, ended))
            case RateState.PROBING:
                self._enter(now, RateState.DRAINING)
            case RateState.MEASURING:
                if self._rounds_in_state >= 2:
                    if not ended.is_app_limited:  # lone packets are acknowledged late
                        self._minimum_rtt_s = ended.minimum_rtt_s
                        self._minimum_seen_at = now
                    self._enter(now, RateState.CRUISING)

    def _after_cruising(self, now: Instant, ended: Round) -> RateState:
        """Probe soon on a free path, late where there is a queue: perhaps ours, perhaps not."""
        wait_s = min(COURTEOUS_ROUNDS * self._round_span_s, COURTEOUS_S)
        has_queue = self._is_late(ended.minimum_rtt_s)
        if has_queue and not self._has_paid and now < self._probed_at + wait_s:
            return RateState.DRAINING
        self._has_paid = False
        self._probed_at = now
        return RateState.PROBING

    def _start_faster(self, now: Instant, ended: Round, grew: bool) -> None:
        """Double the rate, or find that the path is full."""
        if ended.is_lossy:
            self._enter(now, RateState.DRAINING)
            return
        if grew or ended.is_app_limited:
            self._flat_rounds = 0
        elif ended.lost_packets or self._is_slower_than_minimum(ended.minimum_rtt_s):
            self._flat_rounds += 1  # and the path says why; else a process may have stood still
        if self._flat_rounds >= START_FLAT_ROUNDS:
            self._enter(now, RateState.DRAINING)
        else:
            most = max(START_LEAD * max(self._samples), self._start_rate)
            self._start_rate = min(2 * self._start_rate, most)

    def _enter(self, now: Instant, state: RateState) -> None:
        if self.state is RateState.STARTING:
            self._judged_from = now  # what it lost by overshooting says nothing about the estimate
        self.state = state
        self._rounds_in_state = 0
