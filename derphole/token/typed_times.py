"""Points in time and durations as people type them: RFC 3339, YYYY-MM-DD, 90s, 15m, 8h, 7d.

Pure: the present and the local time zone are passed in.
"""

import datetime
import re
from collections.abc import Callable

from derphole.errors import UsageError
from derphole.token.grant import MAX_EXPIRY
from tunnel.units import Seconds, WallTime

# Seconds east of UTC that the local time zone has at a moment of its own calendar (a naive one).
UtcOffset = Callable[[datetime.datetime], Seconds]

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
DURATION = re.compile(
    r"(?=.)(?:([0-9]{1,6})d)?(?:([0-9]{1,8})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,10})s)?"
)
DAY_S = 86400
UNITS_S = (DAY_S, 3600, 60, 1)


NAMES = ("day", "hour", "minute", "second")
# Chosen: what a person is told of how long something lasts.
SPOKEN_UNITS = 2


def spoken_duration(seconds: Seconds) -> str:
    """Return a duration as people say it, in its two largest units: "1 hour 30 minutes".

    Minutes are rounded from ten on, so that an hour that has just begun is one.
    """
    rest = round(seconds)
    if rest >= 10 * 60:
        rest = 60 * round(seconds / 60)
    parts = []
    for unit, name in zip(UNITS_S, NAMES, strict=True):
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count} {name}" if count == 1 else f"{count} {name}s")
    return " ".join(parts[:SPOKEN_UNITS]) or "0 seconds"


def parse_when(text: str, now: WallTime, utc_offset_s: UtcOffset) -> WallTime:
    """Return the moment that WHEN means.

    Args:
        text: RFC 3339 with an offset; YYYY-MM-DD for local midnight at the start of that day; or a
            duration from now such as 90s, 15m, 8h, 7d or 1d12h.
        now: the present.
        utc_offset_s: the local time zone.

    Raises `UsageError` for anything else and for moments that no token can carry.
    """
    text = text.strip()
    if MOMENT.fullmatch(text):
        moment = _calendar(text.upper())
        seconds = moment.timestamp()
    elif DATE.fullmatch(text):
        midnight = _calendar(text)
        seconds = midnight.replace(tzinfo=datetime.UTC).timestamp()
        if -DAY_S <= seconds <= MAX_EXPIRY + DAY_S:  # far from there no time zone has an answer
            seconds -= utc_offset_s(midnight)
    else:
        duration = parse_duration(text)
        if duration is None:
            raise _unreadable(text)
        seconds = now + duration
    if not 0 <= seconds <= MAX_EXPIRY:
        raise UsageError(f'"{text}" is out of range: a token can carry times from 1970 to 2106')
    return WallTime(seconds)


def parse_duration(text: str) -> Seconds | None:
    """Return the seconds of a duration such as 90s, 15m, 8h, 7d or 1d12h; None if it is not one."""
    match = DURATION.fullmatch(text)
    if match is None:
        return None
    counts = (int(group or 0) for group in match.groups())
    return float(sum(count * unit for count, unit in zip(counts, UNITS_S, strict=True)))


def _calendar(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise _unreadable(text) from error


def _unreadable(text: str) -> UsageError:
    return UsageError(
        f'"{text}" is not a valid time; use RFC3339, YYYY-MM-DD or a duration such as 8h'
    )
