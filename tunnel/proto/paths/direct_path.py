"""DirectPath: one address pair, what is true of it, and when it is probed and doubted.

    candidate --challenge--> PROBING --answer--> CONFIRMED --unanswered data--> DOUBTFUL
                                |                    ^                             |
                                +--5 probes, no answer: forgotten                  |
                                                     +--------answer---------------+

A path is an address pair: one of our lanes and an address of the peer's.  It is confirmed by an
answered challenge, since only that proves that bytes pass both ways; what we send proves nothing.
This module knows no other path: which one is used is the table's matter (`tunnel.proto.paths`).
Source: design, section 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from tunnel.proto.machine import Trace, UdpEndpoint
from tunnel.proto.paths.candidates import is_overlay
from tunnel.proto.paths.packet_size import BASE_DATAGRAM, SizeSearch
from tunnel.proto.rate.direct import DirectController
from tunnel.proto.recovery.loss import SentLedger
from tunnel.proto.recovery.rtt import RttEstimator
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire.frames import MAX_CANDIDATES, Ack, Answer, Challenge, encode
from tunnel.wire.packet import GENERAL_HEADER_SIZE

# Fixed by the protocol: RFC 9000, section 8.1, for addresses that nobody vouched for.
AMPLIFICATION = 3
MAX_SEALING_SIZE = GENERAL_HEADER_SIZE + 32  # what sealing adds to frames, with any AEAD
# Chosen (design, section 8).
PROBE_TIMES_S = (0.0, 0.15, 0.4, 0.9, 1.9)  # 5 probes for a candidate that never answered
DOUBT_FLOOR_S: Seconds = 1.0
DOUBT_PTOS = 3
# Chosen: what goes unanswered for so long is no use, whatever its round trips were; so that traffic
# is back within 5 s also where somebody on the way made them long.
DOUBT_CEILING_S: Seconds = 3.0
RECOVERY_PROBE_S: Seconds = 2.0  # the longest pause between probes of a doubtful path
SLOW_PROBES_AFTER_S: Seconds = 300.0  # in doubt for so long, it is probed at
SLOW_PROBE_S: Seconds = 30.0  # this pause
ROUND_PAUSE_S: Seconds = 30.0  # a new offer has the same address probed again no sooner
# Chosen: NAT mappings commonly expire at 30 s; a confirmed path that is idle is kept open.
KEEPALIVE_S: Seconds = 20.0
# Chosen: the path in use is asked whether it still works when it is silent for so long and the peer
# is heard by another: it may have been a detour that somebody on the way has ended.
SILENT_S: Seconds = 0.5
# Chosen: a challenge unanswered for so long says nothing any more.
CHALLENGE_LIFE_S: Seconds = 5.0
MAX_CHALLENGES = 8
MAX_ANSWERS = MAX_CANDIDATES  # due at once: a peer may reach one address of ours by so many
# Chosen: what is probed over and over goes out along with another probe if it is due this soon, so
# that many paths wake a machine as seldom as one.
IDLE_TOGETHER_S: Seconds = 10.0  # half of the pause between probes that keep a path open
RECOVERY_TOGETHER_S: Seconds = 1.0  # the same of one that is lost
# Chosen: an overlay network is a detour, whatever it measures.
OVERLAY_PENALTY_S: Seconds = 0.050


class PathState(Enum):
    """What is true of a direct path."""

    PROBING = "probing"  # never answered
    CONFIRMED = "confirmed"  # a challenge was answered, and nothing speaks against it
    DOUBTFUL = "doubtful"  # data on it went unanswered, or its last challenges did


@dataclass(slots=True, eq=False)
class DirectPath:
    """One address pair; a `Path` of its link.

    Args:
        id: our id of it, never used for another pair.
        endpoint: where it leads.
        created_at: when it was made; it is probed at once.
        is_offered: whether the peer told us of it, through the link, before it was heard there.
        peer_buffer: bytes of datagrams that may wait at the peer, None if it did not tell.
        trace: see `PeerLink`.
    """

    is_relay: ClassVar[bool] = False
    keeps_order: ClassVar[bool] = False
    joins_control: ClassVar[bool] = True
    ping_size: ClassVar[ByteCount] = BASE_DATAGRAM  # its answer then says that such still pass

    id: int
    endpoint: UdpEndpoint
    created_at: Instant
    is_offered: bool
    peer_buffer: ByteCount | None
    trace: Trace
    ledger: SentLedger = field(init=False)  # what was sent on it
    search: SizeSearch = field(init=False)  # how large its datagrams may be
    controller: DirectController = field(init=False)  # how much may be in flight on it
    state: PathState = PathState.PROBING
    probe_at: Instant | None = None
    probes: int = 0
    round_at: Instant | None = None  # when the last probes of an address without answer began
    received_bytes: ByteCount = 0
    sent_bytes: ByteCount = 0  # while it was not confirmed
    acked_packets: int = 0
    lost_packets: int = 0
    doubtful_since: Instant | None = None
    last_heard: Instant | None = None
    moved_at: Instant | None = None  # when an acknowledgement of it last moved a stream on
    asked_at: Instant | None = None  # the first challenge since the last answer
    rtt_s: Seconds | None = None
    challenges: dict[bytes, Instant] = field(default_factory=dict)
    answers_due: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = SentLedger(has_packet_threshold=True)
        self.restart(self.created_at)
        self.begin_round(self.created_at)

    # -- what is true of it -----------------------------------------------------------------

    @property
    def was_confirmed(self) -> bool:
        """Whether a challenge was ever answered on it."""
        return self.rtt_s is not None

    @property
    def answer_limit_s(self) -> Seconds:
        """When a packet sent now has surely been answered: the probe timeout, without back-off."""
        if self.ledger.rtt.has_sample or self.rtt_s is None:
            return self.ledger.rtt.probe_timeout_s
        challenged = RttEstimator()  # all that is known yet
        challenged.sample(self.rtt_s, 0.0)
        return challenged.probe_timeout_s

    @property
    def rank_s(self) -> Seconds:
        """Round-trip time for comparisons; overlay addresses rank behind."""
        rtt_s = self.ledger.rtt.smoothed_s if self.ledger.rtt.has_sample else self.rtt_s or 1.0
        return rtt_s + (OVERLAY_PENALTY_S if is_overlay(self.endpoint.ip) else 0.0)

    @property
    def doubt_at(self) -> Instant | None:
        """When unanswered data or challenges make it doubtful; None while nothing does.

        What the peer sends by it does not count: the path may be broken one way only.
        """
        if self.state is not PathState.CONFIRMED:
            return None
        times = [t for t in (self.ledger.unanswered_since, self.asked_at) if t is not None]
        if not times:
            return None
        patience_s = max(DOUBT_FLOOR_S, DOUBT_PTOS * self.answer_limit_s)
        return Instant(min(times) + min(patience_s, DOUBT_CEILING_S))

    @property
    def is_usable(self) -> bool:
        """Whether bytes pass both ways, as far as anybody knows."""
        return self.state is PathState.CONFIRMED

    @property
    def has_never_answered(self) -> bool:
        """Whether it was probed as often as planned, and no answer came."""
        is_exhausted = self.probes >= len(PROBE_TIMES_S) and self.probe_at is None
        return self.state is PathState.PROBING and is_exhausted

    def is_silent(self, now: Instant) -> bool:
        """Tell whether nothing came by it for a while, and it was not asked why."""
        heard_at = self.last_heard or self.created_at
        return self.asked_at is None and now >= heard_at + SILENT_S

    def is_probe_due(self, now: Instant, *, is_another_due: bool = False) -> bool:
        """Tell whether a challenge is due; a repeated one a little earlier along with another."""
        if self.probe_at is None:
            return False
        early_s = 0.0
        if is_another_due and self.asked_at is None and self.state is PathState.CONFIRMED:
            early_s = IDLE_TOGETHER_S
        elif is_another_due and self._recovery_pause_s >= RECOVERY_PROBE_S:
            early_s = RECOVERY_TOGETHER_S
        return now >= self.probe_at - early_s

    def _next_probe_at(self, now: Instant) -> Instant | None:
        """Return when the challenge after the one sent now is due, if it stays unanswered."""
        if self.state is PathState.PROBING:
            if self.probes >= len(PROBE_TIMES_S):
                return None
            pause_s = PROBE_TIMES_S[self.probes] - PROBE_TIMES_S[self.probes - 1]
            return Instant(now + pause_s)
        if self.state is PathState.CONFIRMED:
            # Unanswered so far: ask again soon, so that doubt comes from silence, not from a loss.
            return Instant(now + max(0.25, self.answer_limit_s))
        since = self.doubtful_since if self.doubtful_since is not None else now
        if now >= since + SLOW_PROBES_AFTER_S:
            return Instant(now + SLOW_PROBE_S)
        return Instant(now + self._recovery_pause_s)

    @property
    def _recovery_pause_s(self) -> Seconds:
        """The pause between probes of a doubtful path, backed off so far; 0 for any other."""
        if self.state is not PathState.DOUBTFUL:
            return 0.0
        return min(RECOVERY_PROBE_S, self.answer_limit_s * 2.0 ** min(self.probes - 1, 16))

    # -- probing ----------------------------------------------------------------------------

    def begin_round(self, now: Instant) -> None:
        """Probe it from the start: it is new, or may have become reachable."""
        self.probes, self.probe_at, self.round_at = 0, now, now

    def begin_round_again(self, now: Instant) -> None:
        """Probe what never answered again, unless that was just done."""
        is_idle = self.state is PathState.PROBING and self.probe_at is None
        if is_idle and (self.round_at is None or now >= self.round_at + ROUND_PAUSE_S):
            self.begin_round(now)

    def probe_now(self, now: Instant) -> None:
        """Have it challenged at once."""
        self.probe_at = now

    def suspect(self, now: Instant) -> None:
        """Challenge it anew: the network below it may have changed."""
        if not self.was_confirmed:
            self.begin_round(now)
            return
        self.probe_at, self.probes = now, 0
        if self.state is PathState.DOUBTFUL:
            self.doubtful_since = now

    def challenge(self, now: Instant, token: bytes) -> Challenge:
        """Return a challenge that goes out now."""
        self.challenges[token] = now
        while len(self.challenges) > MAX_CHALLENGES:
            del self.challenges[next(iter(self.challenges))]
        self.probes += 1
        if self.asked_at is None:
            self.asked_at = now
        self.probe_at = self._next_probe_at(now)
        return Challenge(token)

    def take_answers(self) -> list[Challenge | Answer]:
        """Return the answers due, once."""
        answers: list[Challenge | Answer] = list(self.answers_due)
        self.answers_due = []
        return answers

    def may_probe(self, frames: Sequence[Challenge | Answer]) -> bool:
        """Tell whether its address gets these frames, and count them.

        One that only appeared, perhaps in a packet that somebody passed on, gets no more than
        AMPLIFICATION times what came from it before it answered.
        """
        if self.was_confirmed or self.is_offered:
            return True
        size = MAX_SEALING_SIZE + sum(len(encode(frame)) for frame in frames)
        if self.sent_bytes + size > AMPLIFICATION * self.received_bytes:
            return False
        self.sent_bytes += size
        return True

    # -- what comes in ----------------------------------------------------------------------

    def heard(self, now: Instant, size: ByteCount) -> None:
        """Note authenticated bytes that came by it."""
        self.last_heard = now
        self.received_bytes += size

    def challenged(self, now: Instant, challenge: Challenge) -> None:
        """Answer a challenge of the peer's, and challenge back if the path is not confirmed."""
        answer = Answer(challenge.token, self.endpoint.ip, self.endpoint.port)
        self.answers_due = [*self.answers_due[1 - MAX_ANSWERS :], answer]
        # Where bytes passed once, what was asked before this came may be lost, and this may pass.
        is_worth_asking = self.was_confirmed or self.challenges == {}
        if self.state is not PathState.CONFIRMED and is_worth_asking:
            self.probe_at = now

    def answered(self, now: Instant, answer: Answer) -> bool:
        """Take the answer to a challenge of ours; returns whether it was one."""
        sent_at = self.challenges.pop(answer.token, None)
        if sent_at is None:
            return False
        rtt_s = now - sent_at
        self.rtt_s = rtt_s if self.rtt_s is None else min(rtt_s, 0.75 * self.rtt_s + 0.25 * rtt_s)
        self.asked_at = None
        self.probes = 0
        self.challenges.clear()
        self.probe_at = Instant(now + KEEPALIVE_S)
        if self.state is not PathState.CONFIRMED:
            self._confirm(now, rtt_s)
        return True

    def _confirm(self, now: Instant, rtt_s: Seconds) -> None:
        values = {"rtt_s": round(rtt_s, 6), "from": self.state.value, "to": self.endpoint.address}
        self.trace("path.confirmed", {"path": self.id, **values})
        self.state = PathState.CONFIRMED
        self.doubtful_since = None
        self.ledger.all_lost()  # it was sent elsewhere since; only probes can be left
        self.restart(now)

    def expire_challenges(self, now: Instant) -> None:
        """Forget challenges whose answer would say nothing any more."""
        stale = [token for token, at in self.challenges.items() if now >= at + CHALLENGE_LIFE_S]
        for token in stale:
            del self.challenges[token]

    def doubt(self, now: Instant) -> None:
        """Note that data or challenges on it went unanswered."""
        self.trace("path.doubtful", {"path": self.id})
        self.state = PathState.DOUBTFUL
        self.doubtful_since = now
        self.probes = 0
        self.probe_at = now

    def retire(self) -> None:
        """Note that it is forgotten: for whoever still has it, nothing goes there any more."""
        self.state = PathState.DOUBTFUL

    # -- its model --------------------------------------------------------------------------

    def restart(self, now: Instant) -> None:
        """Start its model over: the network below it may be another one now."""
        self.search = SizeSearch(now, is_ipv6=":" in self.endpoint.ip)
        self._restart_controller(now)

    def _restart_controller(self, now: Instant) -> None:
        """Forget which rate it had; what was in flight on it is given up with it."""
        self.controller = DirectController(now, self.search.size, self.peer_buffer)

    def set_peer_buffer(self, size: ByteCount) -> None:
        """Take what the peer told of its receive buffer: bytes that may wait there."""
        self.peer_buffer = size
        self.controller.set_peer_buffer(size)

    @property
    def packet_size(self) -> ByteCount:
        """The largest packet to send now."""
        return self.controller.packet_size()

    def room(self, now: Instant) -> int:
        """Return how many full packets may leave now as one burst."""
        return self.controller.sendable_packets(now, self.ledger.in_flight_bytes)

    def next_send_at(self, now: Instant) -> Instant | None:
        """Return when pacing lets the next packet go, or None if only an acknowledgement will."""
        return self.controller.next_send_at(now, self.ledger.in_flight_bytes)

    def on_sent(self, now: Instant, record: SentRecord, has_more: bool) -> None:
        """Note an ack-eliciting record; `has_more`: the sender would send more if it might."""
        self.controller.on_sent(now, record, has_more, self.ledger.in_flight_bytes)

    def on_acked(
        self,
        now: Instant,
        arrived_at: Instant,
        ack: Ack,
        newly: Sequence[SentRecord],
        *,
        is_own: bool,
    ) -> None:
        """Learn from an acknowledgement, by whichever path it came: what is in flight is less."""
        del is_own
        self.search.on_acked(newly)
        if self.search.handle_ack(now, ack.ranges):
            self.controller.set_packet_size(self.search.size)
            self._tell_size()
        if newly:
            ledger = self.ledger
            for record in newly:
                self.acked_packets += record.count
            self.controller.on_acked(arrived_at, newly, ledger.peer_delay_s, ledger.in_flight_bytes)

    def on_lost(self, now: Instant, records: Sequence[SentRecord]) -> bool:
        """Note records called lost together; returns whether all in flight is to be given up.

        So it is when it swallows what was proved before: another network is below it now.
        """
        self.lost_packets += sum(record.count for record in records)
        if not self.search.on_lost(now, records):
            self.controller.on_lost(records, self.ledger.in_flight_bytes)
            return False
        self._restart_controller(now)
        self._tell_size()
        return True

    def _tell_size(self) -> None:
        self.trace("path.packet_size", {"path": self.id, "bytes": self.search.size})
