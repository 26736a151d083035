"""The claim header byte for byte, and whom a session gate lets in."""

import pytest

from derphole.token.admission import (
    ClaimHeader,
    Refusal,
    SessionGate,
    claim_header,
    decode_header,
    encode_header,
)
from derphole.token.grant import Capability, Grant, Mint, grant_secret, resumption_proof
from tunnel.errors import DecodeError
from tunnel.proto.meeting.owner import Named
from tunnel.units import WallTime
from tunnel.wire.handshake import ACCEPTED

KEYS = Mint.from_seed(b"\x01" * 32).keys
GRANT = Grant(b"grant id", 0x12345678, Capability.LISTEN, "laptop")
INSTANCE = bytes(range(16))
EPHEMERAL, OTHER_EPHEMERAL = b"e" * 32, b"f" * 32
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


def verdict(header, wall=BEFORE, instance=None, of=None):
    return (of or gate()).verdict(encode_header(header), instance, wall)


def resuming(of, instance=INSTANCE, ephemeral=EPHEMERAL):
    """Return the header with which a process comes back that a gate handed a secret."""
    return claim_header(GRANT, of.resumptions.hand_out(instance))(ephemeral)


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
    assert gate().named(bytes(data), EPHEMERAL) is None


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_header_of_another_size_is_refused(size):
    with pytest.raises(DecodeError):
        decode_header(bytes.fromhex(BARE).ljust(65, b"\0")[:size])


def test_the_secret_is_that_of_the_grant_or_of_who_comes_back():
    known = gate()
    bare = known.named(claim_header(GRANT)(EPHEMERAL), EPHEMERAL)
    back = known.named(resuming(known), EPHEMERAL)

    assert bare == Named(b"grant id", grant_secret(KEYS.minting, GRANT), None)
    assert back == Named(b"grant id", known.resumptions.hand_out(INSTANCE), INSTANCE)
    assert back.secret != bare.secret


def test_a_proof_is_good_for_one_claim_and_says_nothing_of_who_made_it():
    known = gate()
    headers = [resuming(known, ephemeral=each) for each in (EPHEMERAL, OTHER_EPHEMERAL)]

    assert known.named(headers[0], OTHER_EPHEMERAL) is None
    assert headers[0][:48] == headers[1][:48]
    assert headers[0][48:] != headers[1][48:]
    assert INSTANCE not in b"".join(headers)


def test_a_proof_of_another_issuer_or_of_nobody_names_nobody():
    other = SessionGate(Mint.from_seed(b"\x02" * 32).keys, GRANT)

    assert gate().named(resuming(other), EPHEMERAL) is None
    assert gate().named(resuming(gate()), EPHEMERAL) is None
    made_up = encode_header(ClaimHeader(GRANT, resumption_proof(bytes(16), EPHEMERAL)))
    assert gate().named(made_up, EPHEMERAL) is None


def test_a_proof_under_the_name_of_another_grant_names_nobody():
    known = gate()
    later = Grant(GRANT.id, GRANT.expires_at + 1, GRANT.capability, GRANT.name)
    header = claim_header(later, known.resumptions.hand_out(INSTANCE))(EPHEMERAL)

    assert known.named(header, EPHEMERAL) is None


def test_a_changed_grant_has_another_secret():
    """Nobody who holds one token can claim with a later expiry, or for another command."""
    changed = [
        Grant(b"other id", GRANT.expires_at, GRANT.capability, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at + 1, GRANT.capability, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at, Capability.SHARE, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at, GRANT.capability, "other"),
    ]
    secrets = {
        gate().named(claim_header(grant)(EPHEMERAL), EPHEMERAL).secret
        for grant in (GRANT, *changed)
    }

    assert len(secrets) == 5


def test_a_good_claim_is_accepted_until_it_expires():
    assert verdict(ClaimHeader(GRANT)) == ACCEPTED
    assert verdict(ClaimHeader(GRANT), wall=AFTER) == Refusal.EXPIRED


@pytest.mark.parametrize("wall", [BEFORE, AFTER])
def test_who_was_lost_may_come_back_at_any_time_and_who_left_may_not(wall):
    known = gate()
    known.resumptions.hand_out(INSTANCE)
    header = ClaimHeader(GRANT, bytes(16))

    assert verdict(header, wall, INSTANCE, known) == ACCEPTED
    known.resumptions.part(INSTANCE, may_come_back=True)
    assert verdict(header, wall, INSTANCE, known) == ACCEPTED
    known.resumptions.part(INSTANCE, may_come_back=False)
    assert verdict(header, wall, INSTANCE, known) == Refusal.NOT_AWAITED


def test_another_capability_is_refused():
    other = Grant(GRANT.id, GRANT.expires_at, Capability.SHARE, GRANT.name)

    assert verdict(ClaimHeader(other), wall=AFTER) == Refusal.WRONG_CAPABILITY


@pytest.mark.parametrize("reason", [Refusal.USED_UP, Refusal.LEAVING, Refusal.REVOKED])
def test_an_issuer_that_takes_nobody_says_why(reason):
    closed = gate()
    closed.refusal = reason

    assert verdict(ClaimHeader(GRANT), of=closed) == reason
    closed.resumptions.hand_out(INSTANCE)
    assert verdict(ClaimHeader(GRANT, bytes(16)), instance=INSTANCE, of=closed) == reason
