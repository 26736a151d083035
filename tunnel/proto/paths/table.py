"""PathTable: the direct paths of one link, from candidate to trusted and back.

    candidates, packets from new addresses --> paths --> who is challenged, who is doubted
                                                    --> which one data takes

What is true of one path, and when it is probed and doubted: `tunnel.proto.paths.direct_path`.  A
packet from a new address makes a new path, which is challenged like any other: nothing moves before
the answer.  Source: design, section 8; RFC 9000, sections 8 and 9, for the shape.
"""

from collections.abc import Callable, Iterator

from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.paths.candidates import (
    CANDIDATE_LIFE_S,
    PeerCandidates,
    is_probeable,
    network_of,
)
from tunnel.proto.paths.direct_path import PROBE_TIMES_S, DirectPath, PathState
from tunnel.proto.paths.packet_size import BASE_DATAGRAM, SizeSearch
from tunnel.proto.rate.direct import DirectController
from tunnel.proto.recovery.loss import SentLedger
from tunnel.proto.token_bucket import Allowance, TokenBucket, Window
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire.frames import MAX_CANDIDATES, TOKEN_SIZE, Answer, Candidate, Challenge, encode
from tunnel.wire.packet import GENERAL_HEADER_SIZE

# Fixed by the protocol.
FIRST_PATH_ID = 1
LAST_PATH_ID = 0xFFFF
# Chosen (design, section 8).
PROBES_PER_S = 40  # in any second
ROUND_PAUSE_S: Seconds = 30.0  # a new offer has the same address probed again no sooner
# Chosen: NAT mappings commonly expire at 30 s; a confirmed path that is idle is kept open.
KEEPALIVE_S: Seconds = 20.0
# Chosen: the path in use is asked whether it still works when it is silent for so long and the peer
# is heard by another: it may have been a detour that somebody on the way has ended.
SILENT_S: Seconds = 0.5
# Chosen: a challenge unanswered for so long says nothing any more.
CHALLENGE_LIFE_S: Seconds = 5.0
MAX_CHALLENGES = 8
MAX_PATHS = 2 * MAX_CANDIDATES
MAX_ANSWERS = MAX_CANDIDATES  # due at once: a peer may reach one address of ours by so many
# Chosen: addresses that appear by themselves.  Each costs an id, and whoever can pass packets on
# from any address makes them appear as fast as it likes.
NEWCOMERS = Allowance(rate=1.0, burst=8.0)
# Fixed by the protocol: RFC 9000, section 8.1, for addresses that nobody vouched for.
AMPLIFICATION = 3
MAX_SEALING_SIZE = GENERAL_HEADER_SIZE + 32  # what sealing adds to frames, with any AEAD
# Chosen: another path is taken only if it is clearly better, or paths would flap.
BETTER_BY_S: Seconds = 0.005
BETTER_BY_RATIO = 0.8


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
        self.allows_link_local = False
        self.promotions = 0
        self.candidates_since: Instant | None = None  # when the peer first told us addresses
        self._peer_buffer: ByteCount | None = None
        self._lanes: dict[int, bool] = {}  # lane -> whether it speaks IPv6
        self._paths: dict[UdpEndpoint, DirectPath] = {}
        self._next_id = FIRST_PATH_ID
        self._candidates = PeerCandidates()
        self._entropy = entropy
        self._trace = trace
        self._probes = Window(PROBES_PER_S, 1.0)
        self._newcomers = TokenBucket(NEWCOMERS, now)

    # -- queries ----------------------------------------------------------------------------

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The peer's addresses that may be probed."""
        return tuple(self._candidates.ranked())

    def __iter__(self) -> Iterator[DirectPath]:
        return iter(list(self._paths.values()))

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
        refused = self._candidates.offer(now, offered, self._may_be_probed, self._is_own)
        if refused:
            self._trace("candidates.refused", {"count": refused})
        self.probe_again(now)
        self._pair(now)

    def probe_again(self, now: Instant) -> None:
        """Probe what never answered again, unless a path is in use or that was just done."""
        if self.active is not None:
            return
        for path in self._paths.values():
            is_idle = path.state is PathState.PROBING and path.probe_at is None
            if is_idle and (path.round_at is None or now >= path.round_at + ROUND_PAUSE_S):
                self._begin_round(now, path)

    def heard(self, now: Instant, endpoint: UdpEndpoint, size: ByteCount) -> DirectPath | None:
        """Note authenticated bytes from an address pair, known or new.

        Returns None if there can be no such path: the address may not be probed, or too many have
        appeared lately.
        """
        path = self._paths.get(endpoint)
        if path is None:
            candidate = Candidate(0, endpoint.ip, endpoint.port)
            if not self._may_be_probed(candidate):
                return None
            if not self._newcomers.try_take(now):
                return None
            path = self._add(now, endpoint, is_offered=False)
            if path is None:
                return None
            self._trace("path.appeared", {"path": path.id, "to": endpoint.address})
            if self.active is not None:
                self.active.probe_at = now  # does the old address still answer?
        path.last_heard = now
        path.received_bytes += size
        active = self.active
        if (
            active is not None
            and active is not path
            and active.asked_at is None
            and now >= (active.last_heard or active.created_at) + SILENT_S
        ):
            active.probe_at = now
        return path

    def handle_receive_buffer(self, size: ByteCount) -> None:
        """Take what the peer told of its receive buffer: bytes that may wait there."""
        self._peer_buffer = size
        for path in self._paths.values():
            path.controller.set_peer_buffer(size)

    def handle_challenge(self, now: Instant, path: DirectPath, challenge: Challenge) -> None:
        """Answer by the same path, and challenge back if it is not confirmed."""
        answer = Answer(challenge.token, path.endpoint.ip, path.endpoint.port)
        path.answers_due = [*path.answers_due[1 - MAX_ANSWERS :], answer]
        # Where bytes passed once, what was asked before this came may be lost, and this may pass.
        is_worth_asking = path.was_confirmed or path.challenges == {}
        if path.state is not PathState.CONFIRMED and is_worth_asking:
            path.probe_at = now

    def handle_answer(self, now: Instant, path: DirectPath, answer: Answer) -> bool:
        """Take the answer to a challenge of ours; returns whether it was one."""
        sent_at = path.challenges.pop(answer.token, None)
        if sent_at is None:
            return False
        rtt_s = now - sent_at
        path.rtt_s = rtt_s if path.rtt_s is None else min(rtt_s, 0.75 * path.rtt_s + 0.25 * rtt_s)
        path.asked_at = None
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
            self.restart(now, path)
        return True

    def keep_active_only(self) -> None:
        """Forget every path but the one in use: the link is over."""
        active = self.active
        self._paths = {} if active is None else {active.endpoint: active}

    # -- time -------------------------------------------------------------------------------

    def handle_timeout(self, now: Instant) -> list[DirectPath]:
        """Doubt and forget what is due; returns paths that became doubtful."""
        doubted = []
        self._candidates.expire(now)
        for path in list(self._paths.values()):
            doubt_at = path.doubt_at
            if doubt_at is not None and now >= doubt_at:
                self._doubt(now, path)
                doubted.append(path)
            stale = [t for t, at in path.challenges.items() if now >= at + CHALLENGE_LIFE_S]
            for token in stale:
                del path.challenges[token]
            is_exhausted = path.probes >= len(PROBE_TIMES_S) and path.probe_at is None
            is_old = now >= path.created_at + CANDIDATE_LIFE_S
            is_old &= (path.endpoint.ip, path.endpoint.port) not in self._candidates
            if path.state is PathState.PROBING and is_exhausted and is_old:
                self._forget(path)
        return doubted

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` or `probes_to_send` has something to do."""
        paths = self._paths.values()
        if any(path.answers_due for path in paths):
            return Instant(0.0)
        times = [at for path in paths if (at := path.doubt_at) is not None]
        probe_times = [path.probe_at for path in paths if path.probe_at is not None]
        if probe_times:
            times.append(max(min(probe_times), self._probes.ready_at()))
        return min(times, default=None)

    def probes_to_send(self, now: Instant) -> list[tuple[DirectPath, list[Challenge | Answer]]]:
        """Return the challenges and answers to send now, by path."""
        due: list[tuple[DirectPath, list[Challenge | Answer]]] = []
        is_any_due = self.has_probe_due(now)
        for path in self._paths.values():
            is_due = is_any_due and path.is_probe_due(now, is_another_due=True)
            if not is_due and not path.answers_due:
                continue
            frames: list[Challenge | Answer] = list(path.answers_due)
            path.answers_due = []
            if is_due and self._probes.try_take(now):
                frames.append(self._challenge(now, path))
            if frames and self._may_probe(path, frames):
                due.append((path, frames))
        return due

    def has_probe_due(self, now: Instant) -> bool:
        """Tell whether a challenge is due."""
        return any(path.is_probe_due(now) for path in self._paths.values())

    def probe_along(self, now: Instant) -> None:
        """Probe what is due soon, since something else is probed now."""
        for path in self._paths.values():
            if path.is_probe_due(now, is_another_due=True):
                path.probe_at = now

    def _may_probe(self, path: DirectPath, frames: list[Challenge | Answer]) -> bool:
        """Tell whether an address gets these frames, and count them.

        One that only appeared, perhaps in a packet that somebody passed on, gets no more than
        AMPLIFICATION times what came from it before it answered.
        """
        if path.was_confirmed or path.is_offered:
            return True
        size = MAX_SEALING_SIZE + sum(len(encode(frame)) for frame in frames)
        if path.sent_bytes + size > AMPLIFICATION * path.received_bytes:
            return False
        path.sent_bytes += size
        return True

    def _challenge(self, now: Instant, path: DirectPath) -> Challenge:
        token = self._entropy(TOKEN_SIZE)
        path.challenges[token] = now
        while len(path.challenges) > MAX_CHALLENGES:
            del path.challenges[next(iter(path.challenges))]
        path.probes += 1
        if path.asked_at is None:
            path.asked_at = now
        path.probe_at = path.next_probe_at(now)
        return Challenge(token)

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

    def restart(self, now: Instant, path: DirectPath) -> None:
        """Start a path's model over: the network below it may be another one now.

        What was in flight has been sent elsewhere since it was doubted; only probes can be left.
        """
        path.ledger.all_lost()
        path.search = SizeSearch(now, is_ipv6=":" in path.endpoint.ip)
        self.restart_controller(now, path)

    def restart_controller(self, now: Instant, path: DirectPath) -> None:
        """Forget which rate a path had; what was in flight on it must have been given up."""
        path.controller = DirectController(now, path.search.size, self._peer_buffer)

    def suspect_all(self, now: Instant) -> None:
        """Challenge every path anew: the network may have changed."""
        for path in self._paths.values():
            if not path.was_confirmed:
                self._begin_round(now, path)
                continue
            path.probe_at, path.probes = now, 0
            if path.state is PathState.DOUBTFUL:
                path.doubtful_since = now

    # -- inside -----------------------------------------------------------------------------

    def _pair(self, now: Instant) -> None:
        self._candidates.expire(now)
        for candidate in self._candidates.ranked():
            for lane, is_ipv6 in self._lanes.items():
                endpoint = UdpEndpoint(lane, candidate.ip, candidate.port)
                if is_ipv6 == (":" in candidate.ip) and endpoint not in self._paths:
                    self._add(now, endpoint, is_offered=True)

    def _may_be_probed(self, candidate: Candidate) -> bool:
        return is_probeable(
            candidate,
            allows_loopback=self.allows_loopback,
            allows_link_local=self.allows_link_local,
        )

    def _is_own(self, network: str) -> bool:
        """Tell whether the peer showed that it receives in a network."""
        return any(
            path.was_confirmed and network_of(path.endpoint.ip) == network
            for path in self._paths.values()
        )

    def _add(self, now: Instant, endpoint: UdpEndpoint, is_offered: bool) -> DirectPath | None:
        """Add a path, or return None if there is no room, or no id left: old paths go on then."""
        if self._next_id > LAST_PATH_ID or not self._make_room():
            self._trace("path.refused", {"ids_left": LAST_PATH_ID + 1 - self._next_id})
            return None
        controller = DirectController(now, BASE_DATAGRAM, self._peer_buffer)
        ledger = SentLedger(has_packet_threshold=True)
        search = SizeSearch(now, is_ipv6=":" in endpoint.ip)
        path = DirectPath(self._next_id, endpoint, ledger, controller, search, now, is_offered)
        self._begin_round(now, path)
        self._next_id += 1
        self._paths[endpoint] = path
        return path

    def _begin_round(self, now: Instant, path: DirectPath) -> None:
        path.probes, path.probe_at, path.round_at = 0, now, now

    def _make_room(self) -> bool:
        """See that one more path fits: what never answered goes first, then what was lost."""
        if len(self._paths) < MAX_PATHS:
            return True
        unused = [path for path in self._paths.values() if path.state is not PathState.CONFIRMED]
        if not unused:
            return False

        def worth(path: DirectPath) -> tuple[bool, bool, float]:
            return (path.was_confirmed, path.is_offered, path.last_heard or path.created_at)

        self._forget(min(unused, key=worth))
        return True

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
