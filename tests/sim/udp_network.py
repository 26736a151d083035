"""UDP in the simulated world: hosts behind NATs of RFC 4787's kinds, on one public network.

    host --lan--> Nat(mapping, filtering) --wire--> public network --> ... the same way back

A NAT's mapping says which external port an internal address gets for a destination, its filtering
who may answer to that port.  Wires lose, delay, cut and limit as everywhere in this world.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from world import Host, Wire, World

from tunnel.wire.frames import Candidate

Address = tuple[str, int]
HOST_PORT = 41000
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
    """One NAT with one public address."""

    ip: str
    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    next_port: int = 50000
    ports: dict[tuple[object, ...], int] = field(default_factory=dict)
    inside: dict[int, Address] = field(default_factory=dict)
    allowed: set[tuple[object, ...]] = field(default_factory=set)

    def outbound(self, source: Address, remote: Address) -> Address:
        key = (source, *self.mapping.key(remote))
        port = self.ports.get(key)
        if port is None:
            port = self.ports[key] = self.next_port
            self.next_port += 7
            self.inside[port] = source
        self.allowed.add((port, *self.filtering.key(remote)))
        return self.ip, port

    def inbound(self, remote: Address, port: int) -> Address | None:
        if (port, *self.filtering.key(remote)) not in self.allowed:
            return None
        return self.inside.get(port)

    def rebind(self, ip: str | None = None) -> None:
        """Forget every mapping, as after a reboot or on a new address."""
        self.ip = ip or self.ip
        self.ports.clear()
        self.inside.clear()
        self.allowed.clear()
        self.next_port += 1000


@dataclass
class UdpPort:
    """A host's UDP socket."""

    host: Host
    address: Address
    nat: Nat | None
    up: Wire
    down: Wire
    is_blocked: bool = False
    mtu: int = 1500  # of its link; larger packets vanish without a word, both ways


class UdpNetwork:
    """Carries datagrams between the UDP ports of hosts."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ports: dict[Host, UdpPort] = {}
        self.seen: list[tuple[Address, Address, bytes]] = []

    def attach(self, host: Host, ip: str, nat: Nat | None = None, **wire: float) -> UdpPort:
        """Give a host a UDP socket, and its machine's link the lane."""
        up, down = self.world.wire(**wire), self.world.wire(**wire)
        up.keeps_order = down.keeps_order = True
        port = UdpPort(host, (ip, HOST_PORT), nat, up, down)
        self.ports[host] = port
        host.send_udp = lambda to, data: self.send(port, (to.ip, to.port), data)
        return port

    def offer(self, host: Host, reflexive: bool = True) -> None:
        """Have a host use its lane and tell its candidates, a STUN answer included."""
        port = self.ports[host]
        candidates = [Candidate(1, *port.address)]
        if reflexive and port.nat is not None:
            candidates.append(Candidate(2, *port.nat.outbound(port.address, ("192.0.2.1", 3478))))
        assert host.link is not None
        host.link.use_lanes(host.instant, {0: False}, allows_loopback=False)
        host.link.tell_receive_buffer(RECEIVE_BUFFER)
        host.link.offer_candidates(tuple(candidates))

    def send(self, port: UdpPort, remote: Address, data: bytes) -> None:
        """Take a datagram from a host."""
        if port.is_blocked or len(data) + HEADERS > port.mtu:
            return
        source = port.nat.outbound(port.address, remote) if port.nat else port.address
        self.seen.append((source, remote, data))
        for at in port.up.arrivals(self.world.now, len(data)):
            self.world.at(at, lambda: self.arrive(source, remote, data))

    def arrive(self, source: Address, remote: Address, data: bytes) -> None:
        """Deliver a datagram to whoever owns the address."""
        for port in list(self.ports.values()):
            if port.is_blocked or len(data) + HEADERS > port.mtu:
                continue
            if port.nat is None:
                is_mine = remote == port.address
            else:
                is_mine = (
                    remote[0] == port.nat.ip and port.nat.inbound(source, remote[1]) == port.address
                )
            if is_mine:
                for at in port.down.arrivals(self.world.now, len(data)):
                    self.world.at(at, lambda host=port.host: host.receive_udp(source, data))

    def wires(self, host: Host) -> list[Wire]:
        port = self.ports[host]
        return [port.up, port.down]

    def cut(self, host: Host, is_cut: bool = True) -> None:
        """Cut a host's direct paths, or mend them."""
        for wire in self.wires(host):
            wire.is_cut = is_cut


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
