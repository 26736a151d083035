"""Endpoint: what issuers and claimers have in common: relays, lanes, ports, links, and their end.

Whoever uses the library finds it in `tunnel.net.endpoint`.
"""

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import gevent
from gevent.event import Event

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import MisuseError
from tunnel.net.clock import monotonic
from tunnel.net.direct import DirectPaths
from tunnel.net.endpoint_values import (
    EndpointEvent,
    EndpointOptions,
    LinkArrived,
    LinkOver,
    LinkTold,
    RelayChanged,
    Relays,
    RelayStatus,
)
from tunnel.net.link import Link, LinkNews
from tunnel.net.link_trace import LinkTrace
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.network_watch import NetworkWatch
from tunnel.proto.link.events import (
    AddressSeen,
    PathChanged,
    PeerOffered,
)
from tunnel.proto.link.path_facts import (
    DirectFigures,
    PathFacts,
    facts_of,
    figures_of,
)
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import Trace
from tunnel.proto.meeting.claimer import ClaimerEvent, LinkUp
from tunnel.proto.meeting.machine import MeetingMachine
from tunnel.proto.meeting.owner import (
    CodeAnswered,
    CodeFailed,
)
from tunnel.proto.meeting.places import IssuerEvent, LinkAdmitted
from tunnel.units import Seconds
from tunnel.wire.derpmap import RelayRegion
from tunnel.wire.frames import Candidate

if TYPE_CHECKING:
    from tunnel.net.code_meeting import CodeMeeting

MachineEvent = IssuerEvent | ClaimerEvent | CodeAnswered | CodeFailed
# Chosen.
CLOSE_LINGER_S: Seconds = 3.0  # for a jammed relay; one that is well takes milliseconds
ROOM_POLL_S: Seconds = 0.01  # at the end only; until then relays tell the pump of room


class Endpoint:
    """What both sides have in common; a context manager, which closes it.

    Args:
        options: how it behaves.
        on_event: takes what happens; called in the endpoint's greenlets, must not block.
        trace: takes (event name, values) of what a person who looks for a fault wants to see;
            None when nobody does.

    Attributes:
        failure: what ended the work in the background; no link goes on then.
    """

    def __init__(
        self,
        options: EndpointOptions,
        on_event: Callable[[EndpointEvent], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        self._options = options
        self._on_event = on_event
        self._trace = trace or _trace_nothing
        self._is_traced = trace is not None
        self._on_failure: Callable[[], None] | None = None
        self._tasks = TaskGroup("endpoint", on_failure=self.fail)
        self._changed = Event()
        self._machine: MeetingMachine[MachineEvent] | None = None
        self._pump: Pump | None = None
        self._direct: DirectPaths | None = None
        self._codes: CodeMeeting | None = None
        self._relays: Relays | None = None
        self._keys: KeyPair | None = None
        self._spare_regions: deque[RelayRegion] = deque()
        self._links: dict[Link, LinkTrace] = {}
        self._link_count = 0
        self._new_links: deque[Link] = deque()
        self._is_closing = False

    # -- what there is ----------------------------------------------------------------------

    @property
    def relays(self) -> list[RelayStatus]:
        """How every relay connection is, by number."""
        connections = self._pump.relays if self._pump is not None else []
        return [_status_of(number, each) for number, each in enumerate(connections)]

    @property
    def has_spare_relays(self) -> bool:
        """Whether there are regions left that were not tried yet."""
        return bool(self._spare_regions)

    @property
    def links(self) -> list[Link]:
        """The links that are not over."""
        return list(self._links)

    def relay_of(self, link: Link) -> RelayStatus:
        """Return the relay that a link uses, or falls back to."""
        return self.relays[link.relay]

    def path_facts(self, link: Link) -> PathFacts:
        """Return what is known of why a link uses the path that it uses."""
        evidence = self._direct.evidence if self._direct is not None else None
        return facts_of(link.machine, evidence, monotonic())

    def candidates(self, link: Link) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
        """Return where we told that we may be reached, and where the other side told so."""
        ours = self._direct.offered(link.machine) if self._direct is not None else ()
        return ours, link.machine.peer_candidates

    def direct_figures(self, link: Link) -> DirectFigures | None:
        """Return how the direct path of a link is, or was at its end; None on a relay."""
        return figures_of(link.machine)

    # -- waiting ----------------------------------------------------------------------------

    def wait(self, is_true: Callable[[], object], timeout_s: Seconds | None = None) -> bool:
        """Wait until `is_true`, looking whenever something happened; False after `timeout_s`.

        Raises what failed in the background.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while True:
            self._changed.clear()
            if is_true():
                return True
            if self.failure is not None:
                raise self.failure
            left_s = None if deadline is None else deadline - monotonic()
            if left_s is not None and left_s <= 0:
                return False
            self._changed.wait(left_s)

    def watch(self, on_failure: Callable[[], None]) -> None:
        """Have `on_failure` called when the work in the background fails."""
        self._on_failure = on_failure

    def fail(self, error: BaseException) -> None:
        """End every wait with this error, now and later."""
        self.failure = error
        self._changed.set()
        if self._on_failure is not None:
            self._on_failure()

    def hurry(self) -> None:
        """Find out at once which relays work, instead of waiting for their next attempts."""
        if self._pump is not None:
            self._pump.check_alive()
            self._pump.wake()

    # -- the end ----------------------------------------------------------------------------

    def close_links(self, code: int, text: str) -> None:
        """End every link and tell the other sides why, those included that nobody has taken."""
        if self._machine is not None:
            for link in self._machine.links:
                link.close(monotonic(), code, text)

    def close(self) -> None:
        """Hand what is queued to the relays, then let go of everything; routers are told, too."""
        self._is_closing = True  # relays answer our goodbye by hanging up: no trouble
        if self._direct is not None:
            self._direct.begin_release()
        if self._codes is not None:
            self._codes.close()
        if self._pump is not None:
            self._close_relays(self._pump)
        if self._direct is not None:
            self._direct.close()
        self._tasks.kill()
        for traced in self._links.values():
            traced.left()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _close_relays(self, pump: Pump) -> None:
        deadline = monotonic() + CLOSE_LINGER_S
        with gevent.Timeout(CLOSE_LINGER_S, False):  # a close stands in line behind the data
            while any(r.state is RelayState.CONNECTED and not r.has_room for r in pump.relays):
                gevent.sleep(ROOM_POLL_S)
        pump.flush()  # a close that was just asked for goes out
        for relay in pump.relays:
            relay.close(max(0.0, deadline - monotonic()))

    # -- relays -----------------------------------------------------------------------------

    def _run(
        self,
        machine: MeetingMachine[MachineEvent],
        relays: Relays,
        keys: KeyPair,
        count: int,
    ) -> None:
        """Connect to the first `count` regions that can be reached, and run `machine`."""
        if self._pump is not None:
            raise MisuseError("an endpoint is opened once")
        self._machine, self._relays, self._keys = machine, relays, keys
        self._spare_regions = deque(relays.regions)
        pump = Pump(machine, self._take_events, self._relay_changed, self._peer_gone)
        self._pump = pump
        for _ in range(count):
            self._open_next(pump)
        pump.start(self._tasks)
        if self._options.is_relay_only:
            watch = NetworkWatch(self.hurry)
        else:
            direct = self._direct = DirectPaths(
                pump,
                self._tasks,
                self._trace,
                on_news=self._tell,
                udp_port=self._options.udp_port,
            )
            direct.start()
            watch = NetworkWatch(direct.network_changed, direct.network_noticed)
        watch.start(self._tasks)

    def _open_next(self, pump: Pump) -> None:
        if self._relays is None or self._keys is None or not self._spare_regions:
            return
        region, dial = self._spare_regions.popleft(), self._relays.dial
        relay = RelayConnection(region, self._keys, pump, dial, self._tasks)
        pump.add_relay(relay)
        relay.start()

    def _is_polite(self, number: int) -> bool:
        del number  # the regions of one choice are all public, or none is
        return self._relays is not None and self._relays.is_public

    def _relay_changed(self, relay: RelayConnection) -> None:
        pump = self._pump
        assert pump is not None
        status = _status_of(pump.relays.index(relay), relay)
        values = {"region": status.region.id}
        self._trace("relay.state", {**values, "state": status.state.value})
        if self._is_closing:
            return
        if self._codes is not None:
            self._codes.home_changed(relay)
        if status.error is not None:
            self._trace("relay.error", {**values, "error": str(status.error)})
            if status.state is RelayState.DOWN:
                self._open_next(pump)
        if self._direct is not None:
            self._direct.relays_changed()
        self._tell(RelayChanged(status))

    def _peer_gone(self, relay: RelayConnection, key: DerpKey) -> None:
        if self._codes is not None:
            self._codes.home_misses(relay, key)

    # -- links ------------------------------------------------------------------------------

    def _take_events(self) -> None:
        """Take what the machine and its links have to say; runs in the pump, never blocks."""
        assert self._machine is not None
        while (event := self._machine.next_event()) is not None:
            self._take(event)
        for link, traced in list(self._links.items()):
            link.dispatch()
            if self._is_traced:
                traced.sample(monotonic())
            if link.end is not None:
                del self._links[link]
                traced.ended(link.end)
                self._tell(LinkOver(link))

    def _take(self, event: MachineEvent) -> None:
        match event:
            case LinkAdmitted(machine, header, instance, is_proven):
                self._tell(LinkArrived(self._add_link(machine), instance, is_proven, header))
            case LinkUp(machine):
                self._tell(LinkArrived(self._add_link(machine)))
            case _:
                self._tell(event)

    def _add_link(self, machine: PeerLink) -> Link:
        assert self._pump is not None
        self._link_count += 1
        traced = LinkTrace(self._trace, self._link_count, machine)
        link = Link(machine, self._pump.wake, self._pump.flush, self._take_news, self._trace)
        self._links[link] = traced
        self._new_links.append(link)
        return link

    def _take_news(self, link: Link, news: LinkNews) -> None:
        self._links[link].news(news)
        if isinstance(news, AddressSeen):
            if self._direct is not None:
                self._direct.address_seen(news.lane, news.ip, news.port)
            return
        if isinstance(news, PeerOffered) and self._direct is not None:
            self._direct.peer_offered(link.machine)
        if isinstance(news, PathChanged) and news.endpoint is None and self._direct is not None:
            self._direct.path_lost()
        self._tell(LinkTold(link, news))

    def _tell(self, event: EndpointEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)
        self._changed.set()

    def _hand_out(self) -> Link:
        """Return the next new link, which looks for a direct path from now on."""
        link = self._new_links.popleft()
        if self._direct is not None and link.end is None:
            self._direct.add_link(link.machine)
        return link


def _status_of(number: int, relay: RelayConnection) -> RelayStatus:
    return RelayStatus(
        number,
        relay.region,
        relay.node,
        relay.state,
        relay.last_error,
        relay.refused_since,
        relay.leaf_pin,
        relay.step.value if relay.step else None,
        relay.round_trip_s,
    )


def _trace_nothing(event: str, values: dict[str, object]) -> None:
    del event, values
