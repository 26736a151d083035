"""StunEvidence: what the answers of STUN servers tell about the network between us and them.

    requests of one lane to several servers, at about the same time
      no answer at all              UDP is blocked, or the servers are away: a single one may be
      two answers, one port         the NAT maps a port of ours alike for every destination
      two answers, two ports        it maps each destination to another port ("symmetric")

Later answers are not compared with earlier ones: the NAT may have been restarted.  It is evidence
for words in a receipt and decides nothing.  Source: RFC 4787, section 4.1; RFC 5780, section 4.3.
"""

from collections.abc import Hashable, Iterable
from enum import Enum

from tunnel.proto.paths.candidates import CandidateKind
from tunnel.units import Instant, Seconds
from tunnel.wire.frames import Candidate

# Chosen: the requests of a round go out within 0.3 s, and few round trips take longer than this.
SILENCE_S: Seconds = 1.5
# Chosen: requests that are repeated belong together.
TOGETHER_S: Seconds = 1.0
# Chosen: two of a family are several; relays come and go for months.
MAX_ASKED = 16


class SeenMapping(Enum):
    """How a NAT chooses the public port, as far as it is known."""

    UNKNOWN = "unknown"
    SHARED = "one port for every destination"
    BY_DESTINATION = "another port for each destination"


class StunEvidence:
    """Keeps the latest answers of IPv4; IPv6 is seldom translated."""

    def __init__(self) -> None:
        self._first_asked_at: Instant | None = None
        self._asked: set[str] = set()  # addresses of servers
        self._has_answer = False
        # lane and server -> when it was asked, and the address that it saw the lane at
        self._seen: dict[tuple[int, Hashable], tuple[Instant, tuple[str, int]]] = {}
        self._mapping = SeenMapping.UNKNOWN

    @property
    def mapping(self) -> SeenMapping:
        """How our NAT maps, by the latest two servers that answered one lane."""
        return self._mapping

    @property
    def has_answer(self) -> bool:
        """Whether a server ever answered."""
        return self._has_answer

    def is_silent(self, now: Instant) -> bool:
        """Tell whether servers were asked and none has ever answered, long enough to say so."""
        asked_at = self._first_asked_at
        return asked_at is not None and not self._has_answer and now >= asked_at + SILENCE_S

    @property
    def asked_several(self) -> bool:
        """Whether several hosts were asked; one may have an address of each family."""
        of_ipv6 = sum(":" in ip for ip in self._asked)
        return max(of_ipv6, len(self._asked) - of_ipv6) > 1

    def asked(self, now: Instant, servers: Iterable[str]) -> None:
        """Note that requests went out to servers at these addresses."""
        if self._first_asked_at is None:
            self._first_asked_at = now
        if len(self._asked) < MAX_ASKED:
            self._asked.update(servers)

    def answered(self, asked_at: Instant, lane: int, server: Hashable, ip: str, port: int) -> None:
        """Note what a server answered to the request that a lane sent at `asked_at`."""
        self._has_answer = True
        if ":" in ip:
            return
        self._seen = {
            key: seen for key, seen in self._seen.items() if asked_at <= seen[0] + TOGETHER_S
        }
        self._seen[lane, server] = (asked_at, (ip, port))
        places = [place for (of, _), (_, place) in self._seen.items() if of == lane]
        if len(places) > 1:
            self._mapping = _mapping_of(places, sockets=1)


def mapping_told(offered: Iterable[Candidate]) -> SeenMapping:
    """Return how a peer's NAT maps, by the addresses that the peer was seen at and told us.

    Each of its sockets may rightly be seen at a port of its own.
    """
    told = [candidate for candidate in offered if ":" not in candidate.ip]
    sockets = {c.port for c in told if c.kind == CandidateKind.HOST}
    seen = [(c.ip, c.port) for c in told if c.kind == CandidateKind.REFLEXIVE]
    # A single address may be what one server saw, or what several agree on.
    many = len(seen) > max(1, len(sockets))
    return _mapping_of(seen, max(1, len(sockets))) if many else SeenMapping.UNKNOWN


def _mapping_of(seen: Iterable[tuple[str, int]], sockets: int) -> SeenMapping:
    """Compare addresses; a server in our own network, which sees another one, tells nothing."""
    ports: dict[str, set[int]] = {}
    for ip, port in seen:
        ports.setdefault(ip, set()).add(port)
    if any(len(each) > sockets for each in ports.values()):
        return SeenMapping.BY_DESTINATION
    return SeenMapping.SHARED if len(ports) == 1 else SeenMapping.UNKNOWN
