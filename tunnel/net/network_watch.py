"""NetworkWatch: notices that this machine's addresses changed, or that it slept.

Either may have broken every connection and path without a word.  Nothing here knows what depends
on the network: whoever does is told.  Source: design, section 8.
"""

import logging
from collections.abc import Callable

import gevent

from tunnel.net.clock import monotonic, wall
from tunnel.net.ifaces import InterfaceAddress, local_addresses
from tunnel.net.tasks import TaskGroup
from tunnel.units import Seconds

# Chosen.
CHECK_S: Seconds = 2.0  # how soon a change of addresses is noticed
SLEEP_S: Seconds = 5.0  # a wall clock this far ahead of the monotonic one: the machine slept

_log = logging.getLogger(__name__)


def our_addresses() -> list[str]:
    """Return the addresses that others can use of interfaces that are up, sorted.

    Link-local IPv6 is none of them: it needs a zone, and every container brings one and takes it
    away.
    """
    return sorted(each.ip for each in local_addresses() if each.is_up and not _needs_zone(each))


def clock_offset_s() -> Seconds:
    """Return how far the wall clock is ahead of the monotonic one, which stands still in sleep."""
    return wall() - monotonic()


def _needs_zone(address: InterfaceAddress) -> bool:
    return ":" in address.ip and address.is_link_local


class NetworkWatch:
    """Looks every CHECK_S.

    Args:
        on_changed: told when the network is another one; must not block.
        addresses: returns the machine's addresses; none if they cannot be read just now.
        offset_s: returns the offset of its clocks.
    """

    def __init__(
        self,
        on_changed: Callable[[], None],
        addresses: Callable[[], list[str]] = our_addresses,
        offset_s: Callable[[], Seconds] = clock_offset_s,
    ) -> None:
        self._on_changed = on_changed
        self._addresses = addresses
        self._offset_s = offset_s
        self._seen = addresses()
        self._seen_offset_s = offset_s()

    def start(self, tasks: TaskGroup) -> None:
        """Look until the task group ends."""
        tasks.spawn("network watch", self._run)

    def look(self) -> None:
        """Look now."""
        addresses, offset_s = self._addresses(), self._offset_s()
        has_slept = offset_s - self._seen_offset_s > SLEEP_S
        has_moved = bool(addresses) and addresses != self._seen
        self._seen, self._seen_offset_s = addresses or self._seen, offset_s
        if has_moved or has_slept:
            _log.info("%s", "the addresses changed" if has_moved else "the machine slept")
            self._on_changed()

    def _run(self) -> None:
        while True:
            gevent.sleep(CHECK_S)
            self.look()
