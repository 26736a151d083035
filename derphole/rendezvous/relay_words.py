"""RelayWords: the relays of a run in words: which one is used, what is wrong, what to do about it.

When none of them can work, and that lasts, waiting is pointless; a link that is up goes on all the
same.
"""

from collections.abc import Callable

from derphole.config import NetworkOptions
from derphole.errors import DerpholeError, NoRelayTakesUs, RelayTrouble
from derphole.rendezvous.relays import no_relay_step
from derphole.status import Notice, RelayDown, Report
from tunnel.net.endpoint import Endpoint, RelayState, RelayStatus
from tunnel.net.relay_client.regions import RelayNode
from tunnel.units import Instant, Seconds
from tunnel.values import frozen

# Chosen: a key that is admitted late, or a relay's restart with another certificate, takes less.
REFUSAL_S: Seconds = 30.0
# Chosen: from here on a person notices it at every step.
SLOW_ROUND_TRIP_S: Seconds = 0.75
NO_RELAY_THERE = "check its scheme, host and port, and that it runs"


@frozen
class GiveUp:
    """When a wait is given up, as things are.

    Args:
        at: when; infinite for a wait that the person bounded.
        error: makes what is raised then, of how long it was waited.
        so_far: what a person who waits should know meanwhile.
    """

    at: Instant
    error: Callable[[Seconds], DerpholeError]
    so_far: str | None = None


class RelayWords:
    """What a person is told about the relays of one endpoint.

    Args:
        options: the settings of the command.
        report: told of relays that are down while a link needs them.
        endpoint: whose relays they are.
    """

    def __init__(self, options: NetworkOptions, report: Report, endpoint: Endpoint) -> None:
        self._options = options
        self._report = report
        self._endpoint = endpoint
        self._trouble: str | None = None
        self._told_slow: set[int] = set()
        self._told_downs: dict[int, str] = {}  # what was said last of one that is down

    @property
    def connected(self) -> RelayStatus | None:
        """The best relay that is connected."""
        relays = self._endpoint.relays
        return next((each for each in relays if each.state is RelayState.CONNECTED), None)

    @property
    def trouble(self) -> str | None:
        """What keeps the relays from being used, in words."""
        return self._trouble or self._silence()

    @property
    def next_step(self) -> str:
        """What a person can do when the other side does not come."""
        if self._refused_since is not None:
            if not self._is_refusal:
                return self._nowhere_step
            return "this does not pass by itself: have the relay changed, or use another one"
        if self._silence() is not None:
            return no_relay_step(self._options)
        return "check that the other side is running and can reach the network"

    @property
    def give_up(self) -> GiveUp | None:
        """When waiting for a relay is given up, since none can work; None while one may."""
        since = self._refused_since
        return None if since is None else GiveUp(Instant(since + REFUSAL_S), self._hopeless)

    @property
    def _refused_since(self) -> Instant | None:
        """Since when no relay can work; a link that is up needs none."""
        endpoint = self._endpoint
        if self._options.is_patient or endpoint.links or endpoint.has_spare_relays:
            return None
        since = [relay.refused_since for relay in endpoint.relays]
        known = [each for each in since if each is not None]
        if not known or len(known) < len(since):
            return None
        return max(known)

    @property
    def _is_refusal(self) -> bool:
        """Whether a relay, at least, is there and refuses."""
        errors = (relay.error for relay in self._endpoint.relays)
        return any(error is not None and error.is_lasting for error in errors)

    @property
    def _nowhere_step(self) -> str:
        """What a person can do where no relay is."""
        is_one = len(self._endpoint.relays) == 1
        return NO_RELAY_THERE if is_one else no_relay_step(self._options)

    def _hopeless(self, after_s: Seconds) -> RelayTrouble:
        """Return what is wrong with all relays, as an error."""
        del after_s
        causes = "; ".join(dict.fromkeys(str(relay.error) for relay in self._endpoint.relays))
        if self._is_refusal:
            return NoRelayTakesUs(causes, REFUSAL_S)
        given_up = f"given up after {REFUSAL_S:.0f} s; --timeout 0 keeps trying"
        return RelayTrouble(causes, f"{self._nowhere_step} ({given_up})")

    def changed(self, relay: RelayStatus) -> None:
        """Take note of a relay's new state; say that one is down while a link needs it."""
        if relay.error is not None:
            self._trouble = str(relay.error)
        elif relay.state is RelayState.CONNECTED:
            self._tell_slowness(relay)
            self._trouble = None
            self._told_downs.pop(relay.number, None)
        if relay.state is not RelayState.DOWN or relay.error is None or not self._endpoint.links:
            return
        if self._told_downs.get(relay.number) != str(relay.error):
            self._told_downs[relay.number] = str(relay.error)  # tried again and again: said once
            self._report(RelayDown(str(relay.error)))

    def _tell_slowness(self, relay: RelayStatus) -> None:
        """Say once that a relay answers slowly: then everything takes its time."""
        round_trip_s = relay.round_trip_s or 0.0
        if round_trip_s >= SLOW_ROUND_TRIP_S and relay.number not in self._told_slow:
            self._told_slow.add(relay.number)
            self._report(
                Notice(
                    f"{relay_text(relay)} answers slowly: a round trip takes {round_trip_s:.1f} s, "
                    "so every step takes some seconds"
                )
            )

    def _silence(self) -> str | None:
        """Return which relays have not answered yet; None once one has."""
        relays = self._endpoint.relays
        if not relays or self.connected is not None:
            return None
        nodes = [(relay.node, relay.step) for relay in relays]
        tried = ", ".join(_attempt(node, step) for node, step in nodes if node is not None)
        attempts = f"tried: {tried}" if tried else "none tried so far"
        return f"not connected to a relay yet ({attempts})"


def _attempt(node: RelayNode, step: str | None) -> str:
    """Return a relay that does not serve us yet, and what is awaited of it."""
    return f"{node.address}, {step}" if step else node.address


def relay_text(relay: RelayStatus) -> str:
    """Return a relay in words, such as "relay fra (203.0.113.5:443)"."""
    where = relay.node.address if relay.node else relay.region.name
    code = relay.region.code or str(relay.region.id)
    return f"relay {code} ({where})"
