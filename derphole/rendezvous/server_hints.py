"""Where a server and its clients are to meet, as a token says it that lives for months.

the public map     the nearest regions, by measured latency, or those that the person names
a map of one's own up to three of its nodes, so that a lost region is no lost tunnel
one relay          that one
no network         no region: both sides take three of the public map by the server's key
"""

import os
from collections.abc import Sequence

import gevent

from derphole.config import NetworkOptions
from derphole.errors import RelayTrouble
from derphole.rendezvous.relays import (
    MEASURING_S,
    RelayChoice,
    dial_options,
    is_on_public_map,
    network_map,
    own_region,
    relay_hints,
)
from derphole.status import Caution, Notice, Report
from derphole.token.hints import MAX_OWN_RELAYS, OwnRelay, OwnRelays, RegionHints, RelayHints
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.net.netcheck import check_relay
from tunnel.net.relay_client.regions import (
    FETCH_PATIENCE_S,
    FETCH_TIMEOUT_S,
    RelayMap,
    RelayRegion,
    choose_regions,
    fallback_regions,
    measure_regions,
)
from tunnel.units import KEY_SIZE, Seconds
from tunnel.values import replace

# Chosen: a relay that takes longer is looked at by the server, when it connects.
LOGIN_S: Seconds = 3.0


def server_hints(
    options: NetworkOptions, issuer: DerpKey, wanted: Sequence[int], report: Report
) -> RelayHints:
    """Return where to meet.

    Args:
        options: the settings of the command.
        issuer: the server's DERP key.
        wanted: ids of regions that the person named, best first; none to measure.
        report: told what a person wants to know.

    Raises `RelayTrouble`.
    """
    if options.relay is not None:
        return _own_hints([own_region(options.relay)], options, report)
    try:
        relay_map = network_map(options, report, FETCH_TIMEOUT_S, FETCH_PATIENCE_S)
    except RelayTrouble as error:
        if not is_on_public_map(options):
            raise
        if not wanted:
            report(
                Notice(
                    f"the token names no relay region ({error.detail}): both sides take three of "
                    "the public map by the server's key"
                )
            )
        return RegionHints(tuple(wanted))
    ids = _known(relay_map, wanted) or _nearest(relay_map, issuer, options, report)
    if is_on_public_map(options):
        return RegionHints(tuple(ids))
    return _own_hints([relay_map.regions[each] for each in ids], options, report)


def _known(relay_map: RelayMap, wanted: Sequence[int]) -> list[int]:
    for region in wanted:
        if region not in relay_map.regions:
            ids = ", ".join(map(str, sorted(relay_map.regions)))
            raise RelayTrouble(
                f"the relay map has no region {region}", f"choose from the regions {ids}"
            )
    return list(wanted)


def _nearest(
    relay_map: RelayMap, issuer: DerpKey, options: NetworkOptions, report: Report
) -> list[int]:
    latencies = measure_regions(relay_map, os.urandom, MEASURING_S, dial_options(options))
    ids = choose_regions(latencies)
    if not ids:
        report(Notice("no relay region answered in time; using the fallback regions"))
        ids = fallback_regions(relay_map, issuer)
    return ids


def _own_hints(
    regions: Sequence[RelayRegion], options: NetworkOptions, report: Report
) -> RelayHints:
    """Return the nodes of regions themselves, with the pins of certificates that need one."""
    singles = _single_nodes(regions)
    if not singles:
        raise RelayTrouble("the relay map has no usable region")
    tasks = [gevent.spawn(_hint_of, single, options, report) for single in singles]
    gevent.joinall(tasks, raise_error=True)
    relays: list[OwnRelay] = list(dict.fromkeys(task.value for task in tasks))
    return relays[0] if len(relays) == 1 else OwnRelays(tuple(relays))


def _single_nodes(regions: Sequence[RelayRegion]) -> list[RelayRegion]:
    """Return up to three nodes, each as a region of its own: of each region one, then others."""
    ranked = [
        (place, number, replace(region, nodes=(node,)))
        for number, region in enumerate(regions)
        for place, node in enumerate(region.relay_nodes)
    ]
    ranked.sort(key=lambda each: each[:2])
    return [single for _, _, single in ranked[:MAX_OWN_RELAYS]]


def _hint_of(region: RelayRegion, options: NetworkOptions, report: Report) -> OwnRelay:
    """Return one node as a token carries it."""
    (node,) = region.nodes
    keys = KeyPair.from_secret(os.urandom(KEY_SIZE))
    found = check_relay(region, keys, dial_options(options), LOGIN_S)
    if found.connected_after_s is None:
        report(
            Caution(
                f"{found.error}; the token names it all the same, and takes its certificate for "
                "one that public authorities vouch for"
                if node.use_tls
                else f"{found.error}; the token names it all the same"
            )
        )
    hints = relay_hints(RelayChoice((region,), is_public=False), node, found.leaf_pin)
    assert isinstance(hints, OwnRelay)
    return hints
