"""`share`: print a token, then connect whoever uses it to a TCP service of this machine."""

from contextlib import suppress

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import (
    EXPIRES_OPTION,
    Counterpart,
    code_options,
    issuer_options,
    session_expiry,
    token_reporter,
)
from derphole.cli.frame.numbers import count
from derphole.cli.frame.options import ISSUER_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import Interrupted
from derphole.forwarding.endpoints import ServiceAddress, parse_target
from tunnel.net.clock import wall

USAGE = f"""\
Let another machine connect to a TCP service that this machine reaches.

The token for the other machine goes to standard error, on a line of its own; on a terminal the
command to run there follows, with a short code that leads to the token.  Whoever has it can
connect to TARGET, and to nothing else, while this command runs; Ctrl-C ends it.  When the token
has expired, clients that are connected stay, and the command ends when the last one has left.

USAGE:
    derphole share [options] [--] TARGET

ARGUMENTS:
    TARGET              HOST:PORT, PORT of this machine, [::1]:PORT or unix:PATH

OPTIONS:
    --print-token-only          Print the token on standard output
{code_options()}\
{EXPIRES_OPTION}\
    --max-clients N             Machines that may use the token at once (default 1)
    --max-connections N         Connections at once, of all machines together (default 1024)
{ISSUER_OPTIONS}
EXAMPLES:
    derphole share 8080
    derphole share --expires 8h --max-clients 3 db.example.com:5432
    derphole share unix:/run/service.sock
"""


def run(arguments: Arguments, output: Output) -> int:
    """Share until the token has expired and all have left, or until a signal; returns 0."""
    options = issuer_options(arguments, output)
    target = parse_target(arguments.text("TARGET") or "")
    expires_at = session_expiry(arguments.text("--expires"), wall())

    from derphole.cli.frame.file_limit import raise_file_limit
    from derphole.cli.frame.signals import EndingSignals
    from derphole.forwarding import share
    from derphole.forwarding.limits import DEFAULT_CONNECTIONS, MOST_CLIENTS, MOST_CONNECTIONS

    clients = arguments.text("--max-clients")
    connections = arguments.text("--max-connections")
    wanted = share.ShareOptions(
        target,
        expires_at,
        count("--max-clients", clients, 1, MOST_CLIENTS),
        count("--max-connections", connections, DEFAULT_CONNECTIONS, MOST_CONNECTIONS),
    )
    raise_file_limit(wanted.max_connections)
    # A command that a person ends on purpose has not failed.
    with suppress(Interrupted), EndingSignals():
        report = token_reporter(arguments, output, _counterpart(target, wanted.max_clients))
        share.share(options, wanted, report=report)
    return 0


def _counterpart(target: ServiceAddress, clients: int) -> Counterpart:
    places = "one machine" if clients == 1 else f"{clients} machines"
    return Counterpart(
        "open",
        f"It opens a port there that leads to {target} here.",
        f"for {places} at a time",
    )
