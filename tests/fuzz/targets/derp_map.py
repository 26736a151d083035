# Invariant: a relay map is one that encodes to itself and whose hosts fit a request, or a DecodeError.
from collections.abc import Iterator

from tunnel.errors import DecodeError
from tunnel.wire.derpmap import (
    RelayMap,
    RelayNode,
    RelayRegion,
    decode_derp_map,
    encode_derp_map,
)
from tunnel.wire.http_head import encode_upgrade_request, parse_request_head

WORDS = (b'"Regions":{', b'"RegionID":', b'"Nodes":[', b'"HostName":"', b'"IPv6":"', b'"IPv4":"',
         b'"DERPPort":', b'"STUNPort":', b'"CertName":"sha256:', b"null", b"true", b"1e9", b"\\ud800",
         b"::1%", b"},", b"[", b"{")  # fmt: skip


def run(data: bytes) -> None:
    try:
        relay_map = decode_derp_map(data)
    except DecodeError as error:
        assert str(error).isprintable()
        return
    assert decode_derp_map(encode_derp_map(relay_map)) == relay_map
    for region in relay_map.regions.values():
        for node in region.nodes:
            head = parse_request_head(encode_upgrade_request(node.address))
            assert head.headers["host"] == node.address
            assert "".join((node.name, node.cert_name, node.ipv4, node.ipv6)).isprintable()


def seeds() -> Iterator[bytes]:
    node = RelayNode("1a", 1, "derp1.example", "sha256:" + 32 * "0", "192.0.2.1", "2001:db8::1", 0)
    plain = RelayNode("2a", 2, "::1", use_tls=False, derp_port=3340, stun_port=-1, stun_only=True)
    first = RelayRegion(1, "fra", "Frankfurt", (node,))
    second = RelayRegion(2, "own", "Own", (plain, plain), no_measure_no_home=True)
    yield encode_derp_map(RelayMap({1: first}))
    yield encode_derp_map(RelayMap({1: first, 2: second}))
    yield b'{"regions":{"7":{"regionid":7,"NODES":[null,{"HostName":"a"}]},"8":null}}'
