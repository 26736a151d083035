"""Tokens: their bytes, their sizes, and one sentence for each way a token can be wrong."""

import base64
import re
from hashlib import blake2b

import pytest

from derphole.errors import (
    NotAToken,
    SeveralTokens,
    TokenCut,
    TokenDamaged,
    TokenError,
    TokenExpired,
    TokenForeign,
    TokenWrongCapability,
    TokenWrongRole,
)
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import (
    OwnRelay,
    OwnRelays,
    RegionHints,
    decode_hints,
    encode_hints,
    own_relays,
)
from derphole.token.text import ServerToken, client_token, parse_token, session_token, token_text
from derphole.token.validity import check_session
from tunnel.errors import DecodeError
from tunnel.wire.reader import Reader

ISSUER = Mint.from_seed(bytes(range(32)))
EXPIRY = 0x6A000000
GRANT = Grant(bytes.fromhex("0102030405060708"), EXPIRY, Capability.LISTEN)
TUNNEL_GRANT = Grant(bytes.fromhex("0102030405060708"), EXPIRY, Capability.TUNNEL, "laptop")
REGIONS = RegionHints((10, 302))
OWN = OwnRelay("relay.example:x-9", 8443, 3478, tls=True, pin=bytes(range(16)))

SESSION = session_token(ISSUER, GRANT, REGIONS)
CLIENT = client_token(ISSUER, TUNNEL_GRANT, OWN)
SERVER = ServerToken(bytes(range(32)), EXPIRY, REGIONS)
TEXTS = {"session": token_text(SESSION), "client": token_text(CLIENT), "server": token_text(SERVER)}


def armour(prefix, body):
    """The armour of docs/protocol.md, written out once more."""
    data = body + blake2b(prefix.encode() + body, digest_size=4).digest()
    return prefix + base64.urlsafe_b64encode(data).decode().rstrip("=")


def keys_and(grant):
    secret = ISSUER.secret_of(grant)
    capability = bytes([grant.capability])
    head = ISSUER.keys.noise.public + ISSUER.keys.derp.public + grant.id
    return head + bytes.fromhex("0000006a") + capability + secret


GOLDEN = [
    (SESSION, armour("dhp1_", keys_and(GRANT) + b"\0" + bytes.fromhex("02 0a00 2e01"))),
    (
        CLIENT,
        armour(
            "dtcli1_",
            keys_and(TUNNEL_GRANT)
            + b"\x06laptop"
            # flags, port 8443, STUN port 3478, 17 characters in six groups of two bytes, pin
            + bytes.fromhex("83 fb20 960d 11")
            # rel ay. exa mpl e:x -9 and a pad, base 40 with a=1, 0=27, .=37, -=38, :=39
            + b"".join(
                (first * 1600 + second * 40 + third).to_bytes(2, "little")
                for first, second, third in (
                    (18, 5, 12),
                    (1, 25, 37),
                    (5, 24, 1),
                    (13, 16, 12),
                    (5, 39, 24),
                    (38, 36, 0),
                )
            )
            + bytes(range(16)),
        ),
    ),
    (SERVER, armour("dtsrv1_", bytes(range(32)) + bytes.fromhex("0000006a 02 0a00 2e01"))),
]


@pytest.mark.parametrize(("token", "text"), GOLDEN, ids=["session", "client", "server"])
def test_a_token_is_written_and_read_as_documented(token, text):
    assert token_text(token) == text
    assert parse_token(text) == token


def test_a_token_of_no_regions_is_possible():
    token = session_token(ISSUER, GRANT, RegionHints())

    assert parse_token(token_text(token)) == token


def test_white_space_and_broken_lines_are_dropped():
    text = TEXTS["session"]

    assert parse_token(f"  {text[:50]}\r\n{text[50:]}\n") == SESSION


@pytest.mark.parametrize("kind", ["session", "client"])
def test_session_and_client_tokens_are_one_word(kind):
    assert re.fullmatch(r"[A-Za-z0-9_-]{20,}", TEXTS[kind])


@pytest.mark.parametrize("mint", [session_token, client_token])
def test_the_largest_tokens_stay_under_their_bounds(mint):
    grant = Grant(bytes(8), EXPIRY, Capability.TUNNEL, "n" * 32)
    regions = token_text(mint(ISSUER, grant, RegionHints((65535, 65534, 65533))))
    own = token_text(
        mint(ISSUER, grant, OwnRelay("h" * 100, 65535, 65535, tls=True, pin=bytes(16)))
    )

    relays = tuple(
        OwnRelay(letter * 100, 65535, 65535, tls=True, pin=bytes(16)) for letter in "abc"
    )
    three = token_text(mint(ISSUER, grant, OwnRelays(relays)))

    assert len(regions) < 200
    assert len(own) < 320
    assert len(three) < 660


@pytest.mark.parametrize("kind", TEXTS)
def test_every_flipped_bit_is_refused(kind):
    text = TEXTS[kind].encode()
    for position in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[position] ^= 1 << bit
            with pytest.raises(TokenError):
                parse_token(flipped.decode("latin-1"))


@pytest.mark.parametrize("kind", TEXTS)
def test_every_changed_character_of_the_armour_is_refused(kind):
    text = TEXTS[kind]
    start = text.index("_") + 1
    for position in range(start, len(text)):
        for letter in "AQgw_-9z":
            changed = text[:position] + letter + text[position + 1 :]
            if changed != text:
                with pytest.raises(TokenDamaged):
                    parse_token(changed)


@pytest.mark.parametrize("kind", TEXTS)
def test_every_cut_token_is_told_as_cut(kind):
    text = TEXTS[kind]
    for length in range(len(text)):
        with pytest.raises(TokenCut, match="cut short"):
            parse_token(text[:length])


def test_a_cut_inside_the_checksum_tells_how_much_is_missing():
    text = TEXTS["session"]

    with pytest.raises(TokenCut, match=f"{len(text) - 1} of {len(text)} characters"):
        parse_token(text[:-1])


@pytest.mark.parametrize("more", ["A", "AA", "AAAA", "_", "=", ".", "AAAAAAAAAAAA"])
def test_nothing_is_tolerated_behind_the_end(more):
    with pytest.raises(TokenDamaged):
        parse_token(TEXTS["session"] + more)


def test_a_body_with_a_tail_and_a_good_checksum_belongs_to_another_version():
    body = keys_and(GRANT) + b"\0" + bytes.fromhex("02 0a00 2e01")

    with pytest.raises(TokenForeign, match="another version"):
        parse_token(armour("dhp1_", body + b"\0"))


@pytest.mark.parametrize(
    "tail",
    ["00 04", "00 40", "00 84bb01000001", "00 82bb010000010104", "01 80 00", "21 00", "00 01 0000"],
    ids=[
        "four regions",
        "unknown hints",
        "unknown flag",
        "pin without TLS",
        "name",
        "long",
        "id 0",
    ],
)
def test_values_nobody_writes_are_refused_even_with_a_good_checksum(tail):
    with pytest.raises(TokenForeign):
        parse_token(armour("dhp1_", keys_and(GRANT) + bytes.fromhex(tail)))


@pytest.mark.parametrize("text", ["dts1_" + "A" * 585, "dtc1_AAAA", "DT1ABCDEF", "A1b_" * 50])
def test_tokens_of_the_go_tool_are_told_so(text):
    with pytest.raises(TokenForeign, match="Go version"):
        parse_token(text)


@pytest.mark.parametrize("text", ["dhp2_AAAA", "dtcli3_AAAA", "dtsrv12_AAAA"])
def test_tokens_of_another_version_are_told_so(text):
    with pytest.raises(TokenForeign, match="another version"):
        parse_token(text)


@pytest.mark.parametrize("text", ["hello world", "7-purple-sausages", "x" * 199, "http://x", "é"])
def test_other_text_is_no_token(text):
    with pytest.raises(NotAToken, match="does not begin with"):
        parse_token(text)


def test_endless_text_is_refused_by_its_length():
    with pytest.raises(NotAToken, match="more than any token"):
        parse_token("dhp1_" + "A" * 5000)


def test_a_good_session_token_passes():
    assert check_session(SESSION, Capability.LISTEN, EXPIRY) is SESSION


@pytest.mark.parametrize(
    ("token", "sentence"),
    [(SERVER, "this is a server token.*derptun serve"), (CLIENT, "a client token.*derptun open")],
)
def test_the_wrong_role_is_refused(token, sentence):
    with pytest.raises(TokenWrongRole, match=sentence):
        check_session(token, Capability.LISTEN, 0)


def test_the_wrong_capability_is_refused_with_the_right_commands():
    with pytest.raises(TokenWrongCapability, match="`derphole listen`.*`derphole pipe`"):
        check_session(SESSION, Capability.SHARE, 0)


def test_the_reader_refuses_only_what_expired_over_ten_minutes_ago():
    assert check_session(SESSION, Capability.LISTEN, EXPIRY + 600)

    with pytest.raises(TokenExpired, match="2026-05-10T03:48:16Z.*clock says 2026-05-10T03:58:17Z"):
        check_session(SESSION, Capability.LISTEN, EXPIRY + 601)


def test_a_refusal_by_the_issuer_shows_both_clocks():
    error = TokenExpired(0, 60, 3600)

    assert "1970-01-01T00:01:00Z" in str(error)
    assert "the issuer's 1970-01-01T01:00:00Z" in str(error)


def test_a_clock_that_says_nonsense_is_shown_all_the_same():
    assert "9999-12-31" in str(TokenExpired(None, 0, 1e30))


def test_the_kinds_of_refusal_have_codes_of_their_own():
    kinds = (
        NotAToken,
        SeveralTokens,
        TokenDamaged,
        TokenCut,
        TokenForeign,
        TokenExpired,
        TokenWrongRole,
        TokenWrongCapability,
    )

    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.exit_code for kind in kinds} == {1}


@pytest.mark.parametrize("token", [SESSION, CLIENT, SERVER])
def test_no_secret_shows_in_repr(token):
    secret = token.seed if isinstance(token, ServerToken) else token.secret

    assert secret.hex() not in repr(token)
    assert repr(secret) not in repr(token)
    assert token_text(token) not in repr(token)


def test_parts_of_a_wrong_size_are_refused():
    with pytest.raises(ValueError):
        ServerToken(bytes(31), 0, REGIONS)
    with pytest.raises(ValueError):
        ServerToken(bytes(32), 1 << 32, REGIONS)
    with pytest.raises(ValueError):
        type(SESSION)(SESSION.issuer_noise, SESSION.issuer_derp, GRANT, bytes(15), REGIONS)
    with pytest.raises(ValueError):
        type(SESSION)(bytes(31), SESSION.issuer_derp, GRANT, bytes(16), REGIONS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegionHints((1, 2, 3, 4)),
        lambda: RegionHints((0,)),
        lambda: RegionHints((65536,)),
        lambda: RegionHints((7, 7)),
        lambda: OwnRelay("", 443),
        lambda: OwnRelay("h" * 254, 443),
        lambda: OwnRelay("blank inside", 443),
        lambda: OwnRelay("host", 443, other="ü"),
        lambda: OwnRelay("zero\0", 443),
        lambda: OwnRelay("host", 0),
        lambda: OwnRelay("host", 443, 65536),
        lambda: OwnRelay("host", 443, pin=bytes(32)),
        lambda: OwnRelay("host", 443, tls=False, pin=bytes(16)),
        lambda: OwnRelays(()),
        lambda: OwnRelays((OwnRelay("one", 443),)),
        lambda: OwnRelays((OwnRelay("one", 443), OwnRelay("One", 443))),
        lambda: OwnRelays(tuple(OwnRelay("host", port) for port in (1, 2, 3, 4))),
    ],
)
def test_hints_that_no_token_can_carry_are_refused(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    ("hints", "size"),
    [
        (OwnRelay("relay.example", 443, other="192.0.2.1"), 6 + 10 + 1 + 6),
        (OwnRelay("192.0.2.1", 443, pin=bytes(16), other="2001:db8::1"), 6 + 6 + 1 + 8 + 16),
        (OwnRelay("my_relay", 443), 6 + 8),
        (OwnRelay("fe80::1%Eth0", 3340, tls=False), 6 + 12),
        (OwnRelay("my_relay", 443, other="192.0.2.1"), 6 + 8 + 1 + 9),
    ],
)
def test_two_hosts_and_hosts_with_other_letters_are_carried(hints, size):
    encoded = encode_hints(hints)

    assert len(encoded) == size
    assert decode_hints(Reader(encoded)) == hints


@pytest.mark.parametrize(
    "data",
    [
        bytes([0x84]) + bytes(4) + b"\x05relay",  # plain without need, and no port
        bytes([0x84]) + b"\x50\0\0\0" + b"\x05relay",
        bytes([0x84]) + b"\x50\0\0\0" + b"\x08My_Relay",
        bytes([0x8C]) + b"\x50\0\0\0" + b"\x08my_relay\0",
        bytes([0x84]) + b"\x50\0\0\0" + b"\x02\xff_",
        bytes([0x90]) + b"\x50\0\0\0" + b"\x05relay",
    ],
)
def test_hints_in_another_form_than_ours_are_refused(data):
    with pytest.raises(DecodeError):
        decode_hints(Reader(data))


def test_a_host_name_is_kept_in_lower_case():
    assert OwnRelay("Relay.Example", 443) == OwnRelay("relay.example", 443)


@pytest.mark.parametrize("count", [2, 3])
def test_several_relays_of_ones_own_come_back_in_order(count):
    relays = (OWN, OwnRelay("192.0.2.1", 443), OwnRelay("my_relay", 3340, tls=False))[:count]
    hints = OwnRelays(relays)

    data = encode_hints(hints)
    reader = Reader(data)

    assert data[0] == 0x40 + count
    assert decode_hints(reader) == hints
    reader.finish()
    assert own_relays(hints) == relays
    assert own_relays(OWN) == (OWN,)
    assert own_relays(REGIONS) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"\x40",
        b"\x41" + encode_hints(OWN),
        b"\x44" + encode_hints(OWN) * 4,
        b"\x42" + encode_hints(OWN) * 2,
        b"\x42" + encode_hints(OWN) + encode_hints(REGIONS),
        b"\x42" + encode_hints(OWN),
    ],
)
def test_relays_that_no_token_carries_together_are_refused(data):
    with pytest.raises(DecodeError):
        decode_hints(Reader(data))
