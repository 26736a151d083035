"""Token buckets on a clock moved by hand."""

from tunnel.proto.token_bucket import Allowance, Buckets, TokenBucket


def test_a_burst_passes_and_then_the_rate():
    bucket = TokenBucket(Allowance(rate=10, burst=3), now=0.0)

    assert [bucket.try_take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.try_take(0.09)
    assert bucket.try_take(0.11)
    assert not bucket.try_take(0.11)


def test_a_long_rest_fills_no_more_than_the_burst():
    bucket = TokenBucket(Allowance(rate=10, burst=2), now=0.0)

    assert [bucket.try_take(1000.0) for _ in range(3)] == [True, True, False]


def test_debt_is_paid_at_the_rate():
    bucket = TokenBucket(Allowance(rate=1000, burst=500), now=0.0)

    assert bucket.take(0.0, 500) == 0.0
    assert bucket.take(0.0, 250) == 0.25
    assert bucket.take(0.25, 100) == 0.35


def test_a_clock_that_goes_back_fills_nothing():
    bucket = TokenBucket(Allowance(rate=10, burst=1), now=5.0)

    assert bucket.try_take(5.0)
    assert not bucket.try_take(4.0)
    assert not bucket.try_take(5.05)


def test_the_table_forgets_the_key_unused_for_longest():
    buckets = Buckets(Allowance(rate=1, burst=1), capacity=2)

    assert buckets.try_take(0.0, "a")
    assert buckets.try_take(0.0, "b")
    assert not buckets.try_take(0.0, "a")
    assert buckets.try_take(0.0, "c")

    assert len(buckets) == 2
    assert not buckets.try_take(0.0, "a")
    assert buckets.try_take(0.0, "b")
