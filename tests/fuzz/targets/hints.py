# Invariant: relay hints are read whole and encode to what was read, or reading is a DecodeError.
from collections.abc import Iterator

from derphole.token.hints import OwnRelay, OwnRelays, RegionHints, decode_hints, encode_hints
from tunnel.errors import DecodeError
from tunnel.wire.reader import Reader


def run(data: bytes) -> None:
    reader = Reader(data)
    try:
        hints = decode_hints(reader)
    except DecodeError:
        return
    assert encode_hints(hints) == data[: len(data) - reader.remaining]
    assert repr(hints).isascii()


def seeds() -> Iterator[bytes]:
    yield encode_hints(RegionHints())
    yield encode_hints(RegionHints((1, 2, 65535)))
    yield encode_hints(OwnRelay("relay.example", 443, 3478, tls=True, pin=bytes(range(16))))
    yield encode_hints(OwnRelay("2001:db8::1", 80, 0, tls=False))
    yield encode_hints(OwnRelay("192.0.2.1", 443, pin=bytes(16), other="2001:db8::1"))
    yield encode_hints(OwnRelay("fe80::1%Eth0", 443))
    yield encode_hints(OwnRelay("my_relay", 443, other="192.0.2.1"))
    yield encode_hints(OwnRelays((OwnRelay("one", 443), OwnRelay("192.0.2.1", 80, tls=False))))
