"""Gather: what addresses of ours the other side may probe, as they become known.

    interfaces --at once--> host candidates
    STUN servers --answers--> reflexive candidates of the lane that asked
    port mappers --mappings--> mapped candidates
    a port forwarded by hand, at the addresses that servers saw --> mapped candidates
    the other side, as it answers challenges --> more reflexive ones

An answer only ever adds a candidate; what leads to a lane that is closed, or to a mapping that is
lost, is no longer told.  This module knows neither sockets nor servers by name: the driver says
whom to ask, sends the requests and hands the answers in.  Sources: design §8; RFC 8445.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from itertools import islice

from tunnel.proto.machine import Timed
from tunnel.proto.paths.candidates import CandidateKind, is_overlay
from tunnel.proto.paths.lane_plan import LANE_IPV4, LANE_IPV6
from tunnel.proto.paths.stun_evidence import StunEvidence
from tunnel.units import Instant, Seconds
from tunnel.values import frozen
from tunnel.wire.frames import MAX_CANDIDATES, Candidate
from tunnel.wire.stun import TRANSACTION_ID_SIZE

# Chosen: NAT mappings commonly expire at 30 s.
REFRESH_S: Seconds = 25.0
# Chosen: where no server answers, UDP is blocked, and few networks change without a new address.
MAX_REFRESH_S: Seconds = 240.0
RETRY_TIMES_S = (0.0, 0.1, 0.3)
MAX_OUTSTANDING = 64
# Chosen: a symmetric NAT shows another address to everybody; half of what can be told is enough.
MAX_REFLEXIVE = MAX_CANDIDATES // 2
# Chosen: a host of containers has dozens of networks.  The other side remembers what it was told,
# so what is told at once must leave room for what is learned later.
MAX_HOSTS = 10
MAX_FORWARDED = 2
MAX_NEAR_HOSTS = 4  # more, in networks that the other side has an address in too

Interface = IPv4Interface | IPv6Interface


@frozen
class StunQuestion:
    """A STUN server to ask by one of our lanes; `ip` and `port` are the server's."""

    lane: int
    ip: str
    port: int


class Gatherer(Timed):
    """Collects our candidates.

    Args:
        now: the beginning.
        entropy: returns that many random bytes.
        forwarded_port: the port of the lanes that the system routes, where a router forwards the
            same port to this machine; 0 where none does.
    """

    def __init__(
        self, now: Instant, entropy: Callable[[int], bytes], forwarded_port: int = 0
    ) -> None:
        self._forwarded_port = forwarded_port
        self.evidence = StunEvidence()
        self._entropy = entropy
        self._hosts: list[tuple[Interface, Candidate]] = []
        self._seen: dict[tuple[int, str, int], None] = {}  # lane, ip, port; the newest last
        self._mapped: dict[int, Candidate] = {}
        self._outstanding: dict[bytes, tuple[StunQuestion, Instant]] = {}  # and when
        self._answered: set[StunQuestion] = set()  # since they were all asked
        self._turn = 0
        self._ask_at: Instant = now
        self._pause_s = REFRESH_S  # after this round; doubles until a server answers

    def set_hosts(self, addresses: Iterable[tuple[str, int]]) -> bool:
        """Take the addresses of our interfaces; returns whether they are others than before.

        Args:
            addresses: the most useful first, each with its network where that is known
                (10.0.1.2/24), and the port of the lane to use there.
        """
        before, self._hosts = self._hosts, []
        for text, port in addresses:
            interface = ip_interface(text)
            host = Candidate(CandidateKind.HOST, str(interface.ip), port)
            self._hosts.append((interface, host))
        return self._hosts != before

    def learn(self, lane: int, ip: str, port: int) -> bool:
        """Add an address that a lane was seen at; returns whether it is new."""
        key = (lane, ip, port)
        is_new = key not in self._seen
        self._seen.pop(key, None)
        self._seen[key] = None
        while len(self._seen) > MAX_REFLEXIVE:
            del self._seen[next(iter(self._seen))]
        return is_new

    def set_mapping(self, lane: int, place: tuple[str, int] | None) -> bool:
        """Take where a lane is mapped to, None for nowhere any more; returns whether it is news."""
        before = self._mapped.pop(lane, None)
        if place is not None:
            self._mapped[lane] = Candidate(CandidateKind.MAPPED, *place)
        return self._mapped.get(lane) not in (None, before)

    def forget_lane(self, lane: int) -> None:
        """Tell nobody any more how a lane that is closed was reached."""
        self._seen = {key: None for key in self._seen if key[0] != lane}
        self._mapped.pop(lane, None)

    def candidates(
        self, told: Iterable[Candidate] = (), *, is_on_loopback: bool = False
    ) -> tuple[Candidate, ...]:
        """Return what to tell the other side: the likeliest first, overlays last.

        Args:
            told: what the other side told us.
            is_on_loopback: whether both sides are on this machine, as far as is known.
        """
        newest_first = reversed(self._seen)
        seen = (Candidate(CandidateKind.REFLEXIVE, ip, port) for _, ip, port in newest_first)
        unique: dict[tuple[str, int], Candidate] = {}
        hosts = self._told_hosts(told, is_on_loopback)
        for candidate in [*self._forwarded(), *self._mapped.values(), *seen, *hosts]:
            unique.setdefault((candidate.ip, candidate.port), candidate)
        ranked = sorted(unique.values(), key=lambda candidate: is_overlay(candidate.ip))
        return tuple(ranked[:MAX_CANDIDATES])

    def _forwarded(self) -> list[Candidate]:
        """Return the forwarded port at each address that its lanes were seen at, the newest first.

        A symmetric NAT shows many ports of few addresses.
        """
        if not self._forwarded_port:
            return []
        seen = [ip for lane, ip, _ in reversed(self._seen) if lane in (LANE_IPV4, LANE_IPV6)]
        places = list(dict.fromkeys(seen))[:MAX_FORWARDED]
        return [Candidate(CandidateKind.MAPPED, ip, self._forwarded_port) for ip in places]

    def _told_hosts(self, told: Iterable[Candidate], is_on_loopback: bool) -> list[Candidate]:
        """Return the hosts worth a place: the most useful ones, and some near the other side."""
        loopback = [host for interface, host in self._hosts if interface.is_loopback]
        usable = [each for each in self._hosts if not each[0].is_loopback]
        hosts = [host for _, host in usable[:MAX_HOSTS]]
        theirs = [ip_address(candidate.ip) for candidate in told]
        near = (
            host
            for interface, host in usable[MAX_HOSTS:]
            if any(ip in interface.network for ip in theirs)
        )
        hosts += islice(near, MAX_NEAR_HOSTS)
        return loopback[:MAX_NEAR_HOSTS] + hosts if is_on_loopback else hosts

    def next_timeout(self) -> Instant:
        """Return when servers are to be asked (again)."""
        return self._ask_at

    def requests_to_send(
        self, now: Instant, questions: Sequence[StunQuestion]
    ) -> list[tuple[StunQuestion, bytes]]:
        """Return what to ask now, with transaction ids; repeated is what went unanswered.

        With nobody to ask, as while no relay is connected, the round is over until the refresh;
        whoever learns of a server meanwhile calls `ask_now`.
        """
        if now < self._ask_at:
            return []
        if not questions:
            self._turn, self._ask_at = 0, Instant(now + self._pause_s)
            return []
        self.evidence.asked(now, {question.ip for question in questions})
        if self._turn == 0:
            self._answered.clear()
        due = [question for question in questions if question not in self._answered]
        self._turn += 1
        if not due or self._turn >= len(RETRY_TIMES_S):
            self._turn = 0
            self._ask_at = Instant(now + self._pause_s)
            self._pause_s = min(2 * self._pause_s, MAX_REFRESH_S)
        else:
            pause_s = RETRY_TIMES_S[self._turn] - RETRY_TIMES_S[self._turn - 1]
            self._ask_at = Instant(now + pause_s)
        return [(question, self._open(now, question)) for question in due]

    def handle_response(
        self, lane: int, transaction: bytes, ip: str, port: int
    ) -> StunQuestion | None:
        """Take a server's answer; returns its question if it taught us a new candidate."""
        question, asked_at = self._outstanding.get(transaction, (None, self._ask_at))
        if question is None or question.lane != lane:
            return None
        del self._outstanding[transaction]
        self._answered.add(question)
        self._pause_s = REFRESH_S
        self.evidence.answered(asked_at, lane, (question.ip, question.port), ip, port)
        return question if self.learn(lane, ip, port) else None

    def ask_now(self, now: Instant) -> None:
        """Ask the servers again: the network has changed."""
        self._turn, self._ask_at, self._pause_s = 0, now, REFRESH_S

    def _open(self, now: Instant, question: StunQuestion) -> bytes:
        transaction = self._entropy(TRANSACTION_ID_SIZE)
        self._outstanding[transaction] = (question, now)
        while len(self._outstanding) > MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]
        return transaction
