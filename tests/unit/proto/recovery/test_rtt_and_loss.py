"""Round-trip times, and what counts as lost: RFC 9002 by hand."""

import pytest

from tunnel.errors import ProtocolViolation
from tunnel.proto.recovery.loss import MAX_GIVEN_UP, MAX_PROBE_TIMEOUT_S, SentLedger
from tunnel.proto.recovery.rtt import GRANULARITY_S, INITIAL_RTT_S, MAX_ACK_DELAY_S, RttEstimator
from tunnel.proto.recovery.sent import SentRecord, StreamRange
from tunnel.units import Instant
from tunnel.wire.frames import Ack, Credit


def ack(*ranges, delay_us=0):
    return Ack(0, 24, delay_us, ranges)


def sent(ledger, first, at, count=1, size=1000, is_ack_eliciting=True, **content):
    record = SentRecord(first, count, Instant(at), size, is_ack_eliciting, **content)
    ledger.sent(record)
    return record


def burst(ledger, first, count, at=0.0, start=0, unit=100):
    ranges = [StreamRange(4, start, start + count * unit)]
    return sent(ledger, first, at, count, ranges=ranges, unit=unit)


def shape(records):
    """Return (first number, count, stream range) of records."""
    return [(r.first, r.count, r.ranges[0].start, r.ranges[0].stop) for r in records]


def test_before_a_sample_the_rtt_is_that_of_rfc_9002():
    rtt = RttEstimator()

    assert not rtt.has_sample
    assert rtt.smoothed_s == INITIAL_RTT_S
    assert rtt.probe_timeout_s == pytest.approx(0.333 + 4 * 0.1665 + MAX_ACK_DELAY_S)


def test_samples_are_smoothed_and_the_peer_s_delay_taken_off():
    rtt = RttEstimator()
    rtt.sample(0.100, 0.0)
    assert (rtt.smoothed_s, rtt.minimum_s, rtt.variation_s) == (0.100, 0.100, 0.050)

    rtt.sample(0.140, 0.020)

    assert rtt.minimum_s == 0.100
    assert rtt.latest_s == 0.140
    assert rtt.smoothed_s == pytest.approx(0.875 * 0.100 + 0.125 * 0.120)
    assert rtt.variation_s == pytest.approx(0.75 * 0.050 + 0.25 * 0.020)


def test_a_delay_that_would_go_below_the_minimum_is_not_believed():
    rtt = RttEstimator()
    rtt.sample(0.100, 0.0)
    rtt.sample(0.101, 5.0)

    assert rtt.smoothed_s == pytest.approx(0.875 * 0.100 + 0.125 * 0.101)


def test_timeouts_never_fall_below_the_clock_s_granularity():
    rtt = RttEstimator()
    for _ in range(100):
        rtt.sample(-1.0, 0.0)

    assert rtt.smoothed_s == 0.0
    assert rtt.loss_delay_s == GRANULARITY_S
    assert rtt.probe_timeout_s == pytest.approx(GRANULARITY_S + MAX_ACK_DELAY_S)


def test_an_ack_takes_packets_out_of_flight_and_gives_a_sample():
    ledger = SentLedger(has_packet_threshold=False)
    for number in range(3):
        sent(ledger, number, at=number / 10)
    assert (ledger.in_flight_packets, ledger.in_flight_bytes) == (3, 3000)
    assert ledger.unanswered_since == 0.0

    newly = ledger.acked(Instant(0.5), ack((1, 2)))

    assert [record.first for record in newly] == [1, 2]
    assert (ledger.in_flight_packets, ledger.in_flight_bytes) == (1, 1000)
    assert ledger.rtt.latest_s == pytest.approx(0.3)
    assert ledger.acked(Instant(0.6), ack((1, 2))) == []


def test_an_ack_that_confirms_only_old_packets_gives_no_sample():
    ledger = SentLedger(has_packet_threshold=False)
    for number in range(3):
        sent(ledger, number, at=0.0)
    ledger.acked(Instant(0.1), ack((2, 2)))

    ledger.acked(Instant(9.0), ack((0, 2)))

    assert ledger.rtt.latest_s == pytest.approx(0.1)


def test_an_ack_of_what_was_never_sent_is_a_violation():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=0.0)

    with pytest.raises(ProtocolViolation):
        ledger.acked(Instant(1.0), ack((1, 1)))


def test_packets_that_elicit_no_ack_are_never_in_flight_but_may_be_acked():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=0.0, is_ack_eliciting=False)

    assert ledger.in_flight_packets == 0
    assert ledger.unanswered_since is None
    assert ledger.probe_deadline() is None
    assert ledger.acked(Instant(1.0), ack((0, 0))) == []


def test_on_a_relay_data_is_not_lost_because_control_overtook_it():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=0.0)
    sent(ledger, 1, at=0.0)
    sent(ledger, 2, at=0.1, is_control=True)

    ledger.acked(Instant(0.2), ack((2, 2)))

    assert ledger.loss_deadline() is None
    assert ledger.lost(Instant(60.0)) == []
    assert ledger.in_flight_packets == 2


def test_on_a_relay_data_is_lost_once_later_data_has_arrived():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=0.0)
    sent(ledger, 1, at=0.0, is_control=True)
    sent(ledger, 2, at=0.1)
    ledger.acked(Instant(0.2), ack((1, 2)))
    deadline = ledger.loss_deadline()

    assert deadline == pytest.approx(1.125 * 0.1)
    assert [record.first for record in ledger.lost(Instant(0.2))] == [0]
    assert ledger.in_flight_packets == 0


def test_on_a_relay_control_is_lost_once_anything_later_has_arrived():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=0.0)
    sent(ledger, 1, at=0.0, is_control=True)
    sent(ledger, 2, at=0.1, is_control=True)
    ledger.acked(Instant(0.2), ack((2, 2)))

    assert [record.first for record in ledger.lost(Instant(0.2))] == [1]
    assert ledger.oldest.first == 0


def test_on_a_relay_a_packet_is_lost_by_time_alone():
    ledger = SentLedger(has_packet_threshold=False)
    for number in range(10):
        sent(ledger, number, at=0.0)
    assert ledger.loss_deadline() is None

    ledger.acked(Instant(0.1), ack((1, 9)))

    assert ledger.lost(Instant(0.111)) == []
    assert ledger.loss_deadline() == pytest.approx(0.1125)
    assert [record.first for record in ledger.lost(Instant(0.113))] == [0]
    assert ledger.in_flight_packets == 0


def test_on_a_direct_path_three_packets_later_is_lost_too():
    ledger = SentLedger(has_packet_threshold=True)
    for number in range(6):
        sent(ledger, number, at=0.0)

    ledger.acked(Instant(0.1), ack((3, 3)))

    assert [record.first for record in ledger.lost(Instant(0.1))] == [0]
    ledger.acked(Instant(0.1), ack((5, 5)))
    assert [record.first for record in ledger.lost(Instant(0.1))] == [1, 2]


def test_a_packet_that_arrives_after_it_was_called_lost_raises_the_threshold():
    ledger = SentLedger(has_packet_threshold=True)
    for number in range(40):
        sent(ledger, number, at=0.0)
    ledger.acked(Instant(0.1), ack((1, 20)))
    assert [record.first for record in ledger.lost(Instant(0.1))] == [0]

    ledger.acked(Instant(0.101), ack((0, 20)))

    assert ledger.packet_threshold == 21
    ledger.acked(Instant(0.101), ack((22, 39), (0, 20)))
    assert ledger.lost(Instant(0.101)) == []
    assert [record.first for record in ledger.lost(Instant(0.12))] == [21]


def test_the_threshold_has_a_limit_and_a_changed_path_starts_with_three():
    ledger = SentLedger(has_packet_threshold=True)
    for number in range(2000):
        sent(ledger, number, at=0.0)
    ledger.acked(Instant(0.1), ack((1, 1999)))
    ledger.lost(Instant(0.1))
    ledger.acked(Instant(0.1), ack((0, 1999)))
    assert ledger.packet_threshold == 256

    ledger.all_lost()

    assert ledger.packet_threshold == 3


def test_what_was_sent_after_the_newest_acked_packet_is_never_lost():
    ledger = SentLedger(has_packet_threshold=True)
    sent(ledger, 0, at=0.0)
    sent(ledger, 1, at=0.0)
    ledger.acked(Instant(0.1), ack((0, 0)))

    assert ledger.lost(Instant(99.0)) == []
    assert ledger.loss_deadline() is None


def test_probes_back_off_to_two_seconds_and_start_over_with_an_answer():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=10.0)
    first = ledger.probe_timeout_s
    assert ledger.probe_deadline() == pytest.approx(10.0 + first)

    for count in range(1, 20):
        ledger.probed(Instant(10.0 + count))
        sent(ledger, count, at=10.0 + count)
    assert ledger.probe_timeout_s == MAX_PROBE_TIMEOUT_S
    assert ledger.probe_deadline() == pytest.approx(29.0 + MAX_PROBE_TIMEOUT_S)

    ledger.acked(Instant(30.0), ack((5, 5)))
    assert ledger.probe_count == 0


def test_a_probe_timeout_over_two_seconds_is_not_cut():
    ledger = SentLedger(has_packet_threshold=False)
    sent(ledger, 0, at=0.0)
    ledger.acked(Instant(5.0), ack((0, 0)))

    assert ledger.probe_timeout_s > 5.0


def test_a_few_late_answers_do_not_put_a_probe_off_once_answers_are_quick_again():
    ledger = SentLedger(has_packet_threshold=False)
    for number, (sent_at, acked_at) in enumerate([(0.0, 5.0), (5.0, 9.0), (9.0, 9.2)]):
        sent(ledger, number, at=sent_at)
        ledger.acked(Instant(acked_at), ack((number, number)))
    assert ledger.rtt.probe_timeout_s > 8.0
    sent(ledger, 3, at=10.0)

    assert ledger.probe_deadline() == pytest.approx(10.0 + MAX_PROBE_TIMEOUT_S)


def test_a_changed_path_returns_everything_and_starts_its_model_anew():
    ledger = SentLedger(has_packet_threshold=False)
    for number in range(3):
        sent(ledger, number, at=0.0, frames=[Credit(number, 5, 0)])
    ledger.acked(Instant(0.1), ack((0, 0)))
    ledger.probed(Instant(0.2))

    lost = ledger.all_lost()

    assert [record.first for record in lost] == [1, 2]
    assert (ledger.in_flight_packets, ledger.in_flight_bytes, ledger.probe_count) == (0, 0, 0)
    assert not ledger.rtt.has_sample
    assert ledger.acked(Instant(0.3), ack((1, 2))) == []
    sent(ledger, 3, at=1.0)
    assert ledger.in_flight_packets == 1


def test_a_burst_is_acked_in_any_pieces():
    ledger = SentLedger(has_packet_threshold=True)
    burst(ledger, 10, 10)
    burst(ledger, 20, 5, start=1000)

    assert shape(ledger.acked(Instant(0.1), ack((13, 15)))) == [(13, 3, 300, 600)]
    assert ledger.in_flight_packets == 12
    assert shape(ledger.acked(Instant(0.1), ack((18, 21), (10, 10)))) == [
        (18, 2, 800, 1000),
        (20, 2, 1000, 1200),
        (10, 1, 0, 100),
    ]
    assert ledger.in_flight_packets == 7
    assert shape(ledger.lost(Instant(99.0))) == [(11, 2, 100, 300), (16, 2, 600, 800)]
    assert shape(ledger.acked(Instant(99.0), ack((10, 24)))) == [(22, 3, 1200, 1500)]
    assert (ledger.in_flight_packets, ledger.in_flight_bytes) == (0, 0)


def test_a_piece_of_a_burst_that_is_the_newest_gives_the_sample():
    ledger = SentLedger(has_packet_threshold=True)
    burst(ledger, 0, 45, at=1.0)

    ledger.acked(Instant(1.2), ack((0, 9)))

    assert ledger.rtt.latest_s == pytest.approx(0.2)
    assert ledger.in_flight_packets == 35


def test_what_was_given_up_and_is_acknowledged_after_all_is_told_once():
    ledger = SentLedger(has_packet_threshold=True)
    burst(ledger, 0, 10)
    sent(ledger, 10, at=0.1)  # a ping
    assert ledger.has_content

    given_up = ledger.give_up()

    assert [record.first for record in given_up] == [0, 10]
    assert (ledger.in_flight_packets, ledger.in_flight_bytes) == (0, 0)
    assert not ledger.has_content
    assert ledger.acked(Instant(1.0), ack((10, 10), (3, 5))) == []
    assert shape(ledger.acked_late(ack((10, 10), (3, 5)))) == [(3, 3, 300, 600)]
    assert ledger.acked_late(ack((10, 10), (3, 5))) == []
    assert shape(ledger.acked_late(ack((0, 9)))) == [
        (0, 3, 0, 300),
        (6, 4, 600, 1000),
    ]


def test_what_was_given_up_is_remembered_until_too_much_is():
    ledger = SentLedger(has_packet_threshold=False)
    for number in range(MAX_GIVEN_UP + 2):
        sent(ledger, number, at=0.0, ranges=[StreamRange(4, number, number + 1)])
        if number % 3 == 0:
            ledger.give_up()
    ledger.all_lost()

    late = ledger.acked_late(ack((0, MAX_GIVEN_UP + 1)))

    assert [record.first for record in late] == list(range(2, MAX_GIVEN_UP + 2))


def test_an_acknowledgement_that_came_by_another_path_tells_neither_round_trip_nor_life():
    ledger = SentLedger(has_packet_threshold=False)
    for number in range(3):
        sent(ledger, number, at=number / 10)

    newly = ledger.acked(Instant(5.0), ack((0, 1)), is_own=False)

    assert [record.first for record in newly] == [0, 1]
    assert not ledger.rtt.has_sample
    assert ledger.unanswered_since == 0.2
