"""Compares two commits by what their rounds show: a ratio, its spread, and what may be said of it.

The rounds of both alternate, so that what this machine does meanwhile hits both: each ratio is of
two runs that were neighbours.  A difference counts when it is larger than what the ratios
themselves vary by, and nearly all rounds agree on its sign.  Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

# Chosen: below that, layout and neighbours of a process decide more than a commit.
NOISE_FLOOR = 0.03
# The standard error of a median is 1.25 sigma / sqrt(n), and sigma 1.48 times the median deviation;
# two of these.
SPREAD_FACTOR = 2 * 1.25 * 1.48
# One round of so many may have the other sign.  With five of five that must agree, equal commits
# whose rounds vary by a tenth are called slower once in forty; a quarter of the speed is missed as
# rarely.
ROUNDS_PER_DISSENTER = 8
MIN_ROUNDS = 5  # of three, all agree by chance in a quarter of all cases
SMALLER_IS_BETTER = {"s", "ms", "us", "MB", "s/GiB"}


class Answer(StrEnum):
    """What may be said of one figure."""

    SLOWER = "slower"
    NOISE = "within noise"
    FASTER = "faster"
    UNKNOWN = "too few rounds"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of two commits.

    Args:
        what, unit: see `Figure`.
        ours, theirs: samples of this checkout and of the other commit, round by round.
        is_other: whether somebody else's program is measured: it shows how quiet the machine was.
    """

    what: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    is_other: bool = False

    @property
    def ratios(self) -> list[float]:
        """How many times as good this checkout is, round by round."""
        pairs = zip(self.ours, self.theirs, strict=True)
        if self.unit in SMALLER_IS_BETTER:
            return [their / our for our, their in pairs]
        return [our / their for our, their in pairs]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def noise(self) -> float:
        """How far from 1 a ratio says nothing, as a share."""
        logs = [math.log(ratio) for ratio in self.ratios]
        middle = median(logs)
        deviation = median(abs(value - middle) for value in logs)
        return max(NOISE_FLOOR, math.expm1(SPREAD_FACTOR * deviation / math.sqrt(len(logs))))

    @property
    def answer(self) -> Answer:
        ratios = self.ratios
        if len(ratios) < MIN_ROUNDS:
            return Answer.UNKNOWN
        dissenters = len(ratios) // ROUNDS_PER_DISSENTER
        if self.ratio < 1 / (1 + self.noise) and sum(ratio >= 1 for ratio in ratios) <= dissenters:
            return Answer.SLOWER
        if self.ratio > 1 + self.noise and sum(ratio <= 1 for ratio in ratios) <= dissenters:
            return Answer.FASTER
        return Answer.NOISE

    @property
    def is_slower(self) -> bool:
        """Whether this checkout made something slower."""
        return self.answer is Answer.SLOWER and not self.is_other


def comparison_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Return the table, its head first."""
    rows = [("what", "here", "there", "ratio", "noise", "answer", "ratios")]
    for each in comparisons:
        answer = f"({each.answer}: not ours)" if each.is_other else str(each.answer)
        rows.append(
            (
                each.what,
                f"{median(each.ours):.3g} {each.unit}",
                f"{median(each.theirs):.3g} {each.unit}",
                f"{each.ratio:.3f}",
                f"±{100 * each.noise:.0f} %",
                answer,
                " ".join(f"{ratio:.2f}" for ratio in each.ratios),
            )
        )
    return rows
