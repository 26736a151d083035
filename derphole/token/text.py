"""Tokens: the texts that people copy from one machine to the other.

    token    prefix || base64url without padding of (body || checksum)
    checksum the first 4 bytes of BLAKE2b (prefix || body)

    dhp1_    session   noise key 32 | DERP key 32 | grant id 8 | expiry u32 LE | capability u8
    dtcli1_  client      | grant secret 16 | name length u8 | name | relay hints
    dtsrv1_  server    seed 32 | expiry u32 LE | relay hints

Lengths are exact, nothing may follow, and only the canonical base64 of a body is taken.  Relay
hints: `derphole.token.hints`.  Source: docs/protocol.md, section "Tokens and grants".  Pure; does
not know what uses a token.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from derphole import PROGRAM
from derphole.errors import (
    NotAToken,
    TokenCut,
    TokenDamaged,
    TokenForeign,
)
from derphole.token.grant import (
    GRANT_ID_SIZE,
    GRANT_SECRET_SIZE,
    MAX_EXPIRY,
    SEED_SIZE,
    Capability,
    Grant,
    Mint,
)
from derphole.token.hints import RelayHints, decode_hints, encode_hints
from tunnel.crypto.keys import DerpKey, NoiseKey
from tunnel.errors import DecodeError, Truncated
from tunnel.units import KEY_SIZE, Seconds
from tunnel.values import frozen_secret
from tunnel.wire.reader import Reader

# Fixed by the protocol.
SESSION_PREFIX = "dhp1_"
SERVER_PREFIX = "dtsrv1_"
CLIENT_PREFIX = "dtcli1_"
CHECKSUM_SIZE = 4
SESSION_LIFE_S: Seconds = 3600.0
MAX_SESSION_LIFE_S: Seconds = 7 * 86400.0
SERVER_LIFE_S: Seconds = 180 * 86400.0
CLIENT_LIFE_S: Seconds = 90 * 86400.0

# Chosen: the longest token has three own relays, each with two hosts of 253 characters.
MAX_TOKEN_CHARACTERS = 2048

GO_TOOL_PREFIXES = ("dts1_", "dtc1_", "DT1")
GO_SESSION_TOKEN_CHARACTERS = 200
BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
OTHER_VERSION = re.compile(r"(?:dhp|dtsrv|dtcli)[0-9]{1,4}_")


@frozen_secret
class _GrantToken:
    """What session and client tokens carry; raises `ValueError` for parts of a wrong size.

    Args:
        issuer_noise: the issuer's Noise static public key.
        issuer_derp: the issuer's DERP node public key.
        grant: id, expiry, capability and name.
        secret: the grant's secret, 16 bytes.
        hints: where to meet the issuer.
    """

    issuer_noise: NoiseKey
    issuer_derp: DerpKey
    grant: Grant
    secret: bytes
    hints: RelayHints

    def __post_init__(self) -> None:
        if len(self.issuer_noise) != KEY_SIZE or len(self.issuer_derp) != KEY_SIZE:
            raise ValueError(f"a public key has {KEY_SIZE} bytes")
        if len(self.secret) != GRANT_SECRET_SIZE:
            raise ValueError(f"a grant's secret has {GRANT_SECRET_SIZE} bytes")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of grant {self.grant.id.hex()}>"


class SessionToken(_GrantToken):
    """One conversation of a derphole command."""

    __slots__ = ()


class ClientToken(_GrantToken):
    """Access to a derptun server, for months."""

    __slots__ = ()


@frozen_secret
class ServerToken:
    """The seed of a derptun server: who has it *is* the server; `ValueError` for wrong sizes.

    Args:
        seed: 32 secret bytes.
        expires_at: Unix seconds, u32.
        hints: where clients meet the server.
    """

    seed: bytes
    expires_at: int
    hints: RelayHints

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_SIZE:
            raise ValueError(f"a seed has {SEED_SIZE} bytes")
        if not 0 <= self.expires_at <= MAX_EXPIRY:
            raise ValueError(f"an expiry of {self.expires_at} does not fit 32 bits")

    def __repr__(self) -> str:
        return f"<ServerToken until {self.expires_at}>"


Token = SessionToken | ServerToken | ClientToken

MADE_AND_USED_BY = {
    Capability.LISTEN: ("derphole listen", "derphole pipe"),
    Capability.SHARE: ("derphole share", "derphole open"),
    Capability.SSH: ("derphole ssh invite", "derphole ssh accept"),
    Capability.SEND: ("derphole send", "derphole receive"),
    Capability.RECEIVE: ("derphole receive", "derphole send"),
    Capability.TUNNEL: ("derptun token client", "derptun open"),
    Capability.SERVE: ("derptun token server", "derptun serve"),
}


def session_token(issuer: Mint, grant: Grant, hints: RelayHints) -> SessionToken:
    """Mint the session token of a grant."""
    noise, derp = NoiseKey(issuer.keys.noise.public), DerpKey(issuer.keys.derp.public)
    return SessionToken(noise, derp, grant, issuer.secret_of(grant), hints)


def client_token(issuer: Mint, grant: Grant, hints: RelayHints) -> ClientToken:
    """Mint the client token of a grant."""
    noise, derp = NoiseKey(issuer.keys.noise.public), DerpKey(issuer.keys.derp.public)
    return ClientToken(noise, derp, grant, issuer.secret_of(grant), hints)


def token_text(token: Token) -> str:
    """Write a token as the text that people copy."""
    match token:
        case ServerToken():
            head = token.seed + token.expires_at.to_bytes(4, "little")
            return _armour(SERVER_PREFIX, head + encode_hints(token.hints))
        case SessionToken():
            return _armour(SESSION_PREFIX, _encode_grant_token(token))
        case ClientToken():
            return _armour(CLIENT_PREFIX, _encode_grant_token(token))


def parse_token(text: str) -> Token:
    """Read a token; white space, also where a mail program broke the line, is dropped.

    Raises `TokenForeign` for tokens of the Go tool or of another version, `TokenCut` when the end
    is missing, `NotAToken` for text that begins otherwise, `TokenDamaged` for everything else that
    is not exactly a token.  What people paste around it: `derphole.token.pasted`.
    """
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise NotAToken(f"it has {len(text)} characters, more than any token")
    text = "".join(text.split())
    for prefix in (SESSION_PREFIX, SERVER_PREFIX, CLIENT_PREFIX):
        if text.startswith(prefix):
            return _parse_ours(prefix, text)
        if prefix.startswith(text):
            raise TokenCut(len(text))
    raise _not_ours(text)


def _armour(prefix: str, body: bytes) -> str:
    return prefix + _base64url(body + _checksum(prefix, body))


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _checksum(prefix: str, body: bytes) -> bytes:
    return blake2b(prefix.encode("ascii") + body, digest_size=CHECKSUM_SIZE).digest()


def _encode_grant_token(token: _GrantToken) -> bytes:
    grant = token.grant
    name = grant.name.encode("ascii")
    return b"".join(
        (
            token.issuer_noise,
            token.issuer_derp,
            grant.id,
            grant.expires_at.to_bytes(4, "little"),
            bytes([grant.capability]),
            token.secret,
            bytes([len(name)]),
            name,
            encode_hints(token.hints),
        )
    )


def _parse_ours(prefix: str, text: str) -> Token:
    """Check the armour of a token with one of our prefixes, then read its body."""
    armoured = text.removeprefix(prefix)
    if not BASE64URL.fullmatch(armoured):
        raise TokenDamaged("it has characters that a token cannot have")
    whole_groups = armoured[: len(armoured) - (len(armoured) % 4 == 1)]
    data = urlsafe_b64decode(whole_groups + "=" * (-len(whole_groups) % 4))
    body, checksum = data[:-CHECKSUM_SIZE], data[-CHECKSUM_SIZE:]
    if len(data) > CHECKSUM_SIZE and checksum == _checksum(prefix, body):
        if _base64url(data) != armoured:
            raise TokenDamaged("its last character is wrong")
        return _parse_body(prefix, body)
    wanted = _wanted_size(prefix, data)
    if wanted is None or len(data) < wanted:
        raise TokenCut(len(text), wanted and len(prefix) + -(-wanted * 4 // 3))
    if len(data) > wanted:
        raise TokenDamaged("something follows its end")
    raise TokenDamaged("its checksum is wrong")


def _wanted_size(prefix: str, data: bytes) -> int | None:
    """Return the size of body and checksum as the lengths inside say, None if they are missing."""
    reader = Reader(data)
    try:
        if prefix == SERVER_PREFIX:
            reader.view(SEED_SIZE + 4)
        else:
            reader.view(KEY_SIZE * 2 + GRANT_ID_SIZE + 5 + GRANT_SECRET_SIZE)
            reader.view(reader.uint(1))
        decode_hints(reader)
    except Truncated:
        return None
    except DecodeError:
        return len(data)
    return len(data) - reader.remaining + CHECKSUM_SIZE


def _parse_body(prefix: str, body: bytes) -> Token:
    """Read a body whose checksum is right: what does not fit was written by another version."""
    reader = Reader(body)
    try:
        if prefix == SERVER_PREFIX:
            seed, expires_at = reader.bytes(SEED_SIZE), reader.uint(4)
            token: Token = ServerToken(seed, expires_at, decode_hints(reader))
        else:
            kind = SessionToken if prefix == SESSION_PREFIX else ClientToken
            token = _read_grant_token(kind, reader)
        reader.finish()
    except (DecodeError, ValueError) as error:
        raise _other_version() from error
    return token


def _read_grant_token(
    kind: type[SessionToken] | type[ClientToken], reader: Reader
) -> SessionToken | ClientToken:
    """Read what session and client tokens carry; raises `DecodeError` or `ValueError`."""
    noise, derp = NoiseKey(reader.bytes(KEY_SIZE)), DerpKey(reader.bytes(KEY_SIZE))
    grant_id, expires_at = reader.bytes(GRANT_ID_SIZE), reader.uint(4)
    capability = Capability(reader.uint(1))
    secret = reader.bytes(GRANT_SECRET_SIZE)
    name = reader.bytes(reader.uint(1)).decode("ascii")
    grant = Grant(grant_id, expires_at, capability, name)
    return kind(noise, derp, grant, secret, decode_hints(reader))


def _not_ours(text: str) -> NotAToken | TokenForeign:
    is_plain = bool(BASE64URL.fullmatch(text))
    if text.startswith(GO_TOOL_PREFIXES) or (is_plain and len(text) == GO_SESSION_TOKEN_CHARACTERS):
        return TokenForeign(
            "the Go version of derphole or derptun, which speaks another protocol",
            "run this program on both machines and use the token it prints",
        )
    if OTHER_VERSION.match(text):
        return _other_version()
    return NotAToken(f"it does not begin with {SESSION_PREFIX}, {SERVER_PREFIX} or {CLIENT_PREFIX}")


def _other_version() -> TokenForeign:
    return TokenForeign(f"another version of this program (this one is {PROGRAM})")
