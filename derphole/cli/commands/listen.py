"""`listen`: print a token, then write the one stream of whoever uses it to its output."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import (
    EXPIRES_OPTION,
    Counterpart,
    code_options,
    issuer_options,
    session_expiry,
    token_reporter,
)
from derphole.cli.frame.options import HIDE_PROGRESS_OPTION, ISSUER_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import UsageError
from derphole.status import Caution
from tunnel.net.clock import wall

if TYPE_CHECKING:
    from derphole.edges.stdio import ByteSink

USAGE = f"""\
Receive one byte stream and write it to standard output or a file.

The token for the other machine goes to standard error, on a line of its own; on a terminal the
command to run there follows, with a short code that leads to the token.  A file gets its name
once everything has come and is verified; until then nothing is changed under that name.

USAGE:
    derphole listen [options]

OPTIONS:
    -o, --output FILE           Write to this file instead of standard output
    --overwrite                 Let it replace a file that is there already
    --print-token-only          Print the token on standard output, before the stream
{code_options()}\
{EXPIRES_OPTION}\
{HIDE_PROGRESS_OPTION}\
{ISSUER_OPTIONS}
EXAMPLES:
    derphole listen -o copy.bin
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
    options = issuer_options(arguments, output)
    expires_at = session_expiry(arguments.text("--expires"), wall())

    from derphole import pipe
    from derphole.cli.frame.progress import watch_for
    from derphole.cli.frame.signals import EndingSignals

    report = token_reporter(arguments, output, SENDER)
    with EndingSignals(), closing(_sink(arguments)) as sink:
        if sink.is_terminal:
            output.report(Caution(f"{sink.name} is a terminal; received data will be shown as is"))
        is_hidden = arguments.flag("--hide-progress") or sink.is_terminal
        watch = watch_for(output, is_hidden=is_hidden, stream=sys.stderr)
        receipt = pipe.listen(options, expires_at=expires_at, report=report, sink=sink, watch=watch)
    output.report(receipt)
    return 0


def _sink(arguments: Arguments) -> "ByteSink":
    """Return where the bytes go; raises `OutputExists`, `UsageError`."""
    from derphole.edges import files, stdio

    path, overwrites = arguments.text("--output"), arguments.flag("--overwrite")
    if path == "":
        raise UsageError("--output requires the name of a file", shows_help=False)
    if path is not None and path != "-":
        return files.file_sink(path, overwrites=overwrites)
    if overwrites:
        raise UsageError("--overwrite requires --output FILE", shows_help=False)
    return stdio.standard_output()
