"""Any bytes are a map or a DecodeError; any map survives encoding."""

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import DecodeError
from tunnel.wire.derpmap import (
    RelayMap,
    RelayNode,
    RelayRegion,
    decode_derp_map,
    encode_derp_map,
    parse_relay_url,
)

NAMES = st.text(st.characters(categories=["L", "N", "P"]), max_size=20)
HOSTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}(\.[a-z0-9-]{1,9}){0,2}", fullmatch=True)
PORTS = st.integers(1, 65535)


def nodes(region_id):
    return st.builds(
        RelayNode,
        name=NAMES,
        region_id=st.just(region_id),
        host=HOSTS,
        cert_name=NAMES,
        ipv4=st.sampled_from(["", "none", "192.0.2.1"]),
        ipv6=st.sampled_from(["", "none", "2001:db8::1"]),
        stun_port=PORTS | st.just(-1),
        stun_only=st.booleans(),
        derp_port=PORTS,
        can_port_80=st.booleans(),
        insecure_for_tests=st.booleans(),
        use_tls=st.booleans(),
    )


def regions(region_id):
    return st.builds(
        RelayRegion,
        id=st.just(region_id),
        code=NAMES,
        name=NAMES,
        nodes=st.lists(nodes(region_id), max_size=3).map(tuple),
        no_measure_no_home=st.booleans(),
    )


MAPS = st.lists(st.integers(1, 2**32 - 1).flatmap(regions), max_size=4).map(
    lambda found: RelayMap({region.id: region for region in found})
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["Regions", "1", "2", "Nodes", "HostName", "regionid", "DERPPort"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(MAPS)
def test_any_map_survives_encoding(relay_map):
    assert decode_derp_map(encode_derp_map(relay_map)) == relay_map


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_map_or_a_decode_error(data):
    try:
        relay_map = decode_derp_map(data)
    except DecodeError:
        return
    assert decode_derp_map(encode_derp_map(relay_map)) == relay_map


@given(JSON)
def test_any_json_under_regions_is_a_map_or_a_decode_error(value):
    with contextlib.suppress(DecodeError):
        decode_derp_map(json.dumps({"Regions": {"1": value, "2": {"Nodes": [value]}}}).encode())


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"https://{text}"))
def test_any_text_is_a_relay_or_a_decode_error(text):
    try:
        region = parse_relay_url(text)
    except DecodeError:
        return
    assert decode_derp_map(encode_derp_map(RelayMap({900: region}))).regions[900] == region
