"""IssuerRendezvous: relays chosen, one connected, a token for the other side, and who uses it.

A short code that leads to the token is offered where one is wanted; while a claim could not get the
place, the code rests.
"""

import os

from derphole.config import NetworkOptions
from derphole.errors import TokenUnclaimed
from derphole.rendezvous.common import endpoint_options
from derphole.rendezvous.issuing import Issuing
from derphole.rendezvous.relays import issuer_relays, relay_hints
from derphole.status import Report, State, StateChanged, TokenIssued
from derphole.token.admission import SessionGate
from derphole.token.grant import GRANT_ID_SIZE, SEED_SIZE, Capability, Grant, Mint
from derphole.token.text import SESSION_LIFE_S, session_token, token_text
from tunnel.crypto.keys import DerpKey
from tunnel.net.clock import wall
from tunnel.net.endpoint import Link, RelayStatus
from tunnel.units import WallTime


class IssuerRendezvous(Issuing):
    """The side that makes the token.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        capability: what the token allows.
        expires_at: when it ends; None for the usual life.
        places: how many links may live at once.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        capability: Capability,
        expires_at: WallTime | None,
        places: int = 1,
    ) -> None:
        self._mint = Mint.from_seed(os.urandom(SEED_SIZE))
        self._expires_at = expires_at if expires_at is not None else wall() + SESSION_LIFE_S
        self._grant = Grant(os.urandom(GRANT_ID_SIZE), int(self._expires_at), capability)
        self.gate = SessionGate(self._mint.keys, self._grant)
        self._places = places
        self._met_at: RelayStatus | None = None
        behaviour = endpoint_options(options)
        super().__init__(options, report, self._mint, self.gate, places, behaviour)

    def issue(self) -> str:
        """Connect to a relay and return the token's text; raises `RelayTrouble`, `TimedOut`."""
        issuer_key = DerpKey(self._mint.keys.derp.public)
        choice = issuer_relays(self.options, issuer_key, self.report)
        self._met_at = relay = self.connect(choice)
        assert relay.node is not None
        hints = relay_hints(choice, relay.node, relay.leaf_pin)
        return token_text(session_token(self._mint, self._grant, hints))

    def offer(self) -> None:
        """Connect to a relay, and tell the token and, as soon as there is one, a code.

        Raises `RelayTrouble`, `TimedOut`.
        """
        token, has_code = self.issue(), self.options.code_words is not None
        self.report(StateChanged(State.WAITING_FOR_CLAIM))
        self.report(TokenIssued(token, self.expires_at, has_code))
        if has_code and self._met_at is not None:
            from derphole.rendezvous.code_offer import CodeOffer

            offer = CodeOffer(self.options, self.report, self._issuer, token, self.expires_at)
            offer.begin(self._met_at)

    def wait_link(self, what: str) -> Link:
        """Wait until somebody has used the token, or a code.

        Raises `TokenUnclaimed` when nobody did before it expired, `TimedOut`.
        """
        if len(self._issuer.links) < self._places:
            self._issuer.resume_codes()
        expires_at, limit_s = WallTime(self._expires_at), self.options.timeout_s
        link = self._issuer.accept_link(
            lambda is_here: self._waiter.wait(what, is_here, limit_s, expires_at)
        )
        if link is None:
            raise TokenUnclaimed
        return link

    def keep_places(self) -> None:
        """Let no newcomer have the place of a silent sender from now on."""
        self._issuer.keep_places()
        self._issuer.rest_codes()

    @property
    def expires_at(self) -> WallTime:
        """Until when the token is good for a new claim."""
        return WallTime(self._grant.expires_at)

    @property
    def is_expired(self) -> bool:
        """Whether the token is good for no new claim any more."""
        return wall() >= self.expires_at

    def resumption_secret(self, link: Link) -> bytes:
        """Return what lets the process at the other end of a link come back; 16 secret bytes."""
        return self.gate.resumptions.hand_out(self._clients[link])

    def _is_known(self, instance: bytes) -> bool:
        return instance in self.gate.resumptions or super()._is_known(instance)
