"""Issuer: answers claims, gives out places and routes sealed packets to links; without I/O.

    claim, good MAC --> decision, one pending link     nothing is taken by a claim alone
    first sealed packet of a pending link --> knock
        a place is free                    --> admitted
        its own instance holds a place     --> the old link is replaced
        others hold them all               --> they are pinged for PROBE_S:
            all answer                     --> the newcomer is closed with IN_USE
            one is silent                  --> it is replaced

Only claims with a good MAC cost anything or count for the limits; what they may do was decided by
the `Gate`.  Nothing is revealed to one without the secret.  Source: design, sections 4 and 5.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from tunnel.crypto.aead import choose_aead
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey, Secret
from tunnel.errors import AuthenticationFailed, DecodeError
from tunnel.proto.congestion import RELAY_GRANT_MINIMUM, RELAY_GRANT_TOTAL
from tunnel.proto.handshake import (
    SUPPORTED_FEATURES,
    Feature,
    IncomingClaim,
    Meeting,
    check_mac,
    open_header,
)
from tunnel.proto.link import PeerLink
from tunnel.proto.link_events import LinkParameters, Trace
from tunnel.proto.machine import RelayEndpoint, Transmit, UdpEndpoint
from tunnel.proto.received_burst import ReceivedBurst
from tunnel.proto.token_bucket import Allowance, Buckets, TokenBucket
from tunnel.units import Instant, Seconds, WallTime
from tunnel.wire import packet as layout
from tunnel.wire.handshake import (
    ACCEPTED,
    Claim,
    DecisionPayload,
    decode_message,
    is_handshake,
)

# Fixed by the protocol: close codes of this machine.
IN_USE = 2
REPLACED = 3
# Chosen (design, section 5).
CLAIMS = Allowance(rate=20.0, burst=20.0)
CLAIMS_OF_GRANT = Allowance(rate=4.0, burst=4.0)
MAX_PENDING = 64
MAX_PENDING_OF_GRANT = 8
PENDING_S = 30.0
PROBE_S = 2.0
# Chosen: grants whose claim rate is remembered; the least recent goes.
MAX_RATED_GRANTS = 256


class Gate(Protocol):
    """What the owner decides: a pure mapping from claim headers to secrets and verdicts."""

    def secret(self, header: bytes) -> bytes | None:
        """Return the 16-byte secret of the grant a header names, or None if there is none."""

    def grant_id(self, header: bytes) -> bytes:
        """Return what the limits of one grant are counted by."""

    def verdict(self, header: bytes, instance: bytes, wall: WallTime) -> int:
        """Return ACCEPTED or a reason of refusal; called only after the MAC was checked."""


@dataclass(frozen=True, slots=True)
class IssuerIdentity:
    """Who we are.

    Args:
        static: the Noise key pair of the token.
        derp: the DERP public key of the token.
        features: what we want and can do.
        fast_aeads: bit set, see `tunnel.crypto.aead.fast_aeads`.
        places: how many links may live at once.
        give_up_after_s: see `LinkParameters`.
    """

    static: KeyPair
    derp: DerpKey
    features: Feature
    fast_aeads: int
    places: int = 1
    give_up_after_s: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class LinkAdmitted:
    """A claimer has a place; its link may be used."""

    link: PeerLink
    header: bytes
    instance: bytes


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """A claim with a good MAC was refused: by the gate, or since every place is taken."""

    verdict: int


IssuerEvent = LinkAdmitted | ClaimRefused


class LinkState(IntEnum):
    """What is true of a link the issuer knows."""

    PENDING = 0  # decided, and never heard
    KNOCKING = 1  # heard, while the holders are asked whether they live
    ADMITTED = 2


@dataclass(frozen=True, slots=True, repr=False)
class _Arrival:
    """A claim whose MAC is good, and how it came."""

    now: Instant
    wall: WallTime
    relay: int
    meeting: Meeting
    header: bytes
    secret: bytes
    claim: Claim
    data: bytes
    grant: bytes


@dataclass(slots=True)
class _Entry:
    """A claim that was answered, and its link if it was accepted."""

    arrival: _Arrival
    decision: bytes
    instance: bytes
    index: int
    link: PeerLink | None = None
    state: LinkState = LinkState.PENDING
    knocked_at: Instant | None = None

    @property
    def claim(self) -> bytes:
        """The claim's bytes."""
        return self.arrival.data

    @property
    def claimer(self) -> DerpKey:
        """Who sent it."""
        return self.arrival.meeting.claimer_derp

    @property
    def created_at(self) -> Instant:
        """When it was answered."""
        return self.arrival.now


class Issuer:
    """The issuer's side of meeting.

    Args:
        identity: who we are.
        gate: who may come.
        entropy: returns that many random bytes.
        is_polite: tells of a relay, by its number, whether it is a public one.
        trace: see `PeerLink`.
    """

    def __init__(
        self,
        identity: IssuerIdentity,
        gate: Gate,
        entropy: Callable[[int], bytes],
        is_polite: Callable[[int], bool],
        trace: Trace,
    ) -> None:
        self.relays_up: set[int] = set()
        self.may_replace = True  # whether a silent holder loses its place to a newcomer
        self._identity = identity
        self._gate = gate
        self._entropy = entropy
        self._is_polite = is_polite
        self._trace = trace
        self._pending: OrderedDict[tuple[bytes, DerpKey], _Entry] = OrderedDict()
        self._by_index: dict[int, _Entry] = {}
        self._answers: deque[Transmit] = deque(maxlen=MAX_PENDING)
        self._events: deque[IssuerEvent] = deque()
        self._claims = TokenBucket(CLAIMS, Instant(0))
        self._claims_of_grant: Buckets[bytes] = Buckets(CLAIMS_OF_GRANT, MAX_RATED_GRANTS)

    # -- queries ----------------------------------------------------------------------------

    @property
    def links(self) -> list[PeerLink]:
        """The admitted links that are not closed."""
        return [link for _, link in self._held()]

    def next_event(self) -> IssuerEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    def _held(self) -> list[tuple[_Entry, PeerLink]]:
        return [
            (entry, entry.link)
            for entry in self._by_index.values()
            if entry.state is LinkState.ADMITTED and entry.link and not entry.link.is_closed
        ]

    # -- what comes in ----------------------------------------------------------------------

    def handle_packet(
        self, now: Instant, wall: WallTime, relay: int, source: DerpKey, data: memoryview
    ) -> None:
        """Take a packet that `relay` delivered from `source`."""
        if is_handshake(data):
            self._handle_handshake(now, wall, relay, source, data)
            return
        entry = self._entry_of(data)
        if entry is None or entry.link is None or entry.claimer != source:
            return
        if entry.link.handle_packet(now, relay, data) and entry.state is LinkState.PENDING:
            self._knock(now, entry)

    def handle_datagrams(self, now: Instant, origin: UdpEndpoint, burst: ReceivedBurst) -> None:
        """Take what came by UDP; only links that have a place use direct paths."""
        entries = [self._entry_of(datagram) for datagram in burst.datagrams()]
        first = entries[0]
        if first is not None and all(entry is first for entry in entries):
            if first.link is not None and first.state is LinkState.ADMITTED:
                first.link.handle_burst(now, origin, burst)
            return
        for entry, datagram in zip(entries, burst.datagrams(), strict=True):
            if entry is not None and entry.link and entry.state is LinkState.ADMITTED:
                entry.link.handle_packet(now, origin, datagram)

    def _entry_of(self, data: memoryview) -> _Entry | None:
        if len(data) < layout.GENERAL_HEADER_SIZE:
            return None
        return self._by_index.get(layout.decode_general_header(data)[3])

    def handle_peer_gone(self, now: Instant, relay: int, key: DerpKey) -> None:
        """Ping at once, over every relay, whom a relay says is gone; a hint, never an end."""
        del now, relay
        for entry, link in self._held():
            if entry.claimer == key:
                link.search()

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is up, the first time or again."""
        self.relays_up.add(relay)
        for _, link in self._held():
            link.handle_relay_up(now, relay)

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is down, or could not be made."""
        self.relays_up.discard(relay)
        for _, link in self._held():
            link.handle_relay_down(now, relay)

    def _handle_handshake(
        self, now: Instant, wall: WallTime, relay: int, source: DerpKey, data: memoryview
    ) -> None:
        identity = self._identity
        noise_public = NoiseKey(identity.static.public)
        try:
            claim = decode_message(data)
            if not isinstance(claim, Claim):
                return
            header = open_header(noise_public, claim)
            secret = self._gate.secret(header)
            if secret is None:
                return
            meeting = Meeting(noise_public, identity.derp, source)
            check_mac(meeting, secret, claim)
            grant = self._gate.grant_id(header)
            self._answer(
                _Arrival(now, wall, relay, meeting, header, secret, claim, bytes(data), grant)
            )
        except (DecodeError, AuthenticationFailed) as error:
            self._trace("claim.dropped", {"reason": str(error)})

    def _answer(self, arrival: _Arrival) -> None:
        """Answer a claim whose MAC is good."""
        key = (arrival.grant, arrival.meeting.claimer_derp)
        known = self._pending.get(key)
        if known is not None and known.claim == arrival.data:
            self._send(arrival.relay, known.claimer, known.decision)
            return
        now = arrival.now
        if not (self._claims_of_grant.try_take(now, arrival.grant) and self._claims.try_take(now)):
            self._trace("claim.dropped", {"reason": "too many claims"})
            return
        incoming = IncomingClaim(
            self._identity.static, arrival.meeting, arrival.header, arrival.secret, arrival.claim
        )
        verdict = self._gate.verdict(arrival.header, incoming.payload.instance, arrival.wall)
        entry = self._decide(arrival, incoming, verdict)
        self._remember(key, entry)
        self._trace("claim.answered", {"verdict": verdict})
        self._send(arrival.relay, entry.claimer, entry.decision)
        if verdict != ACCEPTED:
            self._events.append(ClaimRefused(verdict))

    def _decide(self, arrival: _Arrival, incoming: IncomingClaim, verdict: int) -> _Entry:
        """Make the decision, and the link if the claim is accepted."""
        identity, theirs = self._identity, incoming.payload
        aead = choose_aead(identity.fast_aeads, theirs.fast_aeads)
        payload = DecisionPayload(
            verdict=verdict,
            aead=aead,
            relay_grant=self._grant_for(1),
            holds_link=any(entry.instance == theirs.instance for entry, _ in self._held()),
            features=(identity.features | theirs.features) & SUPPORTED_FEATURES,
            link_index=self._new_index(),
            clock_ms=max(0, int(arrival.wall * 1000)),
        )
        decision, root = incoming.decide(payload, KeyPair.from_secret(self._entropy(32)))
        entry = _Entry(arrival, decision, theirs.instance, payload.link_index)
        if verdict == ACCEPTED:
            parameters = LinkParameters(
                is_issuer=True,
                peer_key=arrival.meeting.claimer_derp,
                root=Secret(root),
                aead=aead,
                peer_index=theirs.link_index,
                features=payload.features,
                relay=arrival.relay,
                peer_grant=max(theirs.relay_grant, RELAY_GRANT_MINIMUM),
                our_grant=payload.relay_grant,
                is_polite=self._is_polite(arrival.relay),
                give_up_after_s=identity.give_up_after_s,
            )
            entry.link = PeerLink(
                arrival.now, parameters, self.relays_up, self._entropy, self._trace
            )
            self._by_index[entry.index] = entry
        return entry

    def _remember(self, key: tuple[bytes, DerpKey], entry: _Entry) -> None:
        old = self._pending.pop(key, None)
        if old is not None:
            self._forget_pending(old)
        of_grant = [k for k in self._pending if k[0] == entry.arrival.grant]
        if len(of_grant) >= MAX_PENDING_OF_GRANT:
            self._forget_pending(self._pending.pop(of_grant[0]))
        if len(self._pending) >= MAX_PENDING:
            self._forget_pending(self._pending.popitem(last=False)[1])
        self._pending[key] = entry

    def _forget_pending(self, entry: _Entry) -> None:
        """Drop the link of an entry that never knocked."""
        if entry.state is LinkState.PENDING:
            self._by_index.pop(entry.index, None)

    def _new_index(self) -> int:
        while True:
            index = int.from_bytes(self._entropy(4), "little")
            if index and index not in self._by_index:
                return index

    # -- places -----------------------------------------------------------------------------

    def _knock(self, now: Instant, entry: _Entry) -> None:
        link = entry.link
        if link is None or link.is_closed:
            return
        for other, held in self._held():
            if other.instance == entry.instance:
                self._trace("place.replaced", {"is_same_instance": True})
                held.close(now, REPLACED, "a newer link of the same process took over")
        holders = self._held()
        if len(holders) < self._identity.places:
            self._admit(entry, link)
            return
        entry.state, entry.knocked_at = LinkState.KNOCKING, now
        self._trace("place.knocked", {"holders": len(holders)})
        for _, held in holders:
            held.ping()

    def _admit(self, entry: _Entry, link: PeerLink) -> None:
        entry.state = LinkState.ADMITTED
        link.ping()  # the first sealed packet tells the claimer that it is in
        self._share_grant()
        self._events.append(LinkAdmitted(link, entry.arrival.header, entry.instance))

    def _settle_knocks(self, now: Instant) -> None:
        for entry in [e for e in self._by_index.values() if e.state is LinkState.KNOCKING]:
            link, knocked_at = entry.link, entry.knocked_at
            if link is None or knocked_at is None:
                continue
            if link.is_closed:  # it left while it waited; a close of ours still goes out
                entry.state = LinkState.ADMITTED
                continue
            holders = self._held()
            silent = [h for _, h in holders if h.last_heard is None or h.last_heard < knocked_at]
            is_over = now >= knocked_at + PROBE_S
            if len(holders) < self._identity.places:
                self._admit(entry, link)
            elif not silent or (is_over and not self.may_replace):
                self._refuse(now, entry, link)
            elif is_over:
                self._trace("place.replaced", {"is_same_instance": False})
                silent[0].close(now, REPLACED, "another claimer took over after a silence")
                self._admit(entry, link)

    def _refuse(self, now: Instant, entry: _Entry, link: PeerLink) -> None:
        entry.state = LinkState.ADMITTED  # so that its close is sent; a closed link holds no place
        self._trace("place.refused", {"verdict": IN_USE})
        link.close(now, IN_USE, "already in use")
        self._events.append(ClaimRefused(IN_USE))

    def _grant_for(self, newcomers: int) -> int:
        links = len(self._held()) + newcomers
        return max(RELAY_GRANT_MINIMUM, RELAY_GRANT_TOTAL // max(1, links))

    def _share_grant(self) -> None:
        grant = self._grant_for(0)
        for _, link in self._held():
            link.our_grant = grant

    # -- time and sending -------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due."""
        times: list[Instant] = []
        for entry in self._by_index.values():
            # A link that may not send yet would name deadlines that nobody can meet.
            if entry.state is LinkState.KNOCKING and entry.knocked_at is not None:
                times.append(Instant(entry.knocked_at + PROBE_S))
            if entry.link is not None and entry.state is LinkState.ADMITTED:
                deadline = entry.link.next_timeout()
                if deadline is not None:
                    times.append(deadline)
        if self._pending:
            times.append(Instant(next(iter(self._pending.values())).created_at + PENDING_S))
        return min(times, default=None)

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets a link send on, if one waits for that."""
        times = (link.next_pacing(now) for _, link in self._held())
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        self._settle_knocks(now)
        for entry in list(self._by_index.values()):
            if entry.link is not None and entry.state is LinkState.ADMITTED:
                entry.link.handle_timeout(now)
        while self._pending:
            key, entry = next(iter(self._pending.items()))
            if now < entry.created_at + PENDING_S:
                break
            del self._pending[key]
            self._forget_pending(entry)
        self._forget_closed(now)

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what may go out now; ask again until it returns none."""
        self._settle_knocks(now)
        packets: list[Transmit] = []
        while self._answers and len(packets) < limit:
            packets.append(self._answers.popleft())
        for entry in self._by_index.values():
            if entry.link is not None and entry.state is LinkState.ADMITTED:
                room = limit - len(packets)
                if room > 0:
                    packets += entry.link.packets_to_send(now, room)
        return packets

    def _forget_closed(self, now: Instant) -> None:
        """Drop links that were closed a while ago; until then they repeat their close."""
        for index, entry in list(self._by_index.items()):
            link = entry.link
            if link is None or not link.is_closed:
                continue
            if now >= (link.last_heard or entry.created_at) + PENDING_S:
                del self._by_index[index]
                self._share_grant()

    def _send(self, relay: int, claimer: DerpKey, data: bytes) -> None:
        self._answers.append(Transmit(data, RelayEndpoint(relay, claimer), is_control=True))
