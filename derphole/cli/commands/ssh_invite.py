"""`ssh invite`: lets the key of another machine's user log in here."""

import sys
from collections.abc import Callable

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import (
    EXPIRES_OPTION,
    Counterpart,
    code_options,
    issuer_options,
    session_expiry,
    token_reporter,
)
from derphole.cli.frame.options import ISSUER_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import NobodyToAsk, UsageError
from tunnel.net.clock import wall

CODE_WORDS = 3  # a key that is let in is worth more than a file

USAGE = f"""\
Let somebody log in to this machine by ssh: takes one public key from the other machine, and adds
it to ~/.ssh/authorized_keys.

The key is shown with its fingerprint, and added once you say so.  Nothing else in the file is
changed.  What would keep sshd from taking keys from there is told before the token is printed.

USAGE:
    derphole ssh invite [options]

OPTIONS:
    -u, --user USER             Whom the key lets log in (default: you)
    -y, --yes                   Add the key unasked
    --port PORT                 Port of the ssh server here (default: what its settings say)
    --print-token-only          Print the token on standard output
{code_options(CODE_WORDS)}\
{EXPIRES_OPTION}\
{ISSUER_OPTIONS}
EXAMPLES:
    derphole ssh invite
    sudo derphole ssh invite --user deploy
"""

GUEST = Counterpart(
    "ssh accept",
    "There, a public key is handed over; here, it is let in.",
    "for one key",
)


def run(arguments: Arguments, output: Output) -> int:
    """Invite."""
    from derphole.edges.accounts import account_named

    options = issuer_options(arguments, output, CODE_WORDS)
    user = arguments.text("--user")
    if user == "":
        raise UsageError("--user requires the name of a user", shows_help=False)
    try:
        account = account_named(user)
    except ImportError as error:
        message = "this system keeps no accounts that sshd would let a key in to"
        raise UsageError(message, shows_help=False) from error
    port = _port(arguments.text("--port"))
    expires_at = session_expiry(arguments.text("--expires"), wall())
    ask = None if arguments.flag("--yes") else asker(output, "whether a key is wanted")
    report = token_reporter(arguments, output, GUEST)

    from derphole.cli.frame.signals import EndingSignals
    from derphole.ssh.inviting import invite

    with EndingSignals():
        invite(options, account, port=port, expires_at=expires_at, ask=ask, report=report)
    return 0


def _port(text: str | None) -> int | None:
    """Return the port that was given; raises `UsageError`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:9]) < 1 << 16:
        raise UsageError(f'invalid --port value "{text}"; use 1 to 65535', shows_help=False)
    return int(text)


def asker(output: Output, question: str) -> Callable[[str], bool | None]:
    """Return what asks the person at the terminal; raises `NobodyToAsk` where nobody is."""
    from derphole.cli.frame.person import Asker
    from derphole.edges.stdio import forget_typed, typed_line

    if not output.is_on_terminal or output.is_json or not _has_keyboard():
        raise NobodyToAsk(question)
    return Asker(output, typed_line, forget_typed)


def _has_keyboard() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
