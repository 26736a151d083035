"""Connections: the relays that a run is connected to, best first, and what is wrong with them.

    regions of the choice:   1      2      3 ...
                             └ opened ┘    └ spare: opened when one of the others is down

They are observed by a pump, which runs the machine.  Closing them sends what is queued.  When all
of them refuse, and that lasts, waiting is pointless; a link that is up goes on all the same.
"""

from collections import deque
from collections.abc import Callable

import gevent

from derphole.config import NetworkOptions
from derphole.errors import RelayRefusal
from derphole.rendezvous.relays import RelayChoice, dial_options
from derphole.status import RelayDown, Report
from derphole.trace import TraceFile
from tunnel.crypto.keys import KeyPair
from tunnel.net.clock import monotonic
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.tasks import TaskGroup
from tunnel.proto.meeting.claimer import Claimer
from tunnel.proto.meeting.issuer import Issuer
from tunnel.units import Instant, Seconds
from tunnel.wire.derpmap import RelayRegion

# Chosen.
CLOSE_LINGER_S: Seconds = 3.0  # for a jammed relay; one that is well takes milliseconds
# Chosen: a key that is admitted late, or a relay's restart with another certificate, takes less.
REFUSAL_S: Seconds = 30.0
ROOM_POLL_S: Seconds = 0.01  # at the end only; until then relays tell the pump of room


class Connections:
    """The relay connections of one rendezvous.

    Args:
        options: the settings of the command.
        report: told of relays that are down while a link needs them.
        trace: gets their states.
        tasks: the group that their greenlets belong to.
        is_linked: tells whether there is a link.
        on_changed: called when the state of one has changed; must not block.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        trace: TraceFile,
        tasks: TaskGroup,
        is_linked: Callable[[], bool],
        on_changed: Callable[[], None],
    ) -> None:
        self.pump: Pump | None = None
        self._options = options
        self._report = report
        self._trace = trace
        self._tasks = tasks
        self._is_linked = is_linked
        self._on_changed = on_changed
        self._trouble: str | None = None
        self._told_downs: dict[RelayConnection, str] = {}  # what was said last of one that is down
        self._is_closing = False
        self._choice: RelayChoice | None = None
        self._spare_regions: deque[RelayRegion] = deque()
        self._keys: KeyPair | None = None

    def open(
        self,
        machine: Issuer | Claimer,
        choice: RelayChoice,
        keys: KeyPair,
        count: int,
        on_events: Callable[[], None],
    ) -> Pump:
        """Connect to the first `count` reachable regions of a choice, and run `machine`."""
        self._choice, self._keys = choice, keys
        self._spare_regions = deque(choice.regions)
        pump = self.pump = Pump(machine, on_events, self._relay_changed)
        for _ in range(count):
            self._open_next()
        pump.start(self._tasks)
        return pump

    # -- queries ----------------------------------------------------------------------------

    @property
    def relays(self) -> list[RelayConnection]:
        """Every relay connection there is; machines name them by their place here."""
        return self.pump.relays if self.pump is not None else []

    @property
    def connected(self) -> RelayConnection | None:
        """The best relay that is connected."""
        connected = (relay for relay in self.relays if relay.state is RelayState.CONNECTED)
        return next(connected, None)

    @property
    def trouble(self) -> str | None:
        """What keeps the relays from being used, in words."""
        return self._trouble or self._silence()

    @property
    def next_step(self) -> str:
        """What a person can do when the other side does not come."""
        if self.refused_at is not None:
            return "this does not pass by itself: have the relay changed, or use another one"
        if self._silence() is not None:
            return "check the network, the proxy variables, --relay and --derp-map"
        return "check that the other side is running and can reach the network"

    @property
    def refused_at(self) -> Instant | None:
        """When waiting for a relay is given up, since all of them refuse; None while one may not.

        A link that is up needs none.
        """
        if self._options.is_patient or self._is_linked() or self._spare_regions:
            return None
        since = [relay.refused_since for relay in self.relays]
        known = [each for each in since if each is not None]
        if not known or len(known) < len(since):
            return None
        return Instant(max(known) + REFUSAL_S)

    @property
    def refusal(self) -> RelayRefusal:
        """What all relays answer, as an error."""
        causes = dict.fromkeys(str(relay.last_error) for relay in self.relays)
        return RelayRefusal("; ".join(causes), REFUSAL_S)

    def description(self, number: int) -> str:
        """Return a relay in words, such as "relay fra (203.0.113.5:443)"."""
        if self.pump is None:
            return "no relay"
        relay = self.pump.relays[number]
        where = relay.node.address if relay.node else relay.region.name
        code = relay.region.code or str(relay.region.id)
        return f"relay {code} ({where})"

    def is_polite(self, number: int) -> bool:
        """Tell whether a relay is a public one."""
        del number
        return self._choice is not None and self._choice.is_public

    def _silence(self) -> str | None:
        """Return which relays have not answered yet; None once one has."""
        if not self.relays or self.connected is not None:
            return None
        tried = ", ".join(relay.node.address for relay in self.relays if relay.node is not None)
        return (
            f"not connected to a relay yet ({f'tried: {tried}' if tried else 'none tried so far'})"
        )

    def hurry(self) -> None:
        """Find out soon which relays work, and run the machine."""
        for relay in self.relays:
            relay.check_alive()
        if self.pump is not None:
            self.pump.wake()

    # -- inside -----------------------------------------------------------------------------

    def _open_next(self) -> None:
        if self.pump is None or self._keys is None or not self._spare_regions:
            return
        dial = dial_options(self._options)
        region = self._spare_regions.popleft()
        relay = RelayConnection(region, self._keys, self.pump, dial, self._tasks)
        self.pump.add_relay(relay)
        relay.start()

    def _relay_changed(self, relay: RelayConnection) -> None:
        state, error = relay.state, relay.last_error
        self._trace("relay.state", {"region": relay.region.id, "state": state.value})
        if error is not None:
            self._trouble = str(error)
            if not self._is_closing:
                self._trace("relay.error", {"region": relay.region.id, "error": str(error)})
        elif state is RelayState.CONNECTED:
            self._trouble = None
            self._told_downs.pop(relay, None)
        if state is RelayState.DOWN and error is not None and not self._is_closing:
            self._open_next()
            if self._is_linked() and self._told_downs.get(relay) != str(error):
                self._told_downs[relay] = str(error)  # it is tried again and again: said once
                self._report(RelayDown(str(error)))
        self._on_changed()

    # -- the end ----------------------------------------------------------------------------

    def close(self) -> None:
        """Hand what is queued to the relays, then hang up."""
        self._is_closing = True  # relays answer our goodbye by hanging up: no trouble
        deadline = monotonic() + CLOSE_LINGER_S
        if self.pump is not None:
            self._await_room(self.pump)
            self.pump.flush()  # a close that was just asked for goes out
            for relay in self.pump.relays:
                relay.close(max(0.0, deadline - monotonic()))

    def _await_room(self, pump: Pump) -> None:
        """Wait until the relays take packets again: a close stands in line behind the data."""
        with gevent.Timeout(CLOSE_LINGER_S, False):
            while any(r.state is RelayState.CONNECTED and not r.has_room for r in pump.relays):
                gevent.sleep(ROOM_POLL_S)
