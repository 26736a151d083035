"""Minting: how long tokens of a tunnel may live, and how they are made.

    server token   180 days, or as long as is asked for
    client token   90 days, but never beyond its server; what was asked for beyond it is refused

Pure; seeds, ids and the present are arguments.  Source: design, section 4.
"""

from derphole.errors import ExpiryRefused, ServerExpired, utc_text
from derphole.token.grant import MAX_EXPIRY, Capability, Grant, Mint
from derphole.token.text import CLIENT_LIFE_S, SERVER_LIFE_S, ClientToken, ServerToken, client_token
from tunnel.crypto.keys import DerpKey
from tunnel.units import Seconds, WallTime
from tunnel.values import replace

DAY_S: Seconds = 86400.0


def server_expiry(now: WallTime, wanted: WallTime | None) -> int:
    """Return when a server token that is made now ends; raises `ExpiryRefused`.

    Args:
        now: the present.
        wanted: what was asked for; None for the usual life.
    """
    if wanted is None:
        return min(int(now + SERVER_LIFE_S), MAX_EXPIRY)
    _check_future(now, wanted)
    return int(wanted)


def client_expiry(now: WallTime, server: ServerToken, wanted: WallTime | None) -> int:
    """Return when a client token of a server ends; raises `ExpiryRefused`, `ServerExpired`."""
    if server.expires_at <= now:
        raise ServerExpired(server.expires_at)
    if wanted is None:
        return min(int(now + CLIENT_LIFE_S), server.expires_at)
    _check_future(now, wanted)
    if int(wanted) > server.expires_at:
        raise ExpiryRefused(
            f"no later than that of the server token, {utc_text(server.expires_at)}",
            "choose an earlier time, or first give the server token a later one with "
            "`derptun token server --renew FILE`",
        )
    return int(wanted)


def renewed(now: WallTime, server: ServerToken, wanted: WallTime | None) -> ServerToken:
    """Return a server token with a later end: its clients, and where they meet, stay.

    Raises `ExpiryRefused`.
    """
    expires_at = server_expiry(now, wanted)
    if expires_at <= server.expires_at:
        raise ExpiryRefused(
            f"later than the one that the token has, {utc_text(server.expires_at)}",
            "choose a later time with --expires or --days",
        )
    return replace(server, expires_at=expires_at)


def minted(server: ServerToken, grant_id: bytes, expires_at: int, name: str) -> ClientToken:
    """Return a client token of a server.

    Args:
        server: the server token.
        grant_id: 8 random bytes.
        expires_at: Unix seconds.
        name: at most 32 printable characters, or "".
    """
    grant = Grant(grant_id, expires_at, Capability.TUNNEL, name)
    return client_token(Mint.from_seed(server.seed), grant, server.hints)


def server_id(server: ServerToken) -> str:
    """Return what a server is known by, also in what its clients have: no secret."""
    return id_of_key(DerpKey(Mint.from_seed(server.seed).keys.derp.public))


def id_of_key(key: DerpKey) -> str:
    """Return what the server with this DERP key is known by."""
    return key.hex()[:16]


def _check_future(now: WallTime, wanted: WallTime) -> None:
    if wanted <= now:
        step = f"choose a later time with --expires or --days (it is {utc_text(now)} now)"
        raise ExpiryRefused("in the future", step)
