"""The lab: two hosts behind NATs and a small internet between them, on one Linux machine.

    host a ------- router ra -----------+                    +----------- router rb ------- host b
    10.0.1.2       lan 10.0.1.1         |                    |         lan 10.0.2.1       10.0.2.2
    2001:db8:1::2  wan 203.0.113.10   wire a              wire b   wan 203.0.113.20  2001:db8:2::2
                   wan 2001:db8::10     |                    |     wan 2001:db8::20
                                        |                    |
                          +-------------+--------------------+-------------+
                          |                     public                     |
                          | 203.0.113.1  203.0.113.2  2001:db8::1  and ::2 |
                          |          relays and STUN servers run here      |
                          +------------------------------------------------+

    same_lan       host b is 10.0.1.3 behind ra
    carrier        wire a ends at carrier NAT ca, 100.64.1.1, whose wan is 203.0.113.10; ra's wan
                   becomes 100.64.1.10.  "shared": both homes are customers of ca
    second_uplink  host a has eth1, 10.0.3.2, with router sa, wire a2 and wan 203.0.113.30; what is
                   bound to an address leaves by its interface, the rest by eth0

Every box is a network namespace, every wire see `wires`, every kind of NAT see `nat_kinds`.

    with Lab(Topology(nat_a=NatKind.SYMMETRIC)) as lab:
        lab.public.start(["iperf3", "-s"])
        lab.wire("a").impair(Impairment(loss_percent=1, delay_ms=20, rate="50mbit"))
        with lab.cut("b"):
            ...
        lab.rebind("a")

At the end, also after an exception, every process in the lab is killed and every namespace is
removed; what a killed run left behind is removed by `remove_leftovers`.  Standard library only,
so that it runs with any Python of the machine.
"""

import itertools
import shutil
from pathlib import Path
from types import TracebackType

from namespaces import (
    Namespace,
    ip_batch,
    new_folder,
    own_name,
    remove_namespaces,
)
from nat_kinds import NatKind
from routers import FORWARDING, Router
from topology import PUBLIC6, Carrier, Site, Topology
from wires import UDP, Block, Way, Wire

# Nothing here may probe for addresses in use, or take one from a router's advertisement.
QUIET_IPV6 = {
    f"net/ipv6/conf/{which}/{key}": 0
    for which in ("all", "default")
    for key in ("accept_dad", "accept_ra", "autoconf")
}
LOOSE_SOURCES = {"net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/default/rp_filter": 0}
NO_IPV6 = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}
SECOND_TABLE = 2  # routes of what is bound to the second uplink

_labs = itertools.count(1)


class Host(Namespace):
    """A computer; `address4` and `address6` are those of its first interface, if it has them."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.address4 = ""
        self.address6 = ""
        self.second_address4 = ""
        self.second_address6 = ""

    @property
    def address(self) -> str:
        """The address of its first interface, IPv4 where there is one."""
        return self.address4 or self.address6


class Lab:
    """A topology that exists between `__enter__` and `__exit__`."""

    def __init__(self, topology: Topology | None = None) -> None:
        self.topology = topology or Topology()
        self._number = next(_labs)
        self._names = {node: own_name(self._number, node) for node in self._nodes()}
        self._wires: dict[str, Wire] = {}
        self._routers: dict[str, Router] = {}
        self.public = Host(self._names["public"])
        self.wires_namespace = Namespace(self._names["wires"])
        self.a = Host(self._names["a"])
        self.b = Host(self._names["b"])
        self.folder = Path()

    # -- who is who -----------------------------------------------------------------------

    @property
    def public_addresses(self) -> tuple[str, str]:
        """Both addresses of the internet, where servers run; IPv4 where there is any."""
        if self.topology.has_ipv4:
            return f"{self.topology.public4}.1", f"{self.topology.public4}.2"
        return f"{PUBLIC6}::1", f"{PUBLIC6}::2"

    def host(self, name: str) -> Host:
        """Return host "a" or "b"."""
        return {"a": self.a, "b": self.b}[name]

    def wire(self, site: str) -> Wire:
        """Return the wire of a site: "a", "b", "a2" or "b2"; with `same_lan`, b's is a's."""
        return self._wires["a" if site == "b" and self.topology.same_lan else site]

    def router(self, site: str) -> Router:
        """Return the router of a site."""
        return self._routers[self.topology.site(self.wire(site).name).router]

    def carrier(self, site: str) -> Router:
        """Return the carrier NAT of a site."""
        return self._routers[self.topology.carrier_of(site)]

    # -- faults ---------------------------------------------------------------------------

    def cut(self, site: str, *ways: Way) -> Block:
        """Let nothing through a wire, with no sign at either end; `lift` ends it."""
        return self.wire(site).block("", *ways)

    def block_udp(self, site: str, *ways: Way) -> Block:
        """Let no UDP through a wire."""
        return self.wire(site).block(UDP, *ways)

    def swallow_udp(self, site: str, over: int) -> Block:
        """Let no UDP packet of more than `over` bytes through a wire, and tell nobody."""
        return self.wire(site).block(f"{UDP} meta length > {over}")

    def set_mtu(self, mtu: int) -> None:
        """Give every link another MTU, such as that of jumbo frames."""
        for node, device, other, peer in self._plugs():
            for name, interface in ((node, device), (other, peer)):
                Namespace(self._names[name]).ip(f"link set dev {interface} mtu {mtu}")

    def set_nat(self, site: str, kind: NatKind, *, hairpin: bool | None = None) -> None:
        """Make a router another kind of NAT that knows no old flow."""
        self.router(site).set_kind(kind, hairpin=hairpin)

    def rebind(self, site: str) -> None:
        """Make a NAT forget its mappings and map to another public address."""
        self.router(site).rebind()

    def move(self, host_name: str, last: int) -> None:
        """Give a host other addresses in its LAN, ending in `last` (4 to 254); the old are gone."""
        host, site = self.host(host_name), self.topology.site(self.topology.home_of(host_name))
        lines = []
        if host.address4:
            lines += [
                f"addr del {host.address4}/24 dev eth0",
                f"addr add {site.prefix4}{last}/24 dev eth0",
                f"route replace default via {site.lan4}",
            ]
            host.address4 = f"{site.prefix4}{last}"
        if host.address6:
            lines += [
                f"addr del {host.address6}/64 dev eth0",
                f"addr add {site.prefix6}{last:x}/64 dev eth0 nodad",
                f"route replace default via {site.lan6}",
            ]
            host.address6 = f"{site.prefix6}{last:x}"
        host.ip(*lines)

    def use_second_uplink(self, host_name: str) -> None:
        """Make the second interface the one that everything leaves by; the first loses its link."""
        site = self.topology.site(f"{host_name}2")
        lines = ["link set dev eth0 down"]
        if self.topology.has_ipv4:
            lines.append(f"route replace default via {site.lan4} dev eth1")
        if self.topology.has_ipv6:
            lines.append(f"route replace default via {site.lan6} dev eth1")
        self.host(host_name).ip(*lines)

    # -- building -------------------------------------------------------------------------

    def __enter__(self) -> "Lab":
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs in the lab and remove it; a second call does nothing."""
        boxes: list[Namespace] = [self.a, self.b, self.public, self.wires_namespace]
        for namespace in (*boxes, *self._routers.values()):
            namespace.end_processes()
        remove_namespaces(self._names.values())
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()

    def _nodes(self) -> list[str]:
        routers = [self.topology.site(name).router for name in self.topology.sites]
        return ["public", "wires", "a", "b", *routers, *self.topology.carriers]

    def _build(self) -> None:
        self.folder = new_folder(self._number)
        ip_batch(f"netns add {name}" for name in self._names.values())
        for node, name in self._names.items():
            forwarding = {} if node in ("a", "b", "wires") else FORWARDING
            ipv6 = QUIET_IPV6 if self.topology.has_ipv6 and node != "wires" else NO_IPV6
            Namespace(name).set_sysctls({**ipv6, **LOOSE_SOURCES, **forwarding})
        ip_batch(self._links())
        self._build_public()
        self._build_wires()
        for name in self.topology.sites:
            self._build_site(self.topology.site(name))
        for name in self.topology.carriers:
            self._build_carrier(name)
        for name in ("a", "b"):
            self._build_host(name)

    def _plugs(self) -> list[tuple[str, str, str, str]]:
        """Return every link as (node, interface, node, interface)."""
        plugs = []
        for name in self.topology.sites:
            site, carrier = self.topology.site(name), self.topology.carrier_of(name)
            plugs.append((site.router, "wan", "wires", f"{name}r"))
            plugs.append(("wires", f"{name}i", carrier or "public", f"port{name}"))
        plugs += [(name, "wan", "public", f"port{name}") for name in self.topology.carriers]
        for host in ("a", "b"):
            home = self.topology.site(self.topology.home_of(host))
            plugs.append((host, "eth0", home.router, f"host{host}"))
        if host := self.topology.second_uplink:
            plugs.append((host, "eth1", f"s{host}", f"host{host}"))
        return plugs

    def _links(self) -> list[str]:
        """Return the commands that plug everything together."""
        return [
            f"link add {device} netns {self._names[node]} type veth"
            f" peer name {peer} netns {self._names[other]}"
            for node, device, other, peer in self._plugs()
        ]

    def _build_public(self) -> None:
        plan = self.topology
        uncarried = [name for name in plan.sites if not plan.carrier_of(name)]
        ports = [f"port{name}" for name in (*uncarried, *plan.carriers)]
        self.public.ip(
            "link set lo up",
            *_bridge("br0", ports),
            *self._addresses("br0", f"{self.topology.public4}.1", f"{PUBLIC6}::1"),
            *self._addresses("br0", f"{self.topology.public4}.2", f"{PUBLIC6}::2"),
        )
        self.public.disable_offloads("br0")
        self.public.address4 = f"{self.topology.public4}.1" if self.topology.has_ipv4 else ""
        self.public.address6 = f"{PUBLIC6}::1" if self.topology.has_ipv6 else ""

    def _build_wires(self) -> None:
        sites = self.topology.sites
        ends = [f"{name}{end}" for name in sites for end in "ri"]
        self.wires_namespace.ip(*(f"link set dev {end} up" for end in ends))
        self._wires = {name: Wire(self.wires_namespace, name) for name in sites}

    def _build_site(self, site: Site) -> None:
        hosts = [name for name in ("a", "b") if self.topology.home_of(name) == site.name]
        if site.name.endswith("2"):
            hosts = [site.name[0]]
        kind = self.topology.nat_of(site.name)
        router = self._add_router(site.router, site.wan4, kind)
        ports = [f"host{host}" for host in hosts]
        router.ip("link set lo up", *_bridge("lan", ports), "link set dev wan up")
        router.ip(
            *self._addresses("lan", site.lan4, site.lan6),
            *self._addresses("wan", site.wan4, site.wan6),
            *self._addresses("wan", router.second_address, ""),
            *self._default_routes(site.gateway4, site.gateway6),
        )
        router.load()
        back = []
        if self.topology.has_ipv4 and not self.topology.carrier_of(site.name):
            back.append(f"route add {site.prefix4}0/24 via {site.wan4}")  # for kind "none"
        if self.topology.has_ipv6:
            back.append(f"route add {site.prefix6}/64 via {site.wan6}")
        self.public.ip(*back)

    def _build_carrier(self, name: str) -> None:
        site = self.topology.site(name[1])
        address = f"{self.topology.public4}.{site.wan4.rpartition('.')[2]}"
        router = self._add_router(name, address, self.topology.carrier_nat)
        shared = self.topology.carrier is Carrier.SHARED
        ports = [f"port{home}" for home in (("a", "b") if shared else (name[1],))]
        router.ip(
            "link set lo up",
            *_bridge("lan", ports),
            "link set dev wan up",
            f"addr add {self.topology.carrier_net(name)}.1/24 dev lan",
            f"addr add {address}/24 dev wan",
            f"addr add {router.second_address}/24 dev wan",
            f"route add default via {self.topology.public4}.1",
        )
        router.load()

    def _add_router(self, node: str, address: str, kind: NatKind) -> Router:
        router = Router(self._names[node], address, kind, hairpin=self.topology.hairpin)
        self._routers[node] = router
        return router

    def _build_host(self, name: str) -> None:
        host, site = self.host(name), self.topology.site(self.topology.home_of(name))
        last = 3 if self.topology.same_lan and name == "b" else 2
        host.address4 = f"{site.prefix4}{last}" if self.topology.has_ipv4 else ""
        host.address6 = f"{site.prefix6}{last}" if self.topology.has_ipv6 else ""
        host.ip(
            "link set lo up",
            "link set dev eth0 up",
            *self._addresses("eth0", host.address4, host.address6),
            *self._default_routes(site.lan4, site.lan6),
        )
        host.disable_offloads("eth0")
        if self.topology.second_uplink == name:
            self._build_second_uplink(host, self.topology.site(f"{name}2"))

    def _build_second_uplink(self, host: Host, site: Site) -> None:
        host.second_address4 = f"{site.prefix4}2" if self.topology.has_ipv4 else ""
        host.second_address6 = f"{site.prefix6}2" if self.topology.has_ipv6 else ""
        lines = ["link set dev eth1 up"]
        lines += self._addresses("eth1", host.second_address4, host.second_address6)
        both = ((host.second_address4, site.lan4, "-4"), (host.second_address6, site.lan6, "-6"))
        for address, gateway, _ in both:
            if address:
                lines.append(f"route add default via {gateway} dev eth1 table {SECOND_TABLE}")
        host.ip(*lines)
        for address, _, family in both:
            if address:
                host.run("ip", family, "rule", "add", "from", address, "table", SECOND_TABLE)
        host.disable_offloads("eth1")

    def _addresses(self, device: str, address4: str, address6: str) -> list[str]:
        lines = []
        if address4 and self.topology.has_ipv4:
            lines.append(f"addr add {address4}/24 dev {device}")
        if address6 and self.topology.has_ipv6:
            lines.append(f"addr add {address6}/64 dev {device} nodad")
        return lines

    def _default_routes(self, gateway4: str, gateway6: str) -> list[str]:
        return [
            *([f"route add default via {gateway4}"] if self.topology.has_ipv4 else []),
            *([f"route add default via {gateway6}"] if self.topology.has_ipv6 else []),
        ]


def _bridge(name: str, ports: list[str]) -> list[str]:
    lines = [f"link add {name} type bridge"]
    for port in ports:
        lines += [f"link set dev {port} master {name}", f"link set dev {port} up"]
    return [*lines, f"link set dev {name} up"]
