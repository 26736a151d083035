"""What commands that print a session token share: its options, its end, where it goes."""

import datetime

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.errors import ExpiryRefused, UsageError, utc_text
from derphole.status import Report, Status, TokenIssued
from derphole.token.text import MAX_SESSION_LIFE_S
from derphole.token.typed_times import parse_when
from tunnel.units import Seconds, WallTime

EXPIRES_OPTION = """\
    --expires WHEN              When the token expires: RFC3339, YYYY-MM-DD or a duration
                                such as 8h; at most 7 days (default: 1 hour)
"""


def token_reporter(arguments: Arguments, output: Output) -> Report:
    """Return what shows statuses, and the token on standard output if that is asked for.

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
        if isinstance(status, TokenIssued) and is_payload:
            import gevent

            # In the thread pool: a terminal may be stopped, and the relay must go on meanwhile.
            gevent.get_hub().threadpool.apply(output.payload_line, (status.text,))
            if not output.is_json:
                return
        output.report(status)

    return report


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
        raise ExpiryRefused("within 7 days", "use a derptun token for longer access")
    return expires_at


def local_utc_offset_s(naive: datetime.datetime) -> Seconds:
    """Return how far east of UTC the local clock is at a moment of its own calendar."""
    offset = naive.astimezone().utcoffset()
    return offset.total_seconds() if offset is not None else 0.0
