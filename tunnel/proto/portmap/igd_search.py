"""Searching a UPnP gateway: which questions go out when, and which answers count.

    0 ms     gateway devices        to the gateway only
    200 ms   gateway devices        to everybody          only while nothing has answered
             everything             to the gateway only
    500 ms   gateway devices :1 :2  to everybody

An answer counts if it comes from the gateway's own address, calls itself a gateway, and its
description lies there too.  Source: UPnP Device Architecture 1.1 section 1.3.2.  This module knows
neither descriptions nor sockets.
"""

from collections import deque
from math import inf

from tunnel.errors import DecodeError
from tunnel.units import Instant
from tunnel.values import frozen
from tunnel.wire import ssdp
from tunnel.wire.igd import Url, parse_url

# Chosen: how long answers are awaited.
SEARCH_S = 1.0
# Chosen: the gateway itself first; the whole network only if it is silent.
MULTICAST_AFTER_S = 0.2
AGAIN_AFTER_S = 0.5
# Chosen: one device answers for each of its services, mostly with one location.
MAX_LOCATIONS = 3


@frozen
class Search:
    """A question to send, only to the gateway, or to everybody; `target` is what is sought."""

    target: str
    is_multicast: bool


_PLAN = (
    (0.0, Search(ssdp.INTERNET_GATEWAY, is_multicast=False)),
    (MULTICAST_AFTER_S, Search(ssdp.INTERNET_GATEWAY, is_multicast=True)),
    (MULTICAST_AFTER_S, Search(ssdp.EVERYTHING, is_multicast=False)),
    (AGAIN_AFTER_S, Search(ssdp.INTERNET_GATEWAY, is_multicast=True)),
    (AGAIN_AFTER_S, Search(ssdp.INTERNET_GATEWAY_2, is_multicast=True)),
)


class IgdSearch:
    """One search at a time for the descriptions of a gateway.

    Args:
        gateway_ip: the only host that is believed.
    """

    def __init__(self, gateway_ip: str) -> None:
        self._gateway_ip = gateway_ip
        self._plan: deque[tuple[Instant, Search]] = deque()
        self._known: set[Url] = set()
        self._locations: deque[Url] = deque()
        self._ends_at = Instant(inf)

    @property
    def has_locations(self) -> bool:
        """Whether a description waits to be read."""
        return bool(self._locations)

    def start(self, now: Instant) -> None:
        """Search anew."""
        self._known.clear()
        self._locations.clear()
        self._plan = deque((Instant(now + after_s), each) for after_s, each in _PLAN)
        self._ends_at = Instant(now + SEARCH_S)

    def stop(self) -> None:
        """Ask and await nothing more; late answers are still taken."""
        self._plan.clear()
        self._ends_at = Instant(inf)

    def handle_answer(self, answer: ssdp.SearchAnswer, source_ip: str) -> bool:
        """Take a device's answer; tell whether it is one of the gateway."""
        try:
            location = parse_url(answer.location)
        except DecodeError:
            return False
        if not answer.is_gateway or {source_ip, location.host} != {self._gateway_ip}:
            return False
        self.stop()
        if location not in self._known and len(self._known) < MAX_LOCATIONS:
            self._known.add(location)
            self._locations.append(location)
        return True

    def take_location(self) -> Url:
        """Return where the next description lies; there must be one."""
        return self._locations.popleft()

    def forget_locations(self) -> None:
        """Read no further description: a service was found."""
        self._locations.clear()

    def is_over(self, now: Instant) -> bool:
        """Tell whether the search has ended in vain."""
        return now >= self._ends_at

    def next_timeout(self) -> Instant:
        """Return when a question is due, or the search is over."""
        return min(self._ends_at, self._plan[0][0]) if self._plan else self._ends_at

    def searches_to_send(self, now: Instant) -> list[Search]:
        """Take the questions that are due."""
        due: list[Search] = []
        while self._plan and self._plan[0][0] <= now:
            due.append(self._plan.popleft()[1])
        return due
