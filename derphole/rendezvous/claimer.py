"""ClaimerRendezvous: a token, its relays, a claim, and the link that comes of it.

claim()  --token's secret------> link ... over
resume() --resumption secret---> a new link of the same process, also after expiry ... over
"""

from collections.abc import Callable

from derphole.config import NetworkOptions
from derphole.errors import DerpholeError, OtherVersion
from derphole.rendezvous.common import (
    Rendezvous,
    endpoint_options,
    open_trace,
    own_port,
    relays_of,
)
from derphole.rendezvous.relays import claimer_relays
from derphole.speech.endings import ending_error, program_text, refusal_error
from derphole.status import Report
from derphole.token.admission import claim_header
from derphole.token.text import SessionToken
from tunnel.errors import MisuseError
from tunnel.net.clock import wall
from tunnel.net.endpoint import ClaimerEndpoint, EndpointEvent, Invitation, Link, NotAdmitted, Wait
from tunnel.proto.meeting.owner import NotHere, NotUnderstood, Refused
from tunnel.units import Seconds


class ClaimerRendezvous(Rendezvous):
    """The side that uses the token.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        token: what the other side printed.
    """

    def __init__(self, options: NetworkOptions, report: Report, token: SessionToken) -> None:
        trace = open_trace(options)
        self._claimer = ClaimerEndpoint(
            options=endpoint_options(options),
            on_event=self._take,
            trace=trace if trace.is_on else None,
        )
        super().__init__(options, report, self._claimer, trace)
        self._token = token

    def claim(self, what: str) -> Link:
        """Use the token and wait until the other side has let us in.

        Raises what the other side refuses with, `RelayTrouble`, `TimedOut`.
        """
        token = self._token
        choice = claimer_relays(self.options, token.hints, token.issuer_derp, self.report)
        invitation = Invitation(
            token.issuer_noise, token.issuer_derp, claim_header(token.grant), token.secret
        )
        relays = relays_of(choice, self.options)
        limit_s = self.options.timeout_s
        with own_port():
            return self._admitted(
                what, lambda: self._claimer.claim(invitation, relays, self._wait(what, limit_s))
            )

    def resume(self, secret: bytes | None, what: str, limit_s: Seconds) -> Link:
        """Come back after a link is over; the streams of the old one are not carried over.

        Raises what the other side refuses with, `TimedOut`.

        Args:
            secret: what the other side handed out for it; None uses the token once more.
            what: what is awaited.
            limit_s: how long.
        """
        header = claim_header(self._token.grant, secret)
        proof = secret or self._token.secret
        return self._admitted(
            what, lambda: self._claimer.resume(header, proof, self._wait(what, limit_s))
        )

    def hurry(self) -> None:
        """Try every relay at once instead of waiting for its next attempt."""
        self._claimer.hurry()

    def _wait(self, what: str, limit_s: Seconds | None) -> Wait:
        return lambda is_answered: self._waiter.wait(what, is_answered, limit_s)

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
                return refusal_error(answer, self._token.grant, wall())
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
