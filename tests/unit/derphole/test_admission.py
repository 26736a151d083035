"""The claim header byte for byte, and whom a session gate lets in."""

import pytest

from derphole.admission import (
    ClaimHeader,
    Refusal,
    SessionGate,
    decode_header,
    encode_header,
)
from derphole.grant import Capability, Grant, Issuer, grant_secret, resumption_secret
from tunnel.errors import DecodeError
from tunnel.units import WallTime
from tunnel.wire.handshake import ACCEPTED

KEYS = Issuer.from_seed(b"\x01" * 32).keys
GRANT = Grant(b"grant id", 0x12345678, Capability.LISTEN, "laptop")
INSTANCE = bytes(range(16))
BEFORE, AFTER = WallTime(0x12345677), WallTime(0x12345678)

BARE = "00 01 0000 78563412" + b"grant id".hex() + b"laptop".ljust(32, b"\0").hex() + 16 * "00"
RESUMING = (
    "01 01 0000 78563412"
    + b"grant id".hex()
    + b"laptop".ljust(32, b"\0").hex()
    + "000102030405060708090a0b0c0d0e0f"
)


def gate():
    return SessionGate(KEYS, GRANT)


def verdict(header, wall=BEFORE, instance=INSTANCE, of=None):
    return (of or gate()).verdict(encode_header(header), instance, wall)


@pytest.mark.parametrize(
    ("header", "data"),
    [(ClaimHeader(GRANT), BARE), (ClaimHeader(GRANT, INSTANCE), RESUMING)],
    ids=["bare", "resuming"],
)
def test_a_header_is_these_bytes_both_ways(header, data):
    packed = bytes.fromhex(data)

    assert encode_header(header) == packed
    assert decode_header(packed) == header
    assert len(packed) == 64


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, 2), (0, 0xFF), (1, 0), (1, 99), (2, 1), (3, 1), (16, 0x1B), (16, 0xC3), (24, 65), (48, 1)],
)
def test_a_header_that_nobody_writes_is_refused_and_names_no_grant(position, value):
    data = bytearray.fromhex(BARE)
    data[position] = value
    if position == 24:
        data[20] = 0  # a name goes on behind its end

    with pytest.raises(DecodeError):
        decode_header(bytes(data))
    assert gate().secret(bytes(data)) is None


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_header_of_another_size_is_refused(size):
    with pytest.raises(DecodeError):
        decode_header(bytes.fromhex(BARE).ljust(65, b"\0")[:size])


def test_the_secret_is_that_of_the_grant_or_of_its_resumption():
    bare, resuming = ClaimHeader(GRANT), ClaimHeader(GRANT, INSTANCE)

    assert gate().secret(encode_header(bare)) == grant_secret(KEYS.minting, GRANT)
    expected = resumption_secret(KEYS.minting, encode_header(bare), INSTANCE)
    assert gate().secret(encode_header(resuming)) == expected
    assert expected != grant_secret(KEYS.minting, GRANT)


def test_a_changed_grant_has_another_secret():
    """Nobody who holds one token can claim with a later expiry, or for another command."""
    changed = [
        Grant(b"other id", GRANT.expires_at, GRANT.capability, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at + 1, GRANT.capability, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at, Capability.SHARE, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at, GRANT.capability, "other"),
    ]
    secrets = {gate().secret(encode_header(ClaimHeader(grant))) for grant in (GRANT, *changed)}

    assert len(secrets) == 5


def test_limits_are_counted_by_grant():
    assert gate().grant_id(bytes.fromhex(BARE)) == b"grant id"
    assert gate().grant_id(bytes.fromhex(RESUMING)) == b"grant id"


def test_a_good_claim_is_accepted_until_it_expires():
    assert verdict(ClaimHeader(GRANT)) == ACCEPTED
    assert verdict(ClaimHeader(GRANT), wall=AFTER) == Refusal.EXPIRED


def test_a_resuming_claim_is_accepted_after_expiry_for_its_own_instance_alone():
    resuming = ClaimHeader(GRANT, INSTANCE)

    assert verdict(resuming, wall=AFTER) == ACCEPTED
    assert verdict(resuming, wall=AFTER, instance=bytes(16)) == Refusal.EXPIRED


def test_another_capability_is_refused():
    other = Grant(GRANT.id, GRANT.expires_at, Capability.SHARE, GRANT.name)

    assert verdict(ClaimHeader(other), wall=AFTER) == Refusal.WRONG_CAPABILITY


@pytest.mark.parametrize("reason", [Refusal.USED_UP, Refusal.LEAVING, Refusal.REVOKED])
def test_an_issuer_that_takes_nobody_says_why(reason):
    closed = gate()
    closed.refusal = reason

    assert verdict(ClaimHeader(GRANT), of=closed) == reason
    assert verdict(ClaimHeader(GRANT, INSTANCE), of=closed) == reason
