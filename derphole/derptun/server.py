"""ServerRendezvous: a server token, its relays, and whoever comes with a token made from it.

is_served_elsewhere()   asks from a key of its own, before and after we are at the relays:
                        two that serve with one token would each get half of the packets
"""

import os
from collections.abc import Callable

from derphole.config import NetworkOptions
from derphole.derptun.gate import ASKS, REPLACES, TunnelGate
from derphole.derptun.limits import GIVE_UP_S
from derphole.rendezvous.common import endpoint_options, relays_of
from derphole.rendezvous.issuing import Issuing
from derphole.rendezvous.relays import RelayChoice, claimer_relays
from derphole.status import Report
from derphole.token.admission import Refusal, claim_header
from derphole.token.grant import GRANT_ID_SIZE, MAX_EXPIRY, Capability, Grant, Mint
from derphole.token.text import ServerToken
from tunnel.crypto.keys import DerpKey, NoiseKey
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import (
    ClaimerEndpoint,
    EndpointEvent,
    EndpointOptions,
    Invitation,
    NotAdmitted,
    RelayState,
)
from tunnel.proto.meeting.owner import Declined, Refused
from tunnel.units import Instant, Seconds

# Chosen: whoever serves answers within a round trip; a relay that is slow is not awaited.
ASKING_S: Seconds = 3.0
OTHER_RELAYS_S: Seconds = 1.0  # for the other relays, once one says that nobody is there


class ServerRendezvous(Issuing):
    """The side of a tunnel that serves.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        server: the token.
        gate: who may come.
        places: how many links may live at once.
        on_asked: called when another one asks whether somebody serves with this token; must not
            block.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        server: ServerToken,
        gate: TunnelGate,
        places: int,
        on_asked: Callable[[], None],
    ) -> None:
        self._mint = Mint.from_seed(server.seed)
        self._hints = server.hints
        self._gate = gate
        self._on_asked = on_asked
        self._own_questions: dict[bytes, bool] = {}  # by grant: whether we answered it ourselves
        behaviour = endpoint_options(options, GIVE_UP_S)
        super().__init__(options, report, self._mint, gate, places, behaviour)

    def find_relays(self) -> RelayChoice:
        """Return where the token says to meet; raises `RelayTrouble`."""
        key = DerpKey(self._mint.keys.derp.public)
        return claimer_relays(self.options, self._hints, key, self.report)

    def is_served_elsewhere(self, choice: RelayChoice, *, replaces: bool = False) -> bool:
        """Ask at the relays whether somebody else serves with this token.

        Args:
            choice: where to ask.
            replaces: whether whoever does is to end.
        """
        keys = self._mint.keys
        name = REPLACES if replaces else ASKS
        grant = Grant(os.urandom(GRANT_ID_SIZE), MAX_EXPIRY, Capability.SERVE, name)
        invitation = Invitation(
            NoiseKey(keys.noise.public),
            DerpKey(keys.derp.public),
            claim_header(grant),
            self._mint.secret_of(grant),
        )
        self._own_questions[grant.id] = False
        with ClaimerEndpoint(options=EndpointOptions(is_relay_only=True)) as asking:
            try:
                link = asking.claim(
                    invitation,
                    relays_of(choice, self.options),
                    lambda is_answered: _wait(asking, is_answered),
                )
                link.wait_ended(ASKING_S)  # it ends its links as it ends
            except NotAdmitted as error:
                is_answered = isinstance(error.answer, Refused)
                return is_answered and not self._own_questions[grant.id]
        return True

    def _take_claims(self, event: EndpointEvent) -> None:
        if isinstance(event, Declined) and event.verdict == Refusal.SERVED:
            asked, self._gate.asked = self._gate.asked, []
            for grant in asked:
                if grant.id in self._own_questions:
                    self._own_questions[grant.id] = True
                else:
                    self._on_asked()
            return
        super()._take_claims(event)


def _wait(asking: ClaimerEndpoint, is_answered: Callable[[], object]) -> bool:
    """Wait for an answer, or until the relays say that nobody is there."""
    deadline = monotonic() + ASKING_S
    while True:
        absent_since = asking.absent_since
        if absent_since is not None:
            are_all_up = all(each.state is RelayState.CONNECTED for each in asking.relays)
            deadline = min(deadline, absent_since + (0.0 if are_all_up else OTHER_RELAYS_S))
        left_s = deadline - monotonic()
        if left_s <= 0:
            return bool(is_answered())
        known = absent_since

        def has_news(known: Instant | None = known) -> bool:
            return bool(is_answered()) or asking.absent_since != known

        asking.wait(has_news, left_s)
        if is_answered():
            return True
