"""`pipe`: send standard input, or a file, to the listener that made the token."""

import os
import re
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import CLAIMER_OPTIONS, HIDE_PROGRESS_OPTION, SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import UsageError
from derphole.status import Notice
from derphole.token.grant import Capability
from derphole.token.pasted import has_token, has_token_or_code, pasted_token_or_code
from derphole.token.validity import check_token_or_code
from tunnel.net.clock import wall
from tunnel.values import replace

if TYPE_CHECKING:
    from derphole.edges.stdio import ByteSource

USAGE = f"""\
Send standard input, or a file, to the listener that made the token.

The exit code is 0 only when the other side has written everything.

USAGE:
    derphole pipe [options] [--] [TOKEN] [FILE]

ARGUMENTS:
    TOKEN               Token or code that the listener printed (default: the variable
                        DERPHOLE_TOKEN)
    FILE                What is sent (default: standard input)

OPTIONS:
{SOURCE_OPTIONS}\
{HIDE_PROGRESS_OPTION}\
{CLAIMER_OPTIONS}
EXAMPLES:
    derphole pipe TOKEN original.bin
    tar -cpf - folder | derphole pipe --token-file token.txt
    (cat token.txt; cat original.bin) | derphole pipe --token-stdin
"""

# What could be a token of another program.
OTHER_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,}")
FILE_NAME = re.compile(r"[^\s:]*[./][^\s:]*")


def run(arguments: Arguments, output: Output) -> int:
    """Send one stream."""
    options = network_options(arguments)
    arguments = told_apart(arguments)
    token = pasted_token_or_code(sources.token_text(arguments, output))
    session = check_token_or_code(token, Capability.LISTEN, wall())

    from derphole import pipe
    from derphole.cli.frame.progress import watch_for
    from derphole.cli.frame.signals import EndingSignals

    with EndingSignals(), closing(_source(arguments)) as source:
        if source.is_terminal:
            output.report(Notice("reading from the keyboard; end with Ctrl-D on an empty line"))
        is_hidden = arguments.flag("--hide-progress") or source.is_terminal
        watch = watch_for(output, is_hidden=is_hidden, stream=sys.stderr)
        receipt = pipe.pipe(options, session, report=output.report, source=source, watch=watch)
    output.report(receipt)
    return 0


def told_apart(arguments: Arguments) -> Arguments:
    """Return the arguments with token and file each in its place; raises `UsageError`.

    A single word may be either of them, and of two any may come first.
    """
    token, file = arguments.text("TOKEN"), arguments.text("FILE")
    if token is not None and not _is_token(token):
        if file is not None and _is_token(file):
            token, file = file, token
        elif file is None and sources.is_given_elsewhere(arguments):
            token, file = None, token
        elif file is None and (os.path.lexists(token) or FILE_NAME.fullmatch(token)):
            raise _token_missing(token)
    return replace(arguments, values={**arguments.values, "TOKEN": token, "FILE": file})


def _is_token(word: str) -> bool:
    """Tell whether a word is meant as a token, however damaged."""
    if has_token(word):
        return True
    is_other = OTHER_TOKEN.fullmatch(word) is not None or has_token_or_code(word)
    return is_other and not os.path.lexists(word)


def _token_missing(word: str) -> UsageError:
    if not os.path.lexists(word):
        return UsageError(
            f"{word} is neither a token nor a file that is there; use `derphole pipe TOKEN FILE`",
            shows_help=False,
        )
    return UsageError(
        f"{word} is a file, and the token is missing; run `derphole listen` on the other machine, "
        f"then `derphole pipe TOKEN {word}` here",
        shows_help=False,
    )


def _source(arguments: Arguments) -> "ByteSource":
    """Return where the bytes come from; raises `UsageError`."""
    from derphole.edges import files, stdio

    path = arguments.text("FILE")
    if path is None or path == "-":
        return stdio.standard_input()
    return files.FileSource(path)
