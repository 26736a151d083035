"""What netcheck says of each network: the verdict, the advice, every line, every JSON key."""

import json
import re
from pathlib import Path

import pytest

from derphole.network.report import as_json, lines
from derphole.network.verdict import (
    NetworkFindings,
    RelayFinding,
    Verdict,
    next_step,
    recommendation,
    verdict,
)
from tunnel.errors import RelayFault
from tunnel.proto.netcheck.checks import MapperCheck, RelayCheck, SignInPage
from tunnel.proto.netcheck.nat_behaviour import Filtering, Mapping, NatFindings, ServerAnswer
from tunnel.proto.portmap.mapping import Failure, MappingProtocol, PortMapping, Reason
from tunnel.values import replace
from tunnel.wire.derpmap import RelayNode, RelayRegion

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "netcheck.md"
A, B = ("192.0.2.1", 3478), ("192.0.2.2", 3478)
PUBLIC = "203.0.113.10"
NODE = RelayNode("1a", 1, "relay.example.com")
REGION = RelayRegion(1, "fra", "Frankfurt", (NODE,))
REACHED = RelayFinding(REGION, 0.0124, True, RelayCheck(NODE, 0.0481, None))
MISSED = RelayFinding(
    REGION, None, False, RelayCheck(NODE, None, "relay relay.example.com:443 did not answer")
)


def missed(words, fault, **more):
    check = RelayCheck(NODE, None, f"relay relay.example.com:443 {words}", fault, **more)
    return RelayFinding(REGION, None, False, check)


REFUSED = missed("refused our key", RelayFault.KEY_REFUSED)
DISTRUSTED = missed("has a certificate that cannot be trusted", RelayFault.CERTIFICATE)
ELSEWHERE = missed(
    "redirects us to https://b/", RelayFault.REDIRECTED, redirected_to="https://b.example/derp"
)
NO_DERP = missed("is not a DERP server", RelayFault.NOT_DERP)
PAGE = SignInPage("http://login.test/")
SILENT = NatFindings((ServerAnswer(A, None), ServerAnswer(B, None)), 40000)

ALONE = NatFindings((ServerAnswer(A, None),), 40000)


def seen(mapping, filtering=Filtering.UNKNOWN, **fields):
    answers = (ServerAnswer(A, (PUBLIC, 40000)), ServerAnswer(B, (PUBLIC, 40000)))
    values = {"is_translated": True, "keeps_port": True, "hairpin": False} | fields
    return NatFindings(answers, 40000, mapping, filtering, **values)


def mapper(protocol, mapping_ip=None, reason=None, *, is_found=True):
    mapping = None if mapping_ip is None else PortMapping(protocol, mapping_ip, 40000, 7200)
    failure = None if reason is None else Failure(reason, "result 2")
    return MapperCheck(protocol, is_found, mapping, failure)


CONE = seen(Mapping.ENDPOINT_INDEPENDENT)
SYMMETRIC = seen(Mapping.ADDRESS_AND_PORT_DEPENDENT)
OPEN = seen(
    Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT, is_translated=False, hairpin=None
)
NO_MAPPERS = tuple(
    mapper(protocol, reason=Reason.SILENT, is_found=False) for protocol in MappingProtocol
)
HOME = NetworkFindings(CONE, None, ("192.168.1.5",), relays=(REACHED,), mappers=NO_MAPPERS)
PUBLIC_MAPPER = (mapper(MappingProtocol.UPNP, "5.5.5.10"),)

# name, findings, verdict, words of the advice
NETWORKS = [
    ("cone NAT", HOME, "direct-friendly", "most networks"),
    ("open", replace(HOME, ipv4=OPEN), "direct-friendly", "every network that allows outgoing UDP"),
    (
        "cone NAT and a mapper",
        replace(HOME, mappers=PUBLIC_MAPPER),
        "direct-friendly",
        "including symmetric NATs: the router maps ports by UPnP",
    ),
    (
        "symmetric NAT",
        replace(HOME, ipv4=SYMMETRIC),
        "direct-limited",
        "Turn on UPnP, NAT-PMP or PCP in the router",
    ),
    (
        "symmetric NAT, two plain servers",
        replace(HOME, ipv4=seen(Mapping.DEPENDENT)),
        "direct-limited",
        "Your NAT is symmetric",
    ),
    (
        "symmetric NAT that nobody asked for ports",
        replace(HOME, ipv4=SYMMETRIC, mappers=None),
        "direct-limited",
        "Turn on UPnP",
    ),
    (
        "symmetric NAT and a mapper",
        replace(HOME, ipv4=SYMMETRIC, mappers=PUBLIC_MAPPER),
        "direct-friendly",
        "but the router maps ports by UPnP",
    ),
    (
        "symmetric NAT and a mapper with the address that STUN sees",
        replace(HOME, ipv4=SYMMETRIC, mappers=(mapper(MappingProtocol.PCP, PUBLIC),)),
        "direct-friendly",
        "maps ports by PCP",
    ),
    (
        "symmetric NAT, then a mapper behind another NAT",
        replace(HOME, ipv4=SYMMETRIC, mappers=(mapper(MappingProtocol.PCP, "10.9.9.9"),)),
        "direct-limited",
        "own address 10.9.9.9 is private: there is another NAT",
    ),
    (
        "symmetric NAT and a mapper that refuses",
        replace(
            HOME,
            ipv4=SYMMETRIC,
            mappers=(mapper(MappingProtocol.NAT_PMP, reason=Reason.NOT_ALLOWED),),
        ),
        "direct-limited",
        "NAT-PMP: the gateway does not allow it (result 2)): allow it",
    ),
    (
        "symmetric NAT with IPv6",
        replace(HOME, ipv4=SYMMETRIC, ipv6=OPEN),
        "direct-limited",
        "Peers with IPv6, which this machine has",
    ),
    ("one STUN server", replace(HOME, ipv4=seen(Mapping.UNKNOWN)), "unknown", "--derp-map"),
    (
        "one STUN server and a mapper",
        replace(HOME, ipv4=seen(Mapping.UNKNOWN), mappers=PUBLIC_MAPPER),
        "direct-friendly",
        "maps ports by UPnP",
    ),
    ("only over IPv6", replace(HOME, ipv4=None, ipv6=OPEN), "direct-limited", "only over IPv6"),
    (
        "UDP blocked over IPv4",
        replace(HOME, ipv4=SILENT, ipv6=OPEN),
        "direct-limited",
        "seems to be blocked over IPv4, where nothing answered",
    ),
    (
        "UDP blocked",
        replace(HOME, ipv4=SILENT),
        "relay-only-likely",
        "No STUN server answered, so UDP seems to be blocked: every run uses the relay",
    ),
    (
        "one silent STUN server",
        replace(HOME, ipv4=ALONE),
        "unknown",
        "Its STUN server (192.0.2.1:3478) did not answer: either it is not running",
    ),
    (
        "one silent STUN server with both families",
        replace(
            HOME, ipv4=ALONE, ipv6=NatFindings((ServerAnswer(("2001:db8::1", 3478), None),), 1)
        ),
        "unknown",
        "What would tell: netcheck with relays whose STUN servers run",
    ),
    ("no STUN server known", replace(HOME, ipv4=None), "unknown", "No STUN server is known"),
    (
        "relay away, UDP works",
        replace(HOME, relays=(MISSED,)),
        "no-relay",
        "UDP works, but no relay was reached",
    ),
    (
        "everything blocked",
        replace(HOME, ipv4=SILENT, relays=(MISSED,)),
        "no-relay",
        "allow outgoing TCP to port 443",
    ),
    (
        "no map",
        replace(HOME, ipv4=None, relays=(), map_trouble="the relay map could not be fetched"),
        "no-relay",
        "There is no map of relays, for the reason given above: correct that, or give a relay",
    ),
    (
        "no public map",
        replace(HOME, ipv4=None, relays=(), map_trouble="no map", is_public_map=True),
        "no-relay",
        "correct that, or run `derphole relay` on a machine that both sides reach, and name it "
        "with --relay or DERPHOLE_RELAY.",
    ),
    ("nothing at all", NetworkFindings(map_trouble="no map"), "no-network", "no address"),
    (
        "a sign-in page",
        replace(HOME, ipv4=SILENT, relays=(MISSED,), page=SignInPage(None)),
        "captive-portal",
        "Something else answers instead of the relays, as sign-in pages of hotels and trains "
        "do. Open a browser, sign in",
    ),
    (
        "a sign-in page at another address, in place of relays with TLS",
        replace(HOME, ipv4=SILENT, relays=(DISTRUSTED, ELSEWHERE, NO_DERP, MISSED), page=PAGE),
        "captive-portal",
        "Requests to the relays are redirected to http://login.test/",
    ),
    (
        "a relay that refuses our key",
        replace(HOME, relays=(REFUSED,)),
        "relay-refused",
        "relay.example.com:443 speaks DERP and closed the connection when we logged in",
    ),
    (
        "a relay that refuses our key, and answers other pages as no derper does",
        replace(HOME, relays=(MISSED, REFUSED), page=SignInPage(None)),
        "relay-refused",
        "Headscale: derp.server.verify_clients: false",
    ),
    (
        "a certificate that nobody trusts",
        replace(HOME, relays=(DISTRUSTED, NO_DERP, MISSED)),
        "relay-not-trusted",
        "compare the pin above",
    ),
    (
        "a redirect",
        replace(HOME, relays=(ELSEWHERE, NO_DERP)),
        "redirected",
        "The server at relay.example.com:443 redirects us to https://b.example/derp.",
    ),
    (
        "a web server",
        replace(HOME, relays=(NO_DERP, MISSED)),
        "not-a-relay",
        "is not a DERP relay. Check host and port",
    ),
    (
        "one refused and one that takes us",
        replace(HOME, relays=(REFUSED, REACHED)),
        "direct-friendly",
        "most networks",
    ),
    (
        "names that nobody knows",
        replace(HOME, relays=(missed("its name was not found", RelayFault.UNKNOWN_NAME),)),
        "no-relay",
        "Their names have no address",
    ),
    (
        "a proxy that says no",
        replace(HOME, relays=(missed("cannot be reached through", RelayFault.PROXY),)),
        "no-relay",
        "The proxy refused: check HTTPS_PROXY",
    ),
    (
        "a relay that cannot serve now",
        replace(HOME, relays=(missed("does not accept us now", RelayFault.BROKEN),)),
        "no-relay",
        "try again later",
    ),
    (
        "a forced relay",
        replace(HOME, is_relay_forced=True),
        "direct-friendly",
        "With --force-relay every run stays on the relay",
    ),
    (
        "a relay on this machine",
        replace(HOME, is_all_here=True),
        "direct-friendly",
        "says nothing about the network outside",
    ),
]
FINDINGS = [pytest.param(each[1], id=each[0].replace(" ", "-")) for each in NETWORKS]


@pytest.mark.parametrize(
    ("found", "word", "words"),
    [pytest.param(*each[1:], id=each[0].replace(" ", "-")) for each in NETWORKS],
)
def test_each_network_has_its_verdict_and_its_advice(found, word, words):
    assert verdict(found).value == word
    assert words in recommendation(found)


@pytest.mark.parametrize(
    ("relay", "is_about_port"),
    [(MISSED, True), *((each, False) for each in (REFUSED, DISTRUSTED, ELSEWHERE, NO_DERP))],
)
def test_a_port_is_only_named_where_nothing_answered(relay, is_about_port):
    text = recommendation(replace(HOME, relays=(relay,)))

    assert ("outgoing TCP to port" in text) is is_about_port


@pytest.mark.parametrize("relay", [REFUSED, DISTRUSTED, ELSEWHERE, NO_DERP])
def test_what_answered_is_not_called_unreached(relay):
    found = replace(HOME, relays=(relay,))

    assert f"not usable: {relay.check.error}" in "\n".join(lines(found))
    assert as_json(found)["relays"][0]["fault"] == relay.check.fault.value
    assert next_step(found) is not None


def test_every_verdict_occurs():
    assert {each[2] for each in NETWORKS} == {each.value for each in Verdict}


@pytest.mark.parametrize("found", FINDINGS)
def test_advice_is_whole_sentences(found):
    text = recommendation(found)

    assert text[0].isupper()
    assert text.endswith(".")
    assert ".." not in text
    assert "  " not in text


# --- lines -----------------------------------------------------------------------------------


def test_the_report_of_a_home():
    found = replace(HOME, overlay=("100.64.0.9",), public_addresses=())

    assert list(lines(found)) == [
        "Network check: direct-friendly",
        "UDP:",
        "  Outbound UDP: yes",
        "  IPv4: UDP works",
        "  IPv6: not available",
        "  STUN: yes",
        "  Public endpoint: 203.0.113.10:40000",
        "  Mapping: stable across STUN servers (endpoint-independent)",
        "  Filtering: unknown (no STUN server supports the test)",
        "  Port preservation: yes",
        "  Hairpin: no",
        "Candidates:",
        "  LAN: 192.168.1.5",
        "  Overlay: 100.64.0.9",
        "  Public: 203.0.113.10:40000",
        "Port mapping:",
        "  PCP: not found",
        "  NAT-PMP: not found",
        "  UPnP: not found",
        "Relays:",
        "  fra (Frankfurt): 12.4 ms, connected in 48 ms",
        "Direct-connect readiness:",
        "  Direct paths will work with most networks. Only a peer behind a symmetric NAT without "
        "port mapping may stay on the relay.",
    ]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            replace(HOME, ipv4=SYMMETRIC),
            "  Mapping: changes by STUN destination (address-and-port-dependent)",
        ),
        (replace(HOME, ipv4=OPEN), "  Mapping: none (public address)"),
        (replace(HOME, ipv4=SILENT), "  Mapping: unavailable"),
        (replace(HOME, ipv4=SILENT), "  Public endpoint: unavailable"),
        (replace(HOME, ipv4=SILENT), "  IPv4: no answer to UDP"),
        (replace(HOME, ipv4=SILENT), "  Outbound UDP: no"),
        (replace(HOME, ipv4=ALONE), "  Outbound UDP: unknown"),
        (
            replace(HOME, ipv4=seen(Mapping.UNKNOWN, hairpin=None)),
            "  Mapping: unknown (one STUN address answered)",
        ),
        (replace(HOME, ipv4=seen(Mapping.UNKNOWN, hairpin=None)), "  Hairpin: unknown"),
        (replace(HOME, mappers=PUBLIC_MAPPER), "  UPnP: found, maps ports at 5.5.5.10"),
        (
            replace(HOME, mappers=(mapper(MappingProtocol.PCP, "10.9.9.9"),)),
            "  PCP: found, maps ports at 10.9.9.9, which is not a public address",
        ),
        (
            replace(HOME, mappers=(mapper(MappingProtocol.PCP, reason=Reason.NOT_ALLOWED),)),
            "  PCP: found, but maps no port: the gateway does not allow it (result 2)",
        ),
        (
            replace(HOME, mappers=(replace(PUBLIC_MAPPER[0], is_given_back=False),)),
            "  UPnP: found, maps ports at 5.5.5.10; it did not confirm the release of the tested port",
        ),
        (
            replace(HOME, mappers=None),
            "  not tested: no router was found, no time was left, or the relay is on this machine",
        ),
        (
            replace(HOME, relays=(MISSED,)),
            "  fra (Frankfurt): not reached: relay relay.example.com:443 did not answer",
        ),
        (
            replace(HOME, relays=(replace(REACHED, is_by_udp=False),)),
            "  fra (Frankfurt): 12.4 ms by HTTP, connected in 48 ms",
        ),
        (
            replace(HOME, ipv4=None),
            "  not tested: no reachable STUN server",
        ),
        (replace(HOME, map_trouble="no map could be fetched"), "  no map could be fetched"),
        (
            replace(HOME, addresses=("8.8.8.8", "10.0.0.1"), public_addresses=("8.8.8.8",)),
            "  Public: 8.8.8.8, 203.0.113.10:40000",
        ),
        (
            replace(HOME, addresses=("8.8.8.8", "10.0.0.1"), public_addresses=("8.8.8.8",)),
            "  LAN: 10.0.0.1",
        ),
    ],
)
def test_each_finding_has_its_line(found, line):
    assert line in list(lines(found))


# --- JSON ------------------------------------------------------------------------------------


def key_paths(tree, prefix=""):
    """Yield every key as `a.b`, with `[]` for the entries of lists."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            yield from key_paths(value, path)
    elif isinstance(tree, list):
        for entry in tree:
            yield f"{prefix}[]"
            yield from key_paths(entry, f"{prefix}[]")


def documented_keys():
    table = DOCUMENT.read_text().partition("\n| keys | meaning |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


FULL = replace(
    HOME, ipv6=OPEN, mappers=(*PUBLIC_MAPPER, *NO_MAPPERS), overlay=("100.64.0.1",), seconds=1.25
)


def test_the_document_s_example_ends_with_what_is_said_of_such_a_network():
    said = recommendation(replace(HOME, ipv4=SYMMETRIC))

    assert f"Direct-connect readiness:\n  {said}\n" in DOCUMENT.read_text()


def test_every_key_stands_in_the_document_and_none_that_does_not_exist():
    keys = set(key_paths(as_json(FULL)))
    # The document names a group by its last keys; a key that only holds others needs no row.
    leaves = {
        key for key in keys if not any(other.startswith((f"{key}.", f"{key}[")) for other in keys)
    }

    assert {key.replace("ipv6.", "ipv4.") for key in leaves} == documented_keys()


@pytest.mark.parametrize("found", FINDINGS)
def test_the_keys_are_the_same_for_every_network(found):
    report = as_json(found)

    assert set(report) == set(as_json(FULL))
    assert json.loads(json.dumps(report)) == report


def test_the_report_of_a_home_as_json():
    report = as_json(FULL)

    assert report["verdict"] == "direct-friendly"
    assert report["udp"] == {
        "outbound": True,
        "stun": True,
        "public_endpoints": ["203.0.113.10:40000"] * 2,
        "mapping_stable": True,
        "port_preserving": True,
    }
    assert report["stun"]["servers"][0] == {
        "server": "192.0.2.1:3478",
        "local_endpoint": "0.0.0.0:40000",
        "mapped_endpoint": "203.0.113.10:40000",
        "error": None,
    }
    assert report["port_mapping"][0] == {
        "protocol": "UPnP",
        "found": True,
        "works": True,
        "external_ip": "5.5.5.10",
        "public": True,
        "given_back": True,
        "error": None,
    }
    assert report["relays"][0] == {
        "region": 1,
        "code": "fra",
        "name": "Frankfurt",
        "node": "relay.example.com:443",
        "fault": None,
        "redirected_to": None,
        "latency_ms": 12.4,
        "latency_by": "stun",
        "reachable": True,
        "connected_after_ms": 48.1,
        "error": None,
    }


@pytest.mark.parametrize(
    ("nat", "stable"),
    [(CONE, True), (SYMMETRIC, False), (seen(Mapping.UNKNOWN), None), (SILENT, None), (None, None)],
)
def test_a_mapping_is_stable_changing_or_not_known(nat, stable):
    assert as_json(replace(HOME, ipv4=nat))["udp"]["mapping_stable"] is stable


def test_udp_that_was_not_tried_is_neither_there_nor_blocked():
    untried = as_json(replace(HOME, ipv4=None))["udp"]
    blocked = as_json(replace(HOME, ipv4=SILENT))["udp"]

    assert (untried["outbound"], untried["stun"]) == (None, None)
    assert (blocked["outbound"], blocked["stun"]) == (False, False)


def test_a_relay_that_was_not_reached_is_told_with_its_error():
    [relay] = as_json(replace(HOME, relays=(MISSED,)))["relays"]

    assert (relay["reachable"], relay["latency_ms"], relay["latency_by"]) == (False, None, None)
    assert relay["error"] == "relay relay.example.com:443 did not answer"
