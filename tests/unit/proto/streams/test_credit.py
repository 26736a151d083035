"""Receive windows: floors, growth, the pool, and how it gets back what lies idle."""

import pytest

from tunnel.errors import ProtocolViolation
from tunnel.proto.streams.credit import (
    CONTESTED_S,
    FIRST_USE,
    FIRST_WINDOW,
    FLOOR,
    IDLE_S,
    MAX_WINDOW,
    POOL,
    CreditPool,
)
from tunnel.proto.streams.receive_stream import ReceiveStream
from tunnel.units import Instant
from tunnel.wire.frames import Credit, Recall, Return

RTT = 0.1


def use(pool, stream, now, size):
    """Receive and read `size` bytes, and return the frames that are due."""
    stream.receive(stream.read_offset, bytes(size), False)
    stream.read(size)
    return pool.renew(Instant(now), stream, RTT)


def use_up(pool, streams, start=0.0, rounds=20):
    """Use every stream's whole window, again and again within two round trips."""
    due = []
    for i in range(rounds):
        for stream in streams:
            due += use(pool, stream, start + i / 100, stream.limit - stream.read_offset)
    return due


def window_of(stream):
    return stream.limit - stream.read_offset


def test_a_question_and_its_answer_need_no_credit():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)

    assert use(pool, stream, 0.0, 1000) == ()
    assert use(pool, stream, 0.0, FIRST_USE - 1001) == ()
    assert stream.limit == FLOOR


def test_a_stream_that_brings_more_gets_a_window():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)
    use(pool, stream, 0.0, FIRST_USE - 1)

    assert use(pool, stream, 0.0, 1) == (Credit(0, FIRST_USE + FIRST_WINDOW, 0),)


def test_nothing_is_told_before_half_a_window_was_used():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)
    use(pool, stream, 0.0, FIRST_USE)

    assert use(pool, stream, 0.0, FIRST_WINDOW // 2 - 1) == ()
    assert use(pool, stream, 0.0, 1) != ()


def test_a_window_used_up_within_two_round_trips_doubles_and_a_slow_one_does_not():
    fast, slow = ReceiveStream(0, FLOOR), ReceiveStream(2, FLOOR)
    pool = CreditPool()
    for stream in (fast, slow):
        use(pool, stream, 0.0, FIRST_USE)

    use(pool, fast, 0.1, FIRST_WINDOW // 2)
    use(pool, slow, 5.0, FIRST_WINDOW // 2)

    assert window_of(fast) == 2 * FIRST_WINDOW
    assert window_of(slow) == FIRST_WINDOW


def test_one_stream_gets_at_most_its_share_and_all_together_the_pool():
    pool = CreditPool()
    streams = [ReceiveStream(i, FLOOR) for i in range(10)]
    for stream in streams:
        use_up(pool, [stream])

    windows = [window_of(stream) for stream in streams]
    assert max(windows) == MAX_WINDOW
    assert sum(windows) <= POOL + 10 * FLOOR
    assert min(windows) >= FLOOR


def test_a_stream_that_is_over_gives_its_window_back():
    pool = CreditPool()
    streams = [ReceiveStream(i, FLOOR) for i in range(10)]
    for stream in streams:
        use_up(pool, [stream])
    late = ReceiveStream(99, FLOOR)
    use(pool, late, 0.25, FIRST_USE)
    assert late.limit == FIRST_USE + FLOOR

    pool.release(0)
    pool.release(0)
    use(pool, late, 0.26, FLOOR)

    assert window_of(late) == FIRST_WINDOW


def test_an_ended_stream_gets_no_more_credit():
    pool, stream = CreditPool(), ReceiveStream(0, FLOOR)
    stream.receive(0, b"abc", True)
    stream.read(1)

    assert pool.renew(Instant(0), stream, RTT) == ()


def full_pool():
    """Return a pool of which two streams hold everything."""
    pool, streams = CreditPool(), [ReceiveStream(0, FLOOR), ReceiveStream(2, FLOOR)]
    use_up(pool, [streams[0]])
    use_up(pool, [streams[1]])
    assert window_of(streams[0]) + window_of(streams[1]) == POOL
    return pool, streams


def test_idle_windows_are_recalled_as_soon_as_another_stream_wants_more_than_is_left():
    pool, idle = full_pool()
    late, now = ReceiveStream(4, FLOOR), 1.0 + IDLE_S

    due = use(pool, late, now, FIRST_USE)
    asked = [frame for frame in due if isinstance(frame, Recall)]
    assert asked == [Recall(s.stream, s.read_offset + FLOOR, 1) for s in idle]
    for stream, recall in zip(idle, asked, strict=True):
        pool.handle_return(Return(stream.stream, recall.limit, 1))

    assert [window_of(stream) for stream in idle] == [FLOOR, FLOOR]
    use_up(pool, [late], start=now + 0.01)
    assert window_of(late) == MAX_WINDOW


def test_what_the_sender_had_used_already_is_not_taken_back():
    pool, (idle, _) = full_pool()
    use(pool, ReceiveStream(4, FLOOR), 1.0 + IDLE_S, FIRST_USE)
    used = idle.read_offset + (1 << 20)

    pool.handle_return(Return(0, used, 1))
    assert idle.receive(used - 8, bytes(8), False)

    with pytest.raises(ProtocolViolation, match="beyond the credit"):
        idle.receive(used, b"x", False)


def test_a_stream_that_came_back_from_idleness_grows_anew_and_its_credit_counts_recalls():
    pool, (idle, other) = full_pool()
    late = ReceiveStream(4, FLOOR)
    use(pool, late, 1.0 + IDLE_S, FIRST_USE)
    for stream in (idle, other):
        pool.handle_return(Return(stream.stream, stream.read_offset + FLOOR, 1))

    due = use(pool, idle, 20.0, FLOOR)

    assert due == (Credit(0, idle.limit, 1),)
    assert pool.repeat_credit(idle) == Credit(0, idle.limit, 1)


def test_no_credit_is_given_and_no_recall_repeated_while_one_is_unanswered():
    pool, (idle, _) = full_pool()
    late = ReceiveStream(4, FLOOR)
    due = use(pool, late, 1.0 + IDLE_S, FIRST_USE)
    recall = next(frame for frame in due if frame.stream == 0 and isinstance(frame, Recall))
    assert pool.is_outstanding(recall)

    later = 1.0 + 2 * IDLE_S + CONTESTED_S
    again = use(pool, late, later, FLOOR)

    assert not [frame for frame in again if isinstance(frame, Recall)]
    assert use(pool, idle, later, window_of(idle)) == ()


@pytest.mark.parametrize(
    ("number", "distance"),
    [
        pytest.param(2, 0, id="a recall that was not made"),
        pytest.param(1, 1, id="more than there is"),
        pytest.param(1, -MAX_WINDOW - 1, id="bytes that came already"),
    ],
)
def test_a_false_return_is_a_violation(number, distance):
    pool, (idle, _) = full_pool()
    use(pool, ReceiveStream(4, FLOOR), 1.0 + IDLE_S, FIRST_USE)

    with pytest.raises(ProtocolViolation):
        pool.handle_return(Return(0, idle.limit + distance, number))


def test_a_return_that_nobody_asked_for_is_a_violation_and_a_repeated_one_is_not():
    pool, (idle, _) = full_pool()
    with pytest.raises(ProtocolViolation):
        pool.handle_return(Return(0, idle.limit, 1))
    use(pool, ReceiveStream(4, FLOOR), 1.0 + IDLE_S, FIRST_USE)
    answer = Return(0, idle.read_offset + FLOOR, 1)

    pool.handle_return(answer)
    pool.handle_return(answer)

    assert window_of(idle) == FLOOR


def test_windows_in_use_shrink_to_an_equal_share_when_others_want_some():
    pool, streams = full_pool()
    streams += [ReceiveStream(i, FLOOR) for i in range(4, 20, 2)]

    use_up(pool, streams, start=0.3, rounds=300)

    windows = [window_of(stream) for stream in streams]
    assert sum(windows) <= POOL + len(windows) * FLOOR
    assert min(windows) >= POOL // len(windows) // 4
    assert max(windows) <= MAX_WINDOW // 2


def test_a_reader_that_stalls_keeps_what_it_has_and_is_not_asked_for_it():
    pool, (stalled, _) = full_pool()
    stalled.receive(stalled.read_offset, bytes(1 << 20), False)

    due = use(pool, ReceiveStream(4, FLOOR), 1.0 + IDLE_S, FIRST_USE)

    assert [frame.stream for frame in due if isinstance(frame, Recall)] == [2]
