# Invariant: a claim header encodes to what was read, or is a DecodeError; a gate never raises on one.
from collections.abc import Iterator

from derphole.admission import ClaimHeader, SessionGate, decode_header, encode_header
from derphole.grant import Capability, Grant, Issuer
from tunnel.errors import DecodeError
from tunnel.units import WallTime

GRANT = Grant(b"\7" * 8, 1_900_000_000, Capability.LISTEN, "recorded")
GATE = SessionGate(Issuer.from_seed(bytes(range(32))).keys, GRANT)


def run(data: bytes) -> None:
    secret = GATE.secret(data)
    try:
        header = decode_header(data)
    except DecodeError:
        assert secret is None
        return
    assert encode_header(header) == data
    assert secret is not None
    assert GATE.grant_id(data) == header.grant.id
    verdict = GATE.verdict(data, data[48:], WallTime(1_900_000_000.0))
    assert 0 <= verdict <= 255
    assert repr(header).isascii()


def seeds() -> Iterator[bytes]:
    yield encode_header(ClaimHeader(GRANT))
    yield encode_header(ClaimHeader(GRANT, bytes(range(16))))
    yield encode_header(ClaimHeader(Grant(bytes(8), 0, Capability.TUNNEL, "x" * 32)))
