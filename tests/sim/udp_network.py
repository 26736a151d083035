"""UDP in the simulated world: hosts behind NATs of RFC 4787's kinds, on one public network.

    host --lan--> Nat(mapping, filtering) --wire--> public network --> ... the same way back
    Driver: what tunnel.net.direct does for a host: lanes, candidates, STUN, changes of network

A NAT's mapping says which external port an internal address gets for a destination, its filtering
who may answer to that port.  Wires lose, delay, cut and limit as everywhere in this world.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from world import Host, Wire, World

from tunnel.proto.link.events import AddressSeen, PathChanged
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.paths.gather import Gatherer, StunQuestion
from tunnel.proto.paths.stun_evidence import StunEvidence

Address = tuple[str, int]
Datagram = tuple[Address, Address, bytes]  # source and destination as the public network sees them
HOST_PORT = 41000
IPV4_LANE = 0
STUN_SERVERS = (("192.0.2.1", 3478), ("192.0.2.2", 3478))
STUN_SIZE = 28
HEADERS = 28  # IPv4 and UDP
RECEIVE_BUFFER = 212_992


class Dependence(Enum):
    """What a NAT's mapping or filtering looks at (RFC 4787, sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

    def key(self, remote: Address) -> tuple[object, ...]:
        if self is Dependence.ENDPOINT_INDEPENDENT:
            return ()
        return (remote[0],) if self is Dependence.ADDRESS_DEPENDENT else remote


@dataclass
class Nat:
    """One NAT with one public address.

    Args:
        life_s: how long a mapping, and a hole in the filter, outlives the last packet sent out.
    """

    ip: str
    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    life_s: float = math.inf
    next_port: int = 50000
    ports: dict[tuple[object, ...], int] = field(default_factory=dict)
    inside: dict[int, Address] = field(default_factory=dict)
    used_at: dict[int, float] = field(default_factory=dict)
    opened_at: dict[tuple[object, ...], float] = field(default_factory=dict)

    def outbound(self, now: float, source: Address, remote: Address) -> Address:
        key = (source, *self.mapping.key(remote))
        port = self.ports.get(key)
        if port is None or now > self.used_at[port] + self.life_s:
            port = self.ports[key] = self.next_port
            self.next_port += 7
            self.inside[port] = source
        self.used_at[port] = now
        self.opened_at[port, *self.filtering.key(remote)] = now
        return self.ip, port

    def inbound(self, now: float, remote: Address, port: int) -> Address | None:
        opened_at = self.opened_at.get((port, *self.filtering.key(remote)), -math.inf)
        return self.inside.get(port) if now <= opened_at + self.life_s else None

    def open_to(self, remote: Address) -> None:
        """Let `remote` in at every port, as if each had been used to send there."""
        for port in self.inside:
            self.opened_at[port, *self.filtering.key(remote)] = math.inf

    def rebind(self, ip: str | None = None) -> None:
        """Forget every mapping, as after a reboot or on a new address."""
        self.ip = ip or self.ip
        for table in (self.ports, self.inside, self.used_at, self.opened_at):
            table.clear()
        self.next_port += 1000


@dataclass(eq=False)
class UdpPort:
    """A host's UDP sockets, one for each address family; `ips` are its addresses."""

    host: Host
    ips: list[str]
    nat: Nat | None
    up: Wire
    down: Wire
    is_blocked: bool = False
    mtu: int = 1500  # of its link; larger packets vanish without a word, both ways

    def source_for(self, remote: Address) -> Address | None:
        """Return the address of ours that packets to `remote` come from."""
        return next(((ip, HOST_PORT) for ip in self.ips if (":" in ip) == (":" in remote[0])), None)

    def is_at(self, now: float, source: Address, remote: Address) -> bool:
        """Tell whether what `source` sends to `remote` gets here."""
        nat, ip = self.nat, remote[0]
        if nat is not None and ip == nat.ip:
            inside = nat.inbound(now, source, remote[1])
            return inside is not None and inside[0] in self.ips
        return nat is None and ip in self.ips and remote[1] == HOST_PORT


class UdpNetwork:
    """Carries datagrams between the UDP ports of hosts.

    Attributes:
        tamper: what a hostile node in the middle makes of a datagram; all it returns goes on.
        watch_sent: called with every datagram that a host sends: host, destination, bytes.
        watch_delivered: called with every datagram that reaches a host: host, source, bytes.
        stray: called with what reaches an address that no host has: source, destination, bytes.
        seen: every datagram that was sent, as the public network sees it.
        asked: how many STUN requests and answers there were.

    Args:
        world: where it is.
        stun_servers: how many STUN servers hosts know.
    """

    def __init__(self, world: World, stun_servers: int = 1) -> None:
        self.world = world
        self.stun_servers = STUN_SERVERS[:stun_servers]
        self.ports: dict[Host, UdpPort] = {}
        self.drivers: dict[Host, Driver] = {}
        self.tamper: Callable[[Datagram], list[Datagram]] | None = None
        self.watch_sent: Callable[[Host, Address, bytes], None] = lambda *_: None
        self.watch_delivered: Callable[[Host, Address, bytes], None] = lambda *_: None
        self.stray: Callable[[Address, Address, bytes], None] = lambda *_: None
        self.seen: list[Datagram] = []
        self.asked = 0

    def attach(self, host: Host, *ips: str, nat: Nat | None = None, **wire: float) -> UdpPort:
        """Give a host addresses and UDP sockets, and somebody who uses them for its links."""
        up, down = self.world.wire(**wire), self.world.wire(**wire)
        port = UdpPort(host, list(ips), nat, up, down)
        self.ports[host] = port
        host.send_udp = lambda to, data: self.send(host, (to.ip, to.port), data)
        driver = self.drivers[host] = Driver(self, port)
        host.drive_paths = driver.poll
        return port

    def move(self, host: Host, *ips: str, nat: Nat | None = None) -> None:
        """Take a host to other addresses; it does not know yet: see `Driver.network_changed`."""
        self.ports[host].ips, self.ports[host].nat = list(ips), nat

    def send(self, host: Host, remote: Address, data: bytes) -> None:
        """Take a datagram from a host."""
        port = self.ports[host]
        self.watch_sent(host, remote, data)
        source = port.source_for(remote)
        if source is None or port.is_blocked or len(data) + HEADERS > port.mtu:
            return
        if port.nat is not None:
            source = port.nat.outbound(self.world.now, source, remote)
        whole = (source, remote, data)
        self.seen.append(whole)
        for at in port.up.arrivals(self.world.now, len(data)):
            self.world.at(at, lambda: self.cross(whole))

    def cross(self, datagram: Datagram) -> None:
        """Pass a datagram through the public network, and whoever sits there."""
        for passed in [datagram] if self.tamper is None else self.tamper(datagram):
            self.arrive(*passed)

    def arrive(self, source: Address, remote: Address, data: bytes) -> None:
        """Deliver a datagram to whoever owns the address."""
        ports = [p for p in self.ports.values() if p.is_at(self.world.now, source, remote)]
        for port in ports:
            if port.is_blocked or len(data) + HEADERS > port.mtu:
                continue
            for at in port.down.arrivals(self.world.now, len(data)):
                self.world.at(at, lambda host=port.host: self._deliver(host, source, data))
        if not ports:
            self.stray(source, remote, data)

    def _deliver(self, host: Host, source: Address, data: bytes) -> None:
        self.watch_delivered(host, source, data)
        host.receive_udp(source, data)

    def ask_stun(
        self, port: UdpPort, server: Address, answered: Callable[[str, int], None]
    ) -> None:
        """Ask a STUN server under which address it sees a host; it may not answer."""
        source = port.source_for(server)
        if source is None:
            return
        self.asked += 1
        if port.is_blocked:
            return
        now, nat = self.world.now, port.nat
        seen = nat.outbound(now, source, server) if nat else source

        def answer() -> None:
            now = self.world.now
            if not port.is_blocked and port.is_at(now, server, seen):
                self.asked += 1
                for at in port.down.arrivals(now, STUN_SIZE):
                    self.world.at(at, lambda: answered(*seen))

        for at in port.up.arrivals(now, STUN_SIZE):
            self.world.at(at, answer)

    def wires(self, host: Host) -> list[Wire]:
        port = self.ports[host]
        return [port.up, port.down]

    def cut(self, host: Host, is_cut: bool = True) -> None:
        """Cut a host's direct paths, or mend them."""
        for wire in self.wires(host):
            wire.is_cut = is_cut

    def sent_by_minute(self, since: float) -> Counter[int]:
        """Return how many datagrams were sent in each minute after `since`; starts to count."""
        minutes: Counter[int] = Counter()
        watch = self.watch_sent

        def count(host: Host, remote: Address, data: bytes) -> None:
            minutes[int((self.world.now - since) / 60)] += 1
            watch(host, remote, data)

        self.watch_sent = count
        return minutes


class Driver:
    """Keeps the lanes and candidates of one host's links; `tunnel.net.direct` in this world."""

    def __init__(self, network: UdpNetwork, port: UdpPort) -> None:
        self._network = network
        self._world = network.world
        self._port = port
        self._host = port.host
        self._gatherer = Gatherer(self._world.instant, self._world.rng.randbytes)
        self._served: list[PeerLink] = []
        self._events = len(port.host.events)
        self._wakes_at = 0.0
        self._had_relay = self._has_relay
        self._set_hosts()

    def poll(self) -> bool:
        """Do what is due; tells whether anything was."""
        new = [link for link in self._host.links if link not in self._served]
        for link in new:
            self._served.append(link)
            self.use_lanes(link)
            self._offer([link])
            self._gatherer.ask_now(self._world.instant)
        events = self._host.events[self._events :]
        self._events += len(events)
        for event in events:
            if isinstance(event, AddressSeen):
                self._learn(event.lane, event.ip, event.port)
            elif isinstance(event, PathChanged) and event.endpoint is None:
                self._gatherer.ask_now(self._world.instant)
                self._offer(self._served)
        self._follow_relays()
        has_asked = self._ask()
        return bool(new or events or has_asked)

    @property
    def evidence(self) -> StunEvidence:
        """What the STUN servers' answers tell."""
        return self._gatherer.evidence

    def use_lanes(self, link: PeerLink, lanes: dict[int, bool] | None = None) -> None:
        """Have a link use one lane for each address family the host has."""
        if lanes is None:
            lanes = {int(is_ipv6): is_ipv6 for is_ipv6 in {":" in ip for ip in self._port.ips}}
        link.use_lanes(self._host.instant, lanes, allows_loopback=False)
        link.tell_receive_buffer(RECEIVE_BUFFER)

    def network_changed(self) -> None:
        """Look at the interfaces, and for paths anew; also what is done after a sleep."""
        self._set_hosts()
        self._gatherer.ask_now(self._world.instant)
        for link in self._served:
            link.suspect_paths(self._host.instant)
        self._offer(self._served)

    def _set_hosts(self) -> None:
        self._gatherer.set_hosts([(ip, HOST_PORT) for ip in self._port.ips])

    def _learn(self, lane: int, ip: str, port: int) -> None:
        if self._gatherer.learn(lane, ip, port):
            self._offer(self._served)

    def _offer(self, links: list[PeerLink]) -> None:
        for link in links:
            if not link.is_closed:
                link.offer_candidates(self._gatherer.candidates())

    def _answered(self, transaction: bytes, ip: str, port: int) -> None:
        if not self._host.is_asleep and self._gatherer.handle_response(
            IPV4_LANE, transaction, ip, port
        ):
            self._offer(self._served)

    def _ask(self) -> bool:
        now = self._world.instant
        if all(link.is_closed for link in self._served):
            return False
        if now >= self._gatherer.next_timeout():
            self._host.woken()
        # They belong to the relays, and who is connected to none knows none.
        servers = self._network.stun_servers if self._has_relay else ()
        questions = [StunQuestion(IPV4_LANE, *server) for server in servers]
        requests = self._gatherer.requests_to_send(now, questions)
        for question, transaction in requests:
            server = (question.ip, question.port)
            self._network.ask_stun(self._port, server, partial(self._answered, transaction))
        if self._wakes_at != self._gatherer.next_timeout():
            self._wakes_at = self._gatherer.next_timeout()
            self._world.at(self._wakes_at, lambda: None)
        assert self._gatherer.next_timeout() > now, "a deadline that nobody moves"
        return bool(requests)

    @property
    def _has_relay(self) -> bool:
        return any(
            relay.is_up and self._host.key.public in relay.ports for relay in self._world.relays
        )

    def _follow_relays(self) -> None:
        """Ask anew when a relay came: its STUN server could not be asked before."""
        had_relay, self._had_relay = self._had_relay, self._has_relay
        if self._had_relay and not had_relay:
            self._gatherer.ask_now(self._world.instant)


def nat_of(kind: str, ip: str) -> Nat | None:
    """Return a NAT by the everyday name of its kind."""
    eim, adm, apdm = Dependence
    kinds: dict[str, Callable[[], Nat | None]] = {
        "none": lambda: None,
        "full-cone": lambda: Nat(ip, eim, eim),
        "restricted": lambda: Nat(ip, eim, adm),
        "port-restricted": lambda: Nat(ip, eim, apdm),
        "symmetric": lambda: Nat(ip, apdm, apdm),
    }
    return kinds[kind]()
