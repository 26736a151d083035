"""Receive windows: floors, growth, the pool."""

from tunnel.proto.credit import FIRST_WINDOW, FLOOR, MAX_WINDOW, POOL, CreditPool
from tunnel.proto.receive_stream import ReceiveStream
from tunnel.units import Instant

RTT = 0.1


def use(pool, stream, now, size):
    """Receive and read `size` bytes, and return the new limit if one is told."""
    stream.receive(stream.read_offset, bytes(size), False)
    stream.read(size)
    return pool.renew(Instant(now), stream, RTT)


def test_the_first_read_opens_a_window():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)

    assert use(pool, stream, 0.0, 1000) == 1000 + FIRST_WINDOW


def test_nothing_is_told_before_half_a_window_was_used():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)
    use(pool, stream, 0.0, 1000)

    assert use(pool, stream, 0.0, FIRST_WINDOW // 2 - 1) is None
    assert use(pool, stream, 0.0, 1) is not None


def test_a_window_used_up_within_two_round_trips_doubles_and_a_slow_one_does_not():
    fast, slow = ReceiveStream(0, FLOOR), ReceiveStream(2, FLOOR)
    pool = CreditPool()
    for stream in (fast, slow):
        use(pool, stream, 0.0, 1000)

    use(pool, fast, 0.1, FIRST_WINDOW // 2)
    use(pool, slow, 5.0, FIRST_WINDOW // 2)

    assert fast.limit - fast.read_offset == 2 * FIRST_WINDOW
    assert slow.limit - slow.read_offset == FIRST_WINDOW


def test_one_stream_gets_at_most_its_share_and_all_together_the_pool():
    pool = CreditPool()
    streams = [ReceiveStream(i, FLOOR) for i in range(10)]
    for stream in streams:
        for now in range(20):
            use(pool, stream, now / 100, stream.limit - stream.read_offset)

    windows = [stream.limit - stream.read_offset for stream in streams]
    assert max(windows) == MAX_WINDOW
    assert sum(windows) <= POOL + 10 * FLOOR
    assert min(windows) >= FLOOR


def test_a_stream_that_is_over_gives_its_window_back():
    pool = CreditPool()
    for stream in [ReceiveStream(i, FLOOR) for i in range(10)]:
        for now in range(20):
            use(pool, stream, now / 100, stream.limit - stream.read_offset)
    late = ReceiveStream(99, FLOOR)
    use(pool, late, 1.0, 1000)
    assert late.limit == 1000 + FLOOR

    pool.release(0)
    pool.release(0)
    use(pool, late, 1.01, FLOOR)

    assert late.limit - late.read_offset == 2 * FLOOR


def test_an_ended_stream_gets_no_more_credit():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)
    stream.receive(0, b"abc", True)
    stream.read(1)

    assert pool.renew(Instant(0), stream, RTT) is None
