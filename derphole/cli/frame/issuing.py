"""What commands that print a session token share: its options, its end, where it goes.

--print-token-only      the token on standard output
--json                  the events `token` and `code`
a person at a terminal  the command for the other machine, with a short code unless --no-code is
                        given, and how long it is good
anything else           the token on a line of its own, for scripts
"""

import datetime
import os

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.output import Output
from derphole.code_status import CodeIssued, CodeOver, NoCodeNow
from derphole.config import NetworkOptions
from derphole.errors import ExpiryRefused, UsageError, utc_text
from derphole.status import Caution, Instruction, Report, Status, TokenIssued
from derphole.token.code import LEAST_WORDS, MOST_WORDS
from derphole.token.text import MAX_SESSION_LIFE_S
from derphole.token.typed_times import parse_when, spoken_duration
from tunnel.net.clock import wall
from tunnel.units import Seconds, WallTime
from tunnel.values import frozen, replace

EXPIRES_OPTION = """\
    --expires WHEN              When the token expires: RFC3339, YYYY-MM-DD or a duration
                                such as 8h; at most 7 days (default: 1 hour)
"""


CODE_OPTIONS = """\
    --code-words N              Words in the short code, 2 to 6 (default: {words}); more are harder
                                to guess
    --no-code                   Print the token alone, and no short code
"""
USUAL_WORDS = 2


@frozen
class Counterpart:
    """What a person does with the token on the other machine.

    Args:
        command: of this program, there.
        roles: who does what, a sentence.
        uses: for whom the token is good, as in "for one sender".
        shows_token: whether the token comes first, on a line of its own, where there is a code.
    """

    command: str
    roles: str
    uses: str
    shows_token: bool = True


def code_options(words: int = USUAL_WORDS) -> str:
    """Return the options of a command that offers codes, of so many words."""
    return CODE_OPTIONS.format(words=words)


def issuer_options(
    arguments: Arguments, output: Output, words: int = USUAL_WORDS
) -> NetworkOptions:
    """Return the settings of a command that may offer codes; raises `UsageError`.

    Args:
        arguments: the command line.
        output: codes are for people at a terminal, and for programs that read JSON.
        words: how many a code has, where the person does not say.
    """
    options = network_options(arguments)
    text = arguments.text("--code-words")
    if text is not None:
        if arguments.flag("--no-code"):
            raise UsageError("only one of --code-words or --no-code may be set", shows_help=False)
        if not text.isdecimal() or not LEAST_WORDS <= int(text[:3]) <= MOST_WORDS:
            raise UsageError(
                f'invalid --code-words value "{text}"; use {LEAST_WORDS} to {MOST_WORDS}',
                shows_help=False,
            )
        words = int(text)
    is_wanted = not (arguments.flag("--no-code") or arguments.flag("--print-token-only"))
    is_read = output.is_on_terminal or output.is_json
    return replace(options, code_words=words) if is_wanted and is_read else options


def token_reporter(arguments: Arguments, output: Output, counterpart: Counterpart) -> Report:
    """Return what shows statuses, and the token in the way that suits its reader.

    Raises `UsageError` if nobody could read the token: it would be awaited in vain.
    """
    is_payload = arguments.flag("--print-token-only")
    if not (output.has_stdout if is_payload else output.has_reader):
        name = "standard output" if is_payload else "standard error"
        raise UsageError(
            f"nobody can read the token: {name} is closed; connect it to a file, a pipe or a "
            "terminal",
            shows_help=False,
        )

    held: list[TokenIssued] = []  # shown if there is no code, or no more

    def report(status: Status) -> None:
        match status:
            case TokenIssued():
                report_token(status)
            case CodeIssued() if not output.is_json:
                instruct(status)
            case NoCodeNow() | CodeOver(is_last=True):
                output.report(status)
                if held and not output.is_json:
                    instruct(held.pop())
            case _:
                output.report(status)

    def report_token(status: TokenIssued) -> None:
        if status.code_follows and not output.is_json:
            held.append(status)
            if counterpart.shows_token:
                output.report(status)
            return
        if is_payload:
            import gevent

            # In the thread pool: a terminal may be stopped, and the relay must go on meanwhile.
            gevent.get_hub().threadpool.apply(output.payload_line, (status.text,))
        if output.is_json or not (is_payload or output.is_on_terminal):
            output.report(status)
        elif not is_payload:
            instruct(status)

    def instruct(status: TokenIssued | CodeIssued) -> None:
        if arguments.flag("--qr"):
            show_picture(output, status.text)
        for line in instruction(status, counterpart, arguments.spoken, wall()):
            output.report(Instruction(line))

    return report


def show_picture(output: Output, text: str) -> None:
    """Show a code as a QR code, or say what it would need."""
    import sys

    from derphole.cli.frame.qr_code import coloured, missing_room, qr_rows

    rows = qr_rows(text)
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
        fault = missing_room(rows, size.columns, size.lines)
    except OSError:
        fault = "the QR code needs a terminal that tells its size"
    if fault is not None:
        output.report(Caution(fault))
    else:
        output.picture([coloured(row) for row in rows])


def instruction(
    issued: TokenIssued | CodeIssued, counterpart: Counterpart, spoken: str, now: WallTime
) -> list[str]:
    """Return what a person reads who is to start the other side.

    Args:
        issued: the token, or the code.
        counterpart: what it is for.
        spoken: what people type to start the program.
        now: the present.
    """
    life = spoken_duration(issued.expires_at - now)
    until = utc_text(issued.expires_at)
    name, needs = "token", ""
    if isinstance(issued, CodeIssued):
        name, needs = "code", f" {issued.needs}" if issued.needs else ""
    return [
        "On the other machine, run:",
        f"    {spoken} {counterpart.command} {issued.text}{needs}",
        f"{counterpart.roles} The {name} is good for {life} (until {until}), {counterpart.uses}.",
    ]


def session_expiry(text: str | None, now: WallTime) -> WallTime | None:
    """Return the end of a session token; None leaves it at the usual life.

    Raises `UsageError` for text that is not a WHEN, `ExpiryRefused` for the past and beyond 7 days.
    """
    if text is None:
        return None
    try:
        expires_at = parse_when(text, now, local_utc_offset_s)
    except UsageError as error:
        raise UsageError(
            f'invalid --expires value "{text}"; use RFC3339, YYYY-MM-DD or a duration such as 8h'
        ) from error
    if expires_at <= now:
        step = f"choose a later time with --expires (it is {utc_text(now)} now)"
        raise ExpiryRefused("in the future", step)
    if expires_at - now > MAX_SESSION_LIFE_S:
        raise ExpiryRefused("within 7 days", "use --expires 7d, the longest life of a token")
    return expires_at


def local_utc_offset_s(naive: datetime.datetime) -> Seconds:
    """Return how far east of UTC the local clock is at a moment of its own calendar."""
    offset = naive.astimezone().utcoffset()
    return offset.total_seconds() if offset is not None else 0.0
