"""ClaimerRendezvous: a token, its relays, a claim, and the link that comes of it.

claim()  --token's secret------> link ... over
resume() --resumption secret---> a new link of the same process, also after expiry ... over
"""

import os

from derphole import PROGRAM
from derphole.config import NetworkOptions
from derphole.errors import DerpholeError, OtherVersion
from derphole.rendezvous.common import Rendezvous
from derphole.rendezvous.relays import claimer_relays
from derphole.speech.endings import ending_error, program_text, refusal_error
from derphole.status import Report
from derphole.token.admission import claim_header
from derphole.token.text import SessionToken
from tunnel.crypto.aead import fast_aeads
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import MisuseError
from tunnel.net.clock import monotonic, wall
from tunnel.net.link import Link
from tunnel.proto.meeting.claimer import (
    Claimer,
    ClaimerEvent,
    ClaimerIdentity,
    LinkUp,
    NotHere,
    NotUnderstood,
    Refused,
)
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.places import IssuerEvent
from tunnel.units import Seconds
from tunnel.wire.handshake import INSTANCE_SIZE


class ClaimerRendezvous(Rendezvous):
    """The side that uses the token.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        token: what the other side printed.
    """

    def __init__(self, options: NetworkOptions, report: Report, token: SessionToken) -> None:
        super().__init__(options, report, self._take)
        self._token = token
        self._refusal: DerpholeError | None = None
        self._instance = os.urandom(INSTANCE_SIZE)
        self._machine: Claimer | None = None

    def claim(self, what: str) -> Link:
        """Use the token and wait until the other side has let us in.

        Raises what the other side refuses with, `RelayTrouble`, `TimedOut`.
        """
        token = self._token
        choice = claimer_relays(self.options, token.hints, token.issuer_derp, self.report)
        keys = KeyPair.from_secret(os.urandom(32))
        identity = ClaimerIdentity(
            meeting=Meeting(token.issuer_noise, token.issuer_derp, DerpKey(keys.public)),
            header=claim_header(token.grant),
            secret=token.secret,
            instance=self._instance,
            features=self._features(),
            fast_aeads=fast_aeads(),
            required=self._features(),
            program=PROGRAM.encode("ascii"),
        )
        relays = list(range(len(choice.regions)))
        is_polite = self._connections.is_polite
        machine = Claimer(monotonic(), identity, relays, os.urandom, is_polite, self.trace)
        self._machine = machine
        self._open_relays(machine, choice, keys, len(relays))
        return self._await_link(what, self.options.timeout_s)

    def resume(self, secret: bytes | None, what: str, limit_s: Seconds) -> Link:
        """Come back after a link is over; the streams of the old one are not carried over.

        Raises what the other side refuses with, `TimedOut`.

        Args:
            secret: what the other side handed out for it; None uses the token once more.
            what: what is awaited.
            limit_s: how long.
        """
        if self._machine is None:
            raise MisuseError("nothing was claimed yet")
        header = claim_header(self._token.grant, secret)
        self._refusal = None
        self._machine.claim_again(monotonic(), header, secret or self._token.secret)
        self.hurry()
        return self._await_link(what, limit_s)

    def hurry(self) -> None:
        """Try every relay at once instead of waiting for its next attempt."""
        self._connections.hurry()

    def _await_link(self, what: str, limit_s: Seconds | None) -> Link:
        self._waiter.wait(what, lambda: self._new_links or self._refusal, limit_s)
        if self._refusal is not None:
            raise self._refusal
        link = self._new_links.popleft()
        if link.end is not None:  # its first packet was a close: the place is taken
            raise ending_error(link.end, what)
        return link

    def _take(self, event: IssuerEvent | ClaimerEvent) -> None:
        match event:
            case LinkUp(machine):
                self._add_link(machine)
            case NotHere(relay):
                self.trace("claim.not_here", {"relay": relay})
            case Refused(verdict):
                self.trace("claim.refused", {"verdict": verdict})
                self._refusal = refusal_error(event, self._token.grant, wall())
            case NotUnderstood(version, program):
                self.trace("claim.refused", {"version": version})
                self._refusal = OtherVersion(version, program_text(program))
            case _:
                pass
