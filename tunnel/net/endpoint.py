"""Endpoint: what a user of the library holds; one side with its relays, lanes, ports and links.

    IssuerEndpoint                              ClaimerEndpoint
      open(relays)                                claim(invitation, relays) --> Link
      accept_link() --> Link, again and again     resume(header, secret)    --> a new Link
                          Link: open_stream, accept_stream, close; Stream: write, end, read
      close_links(code, text), close()            the same

What happens is told in order, as values, to a function that must not block; the bytes of streams
go straight to whoever reads them.  A failure in the background ends every wait.

    regions of `Relays`:   1      2      3 ...
                           └ opened ┘    └ spare: opened when one of the others is down

Example: docs/examples/library.py.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from tunnel.crypto.aead import fast_aeads
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import MisuseError
from tunnel.net.clock import monotonic
from tunnel.net.direct import AddressLearned
from tunnel.net.endpoint_base import Endpoint, MachineEvent
from tunnel.net.endpoint_values import (
    DEFAULT_OPTIONS,
    CodeRefused,
    EndpointEvent,
    EndpointOptions,
    Invitation,
    LinkArrived,
    LinkOver,
    LinkTold,
    NotAdmitted,
    OneSecret,
    RelayChanged,
    Relays,
    RelayStatus,
    Wait,
)
from tunnel.net.link import Link, Stream
from tunnel.net.ports.router_ports import PortNews
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.sockets import ListenFailed
from tunnel.proto.link.events import (
    LinkResumed,
    LinkStalled,
    PathAnswered,
    PathChanged,
    PeerOffered,
)
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.path_facts import (
    DirectFigures,
    PathFacts,
    SeenMapping,
    SideEvidence,
)
from tunnel.proto.machine import Trace
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.issuer import Issuer, IssuerIdentity
from tunnel.proto.meeting.owner import (
    CodeAnswered,
    CodeFailed,
    Gate,
    HeaderMaker,
    NotUnderstood,
    Refused,
)
from tunnel.proto.paths.candidates import CandidateKind
from tunnel.units import Instant, Seconds
from tunnel.wire.frames import Candidate
from tunnel.wire.handshake import INSTANCE_SIZE

if TYPE_CHECKING:
    from tunnel.net.code_meeting import CodeNews
    from tunnel.proto.code.terms import CodeTerms

__all__ = [
    "AddressLearned",
    "Candidate",
    "CandidateKind",
    "ClaimerEndpoint",
    "CodeRefused",
    "DialOptions",
    "DirectFigures",
    "Endpoint",
    "EndpointEvent",
    "EndpointOptions",
    "Invitation",
    "IssuerEndpoint",
    "Link",
    "LinkArrived",
    "LinkCounters",
    "LinkOver",
    "LinkResumed",
    "LinkStalled",
    "LinkTold",
    "ListenFailed",
    "NotAdmitted",
    "OneSecret",
    "PathAnswered",
    "PathChanged",
    "PathFacts",
    "PeerOffered",
    "PortNews",
    "RelayChanged",
    "RelayState",
    "RelayStatus",
    "Relays",
    "SeenMapping",
    "SideEvidence",
    "Stream",
    "Wait",
]

# Chosen.
RELAYS_OF_ISSUER = 2  # an issuer stays connected to the first two that can be reached
# Fixed by `KeyPair`.
SECRET_KEY_SIZE = 32


class IssuerEndpoint(Endpoint):
    """The side that waits for others.

    Args:
        noise: its static Noise key pair.
        derp: its DERP key pair, another one.
        gate: decides who may come.
        places: how many links may live at once.
        options, on_event, trace: see `Endpoint`.
    """

    def __init__(
        self,
        noise: KeyPair,
        derp: KeyPair,
        gate: Gate,
        places: int = 1,
        *,
        options: EndpointOptions = DEFAULT_OPTIONS,
        on_event: Callable[[EndpointEvent], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(options, on_event, trace)
        self._derp = derp
        features = options.features
        identity = IssuerIdentity(
            noise,
            DerpKey(derp.public),
            features,
            fast_aeads(),
            places,
            options.give_up_after_s,
            required=features,
            program=options.program,
        )
        self._issuer = Issuer(identity, gate, os.urandom, self._is_polite, self._trace)

    def open(self, relays: Relays) -> None:
        """Connect to the relays and answer claims from now on; does not wait."""
        self._run(self._issuer, relays, self._derp, RELAYS_OF_ISSUER)

    def accept_link(self, wait: Wait | None = None) -> Link | None:
        """Wait for a link that nobody has taken yet.

        Args:
            wait: how to wait; None for as long as it takes.

        Returns None when `wait` gave up.  Raises what failed in the background.
        """
        is_here = (wait or self.wait)(lambda: self._new_links)
        return self._hand_out() if is_here and self._new_links else None

    def keep_places(self) -> None:
        """Let no newcomer have the place of a silent holder from now on."""
        self._issuer.places.may_replace = False

    # -- codes ------------------------------------------------------------------------------

    def offer_codes(
        self,
        relay: int,
        draw: "Callable[[], CodeTerms]",
        text: bytes,
        ends_at: Instant,
        on_news: "Callable[[CodeNews], None]",
    ) -> None:
        """Lead whoever knows a code to a text, while it lives; does not wait.

        Args:
            relay: the number of a relay that is connected; the meetings are there.
            draw: makes a new code.
            text: at most 512 bytes.
            ends_at: when no code is to be good any more.
            on_news: takes what happens; called in the endpoint's greenlets, must not block.
        """
        # Imported late: few commands have codes, and each start counts.
        from tunnel.net.code_meeting import CodeMeeting
        from tunnel.proto.code.code_series import CodeSeries

        assert self._pump is not None
        assert self._relays is not None
        home = DerpKey(self._derp.public)
        connection, dial = self._pump.relays[relay], self._relays.dial
        round_trip_s = connection.round_trip_s or 0.0
        series = CodeSeries(monotonic(), draw, text, home, os.urandom, ends_at, round_trip_s)
        self._codes = CodeMeeting(series, self._pump, connection, dial, self._tasks, on_news)
        self._codes.start()

    def rest_codes(self) -> None:
        """Have nobody come by a code for now."""
        if self._codes is not None:
            self._codes.rest()

    def resume_codes(self) -> None:
        """Go on with the code that rested, if it did."""
        if self._codes is not None:
            self._codes.resume()


class ClaimerEndpoint(Endpoint):
    """The side that comes with an invitation.

    Args:
        options, on_event, trace: see `Endpoint`.
    """

    def __init__(
        self,
        *,
        options: EndpointOptions = DEFAULT_OPTIONS,
        on_event: Callable[[EndpointEvent], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(options, on_event, trace)
        self._instance = os.urandom(INSTANCE_SIZE)
        self._claimer: Claimer | None = None
        self._answer: Refused | NotUnderstood | None = None
        self._redeemed: CodeAnswered | CodeFailed | None = None

    @property
    def absent_since(self) -> Instant | None:
        """Since when every relay that is connected says that the issuer is not there; None else."""
        return None if self._claimer is None else self._claimer.absence.since

    def claim(self, invitation: Invitation, relays: Relays, wait: Wait | None = None) -> Link:
        """Connect to the relays, look for the issuer at all of them, and wait to be let in.

        Raises `NotAdmitted`, and what `wait` raises or what failed in the background.  The link
        may be over already: that is how an issuer says that its place is taken.
        """
        keys = self._keys or KeyPair.from_secret(os.urandom(SECRET_KEY_SIZE))
        features = self._options.features
        identity = ClaimerIdentity(
            meeting=Meeting(invitation.issuer_noise, invitation.issuer_derp, DerpKey(keys.public)),
            header=invitation.header,
            secret=invitation.secret,
            instance=self._instance,
            features=features,
            fast_aeads=fast_aeads(),
            give_up_after_s=self._options.give_up_after_s,
            required=features,
            program=self._options.program,
            renew_after_s=self._options.renew_after_s,
        )
        numbers = list(range(len(relays.regions)))
        self._claimer = Claimer(
            monotonic(), identity, numbers, os.urandom, self._is_polite, self._trace
        )
        if self._pump is None:
            self._run(self._claimer, relays, keys, len(numbers))
        else:
            self._go_on(self._pump, self._claimer, relays)
        return self._await_link(wait)

    def redeem(
        self,
        terms: "CodeTerms",
        relays: Relays,
        limit_s: Seconds | None = None,
        wait: Wait | None = None,
    ) -> bytes:
        """Connect to the relay of a code and return what the code stands for.

        `claim` goes on over the same connection, with the same key; the relays that it is given
        begin with this one.

        Args:
            terms: the code.
            relays: one region.
            limit_s: how long a first answer is awaited, also while the relay says that nobody is
                there; None for the usual times.
            wait: how to wait.

        Raises `CodeRefused`, and what `wait` raises or what failed in the background.
        """
        from tunnel.proto.code.code_claimer import CodeClaimer

        keys = KeyPair.from_secret(os.urandom(SECRET_KEY_SIZE))
        limits = {} if limit_s is None else {"limit_s": limit_s, "absence_s": limit_s}
        machine = CodeClaimer(terms, DerpKey(keys.public), os.urandom, **limits)
        self._run(machine, relays, keys, 1)
        (wait or self.wait)(lambda: self._redeemed)
        if not isinstance(self._redeemed, CodeAnswered):
            raise CodeRefused(self._redeemed)
        return self._redeemed.text

    def _go_on(self, pump: Pump, claimer: Claimer, relays: Relays) -> None:
        """Claim at the relay of the code first, and at the others of the token."""
        self._machine, self._relays = claimer, relays
        self._spare_regions.extend(relays.regions[1:])
        while self._spare_regions:
            self._open_next(pump)
        pump.change_machine(claimer)

    def resume(self, header: HeaderMaker, secret: bytes, wait: Wait | None = None) -> Link:
        """Come back after a link is over; the streams of the old one are not carried over.

        Where the link was over since the issuer holds it no more, another one is on its way
        already.  Raises as `claim` does.

        Args:
            header: makes the 64 bytes that name what was granted, see `Invitation`.
            secret: the secret that belongs to it.
            wait: how to wait; None for as long as it takes.
        """
        if self._claimer is None:
            raise MisuseError("nothing was claimed yet")
        self._answer = None
        if not self._claimer.is_renewed:
            self._claimer.claim_again(monotonic(), header, secret)
            self.hurry()
        return self._await_link(wait)

    def _await_link(self, wait: Wait | None) -> Link:
        is_answered = (wait or self.wait)(lambda: self._new_links or self._answer)
        if self._answer is not None or not is_answered:
            raise NotAdmitted(self._answer)
        return self._hand_out()

    def _take(self, event: MachineEvent) -> None:
        if isinstance(event, Refused | NotUnderstood):
            self._answer = event
        if isinstance(event, CodeAnswered | CodeFailed):
            self._redeemed = event
        super()._take(event)
