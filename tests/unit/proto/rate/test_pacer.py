"""Pacing: bursts of the right length, at the right times, and what a late wake-up may make good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.proto.rate.pacer import CATCH_UP_PACKETS, MAX_PACED_BURST, Pacer

NOW = 50.0
PACKET = 1200


def rate_of(packets_per_ms):
    return packets_per_ms * PACKET * 1000.0


def send_all(pacer, now):
    """Send packet by packet until the pacer says stop; return how many left."""
    sent = 0
    while pacer.sendable_packets(now) > 0:
        pacer.on_sent(now, PACKET)
        sent += 1
    return sent


@pytest.mark.parametrize(
    ("packets_per_ms", "burst"), [(0.01, 2), (1.5, 2), (3.2, 3), (20, 20), (45, 45), (1000, 45)]
)
def test_a_burst_is_one_millisecond_of_the_rate_within_its_limits(packets_per_ms, burst):
    assert Pacer(NOW, rate_of(packets_per_ms), PACKET, None).burst_packets == burst


@pytest.mark.parametrize(("peer_buffer", "burst"), [(24 * PACKET, 6), (100, 2), (1 << 30, 45)])
def test_a_burst_takes_a_quarter_of_the_other_side_s_buffer_at_most(peer_buffer, burst):
    pacer = Pacer(NOW, rate_of(100), PACKET, peer_buffer)

    assert pacer.burst_packets == burst
    assert pacer.depth <= max(peer_buffer / 4, 2 * PACKET)


def test_the_first_burst_may_leave_at_once_and_the_next_a_burst_s_time_later():
    pacer = Pacer(NOW, rate_of(10), PACKET, None)

    assert pacer.next_send_at(NOW) == NOW
    assert send_all(pacer, NOW) == 10
    assert pacer.next_send_at(NOW) == pytest.approx(NOW + 0.001)
    assert pacer.sendable_packets(NOW + 0.0009) == 0
    assert send_all(pacer, NOW + 0.001) == 10


def test_a_slow_path_sends_two_packets_at_a_time():
    pacer = Pacer(NOW, rate_of(0.1), PACKET, None)

    assert send_all(pacer, NOW) == 2
    assert pacer.next_send_at(NOW) == pytest.approx(NOW + 0.02)


@pytest.mark.parametrize(("late_s", "packets"), [(0.0005, 15), (0.001, 20), (0.005, 20), (60, 20)])
def test_a_late_wake_up_makes_up_for_two_milliseconds_at_most(late_s, packets):
    pacer = Pacer(NOW, rate_of(10), PACKET, None)
    send_all(pacer, NOW)

    assert send_all(pacer, NOW + 0.001 + late_s) == packets


def test_a_faster_rate_shortens_the_wait_that_has_begun():
    pacer = Pacer(NOW, rate_of(0.1), PACKET, None)
    send_all(pacer, NOW)
    pacer.set_rate(NOW, rate_of(10))

    assert pacer.next_send_at(NOW) == pytest.approx(NOW + 0.001)


def test_a_slower_rate_takes_credit_beyond_its_depth_away():
    pacer = Pacer(NOW, rate_of(45), PACKET, None)
    pacer.set_rate(NOW, rate_of(1))

    assert send_all(pacer, NOW) == CATCH_UP_PACKETS


def test_control_packets_run_into_a_debt_that_is_bounded():
    pacer = Pacer(NOW, rate_of(1), PACKET, None)
    for _ in range(1000):
        pacer.on_sent(NOW, PACKET)

    assert NOW < pacer.next_send_at(NOW) <= NOW + 0.0121


def test_larger_packets_make_shorter_bursts():
    pacer = Pacer(NOW, rate_of(12), PACKET, None)
    pacer.set_packet_size(PACKET * 2)

    assert pacer.burst_packets == 6


def test_a_clock_that_goes_back_earns_nothing():
    pacer = Pacer(NOW, rate_of(10), PACKET, None)
    send_all(pacer, NOW)

    assert pacer.sendable_packets(NOW - 10) == 0
    assert pacer.sendable_packets(NOW) == 0


@given(
    st.floats(1e3, 1e10),
    st.one_of(st.none(), st.integers(0, 1 << 24)),
    st.lists(st.floats(0, 0.05), max_size=40),
)
def test_no_schedule_of_wake_ups_beats_the_rate(rate, peer_buffer, waits):
    pacer = Pacer(NOW, rate, PACKET, peer_buffer)
    now, sent = NOW, 0
    for wait in [0.0, *waits]:
        now += wait
        left = send_all(pacer, now) * PACKET
        sent += left

        assert left <= max(pacer.depth, MAX_PACED_BURST * PACKET)
        assert pacer.next_send_at(now) > now
    assert sent <= pacer.depth + rate * (now - NOW) * 1.0001 + 2 * PACKET


@given(st.floats(1e3, 1e10), st.integers(1, 200))
def test_waking_exactly_when_told_always_finds_a_burst(rate, rounds):
    pacer = Pacer(NOW, rate, PACKET, None)
    now = NOW
    for _ in range(rounds):
        assert pacer.sendable_packets(now) == pacer.burst_packets
        pacer.on_sent(now, pacer.burst_packets * PACKET)
        later = pacer.next_send_at(now)
        assert later > now
        now = later
