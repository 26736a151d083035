"""When acknowledgements are due, and what they say."""

import pytest

from tunnel.proto.recovery.acks import PROMPT_PACKETS, AckState
from tunnel.proto.recovery.rtt import MAX_ACK_DELAY_S
from tunnel.units import Instant
from tunnel.wire.frames import MAX_ACK_RANGES, decode_frames, encode_ack


def settled():
    """Return the state of a path whose prompt first acks are over; next number is 4."""
    state = AckState(0)
    for number in range(PROMPT_PACKETS):
        state.received(Instant(0), number, 1, True)
    state.take(Instant(0), 24)
    return state


def test_the_first_packets_of_a_path_are_acked_at_once():
    state = AckState(3)
    for number in range(PROMPT_PACKETS):
        state.received(Instant(number), number, 1, True)
        assert state.is_due(Instant(number))
        assert state.take(Instant(number), 7).ranges == ((0, number),)


def test_then_one_packet_waits_for_a_second_or_25_ms():
    state = settled()
    state.received(Instant(1.0), 4, 1, True)
    assert state.is_waiting
    assert not state.is_due(Instant(1.0))
    assert state.deadline == pytest.approx(1.0 + MAX_ACK_DELAY_S)

    state.received(Instant(1.001), 5, 1, True)

    assert state.is_due(Instant(1.001))
    assert state.take(Instant(1.001), 24).ranges == ((0, 5),)
    assert not state.is_waiting
    assert state.deadline is None


def test_a_lone_packet_s_deadline_does_not_move():
    state = settled()
    state.received(Instant(1.0), 4, 1, True)
    state.received(Instant(1.01), 5, 1, False)

    assert state.deadline == pytest.approx(1.0 + MAX_ACK_DELAY_S)


@pytest.mark.parametrize("number", [5, 2])
def test_a_packet_that_opens_or_fills_a_gap_is_acked_at_once(number):
    state = settled()

    state.received(Instant(1.0), number, 1, True)

    assert state.is_due(Instant(1.0))


def test_packets_that_elicit_no_ack_are_told_with_the_next_one():
    state = settled()
    state.received(Instant(1.0), 4, 1, False)
    assert not state.is_waiting
    assert state.deadline is None
    state.received(Instant(1.0), 5, 2, True)

    assert state.take(Instant(1.5), 24).ranges == ((0, 6),)


def test_an_ack_tells_its_delay_the_grant_and_the_path():
    state = AckState(3)
    state.received(Instant(1.0), 10, 45, True)

    ack = state.take(Instant(1.25), 9)

    assert (ack.path, ack.relay_grant, ack.delay_us) == (3, 9, 250_000)
    assert ack.ranges == ((10, 54),)
    assert state.take(Instant(1e9), 9).delay_us == 0xFFFFFFFF
    assert state.take(Instant(0.0), 9).delay_us == 0


def test_the_newest_ranges_are_remembered_and_the_oldest_forgotten():
    state = AckState(0)
    for i in range(100):
        state.received(Instant(0), 2 * i, 1, True)

    ack = state.take(Instant(0), 24)

    assert len(ack.ranges) == MAX_ACK_RANGES
    assert ack.ranges[0] == (198, 198)
    assert decode_frames(encode_ack(ack)) == [ack]
