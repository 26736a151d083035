"""NetworkWatch: notices that this machine's network changed, or that it slept.

    the kernel's notices --at once--> a look at the addresses --> on_noticed
    no notices to be had --2 s------>                        `--> on_changed, if they are others
    in any case          --30 s----->
    the two clocks       --2 s------> one jumped ahead of the other: a sleep --> on_changed

Either may have broken every connection and path without a word.  Nothing here knows what depends
on the network: whoever does is told.  Source: design, section 8.
"""

import logging
from collections.abc import Callable

import gevent

from tunnel.net.clock import monotonic, wall
from tunnel.net.ifaces import InterfaceAddress, local_addresses
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.route_notices import RouteNotices
from tunnel.units import Seconds

# Chosen.
CHECK_S: Seconds = 2.0  # how soon a sleep is noticed, and what the kernel gives no notice of
SURE_S: Seconds = 30.0  # a look at the addresses costs some ms: seldom where the kernel tells
SETTLE_S: Seconds = 0.1  # one change comes as many notices
SLEEP_S: Seconds = 5.0  # a wall clock this far ahead of the monotonic one: the machine slept

_log = logging.getLogger(__name__)


def our_addresses() -> list[str]:
    """Return the addresses that others can use of interfaces that are up, sorted.

    Link-local IPv6 is not among them: it needs a zone, and every container brings one and takes it
    away.
    """
    return sorted(each.ip for each in local_addresses() if each.is_up and not _needs_zone(each))


def clock_offset_s() -> Seconds:
    """Return how far the wall clock is ahead of the monotonic one, which stands still in sleep."""
    return wall() - monotonic()


def _needs_zone(address: InterfaceAddress) -> bool:
    return ":" in address.ip and address.is_link_local


class NetworkWatch:
    """Looks when the kernel says that something changed, and now and then in any case.

    Args:
        on_changed: told when the network is another one; must not block.
        on_noticed: told after each look: there may be other routes, which are not looked at here;
            must not block.
        addresses: returns the machine's addresses; none if they cannot be read just now.
        offset_s: returns the offset of its clocks.
        notices: opens what the kernel tells; raises `OSError` where it tells nothing.
    """

    def __init__(
        self,
        on_changed: Callable[[], None],
        on_noticed: Callable[[], None] = lambda: None,
        addresses: Callable[[], list[str]] = our_addresses,
        offset_s: Callable[[], Seconds] = clock_offset_s,
        notices: Callable[[], RouteNotices] = RouteNotices,
    ) -> None:
        self._on_changed = on_changed
        self._on_noticed = on_noticed
        self._addresses = addresses
        self._offset_s = offset_s
        self._open = notices
        self._notices: RouteNotices | None = None
        self._seen = addresses()
        self._seen_offset_s = offset_s()

    def start(self, tasks: TaskGroup) -> None:
        """Look until the task group ends."""
        tasks.spawn("network watch", self._run)

    def look(self) -> None:
        """Look at addresses and clocks now."""
        addresses = self._addresses()
        has_moved = bool(addresses) and addresses != self._seen
        self._seen = addresses or self._seen
        if self._has_slept() or has_moved:
            _log.info("%s", "the addresses changed" if has_moved else "the machine slept")
            self._on_changed()

    def _has_slept(self) -> bool:
        before, self._seen_offset_s = self._seen_offset_s, self._offset_s()
        return self._seen_offset_s - before > SLEEP_S

    def _run(self) -> None:
        try:
            self._listen()
            self.look()  # at what changed before anybody listened
            looked_at = monotonic()
            while True:
                is_told = self._wait(CHECK_S)
                is_time = monotonic() >= looked_at + SURE_S
                if is_told:
                    # A machine whose network never rests is looked at no more often than others.
                    gevent.sleep(max(SETTLE_S, looked_at + CHECK_S - monotonic()))
                if is_told or is_time or self._notices is None:
                    self._listen()
                    self.look()
                    looked_at = monotonic()
                    self._on_noticed()
                elif self._has_slept():
                    _log.info("the machine slept")
                    self._on_changed()
        finally:
            if self._notices is not None:
                self._notices.close()

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
        _log.debug("no notices of the network, looking every %.0f s: %s", CHECK_S, error)
        if self._notices is not None:
            self._notices.close()
            self._notices = None
