"""Codes of an issuer, in words: drawn for the relay that it waits at, and what becomes of them."""

import os
import shlex

from derphole.code_status import CodeIssued, CodeOver, NoCodeNow, WrongCode
from derphole.config import NetworkOptions
from derphole.status import Report
from derphole.token.code import MAX_REGION, OWN_RELAY_REGION, drawn_code
from tunnel.net.clock import monotonic, wall
from tunnel.net.code_meeting import CodeNews
from tunnel.net.endpoint import IssuerEndpoint, RelayStatus
from tunnel.proto.code.code_issuer import CodeEnd, WrongProof
from tunnel.proto.code.code_series import CodeDead, CodeReady, NoCode
from tunnel.proto.code.terms import CodeTerms
from tunnel.units import Instant, WallTime
from tunnel.wire.code import ANSWER_TEXT_SIZE

REASONS = {
    CodeEnd.TAKEN: "others are using those that were drawn",
    CodeEnd.UNREACHABLE: "the relay does not let us in under a second key",
    CodeEnd.GUESSED: "it was tried with wrong words three times",
    CodeEnd.BURNT: "somebody asks for it again and again without knowing its words",
    CodeEnd.SQUATTED: "somebody else has taken its place at the relay",
}


class CodeOffer:
    """The codes of one command, as a person sees them.

    Args:
        options: the settings of the command, which say how many words a code has.
        report: told what becomes of codes.
        endpoint: the issuer's.
        token: what they stand for.
        expires_at: its end.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        endpoint: IssuerEndpoint,
        token: str,
        expires_at: WallTime,
    ) -> None:
        self._options = options
        self._report = report
        self._endpoint = endpoint
        self._token = token
        self._expires_at = expires_at
        self._region = OWN_RELAY_REGION

    def begin(self, relay: RelayStatus) -> None:
        """Offer codes at a relay that is connected; does not wait."""
        if self._options.relay is None:
            self._region = relay.region.id
        if self._region > MAX_REGION or len(self._token) > ANSWER_TEXT_SIZE:
            self._report(NoCodeNow("none can be made for this relay"))
            return
        ends_at = Instant(monotonic() + self._expires_at - wall())
        text = self._token.encode("ascii")
        self._endpoint.offer_codes(relay.number, self._draw, text, ends_at, self._take)

    def _draw(self) -> CodeTerms:
        words = self._options.code_words
        assert words is not None
        return drawn_code(self._region, words, os.urandom).terms

    def _take(self, news: CodeNews) -> None:
        match news:
            case CodeReady(terms):
                code = f"{terms.place.decode('ascii')}-{terms.words.decode('ascii')}"
                needs = needed_options(self._options)
                self._report(CodeIssued(code, self._expires_at, needs))
            case WrongProof(count, limit):
                self._report(WrongCode(count, limit))
            case CodeDead(terms, reason, is_last):
                place = terms.place.decode("ascii")
                self._report(CodeOver(place, REASONS[reason], is_last))
            case NoCode(reason):
                self._report(NoCodeNow(REASONS[reason]))
            case _:
                pass


def needed_options(options: NetworkOptions) -> str:
    """Return the options that the other side needs beside a code, as typed; often none."""
    if options.relay is not None:
        relay = options.relay
        url = f"{relay.url}#{relay.pin}" if relay.pin else relay.url
        return f"--relay {shlex.quote(url)}"
    if options.derp_map is not None:
        return f"--derp-map {shlex.quote(options.derp_map)}"
    return ""
