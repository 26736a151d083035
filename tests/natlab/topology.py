"""What a lab is made of, as data: who is behind what, which addresses, and what theory expects.

Names: `a` and `b` are the hosts, `ra` and `rb` their routers, `ca` and `cb` carrier NATs, `sa` and
`sb` the routers of a second uplink.  A site is one router with its LAN, named by its wire.  Pure:
must not know namespaces or run anything.
"""

from dataclasses import dataclass
from enum import StrEnum

from nat_kinds import NatKind, can_go_direct

# Fixed by the plan of addresses: site 1 is 10.0.1.0/24 and 2001:db8:1::/64, its WAN .10 and ::10.
SITE_NUMBER = {"a": 1, "b": 2, "a2": 3, "b2": 4}
PUBLIC6 = "2001:db8"
CARRIER_NET = "100.64"
# What is added to the last octet of a router's WAN address by a rebind.
REBIND_STEP = 100


class Family(StrEnum):
    """Which protocols the whole lab speaks."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


class Carrier(StrEnum):
    """Which homes have a carrier NAT between them and the internet."""

    NONE = "none"
    A = "a"
    B = "b"
    BOTH = "both"
    SHARED = "shared"


CARRIED_SITES = {
    Carrier.NONE: "",
    Carrier.A: "a",
    Carrier.B: "b",
    Carrier.BOTH: "ab",
    Carrier.SHARED: "ab",
}


@dataclass(frozen=True, slots=True)
class Site:
    """One router and the addresses around it; IPv6 addresses are there for any family."""

    name: str
    router: str
    lan4: str
    lan6: str
    wan4: str
    wan6: str
    gateway4: str
    gateway6: str

    @property
    def prefix4(self) -> str:
        """The LAN's first three octets and the dot after them."""
        return self.lan4.removesuffix("1")

    @property
    def prefix6(self) -> str:
        """The LAN's prefix up to the double colon."""
        return self.lan6.removesuffix("1")


@dataclass(frozen=True, slots=True)
class Topology:
    """A lab's plan.

    Args:
        nat_a, nat_b: what the routers `ra` and `rb` do; with `same_lan` both hosts have `nat_a`.
        same_lan: whether b is a second host behind `ra`; there is no `rb` then.
        carrier: which homes sit behind a carrier NAT; IPv4 alone.
        carrier_nat: what carrier NATs do.
        hairpin: whether every NAT turns packets for its own mappings back into its LAN.
        family: which protocols there are.
        second_uplink: the host, "a" or "b", that has a second interface with a router of its own.
        second_nat: what that router does.
        public4: first three octets of the internet; some programs take the documentation networks
            for private, and want one that looks real, such as "5.5.5".
    """

    nat_a: NatKind = NatKind.PORT_RESTRICTED
    nat_b: NatKind = NatKind.PORT_RESTRICTED
    same_lan: bool = False
    carrier: Carrier = Carrier.NONE
    carrier_nat: NatKind = NatKind.PORT_RESTRICTED
    hairpin: bool = False
    family: Family = Family.IPV4
    second_uplink: str = ""
    second_nat: NatKind = NatKind.PORT_RESTRICTED
    public4: str = "203.0.113"

    def __post_init__(self) -> None:
        if self.carrier is not Carrier.NONE and self.family is not Family.IPV4:
            raise ValueError("carrier NATs of the lab speak IPv4 alone")
        if self.carrier is not Carrier.NONE and self.same_lan:
            raise ValueError("hosts on one LAN share their router; give a carrier to two homes")
        if self.second_uplink not in ("", "a", "b"):
            raise ValueError(f"there is no host {self.second_uplink!r}")

    @property
    def has_ipv4(self) -> bool:
        return self.family is not Family.IPV6

    @property
    def has_ipv6(self) -> bool:
        return self.family is not Family.IPV4

    @property
    def homes(self) -> tuple[str, ...]:
        """The sites with a host's first interface."""
        return ("a",) if self.same_lan else ("a", "b")

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites."""
        second = (f"{self.second_uplink}2",) if self.second_uplink else ()
        return (*self.homes, *second)

    @property
    def carriers(self) -> tuple[str, ...]:
        """The namespaces of carrier NATs."""
        if self.carrier is Carrier.SHARED:
            return ("ca",)
        return tuple(f"c{site}" for site in CARRIED_SITES[self.carrier])

    def carrier_of(self, site: str) -> str:
        """Return the carrier NAT of a site, the empty text for none."""
        if site not in CARRIED_SITES[self.carrier]:
            return ""
        return "ca" if self.carrier is Carrier.SHARED else f"c{site}"

    def home_of(self, host: str) -> str:
        """Return the site of a host's first interface."""
        return "a" if self.same_lan else host

    def nat_of(self, site: str) -> NatKind:
        """Return what the router of a site does."""
        if site.endswith("2"):
            return self.second_nat
        return self.nat_a if site == "a" else self.nat_b

    def site(self, name: str) -> Site:
        """Return the addresses of a site."""
        number = SITE_NUMBER[name]
        outside = self.public4
        if carrier := self.carrier_of(name):
            outside = self.carrier_net(carrier)
        return Site(
            name=name,
            router=f"s{name[0]}" if name.endswith("2") else f"r{name}",
            lan4=f"10.0.{number}.1",
            lan6=f"{PUBLIC6}:{number}::1",
            wan4=f"{outside}.{number}0",
            wan6=f"{PUBLIC6}::{number}0",
            gateway4=f"{outside}.1",
            gateway6=f"{PUBLIC6}::1",
        )

    def carrier_net(self, carrier: str) -> str:
        """Return the first three octets of what a carrier NAT gives to its customers."""
        return f"{CARRIER_NET}.{SITE_NUMBER[carrier[1]]}"

    def expects_direct(self) -> bool:
        """Tell whether theory allows a direct path, host candidates included, without port maps."""
        if self.same_lan:
            return True
        nats_a, nats_b = self._nats("a"), self._nats("b")
        # IPv6 firewalls translate nothing, so they open to each other unless UDP is blocked.
        if self.has_ipv6:
            return any(
                NatKind.UDP_BLOCKED not in (one, other) for one in nats_a for other in nats_b
            )
        if self.carrier is Carrier.SHARED and not self.hairpin:
            return False
        return any(can_go_direct(one, other) for one in nats_a for other in nats_b)

    def _nats(self, host: str) -> list[NatKind]:
        """Return what each uplink of a host amounts to, home and carrier together."""
        home = self.nat_of(host)
        if self.carrier_of(host):
            home = max(home, self.carrier_nat, key=list(NatKind).index)
        return [home, *([self.second_nat] if self.second_uplink == host else [])]


# Topologies beside the grid of NAT kinds.
SYMMETRIC, RESTRICTED, CONE = NatKind.SYMMETRIC, NatKind.RESTRICTED, NatKind.PORT_RESTRICTED
CASES: dict[str, Topology] = {
    "same LAN": Topology(same_lan=True),
    "same LAN, hairpin": Topology(same_lan=True, hairpin=True),
    "same LAN, symmetric NAT": Topology(nat_a=SYMMETRIC, same_lan=True),
    "double NAT on one side": Topology(carrier=Carrier.A),
    "double NAT on both sides": Topology(carrier=Carrier.BOTH),
    "symmetric carrier x restricted": Topology(
        nat_b=RESTRICTED, carrier=Carrier.A, carrier_nat=SYMMETRIC
    ),
    "symmetric carrier x port-restricted": Topology(carrier=Carrier.A, carrier_nat=SYMMETRIC),
    "shared carrier, no hairpin": Topology(carrier=Carrier.SHARED),
    "shared carrier, hairpin": Topology(carrier=Carrier.SHARED, hairpin=True),
    "IPv6 alone": Topology(family=Family.IPV6),
    "dual stack, port-restricted": Topology(family=Family.DUAL),
    "dual stack, symmetric": Topology(nat_a=SYMMETRIC, nat_b=SYMMETRIC, family=Family.DUAL),
    "a has two interfaces": Topology(second_uplink="a"),
    "a has two interfaces, first without UDP": Topology(
        nat_a=NatKind.UDP_BLOCKED, second_uplink="a"
    ),
}
