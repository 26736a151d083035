"""Points in time as people type them."""

import datetime

import pytest

from derphole.errors import UsageError
from derphole.token.typed_times import parse_duration, parse_when, spoken_duration

NOW = 1_800_000_000.5  # 2027-01-15T08:00:00.5Z


def two_hours_east_in_summer(naive: datetime.datetime) -> float:
    return 7200.0 if 4 <= naive.month <= 9 else 3600.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T09:00:00Z", 1_800_003_600),
        ("2027-01-15t09:00:00z", 1_800_003_600),
        ("2027-01-15T09:00:00+01:00", 1_800_000_000),
        ("2027-01-15T09:00:00.25-00:30", 1_800_005_400.25),
        ("2027-01-16", 1_800_000_000 + 16 * 3600 - 3600),
        ("2027-07-01", 1_814_400_000 - 7200),
        (" 90s ", NOW + 90),
        ("15m", NOW + 900),
        ("8h", NOW + 8 * 3600),
        ("7d", NOW + 7 * 86400),
        ("1d12h", NOW + 36 * 3600),
        ("0s", NOW),
    ],
)
def test_when_is_understood(text, seconds):
    assert parse_when(text, NOW, two_hours_east_in_summer) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "tomorrow",
        "8",
        "8 h",
        "-8h",
        "8H",
        "1h1d",
        "1.5h",
        "2027-02-30",
        "2027-13-01",
        "2027-01-15T25:00:00Z",
        "2027-01-15T09:00:00",
        "2027-01-15 09:00:00Z",
        "2027-1-5",
        "٣h",
        "9999999d",
    ],
)
def test_other_text_is_refused_with_the_forms_that_work(text):
    with pytest.raises(UsageError, match="use RFC3339, YYYY-MM-DD or a duration such as 8h"):
        parse_when(text, NOW, two_hours_east_in_summer)


@pytest.mark.parametrize("text", ["1969-12-31T00:00:00Z", "2107-01-01", "999999d"])
def test_what_no_token_can_carry_is_refused(text):
    with pytest.raises(UsageError, match="out of range"):
        parse_when(text, NOW, two_hours_east_in_summer)


def test_a_duration_is_seconds():
    assert parse_duration("1d1h1m1s") == 86400 + 3600 + 60 + 1
    assert parse_duration("") is None
    assert parse_duration("10") is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3600, "1 hour"),
        (3598.4, "1 hour"),
        (28799, "8 hours"),
        (5400, "1 hour 30 minutes"),
        (7 * 86400, "7 days"),
        (129_600, "1 day 12 hours"),
        (90, "1 minute 30 seconds"),
        (1, "1 second"),
        (0.2, "0 seconds"),
    ],
)
def test_durations_are_said_in_two_units(seconds, text):
    assert spoken_duration(seconds) == text
