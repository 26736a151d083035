"""RangeSet: a set of whole numbers kept as ranges, sorted, disjoint and not touching."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """Half-open ranges [start, stop); every operation costs a bisection and what it removes."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value < self._stops[index]

    @property
    def first(self) -> tuple[int, int]:
        """The lowest range; the set must not be empty."""
        return self._starts[0], self._stops[0]

    @property
    def last(self) -> tuple[int, int]:
        """The highest range; the set must not be empty."""
        return self._starts[-1], self._stops[-1]

    def add(self, start: int, stop: int) -> None:
        """Add [start, stop), joining what it overlaps or touches."""
        if start >= stop:
            return
        low = bisect_left(self._stops, start)
        high = bisect_right(self._starts, stop)
        if low < high:
            start = min(start, self._starts[low])
            stop = max(stop, self._stops[high - 1])
        self._starts[low:high] = [start]
        self._stops[low:high] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Remove [start, stop); what is not there does not matter."""
        low = bisect_right(self._stops, start)
        high = bisect_left(self._starts, stop)
        if low >= high or start >= stop:
            return
        starts, stops = [], []
        if self._starts[low] < start:
            starts.append(self._starts[low])
            stops.append(start)
        if self._stops[high - 1] > stop:
            starts.append(stop)
            stops.append(self._stops[high - 1])
        self._starts[low:high] = starts
        self._stops[low:high] = stops

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of [start, stop) that are not in the set, in order."""
        gaps = []
        index = bisect_right(self._stops, start)
        while start < stop:
            if index == len(self._starts) or self._starts[index] >= stop:
                gaps.append((start, stop))
                break
            if self._starts[index] > start:
                gaps.append((start, self._starts[index]))
            start = self._stops[index]
            index += 1
        return gaps

    def stop_before(self, value: int) -> int:
        """Return where the last range ends that lies below `value`; 0 if there is none."""
        index = bisect_right(self._stops, value) - 1
        return self._stops[index] if index >= 0 else 0

    def forget_first(self) -> None:
        """Drop the lowest range."""
        del self._starts[0], self._stops[0]
