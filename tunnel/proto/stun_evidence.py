"""StunEvidence: what the answers of STUN servers tell about the network between us and them.

    requests of one round, to several servers, from one port
      no answer at all              UDP is blocked, or the servers are away
      two answers, one port         the NAT maps a port of ours alike for every destination
      two answers, two ports        it maps each destination to another port ("symmetric")

Only answers of one round are compared: between rounds a NAT may have been restarted.  It is
evidence for words in a receipt and decides nothing.  Source: RFC 4787, section 4.1, and RFC 5780,
section 4.3.
"""

from collections.abc import Hashable, Iterable
from enum import Enum

from tunnel.proto.candidates import CandidateKind
from tunnel.units import Instant, Seconds
from tunnel.wire.frames import Candidate

# Chosen: the requests of a round go out within 0.3 s, and few round trips take longer than this.
SILENCE_S: Seconds = 1.5


class Mapping(Enum):
    """How a NAT chooses the public port, as far as it is known."""

    UNKNOWN = "unknown"
    SHARED = "one port for every destination"
    BY_DESTINATION = "another port for each destination"


class StunEvidence:
    """Keeps the answers of the latest round, to one lane of IPv4: IPv6 is seldom translated."""

    def __init__(self) -> None:
        self._first_asked_at: Instant | None = None
        self._has_answer = False
        self._round: Instant | None = None
        self._seen: dict[Hashable, tuple[str, int]] = {}  # server -> the address it saw us at
        self._mapping = Mapping.UNKNOWN

    @property
    def mapping(self) -> Mapping:
        """How our NAT maps, by the latest round that two servers answered."""
        return self._mapping

    @property
    def has_answer(self) -> bool:
        """Whether a server ever answered."""
        return self._has_answer

    def is_silent(self, now: Instant) -> bool:
        """Tell whether servers were asked and none has ever answered, long enough to say so."""
        asked_at = self._first_asked_at
        return asked_at is not None and not self._has_answer and now >= asked_at + SILENCE_S

    def asked(self, now: Instant) -> None:
        """Note that requests went out."""
        if self._first_asked_at is None:
            self._first_asked_at = now

    def answered_elsewhere(self) -> None:
        """Note an answer by IPv6, or by another way out: what it shows is not compared."""
        self._has_answer = True

    def answered(self, asked_at: Instant, server: Hashable, ip: str, port: int) -> None:
        """Note what a server answered to a request of the round that began at `asked_at`."""
        self._has_answer = True
        if ":" in ip:
            return
        if asked_at != self._round:
            self._round, self._seen = asked_at, {}
        self._seen[server] = (ip, port)
        if len(self._seen) > 1:
            self._mapping = _mapping_of(self._seen.values())


def mapping_told(offered: Iterable[Candidate]) -> Mapping:
    """Return how a peer's NAT maps, by the addresses that the peer was seen at and told us."""
    seen = [
        (candidate.ip, candidate.port)
        for candidate in offered
        if candidate.kind == CandidateKind.REFLEXIVE and ":" not in candidate.ip
    ]
    # A single address may be what one server saw, or what several agree on.
    return _mapping_of(seen) if len(seen) > 1 else Mapping.UNKNOWN


def _mapping_of(seen: Iterable[tuple[str, int]]) -> Mapping:
    """Compare addresses; a server in our own network, which sees another one, tells nothing."""
    ports: dict[str, set[int]] = {}
    for ip, port in seen:
        ports.setdefault(ip, set()).add(port)
    if any(len(each) > 1 for each in ports.values()):
        return Mapping.BY_DESTINATION
    return Mapping.SHARED if len(ports) == 1 else Mapping.UNKNOWN
