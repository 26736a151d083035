"""The relay's window, by hand; the simulated world shows it at work."""

from math import ceil

import pytest

from tunnel.crypto.keys import DerpKey
from tunnel.proto.link.path import RelayPath
from tunnel.proto.machine import RelayEndpoint
from tunnel.proto.rate.relay import (
    AGAIN_FRAME,
    AGAIN_SHARE,
    BEST_FOR_S,
    FIRST_RELAY_FRAME,
    FIRST_RELAY_WINDOW,
    LEAST_FRAMES,
    LONGEST_RTT_LIFE_S,
    MAX_RELAY_FRAME,
    MIN_RELAY_FRAME,
    MINIMUM_RTT_LIFE_S,
    POLITE_AFTER,
    POLITE_WINDOW,
    START_DOUBLES_S,
    START_GROWTH,
    WINDOW_GAIN,
    RelayController,
)
from tunnel.proto.recovery.rtt import MAX_ACK_DELAY_S
from tunnel.proto.recovery.sent import SentRecord, StreamRange
from tunnel.units import Instant

GRANT = 24
FIRST_BYTES = FIRST_RELAY_WINDOW * FIRST_RELAY_FRAME


class Path:
    """A way with one slow line: frames leave it one after the other, and are acknowledged."""

    def __init__(self, rate, rtt_s, grant=GRANT, is_polite=False):
        self.controller = RelayController(grant, is_polite)
        self.rate, self.rtt_s = rate, rtt_s
        self.now = 100.0
        self.in_flight = []  # when it is acknowledged, record
        self.most_in_flight = 0
        self.acks_every_s = 0.0  # the other side's process runs so rarely
        self._free_at = 0.0
        self._number = 0

    def send(self, size, has_more=True, is_data=True):
        ranges = [StreamRange(0, 0, size)] if is_data else []
        record = SentRecord(self._number, 1, Instant(self.now), size, True, ranges)
        self._number += 1
        if not self.in_flight:
            self.controller.on_idle_ended(Instant(self.now))
        self.controller.on_sent(record, has_more)
        self._free_at = max(self._free_at, self.now) + size / self.rate
        acked_at = self._free_at + self.rtt_s
        if self.acks_every_s:
            acked_at = ceil(acked_at / self.acks_every_s) * self.acks_every_s
        self.in_flight.append((acked_at, record))
        return record

    @property
    def bytes_in_flight(self):
        return sum(record.size for _, record in self.in_flight)

    def may_send(self):
        return self.controller.may_send(len(self.in_flight), self.bytes_in_flight)

    def answer(self):
        """Let the oldest frame be acknowledged."""
        self.now, record = self.in_flight.pop(0)
        records = [record]
        while self.in_flight and self.in_flight[0][0] == self.now:
            records.append(self.in_flight.pop(0)[1])
        self.controller.on_acked(Instant(self.now), records, 0.0)

    def ping(self):
        self.send(60, has_more=False, is_data=False)
        self.answer()

    def fill(self, seconds):
        """Send all that may be sent for a while."""
        end = self.now + seconds
        while self.now < end:
            while self.may_send():
                self.send(self.controller.packet_size())
            self.most_in_flight = max(self.most_in_flight, self.bytes_in_flight)
            self.answer()


def test_two_frames_of_16_kib_before_any_answer():
    controller = RelayController(GRANT, is_polite=False)

    assert controller.packet_size() == FIRST_RELAY_FRAME
    assert controller.may_send(1, 1 << 30)
    assert not controller.may_send(2, 0)
    assert not RelayController(1, is_polite=False).may_send(1, 0)


def test_the_same_bytes_in_small_frames_once_a_round_trip_is_known():
    path = Path(rate=1e9, rtt_s=0.05)
    path.ping()

    while path.may_send():
        path.send(path.controller.packet_size())

    assert path.controller.rate is None
    assert path.controller.packet_size() == MIN_RELAY_FRAME
    assert path.bytes_in_flight == FIRST_BYTES


def test_a_grant_of_two_frames_makes_the_first_frames_larger():
    path = Path(rate=1e9, rtt_s=0.05, grant=2)
    path.ping()
    path.send(FIRST_RELAY_FRAME)
    path.answer()

    assert path.controller.packet_size() > FIRST_RELAY_FRAME


@pytest.mark.parametrize(("rate", "rtt_s"), [(8e3, 0.05), (128e3, 0.05), (1e6, 0.02), (1e6, 0.3)])
def test_a_line_is_filled_with_twice_what_fits_and_one_frame(rate, rtt_s):
    path = Path(rate, rtt_s)
    path.ping()
    path.fill(20)
    path.most_in_flight = 0
    path.fill(5)

    controller = path.controller
    size = controller.packet_size()
    # A round trip was measured behind one frame, which is itself on the line meanwhile.
    fits = WINDOW_GAIN * rate * (rtt_s + size / rate + MAX_ACK_DELAY_S)
    assert controller.rate == pytest.approx(rate, rel=0.1)
    assert path.most_in_flight <= max(1.1 * fits + size, LEAST_FRAMES * size)
    assert path.most_in_flight >= rate * rtt_s + size


def test_a_receiver_that_is_scheduled_every_80_ms_is_served_at_the_full_rate():
    """Its acknowledgements come in bunches; on a window of 25 ms the rate would fall with each."""
    path = Path(rate=2e6, rtt_s=0.001)
    path.ping()
    path.acks_every_s = 0.08

    path.fill(4)

    assert path.controller.rate >= 0.9 * 2e6
    assert path.most_in_flight >= 0.9 * 2e6 * 0.08


def test_the_rate_is_found_in_eight_round_trips():
    path = Path(rate=12.5e6, rtt_s=0.1)
    path.ping()

    path.fill(0.8)

    assert path.controller.rate >= 0.9 * 12.5e6


@pytest.mark.parametrize(
    ("rate", "size"), [(8e3, MIN_RELAY_FRAME), (1e6, 20_000), (1e8, MAX_RELAY_FRAME)]
)
def test_a_frame_takes_20_ms_of_the_line_within_bounds(rate, size):
    path = Path(rate, rtt_s=0.01)
    path.ping()
    path.fill(5)

    assert path.controller.packet_size() == pytest.approx(size, rel=0.05)


def test_frames_are_larger_where_the_grant_could_not_fill_the_way_with_small_ones():
    path = Path(rate=1e6, rtt_s=0.5)
    path.ping()
    path.fill(30)

    assert path.controller.rate == pytest.approx(1e6, rel=0.1)
    assert path.controller.packet_size() > 1e6 * 0.02


def test_the_grant_is_never_exceeded():
    path = Path(rate=1e9, rtt_s=0.1, grant=3)
    path.ping()
    path.fill(2)

    assert not path.controller.may_send(3, 0)
    assert path.most_in_flight <= 3 * MAX_RELAY_FRAME


def test_a_slow_first_answer_shrinks_the_window_at_once():
    path = Path(rate=8e3, rtt_s=0.05)
    path.ping()
    while path.may_send():
        path.send(path.controller.packet_size())

    path.answer()

    assert path.controller.window == LEAST_FRAMES * MIN_RELAY_FRAME


def test_small_writes_say_nothing_of_the_rate():
    path = Path(rate=1e6, rtt_s=0.05)
    for _ in range(100):
        path.send(100, has_more=False)
        path.answer()

    assert path.controller.rate is None
    assert path.controller.window == FIRST_BYTES


def test_a_sender_with_little_to_send_keeps_the_rate_it_knows():
    path = Path(rate=1e6, rtt_s=0.05)
    path.ping()
    path.fill(5)
    known = path.controller.rate
    while path.in_flight:
        path.answer()

    for _ in range(50):
        path.send(100, has_more=False)
        path.answer()

    assert path.controller.rate == known


def test_a_rate_is_forgotten_and_the_way_measured_anew_after_ten_seconds_of_nothing():
    path = Path(rate=1e6, rtt_s=0.05)
    path.ping()
    path.fill(5)
    while path.in_flight:
        path.answer()
    path.now += MINIMUM_RTT_LIFE_S + 0.1
    path.rtt_s = 0.2

    path.send(100)
    assert path.controller.rate is None
    assert path.controller.packet_size() == MIN_RELAY_FRAME
    path.answer()

    assert path.controller.minimum_rtt_s == pytest.approx(0.2, abs=0.001)
    assert not path.controller.is_measuring


def test_a_rate_that_fell_is_known_two_spans_later_and_the_round_trip_measured_anew():
    path = Path(rate=1e6, rtt_s=0.05)
    path.ping()
    path.fill(5)
    path.rate = 1e5

    path.fill(3 * BEST_FOR_S)

    assert path.controller.rate <= 1.2e5
    path.most_in_flight = 0
    path.fill(5)
    assert path.most_in_flight <= 1e5


def test_a_minimum_that_our_own_queue_made_too_high_is_found_again():
    path = Path(rate=64e3, rtt_s=0.05)
    path.controller.minimum_rtt_s = 2.0
    path.ping()
    path.controller.minimum_rtt_s = 2.0

    path.fill(3 * LONGEST_RTT_LIFE_S)

    assert path.controller.minimum_rtt_s < 0.6


def test_a_way_that_became_longer_is_measured_after_ten_seconds():
    path = Path(rate=1e6, rtt_s=0.02)
    path.ping()
    path.fill(5)
    path.rtt_s = 0.4

    path.fill(MINIMUM_RTT_LIFE_S + 5)

    assert path.controller.minimum_rtt_s == pytest.approx(0.4, abs=0.1)
    assert path.controller.rate >= 0.9e6


def test_half_of_what_fits_is_in_flight_while_the_minimum_is_measured():
    path = Path(rate=1e6, rtt_s=0.2)
    path.ping()
    path.fill(5)
    controller = path.controller
    before = controller.window
    controller.is_measuring = True
    path.answer()

    assert controller.window <= 0.6 * before / WINDOW_GAIN
    path.fill(2)
    assert not controller.is_measuring


def test_until_the_first_queue_is_seen_each_byte_acknowledged_makes_room_for_two_more():
    path = Path(rate=1e9, rtt_s=0.1)
    path.ping()
    path.fill(0.15)

    most, size = FIRST_BYTES * (1 + START_GROWTH), path.controller.packet_size()
    assert most <= path.controller.window <= most + 3 * size


def test_answers_that_come_at_once_double_the_window_no_faster_than_every_ten_milliseconds():
    path = Path(rate=1e9, rtt_s=0.0005)
    path.ping()
    path.fill(START_DOUBLES_S)

    assert path.most_in_flight <= 2 * FIRST_BYTES + path.controller.packet_size()


def test_a_flight_that_was_lost_is_followed_by_small_frames_and_half_as_much():
    path = Path(rate=1e9, rtt_s=0.02)
    path.ping()
    path.fill(1)
    lost_bytes, path.in_flight, path.most_in_flight = path.bytes_in_flight, [], 0

    path.controller.on_flight_lost(lost_bytes)
    assert path.controller.packet_size() == AGAIN_FRAME
    path.fill(0.3)

    assert FIRST_BYTES < path.most_in_flight <= lost_bytes * AGAIN_SHARE * 2**0.3
    path.fill(3)
    assert path.most_in_flight >= lost_bytes


@pytest.mark.parametrize(("later_s", "is_new"), [(0.1, False), (2.0, True)])
def test_frames_that_a_relay_dropped_start_nothing_again_and_a_client_that_was_cut_off_does(
    later_s, is_new
):
    path = RelayPath(RelayEndpoint(0, DerpKey(bytes(32))), RelayController(GRANT, False), 0.0, {0})
    now = Instant(100.0)
    records = [SentRecord(n, 1, now, 4096, True, [StreamRange(0, n, 9)]) for n in range(2)]

    path.on_lost(Instant(now + later_s), records)

    assert (path.packet_size == AGAIN_FRAME) is is_new


def test_a_polite_window_after_the_start_and_always_one_frame():
    path = Path(rate=1e8, rtt_s=0.1, is_polite=True)
    path.ping()
    path.fill(0.5)
    assert path.most_in_flight > POLITE_WINDOW
    path.fill(2)
    assert path.controller._acked_bytes > POLITE_AFTER

    assert path.controller.window == POLITE_WINDOW
    assert path.controller.may_send(0, 0)
    assert not path.controller.may_send(5, POLITE_WINDOW)


def test_a_lost_frame_and_the_clock_change_nothing():
    path = Path(rate=1e6, rtt_s=0.05)
    path.ping()
    path.fill(2)
    before = path.controller.window, path.controller.rate

    relay = RelayPath(RelayEndpoint(0, DerpKey(bytes(32))), path.controller, Instant(0), {0})
    is_given_up = relay.on_lost(Instant(path.now), [path.in_flight[0][1]])

    assert not is_given_up
    assert (path.controller.window, path.controller.rate) == before
    assert relay.next_send_at(Instant(path.now)) is None
