"""DirectPaths: gives the links of a pump their lanes and candidates, and keeps both fresh.

    lanes (UDP) --STUN answers--> Gatherer --candidates--> links --relay--> the other side
           |                        ^
           |       routers --mappings
           +----everything else--> machine

One greenlet asks the STUN servers of the relays in use, by every lane, follows the ways out when
it is told what a look at the network found, and tells the links when something is new; no other
opens or closes lanes.  Routers are asked for ports once there is a link.  Nothing here looks at the
network itself, or decides about paths: that is `tunnel.net.udp` and `tunnel.proto.paths`.
"""

import logging
import os
from collections.abc import Callable
from weakref import WeakKeyDictionary

from gevent.event import Event

from tunnel.errors import DecodeError, HostUnreachable
from tunnel.net.clock import monotonic
from tunnel.net.deadlines import Deadlines
from tunnel.net.names import Address
from tunnel.net.ports.router_ports import Gateways, PortNews, RouterPorts
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.sockets import resolve
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.lane import UdpLane
from tunnel.net.udp.lanes import Lanes
from tunnel.net.udp.uplinks import Network
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import Trace, UdpEndpoint
from tunnel.proto.paths.gather import Gatherer, StunQuestion
from tunnel.proto.paths.stun_evidence import StunEvidence
from tunnel.units import Instant, Seconds
from tunnel.values import frozen
from tunnel.wire.derpmap import STUN_OFF
from tunnel.wire.frames import Candidate
from tunnel.wire.stun import decode_binding_response, encode_binding_request, is_stun

# Chosen: once a relay is connected, STUN servers are asked for so long, be there a link or not.
EARLY_S: Seconds = 0.5

_log = logging.getLogger(__name__)


@frozen
class AddressLearned:
    """A lane was seen at an address; `seen_by` names the STUN server, "" for the other side."""

    lane: int
    ip: str
    port: int
    seen_by: str


DirectNews = AddressLearned | PortNews


class DirectPaths:
    """The driver of direct paths; a `LaneObserver`.

    Args:
        pump: whose machine gets the datagrams.
        tasks: the group that the greenlets belong to.
        trace: takes (event name, values).
        gateways: how to find and ask routers.
        on_news: told of what was learned of our network; must not block.
        udp_port: of the lanes that the system routes, where a router forwards it to this machine;
            0 for any.
    """

    def __init__(
        self,
        pump: Pump,
        tasks: TaskGroup,
        trace: Trace,
        gateways: Gateways | None = None,
        *,
        on_news: Callable[[DirectNews], None] = lambda _: None,
        udp_port: int = 0,
    ) -> None:
        self._pump = pump
        self._tasks = tasks
        self._trace = trace
        self._on_news = on_news
        self._gateways = gateways or Gateways()
        self._lanes = Lanes(self, tasks, trace, udp_port)
        self._routers = RouterPorts(tasks, self._take_port_news, trace, self._gateways)
        self._maps_ports = False
        self._network = Network()
        self._links: list[PeerLink] = []
        self._offered: WeakKeyDictionary[PeerLink, tuple[Candidate, ...]] = WeakKeyDictionary()
        self._gatherer = Gatherer(monotonic(), os.urandom, udp_port)
        self._deadlines = Deadlines("the gatherer of candidates")
        self._asks_until = Instant(0.0)  # also without a link
        self._has_work = Event()
        self._is_over = False
        self._has_changed = False  # the network, since we looked
        self._connected: set[RelayConnection] = set()  # whose STUN servers can be asked
        self._source: tuple[int, str, int] | None = None  # of the last datagram
        self._origin = UdpEndpoint(0, "", 0)  # the same, as the machine has it

    def start(self) -> None:
        """Open the lanes and begin to gather; raises `ListenFailed` for a port that is taken."""
        self._lanes.start()
        self._pump.use_lanes(list(self._lanes))
        self._tasks.spawn("direct paths", self._run)

    def begin_release(self) -> None:
        """Begin to give back what routers mapped, and look for nothing new; does not wait."""
        self._is_over = True
        self._has_work.set()
        self._routers.begin_release()

    def close(self) -> None:
        """Wait until routers have given up what they mapped, a second at most; close the lanes."""
        self.begin_release()
        self._routers.finish_release()
        self._lanes.close()

    def add_link(self, link: PeerLink) -> None:
        """Give a new link its lanes, and the other side our candidates."""
        self._links.append(link)
        self._give_lanes(link)
        self._offer([link])
        self._gatherer.ask_now(monotonic())
        if self._gateways.serves_loopback or not self._is_on_loopback(link):
            self._maps_ports = True
        self._has_work.set()

    def address_seen(self, lane: int, ip: str, port: int) -> None:
        """Take an address that the other side saw a lane of ours at."""
        if self._lanes.get(lane) is not None and self._gatherer.learn(lane, ip, port):
            self._trace("candidate.learned", {"lane": lane, "from": "peer"})
            self._offer(self._links)
            self._on_news(AddressLearned(lane, ip, port, ""))

    def path_lost(self) -> None:
        """Look where we are seen now, and have both sides probe again: a NAT may have rebound."""
        self._gatherer.ask_now(monotonic())
        self._routers.check()
        self._offer(self._links)
        self._has_work.set()

    def offered(self, link: PeerLink) -> tuple[Candidate, ...]:
        """Return which addresses of ours a peer was told last."""
        return self._offered.get(link, ())

    def peer_offered(self, link: PeerLink) -> None:
        """Tell a peer, that has told where it may be reached, of addresses of ours near those."""
        if self._candidates_for(link) != self._offered.get(link):
            self._offer([link])

    def network_noticed(self, network: Network) -> None:
        """Take what a look found: ways out, routers and addresses may be others than before."""
        self._network = network
        self._has_work.set()

    def relays_changed(self) -> None:
        """Ask the STUN server of a relay that is connected now and was not before."""
        connected = {r for r in self._pump.relays if r.state is RelayState.CONNECTED}
        if connected - self._connected:
            # Before the link, too: where we are seen is told before the first bytes, behind which
            # it would wait in a connection that is stuck.
            self._asks_until = Instant(monotonic() + EARLY_S)
            self._gatherer.ask_now(monotonic())
            self._has_work.set()
        self._connected = connected

    def network_changed(self) -> None:
        """Look which relays and paths still work, and for others: another network, or a sleep."""
        self._has_changed = True
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
                self._take_stun(lane, datagram)
            return
        source = (lane.number, ip, port)
        if source != self._source:  # what comes next mostly comes from the same address
            self._source = source
            self._origin = UdpEndpoint(lane.number, ip.partition("%")[0], port)
        self._pump.machine.handle_datagrams(monotonic(), self._origin, burst)

    def lane_read_done(self, lane: UdpLane) -> None:
        """Work on what a wake-up brought."""
        del lane
        self._pump.read_done()

    # -- inside -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            self._links = [link for link in self._links if not link.is_closed]
            now = monotonic()
            is_asking = bool(self._links) or now < self._asks_until
            if is_asking:
                self._ask_servers(now)
            pause_s = None
            if is_asking:
                due = self._deadlines.come_back_at(self._gatherer.next_timeout(), now)
                pause_s = None if due is None else max(0.0, due - monotonic())
            if self._has_work.wait(pause_s) and not self._is_over:
                self._has_work.clear()  # what comes while we look is looked at next
                self._follow()

    def _follow(self) -> None:
        """Follow the ways out and the routers that the last look found."""
        network = self._network
        has_changed, self._has_changed = self._has_changed, False
        has_other_lanes = self._follow_lanes(network)
        has_other_hosts = self._tell_hosts(network)
        if has_other_lanes or has_changed:
            self._look_anew()
        elif has_other_hosts:
            self._offer(self._links)
        if self._maps_ports:
            self._routers.follow(self._lanes, network)

    def _look_anew(self) -> None:
        now = monotonic()
        _log.info("the network changed: looking for paths anew")
        self._lanes.network_changed()
        self._pump.check_alive()
        self._gatherer.ask_now(now)
        self._routers.check()
        for link in self._links:
            link.suspect_paths(now)
        self._offer(self._links)

    def _follow_lanes(self, network: Network) -> bool:
        """Open and close lanes as the ways out change; returns whether any did."""
        closed = self._lanes.follow(network.uplinks)
        if closed is None:
            return False
        for number in closed:
            self._gatherer.forget_lane(number)
        self._pump.use_lanes(list(self._lanes))
        for link in self._links:
            self._give_lanes(link)
        return True

    def _give_lanes(self, link: PeerLink) -> None:
        is_on_loopback = self._is_on_loopback(link)
        lanes = self._lanes.families(of_all=not is_on_loopback)
        link.use_lanes(monotonic(), lanes, is_on_loopback)
        buffers = [lane.receive_buffer for lane in self._lanes if lane.number in lanes]
        if buffers:
            link.tell_receive_buffer(min(buffers))

    def _tell_hosts(self, network: Network) -> bool:
        """Have our addresses offered, each with its lane's port; returns whether any is new."""
        hosts = [
            (f"{address.ip}/{address.prefix_length}", port)
            for address in network.addresses
            if (port := self._lanes.port_of(address.ip)) is not None
        ]
        return self._gatherer.set_hosts(hosts)

    def _take_port_news(self, news: PortNews) -> None:
        """Offer a port that the whole internet reaches; behind yet another NAT it is none."""
        lane, mapping, place = news.lane, news.mapping, None
        if mapping is not None and mapping.is_public:
            place = (mapping.external_ip, mapping.external_port)
        if self._gatherer.set_mapping(lane, place):
            self._offer(self._links)
        self._on_news(news)

    def _offer(self, links: list[PeerLink]) -> None:
        for link in links:
            candidates = self._offered[link] = self._candidates_for(link)
            link.offer_candidates(candidates)
        self._pump.wake()

    def _candidates_for(self, link: PeerLink) -> tuple[Candidate, ...]:
        is_on_loopback = self._is_on_loopback(link)
        return self._gatherer.candidates(link.peer_candidates, is_on_loopback=is_on_loopback)

    def _is_on_loopback(self, link: PeerLink) -> bool:
        return self._pump.relays[link.relay].is_loopback

    def _ask_servers(self, now: Instant) -> None:
        if now < self._gatherer.next_timeout():
            return
        for question, transaction in self._gatherer.requests_to_send(now, self._questions()):
            lane = self._lanes.get(question.lane)
            if lane is not None:
                lane.send(question.ip, question.port, encode_binding_request(transaction))

    def _questions(self) -> list[StunQuestion]:
        """Return the STUN servers of the relays in use, once for each lane of their family."""
        servers = [each for relay in self._pump.relays for each in self._stun_addresses(relay)]
        return [
            StunQuestion(lane.number, ip, port)
            for lane in self._lanes
            for ip, port in servers
            if lane.is_ipv6 == (":" in ip)
        ]

    def _stun_addresses(self, relay: RelayConnection) -> list[tuple[str, int]]:
        node = relay.node
        if relay.state is not RelayState.CONNECTED or node is None or node.stun_port == STUN_OFF:
            return []
        try:
            addresses: list[Address] = resolve(node.host, node.ipv4, node.ipv6)
        except HostUnreachable:
            return []
        return [(ip, node.stun_port) for _, ip in addresses]

    def _take_stun(self, lane: UdpLane, data: memoryview) -> None:
        try:
            response = decode_binding_response(data)
        except DecodeError:
            return
        question = self._gatherer.handle_response(
            lane.number, response.transaction_id, response.address, response.port
        )
        if question is None:
            return
        server = f"{question.ip} port {question.port}"
        _log.debug("lane %d: %s sees %s", lane.number, server, response.address)
        self._trace("candidate.learned", {"lane": lane.number, "from": server})
        self._offer(self._links)
        self._on_news(AddressLearned(lane.number, response.address, response.port, server))
