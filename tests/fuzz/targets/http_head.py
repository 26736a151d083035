# Invariant: an HTTP head is read whole and free of control characters, or reading is a DecodeError.
from collections.abc import Iterator

from fuzzing import Feed

from tunnel.errors import DecodeError
from tunnel.wire import http_head as wire

WORDS = (b"\r\n", b"\r\n\r\n", b": ", b"HTTP/1.1", b" 101 ", b"GET ", b"Upgrade: DERP\r\n", b"\n ")


def run(data: bytes) -> None:
    feed = Feed(data)
    is_request, body = feed.uint(1) % 2 == 0, feed.rest()
    try:
        size = wire.head_size(body)
        assert size is None or body[:size].endswith(wire.END_OF_HEAD)
        assert size is None or body.find(wire.END_OF_HEAD) == size - 4
        head: wire.RequestHead | wire.ResponseHead
        if is_request:
            head = wire.parse_request_head(body[:size])
            assert f"{head.method} {head.target}".encode() in body
            assert head.path in head.target
        else:
            head = wire.parse_response_head(body[:size])
            assert 100 <= head.status <= 599
            assert not set(head.reason) & set("\r\n\0\x1b")
    except DecodeError:
        return
    assert size is not None
    assert len(head.headers) <= wire.MAX_FIELDS
    for name, value in head.headers.items():
        assert name == name.lower()
        assert name
        assert not set(name + value) & set("\r\n\0\x1b")


def seeds() -> Iterator[bytes]:
    yield b"\0" + wire.encode_upgrade_request("relay.example:8443", fast_start=True)
    fields = {"Upgrade": "DERP", "Connection": "Upgrade"}
    yield b"\1" + wire.encode_response_head(101, "Switching Protocols", fields) + b"frames"
    yield b"\1" + wire.encode_response_head(403, "", {"a": "b", "A": "c"})
