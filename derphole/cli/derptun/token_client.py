"""`token client`: makes a token that leads to a server."""

import os

from derphole.cli.derptun import token_options
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.options import SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.derptun.minting import client_expiry, minted
from derphole.derptun.statuses import TokenMade
from derphole.errors import UsageError
from derphole.token.grant import GRANT_ID_SIZE, check_name
from derphole.token.text import token_text
from tunnel.net.clock import wall

USAGE = f"""\
Make a client token from a server token.

Whoever has it reaches the target of the server, and nothing else.  Its id and its name tell it from
others in `derptun status`; keep the id, which is what `derptun token revoke` takes.  Nothing has to
be told to the server: it knows what was made from its token.

USAGE:
    derptun token client [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               The server token (default: the variable DERPTUN_TOKEN)

OPTIONS:
{SOURCE_OPTIONS}\
    --days N                    How many days it is good (default: 90, and never beyond the
                                server token)
    --expires WHEN              Until when instead: RFC3339, YYYY-MM-DD or a duration such
                                as 30d
    --name NAME                 Whose it is, up to 32 characters
{token_options.OUTPUT_OPTIONS}
EXAMPLES:
    derptun token client --token-file server.dts > client.dtc
    derptun token client --token-file server.dts --name laptop --days 30
"""


def run(arguments: Arguments, output: Output) -> int:
    """Make a token and return 0."""
    wanted = token_options.wanted_end(arguments)
    token_options.check_output(arguments)
    name = arguments.text("--name") or ""
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(f'invalid --name "{name}": {error}', shows_help=False) from error
    server = token_options.server_source(arguments, output)
    grant_id = os.urandom(GRANT_ID_SIZE)
    client = minted(server, grant_id, client_expiry(wall(), server, wanted), name)
    made = TokenMade(
        "client", grant_id.hex(), name, client.grant.expires_at, arguments.text("--output")
    )
    token_options.hand_out(arguments, output, token_text(client), made)
    return 0
