# Invariant: a STUN message gives an address that encodes and decodes to itself, or a DecodeError.
from collections.abc import Iterator

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
)


def run(data: bytes) -> None:
    wire.is_stun(data)
    try:
        request = wire.decode_binding_request(data)
        assert len(request.transaction_id) == wire.TRANSACTION_ID_SIZE
        assert wire.is_stun(data)
    except DecodeError:
        pass
    try:
        response = wire.decode_binding_response(data)
    except DecodeError:
        return
    again = wire.encode_binding_response(response.transaction_id, response.address, response.port)
    assert wire.decode_binding_response(again) == response


def seeds() -> Iterator[bytes]:
    yield wire.encode_binding_request(ID)
    yield b"\0\1\0\0" + wire.MAGIC_COOKIE + ID
    yield wire.encode_binding_response(ID, "192.0.2.7", 4000)
    yield wire.encode_binding_response(ID, "2001:db8::7", 4000)
