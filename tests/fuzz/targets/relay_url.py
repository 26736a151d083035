# Invariant: a relay URL gives a region whose host fits a request, or a DecodeError fit for a terminal.
from collections.abc import Iterator

from tunnel.errors import DecodeError
from tunnel.wire.derpmap import RelayMap, decode_derp_map, encode_derp_map, parse_relay_url
from tunnel.wire.http_head import encode_upgrade_request

WORDS = (b"https://", b"http://", b"#sha256:", b"?stun=", b"off", b"/derp", b"[::1]", b"@", b"%25",
         b":443", b"xn--")  # fmt: skip


def run(data: bytes) -> None:
    try:
        region = parse_relay_url(data.decode("utf-8", "surrogateescape"))
    except DecodeError as error:
        assert str(error).isprintable()
        return
    (node,) = region.nodes
    encode_upgrade_request(node.address)
    relay_map = RelayMap({region.id: region})
    assert decode_derp_map(encode_derp_map(relay_map)) == relay_map


def seeds() -> Iterator[bytes]:
    yield b"https://relay.example"
    yield b"http://127.0.0.1:3340/derp?stun=off"
    yield b"https://[2001:db8::1]:8443?stun=3478#sha256:" + b"0f" * 32
