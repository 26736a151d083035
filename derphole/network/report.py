"""The report of `netcheck` for people and for programs.

Headings and words, and the JSON keys `verdict`, `recommendation`, `udp`, `candidates` and `stun`,
are those of the Go tool; the others are ours.  README lists every key.  Pure.
"""

from collections.abc import Iterator

from derphole.network.verdict import NetworkFindings, RelayFinding, recommendation, verdict
from derphole.status import JsonValue
from tunnel.addresses import host_and_port
from tunnel.errors import RelayFault
from tunnel.proto.netcheck.checks import Filtering, MapperCheck, Mapping, NatFindings
from tunnel.units import Seconds

# Faults of a relay that answered, or of what answered in its place.
ANSWERED = frozenset(RelayFault) - {
    RelayFault.UNREACHABLE,
    RelayFault.UNKNOWN_NAME,
    RelayFault.PROXY,
}

# -- lines ------------------------------------------------------------------------------------


def lines(found: NetworkFindings) -> Iterator[str]:
    """Yield the report for a person, line by line."""
    yield f"Network check: {verdict(found)}"
    yield "UDP:"
    yield from _udp_lines(found)
    yield "Candidates:"
    public = [*found.public_addresses, *(host_and_port(*each) for each in found.public_endpoints)]
    private = [each for each in found.addresses if each not in found.public_addresses]
    for name, entries in (("LAN", private), ("Overlay", found.overlay), ("Public", public)):
        yield f"  {name}: {', '.join(dict.fromkeys(entries)) or 'none'}"
    yield "Port mapping:"
    yield from _mapper_lines(found)
    yield "Relays:"
    yield from _relay_lines(found)
    yield "Direct-connect readiness:"
    yield f"  {recommendation(found)}"


def _udp_lines(found: NetworkFindings) -> Iterator[str]:
    nat = found.nat
    if not found.is_udp_tried:
        yield "  not tested: no reachable STUN server"
        return
    yield f"  Outbound UDP: {_yes_no(found.udp)}"
    yield f"  IPv4: {_family_words(found.ipv4)}"
    yield f"  IPv6: {_family_words(found.ipv6)}"
    yield f"  STUN: {_yes_no(found.has_udp)}"
    endpoints = ", ".join(host_and_port(*each) for each in found.public_endpoints)
    yield f"  Public endpoint: {endpoints or 'unavailable'}"
    if nat is None or not nat.is_udp_working:
        yield "  Mapping: unavailable"
        return
    if nat.is_translated is False:
        yield "  Mapping: none (public address)"
    elif nat.mapping is Mapping.UNKNOWN:
        yield "  Mapping: unknown (one STUN address answered)"
    elif nat.mapping.is_dependent:
        yield f"  Mapping: changes by STUN destination ({nat.mapping.value})"
    else:
        yield f"  Mapping: stable across STUN servers ({nat.mapping.value})"
    reason = " (no STUN server supports the test)" if nat.filtering is Filtering.UNKNOWN else ""
    yield f"  Filtering: {nat.filtering.value}{reason}"
    yield f"  Port preservation: {_yes_no(nat.keeps_port)}"
    if nat.is_translated:
        yield f"  Hairpin: {_yes_no(nat.hairpin)}"


def _family_words(nat: NatFindings | None) -> str:
    if nat is None:
        return "not available"
    return "UDP works" if nat.is_udp_working else "no answer to UDP"


def _mapper_lines(found: NetworkFindings) -> Iterator[str]:
    if found.mappers is None:
        yield "  not tested: no router was found, no time was left, or the relay is on this machine"
        return
    for check in found.mappers:
        yield f"  {check.protocol.value}: {_mapper_words(check)}"


def _mapper_words(check: MapperCheck) -> str:
    if check.mapping is not None:
        inner = "" if check.mapping.is_public else ", which is not a public address"
        kept = "" if check.is_given_back else "; it did not confirm the release of the tested port"
        return f"found, maps ports at {check.mapping.external_ip}{inner}{kept}"
    if check.is_found and check.failure is not None:
        return f"found, but maps no port: {check.failure.words}"
    return "not found"


def _relay_lines(found: NetworkFindings) -> Iterator[str]:
    if found.map_trouble is not None:
        yield f"  {found.map_trouble}"
    for relay in found.relays:
        region = relay.region
        name = f"{region.code or region.id}" + (f" ({region.name})" if region.name else "")
        way = "" if relay.is_by_udp else " by HTTP"
        latency = "" if relay.latency_s is None else f"{1000 * relay.latency_s:.1f} ms{way}, "
        if relay.check.connected_after_s is not None:
            after_ms = 1000 * relay.check.connected_after_s
            yield f"  {name}: {latency}connected in {after_ms:.0f} ms"
        else:
            what = "not usable" if relay.check.fault in ANSWERED else "not reached"
            yield f"  {name}: {latency}{what}: {relay.check.error}"


def _yes_no(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


# -- JSON -------------------------------------------------------------------------------------


def as_json(found: NetworkFindings) -> dict[str, JsonValue]:
    """Return the report for a program; keys are only ever added."""
    nat = found.nat
    is_known = nat is not None and nat.is_udp_working and nat.mapping is not Mapping.UNKNOWN
    endpoints: list[JsonValue] = [host_and_port(*each) for each in found.public_endpoints]
    own_public: list[JsonValue] = [*found.public_addresses]
    lan: list[JsonValue] = [each for each in found.addresses if each not in found.public_addresses]
    return {
        "verdict": verdict(found).value,
        "recommendation": recommendation(found),
        "udp": {
            "outbound": found.udp,
            "stun": found.has_udp if found.is_udp_tried else None,
            "public_endpoints": endpoints,
            "mapping_stable": not nat.mapping.is_dependent if nat and is_known else None,
            "port_preserving": nat.keeps_port if nat else None,
        },
        "ipv4": _family_json(found.ipv4, found),
        "ipv6": _family_json(found.ipv6, found),
        "candidates": {
            "lan": lan,
            "overlay": [*found.overlay],
            "public": [*own_public, *endpoints],
        },
        "stun": {"servers": [*_server_json(found)]},
        "port_mapping": None if found.mappers is None else [*map(_mapper_json, found.mappers)],
        "relays": [*map(_relay_json, found.relays)],
        "relay_reachable": found.has_relay,
        "relay_forced": found.is_relay_forced,
        "captive_portal": found.page is not None,
        "sign_in_address": found.page.address if found.page else None,
        "map_error": found.map_trouble,
        "seconds": round(found.seconds, 3),
    }


def _family_json(nat: NatFindings | None, found: NetworkFindings) -> JsonValue:
    if nat is None:
        return None
    return {
        "udp": nat.is_udp_working if found.udp is not None else None,
        "translated": nat.is_translated,
        "mapping": nat.mapping.value,
        "filtering": nat.filtering.value,
        "port_preserving": nat.keeps_port,
        "hairpin": nat.hairpin,
    }


def _server_json(found: NetworkFindings) -> Iterator[JsonValue]:
    for nat in found.families:
        wildcard = "::" if nat is found.ipv6 else "0.0.0.0"  # noqa: S104 - what the socket is bound to
        for answer in nat.answers:
            seen_at = answer.seen_at
            yield {
                "server": host_and_port(*answer.server),
                "local_endpoint": host_and_port(wildcard, nat.local_port),
                "mapped_endpoint": None if seen_at is None else host_and_port(*seen_at),
                "error": None if seen_at is not None else "no answer",
            }


def _mapper_json(check: MapperCheck) -> JsonValue:
    mapping = check.mapping
    return {
        "protocol": check.protocol.value,
        "found": check.is_found,
        "works": mapping is not None,
        "external_ip": mapping.external_ip if mapping else None,
        "public": mapping.is_public if mapping else None,
        "given_back": check.is_given_back if mapping else None,
        "error": check.failure.words if check.failure else None,
    }


def _relay_json(relay: RelayFinding) -> JsonValue:
    check, region = relay.check, relay.region
    way = "stun" if relay.is_by_udp else "http"
    return {
        "region": region.id,
        "code": region.code,
        "name": region.name,
        "node": check.node.address if check.node else None,
        "latency_ms": _ms(relay.latency_s),
        "latency_by": None if relay.latency_s is None else way,
        "reachable": relay.is_reachable,
        "connected_after_ms": _ms(check.connected_after_s),
        "error": check.error,
        "fault": check.fault.value if check.fault else None,
        "redirected_to": check.redirected_to,
    }


def _ms(seconds: Seconds | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
