"""RouterPorts: keeps our lanes' ports mapped at the routers in front of them.

    lane --its gateway--> PortMapper --events--> on_news(lane, mapping or why there is none)

A lane that any interface serves is mapped at the default gateway, one that is bound to an interface
at that interface's own.  Gateways come and go: each look moves a mapping to where its lane leads
now.  No gateway, or a silent one, costs nothing but the questions.  Which mapping becomes a
candidate is not decided here.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

import gevent

from tunnel.net.ifaces import Gateway
from tunnel.net.ports.portmap import GatewayPorts, MappedPort, PortMapper
from tunnel.net.rtnetlink import Version
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.lane import UdpLane
from tunnel.net.udp.uplinks import Network, gateway_of
from tunnel.proto.machine import Trace
from tunnel.proto.paths.lane_plan import Uplink
from tunnel.proto.portmap.mapping import (
    MappingEvent,
    MappingLost,
    MappingMade,
    NoMapping,
    PortMapping,
)
from tunnel.units import Seconds
from tunnel.values import frozen

# Chosen: a gateway is one hop away and answers in milliseconds.  In this time a lost datagram is
# repeated twice, and the end of a command is not delayed for longer.
RELEASE_S: Seconds = 0.75

_log = logging.getLogger(__name__)


@frozen
class Gateways:
    """How to find and ask gateways; only tests need others.

    Args:
        find: returns the gateway of an uplink, or the default one of a family, in a network.
        ports: where gateways listen.
        serves_loopback: whether a link through a relay on loopback has ports mapped, too.
    """

    find: Callable[[Network, Uplink | None, Version], Gateway | None] = gateway_of
    ports: GatewayPorts = field(default_factory=GatewayPorts)
    serves_loopback: bool = False


@frozen
class PortNews:
    """What came of asking the router of a lane for a port.

    Args:
        lane: its number.
        mapping: the port that it gave; None where it gives none, or none any more.
        reasons: why not, by protocol.
    """

    lane: int
    mapping: PortMapping | None
    reasons: Mapping[str, str] = field(default_factory=dict)


@frozen
class _Mapped:
    mapper: PortMapper
    watcher: gevent.Greenlet


class RouterPorts:
    """The mappings of all lanes.

    Args:
        tasks: the group that the greenlets belong to.
        on_news: told what routers said; must not block.
        trace: takes (event name, values).
        gateways: see there.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        on_news: Callable[[PortNews], None],
        trace: Trace,
        gateways: Gateways,
    ) -> None:
        self._tasks = tasks
        self._on_news = on_news
        self._trace = trace
        self._gateways = gateways
        self._mapped: dict[int, _Mapped] = {}
        self._is_over = False
        self._releases = TaskGroup("port mapping releases")

    def follow(self, lanes: Iterable[UdpLane], network: Network) -> None:
        """Map the lanes at the gateways of a network; what is mapped for others is given back."""
        there = {lane.number: lane for lane in lanes}
        for number in [number for number in self._mapped if number not in there]:
            self._give_back(number)
        for lane in there.values():
            gateway = self._gateways.find(network, lane.uplink, 6 if lane.is_ipv6 else 4)
            if self._is_over:
                return  # a move waits, and meanwhile the end may have come
            if gateway is None:
                continue  # mapped or not, this may be a moment between two networks
            if lane.number in self._mapped:
                self._mapped[lane.number].mapper.move(gateway.ip, gateway.local_ip)
            else:
                self._start(lane, gateway)

    def check(self) -> None:
        """Ask whether the mappings still exist."""
        for mapped in self._mapped.values():
            mapped.mapper.check()

    def begin_release(self) -> None:
        """Begin to give everything back, and map nothing any more; `finish_release` waits."""
        self._is_over = True
        for number in list(self._mapped):
            self._give_back(number)

    def finish_release(self) -> None:
        """Wait until all that is given back is, or was not confirmed within `RELEASE_S`."""
        self._releases.join()

    def _start(self, lane: UdpLane, gateway: Gateway) -> None:
        _log.debug("lane %d: asking %s to map port %d", lane.number, gateway.ip, lane.port)
        ports = self._gateways.ports
        mapper = PortMapper(gateway.ip, gateway.local_ip, os.urandom, ports=ports)
        mapper.start(self._tasks)
        port = mapper.map(lane.port)
        watcher = self._tasks.spawn("mapping news", self._watch, lane.number, port)
        self._mapped[lane.number] = _Mapped(mapper, watcher)

    def _give_back(self, number: int) -> None:
        self._releases.spawn("release", self._release, number, self._mapped.pop(number))

    def _release(self, number: int, mapped: _Mapped) -> None:
        mapped.watcher.kill()
        is_confirmed = mapped.mapper.release(RELEASE_S)
        mapped.mapper.close()
        self._trace("mapping.released", {"lane": number, "is_confirmed": is_confirmed})
        if not is_confirmed:
            _log.info("the gateway has not confirmed that the port of lane %d is free", number)

    def _watch(self, number: int, port: MappedPort) -> None:
        while True:
            event = port.next_event()
            if event is not None:
                self._take(number, event)

    def _take(self, number: int, event: MappingEvent) -> None:
        match event:
            case MappingMade(mapping):
                _log.debug("lane %d: %s", number, mapping)
                values: dict[str, object] = {
                    "protocol": mapping.protocol.value,
                    "lifetime_s": mapping.lifetime_s,
                    "is_public": mapping.is_public,
                }
                self._trace("mapping.made", {"lane": number, **values})
                self._on_news(PortNews(number, mapping))
            case MappingLost(mapping, failure):
                _log.debug("lane %d: lost %s: %s", number, mapping, failure.words)
                self._trace("mapping.lost", {"lane": number, "reason": failure.words})
                self._on_news(PortNews(number, None, {mapping.protocol.value: failure.words}))
            case NoMapping(failures):
                reasons = {protocol.value: each.words for protocol, each in failures.items()}
                _log.debug("lane %d: no mapping: %s", number, reasons)
                self._trace("mapping.none", {"lane": number, "reasons": reasons})
                self._on_news(PortNews(number, None, reasons))
