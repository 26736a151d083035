"""`listen`: print a token, then write the one stream of whoever uses it to standard output."""

import datetime
from contextlib import closing

from derphole.cli.arguments import Arguments
from derphole.cli.network import network_options
from derphole.cli.options import NETWORK_OPTIONS
from derphole.cli.output import Output
from derphole.errors import ExpiryRefused, UsageError, utc_text
from derphole.status import Status, TokenIssued, Warning_
from derphole.token import MAX_SESSION_LIFE_S
from derphole.when import parse_when
from tunnel.net.clock import wall
from tunnel.units import Seconds, WallTime

USAGE = f"""\
Receive one byte stream and write it to standard output.

The token for the other machine goes to standard error, on a line of its own.

USAGE:
    derphole listen [options]

OPTIONS:
    --print-token-only          Print the token on standard output, before the stream
    --expires WHEN              When the token ends: RFC3339, YYYY-MM-DD or a duration such
                                as 8h; at most 7 days (without this option: 1 hour)
{NETWORK_OPTIONS}
EXAMPLES:
    derphole listen > copy.bin
    derphole listen | tar -xpf - -C folder
    derphole listen --expires 8h --relay https://relay.example.com > copy.bin
"""


def run(arguments: Arguments, output: Output) -> int:
    """Receive one stream."""
    options = network_options(arguments)
    expires_at = session_expiry(arguments.text("--expires"), wall())

    import gevent

    from derphole import pipe, stdio
    from derphole.cli.signals import EndingSignals

    def report(status: Status) -> None:
        if isinstance(status, TokenIssued) and arguments.flag("--print-token-only"):
            # In the thread pool: a terminal may be stopped, and the relay must go on meanwhile.
            gevent.get_hub().threadpool.apply(output.payload_line, (status.text,))
            if not output.is_json:
                return
        output.report(status)

    with EndingSignals(), closing(stdio.standard_output()) as sink:
        if sink.is_terminal:
            output.report(Warning_("standard output is a terminal: the raw bytes appear here"))
        receipt = pipe.listen(options, expires_at=expires_at, report=report, sink=sink)
    output.report(receipt)
    return 0


def session_expiry(text: str | None, now: WallTime) -> WallTime | None:
    """Return the end of a session token; None leaves it at the usual life.

    Raises `UsageError` for text that is no WHEN, `ExpiryRefused` for the past and beyond 7 days.
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
        raise ExpiryRefused(f"expiry must be in the future; it is {utc_text(now)} now")
    if expires_at - now > MAX_SESSION_LIFE_S:
        raise ExpiryRefused("expiry must be within 7 days; use a derptun token for longer access")
    return expires_at


def local_utc_offset_s(naive: datetime.datetime) -> Seconds:
    """Return how far east of UTC the local clock is at a moment of its own calendar."""
    offset = naive.astimezone().utcoffset()
    return offset.total_seconds() if offset is not None else 0.0
