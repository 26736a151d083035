"""NetworkWatch: notices that this machine's network changed, or that it slept.

    the kernel's notices ---at once--> a look, in a thread --> on_noticed(what was found)
    no notices to be had:           |                     `--> on_changed, if the addresses
      other default sources --2 s-->|                          are others
    in any case ------------30 s--->|
    the two clocks ----------2 s--> one jumped ahead of the other: a sleep --> on_changed

Either may have broken every connection and path without a word.  A look costs milliseconds, and
seconds where a system tells of hundreds of interfaces one by one: looks that take long are seldom.
Nothing here knows what depends on the network: whoever does is told.  Source: design, section 8.
"""

import logging
from collections.abc import Callable

import gevent

from tunnel.net.clock import monotonic, wall
from tunnel.net.tasks import TaskGroup
from tunnel.net.threads import in_thread
from tunnel.net.udp.route_notices import RouteNotices
from tunnel.net.udp.uplinks import Network, default_sources, look_around
from tunnel.units import Instant, Seconds

# Chosen.
CHECK_S: Seconds = 2.0  # how soon a sleep is noticed, and what the kernel gives no notice of
SURE_S: Seconds = 30.0  # a look costs some ms: seldom where nothing says that it is worth while
SETTLE_S: Seconds = 0.1  # one change comes as many notices
LOOK_SHARE = 0.01  # of the time goes into looks that nothing certain asked for
SLEEP_S: Seconds = 5.0  # a wall clock this far ahead of the monotonic one: the machine slept

_log = logging.getLogger(__name__)


def clock_offset_s() -> Seconds:
    """Return how far the wall clock is ahead of the monotonic one, which stands still in sleep."""
    return wall() - monotonic()


class NetworkWatch:
    """Looks when the kernel says that something changed, and now and then in any case.

    Args:
        on_changed: told when the network is another one; must not block.
        on_noticed: told what each look found, the first one at the start; must not block.
        look: looks at the network, in a thread; no addresses if they cannot be read just now.
        sources: returns which addresses packets leave from by default; must not block.
        offset_s: returns the offset of the machine's clocks.
        notices: opens what the kernel tells; raises `OSError` where it tells nothing.
    """

    def __init__(
        self,
        on_changed: Callable[[], None],
        on_noticed: Callable[[Network], None] = lambda _: None,
        look: Callable[[], Network] = look_around,
        sources: Callable[[], tuple[str | None, ...]] = default_sources,
        offset_s: Callable[[], Seconds] = clock_offset_s,
        notices: Callable[[], RouteNotices] = RouteNotices,
    ) -> None:
        self._on_changed = on_changed
        self._on_noticed = on_noticed
        self._find = look
        self._sources = sources
        self._offset_s = offset_s
        self._open = notices
        self._notices: RouteNotices | None = None
        self._seen: frozenset[str] = frozenset()
        self._seen_sources: tuple[str | None, ...] = ()
        self._seen_offset_s = offset_s()
        self._looked_at = Instant(0.0)
        self._look_s: Seconds = 0.0  # how long the last look took
        self._pause_s = SURE_S  # until the next one in any case

    def start(self, tasks: TaskGroup) -> None:
        """Look until the task group ends."""
        tasks.spawn("network watch", self._run)

    def look(self) -> None:
        """Look at network and clocks now; waits for a thread."""
        self._seen_sources = self._sources()
        began_at = monotonic()
        network = in_thread(self._find)
        self._looked_at = monotonic()
        self._look_s = self._looked_at - began_at
        addresses = frozenset(each.ip for each in network.addresses)
        has_moved = bool(addresses and self._seen) and addresses != self._seen
        self._seen = addresses or self._seen
        self._pause_s = SURE_S if addresses else CHECK_S
        if self._has_slept() or has_moved:
            _log.info("%s", "the addresses changed" if has_moved else "the machine slept")
            self._on_changed()
        if addresses:
            self._on_noticed(network)

    def _has_slept(self) -> bool:
        before, self._seen_offset_s = self._seen_offset_s, self._offset_s()
        return self._seen_offset_s - before > SLEEP_S

    def _run(self) -> None:
        try:
            self._listen()
            self.look()
            while True:
                is_told = self._wait(CHECK_S)
                has_moved = not is_told and self._sources_differ()
                if is_told:
                    # A machine whose network never rests is looked at no more often than others.
                    gevent.sleep(max(SETTLE_S, self._next_look_at(CHECK_S) - monotonic()))
                if is_told or has_moved or monotonic() >= self._next_look_at(self._pause_s):
                    self._listen()
                    self.look()
                elif self._has_slept():
                    _log.info("the machine slept")
                    self._on_changed()
        finally:
            if self._notices is not None:
                self._notices.close()

    def _next_look_at(self, pause_s: Seconds) -> Instant:
        """Return when to look after `pause_s` at the earliest; later if looks take long."""
        return Instant(self._looked_at + max(pause_s, self._look_s / LOOK_SHARE))

    def _sources_differ(self) -> bool:
        """Tell, where the kernel gives no notices, whether packets leave from elsewhere now."""
        return self._notices is None and self._sources() != self._seen_sources

    def _listen(self) -> None:
        """Begin to hear the kernel's notices, or throw away those that came."""
        try:
            if self._notices is None:
                self._notices = self._open()
            else:
                self._notices.take()
        except OSError as error:
            self._give_up(error)

    def _wait(self, timeout_s: Seconds) -> bool:
        """Wait for a notice; returns whether there was one."""
        if self._notices is None:
            gevent.sleep(timeout_s)
            return False
        try:
            return self._notices.wait(timeout_s)
        except OSError as error:
            self._give_up(error)
            return True

    def _give_up(self, error: OSError) -> None:
        """Go on without notices until they can be had again."""
        _log.debug("no notices of the network, looking now and then: %s", error)
        if self._notices is not None:
            self._notices.close()
            self._notices = None
