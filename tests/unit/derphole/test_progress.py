"""Progress: what follows from measures, and the row that shows it at every width."""

import pytest

from derphole.cli.frame.progress import REDRAW_S, STILL_S, bar_text, cells_of
from derphole.progress import Measure, Pace
from derphole.transfer_status import Progress
from tunnel.units import Instant

MIB = 1 << 20
RELAY = "relay fra (203.0.113.5:443)"
KNOWN = Progress(45 * MIB, 100 * MIB, 4.2, 11.25 * MIB, 0.0, RELAY)
UNKNOWN = Progress(45 * MIB, None, 4.2, 11.25 * MIB, 0.0, RELAY)
HUGE = Progress(
    1023 << 40, 5000 << 40, 600_000.0, 1023.9 * (1 << 30), 0.0, "direct [2001:db8::1]:41641"
)
WIDTHS = range(40, 201)


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds)


# --- what follows from measures ---


def paced(rates: list[float], *, every_s: float = REDRAW_S) -> Progress:
    """Return the progress after steps of so many bytes a second each."""
    pace, done, progress = Pace(at(0)), 0.0, None
    for step, rate in enumerate(rates, start=1):
        done += rate * every_s
        progress = pace.take(at(step * every_s), Measure(round(done), None, RELAY))
    assert progress is not None
    return progress


def test_a_steady_rate_is_told_from_the_first_measure_on() -> None:
    for count in (1, 3, 100):
        assert paced([MIB] * count).rate == pytest.approx(MIB, rel=0.01)


def test_a_rate_that_changes_is_followed_within_seconds_and_not_at_once() -> None:
    fast = [8.0 * MIB] * 100

    assert paced([*fast, MIB]).rate > 7 * MIB
    assert paced([*fast, *[1.0 * MIB] * 60]).rate == pytest.approx(MIB, rel=0.2)


def test_the_rate_does_not_depend_on_how_often_is_measured() -> None:
    often = paced([MIB] * 50 + [0] * 20, every_s=0.1)
    seldom = paced([MIB] * 10 + [0] * 4, every_s=0.5)

    assert often.rate == pytest.approx(seldom.rate, rel=0.01)


def test_a_stall_is_seen() -> None:
    progress = paced([MIB] * 10 + [0] * 80)

    assert progress.still_s == pytest.approx(8.0)
    assert progress.elapsed_s == pytest.approx(9.0)
    assert progress.rate < MIB / 50


def test_two_measures_at_one_moment_and_a_step_back_do_no_harm() -> None:
    pace = Pace(at(0))
    pace.take(at(1), Measure(100, 200, RELAY))
    assert pace.take(at(1), Measure(150, 200, RELAY)).done == 150
    assert pace.take(at(2), Measure(0, 200, RELAY)).rate >= 0


# --- the row ---


def test_the_row_of_a_known_size_is_that_of_the_original_with_the_path() -> None:
    assert bar_text(KNOWN, 200) == (
        f" 45%|#########...........| 45.0MiB/100.0MiB [00:04<00:05, 11.2MiB/s] {RELAY}"
    )


def test_an_unknown_size_is_a_counter() -> None:
    assert bar_text(UNKNOWN, 200) == f"45.0MiB [00:04, 11.2MiB/s] {RELAY}"


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (79, " 45%|#########...........| 45.0MiB/100.0MiB [00:04<00:05, 11.2MiB/s] relay"),
        (60, " 45% 45.0MiB/100.0MiB [00:04<00:05, 11.2MiB/s] relay"),
        (45, " 45% 45.0MiB/100.0MiB 11.2MiB/s relay"),
        (30, " 45% 45.0MiB 11.2MiB/s relay"),
        (25, " 45% 45.0MiB 11.2MiB/s"),
        (10, " 45% 45.0M"),
    ],
)
def test_what_matters_most_stays_on_a_narrow_terminal(columns: int, row: str) -> None:
    assert bar_text(KNOWN, columns) == row


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_row_never_wraps_and_always_has_bytes_and_rate(columns: int) -> None:
    for progress in (KNOWN, UNKNOWN, HUGE, Progress(0, 0), Progress(5, 3)):
        row = bar_text(progress, columns - 1)
        assert cells_of(row) < columns
        assert "/s" in row


def test_a_stall_stands_where_the_rate_was() -> None:
    still = Progress(45 * MIB, 100 * MIB, 30.0, 0.2, 12.0, RELAY)

    assert "[00:30<--:--, nothing for 12 s]" in bar_text(still, 200)
    assert "nothing for 12 s" in bar_text(still, 39)
    assert "nothing" not in bar_text(Progress(5, 9, 30.0, 0.2, STILL_S - 0.1, RELAY), 200)


def test_all_bytes_are_not_yet_all_that_is_to_be_done() -> None:
    assert bar_text(Progress(MIB, MIB), 79).startswith(" 99%|####################| ")


def test_no_control_character_reaches_the_terminal_and_wide_letters_count_twice() -> None:
    row = bar_text(
        Progress(5, None, 1.0, 5.0, 0.0, "relay 東京\x1b[2J\r\n\u202e(192.0.2.1:443)"), 199
    )

    assert row.isprintable()
    assert "\\x1b[2J" in row
    assert cells_of(row) == len(row) + 2
    assert cells_of("e\u0301") == 1
