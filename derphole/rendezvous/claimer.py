"""ClaimerRendezvous: a token, its relays, a claim, and the link that comes of it.

An issuer that the relay says is not there is not waited for without end.  A short code is made a
token of first, over the same relay connection.

claim()  --token's secret------> link ... over
resume() --resumption secret---> a new link of the same process, also after expiry ... over
"""

from collections.abc import Callable
from math import inf

from derphole.config import NetworkOptions
from derphole.errors import (
    CodeNotProven,
    CodeUnanswered,
    CodeUnknown,
    CodeWrong,
    DerpholeError,
    NobodyThere,
    OtherVersion,
)
from derphole.rendezvous.common import (
    Rendezvous,
    endpoint_options,
    open_trace,
    own_port,
    relays_of,
)
from derphole.rendezvous.relay_words import GiveUp
from derphole.rendezvous.relays import RelayChoice, claimer_relays, code_relays
from derphole.speech.endings import ending_error, program_text, refusal_error
from derphole.status import Notice, Report
from derphole.token.admission import claim_header
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.text import ClientToken, SessionToken, parse_token
from derphole.token.validity import check_not_expired, check_session
from tunnel.errors import MisuseError
from tunnel.net.clock import monotonic, wall
from tunnel.net.endpoint import (
    ClaimerEndpoint,
    CodeRefused,
    EndpointEvent,
    EndpointOptions,
    Invitation,
    Link,
    NotAdmitted,
    Wait,
)
from tunnel.proto.meeting.owner import CodeFailed, CodeFault, NotHere, NotUnderstood, Refused
from tunnel.units import Instant, Seconds
from tunnel.values import replace

# Chosen (design, section 5): whoever starts both sides by hand, one after the other, needs less.
ABSENCE_S: Seconds = 120.0
# Chosen: an issuer that lost its relay is back by then; one whose token has expired has ended.
EXPIRED_ABSENCE_S: Seconds = 10.0
CODE_AWAITED = "the other side to answer the code"
ABSENT = "the relay says that nobody is there"
SERVER_ABSENT = (
    "check that `derptun serve` runs on the other machine with the server token that this client "
    "token was made from, and that it reaches the relay"
)


class ClaimerRendezvous(Rendezvous):
    """The side that uses the token.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        token: what the other side printed: a token, or a code.
        behaviour: of the endpoint; None for the usual one.
        capability: what the token of a code must allow.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        token: SessionToken | ClientToken | Code,
        behaviour: EndpointOptions | None = None,
        capability: Capability | None = None,
    ) -> None:
        trace = open_trace(options)
        self._claimer = ClaimerEndpoint(
            options=behaviour or endpoint_options(options),
            on_event=self._take,
            trace=trace if trace.is_on else None,
        )
        super().__init__(options, report, self._claimer, trace)
        self._code = token if isinstance(token, Code) else None
        self._given = None if isinstance(token, Code) else token
        self._capability = capability
        self._choice: RelayChoice | None = None
        self._met_in: RelayChoice | None = None  # where the code was answered

    @property
    def token(self) -> SessionToken | ClientToken:
        """The token; of a code, once it is known."""
        if self._given is None:
            raise MisuseError("the code was not made a token of yet")
        return self._given

    def find_relays(self) -> RelayChoice:
        """Find out where the token says to meet, once; raises `RelayTrouble`."""
        if self._choice is None:
            token = self.token
            choice = claimer_relays(self.options, token.hints, token.issuer_derp, self.report)
            self._choice = choice if self._met_in is None else _going_on(self._met_in, choice)
            self.uses_public_relays = self._choice.is_public
        return self._choice

    def claim(
        self,
        what: str,
        absence_s: Seconds = ABSENCE_S,
        expired_absence_s: Seconds = EXPIRED_ABSENCE_S,
    ) -> Link:
        """Use the token and wait until the other side has let us in.

        Raises what the other side refuses with, `TokenExpired`, `RelayTrouble`, `TimedOut`.

        Args:
            what: what is awaited.
            absence_s: how long an issuer is awaited that is not there, as the relay says; what the
                person chose goes before.
            expired_absence_s: the same once the token has expired.
        """
        if self._code is not None and self._given is None:
            self._given = self._redeemed(self._code)
        token = self.token
        choice = self.find_relays()
        invitation = Invitation(
            token.issuer_noise, token.issuer_derp, claim_header(token.grant), token.secret
        )
        relays = relays_of(choice, self.options)
        limit_s = self.options.timeout_s
        if limit_s is not None or self.options.is_patient:
            absence_s = inf
        if self.options.is_patient:
            expired_absence_s = inf
        wait = self._wait(what, limit_s, absence_s, expired_absence_s)
        with own_port():
            return self._admitted(what, lambda: self._claimer.claim(invitation, relays, wait))

    def resume(self, secret: bytes | None, what: str, limit_s: Seconds | None) -> Link:
        """Come back after a link is over; the streams of the old one are not carried over.

        Raises what the other side refuses with, `TimedOut`.

        Args:
            secret: what the other side handed out for it; None uses the token once more.
            what: what is awaited.
            limit_s: how long; None for ever.
        """
        header = claim_header(self.token.grant, secret)
        proof = secret or self.token.secret
        # Who was in once comes back after expiry, too; the token itself does not serve then.
        wait = self._wait(what, limit_s, inf, None if secret else EXPIRED_ABSENCE_S)
        return self._admitted(what, lambda: self._claimer.resume(header, proof, wait))

    def hurry(self) -> None:
        """Try every relay at once instead of waiting for its next attempt."""
        self._claimer.hurry()

    def _redeemed(self, code: Code) -> SessionToken:
        """Return the token that a code leads to; raises why it leads to none."""
        self.report(Notice(f"using the code {code.text}"))
        self._met_in = choice = code_relays(self.options, code.region, self.report)
        limit_s = inf if self.options.is_patient else self.options.timeout_s
        place = code.terms.place.decode("ascii")

        def wait(is_over: Callable[[], object]) -> bool:
            return self._waiter.wait(CODE_AWAITED, is_over, self.options.timeout_s)

        relays = relays_of(choice, self.options)
        try:
            with own_port():
                text = self._claimer.redeem(code.terms, relays, limit_s, wait)
        except CodeRefused as error:
            raise _code_error(place, error.failed) from None
        assert self._capability is not None
        return check_session(parse_token(text.decode("ascii", "replace")), self._capability, wall())

    def _wait(
        self,
        what: str,
        limit_s: Seconds | None,
        absence_s: Seconds,
        expired_absence_s: Seconds | None,
    ) -> Wait:
        """Return what waits for an answer.

        Args:
            what: what is awaited.
            limit_s: how long at most; None for as long as it takes.
            absence_s: how long an issuer is awaited that is not there, as the relay says.
            expired_absence_s: the same once the token has expired; None where that does not matter.
        """
        expires_at = self.token.grant.expires_at

        def nobody(after_s: Seconds) -> NobodyThere:
            expired_at = expires_at if wall() >= expires_at else None
            is_tunnel = isinstance(self.token, ClientToken)
            return NobodyThere(what, after_s, expired_at, SERVER_ABSENT if is_tunnel else None)

        def give_up() -> GiveUp | None:
            if expired_absence_s is not None:
                check_not_expired(expires_at, wall())
            since = self._claimer.absent_since
            if since is None:
                return None
            at = since + absence_s
            if expired_absence_s is not None:
                expired_since = max(since, monotonic() + expires_at - wall())
                at = min(at, expired_since + expired_absence_s)
            return GiveUp(Instant(at), nobody, ABSENT)

        return lambda is_answered: self._waiter.wait(what, is_answered, limit_s, give_up=give_up)

    def _admitted(self, what: str, claim: Callable[[], Link]) -> Link:
        """Return the link that comes of a claim; raises what a person reads when none does."""
        try:
            link = claim()
        except NotAdmitted as error:
            raise self._refusal(error.answer) from None
        if link.end is not None:  # its first packet was a close: the place is taken
            raise ending_error(link.end, what)
        return link

    def _refusal(self, answer: Refused | NotUnderstood | None) -> DerpholeError:
        match answer:
            case Refused():
                return refusal_error(answer, self.token.grant, wall())
            case NotUnderstood(version, program):
                return OtherVersion(version, program_text(program))
            case None:
                raise MisuseError("a wait without an answer raises")

    def _take_claims(self, event: EndpointEvent) -> None:
        match event:
            case NotHere(relay):
                self.trace("claim.not_here", {"relay": relay})
            case Refused(verdict):
                self.trace("claim.refused", {"verdict": verdict})
            case NotUnderstood(version):
                self.trace("claim.refused", {"version": version})
            case _:
                pass


def _going_on(met_in: RelayChoice, choice: RelayChoice) -> RelayChoice:
    """Return where to claim after a code: at its relay first, then where else the token says."""
    (met,) = met_in.regions
    others = [region for region in choice.regions if region.id != met.id and choice.is_public]
    return replace(met_in, regions=(met, *others))


def _code_error(place: str, failed: CodeFailed | None) -> DerpholeError:
    """Return what a person reads when a code led to nothing."""
    match failed:
        case CodeFailed(CodeFault.ABSENT):
            return CodeUnknown(place)
        case CodeFailed(CodeFault.WRONG):
            return CodeWrong(place)
        case CodeFailed(CodeFault.IMPOSTOR):
            return CodeNotProven(place)
        case _:
            return CodeUnanswered(place, is_spent=failed is not None and failed.is_spent)
