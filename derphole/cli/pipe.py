"""`pipe`: send standard input to the listener that made the token."""

from contextlib import closing

from derphole.cli import sources
from derphole.cli.arguments import Arguments
from derphole.cli.network import network_options
from derphole.cli.options import NETWORK_OPTIONS, SOURCE_OPTIONS
from derphole.cli.output import Output
from derphole.grant import Capability
from derphole.status import Notice
from derphole.token import check_session, parse_token
from tunnel.net.clock import wall

USAGE = f"""\
Send standard input to the listener that made the token.

Ends with exit code 0 only when the other side has written everything.

USAGE:
    derphole pipe [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               Token that the listener printed; without it and without an option
                        for it, the variable DERPHOLE_TOKEN counts

OPTIONS:
{SOURCE_OPTIONS}\
    -P, --parallel N            Use at most N direct lanes: 1-16 or auto
{NETWORK_OPTIONS}
EXAMPLES:
    derphole pipe TOKEN < original.bin
    tar -cpf - folder | derphole pipe --token-file token.txt
    (cat token.txt; cat original.bin) | derphole pipe --token-stdin
"""


def run(arguments: Arguments, output: Output) -> int:
    """Send one stream."""
    options = network_options(arguments)
    token = parse_token(sources.token_text(arguments, output))
    session = check_session(token, Capability.LISTEN, wall())

    from derphole import pipe, stdio
    from derphole.cli.signals import EndingSignals

    with EndingSignals(), closing(stdio.standard_input()) as source:
        if source.is_terminal:
            output.report(Notice("reading from the keyboard; end with Ctrl-D on an empty line"))
        receipt = pipe.pipe(options, session, report=output.report, source=source)
    output.report(receipt)
    return 0
