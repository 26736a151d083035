"""Rounds of two commits become comparisons, and other programs rows."""

from against import merge
from figure import Figure
from versus import rows


def test_every_figure_that_both_have_is_compared_round_by_round():
    here = [[Figure("rate", "MB/s", [value]), Figure("new", "x", [1.0])] for value in (4.0, 5.0)]
    there = [[Figure("rate", "MB/s", [value]), Figure("old", "x", [1.0])] for value in (2.0, 2.5)]

    [comparison] = merge(here, there)

    assert (comparison.what, comparison.ratios) == ("rate", [2.0, 2.0])


def test_a_benchmark_that_fails_on_one_side_is_left_out():
    assert merge([[Figure("rate", "MB/s", [4.0])]], [[]]) == []
    assert merge([[]], [[Figure("rate", "MB/s", [4.0])]]) == []


def test_a_figure_lives_through_its_record():
    figure = Figure("rate", "MB/s", [1.0, 3.0, 2.0], 0.5, is_other=True)

    again = Figure.from_record(figure.as_record())

    assert (again.what, again.unit, again.samples) == ("rate", "MB/s", [1.0, 3.0, 2.0])
    assert again.is_other
    assert again.median == 2.0


def test_programs_are_compared_with_the_first_in_the_same_round():
    table = rows({"derphole": [100e6, 50e6], "scp": [50e6, 100e6], "tailcat": [200e6, 100e6]})

    assert table[1:] == [
        ("derphole", "75 MB/s", "1.00 x", "100 50"),
        ("scp", "75 MB/s", "1.25 x", "50 100"),
        ("tailcat", "150 MB/s", "2.00 x", "200 100"),
    ]
