# Invariant: WHEN is a moment that a token can carry, or a UsageError fit for a terminal.
from collections.abc import Iterator

from derphole.cli.frame.issuing import local_utc_offset_s
from derphole.errors import UsageError
from derphole.token.grant import MAX_EXPIRY
from derphole.token.typed_times import parse_duration, parse_when
from tunnel.units import WallTime

NOW = WallTime(1_900_000_000.0)
WORDS = (b"2030-01-01", b"T00:00:00", b"Z", b"+14:00", b"-23:59", b"9999-12-31", b"0001-01-01", b"8h",
         b"90s", b"7d", b"1d12h", b"T24:00:00", b"T23:59:60")  # fmt: skip


def run(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    duration = parse_duration(text)
    assert duration is None or duration >= 0
    try:
        moment = parse_when(text, NOW, local_utc_offset_s)
    except UsageError:
        return
    assert 0 <= moment <= MAX_EXPIRY


def seeds() -> Iterator[bytes]:
    for text in (
        "2030-05-06T07:08:09Z",
        "2030-05-06T07:08:09.5+02:00",
        "2030-05-06",
        "1d12h",
        "90s",
    ):
        yield text.encode()
