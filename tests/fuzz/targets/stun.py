# Invariant: a STUN message gives addresses that encode and decode to themselves, or a DecodeError.
from collections.abc import Iterator
from contextlib import suppress

from tunnel.errors import DecodeError
from tunnel.wire import stun as wire

ID = bytes(range(12))
WORDS = (
    wire.MAGIC_COOKIE,
    b"\1\1",
    b"\0\1",
    b"\0\x20\0\x08\0\1",
    b"\0\x20\0\x14\0\2",
    b"\x80\x28\0\4",
    b"\x80\x2b\0\x08\0\1",
    b"\x80\x2c\0\x08\0\1",
    b"\0\3\0\4\0\0\0\6",
    b"\1\x11",
    b"\0\x09\0\4\0\0\4\x14",
)


def run(data: bytes) -> None:
    wire.is_stun(data)
    try:
        request = wire.decode_binding_request(data)
        assert len(request.transaction_id) == wire.TRANSACTION_ID_SIZE
        assert wire.is_stun(data)
        again = wire.encode_binding_request(request.transaction_id, request.change)
        assert wire.decode_binding_request(again).change is request.change
    except DecodeError:
        pass
    with suppress(DecodeError):
        assert 300 <= wire.decode_binding_error(data).code <= 699
    try:
        response = wire.decode_binding_response(data)
    except DecodeError:
        return
    again = wire.encode_binding_response(
        response.transaction_id, response.address, response.port, response.origin, response.other
    )
    assert wire.decode_binding_response(again) == response


def seeds() -> Iterator[bytes]:
    yield wire.encode_binding_request(ID)
    yield b"\0\1\0\0" + wire.MAGIC_COOKIE + ID
    yield wire.encode_binding_response(ID, "192.0.2.7", 4000)
    yield wire.encode_binding_response(ID, "2001:db8::7", 4000)
    yield wire.encode_binding_request(ID, wire.Change.ADDRESS | wire.Change.PORT)
    yield wire.encode_binding_response(
        ID, "192.0.2.7", 4000, ("192.0.2.1", 3478), ("192.0.2.2", 3479)
    )
    yield b"\1\x11\0\x08" + wire.MAGIC_COOKIE + ID + b"\0\x09\0\4\0\0\4\x14"
