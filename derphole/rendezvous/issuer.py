"""IssuerRendezvous: relays chosen, one connected, a token for the other side, and who uses it."""

import os
from collections.abc import Callable
from weakref import WeakKeyDictionary

from derphole.config import NetworkOptions
from derphole.errors import FeatureMissing, OtherVersion, RelayTrouble, TokenUnclaimed
from derphole.rendezvous.common import (
    Rendezvous,
    endpoint_options,
    open_trace,
    own_port,
    relays_of,
)
from derphole.rendezvous.relays import issuer_relays, relay_hints
from derphole.speech.endings import program_text
from derphole.status import Caution, Report
from derphole.token.admission import Refusal, SessionGate
from derphole.token.grant import GRANT_ID_SIZE, SEED_SIZE, Capability, Grant, Mint
from derphole.token.text import SESSION_LIFE_S, session_token, token_text
from tunnel.crypto.keys import DerpKey
from tunnel.net.clock import wall
from tunnel.net.endpoint import EndpointEvent, IssuerEndpoint, Link, LinkArrived
from tunnel.proto.meeting.owner import Declined, OtherVersionClaimed
from tunnel.units import WallTime

# Chosen: a token's holder may send us whatever it likes; what it cannot do is fill the terminal.
MAX_MISFITS_TOLD = 3


class IssuerRendezvous(Rendezvous):
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
        keys = self._mint.keys
        self.gate = SessionGate(keys, self._grant)
        self._clients: WeakKeyDictionary[Link, bytes] = WeakKeyDictionary()
        self._told_misfits: set[str] = set()
        trace = open_trace(options)
        self._issuer = IssuerEndpoint(
            keys.noise,
            keys.derp,
            self.gate,
            places,
            options=endpoint_options(options),
            on_event=self._take,
            trace=trace if trace.is_on else None,
        )
        super().__init__(options, report, self._issuer, trace)

    def issue(self) -> str:
        """Connect to a relay and return the token's text; raises `RelayTrouble`, `TimedOut`."""
        issuer_key = DerpKey(self._mint.keys.derp.public)
        choice = issuer_relays(self.options, issuer_key, self.report)
        self.uses_public_relays = choice.is_public
        with own_port():
            self._issuer.open(relays_of(choice, self.options))
        self._waiter.wait("a relay", lambda: self._relays.connected, self.options.timeout_s)
        relay = self._relays.connected
        if relay is None or relay.node is None:
            raise RelayTrouble(self._relays.trouble or "none is connected")
        hints = relay_hints(choice, relay.node, relay.leaf_pin)
        return token_text(session_token(self._mint, self._grant, hints))

    def wait_link(self, what: str) -> Link:
        """Wait until somebody has used the token.

        Raises `TokenUnclaimed` when nobody did before it expired, `TimedOut`.
        """
        expires_at, limit_s = WallTime(self._expires_at), self.options.timeout_s
        link = self._issuer.accept_link(
            lambda is_here: self._waiter.wait(what, is_here, limit_s, expires_at)
        )
        if link is None:
            raise TokenUnclaimed
        return link

    def next_link(self, is_over: Callable[[], bool]) -> Link | None:
        """Wait for another link, without a word; returns None when `is_over`."""

        def wait(is_here: Callable[[], object]) -> bool:
            self._waiter.idle_until(lambda: is_here() or is_over())
            return bool(is_here())

        return self._issuer.accept_link(wait)

    def keep_places(self) -> None:
        """Let no newcomer have the place of a silent sender from now on."""
        self._issuer.keep_places()

    @property
    def expires_at(self) -> WallTime:
        """Until when the token is good for a new claim."""
        return WallTime(self._grant.expires_at)

    @property
    def is_expired(self) -> bool:
        """Whether the token is good for no new claim any more."""
        return wall() >= self.expires_at

    def client_of(self, link: Link) -> bytes:
        """Return what the process at the other end of a link is known by."""
        return self._clients[link]

    def resumption_secret(self, link: Link) -> bytes:
        """Return what lets the process at the other end of a link come back; 16 secret bytes."""
        return self.gate.resumptions.hand_out(self._clients[link])

    def _take_claims(self, event: EndpointEvent) -> None:
        match event:
            case LinkArrived(link, instance, is_proven):
                is_taken = instance in self.gate.resumptions or instance in self._clients.values()
                # Whoever only names a process that we know is somebody else.
                is_other = is_taken and not is_proven
                self._clients[link] = os.urandom(len(instance)) if is_other else instance
            case Declined(verdict, program):
                self.trace("claim.refused", {"verdict": verdict})
                if verdict in (Refusal.CLAIMER_LACKS, Refusal.ISSUER_LACKS):
                    is_here = verdict == Refusal.ISSUER_LACKS
                    self._tell_misfit(str(FeatureMissing(is_here, program_text(program))))
            case OtherVersionClaimed(version):
                self.trace("claim.refused", {"version": version})
                self._tell_misfit(str(OtherVersion(version, "")))
            case _:
                pass

    def _tell_misfit(self, why: str) -> None:
        """Say why somebody who has the token cannot use it, once."""
        if why not in self._told_misfits and len(self._told_misfits) < MAX_MISFITS_TOLD:
            self._told_misfits.add(why)
            self.report(Caution(f"a claim was refused: {why}"))
