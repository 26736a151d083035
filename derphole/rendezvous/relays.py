"""Which relays a conversation uses: from the settings for an issuer, from the token for a claimer.

    settings: --relay -> that one        --derp-map -> the nearest of that map, as its node
              neither -> the public map's nearest regions, by measured latency
    token:    own relay -> that node     regions -> those of the map, in the token's order

The token decides where to meet, so a claimer's settings only say which map to look regions up in.
"""

import os
from dataclasses import dataclass

from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import OWN_RELAY_STEP, RelayTrouble
from derphole.status import Notice, Report
from derphole.token.hints import OwnRelay, RegionHints, RelayHints
from tunnel.addresses import host_and_port
from tunnel.crypto.keys import DerpKey
from tunnel.errors import DecodeError, RelayUnreachable
from tunnel.net.endpoint import DialOptions
from tunnel.net.relay_client.regions import (
    DEFAULT_STUN_PORT,
    FAMILY_OFF,
    FETCH_PATIENCE_S,
    FETCH_TIMEOUT_S,
    STUN_OFF,
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

# Chosen (design, section 4): measuring never keeps a person waiting for longer.
MEASURING_S: Seconds = 2.0
PUBLIC_MAP_FILE = "derpmap.json"


@dataclass(frozen=True, slots=True)
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
    return DialOptions(proxy=proxy_settings(options))


def proxy_settings(options: NetworkOptions) -> ProxySettings:
    """Return the proxies of these settings."""
    return ProxySettings(
        options.proxy_https or "", options.proxy_http or "", ",".join(options.no_proxy)
    )


def issuer_relays(options: NetworkOptions, issuer: DerpKey, report: Report) -> RelayChoice:
    """Return where an issuer waits; raises `RelayTrouble`."""
    if options.relay is not None:
        return RelayChoice((own_region(options.relay),), is_public=False)
    relay_map = _load(options, report)
    latencies = measure_regions(relay_map, os.urandom, MEASURING_S, proxy_settings(options))
    ids = choose_regions(latencies)
    if not ids:
        report(
            Notice("no relay region answered in time; using the fallback regions for this token")
        )
        ids = fallback_regions(relay_map, issuer)
    return _choice(relay_map, ids, is_public=options.derp_map is None)


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
    if isinstance(hints, OwnRelay):
        return RelayChoice((hinted_region(hints),), is_public=False)
    relay_map = _load(options, report)
    known = [region for region in hints.ids if region in relay_map.regions]
    ids = known or fallback_regions(relay_map, issuer)
    return _choice(relay_map, ids, is_public=options.derp_map is None)


def own_region(address: RelayAddress) -> RelayRegion:
    """Return the region of one relay that the person named; raises `RelayTrouble`."""
    return _parse_url(f"{address.url}#{address.pin}" if address.pin else address.url)


def hinted_region(hint: OwnRelay) -> RelayRegion:
    """Return the region of the relay that a token carries; raises `RelayTrouble`."""
    stun = hint.stun_port or "off"
    pin = f"#sha256:{hint.pin.hex()}" if hint.pin else ""
    scheme = "https" if hint.tls else "http"
    return _parse_url(f"{scheme}://{host_and_port(hint.host, hint.port)}?stun={stun}{pin}")


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
    # A pinned node needs no name: where the map gives its address, the claimer needs no DNS for it.
    has_literal = leaf_pin is not None and node.ipv4 not in ("", FAMILY_OFF)
    host = node.ipv4 if has_literal else node.host
    try:
        return OwnRelay(host, node.derp_port, stun_port, node.use_tls, leaf_pin)
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
        )
    except RelayUnreachable as error:
        raise RelayTrouble(str(error), no_relay_step(options)) from error
    if loaded.notice:
        report(Notice(loaded.notice))
    return loaded.map


def _choice(relay_map: RelayMap, ids: list[int], *, is_public: bool) -> RelayChoice:
    regions = tuple(relay_map.regions[region] for region in ids)
    if not regions:
        raise RelayTrouble("the relay map has no usable region")
    return RelayChoice(regions, is_public)
