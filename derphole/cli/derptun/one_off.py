"""A tunnel without a token file: both tokens are made for one run, and the client's is printed."""

import os
from collections.abc import Callable

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import show_picture
from derphole.cli.frame.output import Output
from derphole.config import NetworkOptions
from derphole.derptun.minting import client_expiry, minted, server_expiry
from derphole.errors import UsageError, utc_text
from derphole.status import Instruction, TokenIssued
from derphole.token.grant import GRANT_ID_SIZE, SEED_SIZE, Mint
from derphole.token.hints import RegionHints
from derphole.token.text import ClientToken, ServerToken, token_text
from tunnel.crypto.keys import DerpKey
from tunnel.net.clock import wall
from tunnel.units import WallTime
from tunnel.values import replace


def one_off(
    arguments: Arguments, output: Output, options: NetworkOptions
) -> tuple[ServerToken, ClientToken, Callable[[], None]]:
    """Return a new server token, a client token, and what prints the client's command in time.

    Raises `UsageError` where nobody could read it, `RelayTrouble`.
    """
    from derphole.rendezvous.server_hints import server_hints

    if not output.has_reader:
        raise UsageError(
            "nobody can read the client token: standard error is closed; connect it to a file, a "
            "pipe or a terminal",
            shows_help=False,
        )
    now = wall()
    server = ServerToken(os.urandom(SEED_SIZE), server_expiry(now, None), RegionHints(()))
    key = DerpKey(Mint.from_seed(server.seed).keys.derp.public)
    server = replace(server, hints=server_hints(options, key, (), output.report))
    client = new_client(server, "")
    text, expires_at = token_text(client), client.grant.expires_at

    def tell() -> None:
        if output.is_json or not output.is_on_terminal:
            output.report(TokenIssued(text, WallTime(expires_at)))
            return
        if arguments.flag("--qr"):
            show_picture(output, text)
        for line in (
            "On the other machine, run:",
            f"    {arguments.spoken} open {text}",
            f"It opens a port there that leads here, while this command runs; the token is good "
            f"until {utc_text(expires_at)}, for any number of machines.",
        ):
            output.report(Instruction(line))

    return server, client, tell


def new_client(server: ServerToken, name: str) -> ClientToken:
    """Return a client token of the usual life; raises `ServerExpired`."""
    grant_id, expires_at = os.urandom(GRANT_ID_SIZE), client_expiry(wall(), server, None)
    return minted(server, grant_id, expires_at, name)
