"""Rendezvous: what issuer and claimer share: an endpoint, what a person is told of it, the goodbye.

The link outlives the relays it met on.  Closing a rendezvous sends what is queued.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

from derphole import PROGRAM
from derphole.config import NetworkOptions
from derphole.errors import DerpholeError, UdpPortUnusable
from derphole.rendezvous.path_words import PathWords
from derphole.rendezvous.receipt_paths import reason_relayed
from derphole.rendezvous.relay_words import RelayWords, relay_text
from derphole.rendezvous.relays import RelayChoice, dial_options
from derphole.rendezvous.waiting import Waiter
from derphole.speech.endings import ending_of
from derphole.status import PathTaken, Report, Resumed, Stalled, State, StateChanged
from derphole.trace import TraceFile
from tunnel.errors import LinkEnded
from tunnel.net.endpoint import (
    Endpoint,
    EndpointEvent,
    EndpointOptions,
    Link,
    LinkResumed,
    LinkStalled,
    LinkTold,
    ListenFailed,
    PathChanged,
    RelayChanged,
    Relays,
)
from tunnel.proto.machine import UdpEndpoint
from tunnel.units import Seconds

# Design, section 8.
GIVE_UP_S: Seconds = 60.0


def endpoint_options(
    options: NetworkOptions,
    give_up_after_s: Seconds = GIVE_UP_S,
    renew_after_s: Seconds | None = None,
) -> EndpointOptions:
    """Return how an endpoint behaves with these settings; the times: see `EndpointOptions`."""
    return EndpointOptions(
        options.force_relay,
        PROGRAM.encode("ascii"),
        options.udp_port,
        give_up_after_s,
        renew_after_s,
    )


@contextmanager
def own_port() -> Iterator[None]:
    """Say of which option it comes that a UDP port cannot be used; raises `UdpPortUnusable`."""
    try:
        yield
    except ListenFailed as error:
        raise UdpPortUnusable(error.port, is_taken=error.is_taken) from error


def open_trace(options: NetworkOptions) -> TraceFile:
    """Begin the trace of these settings; raises `UsageError`."""
    return TraceFile(options.trace, options.trace_size)


def relays_of(choice: RelayChoice, options: NetworkOptions) -> Relays:
    """Return a choice as an endpoint takes it."""
    return Relays(choice.regions, dial_options(options), choice.is_public)


class Rendezvous:
    """One side's endpoint, as a person sees it; a context manager.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        endpoint: this side; its events go to `_take`.
        trace: closed at the end.

    Attributes:
        uses_public_relays: whether the relays are those of the public map, once they are chosen.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        endpoint: Endpoint,
        trace: TraceFile,
    ) -> None:
        self.options = options
        self.report = report
        self.uses_public_relays = False
        self.trace = trace
        self._endpoint = endpoint
        self._relays = RelayWords(options, report, endpoint)
        self._waiter = Waiter(report, endpoint, self._relays)
        self._paths = PathWords(report, endpoint, is_forced=options.force_relay)
        self._told_paths: WeakKeyDictionary[Link, str | None] = WeakKeyDictionary()
        self._on_failure: Callable[[], None] | None = None
        endpoint.watch(self._failed)

    # -- what a conversation asks -----------------------------------------------------------

    @property
    def failure(self) -> BaseException | None:
        """What ended the work in the background."""
        return self._endpoint.failure

    def path_description(self, link: Link) -> str:
        """Return the path a link uses now, in words."""
        direct = link.direct_path
        if direct is not None:
            return f"direct {direct.address}"
        return relay_text(self._endpoint.relay_of(link))

    def reason_relayed(self, link: Link) -> str | None:
        """Return why a link uses a relay, in words; None when it does not."""
        return reason_relayed(self._endpoint.path_facts(link), self.options.force_relay)

    def report_path(self, link: Link) -> None:
        """Tell that a new link is up, on the relay first; from now on its changes are told, too."""
        self._told_paths[link] = None
        self.report(StateChanged(State.CONNECTED_RELAY))
        self.report(PathTaken(relay_text(self._endpoint.relay_of(link)), is_direct=False))
        self._paths.begin(link)
        self._tell_path(link, link.direct_path)

    def complete(self) -> None:
        """Tell that everything was confirmed; no path is told after that."""
        for link in list(self._told_paths):
            self._paths.end(link)
        self._told_paths.clear()
        self.report(StateChanged(State.STREAM_COMPLETE))

    def notice(self) -> None:
        """Have what somebody waits for looked at again: something has changed."""
        self._waiter.notice()

    def fail(self, error: BaseException) -> None:
        """End the run with an error of a greenlet in the background."""
        self._endpoint.fail(error)

    def wait_end(self, link: Link) -> LinkEnded:
        """Wait until a link is over; raises what failed in the background."""
        self._waiter.idle_until(lambda: link.end)
        assert link.end is not None
        return link.end

    def watch(self, on_failure: Callable[[], None]) -> None:
        """Have `on_failure` called when the work in the background fails: no link goes on then."""
        self._on_failure = on_failure

    # -- inside -----------------------------------------------------------------------------

    def _take(self, event: EndpointEvent) -> None:
        """Put what happens into words; runs in the endpoint's greenlets, never blocks."""
        match event:
            case RelayChanged(relay):
                self._relays.changed(relay)
            case LinkTold(news=LinkStalled(silent_s, give_up_in_s)):
                limit_s = silent_s + give_up_in_s
                self.report(Stalled("something sent is unanswered", silent_s, limit_s))
            case LinkTold(news=LinkResumed(silent_s)):
                self.report(Resumed(silent_s))
            case LinkTold(link, PathChanged(direct)):
                self._tell_path(link, direct)
            case _:
                self._take_claims(event)
        self._paths.take(event)
        self._waiter.notice()

    def _tell_path(self, link: Link, direct: UdpEndpoint | None) -> None:
        """Tell the path of a link that was told of; what was told last is not told again."""
        address = None if direct is None else str(direct.address)
        if link not in self._told_paths or self._told_paths[link] == address:
            return
        was_direct = self._told_paths[link] is not None
        self._told_paths[link] = address
        if address is None:
            self.report(StateChanged(State.CONNECTED_RELAY))
            self.report(PathTaken("relay", is_direct=False))
            return
        if not was_direct:  # another address is another path, but no other state
            self.report(StateChanged(State.CONNECTED_DIRECT))
        self.report(PathTaken(f"direct {address}", is_direct=True))

    def _take_claims(self, event: EndpointEvent) -> None:
        """Take what happens to claims."""

    def _failed(self) -> None:
        self._waiter.notice()
        if self._on_failure is not None:
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
            self._endpoint.close_links(*ending_of(error))
        self.close()

    def close(self) -> None:
        """Hand what is queued to the relays, then let go of everything."""
        self._paths.close()
        self._endpoint.close()
        self.trace.close()
