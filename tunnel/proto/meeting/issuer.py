"""Issuer: answers claims and routes sealed packets to the links that come of them; without I/O.

    claim, good MAC --> decision, one pending link     a claim by itself takes nothing
          of another version --> an answer that says which one we speak
    sealed packet   --> the link it names              the first one of a link asks for a place

Only claims with a good MAC cost anything or count for the limits; what they may do was decided by
the `Gate`, and who has a place is decided by `tunnel.proto.meeting.places`.  Nothing is revealed to
one without the secret.  Source: design, sections 4 and 5.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

from tunnel.crypto.aead import AeadId, choose_aead
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey, Secret
from tunnel.errors import AuthenticationFailed, DecodeError
from tunnel.proto.link.parameters import (
    NO_FEATURE,
    SUPPORTED_FEATURES,
    Feature,
    LinkParameters,
    features_in_force,
)
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import RelayEndpoint, Trace, Transmit, UdpEndpoint
from tunnel.proto.meeting.handshake import (
    IncomingClaim,
    Meeting,
    check_mac,
    open_header,
    other_version,
)
from tunnel.proto.meeting.owner import Declined, Gate, Named, OtherVersionClaimed
from tunnel.proto.meeting.places import Applicant, ApplicantState, IssuerEvent, Places
from tunnel.proto.rate.relay import RELAY_GRANT_MINIMUM
from tunnel.proto.streams.table import Memory
from tunnel.proto.token_bucket import Allowance, Buckets, TokenBucket
from tunnel.units import KEY_SIZE, Instant, Seconds, WallTime
from tunnel.values import frozen, frozen_secret
from tunnel.wire.handshake import (
    ACCEPTED,
    CLAIMER_LACKS,
    ISSUER_LACKS,
    VERSION,
    Claim,
    ClaimPayload,
    DecisionPayload,
    decode_message,
    is_handshake,
)
from tunnel.wire.packet import link_index_of

# Chosen (design, section 5).
CLAIMS = Allowance(rate=20.0, burst=20.0)
CLAIMS_OF_GRANT = Allowance(rate=4.0, burst=4.0)
# Chosen: so that one connection cannot claim a grant away from the others who have its token.
CLAIMS_OF_CLAIMER = Allowance(rate=1.0, burst=3.0)
MAX_PENDING = 64
MAX_PENDING_OF_GRANT = 8
PENDING_S: Seconds = 30.0
# Chosen: grants, and claimers of them, whose claim rate is remembered; the least recent goes.
MAX_RATED_GRANTS = 256


@frozen
class IssuerIdentity:
    """Who we are.

    Args:
        static: the Noise key pair of the token.
        derp: the DERP public key of the token.
        features: what we want and can do.
        fast_aeads: bit set, see `tunnel.crypto.aead.fast_aeads`.
        places: how many links may live at once.
        give_up_after_s: see `LinkParameters`.
        required: features that a claimer must know.
        program: name and version of our program, for people, at most 24 bytes.
    """

    static: KeyPair
    derp: DerpKey
    features: Feature
    fast_aeads: int
    places: int = 1
    give_up_after_s: Seconds = 60.0
    required: Feature = NO_FEATURE
    program: bytes = b""


@frozen_secret
class _Arrival:
    """A claim whose MAC is good, and how it came."""

    now: Instant
    wall: WallTime
    relay: int
    meeting: Meeting
    header: bytes
    named: Named
    claim: Claim
    data: bytes


@frozen_secret
class _Answer:
    """A claim that was answered, the bytes of the answer, and who came of it if it was accepted."""

    claim: bytes
    decision: bytes
    answered_at: Instant
    applicant: Applicant | None


class Issuer:
    """The issuer's side of meeting.

    Args:
        identity: who we are.
        gate: who may come.
        entropy: returns that many random bytes.
        is_polite: says whether a relay, given by its number, is a public one.
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
        self._events: deque[IssuerEvent] = deque()
        self.places = Places(identity.places, self._events.append, trace)
        self._memory = Memory()
        self._identity = identity
        self._gate = gate
        self._entropy = entropy
        self._is_polite = is_polite
        self._trace = trace
        self._pending: OrderedDict[tuple[bytes, DerpKey], _Answer] = OrderedDict()
        self._answers: deque[Transmit] = deque(maxlen=MAX_PENDING)
        self._claims = TokenBucket(CLAIMS, Instant(0))
        self._claims_of_grant: Buckets[bytes] = Buckets(CLAIMS_OF_GRANT, MAX_RATED_GRANTS)
        self._claims_of_claimer: Buckets[tuple[bytes, DerpKey]] = Buckets(
            CLAIMS_OF_CLAIMER, MAX_RATED_GRANTS
        )

    # -- queries ----------------------------------------------------------------------------

    @property
    def links(self) -> list[PeerLink]:
        """The admitted links that are not closed."""
        return [holder.link for holder in self.places.holders]

    def next_event(self) -> IssuerEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    # -- what comes in ----------------------------------------------------------------------

    def handle_packet(
        self, now: Instant, wall: WallTime, relay: int, source: DerpKey, data: memoryview
    ) -> None:
        """Take a packet that `relay` delivered from `source`."""
        if is_handshake(data):
            self._handle_handshake(now, wall, relay, source, data)
            return
        applicant = self._applicant_of(data)
        if applicant is None or applicant.claimer != source:
            return
        is_authentic = applicant.link.handle_packet(now, relay, data)
        if is_authentic and applicant.state is ApplicantState.PENDING:
            self.places.knock(now, applicant)

    def handle_datagrams(self, now: Instant, origin: UdpEndpoint, burst: ReceivedBurst) -> None:
        """Take what came by UDP; only links that have a place use direct paths."""
        applicants = [self._applicant_of(datagram) for datagram in burst.datagrams()]
        first = applicants[0]
        if first is not None and all(applicant is first for applicant in applicants):
            if first.state is ApplicantState.ADMITTED:
                first.link.handle_burst(now, origin, burst)
            return
        for applicant, datagram in zip(applicants, burst.datagrams(), strict=True):
            if applicant is not None and applicant.state is ApplicantState.ADMITTED:
                applicant.link.handle_packet(now, origin, datagram, burst.waited_s)

    def _applicant_of(self, data: memoryview) -> Applicant | None:
        index = link_index_of(data)
        return None if index is None else self.places.by_index.get(index)

    def handle_peer_gone(self, now: Instant, relay: int, key: DerpKey) -> None:
        """Ping at once, over every relay, whom a relay says is gone; a hint, never an end."""
        del now, relay
        for holder in self.places.holders:
            if holder.claimer == key:
                holder.link.search()

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is up, the first time or again."""
        self.relays_up.add(relay)
        for link in self.links:
            link.handle_relay_up(now, relay)

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is down, or could not be made."""
        self.relays_up.discard(relay)
        for link in self.links:
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
            named = self._gate.named(header, claim.ephemeral)
            if named is None:
                self._trace("claim.dropped", {"reason": "a claim header that names nothing"})
                return
            meeting = Meeting(noise_public, identity.derp, source)
            check_mac(meeting, named.secret, claim)
            self._answer(_Arrival(now, wall, relay, meeting, header, named, claim, bytes(data)))
        except (DecodeError, AuthenticationFailed) as error:
            self._trace("claim.dropped", {"reason": str(error)})

    def _answer(self, arrival: _Arrival) -> None:
        """Answer a claim whose MAC is good."""
        key = (arrival.named.grant, arrival.meeting.claimer_derp)
        known = self._pending.get(key)
        if known is not None and known.claim == arrival.data:
            self._send(arrival, known.decision)
            return
        now = arrival.now
        if not self._may_answer(now, key):
            self._trace("claim.dropped", {"reason": "too many claims"})
            return
        if arrival.claim.version == VERSION:
            answer = self._decide(arrival)
        else:
            answer = self._answer_other_version(arrival)
        self._remember(key, answer)
        self._send(arrival, answer.decision)

    def _may_answer(self, now: Instant, key: tuple[bytes, DerpKey]) -> bool:
        """Count a claim; tells whether its claimer, its grant and we all have room for it."""
        of_claimer = self._claims_of_claimer.try_take(now, key)
        of_grant = of_claimer and self._claims_of_grant.try_take(now, key[0])
        return of_grant and self._claims.try_take(now)

    def _answer_other_version(self, arrival: _Arrival) -> _Answer:
        """Say which version we speak; only who has the secret is told."""
        claim = arrival.claim
        self._trace("claim.answered", {"version": claim.version})
        self._events.append(OtherVersionClaimed(claim.version))
        message = other_version(arrival.named.secret, claim, self._identity.program)
        return _Answer(arrival.data, message, arrival.now, None)

    def _decide(self, arrival: _Arrival) -> _Answer:
        """Make the decision, and the link if the claim is accepted."""
        identity, named = self._identity, arrival.named
        incoming = IncomingClaim(
            identity.static, arrival.meeting, arrival.header, named.secret, arrival.claim
        )
        theirs = incoming.payload
        instance = named.instance or theirs.instance
        verdict = self._gate.verdict(arrival.header, named.instance, arrival.wall)
        lacking = 0
        if verdict == ACCEPTED:
            verdict, lacking = self._compare_features(theirs)
        payload = DecisionPayload(
            verdict=verdict,
            aead=choose_aead(identity.fast_aeads, theirs.fast_aeads),
            relay_grant=self.places.grant_for(1),
            holds_link=self.places.holds(instance),
            features=features_in_force(identity.features, theirs.features),
            link_index=self._new_index(),
            clock_ms=max(0, int(arrival.wall * 1000)),
            lacking=lacking,
            program=identity.program,
        )
        decision, root = incoming.decide(payload, KeyPair.from_secret(self._entropy(KEY_SIZE)))
        self._trace("claim.answered", {"verdict": verdict})
        applicant = None
        if verdict == ACCEPTED:
            link = self._new_link(arrival, theirs, payload, root)
            who = (arrival.meeting.claimer_derp, arrival.header, instance, arrival.now)
            is_proven = named.instance is not None
            applicant = Applicant(link, payload.link_index, *who, is_proven)
            self.places.add(applicant)
        else:
            self._events.append(Declined(verdict, theirs.program))
        return _Answer(arrival.data, decision, arrival.now, applicant)

    def _compare_features(self, theirs: ClaimPayload) -> tuple[int, int]:
        """Return the verdict about features, and those that one side requires in vain."""
        we_lack = theirs.required & ~int(SUPPORTED_FEATURES)  # of a flag, ~ keeps known bits only
        they_lack = self._identity.required & ~theirs.supported
        if we_lack:
            return ISSUER_LACKS, we_lack
        return (CLAIMER_LACKS, they_lack) if they_lack else (ACCEPTED, 0)

    def _new_link(
        self, arrival: _Arrival, theirs: ClaimPayload, ours: DecisionPayload, root: bytes
    ) -> PeerLink:
        parameters = LinkParameters(
            is_issuer=True,
            peer_key=arrival.meeting.claimer_derp,
            root=Secret(root),
            aead=AeadId(ours.aead),
            peer_index=theirs.link_index,
            features=ours.features,
            relay=arrival.relay,
            peer_grant=max(theirs.relay_grant, RELAY_GRANT_MINIMUM),
            our_grant=ours.relay_grant,
            is_polite=self._is_polite(arrival.relay),
            give_up_after_s=self._identity.give_up_after_s,
            is_admitted=False,
        )
        return PeerLink(
            arrival.now, parameters, self.relays_up, self._entropy, self._trace, self._memory
        )

    def _remember(self, key: tuple[bytes, DerpKey], answer: _Answer) -> None:
        old = self._pending.pop(key, None)
        if old is not None:
            self._forget(old)
        of_grant = [known for known in self._pending if known[0] == key[0]]
        if len(of_grant) >= MAX_PENDING_OF_GRANT:
            self._forget(self._pending.pop(of_grant[0]))
        if len(self._pending) >= MAX_PENDING:
            self._forget(self._pending.popitem(last=False)[1])
        self._pending[key] = answer

    def _forget(self, answer: _Answer) -> None:
        """Drop the link of an answer whose claimer never knocked."""
        if answer.applicant is not None:
            self.places.forget_pending(answer.applicant)

    def _new_index(self) -> int:
        while True:
            index = int.from_bytes(self._entropy(4), "little")
            if index and index not in self.places.by_index:
                return index

    def _send(self, arrival: _Arrival, decision: bytes) -> None:
        to = RelayEndpoint(arrival.relay, arrival.meeting.claimer_derp)
        self._answers.append(Transmit(decision, to, is_control=True))

    # -- time and sending -------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due."""
        of_places = self.places.next_timeout()
        times = [] if of_places is None else [of_places]
        if self._pending:
            times.append(Instant(next(iter(self._pending.values())).answered_at + PENDING_S))
        return min(times, default=None)

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets a link send on, if one waits for that."""
        times = (link.next_pacing(now) for link in self.links)
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        self.places.handle_timeout(now)
        while self._pending:
            key, answer = next(iter(self._pending.items()))
            if now < answer.answered_at + PENDING_S:
                break
            del self._pending[key]
            self._forget(answer)

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what may go out now; ask again until it returns none."""
        packets: list[Transmit] = []
        while self._answers and len(packets) < limit:
            packets.append(self._answers.popleft())
        return packets + self.places.packets_to_send(now, limit - len(packets))
