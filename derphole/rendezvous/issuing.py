"""Issuing: what all have in common to whom others come: an endpoint, its relays, and who comes."""

import os
from collections.abc import Callable
from weakref import WeakKeyDictionary

from derphole.config import NetworkOptions
from derphole.errors import FeatureMissing, OtherVersion, RelayTrouble
from derphole.rendezvous.common import Rendezvous, open_trace, own_port, relays_of
from derphole.rendezvous.relays import RelayChoice
from derphole.speech.endings import program_text
from derphole.status import Caution, Report
from derphole.token.admission import Refusal
from derphole.token.grant import Mint
from tunnel.net.endpoint import (
    EndpointEvent,
    EndpointOptions,
    IssuerEndpoint,
    Link,
    LinkArrived,
    RelayStatus,
)
from tunnel.proto.meeting.owner import Declined, Gate, OtherVersionClaimed

# Chosen: a token's holder may send us whatever it likes; what it cannot do is fill the terminal.
MAX_MISFITS_TOLD = 3


class Issuing(Rendezvous):
    """The side that others come to.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        mint: its keys.
        gate: who may come.
        places: how many links may live at once.
        behaviour: of its endpoint.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        mint: Mint,
        gate: Gate,
        places: int,
        behaviour: EndpointOptions,
    ) -> None:
        self._clients: WeakKeyDictionary[Link, bytes] = WeakKeyDictionary()
        self._headers: WeakKeyDictionary[Link, bytes] = WeakKeyDictionary()
        self._told_misfits: set[str] = set()
        trace = open_trace(options)
        self._issuer = IssuerEndpoint(
            mint.keys.noise,
            mint.keys.derp,
            gate,
            places,
            options=behaviour,
            on_event=self._take,
            trace=trace if trace.is_on else None,
        )
        super().__init__(options, report, self._issuer, trace)

    def connect(self, choice: RelayChoice) -> RelayStatus:
        """Connect to relays, answer claims from then on, and return the relay that was first.

        Raises `RelayTrouble`, `TimedOut`.
        """
        self.uses_public_relays = choice.is_public
        with own_port():
            self._issuer.open(relays_of(choice, self.options))
        self._waiter.wait("a relay", lambda: self._relays.connected, self.options.timeout_s)
        relay = self._relays.connected
        if relay is None or relay.node is None:
            raise RelayTrouble(self._relays.trouble or "none is connected")
        return relay

    def next_link(self, is_over: Callable[[], bool]) -> Link | None:
        """Wait for another link, without a word; returns None when `is_over`."""

        def wait(is_here: Callable[[], object]) -> bool:
            self._waiter.idle_until(lambda: is_here() or is_over())
            return bool(is_here())

        return self._issuer.accept_link(wait)

    def client_of(self, link: Link) -> bytes:
        """Return what the process at the other end of a link is known by."""
        return self._clients[link]

    def header_of(self, link: Link) -> bytes:
        """Return the header of the claim that a link came of."""
        return self._headers[link]

    def _is_known(self, instance: bytes) -> bool:
        """Tell whether a process was here, so that another one cannot call itself the same."""
        return instance in self._clients.values()

    def _take_claims(self, event: EndpointEvent) -> None:
        match event:
            case LinkArrived(link, instance, is_proven, header):
                # Whoever only names a process that we know is somebody else.
                is_other = self._is_known(instance) and not is_proven
                self._clients[link] = os.urandom(len(instance)) if is_other else instance
                self._headers[link] = header
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
