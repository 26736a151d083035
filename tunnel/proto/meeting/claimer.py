"""Claimer: asks an issuer for a link over the relays of its token; without I/O.

    CLAIMING --decision: accepted--> ADMITTING --first sealed packet--> LINKED
       |  ^                              |
       |  ^----nothing heard for 3 s-----+        (with a new claim)
       |  +------ claim_again(), when the link is over ------ LINKED or REFUSED
       +--decision: refused, or another version--> REFUSED

    LINKED --silence, and `renew_after_s`--> asks once more, beside the link
              it is heard again, or the issuer says that it holds it: the link lives on
              the issuer holds none: it is another process --> ADMITTING, and the link is over
              refused: the link is over

How a claim goes out: `tunnel.proto.meeting.asking`.  A forged decision changes nothing.  A link
that we let go of for a new claim repeats its close until the new one is up: so an issuer that still
holds it learns that its place is free.  Source: design, sections 4 and 5.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, Secret
from tunnel.errors import AuthenticationFailed, DecodeError, MisuseError
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
from tunnel.proto.meeting.absence import Absence
from tunnel.proto.meeting.asking import Asking
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

# Chosen (design, sections 4 and 5): an accepted claim whose link stays silent is made anew after so
# long, and twice as long each time, so that no network is too slow for ever.
ADMISSION_S: Seconds = 3.0
MAX_ADMISSION_S: Seconds = 20.0


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
        renew_after_s: silence after which the issuer is asked whether it holds the link still;
            None for never.
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
    renew_after_s: Seconds | None = None

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
        self._entropy = entropy
        self._is_polite = is_polite
        self._trace = trace
        self._events: deque[ClaimerEvent] = deque()
        self._left: tuple[int, PeerLink] | None = None  # by its index: what we let go of
        self._has_renewed = False
        self._renewal: Asking | None = None
        self._renew_from = now
        self._admission_ends_at: Instant | None = None
        self._admission_s: Seconds = ADMISSION_S
        self._asking = Asking(now, self._new_claim(), relays, relays[0])

    @property
    def relay(self) -> int:
        """The relay whose turn it is."""
        return self._asking.relay

    @property
    def is_renewed(self) -> bool:
        """Whether a link in place of a silent one is on its way, or is up and not over."""
        is_over = self.state is ClaimState.REFUSED or (self.link and self.link.is_closed)
        return self._has_renewed and not is_over

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
        first = self.relay
        if self.link is not None:
            first = self.link.relay
            self._leave_link(now)
        self._identity = replace(self._identity, header=header, secret=secret)
        self._trace("claim.again", {"relay": first})
        self._has_renewed = False
        self._renewal = None
        self.absence.forget()
        self._ask(now, first)

    def _ask(self, now: Instant, first: int) -> None:
        """Make a new claim, and send it at once."""
        self.state = ClaimState.CLAIMING
        self._asking = Asking(now, self._new_claim(), self._relays, first)
        self._admission_ends_at = None

    def _leave_link(self, now: Instant) -> None:
        """Let go of a link; an issuer that holds it still is told, whenever it sends."""
        if self.link is not None:
            self.link.close(now, REPLACED, "a newer claim of the same process")
            self._left = (self._asking.claim.payload.link_index, self.link)
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
            asking = self._asking if self.state is ClaimState.CLAIMING else self._renewal
            if asking is not None:
                self._handle_answer(now, relay, data, asking)
            return
        index, link = link_index_of(data), self.link
        if self._left is not None and index == self._left[0]:
            self._left[1].handle_packet(now, relay, data)
        if link is None or index != self._asking.claim.payload.link_index:
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
        if self._renewal is not None:
            self._renewal.not_here(now, relay)
        if self.link is not None:
            self.link.search()
            return
        self.absence.not_here(now, relay)
        if self.state is ClaimState.CLAIMING and self._asking.not_here(now, relay):
            self._events.append(NotHere(relay))

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is up, the first time or again."""
        self.relays_up.add(relay)
        self.absence.relay_up(now, relay)
        if self.link is not None:
            self.link.handle_relay_up(now, relay)
        for asking in self._askings():
            asking.relay_up(now, relay)

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is down, or could not be made."""
        self.relays_up.discard(relay)
        self.absence.relay_down(now, relay)
        if self.link is not None:
            self.link.handle_relay_down(now, relay)
        for asking in self._askings():
            asking.relay_down(now, relay)

    def _askings(self) -> list[Asking]:
        """Return the claim that is on its way."""
        if self.state is ClaimState.CLAIMING:
            return [self._asking]
        return [] if self._renewal is None else [self._renewal]

    def _handle_answer(self, now: Instant, relay: int, data: memoryview, asking: Asking) -> None:
        try:
            message = decode_message(data)
            if isinstance(message, Decision):
                payload, root = asking.claim.read_decision(message)
                self._trace("decision", {"verdict": payload.verdict})
                if asking is self._renewal:
                    self._handle_renewal(now, relay, payload, root)
                else:
                    self._handle_decision(now, relay, payload, root)
            elif isinstance(message, OtherVersion):
                program = asking.claim.read_other_version(message)
                self._trace("decision", {"version": message.version})
                if asking is self._renewal:
                    self._end_link(now)
                else:
                    self._end_claim(NotUnderstood(message.version, program))
        except (DecodeError, AuthenticationFailed) as error:
            self._trace("decision.dropped", {"reason": str(error)})

    def _handle_renewal(
        self, now: Instant, relay: int, payload: DecisionPayload, root: bytes
    ) -> None:
        """Take the answer to what was asked beside a silent link."""
        assert self._renewal is not None
        assert self.link is not None
        if payload.verdict != ACCEPTED or payload.aead not in BY_ID:
            self._end_link(now)
        elif payload.holds_link:
            self._renewal = None
            self._renew_from = now
            self.link.search()
        else:
            self._leave_link(now)
            self._asking, self._renewal = self._renewal, None
            self._has_renewed = True
            self._handle_decision(now, relay, payload, root)

    def _end_link(self, now: Instant) -> None:
        """End a link that the issuer does not let us have any more; its owner claims anew."""
        assert self.link is not None
        self._renewal = None
        self.link.close(now, REPLACED, "a newer claim of the same process was refused")

    def _end_claim(self, event: Refused | NotUnderstood) -> None:
        self.state, self._left = ClaimState.REFUSED, None
        self._events.append(event)

    def _handle_decision(
        self, now: Instant, relay: int, payload: DecisionPayload, root: bytes
    ) -> None:
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
        round_trip_s = now - (self._asking.sent_at or now)
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
            features=features_in_force(identity.features, payload.features),
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
        times = [self._admission_ends_at, self._renewal_at()]
        times += [asking.next_timeout() for asking in self._askings()]
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
        for asking in self._askings():
            silent = asking.handle_timeout(now)
            if silent is not None and asking is self._asking:
                self.absence.silent_turn(now, silent)
        admission_ends_at = self._admission_ends_at
        if admission_ends_at is not None and now >= admission_ends_at:
            self._trace("claim.unanswered_link", {})
            self._admission_s = min(2 * self._admission_s, MAX_ADMISSION_S)
            self._leave_link(now)
            self._ask(now, self._asking.next_relay)
        if self.link is not None:
            self.link.handle_timeout(now)
            self._look_after_silence(now, self.link)

    def _renewal_at(self) -> Instant | None:
        """Return when the issuer is to be asked whether it holds the link still."""
        link, after_s = self.link, self._identity.renew_after_s
        if link is None or after_s is None or self.state is not ClaimState.LINKED:
            return None
        silent_since = link.silent_since
        if silent_since is None or self._renewal is not None:
            return None
        return Instant(max(silent_since, self._renew_from) + after_s)

    def _look_after_silence(self, now: Instant, link: PeerLink) -> None:
        """Begin to ask once a link has been silent for long enough, and stop when it is heard."""
        renewal = self._renewal
        if renewal is not None:
            silent_since = link.silent_since
            if silent_since is None or silent_since > renewal.began_at:
                self._renewal = None
            return
        renewal_at = self._renewal_at()
        if renewal_at is not None and now >= renewal_at:
            self._trace("claim.renewal", {"relay": link.relay})
            self._renewal = Asking(now, self._new_claim(), self._relays, link.relay)

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what may go out now; ask again until it returns none."""
        if self._left is not None:
            packets = self._left[1].packets_to_send(now, limit)
            if packets:
                return packets
        packets = [packet for asking in self._askings() if (packet := self._claim_of(now, asking))]
        if self.link is not None:
            packets += self.link.packets_to_send(now, limit)
        return packets

    def _claim_of(self, now: Instant, asking: Asking) -> Transmit | None:
        """Return the claim if it is to go out now."""
        relay, message = asking.relay, asking.message(now)
        if message is None:
            return None
        self._trace("claim.sent", {"relay": relay})
        to = RelayEndpoint(relay, self._identity.meeting.issuer_derp)
        return Transmit(message, to, is_control=True)
