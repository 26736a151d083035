"""Rendezvous: what issuer and claimer share; its links, what they report, and the goodbye.

The link outlives the relays it met on.  Closing a rendezvous sends what is queued.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from derphole.config import NetworkOptions
from derphole.errors import DerpholeError
from derphole.rendezvous.connections import Connections
from derphole.rendezvous.receipt_paths import reason_relayed
from derphole.rendezvous.relays import RelayChoice
from derphole.rendezvous.waiting import Waiter
from derphole.speech.endings import ending_of
from derphole.status import PathTaken, Report, Resumed, Stalled, State, StateChanged
from derphole.trace import LinkTrace, TraceFile
from tunnel.crypto.keys import KeyPair
from tunnel.errors import LinkEnded
from tunnel.net.clock import monotonic
from tunnel.net.direct import DirectPaths
from tunnel.net.link import Link, LinkNews
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.network_watch import NetworkWatch
from tunnel.proto.link.events import AddressSeen, LinkResumed, LinkStalled
from tunnel.proto.link.events import PathChanged as PathMoved
from tunnel.proto.link.parameters import Feature
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.meeting.claimer import Claimer, ClaimerEvent
from tunnel.proto.meeting.issuer import Issuer
from tunnel.proto.meeting.places import IssuerEvent


class Rendezvous:
    """One side's relays, pump and links; a context manager.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        take_event: takes what the machine has to say; must not block.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        take_event: Callable[[IssuerEvent | ClaimerEvent], None],
    ) -> None:
        self.options = options
        self.report = report
        self.trace = TraceFile(options.trace, options.trace_size)
        self._take_event = take_event
        self._tasks = TaskGroup("rendezvous", on_failure=self._fail)
        self._links: dict[Link, LinkTrace] = {}
        self._link_count = 0
        self._new_links: deque[Link] = deque()
        self._connections = Connections(
            options, report, self.trace, self._tasks, lambda: bool(self._links), self._relay_changed
        )
        self._waiter = Waiter(report, self._connections)
        self._on_failure: Callable[[], None] = self._notice
        self._direct: DirectPaths | None = None

    # -- what a conversation asks -----------------------------------------------------------

    @property
    def failure(self) -> BaseException | None:
        """What ended the work in the background."""
        return self._waiter.failure

    def path_description(self, link: Link) -> str:
        """Return the path a link uses now, in words."""
        direct = link.machine.direct_path
        if direct is not None:
            return f"direct {direct.address}"
        return self._connections.description(link.machine.relay)

    def reason_relayed(self, link: Link) -> str | None:
        """Return why a link uses a relay, in words; None when it does not."""
        evidence = self._direct.evidence if self._direct is not None else None
        return reason_relayed(link.machine, evidence, self.options.force_relay, monotonic())

    def report_path(self, link: Link) -> None:
        """Tell which path a new link uses, and look for a better one from now on."""
        description = self._connections.description(link.machine.relay)
        self.report(StateChanged(State.CONNECTED_RELAY))
        self.report(PathTaken(description, is_direct=False))
        if self._direct is not None:
            self._direct.add_link(link.machine)

    def notice(self) -> None:
        """Have what somebody waits for looked at again: something has changed."""
        self._notice()

    def fail(self, error: BaseException) -> None:
        """End the run with an error of a greenlet in the background."""
        self._fail(error)

    def wait_end(self, link: Link) -> LinkEnded:
        """Wait until a link is over; raises what failed in the background."""
        self._waiter.idle_until(lambda: link.end)
        assert link.end is not None
        return link.end

    def watch(self, on_failure: Callable[[], None]) -> None:
        """Have `on_failure` called when the work in the background fails: no link goes on then."""
        self._on_failure = on_failure

    # -- inside -----------------------------------------------------------------------------

    def _open_relays(
        self, machine: Issuer | Claimer, choice: RelayChoice, keys: KeyPair, count: int
    ) -> None:
        """Connect to the first `count` reachable regions of a choice, and run `machine`."""
        pump = self._connections.open(machine, choice, keys, count, self._take_events)
        if not self.options.force_relay:
            self._direct = DirectPaths(pump, self._tasks, self.trace)
            self._direct.start()
        watch = (
            NetworkWatch(self._direct.network_changed, self._direct.network_noticed)
            if self._direct
            else NetworkWatch(self._connections.hurry)
        )
        watch.start(self._tasks)

    def _features(self) -> Feature:
        return Feature.RELAY_ONLY if self.options.force_relay else Feature(0)

    def _take_events(self) -> None:
        """Take what the machine and its links have to say; runs in the pump, never blocks."""
        if self._connections.pump is None:
            return
        while (event := self._connections.pump.machine.next_event()) is not None:
            self._take_event(event)
            self._notice()
        for link, traced in list(self._links.items()):
            link.dispatch()
            if self.trace.is_on:
                traced.sample(monotonic())
            if link.end is not None:
                del self._links[link]
                traced.ended(link.end)
                self._notice()

    def _add_link(self, machine: PeerLink) -> None:
        if self._connections.pump is None:
            return
        self._link_count += 1
        traced = LinkTrace(self.trace, self._link_count, machine)
        pump = self._connections.pump
        link = Link(machine, pump.wake, pump.flush, partial(self._link_news, traced), self.trace)
        self._links[link] = traced
        self._new_links.append(link)

    def _link_news(self, traced: LinkTrace, news: LinkNews) -> None:
        traced.news(news)
        match news:
            case LinkStalled(silent_s, give_up_in_s):
                limit_s = silent_s + give_up_in_s
                self.report(Stalled("something sent is unanswered", silent_s, limit_s))
            case LinkResumed(silent_s):
                self.report(Resumed(silent_s))
            case AddressSeen(lane, ip, port):
                if self._direct is not None:
                    self._direct.address_seen(lane, ip, port)
            case PathMoved(endpoint):
                if self._direct is not None and endpoint is None:
                    self._direct.path_lost()
                self._report_move(endpoint)

    def _report_move(self, endpoint: UdpEndpoint | None) -> None:
        """Tell that traffic moved to a direct path, or back to the relay."""
        if endpoint is None:
            self.report(StateChanged(State.CONNECTED_RELAY))
            self.report(PathTaken("relay", is_direct=False))
        else:
            self.report(StateChanged(State.CONNECTED_DIRECT))
            self.report(PathTaken(f"direct {endpoint.address}", is_direct=True))

    def _relay_changed(self) -> None:
        if self._direct is not None:
            self._direct.relays_changed()
        self._notice()

    def _notice(self) -> None:
        self._waiter.notice()

    def _fail(self, error: BaseException) -> None:
        self._waiter.fail(error)
        self._on_failure()

    # -- the end ----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, DerpholeError):
            self.trace("run.failed", {"error": type(error).__name__, "code": error.code})
        if error is not None:
            self._say_goodbye(error)
        self.close()

    def close(self) -> None:
        """Hand what is queued to the relays, then let go of everything; routers are told, too."""
        if self._direct is not None:
            self._direct.begin_release()
        self._connections.close()
        if self._direct is not None:
            self._direct.close()
        self._tasks.kill()
        for traced in self._links.values():
            traced.left()
        self.trace.close()

    def _say_goodbye(self, error: BaseException) -> None:
        """Tell the other side, which may hold a link that no conversation here has taken yet."""
        if self._connections.pump is None:
            return
        machine = self._connections.pump.machine
        links = machine.links if isinstance(machine, Issuer) else [machine.link]
        code, text = ending_of(error)
        for link in links:
            if link is not None:
                link.close(monotonic(), code, text)
