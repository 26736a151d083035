"""`listen`: print a token, then write the one stream of whoever uses it to standard output."""

from contextlib import closing

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import (
    EXPIRES_OPTION,
    Counterpart,
    session_expiry,
    token_reporter,
)
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import ISSUER_OPTIONS
from derphole.cli.frame.output import Output
from derphole.status import Caution
from tunnel.net.clock import wall

USAGE = f"""\
Receive one byte stream and write it to standard output.

The token for the other machine goes to standard error: on a line of its own, or, on a terminal,
in the command to run there.

USAGE:
    derphole listen [options]

OPTIONS:
    --print-token-only          Print the token on standard output, before the stream
{EXPIRES_OPTION}\
{ISSUER_OPTIONS}
EXAMPLES:
    derphole listen > copy.bin
    derphole listen | tar -xpf - -C folder
    derphole listen --expires 8h --relay https://relay.example.com > copy.bin
"""

SENDER = Counterpart(
    "pipe",
    "There, standard input is sent; here it is received.",
    "for one sender",
)


def run(arguments: Arguments, output: Output) -> int:
    """Receive one stream."""
    options = network_options(arguments)
    expires_at = session_expiry(arguments.text("--expires"), wall())

    from derphole import pipe
    from derphole.cli.frame.signals import EndingSignals
    from derphole.edges import stdio

    report = token_reporter(arguments, output, SENDER)
    with EndingSignals(), closing(stdio.standard_output()) as sink:
        if sink.is_terminal:
            output.report(
                Caution("standard output is a terminal; received data will be shown as is")
            )
        receipt = pipe.listen(options, expires_at=expires_at, report=report, sink=sink)
    output.report(receipt)
    return 0
