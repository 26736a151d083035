"""A router of the lab: a bridge `lan` inside, one interface `wan` outside, a NAT in between."""

from namespaces import Namespace
from nat_kinds import NatKind, NatRules
from topology import REBIND_STEP

FORWARDING = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
    # Frames between two hosts of one LAN are bridged and must not meet the NAT.
    "net/bridge/bridge-nf-call-iptables": 0,
    "net/bridge/bridge-nf-call-ip6tables": 0,
}


class Router(Namespace):
    """One NAT.

    Args:
        name: its namespace.
        address: the IPv4 address of `wan`; it owns a second one for rebinds.
        kind: what it does.
        hairpin: see `NatRules`.
    """

    def __init__(self, name: str, address: str, kind: NatKind, *, hairpin: bool) -> None:
        super().__init__(name)
        self.address = address
        self._rules = NatRules(kind, address, hairpin=hairpin)

    @property
    def kind(self) -> NatKind:
        """What it does."""
        return self._rules.kind

    @property
    def public_address(self) -> str:
        """The IPv4 address that it maps to now."""
        return self._rules.public

    @property
    def second_address(self) -> str:
        """The IPv4 address that it maps to after one rebind."""
        head, _, last = self.address.rpartition(".")
        return f"{head}.{int(last) + REBIND_STEP}"

    def load(self) -> None:
        """Load the rules for the first time."""
        self.nft(self._rules.text())

    def set_kind(self, kind: NatKind, *, hairpin: bool | None = None, forget: bool = True) -> None:
        """Become another kind of NAT, by default with no memory of old flows."""
        turns_back = self._rules.hairpin if hairpin is None else hairpin
        self._replace(kind, self.public_address, turns_back, self._rules.rebinds, forget=forget)

    def rebind(self) -> None:
        """Forget every mapping and map to the other public address from now on."""
        addresses = (self.address, self.second_address)
        other = addresses[addresses.index(self.public_address) - 1]
        rebinds = self._rules.rebinds + 1
        self._replace(self.kind, other, self._rules.hairpin, rebinds, forget=True)

    def _replace(
        self, kind: NatKind, public: str, hairpin: bool, rebinds: int, *, forget: bool
    ) -> None:
        self._rules = NatRules(kind, public, hairpin=hairpin, rebinds=rebinds)
        self.load()
        if forget:
            self.flush_conntrack()
