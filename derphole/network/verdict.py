"""What `netcheck` found, and what it means: a verdict and a recommendation.

    no relay was reached, but one            by what was seen
      speaks DERP and closes upon the login  relay-refused
      is replaced by a sign-in page          captive-portal
      has no certificate to trust            relay-not-trusted
      sends us to another address            redirected
      is a server of another kind            not-a-relay
    nothing answered in any relay's place    no-network or no-relay
    several STUN servers, and none answered  relay-only-likely
    IPv4: the NAT keeps one port for all     direct-friendly
    IPv4: another port for each peer         direct-limited, unless the router maps ports for us
    only IPv6 carries UDP                    direct-limited
    else                                     unknown

The first three words about UDP, and `unknown`, are those of the Go tool; there a NAT that
changes the port is "limited" too, which keeps no path from being found.  Pure:
`derphole.network.check` collects the findings, `derphole.network.report` shows them.
"""

from enum import StrEnum

from derphole.errors import OWN_RELAY_STEP
from tunnel.addresses import host_and_port
from tunnel.errors import RelayFault
from tunnel.proto.netcheck.checks import (
    Filtering,
    MapperCheck,
    Mapping,
    NatFindings,
    PortMapping,
    RelayCheck,
    RelayRegion,
    SignInPage,
    SocketAddress,
)
from tunnel.units import Seconds
from tunnel.values import frozen


class Verdict(StrEnum):
    """The network in one word."""

    DIRECT_FRIENDLY = "direct-friendly"
    DIRECT_LIMITED = "direct-limited"
    RELAY_ONLY = "relay-only-likely"
    NO_RELAY = "no-relay"
    RELAY_REFUSED = "relay-refused"
    RELAY_DISTRUSTED = "relay-not-trusted"
    REDIRECTED = "redirected"
    NOT_A_RELAY = "not-a-relay"
    NO_NETWORK = "no-network"
    CAPTIVE_PORTAL = "captive-portal"
    UNKNOWN = "unknown"


# Chosen: from here on a person notices it at every step.
SLOW_ROUND_TRIP_S: Seconds = 0.75


@frozen
class RelayFinding:
    """A region that was tried.

    Args:
        region: as the map has it.
        latency_s: one round trip; None when nothing answered.
        is_by_udp: whether that was measured by STUN, else by HTTP.
        check: how a login went.
    """

    region: RelayRegion
    latency_s: Seconds | None
    is_by_udp: bool
    check: RelayCheck

    @property
    def is_reachable(self) -> bool:
        """Whether the relay took us."""
        return self.check.connected_after_s is not None


@frozen
class NetworkFindings:
    """Everything that was found out.

    Args:
        ipv4: what UDP over IPv4 came to; None where this machine or every server lacks it.
        ipv6: the same for IPv6.
        addresses: this machine's own, without loopback and link-local ones, overlays left out.
        public_addresses: those of them that the whole internet can use.
        overlay: addresses in networks of other tunnels.
        relays: the nearest regions, the nearest first.
        mappers: what the router does when asked for a port; None when none was asked.
        page: a sign-in page that answers instead of relays.
        map_trouble: why there is no relay map, a sentence; None when there is one.
        is_relay_forced: whether --force-relay was given.
        seconds: how long finding out took.
        is_all_here: every relay is on this machine, so that no network was in between.
        is_public_map: the relays are those of the public map, out in the internet.
    """

    ipv4: NatFindings | None = None
    ipv6: NatFindings | None = None
    addresses: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    overlay: tuple[str, ...] = ()
    relays: tuple[RelayFinding, ...] = ()
    mappers: tuple[MapperCheck, ...] | None = None
    page: SignInPage | None = None
    map_trouble: str | None = None
    is_relay_forced: bool = False
    seconds: Seconds = 0.0
    is_all_here: bool = False
    is_public_map: bool = False

    @property
    def families(self) -> tuple[NatFindings, ...]:
        """The families that were tried."""
        return tuple(each for each in (self.ipv4, self.ipv6) if each is not None)

    @property
    def nat(self) -> NatFindings | None:
        """The family that counts most: IPv4, which most peers have, where it carries UDP."""
        working = [each for each in self.families if each.is_udp_working]
        return next(iter(working or self.families), None)

    @property
    def is_udp_tried(self) -> bool:
        """Whether any STUN server was asked."""
        return any(each.answers for each in self.families)

    @property
    def has_udp(self) -> bool:
        """Whether UDP works in either family."""
        return any(each.is_udp_working for each in self.families)

    @property
    def is_udp_blocked(self) -> bool:
        """Whether nothing else explains the silence: a single server may as well not be running.

        One relay has an address of each family, so only those of the same family count.
        """
        if self.has_udp:
            return False
        return any(len({answer.server[0] for answer in each.answers}) > 1 for each in self.families)

    @property
    def udp(self) -> bool | None:
        """Whether UDP gets out and back; None where that cannot be told."""
        return True if self.has_udp else False if self.is_udp_blocked else None

    @property
    def has_relay(self) -> bool:
        """Whether any relay took us."""
        return any(relay.is_reachable for relay in self.relays)

    @property
    def faults(self) -> frozenset[RelayFault]:
        """What was seen of relays that did not take us."""
        return frozenset(relay.check.fault for relay in self.relays if relay.check.fault)

    @property
    def public_endpoints(self) -> tuple[SocketAddress, ...]:
        """Where STUN servers saw us."""
        return tuple(endpoint for each in self.families for endpoint in each.public)

    @property
    def useful_mapping(self) -> PortMapping | None:
        """A mapping that strangers can reach: a public one, or where STUN servers see us too."""
        seen = {ip for ip, _ in self.public_endpoints}
        mappings = [check.mapping for check in self.mappers or () if check.mapping is not None]
        useful = [each for each in mappings if each.is_public or each.external_ip in seen]
        return next(iter(useful), None)

    @property
    def relay_trouble(self) -> str:
        """Why no relay was reached, in words."""
        errors = [relay.check.error for relay in self.relays if relay.check.error]
        return self.map_trouble or "; ".join(dict.fromkeys(errors)) or "none is known"


# -- the verdict ------------------------------------------------------------------------------


def verdict(found: NetworkFindings) -> Verdict:
    """Return the network in one word."""
    if not found.has_relay:
        return _verdict_without_relay(found)
    if not found.has_udp:
        return Verdict.RELAY_ONLY if found.is_udp_blocked else Verdict.UNKNOWN
    ipv4 = found.ipv4
    if ipv4 is None or not ipv4.is_udp_working:
        return Verdict.DIRECT_LIMITED
    if ipv4.mapping is Mapping.ENDPOINT_INDEPENDENT or found.useful_mapping is not None:
        return Verdict.DIRECT_FRIENDLY
    return Verdict.DIRECT_LIMITED if ipv4.mapping.is_dependent else Verdict.UNKNOWN


def _verdict_without_relay(found: NetworkFindings) -> Verdict:
    """Return what was seen instead; who speaks DERP is a relay, whatever else was seen."""
    faults = found.faults
    seen = (
        (RelayFault.KEY_REFUSED in faults, Verdict.RELAY_REFUSED),
        (found.page is not None, Verdict.CAPTIVE_PORTAL),
        (RelayFault.CERTIFICATE in faults, Verdict.RELAY_DISTRUSTED),
        (RelayFault.REDIRECTED in faults, Verdict.REDIRECTED),
        (RelayFault.NOT_DERP in faults, Verdict.NOT_A_RELAY),
        (found.addresses or found.overlay or found.has_udp or found.relays, Verdict.NO_RELAY),
    )
    return next((word for is_seen, word in seen if is_seen), Verdict.NO_NETWORK)


def next_step(found: NetworkFindings) -> str | None:
    """Return what to do where no relay was reached, in half a sentence; None for the usual."""
    return {
        Verdict.RELAY_REFUSED: "use a relay that admits every key",
        Verdict.RELAY_DISTRUSTED: "pin the certificate if the relay is yours, or use another one",
        Verdict.REDIRECTED: "give the relay's new address with --relay",
        Verdict.NOT_A_RELAY: "check host and port in --relay or --derp-map",
        Verdict.CAPTIVE_PORTAL: "sign in with a browser",
        Verdict.NO_NETWORK: "connect this machine to a network",
    }.get(verdict(found))


def recommendation(found: NetworkFindings) -> str:
    """Return what the verdict means and what to do about it, in one or two sentences."""
    text = {
        Verdict.DIRECT_FRIENDLY: _friendly_words,
        Verdict.DIRECT_LIMITED: _limited_words,
        Verdict.RELAY_ONLY: _relay_only_words,
        Verdict.NO_RELAY: _no_relay_words,
        Verdict.NO_NETWORK: lambda _: (
            "This machine has no network connection (no address that reaches others). Connect it, "
            "then run netcheck again."
        ),
        Verdict.RELAY_REFUSED: _refused_words,
        Verdict.RELAY_DISTRUSTED: _distrusted_words,
        Verdict.REDIRECTED: _redirected_words,
        Verdict.NOT_A_RELAY: _not_a_relay_words,
        Verdict.CAPTIVE_PORTAL: _portal_words,
        Verdict.UNKNOWN: _unknown_words,
    }[verdict(found)](found)
    if found.is_all_here:
        text += " The relay is on this machine, so this says nothing about the network outside."
    slow_s = min((each.latency_s for each in found.relays if each.latency_s), default=0.0)
    if found.has_relay and slow_s >= SLOW_ROUND_TRIP_S:
        text += f" The way to the relay is slow: a round trip takes {slow_s:.1f} s."
    if found.is_relay_forced:
        text += " With --force-relay every run stays on the relay anyway."
    return text


def _friendly_words(found: NetworkFindings) -> str:
    ipv4, mapping = found.ipv4, found.useful_mapping
    if ipv4 is not None and ipv4.mapping.is_dependent and mapping is not None:
        return (
            "Your NAT is symmetric (each peer sees a different port), but the router maps ports by "
            f"{mapping.protocol.value}: direct paths will work with most networks."
        )
    if ipv4 is not None and ipv4.filtering is Filtering.ENDPOINT_INDEPENDENT:
        return (
            "Direct paths will work with every network that allows outgoing UDP: packets from "
            "unknown senders reach this machine."
        )
    if mapping is not None:
        return (
            "Direct paths will work with most networks, including symmetric NATs: the router maps "
            f"ports by {mapping.protocol.value}."
        )
    return (
        "Direct paths will work with most networks. Only a peer behind a symmetric NAT without "
        "port mapping may stay on the relay."
    )


def _limited_words(found: NetworkFindings) -> str:
    ipv4 = found.ipv4
    if ipv4 is None:
        return (
            "UDP works only over IPv6: direct paths will work with peers that have IPv6 too; runs "
            "with others use the relay."
        )
    if not ipv4.is_udp_working:
        return (
            "UDP works over IPv6 but seems to be blocked over IPv4, where nothing answered: direct "
            "paths will work with peers that have IPv6 too. For the others allow outgoing UDP over "
            "IPv4 in the firewall."
        )
    also = ""
    if found.ipv6 is not None and found.ipv6.is_udp_working:
        also = " Peers with IPv6, which this machine has, are reached directly over IPv6."
    return (
        "Your NAT is symmetric (each peer sees a different port): a direct path needs a peer with "
        f"an open NAT or port mapping; other runs use the relay.{also} {_mapper_advice(found)}"
    )


def _mapper_advice(found: NetworkFindings) -> str:
    refusals = [
        f"{check.protocol.value}: {check.failure.words}"
        for check in found.mappers or ()
        if check.is_found and check.failure is not None
    ]
    if refusals:
        return (
            f"The router supports port mapping but mapped no port ({'; '.join(refusals)}): allow "
            "it in the router's settings."
        )
    inner = [check.mapping for check in found.mappers or () if check.mapping is not None]
    if inner:
        return (
            f"The router maps ports, but its own address {inner[0].external_ip} is private: there "
            "is another NAT in front of it. Put one of the two into bridge mode, or ask the "
            "provider for a public address."
        )
    return "Turn on UPnP, NAT-PMP or PCP in the router, or use a network with IPv6."


def _relay_only_words(_: NetworkFindings) -> str:
    return (
        "No STUN server answered, so UDP seems to be blocked: every run uses the relay, which "
        "works but is slower. For direct paths allow outgoing UDP in the firewall, or use another "
        "network."
    )


def _no_relay_words(found: NetworkFindings) -> str:
    begin = "UDP works, but no" if found.has_udp else "No"
    other = (
        OWN_RELAY_STEP if found.is_public_map else "give a relay that can be reached with --relay"
    )
    return (
        f"{begin} relay was reached, and without one two machines cannot meet. "
        f"{_way_to_a_relay(found)}, or {other}."
    )


def _way_to_a_relay(found: NetworkFindings) -> str:
    """Return what may open a way to the relays, by what was seen of them."""
    if not found.relays and found.map_trouble is not None:
        return "There is no map of relays, for the reason given above: correct that"
    if found.faults == {RelayFault.UNKNOWN_NAME}:
        return "Their names have no address: check them, and the name server of this network"
    if found.faults == {RelayFault.PROXY}:
        return "The proxy refused: check HTTPS_PROXY and HTTP_PROXY, and what the proxy allows"
    if found.faults == {RelayFault.BROKEN}:
        return "The server there cannot serve clients now: try again later"
    nodes = [relay.check.node for relay in found.relays if relay.check.node is not None]
    ports = sorted({node.derp_port for node in nodes}) or [443]
    names = ", ".join(map(str, ports))
    return (
        f"Check that it is running, allow outgoing TCP to port {names}, set HTTPS_PROXY if this "
        "network needs a proxy"
    )


def _refused_words(found: NetworkFindings) -> str:
    names = _names_with(found, RelayFault.KEY_REFUSED)
    return (
        f"The network is not the cause: {names} speaks DERP and closed the connection when we "
        "logged in, as relays do that admit only clients their operator knows. Have that switched "
        "off (derper: without -verify-clients; Headscale: derp.server.verify_clients: false), or "
        "use another relay with --relay URL."
    )


def _distrusted_words(found: NetworkFindings) -> str:
    names = _names_with(found, RelayFault.CERTIFICATE)
    return (
        f"The certificate of {names} cannot be trusted. If the relay is yours, compare the pin "
        "above with that of its certificate, and if they match use the URL that has it; if it is "
        "not, something else may be answering for it, such as a proxy that inspects TLS: use "
        "another network or another relay."
    )


def _redirected_words(found: NetworkFindings) -> str:
    names = _names_with(found, RelayFault.REDIRECTED)
    to = next(each.check.redirected_to for each in found.relays if each.check.redirected_to)
    return (
        f"The server at {names} redirects us to {to}. If the relay is there now, give that address "
        "with --relay; if a browser shows a sign-in page there, sign in, then run netcheck again."
    )


def _not_a_relay_words(found: NetworkFindings) -> str:
    names = _names_with(found, RelayFault.NOT_DERP)
    return (
        f"The server at {names} is not a DERP relay. Check host and port in --relay or --derp-map; "
        "a reverse proxy in front of a relay must forward the upgrade of /derp to DERP."
    )


def _portal_words(found: NetworkFindings) -> str:
    address = found.page.address if found.page is not None else None
    if address is None:
        what, then = "Something else answers instead of the relays", "Open a browser, sign in"
    else:
        what = f"Requests to the relays are redirected to {address}"
        then = "Open that in a browser, sign in"
    return f"{what}, as sign-in pages of hotels and trains do. {then}, then run netcheck again."


def _names_with(found: NetworkFindings, fault: RelayFault) -> str:
    nodes = [each.check.node for each in found.relays if each.check.fault is fault]
    return ", ".join(dict.fromkeys(node.address for node in nodes if node is not None))


def _unknown_words(found: NetworkFindings) -> str:
    if not found.has_udp:
        return (
            f"A relay was reached, so every run works. {_why_udp_is_unknown(found)}, so it is "
            "unknown whether direct paths will work. What would tell: netcheck with relays whose "
            "STUN servers run, best several (--derp-map, or the public map), or the receipt of a "
            "run, which says which path it took."
        )
    return (
        "UDP works. A single STUN server cannot tell whether your NAT keeps one port for all "
        "peers: use a map with several relays (--derp-map), or try it; the receipt of a run says "
        "which path it took."
    )


def _why_udp_is_unknown(found: NetworkFindings) -> str:
    asked = [answer.server for each in found.families for answer in each.answers]
    if not asked:
        return "No STUN server is known"
    names = " and ".join(dict.fromkeys(host_and_port(*server) for server in asked))
    return (
        f"Its STUN server ({names}) did not answer: either it is not running, as on a relay that "
        'says "no STUN" at its start, or UDP is blocked'
    )
