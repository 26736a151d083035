"""DirectPaths: gives the links of a pump their lanes and candidates, and keeps both fresh.

    lanes (UDP) ──STUN answers──► Gatherer ──candidates──► links ──relay──► the other side
           └────everything else──► machine

One greenlet asks the STUN servers of the relays in use, looks at the interfaces, and tells the
links when something is new.  Nothing here decides about paths: that is `tunnel.proto.paths`.
"""

import logging
import os

from gevent.event import Event

from tunnel.errors import DecodeError, RelayUnreachable
from tunnel.net.clock import monotonic, wall
from tunnel.net.connect import Address, resolve
from tunnel.net.ifaces import local_addresses
from tunnel.net.pump import Pump
from tunnel.net.relay import RelayConnection, RelayState
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp import UdpLane
from tunnel.proto.candidates import CandidateKind
from tunnel.proto.gather import Gatherer
from tunnel.proto.link import PeerLink
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.received_burst import ReceivedBurst
from tunnel.proto.stun_evidence import StunEvidence
from tunnel.units import Instant, Seconds
from tunnel.wire.derpmap import STUN_OFF
from tunnel.wire.stun import decode_binding_response, encode_binding_request, is_stun

# Chosen.
INTERFACE_CHECK_S: Seconds = 2.0  # how soon a change of addresses is noticed
SLEEP_S: Seconds = 5.0  # a wall clock this far ahead of the monotonic one: the machine slept

_log = logging.getLogger(__name__)


class DirectPaths:
    """The driver of direct paths; a `LaneObserver`.

    Args:
        pump: whose machine gets the datagrams.
        tasks: the group that the greenlets belong to.
    """

    def __init__(self, pump: Pump, tasks: TaskGroup) -> None:
        self._pump = pump
        self._tasks = tasks
        self._lanes: list[UdpLane] = []
        self._links: list[PeerLink] = []
        self._gatherer = Gatherer(monotonic(), os.urandom)
        self._addresses: list[str] = []
        self._has_work = Event()
        self._servers: list[tuple[int, str, int]] = []  # lane, ip, port

    def start(self) -> None:
        """Open the lanes and begin to gather."""
        for number, is_ipv6 in enumerate((False, True)):
            try:
                lane = UdpLane(number, is_ipv6, self)
            except OSError as error:
                _log.info("no UDP over %s: %s", "IPv6" if is_ipv6 else "IPv4", error)
                continue
            self._lanes.append(lane)
            lane.start(self._tasks)
        self._pump.use_lanes(self._lanes)
        self._look_at_interfaces()
        self._tasks.spawn("direct paths", self._run)

    def close(self) -> None:
        """Close the lanes."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []

    def add_link(self, link: PeerLink) -> None:
        """Give a new link its lanes, and the other side our candidates."""
        self._links.append(link)
        lanes = {lane.number: lane.is_ipv6 for lane in self._lanes}
        link.use_lanes(monotonic(), lanes, self._is_on_loopback(link))
        self._offer([link])
        self._gatherer.ask_now(monotonic())
        self._has_work.set()

    def address_seen(self, ip: str, port: int) -> None:
        """Take an address that the other side saw us at."""
        if self._gatherer.learn(CandidateKind.REFLEXIVE, ip, port):
            self._offer(self._links)

    def path_lost(self) -> None:
        """Look where we are seen now, and have both sides probe again: a NAT may have rebound."""
        self._gatherer.ask_now(monotonic())
        self._offer(self._links)
        self._has_work.set()

    @property
    def evidence(self) -> StunEvidence:
        """What the answers of STUN servers tell about our network."""
        return self._gatherer.evidence

    # -- LaneObserver -----------------------------------------------------------------------

    def lane_datagrams(self, lane: UdpLane, ip: str, port: int, burst: ReceivedBurst) -> None:
        """Hand datagrams to the gatherer or to the machine."""
        if is_stun(burst.view[: burst.segment_size]):
            for datagram in burst.datagrams():
                self._take_stun(datagram)
            return
        origin = UdpEndpoint(lane.number, ip.partition("%")[0], port)
        self._pump.machine.handle_datagrams(monotonic(), origin, burst)

    def lane_read_done(self, lane: UdpLane) -> None:
        """Work on what a wake-up brought."""
        del lane
        self._pump.wake()

    # -- inside -----------------------------------------------------------------------------

    def _run(self) -> None:
        asleep_since = wall() - monotonic()
        while True:
            self._links = [link for link in self._links if not link.is_closed]
            now = monotonic()
            if self._links:
                self._ask_servers(now)
            self._has_work.clear()
            pause_s = min(INTERFACE_CHECK_S, max(0.01, self._gatherer.next_timeout() - now))
            self._has_work.wait(pause_s if self._links else None)
            offset = wall() - monotonic()
            has_slept = offset - asleep_since > SLEEP_S
            asleep_since = offset
            if self._look_at_interfaces() or has_slept:
                self._network_changed()

    def _network_changed(self) -> None:
        now = monotonic()
        _log.info("the network changed: looking for paths anew")
        for relay in self._pump.relays:
            relay.check_alive()
        self._gatherer.ask_now(now)
        for link in self._links:
            link.suspect_paths(now)
        self._offer(self._links)

    def _look_at_interfaces(self) -> bool:
        """Read the interfaces; returns whether their addresses changed."""
        addresses = sorted(address.ip for address in local_addresses())
        if addresses == self._addresses:
            return False
        self._addresses = addresses
        self._gatherer.set_hosts(addresses, {lane.is_ipv6: lane.port for lane in self._lanes})
        return True

    def _offer(self, links: list[PeerLink]) -> None:
        candidates = self._gatherer.candidates()
        for link in links:
            link.offer_candidates(candidates)
        self._pump.wake()

    def _is_on_loopback(self, link: PeerLink) -> bool:
        return self._pump.relays[link.relay].is_loopback

    def _ask_servers(self, now: Instant) -> None:
        if now < self._gatherer.next_timeout():
            return
        self._servers = self._find_servers()
        lanes = {lane.number: lane for lane in self._lanes}
        for number, transaction in self._gatherer.requests_to_send(now, len(self._servers)):
            lane_number, ip, port = self._servers[number]
            lane = lanes.get(lane_number)
            if lane is not None:
                lane.send(ip, port, encode_binding_request(transaction))

    def _find_servers(self) -> list[tuple[int, str, int]]:
        """Return the STUN servers of the relays in use, once for each address family."""
        servers = []
        lane_by_family = {lane.is_ipv6: lane.number for lane in self._lanes}
        for relay in self._pump.relays:
            for _, ip, port in self._stun_addresses(relay):
                lane = lane_by_family.get(":" in ip)
                if lane is not None:
                    servers.append((lane, ip, port))
        return servers

    def _stun_addresses(self, relay: RelayConnection) -> list[tuple[int, str, int]]:
        node = relay.node
        if relay.state is not RelayState.CONNECTED or node is None or node.stun_port == STUN_OFF:
            return []
        try:
            addresses: list[Address] = resolve(node.host, node.ipv4, node.ipv6)
        except RelayUnreachable:
            return []
        return [(family, ip, node.stun_port) for family, ip in addresses]

    def _take_stun(self, data: memoryview) -> None:
        try:
            response = decode_binding_response(data)
        except DecodeError:
            return
        if self._gatherer.handle_response(response.transaction_id, response.address, response.port):
            self._offer(self._links)
