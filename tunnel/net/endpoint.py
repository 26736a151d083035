"""Endpoint: what a user of the library holds; one side with its relays, lanes, ports and links.

    IssuerEndpoint                              ClaimerEndpoint
      open(relays)                                claim(invitation, relays) --> Link
      accept_link() --> Link, again and again     resume(header, secret)    --> a new Link
                          Link: open_stream, accept_stream, close; Stream: write, end, read
      close_links(code, text), close()            the same

What happens is told in order, as values, to a function that must not block; the bytes of streams
go straight to whoever reads them.  A failure in the background ends every wait.

    regions of `Relays`:   1      2      3 ...
                           └ opened ┘    └ spare: opened when one of the others is down

Example: docs/examples/library.py.
"""

import os
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import gevent
from gevent.event import Event

from tunnel.crypto.aead import fast_aeads
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import MisuseError
from tunnel.net.clock import monotonic
from tunnel.net.direct import AddressLearned, DirectPaths
from tunnel.net.endpoint_values import (
    DEFAULT_OPTIONS,
    EndpointEvent,
    EndpointOptions,
    Invitation,
    LinkArrived,
    LinkOver,
    LinkTold,
    NotAdmitted,
    OneSecret,
    RelayChanged,
    Relays,
    RelayStatus,
    Wait,
)
from tunnel.net.link import Link, LinkNews, Stream
from tunnel.net.link_trace import LinkTrace
from tunnel.net.ports.router_ports import PortNews
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.sockets import ListenFailed
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.network_watch import NetworkWatch
from tunnel.proto.link.events import (
    AddressSeen,
    LinkResumed,
    LinkStalled,
    PathAnswered,
    PathChanged,
    PeerOffered,
)
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.path_facts import (
    DirectFigures,
    PathFacts,
    SeenMapping,
    SideEvidence,
    facts_of,
    figures_of,
)
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import Trace
from tunnel.proto.meeting.claimer import Claimer, ClaimerEvent, ClaimerIdentity, LinkUp
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.issuer import Issuer, IssuerIdentity
from tunnel.proto.meeting.machine import MeetingMachine
from tunnel.proto.meeting.owner import (
    Gate,
    HeaderMaker,
    NotUnderstood,
    Refused,
)
from tunnel.proto.meeting.places import IssuerEvent, LinkAdmitted
from tunnel.proto.paths.candidates import CandidateKind
from tunnel.units import Instant, Seconds
from tunnel.wire.derpmap import RelayRegion
from tunnel.wire.frames import Candidate
from tunnel.wire.handshake import INSTANCE_SIZE

__all__ = [
    "AddressLearned",
    "Candidate",
    "CandidateKind",
    "ClaimerEndpoint",
    "DialOptions",
    "DirectFigures",
    "Endpoint",
    "EndpointEvent",
    "EndpointOptions",
    "Invitation",
    "IssuerEndpoint",
    "Link",
    "LinkArrived",
    "LinkCounters",
    "LinkOver",
    "LinkResumed",
    "LinkStalled",
    "LinkTold",
    "ListenFailed",
    "NotAdmitted",
    "OneSecret",
    "PathAnswered",
    "PathChanged",
    "PathFacts",
    "PeerOffered",
    "PortNews",
    "RelayChanged",
    "RelayState",
    "RelayStatus",
    "Relays",
    "SeenMapping",
    "SideEvidence",
    "Stream",
    "Wait",
]

# Chosen.
RELAYS_OF_ISSUER = 2  # an issuer stays connected to the first two that can be reached
CLOSE_LINGER_S: Seconds = 3.0  # for a jammed relay; one that is well takes milliseconds
ROOM_POLL_S: Seconds = 0.01  # at the end only; until then relays tell the pump of room
# Fixed by `KeyPair`.
SECRET_KEY_SIZE = 32


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
        self._machine: MeetingMachine[IssuerEvent | ClaimerEvent] | None = None
        self._pump: Pump | None = None
        self._direct: DirectPaths | None = None
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
            for relay in self._pump.relays:
                relay.check_alive()
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
        machine: MeetingMachine[IssuerEvent | ClaimerEvent],
        relays: Relays,
        keys: KeyPair,
        count: int,
    ) -> None:
        """Connect to the first `count` regions that can be reached, and run `machine`."""
        if self._pump is not None:
            raise MisuseError("an endpoint is opened once")
        self._machine, self._relays, self._keys = machine, relays, keys
        self._spare_regions = deque(relays.regions)
        pump = self._pump = Pump(machine, self._take_events, self._relay_changed)
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
        if status.error is not None:
            self._trace("relay.error", {**values, "error": str(status.error)})
            if status.state is RelayState.DOWN:
                self._open_next(pump)
        if self._direct is not None:
            self._direct.relays_changed()
        self._tell(RelayChanged(status))

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

    def _take(self, event: IssuerEvent | ClaimerEvent) -> None:
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


class IssuerEndpoint(Endpoint):
    """The side that waits for others.

    Args:
        noise: its static Noise key pair.
        derp: its DERP key pair, another one.
        gate: decides who may come.
        places: how many links may live at once.
        options, on_event, trace: see `Endpoint`.
    """

    def __init__(
        self,
        noise: KeyPair,
        derp: KeyPair,
        gate: Gate,
        places: int = 1,
        *,
        options: EndpointOptions = DEFAULT_OPTIONS,
        on_event: Callable[[EndpointEvent], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(options, on_event, trace)
        self._derp = derp
        features = options.features
        identity = IssuerIdentity(
            noise,
            DerpKey(derp.public),
            features,
            fast_aeads(),
            places,
            options.give_up_after_s,
            required=features,
            program=options.program,
        )
        self._issuer = Issuer(identity, gate, os.urandom, self._is_polite, self._trace)

    def open(self, relays: Relays) -> None:
        """Connect to the relays and answer claims from now on; does not wait."""
        self._run(self._issuer, relays, self._derp, RELAYS_OF_ISSUER)

    def accept_link(self, wait: Wait | None = None) -> Link | None:
        """Wait for a link that nobody has taken yet.

        Args:
            wait: how to wait; None for as long as it takes.

        Returns None when `wait` gave up.  Raises what failed in the background.
        """
        is_here = (wait or self.wait)(lambda: self._new_links)
        return self._hand_out() if is_here and self._new_links else None

    def keep_places(self) -> None:
        """Let no newcomer have the place of a silent holder from now on."""
        self._issuer.places.may_replace = False


class ClaimerEndpoint(Endpoint):
    """The side that comes with an invitation.

    Args:
        options, on_event, trace: see `Endpoint`.
    """

    def __init__(
        self,
        *,
        options: EndpointOptions = DEFAULT_OPTIONS,
        on_event: Callable[[EndpointEvent], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(options, on_event, trace)
        self._instance = os.urandom(INSTANCE_SIZE)
        self._claimer: Claimer | None = None
        self._answer: Refused | NotUnderstood | None = None

    @property
    def absent_since(self) -> Instant | None:
        """Since when every relay that is connected says that the issuer is not there; None else."""
        return None if self._claimer is None else self._claimer.absence.since

    def claim(self, invitation: Invitation, relays: Relays, wait: Wait | None = None) -> Link:
        """Connect to the relays, look for the issuer at all of them, and wait to be let in.

        Raises `NotAdmitted`, and what `wait` raises or what failed in the background.  The link
        may be over already: that is how an issuer says that its place is taken.
        """
        keys = KeyPair.from_secret(os.urandom(SECRET_KEY_SIZE))
        features = self._options.features
        identity = ClaimerIdentity(
            meeting=Meeting(invitation.issuer_noise, invitation.issuer_derp, DerpKey(keys.public)),
            header=invitation.header,
            secret=invitation.secret,
            instance=self._instance,
            features=features,
            fast_aeads=fast_aeads(),
            give_up_after_s=self._options.give_up_after_s,
            required=features,
            program=self._options.program,
            renew_after_s=self._options.renew_after_s,
        )
        numbers = list(range(len(relays.regions)))
        self._claimer = Claimer(
            monotonic(), identity, numbers, os.urandom, self._is_polite, self._trace
        )
        self._run(self._claimer, relays, keys, len(numbers))
        return self._await_link(wait)

    def resume(self, header: HeaderMaker, secret: bytes, wait: Wait | None = None) -> Link:
        """Come back after a link is over; the streams of the old one are not carried over.

        Where the link was over since the issuer holds it no more, another one is on its way
        already.  Raises as `claim` does.

        Args:
            header: makes the 64 bytes that name what was granted, see `Invitation`.
            secret: the secret that belongs to it.
            wait: how to wait; None for as long as it takes.
        """
        if self._claimer is None:
            raise MisuseError("nothing was claimed yet")
        self._answer = None
        if not self._claimer.is_renewed:
            self._claimer.claim_again(monotonic(), header, secret)
            self.hurry()
        return self._await_link(wait)

    def _await_link(self, wait: Wait | None) -> Link:
        is_answered = (wait or self.wait)(lambda: self._new_links or self._answer)
        if self._answer is not None or not is_answered:
            raise NotAdmitted(self._answer)
        return self._hand_out()

    def _take(self, event: IssuerEvent | ClaimerEvent) -> None:
        if isinstance(event, Refused | NotUnderstood):
            self._answer = event
        super()._take(event)


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
