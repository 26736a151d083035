"""What people paste where a token belongs: the token is found, or the text gets its sentence."""

import textwrap

import pytest

from derphole.errors import (
    NotAToken,
    SeveralTokens,
    TokenCut,
    TokenDamaged,
    TokenError,
    TokenForeign,
)
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import OwnRelay, RegionHints
from derphole.token.pasted import MAX_PASTED_CHARACTERS, has_token, pasted_token
from derphole.token.text import ServerToken, client_token, session_token, token_text

ISSUER = Mint.from_seed(bytes(range(32)))
GRANT = Grant(bytes(8), 0x6A000000, Capability.LISTEN)
SESSION = session_token(ISSUER, GRANT, RegionHints((10, 302)))
OTHER = session_token(
    ISSUER, Grant(b"another!", 0x6A000000, Capability.LISTEN), RegionHints((10, 302))
)
CLIENT = client_token(
    ISSUER,
    Grant(bytes(8), 0x6A000000, Capability.TUNNEL, "laptop"),
    OwnRelay("r" * 99, 8443, 3478, tls=True, pin=bytes(16)),
)
SERVER = ServerToken(bytes(range(32)), 0x6A000000, RegionHints((1,)))
TEXT, OTHER_TEXT = token_text(SESSION), token_text(OTHER)
DAMAGED = TEXT[:30] + ("B" if TEXT[30] != "B" else "C") + TEXT[31:]

AROUND = [
    "{}",
    "  {}\n\n",
    '"{}"',
    "'{}'",
    "`{}`",
    "\u201c{}\u201d",
    "\u00ab{}\u00bb",
    "<{}>",
    "({})",
    "{}.",
    "{},",
    "\ufeff{}\u200b",
    "token: {}",
    "Token:{}",
    "TOKEN={}",
    "export DERPHOLE_TOKEN='{}'",
    "derphole pipe {}",
    "$ derphole pipe {} < original.bin",
    "tar -cpf - folder | npx -y derphole@latest pipe --token={} --verbose",
    "derphole open {} 127.0.0.1:8080",
    "On the other machine, run:\n  derphole pipe {} < FILE\n(good for 1 hour)",
    '{{"event": "token", "time": 1795384754.288, "token": "{}"}}',
    "> {}",
    "the token is {} and it ends soon",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("token", [SESSION, CLIENT, SERVER], ids=["session", "client", "server"])
def test_a_token_is_found_in_what_stands_around_it(around, token):
    assert pasted_token(around.format(token_text(token))) == token


@pytest.mark.parametrize("width", [20, 38, 76, 80, 100, 120])
@pytest.mark.parametrize("around", ["{}", "token: {}", "<{}>", '"{}"', "derphole pipe {} < file"])
@pytest.mark.parametrize("token", [SESSION, CLIENT, SERVER], ids=["session", "client", "server"])
def test_a_token_that_was_broken_into_lines_is_put_together(around, width, token):
    text = token_text(token)
    for end in ("\n", "\r\n", "\n    ", "\n> "):
        broken = end.join(text[at : at + width] for at in range(0, len(text), width))
        assert pasted_token(around.format(broken)) == token


def test_a_line_may_break_inside_the_first_letters():
    assert pasted_token(f"{TEXT[:3]}\n{TEXT[3:]}") == SESSION
    assert pasted_token(" ".join(TEXT)) == SESSION


def test_a_capital_that_a_telephone_put_in_front_does_not_matter():
    assert pasted_token("D" + TEXT[1:]) == SESSION


def test_the_same_token_twice_is_one():
    assert pasted_token(f"{TEXT}\n{TEXT}\n") == SESSION
    assert pasted_token(f"{TEXT}\nderphole pipe {TEXT}") == SESSION


def test_one_good_token_beside_a_cut_one_is_the_token():
    assert pasted_token(f"{TEXT[:40]}...\n{TEXT}") == SESSION
    assert pasted_token(f"{TEXT} {DAMAGED}") == SESSION


@pytest.mark.parametrize("between", ["\n", " ", ",", "\nderphole pipe "])
def test_two_tokens_are_told(between):
    with pytest.raises(SeveralTokens, match="there are 2 tokens in what was given; give one"):
        pasted_token(f"{TEXT}{between}{OTHER_TEXT}")


GO_TOKEN = "Ab3_" * 50
ELSE = [
    ("", NotAToken, "nothing is there"),
    (" ' ' ", NotAToken, "nothing is there"),
    ("TOKEN", NotAToken, "TOKEN stands for the text that the other side printed.*in its place"),
    ("<token>", NotAToken, "TOKEN stands for"),
    ("$TOKEN", NotAToken, "the name of a variable.*double quotes"),
    ("${DERPHOLE_TOKEN}", NotAToken, "the name of a variable"),
    ("https://relay.example", NotAToken, "it is a URL.*goes to --relay there"),
    ("relay ready: http://192.0.2.1:3340 (no STUN)", NotAToken, "it is a URL"),
    ("127.0.0.1:3340", NotAToken, "it is an address"),
    ("8080", NotAToken, "it is a number.*in quotes"),
    ("hello", NotAToken, "it does not begin with dhp1_, dtsrv1_ or dtcli1_"),
    ("7-purple-sausages", NotAToken, "it does not begin with"),
    ("derphole pipe", NotAToken, "no token is in it"),
    ("derphole listen --relay x", NotAToken, "no token is in it"),
    ("x" * (MAX_PASTED_CHARACTERS + 1), NotAToken, "more than any token"),
    (TEXT[5:], TokenDamaged, "its beginning is missing"),
    (TEXT[:-2], TokenCut, f"cut short .{len(TEXT) - 2} of {len(TEXT)} characters"),
    (f"token: {TEXT[:-2]}", TokenCut, f"{len(TEXT) - 2} of {len(TEXT)} characters"),
    (f"derphole pipe {TEXT[:-2]} < in", TokenCut, f"{len(TEXT) - 2} of {len(TEXT)} characters"),
    (f"{TEXT[:9]}... please use this", TokenCut, "cut short .9 characters"),
    (TEXT[:3], TokenCut, "cut short .3 characters"),
    (DAMAGED, TokenDamaged, "its checksum is wrong"),
    (f"'{DAMAGED}'", TokenDamaged, "its checksum is wrong"),
    ("\n".join(textwrap.wrap(DAMAGED, 70)), TokenDamaged, "its checksum is wrong"),
    (f"{TEXT[:50]}%{TEXT[51:]}", TokenDamaged, "characters that a token cannot have"),
    (f"{TEXT}AAAA", TokenDamaged, "something follows its end"),
    (f"derphole pipe {GO_TOKEN}", TokenForeign, "Go version"),
    ("npx -y derphole@latest receive dts1_AAAABBBBCCCC", TokenForeign, "Go version"),
    ("DT1ABCDEFGHIJ", TokenForeign, "Go version"),
    ("token: dhp2_AAAABBBB", TokenForeign, "another version"),
]


@pytest.mark.parametrize(("text", "kind", "sentence"), ELSE)
def test_every_other_text_has_a_sentence_of_its_own(text, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        pasted_token(text)
    assert type(caught.value) is kind


@pytest.mark.parametrize(("text", "kind", "sentence"), ELSE)
def test_no_sentence_repeats_what_was_pasted(text, kind, sentence):
    with pytest.raises(TokenError) as caught:
        pasted_token(text)
    assert TEXT[9:30] not in str(caught.value)


def test_the_longest_text_is_read_in_no_time():
    for unit in ("dhp1_ ", "dhp1_A ", "A ", "dhp1_", "dhp1_" + "A" * 900 + " "):
        text = (unit * MAX_PASTED_CHARACTERS)[:MAX_PASTED_CHARACTERS]
        with pytest.raises(TokenError):
            pasted_token(text)


def test_a_token_is_seen_in_any_text():
    assert has_token(f"relay {TEXT}")
    assert not has_token("relay http://127.0.0.1:3340")
