"""What commands that print a session token share: its options, its end, where it goes.

--print-token-only      the token on standard output
--json                  the event `token`
a person at a terminal  the command for the other machine, and how long it is good
anything else           the token on a line of its own, for scripts
"""

import datetime
import os

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.errors import ExpiryRefused, UsageError, utc_text
from derphole.status import Caution, Instruction, Report, Status, TokenIssued
from derphole.token.text import MAX_SESSION_LIFE_S
from derphole.token.typed_times import parse_when, spoken_duration
from tunnel.net.clock import wall
from tunnel.units import Seconds, WallTime
from tunnel.values import frozen

EXPIRES_OPTION = """\
    --expires WHEN              When the token expires: RFC3339, YYYY-MM-DD or a duration
                                such as 8h; at most 7 days (default: 1 hour)
"""


@frozen
class Counterpart:
    """What a person does with the token on the other machine.

    Args:
        command: of this program, there.
        roles: who does what, a sentence.
        uses: for whom the token is good, as in "for one sender".
    """

    command: str
    roles: str
    uses: str


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

    def report(status: Status) -> None:
        if not isinstance(status, TokenIssued):
            output.report(status)
            return
        if is_payload:
            import gevent

            # In the thread pool: a terminal may be stopped, and the relay must go on meanwhile.
            gevent.get_hub().threadpool.apply(output.payload_line, (status.text,))
        if output.is_json or not (is_payload or output.is_on_terminal):
            output.report(status)
        elif not is_payload:
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
    issued: TokenIssued, counterpart: Counterpart, spoken: str, now: WallTime
) -> list[str]:
    """Return what a person reads who is to start the other side.

    Args:
        issued: the token.
        counterpart: what it is for.
        spoken: what people type to start the program.
        now: the present.
    """
    life = spoken_duration(issued.expires_at - now)
    until = utc_text(issued.expires_at)
    return [
        "On the other machine, run:",
        f"    {spoken} {counterpart.command} {issued.text}",
        f"{counterpart.roles} The token is good for {life} (until {until}), {counterpart.uses}.",
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
