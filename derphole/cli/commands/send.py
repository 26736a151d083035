"""`send`: files, folders, text or standard input, to whoever uses the code that is printed."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
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
from derphole.cli.frame.near_words import meant
from derphole.cli.frame.options import HIDE_PROGRESS_OPTION, ISSUER_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import PartlySent, SourceUnusable, UsageError
from derphole.status import Caution, Notice, size_text
from derphole.token.grant import Capability
from derphole.token.pasted import has_token_or_code, pasted_token_or_code
from derphole.token.validity import check_token_or_code
from tunnel.net.clock import wall

if TYPE_CHECKING:
    from derphole.delivery.goods import Count, Goods
    from derphole.edges.source_tree import Source

USAGE = f"""\
Send files, folders, text or standard input to whoever uses the code that is printed.

Names, permissions and times arrive as they are.  A transfer that was broken off goes on where it
stopped when both commands are run again.  The exit code is 0 only when the other side has written
everything.

USAGE:
    derphole send [options] [--] [WHAT...]

ARGUMENTS:
    WHAT                Files and folders, or - for standard input (the default where that is no
                        terminal); one word that names nothing here is sent as text

OPTIONS:
    --text                      Send WHAT as text, or standard input as text
    --to TOKEN                  Send to `receive` without a code, which printed this token
                                or code
    --name NAME                 What the file or folder is called on the other side, or what
                                comes from standard input (default: stdin)
    --exclude GLOB              Leave out what this pattern of .gitignore matches; may be repeated
    --gitignore                 Leave out what git ignores
    --skip-unreadable           Success even if some of it could not be read
    --qr                        Show the code as a QR code, too, on a terminal
    --print-token-only          Print the token on standard output, and no short code
{code_options()}\
{EXPIRES_OPTION}\
{HIDE_PROGRESS_OPTION}\
{ISSUER_OPTIONS}
EXAMPLES:
    derphole send photo.jpg
    derphole send --exclude '*.o' project
    derphole send --text "see you at 8"
    tar -cf - folder | derphole send --name folder.tar
"""

RECEIVER = Counterpart(
    "receive",
    "There, it is written; from here, it is sent.",
    "for one receiver",
    shows_token=False,
)
STDIN = "-"
MAX_NAMED = 10  # entries that cannot be read, before anything is sent
SPECIAL = (os.sep, ".", "*", "?", "[", "~")


def run(arguments: Arguments, output: Output) -> int:
    """Send."""
    options = issuer_options(arguments, output)
    expires_at = session_expiry(arguments.text("--expires"), wall())
    to = arguments.text("--to")
    session = None
    if to is not None:
        session = check_token_or_code(pasted_token_or_code(to), Capability.RECEIVE, wall())

    from derphole.cli.frame.progress import watch_for
    from derphole.cli.frame.signals import EndingSignals
    from derphole.delivery import send

    with EndingSignals(), ExitStack() as stack:
        make_goods = _goods(arguments, output, stack)
        watch = watch_for(
            output,
            is_hidden=arguments.flag("--hide-progress"),
            says_lines=True,
            stream=sys.stderr,
        )
        if session is not None:
            goods = send.send_to(options, make_goods, session, report=output.report, watch=watch)
        else:
            report = token_reporter(arguments, output, RECEIVER)
            goods = send.send(
                options, make_goods, expires_at=expires_at, report=report, watch=watch
            )
        omitted = 0 if goods is None else goods.omitted.count
        if omitted and not arguments.flag("--skip-unreadable"):
            raise PartlySent(omitted)
    return 0


def _goods(arguments: Arguments, output: Output, stack: ExitStack) -> "Callable[[], Goods]":
    """Return what makes what is sent; raises `UsageError`, `SourceUnusable`."""
    from derphole.delivery import goods

    words, name = arguments.words("WHAT"), arguments.text("--name")
    _check_name(words, name)
    if "" in words:
        raise UsageError("WHAT is empty: name files or folders, or use --text", shows_help=False)
    if STDIN in words and len(words) > 1:
        raise UsageError("- stands for standard input, and is sent alone", shows_help=False)
    if arguments.flag("--text"):
        text = _typed(words, output)
        return lambda: goods.TextGoods(text)
    if not words or words == [STDIN]:
        return _standard_input(words, name, stack)
    if len(words) == 1 and not os.path.lexists(words[0]):
        _check_meant(words[0])
    if _is_text(words):
        output.report(
            Notice(f'nothing here is called "{words[0]}": it is sent as text (--text says so)')
        )
        text = words[0].encode("utf-8", "surrogateescape")
        return lambda: goods.TextGoods(text)
    return _named(arguments, output, stack, words)


def _check_name(words: Sequence[str], name: str | None) -> None:
    """Raise `UsageError` for a --name that nothing can have."""
    from derphole.transfer.names import part_fault

    if name is None:
        return
    if len(words) > 1:
        raise UsageError("--name is for one file or folder, and several are sent", shows_help=False)
    fault = part_fault(os.fsencode(name))
    if fault is not None:
        raise UsageError(f'invalid --name value "{name}": it {fault}', shows_help=False)


def _typed(words: Sequence[str], output: Output) -> bytes:
    if words and words != [STDIN]:
        return " ".join(words).encode("utf-8", "surrogateescape")
    from derphole.edges import stdio

    source = stdio.standard_input()
    if source.is_terminal:
        output.report(Notice("type the text; end with Ctrl-D on an empty line"))
    parts = []
    try:
        while data := source.read():
            parts.append(data)
    finally:
        source.close()
    return b"".join(parts)


def _standard_input(
    words: Sequence[str], name: str | None, stack: ExitStack
) -> "Callable[[], Goods]":
    from derphole.delivery import goods
    from derphole.edges import stdio

    source = stdio.standard_input()
    stack.callback(source.close)
    if source.is_terminal and not words:
        raise UsageError(
            "name what is to be sent: files, folders, --text WORDS, or - for the keyboard"
        )
    called = os.fsencode(name or "stdin")
    return lambda: goods.StreamGoods(source, called)


def _check_meant(word: str) -> None:
    """Raise `UsageError` for a single word that people do not mean to send."""
    if word == "WHAT":
        raise UsageError("WHAT stands for what is to be sent: put a file there", shows_help=False)
    if has_token_or_code(word):
        raise UsageError(
            "this is a code or token of the other side: take what it sends with `derphole receive "
            "CODE`, or send something to it with `derphole send FILE --to CODE`",
            shows_help=False,
        )


def _is_text(words: Sequence[str]) -> bool:
    """Tell whether a single word is meant as text: it names nothing, and resembles nothing here."""
    word = words[0]
    if len(words) > 1 or os.path.lexists(word) or any(sign in word for sign in SPECIAL):
        return False
    try:
        return not meant(word, [path.name for path in Path().iterdir()])
    except OSError:
        return False


def _named(
    arguments: Arguments, output: Output, stack: ExitStack, words: Sequence[str]
) -> "Callable[[], Goods]":
    """Return what makes the goods of files and folders."""
    from derphole.delivery import goods
    from derphole.edges.kept_state import KeptState, state_folder
    from derphole.edges.one_file import OneFile
    from derphole.edges.source_tree import sources_named

    named = sources_named(words, arguments.text("--name"))
    secret = KeptState(state_folder(arguments.environ)).source_secret()
    source = goods.source_of(secret, [each.path for each in named])
    path, called = named[0].path, named[0].name
    if len(named) == 1 and Path(os.fsdecode(path)).is_file():
        OneFile(path).close()  # what cannot be read is told before anybody waits
        return lambda: goods.OneFileGoods(OneFile(path), source, called)
    for each in named:
        if not os.access(each.path, os.R_OK):
            raise SourceUnusable(os.fsdecode(each.path), "permission denied")
    chosen = _selected(arguments, output, named)
    count = goods.Count(chosen)
    stack.callback(count.close)
    stack.enter_context(_counting(count, output))
    return lambda: goods.TreeGoods(chosen, source, count)


def _selected(
    arguments: Arguments, output: Output, named: "Sequence[Source]"
) -> "Sequence[Source]":
    from derphole.edges.selected_sources import selected
    from derphole.transfer.names import shown
    from derphole.transfer.selection import PatternUnreadable, read_excludes
    from tunnel.net.threads import in_thread

    try:
        excludes = read_excludes(arguments.repeated.get("--exclude", ()))
    except PatternUnreadable as error:
        raise UsageError(f"--exclude: {error}", shows_help=False) from error
    uses_gitignore = arguments.flag("--gitignore")
    if excludes is None and not uses_gitignore:
        return named
    chosen, told = in_thread(selected, named, excludes, uses_gitignore=uses_gitignore)
    for each in told:
        output.report(Caution(f"{shown(each.path)} {each.reason}"))
    return chosen


@contextmanager
def _counting(count: "Count", output: Output) -> Iterator[None]:
    """Count beside everything else, and say what cannot be read before it is missed."""
    import gevent

    from tunnel.net.tasks import TaskGroup

    caller = gevent.getcurrent()
    with TaskGroup("count", on_failure=lambda error: gevent.kill(caller, error)) as tasks:
        tasks.spawn("count", _count, count, output)
        yield


def _count(count: "Count", output: Output) -> None:
    from derphole.transfer.names import shown

    count.run()
    totals, omitted = count.totals, count.omitted
    output.report(Notice(f"{totals.entries} entries, {size_text(totals.size)}"))
    for path, reason in omitted.first[:MAX_NAMED]:
        output.report(Caution(f"{shown(path)} {reason}, and will be left out"))
    if omitted.count > MAX_NAMED:
        output.report(Caution(f"{omitted.count - MAX_NAMED} more will be left out"))
