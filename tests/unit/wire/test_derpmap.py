"""The DERP map as JSON, and single relays as URLs."""

import json

import pytest

from tunnel.errors import DecodeError
from tunnel.wire.derpmap import (
    FAMILY_OFF,
    MAX_MAP_SIZE,
    STUN_OFF,
    RelayMap,
    RelayNode,
    RelayRegion,
    decode_derp_map,
    encode_derp_map,
    parse_relay_url,
)

# The example of tailcfg's documentation, with the values of upstream's embedded snapshot.
PUBLIC = (
    b'{"Regions":{"1":{"RegionID":1,"RegionCode":"nyc","RegionName":"New York City","Nodes":[{"Name'
    b'":"1c","RegionID":1,"HostName":"derp1c.tailscale.com","IPv4":"104.248.8.210","IPv6":"2604:a88'
    b'0:800:10::7a0:e001","CanPort80":true}]}}}'
)
OWN = (
    b'{"Regions":{"900":{"RegionID":900,"RegionCode":"local","RegionName":"Local","Nodes":[{"Name":'
    b'"900a","RegionID":900,"HostName":"127.0.0.1","IPv4":"127.0.0.1","IPv6":"none","DERPPort":8443,'
    b'"STUNPort":13478,"CertName":"sha256-raw:00ff"}]}},"omitDefaultRegions":true}'
)
NYC = RelayNode(
    name="1c",
    region_id=1,
    host="derp1c.tailscale.com",
    ipv4="104.248.8.210",
    ipv6="2604:a880:800:10::7a0:e001",
    can_port_80=True,
)
LOCAL = RelayNode(
    name="900a",
    region_id=900,
    host="127.0.0.1",
    cert_name="sha256-raw:00ff",
    ipv4="127.0.0.1",
    ipv6=FAMILY_OFF,
    stun_port=13478,
    derp_port=8443,
)


def one_node(**members):
    node = {"Name": "1a", "HostName": "relay.example"} | members
    return json.dumps({"Regions": {"1": {"RegionID": 1, "Nodes": [node]}}}).encode()


@pytest.mark.parametrize(
    ("data", "region"),
    [
        (PUBLIC, RelayRegion(1, "nyc", "New York City", (NYC,))),
        (OWN, RelayRegion(900, "local", "Local", (LOCAL,))),
    ],
)
def test_published_maps_read_as_documented_and_survive_encoding(data, region):
    relay_map = decode_derp_map(data)

    assert relay_map == RelayMap({region.id: region})
    assert decode_derp_map(encode_derp_map(relay_map)) == relay_map


def test_every_field_that_is_not_at_its_default_survives_encoding():
    node = RelayNode(
        "9z", 9, "::1", "sha256:aa", "none", "::1", STUN_OFF, True, 1, True, True, False
    )
    relay_map = RelayMap({9: RelayRegion(9, "x", "X", (node, NYC_OF_9), no_measure_no_home=True)})

    assert decode_derp_map(encode_derp_map(relay_map)) == relay_map


NYC_OF_9 = RelayNode("9a", 9, "relay.example")


def test_zero_ports_mean_the_defaults_and_minus_one_is_no_stun():
    region = decode_derp_map(one_node(DERPPort=0, STUNPort=0)).regions[1]
    without = decode_derp_map(one_node(STUNPort=-1)).regions[1]

    assert (region.nodes[0].derp_port, region.nodes[0].stun_port) == (443, 3478)
    assert without.nodes[0].stun_port == STUN_OFF


def test_names_count_in_any_case_and_unknown_ones_are_skipped():
    data = b'{"regions":{"7":{"regionid":7,"regioncode":"x","latitude":1.5,"nodes":[{"hostname":"h","derpport":8}]}}}'

    region = decode_derp_map(data).regions[7]

    assert (region.code, region.nodes[0].host, region.nodes[0].derp_port) == ("x", "h", 8)


def test_null_regions_and_nodes_are_skipped():
    data = b'{"Regions":{"1":null,"2":{"Nodes":[null,{"HostName":"h"}]},"3":{"Nodes":null}}}'

    relay_map = decode_derp_map(data)

    assert sorted(relay_map.regions) == [2, 3]
    assert len(relay_map.regions[2].nodes) == 1


def test_an_address_that_is_none_switches_its_family_off():
    node = decode_derp_map(one_node(IPv4="no thanks", IPv6="10.0.0.1")).regions[1].nodes[0]

    assert (node.ipv4, node.ipv6) == (FAMILY_OFF, FAMILY_OFF)


def test_names_lose_what_a_terminal_would_obey():
    data = b'{"Regions":{"1":{"RegionName":"a\\u001b[2Jb","RegionCode":"\\ud800"}}}'

    region = decode_derp_map(data).regions[1]

    assert (region.name, region.code) == ("a?[2Jb", "?")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"Regions":[]}',
        b'{"Regions":{"x":{}}}',
        b'{"Regions":{"0":{}}}',
        b'{"Regions":{"-1":{}}}',
        b'{"Regions":{"9999999999":{}}}',
        b'{"Regions":{"1":[]}}',
        b'{"Regions":{"1":{"RegionID":2}}}',
        b'{"Regions":{"1":{"RegionID":"1"}}}',
        b'{"Regions":{"1":{"RegionID":true}}}',
        b'{"Regions":{"1":{"RegionName":1}}}',
        b'{"Regions":{"1":{"NoMeasureNoHome":1}}}',
        b'{"Regions":{"1":{"Nodes":{}}}}',
        b'{"Regions":{"1":{"Nodes":[1]}}}',
        b'{"Regions":{"1":{"Nodes":[{}]}}}',
        one_node(HostName="a b"),
        one_node(HostName="a\r\nX: y"),
        one_node(HostName="h" * 254),
        one_node(HostName="-a"),
        one_node(HostName="a..b"),
        one_node(HostName="a" * 64 + ".example"),
        one_node(DERPPort=65536),
        one_node(DERPPort=-1),
        one_node(STUNPort=-2),
        one_node(DERPPort=1.5),
        one_node(RegionID=2),
        one_node(CertName=[]),
        b'{"Regions":{"1":' + b"9" * 5000 + b"}}",
        b" " * (MAX_MAP_SIZE + 1),
        json.dumps({"Regions": {str(number + 1): {} for number in range(1025)}}).encode(),
        json.dumps({"Regions": {"1": {"Nodes": [{"HostName": "h"}] * 65}}}).encode(),
    ],
)
def test_what_is_no_map_raises_a_decode_error(data):
    with pytest.raises(DecodeError):
        decode_derp_map(data)


PIN = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("text", "host", "port", "use_tls", "stun_port", "cert_name"),
    [
        ("https://relay.example", "relay.example", 443, True, 3478, ""),
        ("https://Relay.Example/derp", "relay.example", 443, True, 3478, ""),
        ("https://relay.example:8443/", "relay.example", 8443, True, 3478, ""),
        ("https://r.example/derp/?stun=3479", "r.example", 443, True, 3479, ""),
        ("https://r.example?stun=off", "r.example", 443, True, STUN_OFF, ""),
        (f"https://r.example#sha256:{PIN.upper()}", "r.example", 443, True, 3478, f"sha256:{PIN}"),
        (
            f"https://r.example#sha256-raw:{PIN.upper() * 2}",
            "r.example",
            443,
            True,
            3478,
            f"sha256-raw:{PIN * 2}",
        ),
        (
            f"https://r.example?stun=1#sha256:{PIN * 2}",
            "r.example",
            443,
            True,
            1,
            f"sha256:{PIN * 2}",
        ),
        ("http://127.0.0.1:3340", "127.0.0.1", 3340, False, 3478, ""),
        ("http://relay.lan", "relay.lan", 80, False, 3478, ""),
        ("http://[::1]:3340/derp", "::1", 3340, False, 3478, ""),
    ],
)
def test_a_relay_url_becomes_a_region_of_one_node(text, host, port, use_tls, stun_port, cert_name):
    region = parse_relay_url(text)

    assert (region.id, region.code) == (900, "own")
    (node,) = region.nodes
    assert node == RelayNode(
        "900a", 900, host, cert_name, stun_port=stun_port, derp_port=port, use_tls=use_tls
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.example",
        "relay.example:443",
        "ftp://relay.example",
        "https://",
        "https://:443",
        "https://relay.example:0",
        "https://relay.example:65536",
        "https://relay.example:x",
        "https://[::1",
        "https://user:pw@relay.example",
        "https://relay.example/other",
        "https://relay.example?turn=1",
        "https://relay.example?stun=",
        "https://relay.example?stun=0",
        "https://relay.example?stun=65536",
        "https://relay.example?stun=1&stun=2",
        "https://relay.example#pin",
        "https://relay.example#sha256:00",
        f"https://relay.example#sha256:{PIN}0",
        f"https://relay.example#sha256:{PIN * 2}00",
        f"http://relay.example#sha256:{PIN}",
        f"https://relay.example#sha256-raw:{PIN}",
        f"http://relay.example#sha256-raw:{PIN * 2}",
        "https://relay.example\n",
        " https://relay.example",
        "https://rel ay.example",
        "https://bücher.example",
        "https://-x",
    ],
)
def test_a_bad_relay_url_raises_a_sentence(text):
    with pytest.raises(DecodeError) as caught:
        parse_relay_url(text)

    assert len(str(caught.value).split()) > 5


def test_a_node_shows_its_address_as_people_write_it():
    assert NYC.address == "derp1c.tailscale.com:443"
    assert parse_relay_url("http://[::1]:3340").nodes[0].address == "[::1]:3340"


def test_relay_nodes_leaves_out_what_does_stun_only():
    stun_only = RelayNode("1b", 1, "h", stun_only=True)

    assert RelayRegion(1, "", "", (stun_only, NYC)).relay_nodes == (NYC,)
