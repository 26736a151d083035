"""`token server`: makes the token that a server is, or gives one a later end."""

import os

from derphole.cli.derptun import token_options
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import RELAY_OPTIONS
from derphole.cli.frame.output import Output
from derphole.derptun.minting import renewed, server_expiry, server_id
from derphole.derptun.statuses import TokenMade
from derphole.errors import UsageError
from tunnel.net.clock import wall
from tunnel.values import replace

USAGE = f"""\
Make a server token.

Whoever has it is the server: keep it where the server runs, in a file that only its user may read.
Client tokens are made from it with `derptun token client`.  The relays to meet on are measured now
and stay in the token.

USAGE:
    derptun token server [options]

OPTIONS:
    --days N                    How many days it is good (default: 180)
    --expires WHEN              Until when instead: RFC3339, YYYY-MM-DD or a duration such
                                as 90d
{token_options.OUTPUT_OPTIONS}\
    --renew FILE                Give the server token in FILE a later end, in place; its
                                clients, and where they meet, stay
    --region IDS                Meet in these regions of the map, up to three, with commas
                                between
{RELAY_OPTIONS}
EXAMPLES:
    derptun token server > server.dts
    derptun token server --expires 2027-12-31 --output server.dts
    derptun token server --renew server.dts --days 365
"""

MAX_REGIONS = 3
NEW_ONLY = ("--output", "--overwrite", "--region", "--relay", "--derp-map")


def run(arguments: Arguments, output: Output) -> int:
    """Make a token, or renew one, and return 0."""
    wanted = token_options.wanted_end(arguments)
    path = arguments.text("--renew")
    if path is not None:
        _renew(arguments, output, path)
        return 0
    token_options.check_output(arguments)
    regions = _regions(arguments)
    options = network_options(arguments)
    expires_at = server_expiry(wall(), wanted)

    from derphole.rendezvous.server_hints import server_hints
    from derphole.token.grant import SEED_SIZE, Mint
    from derphole.token.hints import RegionHints
    from derphole.token.text import ServerToken, token_text
    from tunnel.crypto.keys import DerpKey

    server = ServerToken(os.urandom(SEED_SIZE), expires_at, RegionHints(()))
    key = DerpKey(Mint.from_seed(server.seed).keys.derp.public)
    server = replace(server, hints=server_hints(options, key, regions, output.report))
    made = TokenMade("server", server_id(server), "", expires_at, arguments.text("--output"))
    token_options.hand_out(arguments, output, token_text(server), made)
    return 0


def _regions(arguments: Arguments) -> tuple[int, ...]:
    """Return the ids of --region; raises `UsageError`."""
    text = arguments.text("--region")
    if text is None:
        return ()
    if arguments.text("--relay") is not None:
        raise UsageError("only one of --region or --relay may be set")
    parts = [part.strip() for part in text.split(",")]
    is_good = all(part.isascii() and part.isdigit() and 0 < int(part) < 65536 for part in parts)
    if not is_good or len(set(parts)) != len(parts) or len(parts) > MAX_REGIONS:
        raise UsageError(
            f'invalid --region value "{text}"; use up to {MAX_REGIONS} different numbers of '
            "regions, with commas between"
        )
    return tuple(map(int, parts))


def _renew(arguments: Arguments, output: Output, path: str) -> None:
    """Give the token in a file a later end."""
    from derphole.cli.frame.sources import MAX_TOKEN_FILE_SIZE
    from derphole.edges import private_file
    from derphole.edges.stdio import reason_text
    from derphole.errors import TokenFileUnusable
    from derphole.token.pasted import pasted_token
    from derphole.token.text import ServerToken, token_text
    from derphole.token.validity import check_server

    given = [name for name in NEW_ONLY if arguments.values.get(name) not in (None, False)]
    if given:
        raise UsageError(f"{given[0]} is for a new token, and --renew changes one that is there")
    made: list[ServerToken] = []

    def changed(text: str) -> str:
        if not text.strip():
            raise TokenFileUnusable(path, "no token is in it", "name the file of a server token")
        old = check_server(pasted_token(text))
        made.append(renewed(wall(), old, token_options.wanted_end(arguments)))
        return f"{token_text(made[0])}\n"

    try:
        private_file.change(path, MAX_TOKEN_FILE_SIZE, changed, may_make=False)
    except OSError as error:
        raise TokenFileUnusable(path, reason_text(error)) from error
    server = made[0]
    output.report(TokenMade("server", server_id(server), "", server.expires_at, path))
