"""How the NAT before us treats UDP: the questions of RFC 5780 to STUN servers, sans-IO.

    lane 0   every server A1:P1, B1:P1     where do they see us?             -> mapping
             A2:P1 and A2:P2               the same, where one told OTHER-ADDRESS
    lane 1   A1:P1, then with a change:    who may send to us?               -> filtering
             A2:P2 is heard                   everybody
             A1:P2 is heard                   addresses that we have sent to
             neither                          addresses and ports that we have sent to
    both     each to the other's public address                              -> hairpin

Lane 1 never sends to A2, which would open the very door that is tried.  An answer counts only from
the address that it must come from, to the lane and transaction that asked.  Names of behaviours:
RFC 4787 sections 4.1 and 5; the order of the questions: RFC 5780 section 4.  This module knows
neither sockets nor relays.
"""

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from ipaddress import ip_address

from tunnel.errors import DecodeError
from tunnel.proto.machine import Timed
from tunnel.units import Instant, Seconds
from tunnel.values import frozen
from tunnel.wire import stun
from tunnel.wire.stun import Change, SocketAddress

# Chosen: a question is sent after none, the first, the second ... of these waits; the last is for
# the answer.  2 s in all suit a satellite, and four datagrams a network that loses every tenth;
# where a round trip is known to take longer than SLOW_S, they grow with it.
WAITS_S = (0.2, 0.3, 0.5, 1.0)
SLOW_S: Seconds = 1.0
HAIRPIN_WAITS_S = (0.1, 0.1, 0.3)  # one hop to the router and back
MAX_SERVERS = 4
MAPPING_LANE, FILTERING_LANE = 0, 1
LANES = 2


class Mapping(Enum):
    """How the public port is chosen."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    DEPENDENT = "destination-dependent"  # on the address, and perhaps on the port too
    UNKNOWN = "unknown"

    @property
    def is_dependent(self) -> bool:
        """Whether peers find us at another port than STUN servers do."""
        return self not in (Mapping.ENDPOINT_INDEPENDENT, Mapping.UNKNOWN)


class Filtering(Enum):
    """Whose packets come in."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    UNKNOWN = "unknown"


@frozen
class Outgoing:
    """A datagram to send by a lane."""

    lane: int
    to: SocketAddress
    data: bytes


@frozen
class ServerAnswer:
    """Where a server saw us; None where it did not answer."""

    server: SocketAddress
    seen_at: SocketAddress | None


@frozen
class NatFindings:
    """What the questions of one address family came to.

    Args:
        answers: one for each server that was asked at first.
        local_port: of the socket that asked.
        mapping: how the public port is chosen.
        filtering: whose packets come in; needs a server with OTHER-ADDRESS.
        is_translated: whether our address is changed on the way; None without an answer.
        keeps_port: whether the public port is our own; None without an answer.
        hairpin: whether the NAT turns packets for its own mappings back; None where it is not
            known or where there is no NAT.
    """

    answers: tuple[ServerAnswer, ...]
    local_port: int
    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    is_translated: bool | None = None
    keeps_port: bool | None = None
    hairpin: bool | None = None

    @property
    def is_udp_working(self) -> bool:
        """Whether a datagram went out and an answer came back."""
        return bool(self.public)

    @property
    def public(self) -> tuple[SocketAddress, ...]:
        """Where servers saw us, each place once."""
        seen = [answer.seen_at for answer in self.answers if answer.seen_at is not None]
        return tuple(dict.fromkeys(seen))


class _Outcome(Enum):
    OPEN = "asked, or about to be"
    ANSWERED = "answered from where the answer must come from"
    IGNORED = "answered as if no change had been asked for, or refused"
    SILENT = "asked as often as planned, and not answered"


class _Question:
    """One request, repeated until it is answered."""

    def __init__(
        self,
        now: Instant,
        lane: int,
        to: SocketAddress,
        transaction_id: bytes,
        change: Change = Change.NOTHING,
        answers_from: SocketAddress | None = None,
        waits_s: Sequence[Seconds] = WAITS_S,
    ) -> None:
        self.lane = lane
        self.to = to
        self.answers_from = answers_from or to
        self.data = stun.encode_binding_request(transaction_id, change)
        self.outcome = _Outcome.OPEN
        self.seen_at: SocketAddress | None = None
        self.due_at = now
        self._waits_s = waits_s
        self._sent = 0

    def take_turn(self, now: Instant) -> bool:
        """Tell whether to send now; what was sent often enough ends instead."""
        if self.outcome is not _Outcome.OPEN or now < self.due_at:
            return False
        if self._sent == len(self._waits_s):
            self.outcome = _Outcome.SILENT
            return False
        self.due_at = Instant(now + self._waits_s[self._sent])
        self._sent += 1
        return True


class NatCheck(Timed):
    """Asks the STUN servers of one address family from two sockets, and draws the conclusions.

    Args:
        now: the beginning.
        servers: STUN servers, the nearest first; at most `MAX_SERVERS` of them are asked.
        local_ports: the ports of both lanes.
        local_addresses: this machine's addresses.
        entropy: returns that many random bytes.
        round_trip_s: how long answers take, if that is known to be long.
    """

    def __init__(
        self,
        now: Instant,
        servers: Sequence[SocketAddress],
        local_ports: tuple[int, int],
        local_addresses: Collection[str],
        entropy: Callable[[int], bytes],
        round_trip_s: Seconds = 0.0,
    ) -> None:
        self._waits_s = [wait_s * max(1.0, round_trip_s / SLOW_S) for wait_s in WAITS_S]
        self._local_ports = local_ports
        self._local_addresses = frozenset(local_addresses)
        self._entropy = entropy
        self._questions: dict[bytes, _Question] = {}
        self._hairpins: dict[bytes, _Question] = {}
        self._is_turned_back = False
        self._other_by_server: dict[SocketAddress, SocketAddress] = {}
        self._other: SocketAddress | None = None  # of the server whose changes are tried
        self._opener: _Question | None = None  # lane 1's plain question to that server
        self._base: _Question | None = None  # lane 1's first plain question, to any server
        self._both: _Question | None = None  # answered from another address and port
        self._port: _Question | None = None  # answered from another port
        self.dropped = 0
        usual = dict.fromkeys((str(ip_address(ip)), port) for ip, port in servers)
        asked = list(usual)[:MAX_SERVERS]
        self._servers = [self._ask(now, MAPPING_LANE, server) for server in asked]

    # -- in and out -------------------------------------------------------------------------

    def datagrams_to_send(self, now: Instant) -> list[Outgoing]:
        """Return the requests that are due."""
        questions = (*self._questions.values(), *self._hairpins.values())
        return [
            Outgoing(each.lane, each.to, each.data) for each in questions if each.take_turn(now)
        ]

    def handle_datagram(self, now: Instant, lane: int, data: bytes, source: SocketAddress) -> None:
        """Take what came to a lane; what nobody asked for is dropped and counted."""
        if not (self._note_response(lane, data, source) or self._note_turned_back(lane, data)):
            self.dropped += 1
            return
        self._go_on(now)

    def next_timeout(self) -> Instant | None:
        """Return when to send, or to look again; None when everything is known."""
        questions = (*self._questions.values(), *self._hairpins.values())
        due = [each.due_at for each in questions if each.outcome is _Outcome.OPEN]
        return min(due, default=None)

    def findings(self) -> NatFindings:
        """Return what is known by now."""
        answers = tuple(ServerAnswer(each.to, each.seen_at) for each in self._servers)
        asked = self._lane_questions(MAPPING_LANE)
        seen = [each for each in asked if each.seen_at is not None]
        port = self._local_ports[MAPPING_LANE]
        if not seen:
            return NatFindings(answers, port)
        is_translated = any(not self._is_ours(each) for each in seen)
        return NatFindings(
            answers,
            port,
            self._mapping() if is_translated else Mapping.ENDPOINT_INDEPENDENT,
            self._filtering(),
            is_translated,
            all(each.seen_at is not None and each.seen_at[1] == port for each in seen),
            self._hairpin(),
        )

    # -- asking -----------------------------------------------------------------------------

    def _ask(
        self,
        now: Instant,
        lane: int,
        to: SocketAddress,
        change: Change = Change.NOTHING,
        answers_from: SocketAddress | None = None,
    ) -> _Question:
        transaction_id = self._entropy(stun.TRANSACTION_ID_SIZE)
        waits_s = self._waits_s
        question = _Question(now, lane, to, transaction_id, change, answers_from, waits_s)
        self._questions[transaction_id] = question
        return question

    def _note_response(self, lane: int, data: bytes, source: SocketAddress) -> bool:
        """Take an answer; tell whether it is one to an open question of ours."""
        try:
            response = stun.decode_binding_response(data)
        except DecodeError:
            return self._note_error(lane, data, source)
        question = self._open_question(lane, response.transaction_id)
        if question is None or source not in (question.answers_from, question.to):
            return False
        if source != question.answers_from:
            question.outcome = _Outcome.IGNORED
            return True
        question.outcome = _Outcome.ANSWERED
        question.seen_at = (response.address, response.port)
        if response.other is not None and question in self._servers:
            self._other_by_server.setdefault(question.to, response.other)
        return True

    def _note_error(self, lane: int, data: bytes, source: SocketAddress) -> bool:
        try:
            refusal = stun.decode_binding_error(data)
        except DecodeError:
            return False
        question = self._open_question(lane, refusal.transaction_id)
        if question is None or source != question.to:
            return False
        question.outcome = _Outcome.IGNORED
        return True

    def _open_question(self, lane: int, transaction_id: bytes) -> _Question | None:
        question = self._questions.get(transaction_id)
        if question is None or question.lane != lane or question.outcome is not _Outcome.OPEN:
            return None
        return question

    def _go_on(self, now: Instant) -> None:
        """Ask what the answers so far make possible."""
        answered = [each for each in self._servers if each.outcome is _Outcome.ANSWERED]
        if self._base is None and answered:
            self._base = self._ask(now, FILTERING_LANE, answered[0].to)
        if self._other is None:
            self._choose_other(now)
        if self._opener is not None and self._opener.outcome is _Outcome.ANSWERED:
            self._ask_for_changes(now, self._opener.to)
        base = self._base
        if base is None or base.seen_at is None or self._hairpins or self._is_ours(answered[0]):
            return
        self._try_hairpin(now, answered[0], base)

    def _choose_other(self, now: Instant) -> None:
        """Take the first server with another address that lane 1 has never sent to."""
        for server, other in self._other_by_server.items():
            knocked = {each.to[0] for each in self._lane_questions(FILTERING_LANE)}
            if other[0] in knocked or not may_be_other(server, other):
                continue
            self._other = other
            is_asked = self._base is not None and self._base.to == server
            self._opener = self._base if is_asked else self._ask(now, FILTERING_LANE, server)
            asked = {each.to for each in self._lane_questions(MAPPING_LANE)}
            for port in (server[1], other[1]):
                if (other[0], port) not in asked:
                    self._ask(now, MAPPING_LANE, (other[0], port))
            return

    def _ask_for_changes(self, now: Instant, server: SocketAddress) -> None:
        if self._both is not None or self._other is None:
            return
        both, beside = Change.ADDRESS | Change.PORT, (server[0], self._other[1])
        self._both = self._ask(now, FILTERING_LANE, server, both, self._other)
        self._port = self._ask(now, FILTERING_LANE, server, Change.PORT, beside)

    def _try_hairpin(self, now: Instant, first: _Question, base: _Question) -> None:
        """Let each lane send to the other's public address: so no filter is in the way."""
        for lane, target in ((MAPPING_LANE, base.seen_at), (FILTERING_LANE, first.seen_at)):
            assert target is not None, "both were answered"
            token = self._entropy(stun.TRANSACTION_ID_SIZE)
            self._hairpins[token] = _Question(now, lane, target, token, waits_s=HAIRPIN_WAITS_S)

    def _note_turned_back(self, lane: int, data: bytes) -> bool:
        """Take a request of our own that came back to the other lane."""
        try:
            token = stun.decode_binding_request(data).transaction_id
        except DecodeError:
            return False
        sent = self._hairpins.get(token)
        if sent is None or sent.lane == lane:
            return False
        self._is_turned_back = True
        for each in self._hairpins.values():
            each.outcome = _Outcome.ANSWERED
        return True

    # -- conclusions ------------------------------------------------------------------------

    def _lane_questions(self, lane: int) -> list[_Question]:
        return [each for each in self._questions.values() if each.lane == lane]

    def _is_ours(self, question: _Question) -> bool:
        seen_at = question.seen_at
        local_port = self._local_ports[question.lane]
        return seen_at is not None and (
            seen_at[0] in self._local_addresses and seen_at[1] == local_port
        )

    def _mapping(self) -> Mapping:
        asked = self._lane_questions(MAPPING_LANE)
        return mapping_of({each.to: each.seen_at for each in asked if each.seen_at is not None})

    def _filtering(self) -> Filtering:
        if self._both is None or self._port is None:
            return Filtering.UNKNOWN
        both, port = self._both.outcome, self._port.outcome
        if both is _Outcome.ANSWERED:
            return Filtering.ENDPOINT_INDEPENDENT
        if both is not _Outcome.SILENT:
            return Filtering.UNKNOWN
        if port is _Outcome.ANSWERED:
            return Filtering.ADDRESS_DEPENDENT
        is_told = port is _Outcome.SILENT
        return Filtering.ADDRESS_AND_PORT_DEPENDENT if is_told else Filtering.UNKNOWN

    def _hairpin(self) -> bool | None:
        if self._is_turned_back:
            return True
        is_over = all(each.outcome is _Outcome.SILENT for each in self._hairpins.values())
        # Where destinations see different ports, what was knocked at was no port of the other lane.
        is_told = self._mapping() is Mapping.ENDPOINT_INDEPENDENT and bool(self._hairpins)
        return False if is_told and is_over else None


def mapping_of(seen_by_server: dict[SocketAddress, SocketAddress]) -> Mapping:
    """Return what the places say where servers saw one and the same socket."""
    by_ip: dict[str, set[SocketAddress]] = {}
    ports_by_ip: dict[str, int] = {}
    for (ip, _), seen_at in seen_by_server.items():
        by_ip.setdefault(ip, set()).add(seen_at)
        ports_by_ip[ip] = ports_by_ip.get(ip, 0) + 1
    if any(len(places) > 1 for places in by_ip.values()):
        return Mapping.ADDRESS_AND_PORT_DEPENDENT
    if len(by_ip) < 2:
        return Mapping.UNKNOWN
    if len(set(seen_by_server.values())) == 1:
        return Mapping.ENDPOINT_INDEPENDENT
    is_port_tried = any(count > 1 for count in ports_by_ip.values())
    return Mapping.ADDRESS_DEPENDENT if is_port_tried else Mapping.DEPENDENT


def may_be_other(server: SocketAddress, other: SocketAddress) -> bool:
    """Tell whether what a server calls its other address may be asked.

    Both address and port must differ; and a server of the internet must not aim our datagrams at
    our own network or at groups.
    """
    here, there = ip_address(server[0]), ip_address(other[0])
    if here.version != there.version or here == there or server[1] == other[1] or not other[1]:
        return False
    refused = (there.is_unspecified, there.is_multicast, there.is_link_local)
    if any(refused) or (there.version == 4 and int(there) == 0xFFFFFFFF):
        return False
    return (there.is_global or not here.is_global) and there.is_loopback == here.is_loopback
