"""The kinds of NAT that the lab has, in the words of RFC 4787, as nftables rules, and in theory.

    kind             mapping    filtering            keeps port   known as
    none             (routed)   endpoint independent    yes       public address, no firewall
    full-cone        EI         endpoint independent    yes
    restricted       EI         address dependent       yes       address-restricted cone
    port-restricted  EI         address and port        yes       most home routers
    remapped         EI         address and port        no        carrier NATs; EI on other ports
    symmetric        APD        address and port        no        mobile networks, some firewalls
    udp-blocked      -          no UDP at all           -         guest networks, some offices

EI: endpoint independent mapping, one public port for a socket whatever it talks to.  APD: address
and port dependent mapping, another port for each remote endpoint.  TCP keeps its port with every
kind.  IPv6 is routed, never translated: kind `none` lets everything in, `udp-blocked` passes no
UDP, every other kind is a stateful firewall (RFC 6092).

Pure text and tables: must not know namespaces or run anything.
"""

from dataclasses import dataclass
from enum import StrEnum


class Mapping(StrEnum):
    """How a NAT chooses the public port (RFC 4787 section 4.1)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(StrEnum):
    """Whose packets a NAT lets in (RFC 4787 section 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class NatKind(StrEnum):
    """What stands between a host and the internet."""

    NONE = "none"
    FULL_CONE = "full-cone"
    RESTRICTED = "restricted"
    PORT_RESTRICTED = "port-restricted"
    REMAPPED = "remapped"
    SYMMETRIC = "symmetric"
    UDP_BLOCKED = "udp-blocked"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a kind does to UDP; `keeps_port`: the public port is the host's own."""

    mapping: Mapping
    filtering: Filtering
    keeps_port: bool


_EI = Mapping.ENDPOINT_INDEPENDENT
BEHAVIOUR: dict[NatKind, Behaviour | None] = {
    NatKind.NONE: Behaviour(_EI, Filtering.ENDPOINT_INDEPENDENT, keeps_port=True),
    NatKind.FULL_CONE: Behaviour(_EI, Filtering.ENDPOINT_INDEPENDENT, keeps_port=True),
    NatKind.RESTRICTED: Behaviour(_EI, Filtering.ADDRESS_DEPENDENT, keeps_port=True),
    NatKind.PORT_RESTRICTED: Behaviour(_EI, Filtering.ADDRESS_AND_PORT_DEPENDENT, keeps_port=True),
    NatKind.REMAPPED: Behaviour(_EI, Filtering.ADDRESS_AND_PORT_DEPENDENT, keeps_port=False),
    NatKind.SYMMETRIC: Behaviour(
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
        keeps_port=False,
    ),
    NatKind.UDP_BLOCKED: None,
}


def can_go_direct(one: NatKind, other: NatKind) -> bool:
    """Tell whether hole punching between two such NATs works in theory.

    Both know the address that a STUN server saw of the other, both send there, and both answer the
    address that a packet really came from.  One packet that gets through is enough: what answers it
    goes back through the holes that it and the answer's own probes made.
    """
    first, second = BEHAVIOUR[one], BEHAVIOUR[other]
    if first is None or second is None:
        return False
    return _reaches(first, second) or _reaches(second, first)


def _reaches(sender: Behaviour, receiver: Behaviour) -> bool:
    """Tell whether a probe of the sender comes in at the receiver.

    The receiver's port must be the one that STUN saw, and the receiver's NAT must take the
    sender's for one that was asked: it has probed the sender's address, but its port only if that
    is the one that STUN saw too.
    """
    if receiver.mapping is not _EI:
        return False
    is_source_known = sender.mapping is _EI
    return is_source_known or receiver.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT


# -- rules -----------------------------------------------------------------------------------

# How many ports `remapped` spreads sockets over, and which number salts it before a rebind.
REMAPPED_PORTS = 20000
REMAPPED_FIRST_PORT = 30000
REMAPPED_SEED = 7
# `owner` tells who inside has a public port, `asked` which addresses that port has sent to.
MEMORY = """
 map owner {
  type inet_service : ipv4_addr; flags dynamic,timeout; timeout 300s; size 9999;
 }
 set asked {
  type ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; size 9999;
 }
"""


@dataclass(frozen=True, slots=True)
class NatRules:
    """The rules of one router with the interfaces `lan` and `wan`.

    Args:
        kind: what it does.
        public: the IPv4 address that it maps to.
        hairpin: whether it turns packets for its own mappings back into its LAN; it does for kinds
            that keep the port.
        rebinds: how often its mappings moved; `remapped` chooses other ports after each.
    """

    kind: NatKind
    public: str
    hairpin: bool = False
    rebinds: int = 0

    def text(self) -> str:
        """Return a transaction that replaces the router's rules by these."""
        return f"""
table ip nat_kind {{}}
delete table ip nat_kind
table ip nat_kind {{
{MEMORY}
{self._chain("remember", "filter", "postrouting", 90, self._remember())}
{self._chain("inwards", "nat", "prerouting", -100, self._inwards())}
{self._chain("outwards", "nat", "postrouting", 100, self._outwards())}
{self._chain("pass", "filter", "forward", -10, self._pass())}
{self._chain("self", "filter", "input", 0, self._self())}
}}
table ip6 firewall {{}}
delete table ip6 firewall
table ip6 firewall {{
{self._chain("pass", "filter", "forward", -10, self._pass6())}
}}
"""

    @staticmethod
    def _chain(name: str, kind: str, hook: str, priority: int, rules: list[str]) -> str:
        lines = [f"type {kind} hook {hook} priority {priority};", *rules]
        return f" chain {name} {{\n" + "".join(f"  {line}\n" for line in lines) + " }"

    def _remember(self) -> list[str]:
        # Before the source is translated, so that the inner address and port are seen.
        return [
            'oifname "wan" meta l4proto udp update @owner { udp sport : ip saddr }',
            'oifname "wan" meta l4proto udp update @asked { ip daddr . udp sport }',
        ]

    def _inwards(self) -> list[str]:
        to_owner = f"ip daddr {self.public} dnat to udp dport map @owner"
        rules = []
        if self.kind is NatKind.FULL_CONE:
            rules.append(f'iifname "wan" {to_owner}')
        elif self.kind is NatKind.RESTRICTED:
            rules.append(f'iifname "wan" ip saddr . udp dport @asked {to_owner}')
        if self.hairpin:
            rules.append(f'iifname "lan" {to_owner}')
        return rules

    def _outwards(self) -> list[str]:
        rules = []
        if self.hairpin:
            rules.append(f'iifname "lan" oifname "lan" ct status dnat snat to {self.public}')
        if self.kind is NatKind.NONE:
            return rules
        if self.kind is NatKind.SYMMETRIC:
            ports = "1024-65535 fully-random"
            rules.append(f'oifname "wan" meta l4proto udp snat to {self.public}:{ports}')
        elif self.kind is NatKind.REMAPPED:
            rules.append(f'oifname "wan" meta l4proto udp snat to {self.public}:{self._hash()}')
        # Keeps the port while it is free; conntrack lets in what was asked, address and port.
        rules.append(f'oifname "wan" snat to {self.public}')
        return rules

    def _hash(self) -> str:
        """Return the expression for a port that depends on the inner endpoint alone.

        nftables writes the number in the machine's byte order, so the port on the wire has its
        bytes swapped; it is as fixed as the number, which is all that counts.
        """
        return (
            f"jhash ip saddr . udp sport mod {REMAPPED_PORTS}"
            f" seed {REMAPPED_SEED + self.rebinds:#x} offset {REMAPPED_FIRST_PORT}"
        )

    def _pass(self) -> list[str]:
        rules = []
        if self.kind is NatKind.UDP_BLOCKED:
            rules.append("meta l4proto udp drop")
        if self.kind is not NatKind.NONE:
            rules.append('iifname "wan" ct state new ct status & dnat == 0 drop')
        return rules

    def _pass6(self) -> list[str]:
        rules = []
        if self.kind is NatKind.UDP_BLOCKED:
            rules.append("meta l4proto udp drop")
        if self.kind is not NatKind.NONE:
            rules.append('iifname "wan" meta l4proto != icmpv6 ct state new drop')
        return rules

    @staticmethod
    def _self() -> list[str]:
        # Silence is essential: a packet that the router takes or answers leaves a connection on
        # the public port, and the host's own packet, a moment later, gets another port.
        return ['iifname "wan" meta l4proto != icmp ct state new drop']
