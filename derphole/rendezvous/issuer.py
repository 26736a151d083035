"""IssuerRendezvous: relays chosen, one connected, a token for the other side, and who uses it."""

import os
from collections.abc import Callable
from weakref import WeakKeyDictionary

from derphole import PROGRAM
from derphole.config import NetworkOptions
from derphole.errors import FeatureMissing, OtherVersion, RelayTrouble, TokenUnclaimed
from derphole.rendezvous.common import Rendezvous
from derphole.rendezvous.relays import issuer_relays, relay_hints
from derphole.speech.endings import program_text
from derphole.status import Caution, Report
from derphole.token.admission import Refusal, SessionGate
from derphole.token.grant import GRANT_ID_SIZE, SEED_SIZE, Capability, Grant, Mint
from derphole.token.text import SESSION_LIFE_S, session_token, token_text
from tunnel.crypto.aead import fast_aeads
from tunnel.crypto.keys import DerpKey
from tunnel.net.clock import wall
from tunnel.net.link import Link
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.meeting.claimer import ClaimerEvent
from tunnel.proto.meeting.issuer import Issuer, IssuerIdentity
from tunnel.proto.meeting.places import Declined, IssuerEvent, LinkAdmitted, OtherVersionClaimed
from tunnel.units import WallTime
from tunnel.wire.handshake import INSTANCE_SIZE

# Chosen.
RELAYS_OF_ISSUER = 2  # the issuer stays connected to its first two hints
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
        super().__init__(options, report, self._take)
        self._identity = Mint.from_seed(os.urandom(SEED_SIZE))
        self._expires_at = expires_at if expires_at is not None else wall() + SESSION_LIFE_S
        self._grant = Grant(os.urandom(GRANT_ID_SIZE), int(self._expires_at), capability)
        self.gate = SessionGate(self._identity.keys, self._grant)
        keys = self._identity.keys
        self._clients: WeakKeyDictionary[PeerLink, bytes] = WeakKeyDictionary()
        self._told_misfits: set[str] = set()
        self._issuer_key = DerpKey(keys.derp.public)
        identity = IssuerIdentity(
            keys.noise,
            self._issuer_key,
            self._features(),
            fast_aeads(),
            places,
            required=self._features(),
            program=PROGRAM.encode("ascii"),
        )
        is_polite = self._connections.is_polite
        self.machine = Issuer(identity, self.gate, os.urandom, is_polite, self.trace)

    def issue(self) -> str:
        """Connect to a relay and return the token's text; raises `RelayTrouble`, `TimedOut`."""
        choice = issuer_relays(self.options, self._issuer_key, self.report)
        connections = self._connections
        self._open_relays(self.machine, choice, self._identity.keys.derp, RELAYS_OF_ISSUER)
        self._waiter.wait("a relay", lambda: connections.connected, self.options.timeout_s)
        relay = connections.connected
        if relay is None or relay.node is None:
            raise RelayTrouble(connections.trouble or "none is connected")
        hints = relay_hints(choice, relay.node, relay.leaf_pin)
        return token_text(session_token(self._identity, self._grant, hints))

    def wait_link(self, what: str) -> Link:
        """Wait until somebody has used the token.

        Raises `TokenUnclaimed` when nobody did before it expired, `TimedOut`.
        """
        expires_at = WallTime(self._expires_at)
        limit_s = self.options.timeout_s
        if not self._waiter.wait(what, lambda: self._new_links, limit_s, expires_at):
            raise TokenUnclaimed
        return self._new_links.popleft()

    def next_link(self, is_over: Callable[[], bool]) -> Link | None:
        """Wait for another link, without a word; returns None when `is_over`."""
        self._waiter.idle_until(lambda: self._new_links or is_over())
        return self._new_links.popleft() if self._new_links else None

    @property
    def is_expired(self) -> bool:
        """Whether the token is good for no new claim any more."""
        return wall() >= self._grant.expires_at

    def client_of(self, link: Link) -> bytes:
        """Return what the process at the other end of a link is known by."""
        return self._clients[link.machine]

    def resumption_secret(self, link: Link) -> bytes:
        """Return what lets the process at the other end of a link come back; 16 secret bytes."""
        return self.gate.resumptions.hand_out(self._clients[link.machine])

    def _take(self, event: IssuerEvent | ClaimerEvent) -> None:
        match event:
            case LinkAdmitted(machine, _, instance, is_proven):
                is_taken = instance in self.gate.resumptions or instance in self._clients.values()
                # Whoever only names a process that we know is somebody else.
                is_other = is_taken and not is_proven
                self._clients[machine] = os.urandom(INSTANCE_SIZE) if is_other else instance
                self._add_link(machine)
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
