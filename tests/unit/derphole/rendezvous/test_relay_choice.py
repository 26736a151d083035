"""Which relays a conversation uses, from settings and from tokens."""

import json

import pytest

from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import RelayTrouble
from derphole.rendezvous.relays import (
    RelayChoice,
    claimer_relays,
    dial_options,
    hinted_region,
    issuer_relays,
    own_region,
    relay_hints,
)
from derphole.token.hints import OwnRelay, RegionHints
from tunnel.crypto.keys import DerpKey
from tunnel.net import netcheck
from tunnel.values import replace
from tunnel.wire.derpmap import FAMILY_OFF, RelayNode, RelayRegion

ISSUER = DerpKey(b"\x05" * 32)


def ignore(status):
    del status


def region(number, port=1):
    """Return a region of a map whose only node is on a closed loopback port."""
    node = {
        "Name": f"{number}a", "RegionID": number, "HostName": "127.0.0.1", "IPv4": "127.0.0.1",
        "DERPPort": port, "STUNPort": -1, "InsecureForTests": True,
    }  # fmt: skip
    return {
        "RegionID": number, "RegionCode": f"r{number}", "RegionName": f"Region {number}",
        "Nodes": [node],
    }  # fmt: skip


HEX = "00112233445566778899aabbccddeeff"


@pytest.fixture
def map_file(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"Regions": {str(n): region(n) for n in (1, 2, 3, 4)}}))
    return str(path)


@pytest.mark.parametrize(
    "pin", [None, f"sha256:{HEX * 2}", f"sha256:{HEX}", f"sha256-raw:{HEX * 2}"]
)
@pytest.mark.parametrize("host", ["relay.example", "::1", "127.0.0.1"])
def test_a_relay_of_one_s_own_is_one_region_with_one_node(host, pin):
    choice = issuer_relays(
        NetworkOptions(relay=RelayAddress(host, 8443, tls=True, pin=pin)), ISSUER, ignore
    )

    (only,) = choice.regions
    (node,) = only.nodes
    assert not choice.is_public
    assert (node.host, node.derp_port, node.use_tls) == (host, 8443, True)
    assert node.cert_name == (pin or "")
    assert own_region(RelayAddress(host, 8443, tls=True, pin=pin)) == only


@pytest.mark.parametrize(
    "hint",
    [
        OwnRelay("relay.example", 443, 3478, True, bytes(range(16))),
        OwnRelay("relay.example", 8443, 0, True),
        OwnRelay("::1", 3340, 3478, False),
        OwnRelay("127.0.0.1", 80, 1234, False),
        OwnRelay("my_relay", 80, 1234, False),
    ],
)
def test_a_relay_in_a_token_leads_back_to_the_same_hint(hint):
    choice = claimer_relays(NetworkOptions(), hint, ISSUER, ignore)

    (only,) = choice.regions
    assert only == hinted_region(hint)
    assert relay_hints(choice, only.nodes[0], hint.pin) == hint


V4, V6, PIN = "192.0.2.1", "2001:db8::1", bytes(16)


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "told"),
    [
        (V4, V6, (V4, V6)),
        (V4, FAMILY_OFF, (V4, "")),
        (FAMILY_OFF, V6, (V6, "")),
        (V4, "", ("relay.example", V4)),
        ("", V6, ("relay.example", V6)),
        ("", "", ("relay.example", "")),
    ],
)
def test_a_pinned_relay_is_told_by_every_address_that_leads_to_it(ipv4, ipv6, told):
    node = RelayNode("900a", 900, "relay.example", ipv4=ipv4, ipv6=ipv6)
    choice = RelayChoice((RelayRegion(900, "own", "", (node,)),), is_public=False)

    hint = relay_hints(choice, node, PIN)
    (found,) = hinted_region(hint).nodes

    assert (hint.host, hint.other) == told
    for family, at_issuer in ((found.ipv4, ipv4), (found.ipv6, ipv6)):
        assert family == at_issuer or FAMILY_OFF in (ipv4, ipv6)


def test_a_link_local_relay_is_looked_for_at_each_interface_of_the_claimer(monkeypatch):
    monkeypatch.setattr(netcheck, "link_local_zones", lambda: ["lan0", "wlan0"])

    (node, other) = hinted_region(OwnRelay("fe80::1%wlan0", 3340, tls=False)).nodes
    assert (node.host, other.host) == ("fe80::1%wlan0", "fe80::1%lan0")

    monkeypatch.setattr(netcheck, "link_local_zones", list)
    with pytest.raises(RelayTrouble, match="this machine has no interface for it"):
        hinted_region(OwnRelay("fe80::1%wlan0", 3340, tls=False))


def test_a_relay_whose_name_cannot_exist_is_refused_in_words():
    for host in ("x" * 90, "a..b", "-"):
        with pytest.raises(RelayTrouble, match="host name belongs"):
            own_region(RelayAddress(host, 443, tls=True))
        with pytest.raises(RelayTrouble, match="host name belongs"):
            claimer_relays(NetworkOptions(), OwnRelay(host, 443), ISSUER, ignore)


def test_regions_of_the_public_map_are_told_by_their_ids():
    own = own_region(RelayAddress("relay.example", 443, tls=True))
    choice = RelayChoice((own,), is_public=True)

    assert relay_hints(choice, own.nodes[0], None) == RegionHints((own.id,))


def test_a_claimer_keeps_the_order_of_the_token(map_file):
    options = NetworkOptions(derp_map=map_file)

    choice = claimer_relays(options, RegionHints((3, 99, 1)), ISSUER, ignore)

    assert [region.id for region in choice.regions] == [3, 1]
    assert not choice.is_public


def test_regions_that_the_map_does_not_know_lead_to_those_both_sides_can_compute(map_file):
    options = NetworkOptions(derp_map=map_file)

    first = claimer_relays(options, RegionHints((77,)), ISSUER, ignore)
    second = claimer_relays(options, RegionHints((78, 79)), ISSUER, ignore)

    assert len(first.regions) == 3
    assert first == second


def test_an_issuer_that_reaches_no_region_takes_computable_ones_and_says_so(map_file):
    told = []

    choice = issuer_relays(NetworkOptions(derp_map=map_file), ISSUER, told.append)

    assert choice == claimer_relays(
        NetworkOptions(derp_map=map_file), RegionHints((77,)), ISSUER, ignore
    )
    assert "no relay region answered" in told[0].text


@pytest.mark.parametrize("content", ["not json", '{"Regions": {}}'])
def test_a_map_that_cannot_be_used_is_a_sentence(tmp_path, content):
    path = tmp_path / "map.json"
    path.write_text(content)

    with pytest.raises(RelayTrouble, match="no relay could be used"):
        claimer_relays(NetworkOptions(derp_map=str(path)), RegionHints((1,)), ISSUER, ignore)


def test_proxies_of_the_settings_are_used_for_dialling():
    options = NetworkOptions(
        proxy_https="http://proxy:1", proxy_http="http://proxy:2", no_proxy=("a", "b")
    )

    proxy = dial_options(options).proxy

    assert (proxy.https, proxy.http, proxy.no_proxy) == ("http://proxy:1", "http://proxy:2", "a,b")


@pytest.mark.parametrize("kind", ["socks5", "https"])
def test_a_proxy_of_another_kind_is_told_at_once(kind):
    relay = RelayAddress("relay.example", 443, tls=True)
    options = NetworkOptions(relay=relay, proxy_https=f"{kind}://proxy:1080")

    with pytest.raises(RelayTrouble, match=f"of the kind {kind}, which is not supported"):
        issuer_relays(options, ISSUER, ignore)
    with pytest.raises(RelayTrouble, match=f"of the kind {kind}, which is not supported"):
        claimer_relays(options, OwnRelay("relay.example", 443), ISSUER, ignore)

    direct = replace(options, no_proxy=("example",))
    assert issuer_relays(direct, ISSUER, ignore).regions == (own_region(relay),)
