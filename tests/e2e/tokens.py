"""Tokens that no process issued: of an issuer that exists in these tests alone."""

import time

from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import OwnRelay
from derphole.token.text import session_token, token_text

ISSUER = Mint.from_seed(bytes(range(32)))
GRANT_ID = b"\x07" * 8


def grant_for(capability: Capability, expires_in_s: float = 3600.0) -> Grant:
    return Grant(GRANT_ID, int(time.time() + expires_in_s), capability)


def session_text(
    capability: Capability,
    port: int,
    *,
    expires_in_s: float = 3600.0,
    tls: bool = False,
    pin: bytes | None = None,
) -> str:
    """The text of a session token whose issuer waits, allegedly, at a relay on this machine."""
    hints = OwnRelay("127.0.0.1", port, 0, tls, pin)
    return token_text(session_token(ISSUER, grant_for(capability, expires_in_s), hints))
