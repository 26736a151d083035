"""Tokens under any input: a value or a refusal, the same value back, and never too long."""

import string

from hypothesis import given
from hypothesis import strategies as st

from derphole.errors import TokenError
from derphole.token.grant import Capability, Grant
from derphole.token.hints import (
    HOST_ALPHABET,
    OwnRelay,
    OwnRelays,
    RegionHints,
    decode_hints,
    encode_hints,
    pack_host,
    unpack_host,
)
from derphole.token.text import ClientToken, ServerToken, SessionToken, parse_token, token_text
from tunnel.errors import DecodeError
from tunnel.wire.reader import Reader

KEYS = st.binary(min_size=32, max_size=32)
EXPIRIES = st.integers(0, 2**32 - 1)
NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=32)
PORTS = st.integers(1, 65535)
HOSTS = st.text(HOST_ALPHABET[1:], min_size=1, max_size=100)
PINS = st.none() | st.binary(min_size=16, max_size=16)
REGIONS = st.lists(PORTS, max_size=3, unique=True).map(lambda ids: RegionHints(tuple(ids)))
OWN = st.builds(OwnRelay, HOSTS, PORTS, st.integers(0, 65535), tls=st.just(True), pin=PINS) | (
    st.builds(OwnRelay, HOSTS, PORTS, st.integers(0, 65535), tls=st.just(False))
)
SEVERAL = st.lists(OWN, min_size=2, max_size=3, unique=True).map(
    lambda relays: OwnRelays(tuple(relays))
)
HINTS = REGIONS | OWN | SEVERAL
GRANTS = st.builds(
    Grant,
    st.binary(min_size=8, max_size=8),
    EXPIRIES,
    st.sampled_from(Capability),
    NAMES,
)


def grant_tokens(hints):
    return st.sampled_from((SessionToken, ClientToken)).flatmap(
        lambda kind: st.builds(kind, KEYS, KEYS, GRANTS, st.binary(min_size=16, max_size=16), hints)
    )


TOKENS = grant_tokens(HINTS) | st.builds(ServerToken, KEYS, EXPIRIES, HINTS)
TOKEN_LETTERS = string.ascii_letters + string.digits + "-_"


@given(TOKENS)
def test_reading_gives_back_what_was_written(token):
    again = parse_token(token_text(token))

    assert again == token
    assert type(again) is type(token)


@given(grant_tokens(REGIONS))
def test_a_token_with_regions_stays_under_200_characters(token):
    assert len(token_text(token)) < 200


@given(grant_tokens(OWN))
def test_a_token_with_an_own_relay_stays_under_320_characters(token):
    assert len(token_text(token)) < 320


@given(st.text() | st.text(TOKEN_LETTERS, max_size=400))
def test_any_text_is_a_token_or_refused(text):
    for prefix in ("", "dhp1_", "dtsrv1_", "dtcli1_"):
        try:
            parse_token(prefix + text)
        except TokenError:
            continue


@given(TOKENS, st.data())
def test_a_changed_character_is_always_refused(token, data):
    text = token_text(token)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from([c for c in TOKEN_LETTERS if c != text[position]]))

    try:
        parse_token(text[:position] + letter + text[position + 1 :])
    except TokenError:
        return
    raise AssertionError("a changed token was taken")


@given(TOKENS, st.data())
def test_a_cut_token_is_always_refused(token, data):
    text = token_text(token)

    try:
        parse_token(text[: data.draw(st.integers(0, len(text) - 1))])
    except TokenError:
        return
    raise AssertionError("a cut token was taken")


@given(st.binary(max_size=300))
def test_any_bytes_are_hints_or_a_decode_error(data):
    reader = Reader(data)
    try:
        hints = decode_hints(reader)
    except DecodeError:
        return
    assert encode_hints(hints) == data[: len(data) - reader.remaining]


@given(HOSTS)
def test_a_packed_host_name_unpacks_to_itself(host):
    packed = pack_host(host)

    assert unpack_host(packed, len(host)) == host
    assert len(packed) <= 68
