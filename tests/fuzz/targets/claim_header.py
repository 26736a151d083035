# Invariant: a claim header encodes to what was read, or is a DecodeError; a gate never raises on one.
from collections.abc import Iterator

from derphole.token.admission import (
    ClaimHeader,
    SessionGate,
    claim_header,
    decode_header,
    encode_header,
)
from derphole.token.grant import Capability, Grant, Mint
from tunnel.errors import DecodeError
from tunnel.units import WallTime

GRANT = Grant(b"\7" * 8, 1_900_000_000, Capability.LISTEN, "recorded")
GATE = SessionGate(Mint.from_seed(bytes(range(32))).keys, GRANT)
EPHEMERAL, LOST = bytes(range(1, 33)), bytes(range(16))
SECRET = GATE.resumptions.hand_out(LOST)
GATE.resumptions.part(LOST, may_come_back=True)


def run(data: bytes) -> None:
    named = GATE.named(data, EPHEMERAL)
    try:
        header = decode_header(data)
    except DecodeError:
        assert named is None
        return
    assert encode_header(header) == data
    is_back = data == claim_header(GRANT, SECRET)(EPHEMERAL)
    assert (named is not None) == (header.proof is None or is_back)
    if named is not None:
        assert named.grant == header.grant.id
        assert named.instance == (LOST if is_back else None)
    instance = named.instance if named is not None else data[48:]
    verdict = GATE.verdict(data, instance, WallTime(1_900_000_000.0))
    assert 0 <= verdict <= 255
    assert repr(header).isascii()


def seeds() -> Iterator[bytes]:
    yield encode_header(ClaimHeader(GRANT))
    yield encode_header(ClaimHeader(GRANT, bytes(range(16))))
    yield claim_header(GRANT, SECRET)(EPHEMERAL)
    yield encode_header(ClaimHeader(Grant(bytes(8), 0, Capability.TUNNEL, "x" * 32)))
