"""PathTable: the direct paths of one link: which there are, how many, and which one data takes.

    candidates, packets from new addresses --> paths --> who is challenged, who is doubted
                                                    --> which one data takes

What is true of one path, and what changes that: `tunnel.proto.paths.direct_path`.  A packet from a
new address makes a new path, which is challenged like any other: nothing moves before the answer.
Source: design, section 8; RFC 9000, sections 8 and 9, for the shape.
"""

from collections.abc import Callable, Iterator

from tunnel.proto.machine import Trace, UdpEndpoint
from tunnel.proto.paths.candidates import (
    CANDIDATE_LIFE_S,
    PeerCandidates,
    is_probeable,
    network_of,
)
from tunnel.proto.paths.direct_path import DirectPath
from tunnel.proto.token_bucket import Allowance, TokenBucket, Window
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire.frames import MAX_CANDIDATES, TOKEN_SIZE, Answer, Candidate, Challenge

# Fixed by the protocol.
FIRST_PATH_ID = 1
LAST_PATH_ID = 0xFFFF
# Chosen (design, section 8).
PROBES_PER_S = 40  # in any second
MAX_PATHS = 2 * MAX_CANDIDATES
# Chosen: addresses that appear by themselves.  Each costs an id, and whoever can pass packets on
# from any address makes them appear as fast as it likes.
NEWCOMERS = Allowance(rate=1.0, burst=8.0)
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
        trace: Trace,
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
            path.begin_round_again(now)

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
                self.active.probe_now(now)  # does the old address still answer?
        path.heard(now, size)
        active = self.active
        if active is not None and active is not path and active.is_silent(now):
            active.probe_now(now)
        return path

    def handle_receive_buffer(self, size: ByteCount) -> None:
        """Take what the peer told of its receive buffer: bytes that may wait there."""
        self._peer_buffer = size
        for path in self._paths.values():
            path.set_peer_buffer(size)

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
                path.doubt(now)
                doubted.append(path)
            path.expire_challenges(now)
            if path.has_never_answered and not self._is_awaited(now, path):
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
            frames = path.take_answers()
            if is_due and self._probes.try_take(now):
                frames.append(path.challenge(now, self._entropy(TOKEN_SIZE)))
            if frames and path.may_probe(frames):
                due.append((path, frames))
        return due

    def has_probe_due(self, now: Instant) -> bool:
        """Tell whether a challenge is due."""
        return any(path.is_probe_due(now) for path in self._paths.values())

    def probe_along(self, now: Instant) -> None:
        """Probe what is due soon, since something else is probed now."""
        for path in self._paths.values():
            if path.is_probe_due(now, is_another_due=True):
                path.probe_now(now)

    # -- choice -----------------------------------------------------------------------------

    def choose(self, now: Instant) -> DirectPath | None:
        """Return the path that data takes now, None for the relay; counts moves off the relay."""
        usable = [path for path in self._paths.values() if path.is_usable]
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
        """Challenge every path anew: the network may have changed."""
        for path in self._paths.values():
            path.suspect(now)

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
        about = (now, is_offered, self._peer_buffer, self._trace)
        path = DirectPath(self._next_id, endpoint, *about)
        self._next_id += 1
        self._paths[endpoint] = path
        return path

    def _is_awaited(self, now: Instant, path: DirectPath) -> bool:
        """Tell whether a path may still answer, though it never did: it is young, or offered."""
        is_young = now < path.created_at + CANDIDATE_LIFE_S
        return is_young or (path.endpoint.ip, path.endpoint.port) in self._candidates

    def _make_room(self) -> bool:
        """See that one more path fits: what never answered goes first, then what was lost."""
        if len(self._paths) < MAX_PATHS:
            return True
        unused = [path for path in self._paths.values() if not path.is_usable]
        if not unused:
            return False

        def worth(path: DirectPath) -> tuple[bool, bool, float]:
            return (path.was_confirmed, path.is_offered, path.last_heard or path.created_at)

        self._forget(min(unused, key=worth))
        return True

    def _forget(self, path: DirectPath) -> None:
        self._paths.pop(path.endpoint, None)
        path.retire()
        if self.active is path:
            self.active = None
