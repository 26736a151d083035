"""Whether a token may be used here and now, as its reader judges: role, capability, age.

The issuer decides by its own clock (`derphole.token.admission`, and `derphole.derptun.gate` for
tunnels); this spares people a useless run.
Pure.
"""

from derphole.errors import (
    TokenExpired,
    TokenWrongCapability,
    TokenWrongRole,
)
from derphole.token.code import Code
from derphole.token.grant import (
    Capability,
)
from derphole.token.text import (
    MADE_AND_USED_BY,
    ClientToken,
    ServerToken,
    SessionToken,
    Token,
)
from tunnel.units import Seconds, WallTime

# Chosen: the issuer's clock decides; a reader whose clock is a little fast must not refuse.
READER_GRACE_S: Seconds = 600.0
MINT_ONE = "make a client token from it with `derptun token client`; it is for `{used_by}`"


def check_session(token: Token, capability: Capability, now: WallTime) -> SessionToken:
    """Return `token` if it is a session token that allows `capability` and is not long expired.

    Raises `TokenWrongRole`, `TokenWrongCapability` or `TokenExpired`, in this order.
    """
    match token:
        case ServerToken():
            raise TokenWrongRole("a server token", "a session token", "derptun serve")
        case ClientToken():
            raise TokenWrongRole("a client token", "a session token", "derptun open")
        case SessionToken():
            pass
    if token.grant.capability is not capability:
        raise TokenWrongCapability(*MADE_AND_USED_BY[token.grant.capability])
    check_not_expired(token.grant.expires_at, now)
    return token


def check_token_or_code(
    token: Token | Code, capability: Capability, now: WallTime
) -> SessionToken | Code:
    """Return what claims a session: a code as it is, a token as `check_session` has it."""
    return token if isinstance(token, Code) else check_session(token, capability, now)


def check_client(token: Token, now: WallTime) -> ClientToken:
    """Return `token` if it is a client token that is not long expired.

    Raises `TokenWrongRole` or `TokenExpired`.
    """
    match token:
        case ServerToken():
            raise TokenWrongRole("a server token", "a client token", "derptun serve", MINT_ONE)
        case SessionToken():
            raise TokenWrongRole("a session token", "a client token", _user_of(token))
        case ClientToken():
            pass
    check_not_expired(token.grant.expires_at, now)
    return token


def check_server(token: Token) -> ServerToken:
    """Return `token` if it is a server token; raises `TokenWrongRole`."""
    match token:
        case ClientToken():
            raise TokenWrongRole("a client token", "a server token", "derptun open")
        case SessionToken():
            raise TokenWrongRole("a session token", "a server token", _user_of(token))
        case ServerToken():
            return token


def _user_of(token: SessionToken) -> str:
    return MADE_AND_USED_BY[token.grant.capability][1]


def check_not_expired(expires_at: int, now: WallTime) -> None:
    """Raise `TokenExpired` when the expiry is more than ten minutes ago by the reader's clock."""
    if now - expires_at > READER_GRACE_S:
        raise TokenExpired(expires_at, now)
