"""`receive`: takes what another machine sends."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from derphole.cli.frame.arguments import Arguments, parse_size
from derphole.cli.frame.issuing import (
    EXPIRES_OPTION,
    Counterpart,
    code_options,
    issuer_options,
    session_expiry,
    token_reporter,
)
from derphole.cli.frame.options import CLAIMER_OPTIONS, HIDE_PROGRESS_OPTION
from derphole.cli.frame.output import Output, escaped
from derphole.errors import UsageError
from derphole.status import Notice
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.pasted import pasted_token_or_code
from derphole.token.text import SessionToken, parse_token
from derphole.token.validity import check_session, check_token_or_code
from derphole.transfer.placing import Policy
from tunnel.net.clock import wall

if TYPE_CHECKING:
    from derphole.delivery.targets import Place
    from derphole.delivery.wishes import Wishes

USAGE = f"""\
Receive what another machine sends, into the current folder.

Nothing that is there is changed unless that was asked for, and a file gets its name once all of it
has come and is verified.  What was broken off goes on where it stopped when both commands are run
again.  Without a code, a token is printed for `send --to TOKEN` on the other machine.

USAGE:
    derphole receive [options] [--] [CODE]

ARGUMENTS:
    CODE                What `send` printed, also in several words

OPTIONS:
    -o, --output PATH           Write to this file, or into this folder if it is there; - for
                                standard output
    --overwrite                 Replace files that are there already
    --rename                    Give what comes another name where something is already
    --skip                      Leave files that are there already as they are
    -y, --yes                   Take what is larger than --ask-above unasked
    --ask-above SIZE            Ask before something larger is taken (K, M, G)
    --verify                    Compare files that an earlier run finished by their content too
    --no-space-check            Begin even if there seems to be too little space
    --dry-run                   Say what would be written, and write nothing
    --forget                    List what was left behind by broken transfers, and remove it
    --print-token-only          Print the token on standard output, where no code is given
{code_options()}\
{EXPIRES_OPTION}\
{HIDE_PROGRESS_OPTION}\
{CLAIMER_OPTIONS}
EXAMPLES:
    derphole receive CODE
    derphole receive -o folder --rename CODE
    derphole receive --dry-run CODE
"""

SENDER = Counterpart(
    "send WHAT --to",
    "There, WHAT is sent; here it is written.",
    "for one sender",
    shows_token=False,
)
POLICIES = {
    "--overwrite": Policy.OVERWRITE,
    "--rename": Policy.RENAME,
    "--skip": Policy.SKIP,
}


def run(arguments: Arguments, output: Output) -> int:
    """Receive."""
    if arguments.flag("--forget"):
        from derphole.delivery.forget import forget_all
        from derphole.edges.kept_state import KeptState, state_folder

        return forget_all(KeptState(state_folder(arguments.environ)), output.report)

    # Before there are threads.
    from derphole.edges.trees import current_umask

    umask = current_umask()
    options = issuer_options(arguments, output)
    code = arguments.text("CODE")
    expires_at = session_expiry(arguments.text("--expires"), wall())
    wishes = _wishes(arguments, output, umask)
    session = None
    if code is not None:
        session = _session(arguments, output, code)

    from derphole.cli.frame.progress import watch_for
    from derphole.cli.frame.signals import EndingSignals
    from derphole.delivery import receive
    from derphole.delivery.targets import check_output

    check_output(wishes.output)
    with EndingSignals(), ExitStack() as stack:
        watch = watch_for(
            output,
            is_hidden=arguments.flag("--hide-progress") or wishes.only_looks,
            says_lines=True,
            stream=sys.stderr,
        )
        place = _place(arguments, output, stack)
        if session is not None:
            receive.receive(options, *session, wishes, place, report=output.report, watch=watch)
        else:
            receive.receive_from_anybody(
                options,
                wishes,
                place,
                expires_at=expires_at,
                report=token_reporter(arguments, output, SENDER),
                watch=watch,
            )
    return 0


def _session(
    arguments: Arguments, output: Output, typed: str
) -> tuple[SessionToken | Code, Code | None]:
    """Return what was typed as CODE, or the token that it led an earlier run to; and the code."""
    given = check_token_or_code(pasted_token_or_code(typed), Capability.SEND, wall())
    if not isinstance(given, Code):
        return given, None
    from derphole.edges.kept_codes import kept_token
    from derphole.edges.kept_state import KeptState, state_folder
    from tunnel.net.threads import in_thread

    state = KeptState(state_folder(arguments.environ))
    kept = in_thread(kept_token, state, given.text, wall())
    if kept is None:
        return given, given
    output.report(Notice(f"the code {given.text} was used here before: going on by its token"))
    return check_session(parse_token(kept), Capability.SEND, wall()), given


def _wishes(arguments: Arguments, output: Output, umask: int) -> "Wishes":
    """Return what the person wants; raises `UsageError`."""
    from derphole.cli.frame.person import Asker
    from derphole.delivery.wishes import Wishes
    from derphole.edges.stdio import forget_typed, typed_line

    given = [name for name in POLICIES if arguments.flag(name)]
    if len(given) > 1:
        raise UsageError(f"at most one of {', '.join(POLICIES)} may be set", shows_help=False)
    limit = arguments.text("--ask-above")
    ask_above = None if limit is None else parse_size(limit)
    if limit is not None and ask_above is None:
        raise UsageError(
            f'invalid --ask-above value "{limit}"; use a number with K, M or G', shows_help=False
        )
    path = arguments.text("--output")
    if path == "":
        raise UsageError("--output requires the name of a file or folder", shows_help=False)
    return Wishes(
        path,
        POLICIES[given[0]] if given else Policy.REFUSE,
        arguments.flag("--yes"),
        ask_above,
        not arguments.flag("--no-space-check"),
        arguments.flag("--dry-run"),
        arguments.flag("--verify"),
        umask,
        Asker(
            output,
            typed_line if sys.stdin is not None and sys.stdin.isatty() else None,
            forget_typed,
        ),
    )


def _place(arguments: Arguments, output: Output, stack: ExitStack) -> "Place":
    """Return where things are."""
    from derphole.delivery.targets import Place
    from derphole.edges import stdio
    from derphole.edges.kept_state import KeptState, state_folder

    def standard_output() -> stdio.ByteSink:
        sink = stdio.standard_output()
        stack.callback(sink.close)
        return sink

    def show(text: str) -> None:
        for line in text.split("\n"):
            output.payload_line(escaped(line.removesuffix("\r").replace("\t", "    ")))

    is_shown = sys.stdout is not None and sys.stdout.isatty()
    state = KeptState(state_folder(arguments.environ))
    return Place(state, None, standard_output, show if is_shown else None)
