"""`pipe`: send standard input to the listener that made the token."""

from contextlib import closing

from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import CLAIMER_OPTIONS, SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.status import Notice
from derphole.token.grant import Capability
from derphole.token.pasted import pasted_token
from derphole.token.validity import check_session
from tunnel.net.clock import wall

USAGE = f"""\
Send standard input to the listener that made the token.

The exit code is 0 only when the other side has written everything.

USAGE:
    derphole pipe [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               Token that the listener printed (default: the variable DERPHOLE_TOKEN)

OPTIONS:
{SOURCE_OPTIONS}\
{CLAIMER_OPTIONS}
EXAMPLES:
    derphole pipe TOKEN < original.bin
    tar -cpf - folder | derphole pipe --token-file token.txt
    (cat token.txt; cat original.bin) | derphole pipe --token-stdin
"""


def run(arguments: Arguments, output: Output) -> int:
    """Send one stream."""
    options = network_options(arguments)
    token = pasted_token(sources.token_text(arguments, output))
    session = check_session(token, Capability.LISTEN, wall())

    from derphole import pipe
    from derphole.cli.frame.signals import EndingSignals
    from derphole.edges import stdio

    with EndingSignals(), closing(stdio.standard_input()) as source:
        if source.is_terminal:
            output.report(Notice("reading from the keyboard; end with Ctrl-D on an empty line"))
        receipt = pipe.pipe(options, session, report=output.report, source=source)
    output.report(receipt)
    return 0
