"""Lanes: the UDP sockets that direct paths use, opened and closed as the interfaces change.

    started     one of each family, for whatever the system routes; one that the system refuses now
                is tried again whenever the ways out are looked at
    followed    one for each further way out, as `tunnel.proto.paths.lane_plan` decides

What a lane receives goes to its observer.  Nothing here knows STUN, routers or links.
"""

import errno
import logging
from collections.abc import Iterable, Iterator

from tunnel.net.sockets import ListenFailed
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.lane import LaneObserver, UdpLane
from tunnel.proto.machine import Trace
from tunnel.proto.paths.lane_plan import LANE_IPV4, LANE_IPV6, LanePlan, Uplink

PORT_REFUSED = (errno.EADDRINUSE, errno.EACCES, errno.EPERM)
COMMON_LANES = {LANE_IPV4: False, LANE_IPV6: True}  # and whether each speaks IPv6

_log = logging.getLogger(__name__)


class Lanes:
    """Every lane that is open.

    Args:
        observer: told about what arrives.
        tasks: the group that the lanes' greenlets belong to.
        trace: takes (event name, values).
        port: of the lanes that the system routes; 0 for any.
    """

    def __init__(
        self, observer: LaneObserver, tasks: TaskGroup, trace: Trace, port: int = 0
    ) -> None:
        self._port = port
        self._observer = observer
        self._tasks = tasks
        self._trace = trace
        self._plan = LanePlan()
        self._lanes: dict[int, UdpLane] = {}
        self._refusals: dict[int, OSError] = {}  # what was said of lanes that could not be opened

    def __iter__(self) -> Iterator[UdpLane]:
        return iter(list(self._lanes.values()))

    def get(self, number: int) -> UdpLane | None:
        """Return the open lane of that number."""
        return self._lanes.get(number)

    def start(self) -> None:
        """Open what the system routes; raises `ListenFailed` if it has to be a port in use."""
        self._open_common()
        refusals = [error for error in self._refusals.values() if error.errno in PORT_REFUSED]
        if self._port and refusals:
            self.close()
            raise ListenFailed("UDP", "", self._port, refusals[0])

    def follow(self, uplinks: Iterable[Uplink]) -> list[int] | None:
        """Take the ways out of now; returns the lanes that were closed, None if nothing changed."""
        changes = self._plan.update(uplinks)
        for number in changes.closed:
            self._lanes.pop(number).close()
            self._trace("lane.closed", {"lane": number})
        has_opened = self._open_common()
        for number, uplink in changes.opened.items():
            if self._open(number, uplink.is_ipv6, uplink):
                has_opened = True
            else:
                self._plan.note_failure(number)
        return changes.closed if changes.closed or has_opened else None

    def network_changed(self) -> None:
        """Have the lanes try again what this machine could not do before."""
        for lane in self:
            lane.network_changed()

    def _open_common(self) -> bool:
        """Open what is missing of the lanes that the system routes; returns whether any was."""
        missing = [each for each in COMMON_LANES if each not in self._lanes]
        opened = [self._open(number, COMMON_LANES[number], None) for number in missing]
        return any(opened)

    def port_of(self, ip: str) -> int | None:
        """Return the port of the lane that an address of ours is reached by, None without one."""
        own = [lane for lane in self if lane.uplink is not None and lane.uplink.ip == ip]
        common = [lane for lane in self if lane.uplink is None and lane.is_ipv6 == (":" in ip)]
        return next((lane.port for lane in own + common), None)

    def families(self, *, of_all: bool) -> dict[int, bool]:
        """Return the numbers, and whether each speaks IPv6; without `of_all` the common ones."""
        return {lane.number: lane.is_ipv6 for lane in self if of_all or lane.uplink is None}

    def close(self) -> None:
        """Close all."""
        for lane in self:
            lane.close()
        self._lanes.clear()

    def _open(self, number: int, is_ipv6: bool, uplink: Uplink | None) -> bool:
        family = "IPv6" if is_ipv6 else "IPv4"
        where = f" by {uplink.interface}" if uplink is not None else ""
        try:
            lane = UdpLane(number, is_ipv6, self._observer, uplink, port=self._port)
        except OSError as error:
            if str(self._refusals.get(number)) != str(error):
                self._refusals[number] = error  # it is tried again and again: said once
                _log.info("no UDP over %s%s: %s", family, where, error)
            return False
        self._refusals.pop(number, None)
        self._lanes[number] = lane
        lane.start(self._tasks)
        self._trace("lane.opened", {"lane": number, "family": family, "is_bound": bool(uplink)})
        _log.debug("lane %d: %s%s, port %d", number, family, where, lane.port)
        return True
