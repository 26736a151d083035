"""Gather: what addresses of ours the other side may probe, as they become known.

    interfaces --at once--> host candidates
    STUN servers --answers--> reflexive candidates, asked again while the link lives
    port mappers, the other side's challenges' answers --> more of them

An answer only ever adds a candidate.  This module knows neither sockets nor servers by name: the
driver sends a request to whatever servers it has and hands the answers in.  Source: design §8;
RFC 8445 for the kinds.
"""

from collections.abc import Callable, Iterable

from tunnel.proto.candidates import CandidateKind, is_overlay
from tunnel.proto.stun_evidence import StunEvidence
from tunnel.units import Instant, Seconds
from tunnel.wire.frames import MAX_CANDIDATES, Candidate
from tunnel.wire.stun import TRANSACTION_ID_SIZE

# Chosen: NAT mappings commonly expire at 30 s.
REFRESH_S: Seconds = 25.0
RETRY_TIMES_S = (0.0, 0.1, 0.3)
MAX_OUTSTANDING = 64

StunServer = tuple[str, int]


class Gatherer:
    """Collects our candidates.

    Args:
        now: the beginning.
        entropy: returns that many random bytes.
    """

    def __init__(self, now: Instant, entropy: Callable[[int], bytes]) -> None:
        self.evidence = StunEvidence()
        self._entropy = entropy
        self._hosts: list[Candidate] = []
        self._learned: dict[tuple[int, str, int], Candidate] = {}
        self._outstanding: dict[bytes, tuple[int, Instant]] = {}
        self._turn = 0
        self._ask_at: Instant = now
        self._has_answer = False

    def set_hosts(self, addresses: Iterable[str], port_by_family: dict[bool, int]) -> None:
        """Take the addresses of our interfaces; `port_by_family`: whether IPv6 -> our port."""
        self._hosts = [
            Candidate(CandidateKind.HOST, ip, port_by_family[":" in ip])
            for ip in addresses
            if (":" in ip) in port_by_family
        ]

    def learn(self, kind: CandidateKind, ip: str, port: int) -> bool:
        """Add an address that somebody told us; returns whether it is new."""
        key = (int(kind), ip, port)
        is_new = key not in self._learned
        self._learned[key] = Candidate(kind, ip, port)
        while len(self._learned) > MAX_CANDIDATES:
            del self._learned[next(iter(self._learned))]
        return is_new

    def candidates(self) -> tuple[Candidate, ...]:
        """Return what to tell the other side: public addresses first, overlays last."""
        unique: dict[tuple[str, int], Candidate] = {}
        for candidate in [*reversed(self._learned.values()), *self._hosts]:
            unique.setdefault((candidate.ip, candidate.port), candidate)
        ranked = sorted(unique.values(), key=lambda candidate: is_overlay(candidate.ip))
        return tuple(ranked[:MAX_CANDIDATES])

    def next_timeout(self) -> Instant:
        """Return when servers are to be asked (again)."""
        return self._ask_at

    def requests_to_send(self, now: Instant, servers: int) -> list[tuple[int, bytes]]:
        """Return (server number, transaction id) of the requests that are due."""
        if now < self._ask_at or not servers:
            return []
        self.evidence.asked(now)
        self._turn += 1
        if self._has_answer or self._turn >= len(RETRY_TIMES_S):
            self._turn, self._has_answer = 0, False
            self._ask_at = Instant(now + REFRESH_S)
        else:
            pause_s = RETRY_TIMES_S[self._turn] - RETRY_TIMES_S[self._turn - 1]
            self._ask_at = Instant(now + pause_s)
        requests = []
        for server in range(servers):
            transaction = self._entropy(TRANSACTION_ID_SIZE)
            self._outstanding[transaction] = (server, now)
            requests.append((server, transaction))
        while len(self._outstanding) > MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]
        return requests

    def handle_response(self, transaction: bytes, ip: str, port: int) -> bool:
        """Take a server's answer; returns whether it taught us a new candidate."""
        request = self._outstanding.pop(transaction, None)
        if request is None:
            return False
        server, asked_at = request
        self.evidence.answered(asked_at, 0, server, ip, port)  # IPv4 has one lane
        self._has_answer = True
        return self.learn(CandidateKind.REFLEXIVE, ip, port)

    def ask_now(self, now: Instant) -> None:
        """Ask the servers again: the network has changed."""
        self._turn, self._ask_at = 0, now
