"""LanePlan: which local UDP sockets direct paths use, and by which numbers they are known.

    0, 1          of IPv4 and of IPv6, bound to no address: the system routes what they send
    2, 3, ...     bound to one further interface each, since another way out, past a NAT or a
                  firewall that lets no UDP through, is taken only by what asks for it; or to a
                  further public address of the same interface, so that it answers from there

A bound lane stays as long as its address is there and leads out, even when its interface becomes
the one that the system prefers: a path on it may be in use.  A number is never used again, so that
a path's address pair means one thing for good.  Design §3, §8.  This module knows no sockets.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tunnel.proto.paths.candidates import is_overlay
from tunnel.values import frozen

# Fixed by the owners of links.
LANE_IPV4 = 0
LANE_IPV6 = 1
FIRST_BOUND_LANE = 2
# Chosen: each lane repeats every probe; machines with more than three ways out are rare.
MAX_BOUND_LANES = 2  # of one family


@frozen
class Uplink:
    """An interface's address that leads out.

    Args:
        interface: its name.
        ip: without a zone.
        gateway_ip: the next router there, with a zone where it needs one; "" for none.
        is_default: whether the system sends by this interface what asks for none, and answers
            from it what comes to this address.
    """

    interface: str
    ip: str
    gateway_ip: str = ""
    is_default: bool = False

    @property
    def is_ipv6(self) -> bool:
        """The family."""
        return ":" in self.ip


@dataclass(slots=True)
class LaneChanges:
    """What to do about bound lanes: numbers to close, and to open with what to bind them to."""

    closed: list[int] = field(default_factory=list)
    opened: dict[int, Uplink] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.closed or self.opened)


class LanePlan:
    """Keeps bound lanes in step with the interfaces."""

    def __init__(self) -> None:
        self._bound: dict[int, tuple[str, str]] = {}  # lane -> interface and address
        self._next = FIRST_BOUND_LANE

    def update(self, uplinks: Iterable[Uplink]) -> LaneChanges:
        """Take the uplinks as they are now, of one interface the preferred address first."""
        wanted = list(uplinks)
        changes = LaneChanges()
        there = {(uplink.interface, uplink.ip) for uplink in wanted}
        for number, place in list(self._bound.items()):
            if place not in there:
                changes.closed.append(number)
                del self._bound[number]
        served = {(interface, ":" in ip) for interface, ip in self._bound.values()}
        counts = Counter(is_ipv6 for _, is_ipv6 in served)
        for uplink in wanted:
            key = (uplink.interface, uplink.is_ipv6)
            is_of_use = not uplink.is_default and not is_overlay(uplink.ip)
            if is_of_use and key not in served and counts[uplink.is_ipv6] < MAX_BOUND_LANES:
                served.add(key)
                counts[uplink.is_ipv6] += 1
                changes.opened[self._next] = uplink
                self._bound[self._next] = (uplink.interface, uplink.ip)
                self._next += 1
        return changes

    def note_failure(self, number: int) -> None:
        """Take back a lane that could not be opened; the next update tries again."""
        del self._bound[number]
