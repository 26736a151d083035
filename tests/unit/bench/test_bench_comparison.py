"""What may be said of a figure that two commits were measured by, in turns."""

import random

import pytest
from comparison import Answer, Comparison, comparison_rows


def compared(ratios, unit="MB/s", **more):
    """A figure that is so many times as large here as there, round by round."""
    return Comparison(
        "rate", unit, [100.0 * ratio for ratio in ratios], [100.0] * len(ratios), **more
    )


@pytest.mark.parametrize(
    ("ratios", "answer"),
    [
        ([0.80, 0.81, 0.79, 0.82, 0.80], Answer.SLOWER),
        ([1.25, 1.24, 1.26, 1.22, 1.25], Answer.FASTER),
        ([0.99, 1.01, 1.00, 0.98, 1.02], Answer.NOISE),
        # One round of many that a neighbour spoiled changes nothing, one of few does.
        ([0.80, 0.81, 1.30, 0.82, 0.80, 0.79, 0.81, 0.80], Answer.SLOWER),
        ([0.80, 0.81, 1.30, 0.82, 0.80], Answer.NOISE),
        # Nor does a difference count that is smaller than what the rounds vary by.
        ([0.70, 1.20, 0.90, 1.10, 0.85], Answer.NOISE),
        # Two rounds of five that say the opposite are no agreement, however clear the median.
        ([0.50, 0.51, 0.50, 1.01, 1.02], Answer.NOISE),
        # Always the same, and too little to mean anything.
        ([0.98, 0.98, 0.98, 0.98, 0.98], Answer.NOISE),
        ([0.5, 0.5, 0.5, 0.5], Answer.UNKNOWN),
    ],
)
def test_what_is_said_follows_from_ratio_and_spread(ratios, answer):
    assert compared(ratios).answer is answer


@pytest.mark.parametrize("unit", ["s", "ms", "us", "MB", "s/GiB"])
def test_more_of_what_costs_is_slower(unit):
    assert compared([1.25, 1.24, 1.26, 1.22, 1.25], unit).answer is Answer.SLOWER


def test_other_peoples_programs_make_nothing_slower():
    ratios = [0.80, 0.81, 0.79, 0.82, 0.80]

    assert compared(ratios).is_slower
    assert not compared(ratios, is_other=True).is_slower


def test_equal_commits_on_a_noisy_machine_are_rarely_told_apart():
    rng = random.Random(5)
    verdicts = [
        compared([rng.lognormvariate(0, 0.1) for _ in range(5)]).answer for _ in range(2000)
    ]

    assert verdicts.count(Answer.SLOWER) <= 0.025 * len(verdicts)


def test_a_quarter_less_speed_is_seen_on_a_noisy_machine():
    rng = random.Random(5)
    verdicts = [
        compared([0.75 * rng.lognormvariate(0, 0.1) for _ in range(5)]).answer for _ in range(2000)
    ]

    assert verdicts.count(Answer.SLOWER) >= 0.975 * len(verdicts)


def test_the_table_shows_both_sides_the_ratio_and_each_round():
    rows = comparison_rows(
        [compared([0.8, 0.81, 0.79, 0.8, 0.8], is_other=True), compared([1.0] * 5)]
    )

    assert rows[0] == ("what", "here", "there", "ratio", "noise", "answer", "ratios")
    assert rows[1][:4] == ("rate", "80 MB/s", "100 MB/s", "0.800")
    assert rows[1][5:] == ("(slower: not ours)", "0.80 0.81 0.79 0.80 0.80")
    assert rows[2][3:] == ("1.000", "±3 %", "within noise", "1.00 1.00 1.00 1.00 1.00")
