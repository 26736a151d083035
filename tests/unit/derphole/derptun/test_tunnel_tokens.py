"""Tokens of tunnels: how long they live, what they carry, and who is let in by them."""

import pytest

from derphole.derptun.gate import TunnelGate
from derphole.derptun.minting import (
    DAY_S,
    client_expiry,
    id_of_key,
    minted,
    renewed,
    server_expiry,
    server_id,
)
from derphole.errors import ExpiryRefused, ServerExpired, TokenExpired, TokenWrongRole
from derphole.token.admission import (
    ClaimHeader,
    Refusal,
    claim_header,
    decode_header,
    encode_header,
)
from derphole.token.grant import MAX_EXPIRY, Capability, Grant, Mint, grant_secret
from derphole.token.hints import RegionHints
from derphole.token.text import (
    CLIENT_LIFE_S,
    SERVER_LIFE_S,
    ServerToken,
    parse_token,
    session_token,
    token_text,
)
from derphole.token.validity import READER_GRACE_S, check_client, check_server
from tunnel.proto.meeting.owner import ACCEPTED
from tunnel.units import WallTime

NOW = WallTime(1_800_000_000.0)
SEED = bytes(range(32))
SERVER = ServerToken(SEED, int(NOW) + 100 * 86400, RegionHints((1, 2)))
MINT = Mint.from_seed(SEED)
CLIENT = minted(SERVER, b"8 bytes!", int(NOW) + 86400, "laptop")
SESSION = session_token(MINT, Grant(bytes(8), int(NOW) + 60, Capability.SHARE), RegionHints(()))


# -- how long they live ----------------------------------------------------------------------------


def test_a_server_token_is_good_for_half_a_year_or_as_long_as_is_asked_for():
    assert server_expiry(NOW, None) == int(NOW + SERVER_LIFE_S) == int(NOW) + 180 * 86400
    assert server_expiry(NOW, WallTime(NOW + 5.5)) == int(NOW) + 5
    assert server_expiry(WallTime(MAX_EXPIRY - 10.0), None) == MAX_EXPIRY
    for wanted in (NOW, WallTime(NOW - 1)):
        with pytest.raises(ExpiryRefused, match="must be in the future"):
            server_expiry(NOW, wanted)


def test_a_client_token_is_good_for_a_quarter_and_never_beyond_its_server():
    late = ServerToken(SEED, int(NOW) + 10 * 86400, SERVER.hints)

    assert client_expiry(NOW, SERVER, None) == int(NOW + CLIENT_LIFE_S) == int(NOW) + 90 * 86400
    assert client_expiry(NOW, late, None) == late.expires_at
    assert client_expiry(NOW, late, WallTime(late.expires_at)) == late.expires_at
    with pytest.raises(ExpiryRefused, match=r"no later than that of the server token.*--renew"):
        client_expiry(NOW, late, WallTime(late.expires_at + 1.0))
    with pytest.raises(ExpiryRefused, match="must be in the future"):
        client_expiry(NOW, late, WallTime(NOW - 1))
    with pytest.raises(ServerExpired, match="--renew"):
        client_expiry(WallTime(late.expires_at), late, None)


def test_a_renewed_server_keeps_its_clients_and_where_they_meet():
    longer = renewed(NOW, SERVER, WallTime(NOW + 300 * DAY_S))

    assert longer == ServerToken(SEED, int(NOW) + 300 * 86400, SERVER.hints)
    assert server_id(longer) == server_id(SERVER)
    secret = Mint.from_seed(longer.seed).secret_of(CLIENT.grant)
    assert secret == CLIENT.secret
    assert renewed(WallTime(SERVER.expires_at + 1e6), SERVER, None).expires_at > SERVER.expires_at
    for wanted in (WallTime(SERVER.expires_at), WallTime(NOW + 1)):
        with pytest.raises(ExpiryRefused, match="later than the one that the token has"):
            renewed(NOW, SERVER, wanted)


def test_a_client_token_carries_what_leads_to_its_server_and_no_seed():
    text = token_text(CLIENT)

    assert parse_token(text) == CLIENT
    assert CLIENT.hints == SERVER.hints
    assert id_of_key(CLIENT.issuer_derp) == server_id(SERVER)
    assert (CLIENT.grant.capability, CLIENT.grant.name) == (Capability.TUNNEL, "laptop")
    secrets = (SEED, MINT.keys.noise.secret, MINT.keys.derp.secret, MINT.keys.minting)
    carried = b"".join((CLIENT.issuer_noise, CLIENT.issuer_derp, CLIENT.secret))
    assert not any(secret in carried for secret in secrets)
    assert "laptop" not in server_id(SERVER)


# -- roles -----------------------------------------------------------------------------------------


def test_each_command_takes_its_own_kind_of_token():
    assert check_client(CLIENT, NOW) is CLIENT
    assert check_server(SERVER) is SERVER
    with pytest.raises(TokenWrongRole, match=r"a server token, .*`derptun token client`"):
        check_client(SERVER, NOW)
    with pytest.raises(TokenWrongRole, match=r"a session token, .*`derphole open`"):
        check_client(SESSION, NOW)
    with pytest.raises(TokenWrongRole, match=r"a client token, .*`derptun open`"):
        check_server(CLIENT)
    with pytest.raises(TokenWrongRole, match="a session token"):
        check_server(SESSION)
    late = WallTime(CLIENT.grant.expires_at + READER_GRACE_S + 1)
    with pytest.raises(TokenExpired):
        check_client(CLIENT, late)


def test_what_a_client_has_neither_serves_nor_mints():
    """All that is in its token, taken for a seed or a minting key, gives other keys and secrets."""
    material = [CLIENT.issuer_noise, CLIENT.issuer_derp, CLIENT.secret * 2, CLIENT.secret.ljust(32)]
    other = Grant(b"another!", CLIENT.grant.expires_at, Capability.TUNNEL, "mine")
    longer = Grant(CLIENT.grant.id, CLIENT.grant.expires_at + 1, Capability.TUNNEL, "laptop")
    serve = Grant(b"another!", MAX_EXPIRY, Capability.SERVE)
    for secret in material:
        made = Mint.from_seed(secret)
        assert made.keys.noise.public != CLIENT.issuer_noise
        assert made.keys.derp.public != CLIENT.issuer_derp
        for grant in (other, longer, serve):
            true = MINT.secret_of(grant)
            assert true not in (
                made.secret_of(grant),
                grant_secret(secret, grant),
                grant_secret(CLIENT.secret, grant),
                CLIENT.secret,
            )


# -- who is let in ---------------------------------------------------------------------------------


@pytest.fixture
def gate():
    return TunnelGate(MINT.keys, SERVER.expires_at)


def header(grant):
    return encode_header(ClaimHeader(grant))


def test_a_client_is_named_by_its_grant_and_needs_its_secret(gate):
    named = gate.named(header(CLIENT.grant), b"e" * 32)

    assert named.grant == CLIENT.grant.id
    assert named.secret == CLIENT.secret
    assert named.instance is None
    assert gate.named(b"\xff" * 64, b"e" * 32) is None
    resuming = claim_header(CLIENT.grant, b"s" * 16)(b"e" * 32)
    assert gate.named(resuming, b"e" * 32) is None


def test_expiry_and_revocation_refuse(gate):
    claim = header(CLIENT.grant)
    end = CLIENT.grant.expires_at

    assert gate.verdict(claim, None, NOW) == ACCEPTED
    assert gate.verdict(claim, None, WallTime(end - 1)) == ACCEPTED
    assert gate.verdict(claim, None, WallTime(end)) == Refusal.EXPIRED
    gate.expires_at = int(NOW)
    assert gate.verdict(claim, None, NOW) == Refusal.EXPIRED
    gate.expires_at = SERVER.expires_at
    gate.revoked = frozenset((CLIENT.grant.id,))
    assert gate.verdict(claim, None, NOW) == Refusal.REVOKED
    share = Grant(bytes(8), end, Capability.SHARE)
    assert gate.verdict(header(share), None, NOW) == Refusal.WRONG_CAPABILITY


def test_who_asks_whether_somebody_serves_is_told_and_noted(gate):
    grant = Grant(b"question", MAX_EXPIRY, Capability.SERVE)

    assert gate.verdict(header(grant), None, NOW) == Refusal.SERVED
    assert gate.asked == [grant]
    for _ in range(1000):
        gate.verdict(header(grant), None, NOW)
    assert len(gate.asked) < 32
    assert decode_header(header(grant)).grant == grant


def test_who_takes_over_is_let_in_so_that_a_claim_that_is_repeated_ends_nothing(gate):
    grant = Grant(b"question", MAX_EXPIRY, Capability.SERVE, "replace")

    assert gate.verdict(header(grant), None, NOW) == ACCEPTED
    assert gate.asked == []
