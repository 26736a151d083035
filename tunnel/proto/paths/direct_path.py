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

from dataclasses import dataclass, field
from enum import Enum

from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.paths.candidates import is_overlay
from tunnel.proto.paths.packet_size import SizeSearch
from tunnel.proto.rate.direct import DirectController
from tunnel.proto.recovery.loss import SentLedger
from tunnel.proto.recovery.rtt import RttEstimator
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire.frames import Answer

# Chosen (design, section 8).
PROBE_TIMES_S = (0.0, 0.15, 0.4, 0.9, 1.9)  # 5 probes for a candidate that never answered
DOUBT_FLOOR_S: Seconds = 1.0
DOUBT_PTOS = 3
# Chosen: what goes unanswered for so long is no use, whatever its round trips were; so that traffic
# is back within 5 s also where somebody on the way made them long.
DOUBT_CEILING_S: Seconds = 3.0
RECOVERY_PROBE_S: Seconds = 2.0  # the longest pause between probes of a doubtful path
WEARY_AFTER_S: Seconds = 300.0
WEARY_PROBE_S: Seconds = 30.0
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
    """One address pair.

    Args:
        id: our id of it, never used for another pair.
        endpoint: where it leads.
        ledger: what was sent on it.
        controller: how much may be in flight on it.
        is_offered: whether the peer told us of it, through the link, before it was heard there.
        search: how large its datagrams may be.
    """

    id: int
    endpoint: UdpEndpoint
    ledger: SentLedger
    controller: DirectController
    search: SizeSearch
    created_at: Instant
    is_offered: bool
    state: PathState = PathState.PROBING
    probe_at: Instant | None = None
    probes: int = 0
    round_at: Instant | None = None  # when the last probes of an address without answer began
    received_bytes: ByteCount = 0
    sent_bytes: ByteCount = 0  # while it was not confirmed
    doubtful_since: Instant | None = None
    last_heard: Instant | None = None
    moved_at: Instant | None = None  # when an acknowledgement of it last moved a stream on
    asked_at: Instant | None = None  # the first challenge since the last answer
    rtt_s: Seconds | None = None
    challenges: dict[bytes, Instant] = field(default_factory=dict)
    answers_due: list[Answer] = field(default_factory=list)

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

    def next_probe_at(self, now: Instant) -> Instant | None:
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
        if now >= since + WEARY_AFTER_S:
            return Instant(now + WEARY_PROBE_S)
        return Instant(now + self._recovery_pause_s)

    @property
    def _recovery_pause_s(self) -> Seconds:
        """The pause between probes of a doubtful path, backed off so far; 0 for any other."""
        if self.state is not PathState.DOUBTFUL:
            return 0.0
        return min(RECOVERY_PROBE_S, self.answer_limit_s * 2.0 ** min(self.probes - 1, 16))
