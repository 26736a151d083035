"""Token buckets: how much of something may pass in a second, with a burst.

A bucket starts full.  `try_take` refuses what does not fit; `take` always takes, goes into debt
and tells when the debt is paid, which is how reading from a fast sender is slowed down.  `Buckets`
keeps one bucket per key in a table of bounded size.  A bucket lets its burst and its rate pass in
its first second; where no second at all may see more than a number, a `Window` counts.  Sans-IO:
the clock is an argument.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from tunnel.units import Instant, Seconds
from tunnel.values import frozen

K = TypeVar("K", bound=Hashable)
ROUNDING = 1e-6  # tokens: what is missing at the instant that `ready_at` names


@frozen
class Allowance:
    """What a bucket lets through: `rate` tokens a second (over 0), `burst` tokens at once."""

    rate: float
    burst: float


class TokenBucket:
    """One bucket.

    Args:
        allowance: how fast it fills and how much it holds.
        now: when it was made, full.
    """

    __slots__ = ("_allowance", "_level", "_seen_at")

    def __init__(self, allowance: Allowance, now: Instant) -> None:
        self._allowance = allowance
        self._level = allowance.burst
        self._seen_at = now

    def try_take(self, now: Instant, amount: float = 1.0) -> bool:
        """Take `amount` tokens if they are there, and tell whether they were."""
        self._fill(now)
        if self._level < amount - ROUNDING:
            return False
        self._level -= amount
        return True

    def take(self, now: Instant, amount: float) -> Instant:
        """Take `amount` tokens whether there or not; return when the level is back at 0 or more."""
        self._fill(now)
        self._level -= amount
        debt: Seconds = max(0.0, -self._level) / self._allowance.rate
        return Instant(now + debt)

    def ready_at(self, amount: float = 1.0) -> Instant:
        """Return when `try_take` will find `amount` tokens; in the past if they are there."""
        missing = max(0.0, amount - self._level)
        return Instant(self._seen_at + missing / self._allowance.rate)

    def _fill(self, now: Instant) -> None:
        # A clock that stands still or goes back fills nothing.
        gained = max(0.0, now - self._seen_at) * self._allowance.rate
        self._level = min(self._allowance.burst, self._level + gained)
        self._seen_at = max(self._seen_at, now)


class Window:
    """Lets at most `count` pass in any `span_s`, all of them at once if they come so."""

    __slots__ = ("_span_s", "_times")

    def __init__(self, count: int, span_s: Seconds) -> None:
        self._span_s = span_s
        self._times: deque[Instant] = deque(maxlen=count)  # of the last that passed

    def try_take(self, now: Instant) -> bool:
        """Let one pass if it may, and tell whether it did."""
        if now < self.ready_at():
            return False
        self._times.append(now)
        return True

    def ready_at(self) -> Instant:
        """Return when the next one may pass; in the past if it may now."""
        if len(self._times) < (self._times.maxlen or 0):
            return Instant(0.0)
        return Instant(self._times[0] + self._span_s)


class Buckets(Generic[K]):
    """A bucket per key; of more than `capacity` keys, the one unused for longest is forgotten.

    A forgotten key starts again with a full bucket, so a flood from many keys is bounded by the
    caller's other limits, never by this table alone.
    """

    def __init__(self, allowance: Allowance, capacity: int) -> None:
        self._allowance = allowance
        self._capacity = capacity
        self._bucket_by_key: OrderedDict[K, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bucket_by_key)

    def try_take(self, now: Instant, key: K, amount: float = 1.0) -> bool:
        """Take `amount` tokens of `key` if they are there, and tell whether they were."""
        return self.of(now, key).try_take(now, amount)

    def of(self, now: Instant, key: K) -> TokenBucket:
        """Return the bucket of `key`, a full one if there was none."""
        bucket = self._bucket_by_key.get(key)
        if bucket is None:
            bucket = self._bucket_by_key[key] = TokenBucket(self._allowance, now)
            if len(self._bucket_by_key) > self._capacity:
                self._bucket_by_key.popitem(last=False)
        else:
            self._bucket_by_key.move_to_end(key)
        return bucket
