"""One measured figure: its samples and what it must reach."""

from dataclasses import dataclass
from statistics import median


@dataclass
class Figure:
    """Samples of one quantity.

    Args:
        what: the quantity.
        unit: of the samples.
        samples: one for each round, in order.
        must: the bound, None where there is none.
        stretch: the bound we would like.
        is_upper_bound: whether smaller is better.
    """

    what: str
    unit: str
    samples: list[float]
    must: float | None = None
    stretch: float | None = None
    is_upper_bound: bool = False

    @property
    def median(self) -> float:
        return median(self.samples)

    @property
    def is_met(self) -> bool | None:
        if self.must is None:
            return None
        return self.median <= self.must if self.is_upper_bound else self.median >= self.must

    def _bound_text(self, bound: float | None) -> str:
        return "" if bound is None else f"{'<=' if self.is_upper_bound else '>='} {bound:g}"

    @property
    def must_text(self) -> str:
        return self._bound_text(self.must)

    @property
    def stretch_text(self) -> str:
        return self._bound_text(self.stretch)

    def as_record(self) -> dict[str, object]:
        return {
            "what": self.what, "unit": self.unit, "median": self.median, "samples": self.samples,
            "must": self.must, "stretch": self.stretch, "is_met": self.is_met,
        }  # fmt: skip
