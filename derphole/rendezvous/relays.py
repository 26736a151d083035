"""Which relays a conversation uses: from the settings for an issuer, from the token for a claimer.

    settings: --relay -> that one        --derp-map -> the nearest of that map, as its node
              neither -> the public map's nearest regions, by measured latency
    token:    own relay -> that node     regions -> those of the map, in the token's order

The token decides where to meet, so a claimer's settings only say which map to look regions up in.
"""

import os
from ipaddress import ip_address

from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import OWN_RELAY_STEP, CodeElsewhere, CodeNeedsRelay, RelayTrouble
from derphole.status import Notice, Report
from derphole.token.code import OWN_RELAY_REGION
from derphole.token.hints import OwnRelay, RegionHints, RelayHints, own_relays
from tunnel.addresses import host_and_port, is_link_local
from tunnel.crypto.keys import DerpKey
from tunnel.errors import DecodeError, RelayError, RelayUnreachable
from tunnel.net.endpoint import DialOptions
from tunnel.net.relay_client.regions import (
    DEFAULT_STUN_PORT,
    FAMILY_OFF,
    FETCH_PATIENCE_S,
    FETCH_TIMEOUT_S,
    STUN_OFF,
    Authorities,
    ProxySettings,
    RelayMap,
    RelayNode,
    RelayRegion,
    choose_regions,
    fallback_regions,
    load_relay_map,
    measure_regions,
    parse_relay_url,
)
from tunnel.units import Seconds
from tunnel.values import frozen, replace

# Chosen (design, section 4): measuring never keeps a person waiting for longer.
MEASURING_S: Seconds = 2.0
MAX_ZONES = 8  # interfaces at which a link-local relay is looked for
PUBLIC_MAP_FILE = "derpmap.json"


@frozen
class RelayChoice:
    """Regions to meet in, best first.

    Args:
        regions: at least one.
        is_public: whether they belong to the public map, so that a token may name them by id.
    """

    regions: tuple[RelayRegion, ...]
    is_public: bool


def dial_options(options: NetworkOptions) -> DialOptions:
    """Return how relays are dialled with these settings."""
    return DialOptions(proxy=proxy_settings(options), authorities=_authorities(options))


def proxy_settings(options: NetworkOptions) -> ProxySettings:
    """Return the proxies of these settings."""
    return ProxySettings(
        options.proxy_https or "", options.proxy_http or "", ",".join(options.no_proxy)
    )


def _authorities(options: NetworkOptions) -> Authorities:
    return Authorities(options.ca_file, options.cert_file, options.cert_dir)


def issuer_relays(options: NetworkOptions, issuer: DerpKey, report: Report) -> RelayChoice:
    """Return where an issuer waits; raises `RelayTrouble`."""
    if options.relay is not None:
        return _usable((own_region(options.relay),), options, is_public=False)
    relay_map = _load(options, report)
    latencies = measure_regions(relay_map, os.urandom, MEASURING_S, dial_options(options))
    ids = choose_regions(latencies)
    if not ids:
        report(
            Notice("no relay region answered in time; using the fallback regions for this token")
        )
        ids = fallback_regions(relay_map, issuer)
    return _choice(relay_map, ids, options)


def network_map(
    options: NetworkOptions, report: Report, fetch_s: Seconds, patience_s: Seconds
) -> RelayMap:
    """Return every relay that these settings allow; raises `RelayTrouble`.

    Args:
        options: the settings.
        report: told what a person wants to know.
        fetch_s: for fetching a map of which there is a copy.
        patience_s: for fetching one of which there is none.
    """
    if options.relay is not None:
        region = own_region(options.relay)
        return RelayMap({region.id: region})
    return _load(options, report, fetch_s, patience_s)


def claimer_relays(
    options: NetworkOptions, hints: RelayHints, issuer: DerpKey, report: Report
) -> RelayChoice:
    """Return where a claimer looks for the issuer; raises `RelayTrouble`."""
    if not isinstance(hints, RegionHints):
        regions = tuple(hinted_region(relay) for relay in own_relays(hints))
        return _usable(regions, options, is_public=False)
    relay_map = _load(options, report)
    known = [region for region in hints.ids if region in relay_map.regions]
    ids = known or fallback_regions(relay_map, issuer)
    return _choice(relay_map, ids, options)


def code_relays(options: NetworkOptions, region: int, report: Report) -> RelayChoice:
    """Return where the meeting of a code is.

    Raises `CodeNeedsRelay`, `CodeElsewhere`, `RelayTrouble`.
    """
    if region == OWN_RELAY_REGION:
        if options.relay is None:
            raise CodeNeedsRelay
        return _usable((own_region(options.relay),), options, is_public=False)
    try:
        relay_map = _load(options, report)
    except RelayTrouble as error:
        if options.relay is None:
            raise
        raise CodeElsewhere(region) from error
    if region not in relay_map.regions:
        raise CodeElsewhere(region)
    return _choice(relay_map, [region], options)


def own_region(address: RelayAddress) -> RelayRegion:
    """Return the region of one relay that the person named; raises `RelayTrouble`."""
    return _parse_url(f"{address.url}#{address.pin}" if address.pin else address.url)


def hinted_region(hint: OwnRelay) -> RelayRegion:
    """Return the region of the relay that a token carries; raises `RelayTrouble`."""
    if is_link_local(hint.host):
        return _link_local_region(hint)
    region = _hinted(hint, hint.host)
    (node,) = region.nodes
    literals = [host for host in (hint.host, hint.other) if _family(host)]
    if hint.other and literals:
        ipv4 = next((host for host in literals if _family(host) == 4), "")
        ipv6 = next((host for host in literals if _family(host) == 6), "")
        region = replace(region, nodes=(replace(node, ipv4=ipv4, ipv6=ipv6),))
    return region


def _hinted(hint: OwnRelay, host: str) -> RelayRegion:
    stun = hint.stun_port or "off"
    pin = f"#sha256:{hint.pin.hex()}" if hint.pin else ""
    scheme = "https" if hint.tls else "http"
    return _parse_url(f"{scheme}://{host_and_port(host, hint.port)}?stun={stun}{pin}")


def _link_local_region(hint: OwnRelay) -> RelayRegion:
    """Return a link-local relay at each interface of ours: the issuer's names are its own."""
    from tunnel.net.netcheck import link_local_zones

    ip, _, zone = hint.host.partition("%")
    zones = sorted(link_local_zones(), key=lambda each: each != zone)
    if not zones:
        raise RelayTrouble(
            f"the token names a relay of the other side's link, {hint.host}, and this machine "
            "has no interface for it"
        )
    regions = [_hinted(hint, f"{ip}%{each}") for each in zones[:MAX_ZONES]]
    return replace(regions[0], nodes=tuple(region.nodes[0] for region in regions))


def _family(host: str) -> int | None:
    """Return 4 or 6 for an address, None for a name."""
    try:
        return ip_address(host).version
    except ValueError:
        return None


def relay_hints(choice: RelayChoice, node: RelayNode, leaf_pin: bytes | None) -> RelayHints:
    """Return what a token says of where to meet.

    Args:
        choice: the regions the issuer waits in.
        node: the node it is connected to.
        leaf_pin: 16-byte pin of that node's certificate, if it is not publicly trusted.

    Raises `RelayTrouble` for a relay whose name no token can carry.
    """
    if choice.is_public:
        return RegionHints(tuple(region.id for region in choice.regions))
    stun_port = 0 if node.stun_port == STUN_OFF else node.stun_port or DEFAULT_STUN_PORT
    host, other = _hosts_to_tell(node) if leaf_pin is not None else (node.host, "")
    try:
        return OwnRelay(host, node.derp_port, stun_port, node.use_tls, leaf_pin, other)
    except ValueError as error:
        raise RelayTrouble(str(error)) from error


def is_on_public_map(options: NetworkOptions) -> bool:
    """Tell whether these settings mean the public relays, out in the internet."""
    return options.relay is None and options.derp_map is None


def no_relay_step(options: NetworkOptions) -> str:
    """Return what a person can do when none of the relays that these settings allow is there."""
    if is_on_public_map(options):
        where = "check the network and the proxy variables"
        return f"{where}, or, without the internet, {OWN_RELAY_STEP}"
    if options.derp_map is not None:
        return "check the network, the proxy variables, and --derp-map, which takes a URL or a file"
    return RelayTrouble.next_step


def _hosts_to_tell(node: RelayNode) -> tuple[str, str]:
    """Return by what a pinned node is found; with its addresses a claimer needs no DNS for it.

    What the map leaves to look up, in one family or both, the name is told for.
    """
    known = [ip for ip in (node.ipv4, node.ipv6) if ip not in ("", FAMILY_OFF)]
    is_named = "" in (node.ipv4, node.ipv6) and _family(node.host) is None
    hosts = [node.host, *known] if is_named or not known else known
    return hosts[0], next(iter(hosts[1:]), "")


def _parse_url(url: str) -> RelayRegion:
    try:
        return parse_relay_url(url)
    except DecodeError as error:
        raise RelayTrouble(str(error)) from error


def _load(
    options: NetworkOptions,
    report: Report,
    fetch_s: Seconds = FETCH_TIMEOUT_S,
    patience_s: Seconds = FETCH_PATIENCE_S,
) -> RelayMap:
    cache_dir = options.cache_dir if options.derp_map is None else None
    cache_file = cache_dir / PUBLIC_MAP_FILE if cache_dir else None
    try:
        loaded = load_relay_map(
            options.derp_map,
            cache_file,
            proxy_settings(options),
            fetch_s,
            patience_s,
            lambda text: report(Notice(text)),
            _authorities(options),
        )
    except RelayUnreachable as error:
        raise RelayTrouble(str(error), no_relay_step(options)) from error
    if loaded.notice:
        report(Notice(loaded.notice))
    return loaded.map


def _choice(relay_map: RelayMap, ids: list[int], options: NetworkOptions) -> RelayChoice:
    regions = tuple(relay_map.regions[region] for region in ids)
    if not regions:
        raise RelayTrouble("the relay map has no usable region")
    return _usable(regions, options, is_public=options.derp_map is None)


def _usable(
    regions: tuple[RelayRegion, ...], options: NetworkOptions, *, is_public: bool
) -> RelayChoice:
    """Return the choice of these regions.

    Raises `RelayTrouble` where a proxy of a kind that is not supported is before all of them: no
    waiting changes that.
    """
    settings, refusals = proxy_settings(options), []
    nodes = [node for region in regions for node in region.relay_nodes]
    for node in nodes:
        try:
            settings.proxy_for(node.host, node.derp_port, use_tls=node.use_tls)
        except RelayError as error:
            refusals.append(error.about(f"relay {node.address}"))
    if nodes and len(refusals) == len(nodes):
        raise RelayTrouble(str(refusals[0]), "correct the proxy variables")
    return RelayChoice(regions, is_public)
