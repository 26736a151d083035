# Invariant: a text is a token that is written as that text, or a TokenError fit for a terminal.
from collections.abc import Iterator
from hashlib import blake2b

from fuzzing import Feed

from derphole.errors import TokenError
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import OwnRelay, RegionHints
from derphole.token.text import (
    CLIENT_PREFIX,
    SERVER_PREFIX,
    SESSION_PREFIX,
    ServerToken,
    client_token,
    parse_token,
    session_token,
    token_text,
)

PREFIXES = (SESSION_PREFIX, SERVER_PREFIX, CLIENT_PREFIX)
WORDS = (*(prefix.encode() for prefix in PREFIXES), b"dts1_", b"dhp2_", b"\n", b"=")


def run(data: bytes) -> None:
    feed = Feed(data)
    choice = feed.uint(1) % 4
    if choice < len(PREFIXES):  # a body of any kind, with a checksum that is right
        text = armoured(PREFIXES[choice], feed.rest()[:800])
    else:
        text = feed.rest().decode("utf-8", "surrogateescape")
    try:
        token = parse_token(text)
    except TokenError as error:
        shown = f"{error.sentence}{error}"
        assert not set(shown) & set("\x1b\0\r\x7f\x9b")
        assert len(text) < 40 or text not in shown
        return
    assert token_text(token) == "".join(text.split())
    assert repr(token).isascii()


def armoured(prefix: str, body: bytes) -> str:
    from base64 import urlsafe_b64encode

    checksum = blake2b(prefix.encode() + body, digest_size=4).digest()
    return prefix + urlsafe_b64encode(body + checksum).rstrip(b"=").decode()


def seeds() -> Iterator[bytes]:
    issuer = Mint.from_seed(bytes(range(32)))
    grant = Grant(b"\7" * 8, 1_900_000_000, Capability.LISTEN, "recorded")
    own = OwnRelay("relay.example", 8443, 3478, tls=True, pin=bytes(16))
    texts = [
        token_text(session_token(issuer, grant, RegionHints((1, 302)))),
        token_text(session_token(issuer, grant, own)),
        token_text(client_token(issuer, grant, RegionHints())),
        token_text(ServerToken(bytes(range(32)), 1_900_000_000, RegionHints((5,)))),
        "dts1_" + "Ab3-" * 40,
    ]
    for text in texts:
        yield b"\3" + text.encode()
    for choice, text in zip((0, 0, 2, 1), texts, strict=False):
        yield bytes((choice,)) + body_of(text)


def body_of(text: str) -> bytes:
    from base64 import urlsafe_b64decode

    armour = text.partition("_")[2]
    return urlsafe_b64decode(armour + "=" * (-len(armour) % 4))[:-4]
