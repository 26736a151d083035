"""Claimer: asks an issuer for a link over the relays of its token; without I/O.

    CLAIMING --decision: accepted--> ADMITTING --first sealed packet--> LINKED
       |  ^                              |
       |  ^----nothing heard for 3 s-----+        (with a new claim)
       |  +------ claim_again(), when the link is over ------ LINKED or REFUSED
       +--decision: refused, or another version--> REFUSED

The relays are tried in order and in a circle: a claim is repeated, byte for byte, after 250 ms and
then ever later, until the relay says NotHere or 3 s have passed.  A forged decision changes
nothing.  A link that we let go of for a new claim repeats its close until the new one is up: so an
issuer that still holds it learns that its place is free.  Source: design, sections 4 and 5.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, Secret
from tunnel.errors import AuthenticationFailed, DecodeError, MisuseError
from tunnel.proto.link.parameters import NO_FEATURE, SUPPORTED_FEATURES, Feature, LinkParameters
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import RelayEndpoint, Trace, Transmit, UdpEndpoint
from tunnel.proto.meeting.absence import Absence
from tunnel.proto.meeting.handshake import Meeting, OutgoingClaim
from tunnel.proto.meeting.owner import HeaderMaker, NotHere, NotUnderstood, Refused
from tunnel.proto.meeting.places import PROBE_S, REPLACED
from tunnel.proto.rate.relay import RELAY_GRANT_MINIMUM, RELAY_GRANT_TOTAL
from tunnel.proto.streams.table import Memory
from tunnel.units import KEY_SIZE, Instant, Seconds, WallTime
from tunnel.values import frozen, replace
from tunnel.wire.handshake import (
    ACCEPTED,
    INSTANCE_SIZE,
    VERSION,
    ClaimPayload,
    Decision,
    DecisionPayload,
    OtherVersion,
    decode_message,
    is_handshake,
)
from tunnel.wire.packet import link_index_of

# Chosen (design, sections 4 and 5).
FIRST_RETRY_S = 0.25
MAX_RETRY_S = 2.0
RELAY_TURN_S = 3.0  # without an answer the next relay has its turn
ADMISSION_S = (
    3.0  # an accepted claim whose link stays silent is made anew; twice as long each time,
)
MAX_ADMISSION_S = 20.0  # so that no network is too slow for ever


class ClaimState(Enum):
    """What is true of the claim."""

    CLAIMING = "claiming"
    ADMITTING = "admitting"
    LINKED = "linked"
    REFUSED = "refused"


@frozen
class ClaimerIdentity:
    """Whom we claim from, with what, and as whom.

    Args:
        meeting: the public keys of both sides.
        header: makes what names the grant.
        secret: the grant's secret, 16 bytes.
        instance: 16 random bytes of this process.
        features: what we want and can do.
        fast_aeads: bit set, see `tunnel.crypto.aead.fast_aeads`.
        give_up_after_s: see `LinkParameters`.
        required: features that the issuer must know.
        program: name and version of our program, for people, at most 24 bytes.
    """

    meeting: Meeting
    header: HeaderMaker
    secret: bytes
    instance: bytes
    features: Feature
    fast_aeads: int
    give_up_after_s: Seconds = 60.0
    required: Feature = NO_FEATURE
    program: bytes = b""

    def __repr__(self) -> str:
        return "<ClaimerIdentity>"


@frozen
class LinkUp:
    """The issuer admitted us."""

    link: PeerLink


ClaimerEvent = LinkUp | Refused | NotUnderstood | NotHere


class Claimer:
    """The claimer's side of meeting.

    Args:
        now: when claiming starts.
        identity: who we are and what we claim.
        relays: the numbers of the relay connections, in the order of the token's hints.
        entropy: returns that many random bytes.
        is_polite: says whether a relay, given by its number, is a public one.
        trace: see `PeerLink`.

    Attributes:
        absence: what the relays say about whether the issuer is there.
    """

    def __init__(
        self,
        now: Instant,
        identity: ClaimerIdentity,
        relays: list[int],
        entropy: Callable[[int], bytes],
        is_polite: Callable[[int], bool],
        trace: Trace,
    ) -> None:
        if len(identity.instance) != INSTANCE_SIZE:
            raise ValueError("an instance id of 16 bytes")
        self.state = ClaimState.CLAIMING
        self.link: PeerLink | None = None
        self.relays_up: set[int] = set()
        self.absence = Absence()
        self._memory = Memory()
        self._identity = identity
        self._relays = relays
        self._turn = 0
        self._entropy = entropy
        self._is_polite = is_polite
        self._trace = trace
        self._events: deque[ClaimerEvent] = deque()
        self._left: tuple[int, PeerLink] | None = None  # by its index: what we let go of
        self._away: set[int] = set()  # relays that said NotHere in this round
        self._admission_ends_at: Instant | None = None
        self._admission_s: Seconds = ADMISSION_S
        self._begin(now)

    @property
    def relay(self) -> int:
        """The relay whose turn it is."""
        return self._relays[self._turn]

    @property
    def links(self) -> list[PeerLink]:
        """The link that came of the claim, if there is one; it may be closed."""
        return [] if self.link is None else [self.link]

    def next_event(self) -> ClaimerEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    def claim_again(self, now: Instant, header: HeaderMaker, secret: bytes) -> None:
        """Begin a new claim as the same process, after a link that is over.

        The relay that the link used last has the first turn.  Raises `MisuseError` while a link
        lives.

        Args:
            now: when claiming starts.
            header: makes what names the grant, as in `ClaimerIdentity`.
            secret: the secret that belongs to it.
        """
        if self.link is not None and not self.link.is_closed:
            raise MisuseError("a claim beside a link that lives")
        if self.link is not None:
            self._turn = self._relays.index(self.link.relay)
            self._leave_link(now)
        self._identity = replace(self._identity, header=header, secret=secret)
        self._trace("claim.again", {"relay": self.relay})
        self._begin(now)

    def _begin(self, now: Instant) -> None:
        """Make a new claim, and send it at once."""
        self.state = ClaimState.CLAIMING
        self._claim = self._new_claim()
        self._send_at = now
        self._sent_at: Instant | None = None
        self._retry_s = FIRST_RETRY_S
        self._turn_ends_at = Instant(now + RELAY_TURN_S)
        self._away.clear()
        self.absence.forget()
        self._admission_ends_at = None

    def _leave_link(self, now: Instant) -> None:
        """Let go of a link; an issuer that holds it still is told, whenever it sends."""
        if self.link is not None:
            self.link.close(now, REPLACED, "a newer claim of the same process")
            self._left = (self._claim.payload.link_index, self.link)
        self.link = None

    # -- what comes in ----------------------------------------------------------------------

    def handle_packet(
        self, now: Instant, wall: WallTime, relay: int, source: DerpKey, data: memoryview
    ) -> None:
        """Take a packet that `relay` delivered from `source`; the issuer's clock decides."""
        del wall
        if source != self._identity.meeting.issuer_derp:
            return
        if is_handshake(data):
            if self.state is ClaimState.CLAIMING:
                self._handle_answer(now, relay, data)
            return
        index, link = link_index_of(data), self.link
        if self._left is not None and index == self._left[0]:
            self._left[1].handle_packet(now, relay, data)
        if link is None or index != self._claim.payload.link_index:
            return
        is_authentic = link.handle_packet(now, relay, data)
        if is_authentic and self.state is ClaimState.ADMITTING:
            self.state = ClaimState.LINKED
            self._admission_ends_at = self._left = None
            self._events.append(LinkUp(link))

    def handle_datagrams(self, now: Instant, origin: UdpEndpoint, burst: ReceivedBurst) -> None:
        """Take what came by UDP."""
        if self.link is not None and self.state is ClaimState.LINKED:
            self.link.handle_burst(now, origin, burst)

    def handle_peer_gone(self, now: Instant, relay: int, key: DerpKey) -> None:
        """Take a relay's word that the issuer is not there: a hint, never an end."""
        if key != self._identity.meeting.issuer_derp:
            return
        if self.link is not None:
            self.link.search()
            return
        self.absence.not_here(now, relay)
        if self.state is ClaimState.CLAIMING and relay == self.relay:
            self._away.add(relay)
            self._events.append(NotHere(relay))
            self._next_relay(now)

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is up, the first time or again."""
        self.relays_up.add(relay)
        self.absence.relay_up(now, relay)
        if self.link is not None:
            self.link.handle_relay_up(now, relay)
        elif self.state is ClaimState.CLAIMING and relay == self.relay:
            self._send_at = now
            self._turn_ends_at = Instant(now + RELAY_TURN_S)

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is down, or could not be made."""
        self.relays_up.discard(relay)
        self.absence.relay_down(now, relay)
        if self.link is not None:
            self.link.handle_relay_down(now, relay)
        elif self.state is ClaimState.CLAIMING and relay == self.relay:
            self._next_relay(now)

    def _handle_answer(self, now: Instant, relay: int, data: memoryview) -> None:
        try:
            message = decode_message(data)
            if isinstance(message, Decision):
                self._handle_decision(now, relay, *self._claim.read_decision(message))
            elif isinstance(message, OtherVersion):
                program = self._claim.read_other_version(message)
                self._trace("decision", {"version": message.version})
                self._end_claim(NotUnderstood(message.version, program))
        except (DecodeError, AuthenticationFailed) as error:
            self._trace("decision.dropped", {"reason": str(error)})

    def _end_claim(self, event: Refused | NotUnderstood) -> None:
        self.state, self._left = ClaimState.REFUSED, None
        self._events.append(event)

    def _handle_decision(
        self, now: Instant, relay: int, payload: DecisionPayload, root: bytes
    ) -> None:
        self._trace("decision", {"verdict": payload.verdict})
        if payload.verdict != ACCEPTED:
            clock_s = payload.clock_ms / 1000
            self._end_claim(Refused(payload.verdict, clock_s, payload.program))
            return
        if payload.aead not in BY_ID:
            self._end_claim(NotUnderstood(VERSION, payload.program))
            return
        self.absence.forget()
        self.link = self._new_link(now, relay, payload, root)
        self.link.ping()  # our first sealed packet asks for the place
        self.state = ClaimState.ADMITTING
        # The admission takes one round trip more, and one for whoever may hold the place.
        round_trip_s = now - (self._sent_at or now)
        self.link.expect_answers_after(round_trip_s)
        limit_s = max(self._admission_s, min(PROBE_S + 3 * round_trip_s, MAX_ADMISSION_S))
        self._admission_ends_at = Instant(now + limit_s)

    def _new_link(
        self, now: Instant, relay: int, payload: DecisionPayload, root: bytes
    ) -> PeerLink:
        identity = self._identity
        parameters = LinkParameters(
            is_issuer=False,
            peer_key=identity.meeting.issuer_derp,
            root=Secret(root),
            aead=AeadId(payload.aead),
            peer_index=payload.link_index,
            features=payload.features & SUPPORTED_FEATURES,
            relay=relay,
            peer_grant=max(payload.relay_grant, RELAY_GRANT_MINIMUM),
            our_grant=RELAY_GRANT_TOTAL,
            is_polite=self._is_polite(relay),
            give_up_after_s=identity.give_up_after_s,
        )
        return PeerLink(now, parameters, self.relays_up, self._entropy, self._trace, self._memory)

    def _new_claim(self) -> OutgoingClaim:
        identity = self._identity
        payload = ClaimPayload(
            features=identity.features,
            instance=identity.instance,
            link_index=int.from_bytes(self._entropy(4), "little"),
            fast_aeads=identity.fast_aeads,
            relay_grant=RELAY_GRANT_TOTAL,
            supported=SUPPORTED_FEATURES,
            required=identity.required,
            program=identity.program,
        )
        ephemeral = KeyPair.from_secret(self._entropy(KEY_SIZE))
        header = identity.header(ephemeral.public)
        return OutgoingClaim(identity.meeting, header, identity.secret, payload, ephemeral)

    # -- time and sending -------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due."""
        times = [self._admission_ends_at]
        if self.state is ClaimState.CLAIMING:
            times.append(self._send_at)
            if len(self._relays) > 1:  # or there is nobody else to have a turn
                times.append(self._turn_ends_at)
        if self.link is not None:
            times.append(self.link.next_timeout())
        if self._left is not None:
            times.append(self._left[1].next_timeout())
        return min((time for time in times if time is not None), default=None)

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets the link send on, if it waits for that."""
        return self.link.next_pacing(now) if self.link is not None else None

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        if self.state is ClaimState.CLAIMING and now >= self._turn_ends_at:
            self.absence.silent_turn(now, self.relay)
            self._next_relay(now)
        admission_ends_at = self._admission_ends_at
        if admission_ends_at is not None and now >= admission_ends_at:
            self._trace("claim.unanswered_link", {})
            self._admission_ends_at = None
            self._admission_s = min(2 * self._admission_s, MAX_ADMISSION_S)
            self._leave_link(now)
            self._claim = self._new_claim()
            self._sent_at = None
            self.state = ClaimState.CLAIMING
            self._next_relay(now)
        if self.link is not None:
            self.link.handle_timeout(now)

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what may go out now; ask again until it returns none."""
        if self._left is not None:
            packets = self._left[1].packets_to_send(now, limit)
            if packets:
                return packets
        if self.link is not None:
            return self.link.packets_to_send(now, limit)
        if self.state is not ClaimState.CLAIMING or now < self._send_at:
            return []
        self._sent_at = self._sent_at or now
        self._send_at = Instant(now + self._retry_s)
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
        to = RelayEndpoint(self.relay, self._identity.meeting.issuer_derp)
        self._trace("claim.sent", {"relay": self.relay})
        return [Transmit(self._claim.message, to, is_control=True)]

    def _next_relay(self, now: Instant) -> None:
        """Give the next relay its turn; after NotHere from all of them keep to the retry's time."""
        self._turn = (self._turn + 1) % len(self._relays)
        self._turn_ends_at = Instant(now + RELAY_TURN_S)
        if self._away.issuperset(self._relays):
            self._away.clear()
        else:
            self._send_at = now
