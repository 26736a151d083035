"""PathTable: the direct paths of one link, from candidate to trusted and back.

    candidate --challenge--> PROBING --answer--> CONFIRMED --unanswered data--> DOUBTFUL
                                |                    ^                             |
                                +--5 probes, no answer: forgotten                  |
                                                     +--------answer---------------+

A path is an address pair: one of our lanes and an address of the peer's.  It is confirmed by an
answered challenge, since only that proves that bytes pass both ways; what we send proves nothing.
A packet from a new address makes a new path, which is challenged like any other: nothing moves
before the answer.  Source: design, section 8; RFC 9000, sections 8 and 9, for the shape.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from tunnel.proto.candidates import choose_candidates, is_overlay, is_probeable
from tunnel.proto.direct_rate import DirectController
from tunnel.proto.loss import SentLedger
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.token_bucket import Allowance, TokenBucket
from tunnel.units import Instant, Seconds
from tunnel.wire.frames import MAX_CANDIDATES, TOKEN_SIZE, Answer, Candidate, Challenge

# Fixed by the protocol.
FIRST_PATH_ID = 1
LAST_PATH_ID = 0xFFFF
FIRST_DATAGRAM = 1200  # every path carries that much; larger ones must be proved
# Chosen (design, section 8).
PROBE_TIMES_S = (0.0, 0.15, 0.4, 0.9, 1.9)  # 5 probes for a candidate that never answered
PROBES_PER_S = Allowance(rate=40.0, burst=40.0)
CANDIDATE_LIFE_S: Seconds = 300.0
DOUBT_FLOOR_S: Seconds = 1.0
DOUBT_PTOS = 3
RECOVERY_PROBE_S: Seconds = 2.0  # the longest pause between probes of a doubtful path
WEARY_AFTER_S: Seconds = 300.0
WEARY_PROBE_S: Seconds = 30.0
# Chosen: NAT mappings commonly expire at 30 s; a confirmed path that is idle is kept open.
KEEPALIVE_S: Seconds = 20.0
# Chosen: a challenge unanswered for so long says nothing any more.
CHALLENGE_LIFE_S: Seconds = 5.0
MAX_CHALLENGES = 8
# Chosen: another path is taken only if it is clearly better, or paths would flap.
BETTER_BY_S: Seconds = 0.005
BETTER_BY_RATIO = 0.8
OVERLAY_PENALTY_S: Seconds = 0.050


class PathState(Enum):
    """What is true of a direct path."""

    PROBING = "probing"  # never answered
    CONFIRMED = "confirmed"  # a challenge was answered, and nothing speaks against it
    DOUBTFUL = "doubtful"  # data on it went unanswered, or its last challenges did


@dataclass(slots=True)
class DirectPath:
    """One address pair.

    Args:
        id: our id of it, never used for another pair.
        endpoint: where it leads.
        ledger: what was sent on it.
        controller: how much may be in flight on it.
    """

    id: int
    endpoint: UdpEndpoint
    ledger: SentLedger
    controller: DirectController
    created_at: Instant
    state: PathState = PathState.PROBING
    probe_at: Instant | None = None
    probes: int = 0
    doubtful_since: Instant | None = None
    last_heard: Instant | None = None
    last_acked: Instant | None = None  # when something sent on it was newly acknowledged
    last_answered: Instant | None = None
    last_challenged: Instant | None = None
    rtt_s: Seconds | None = None
    challenges: dict[bytes, Instant] = field(default_factory=dict)
    answers_due: list[Answer] = field(default_factory=list)

    @property
    def was_confirmed(self) -> bool:
        """Whether a challenge was ever answered on it."""
        return self.rtt_s is not None

    @property
    def rank_s(self) -> Seconds:
        """Round-trip time for comparisons; overlay addresses rank behind."""
        rtt_s = self.ledger.rtt.smoothed_s if self.ledger.rtt.has_sample else self.rtt_s or 1.0
        return rtt_s + (OVERLAY_PENALTY_S if is_overlay(self.endpoint.ip) else 0.0)


class PathTable:
    """The direct paths of one link.

    Args:
        now: when the link began.
        entropy: returns that many random bytes.
        trace: see `PeerLink`.
    """

    def __init__(
        self,
        now: Instant,
        entropy: Callable[[int], bytes],
        trace: Callable[[str, dict[str, object]], None],
    ) -> None:
        self.active: DirectPath | None = None
        self.allows_loopback = False
        self.promotions = 0
        self.candidates_since: Instant | None = None  # when the peer first told us addresses
        self._lanes: dict[int, bool] = {}  # lane -> whether it speaks IPv6
        self._paths: dict[UdpEndpoint, DirectPath] = {}
        self._next_id = FIRST_PATH_ID
        self._candidates: dict[tuple[str, int], Candidate] = {}
        self._entropy = entropy
        self._trace = trace
        self._probes = TokenBucket(PROBES_PER_S, now)

    # -- queries ----------------------------------------------------------------------------

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The peer's addresses that may be probed."""
        return tuple(self._candidates.values())

    def __iter__(self) -> Iterator[DirectPath]:
        return iter(list(self._paths.values()))

    def get(self, endpoint: UdpEndpoint) -> DirectPath | None:
        """Return the path of an address pair."""
        return self._paths.get(endpoint)

    def by_id(self, path_id: int) -> DirectPath | None:
        """Return a path by our id of it."""
        return next((path for path in self._paths.values() if path.id == path_id), None)

    def was_used(self, path_id: int) -> bool:
        """Tell whether a path id of ours was ever given to a path."""
        return FIRST_PATH_ID <= path_id < self._next_id

    # -- what comes in ----------------------------------------------------------------------

    def use_lanes(self, now: Instant, lanes: dict[int, bool]) -> list[DirectPath]:
        """Use these lanes (number -> whether IPv6), and probe what they can reach.

        Returns the paths of lanes that are gone, which are forgotten.
        """
        self._lanes = dict(lanes)
        gone = [path for endpoint, path in self._paths.items() if endpoint.lane not in lanes]
        for path in gone:
            self._forget(path)
        self._pair(now)
        return gone

    def handle_candidates(self, now: Instant, offered: tuple[Candidate, ...]) -> None:
        """Take the peer's addresses and probe them at once; it does the same with ours."""
        if self.candidates_since is None:
            self.candidates_since = now
        known = list(self._candidates.values())
        chosen = choose_candidates([*offered, *known], self.allows_loopback)
        self._candidates = {(c.ip, c.port): c for c in chosen}
        for path in self._paths.values():
            if path.state is PathState.PROBING and path.probe_at is None:
                path.probes, path.probe_at = 0, now
        self._pair(now)

    def heard(self, now: Instant, endpoint: UdpEndpoint) -> DirectPath | None:
        """Note an authenticated packet from an address pair, known or new."""
        path = self._paths.get(endpoint)
        if path is None:
            candidate = Candidate(0, endpoint.ip, endpoint.port)
            if not is_probeable(candidate, self.allows_loopback):
                return None
            path = self._add(now, endpoint)
            self._trace("path.appeared", {"path": path.id, "to": endpoint.address})
            if self.active is not None:
                self.active.probe_at = now  # does the old address still answer?
        path.last_heard = now
        return path

    def handle_challenge(self, now: Instant, path: DirectPath, challenge: Challenge) -> None:
        """Answer by the same path, and challenge back if it is not confirmed."""
        answer = Answer(challenge.token, path.endpoint.ip, path.endpoint.port)
        path.answers_due = [*path.answers_due[-3:], answer]
        if path.state is not PathState.CONFIRMED and path.challenges == {}:
            path.probe_at = now

    def handle_answer(self, now: Instant, path: DirectPath, answer: Answer) -> bool:
        """Take the answer to a challenge of ours; returns whether it was one."""
        sent_at = path.challenges.pop(answer.token, None)
        if sent_at is None:
            return False
        rtt_s = now - sent_at
        path.rtt_s = rtt_s if path.rtt_s is None else min(rtt_s, 0.75 * path.rtt_s + 0.25 * rtt_s)
        path.last_answered = now
        path.probes = 0
        path.challenges.clear()
        path.probe_at = Instant(now + KEEPALIVE_S)
        if path.state is not PathState.CONFIRMED:
            self._trace(
                "path.confirmed",
                {
                    "path": path.id,
                    "rtt_s": round(rtt_s, 6),
                    "from": path.state.value,
                    "to": path.endpoint.address,
                },
            )
            path.state = PathState.CONFIRMED
            path.doubtful_since = None
            path.controller = DirectController(now, FIRST_DATAGRAM, None)
        return True

    # -- time -------------------------------------------------------------------------------

    def handle_timeout(self, now: Instant) -> list[DirectPath]:
        """Doubt and forget what is due; returns paths that became doubtful."""
        doubted = []
        for path in list(self._paths.values()):
            if path.state is PathState.CONFIRMED and now >= self._doubt_at(path, Instant(now + 1)):
                self._doubt(now, path)
                doubted.append(path)
            stale = [t for t, at in path.challenges.items() if now >= at + CHALLENGE_LIFE_S]
            for token in stale:
                del path.challenges[token]
            is_exhausted = path.probes >= len(PROBE_TIMES_S) and path.probe_at is None
            is_old = now >= path.created_at + CANDIDATE_LIFE_S
            if path.state is PathState.PROBING and is_exhausted and is_old:
                self._forget(path)
        return doubted

    def _doubt_at(self, path: DirectPath, never: Instant) -> Instant:
        """Return when unanswered data or challenges make a confirmed path doubtful."""
        unanswered = path.ledger.oldest_unanswered
        if unanswered is None and not path.challenges:
            return never
        doubt_s = max(DOUBT_FLOOR_S, DOUBT_PTOS * path.ledger.rtt.probe_timeout_s)
        times = []
        if unanswered is not None:
            # What they send by the path proves nothing for what we send: it may be cut one way.
            acked = path.last_acked if path.last_acked is not None else unanswered
            times.append(max(unanswered, acked) + doubt_s)
        if path.challenges:
            oldest = min(path.challenges.values())
            times.append(max(oldest, path.last_heard or oldest) + 2 * doubt_s)
        return Instant(min(times)) if times else never

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` or `probes_to_send` has something to do."""
        never = Instant(float("inf"))
        times = [never]
        for path in self._paths.values():
            if path.answers_due:
                times.append(Instant(0.0))
            if path.probe_at is not None:
                times.append(path.probe_at)
            if path.state is PathState.CONFIRMED:
                times.append(self._doubt_at(path, never))
        earliest = min(times)
        return None if earliest == never else earliest

    def probes_to_send(self, now: Instant) -> list[tuple[DirectPath, list[Challenge | Answer]]]:
        """Return the challenges and answers to send now, by path."""
        due: list[tuple[DirectPath, list[Challenge | Answer]]] = []
        for path in list(self._paths.values()):
            frames: list[Challenge | Answer] = list(path.answers_due)
            path.answers_due = []
            is_due = path.probe_at is not None and now >= path.probe_at
            if is_due and self._probes.try_take(now):
                frames.append(self._challenge(now, path))
            if frames:
                due.append((path, frames))
        return due

    def _challenge(self, now: Instant, path: DirectPath) -> Challenge:
        token = self._entropy(TOKEN_SIZE)
        path.challenges[token] = now
        while len(path.challenges) > MAX_CHALLENGES:
            del path.challenges[next(iter(path.challenges))]
        path.probes += 1
        path.last_challenged = now
        path.probe_at = self._next_probe_at(now, path)
        return Challenge(token)

    def _next_probe_at(self, now: Instant, path: DirectPath) -> Instant | None:
        if path.state is PathState.PROBING:
            if path.probes >= len(PROBE_TIMES_S):
                return None
            pause_s = PROBE_TIMES_S[path.probes] - PROBE_TIMES_S[path.probes - 1]
            return Instant(now + pause_s)
        if path.state is PathState.CONFIRMED:
            # Unanswered so far: ask again soon, so that doubt comes from silence, not from a loss.
            return Instant(now + max(0.25, path.ledger.rtt.probe_timeout_s))
        since = path.doubtful_since if path.doubtful_since is not None else now
        if now >= since + WEARY_AFTER_S:
            return Instant(now + WEARY_PROBE_S)
        return Instant(
            now + min(RECOVERY_PROBE_S, path.ledger.rtt.probe_timeout_s * 2**path.probes)
        )

    # -- choice -----------------------------------------------------------------------------

    def choose(self, now: Instant) -> DirectPath | None:
        """Return the path that data takes now, None for the relay; counts moves off the relay."""
        usable = [path for path in self._paths.values() if path.state is PathState.CONFIRMED]
        best = min(usable, key=lambda path: (path.rank_s, path.id), default=None)
        active = self.active if self.active in usable else None
        if active is not None and best is not None and best is not active:
            is_better = best.rank_s < active.rank_s * BETTER_BY_RATIO - BETTER_BY_S
            best = best if is_better else active
        if best is not self.active:
            if self.active is None:
                self.promotions += 1
            self.active = best
            to = best.endpoint.address if best else "relay"
            self._trace("path.active", {"path": best.id if best else 0, "to": to})
        return best

    def suspect_all(self, now: Instant) -> None:
        """Challenge every path that was ever confirmed: the network may have changed."""
        for path in self._paths.values():
            if path.was_confirmed:
                path.probe_at, path.probes = now, 0

    # -- inside -----------------------------------------------------------------------------

    def _pair(self, now: Instant) -> None:
        for candidate in self._candidates.values():
            for lane, is_ipv6 in self._lanes.items():
                endpoint = UdpEndpoint(lane, candidate.ip, candidate.port)
                if is_ipv6 == (":" in candidate.ip) and endpoint not in self._paths:
                    self._add(now, endpoint)

    def _add(self, now: Instant, endpoint: UdpEndpoint) -> DirectPath:
        if len(self._paths) >= 2 * MAX_CANDIDATES:
            self._forget_worst()
        if self._next_id > LAST_PATH_ID:
            raise OverflowError("the path ids of a link are used up")
        controller = DirectController(now, FIRST_DATAGRAM, None)
        ledger = SentLedger(has_packet_threshold=True)
        path = DirectPath(self._next_id, endpoint, ledger, controller, now, probe_at=now)
        self._next_id += 1
        self._paths[endpoint] = path
        return path

    def _forget_worst(self) -> None:
        """Make room: what never answered goes first, then what was heard longest ago."""

        def worth(path: DirectPath) -> tuple[bool, bool, float]:
            return (path is self.active, path.was_confirmed, path.last_heard or path.created_at)

        self._forget(min(self._paths.values(), key=worth))

    def _forget(self, path: DirectPath) -> None:
        self._paths.pop(path.endpoint, None)
        path.state = PathState.DOUBTFUL  # for whoever still has it: nothing goes there any more
        if self.active is path:
            self.active = None

    def _doubt(self, now: Instant, path: DirectPath) -> None:
        self._trace("path.doubtful", {"path": path.id})
        path.state = PathState.DOUBTFUL
        path.doubtful_since = now
        path.probes = 0
        path.probe_at = now
