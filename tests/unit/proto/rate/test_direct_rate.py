"""The direct controller's states and judgements, one at a time, on a path made of arithmetic."""

import pytest

from tunnel.proto.rate.delivery import Round
from tunnel.proto.rate.direct import BACK_OFF, INITIAL_PACKETS, DirectController, RateState
from tunnel.proto.recovery.sent import SentRecord

PACKET = 1200
RTT = 0.05


class Path:
    """Acknowledges every burst after `rtt`; the link passes `rate`, and `lose` says what is lost."""

    def __init__(self, rate, rtt=RTT):
        self.now = 10.0
        self.rate, self.rtt = rate, rtt
        self.controller = DirectController(self.now, PACKET, None)
        self.lose_every = 0
        self.extra_rtt = 0.0
        self.has_more = True
        self._free_at = self.now
        self._number = 0
        self._due = []
        self._bursts = 0

    @property
    def in_flight(self):
        return sum(record.count * PACKET for _, record in self._due)

    def run(self, seconds, until=None):
        """Step by half a millisecond; returns the states that were seen, each once in a row."""
        states, end = [self.controller.state], self.now + seconds
        while self.now < end and not (until and until()):
            self.now += 0.0005
            self._deliver()
            while self.has_more and self.send():
                pass
            if self.controller.state is not states[-1]:
                states.append(self.controller.state)
        return states

    def send(self, count=None):
        in_flight = self.in_flight
        count = count or self.controller.sendable_packets(self.now, in_flight)
        if not count:
            return False
        record = SentRecord(self._number, count, self.now, PACKET, is_ack_eliciting=True)
        self._number += count
        self.controller.on_sent(self.now, record, self.has_more, in_flight + count * PACKET)
        self._free_at = max(self._free_at, self.now) + count * PACKET / self.rate
        self._due.append((self._free_at + self.rtt + self.extra_rtt, record))
        return True

    def _deliver(self):
        while self._due and self._due[0][0] <= self.now:
            _, record = self._due.pop(0)
            self._bursts += 1
            if self.lose_every and self._bursts % self.lose_every == 0:
                self.controller.on_lost([record], self.in_flight)
            else:
                self.controller.on_acked(self.now, [record], 0.0, self.in_flight)


def settled(rate=12.5e6):
    path = Path(rate)
    path.run(3, until=lambda: path.controller.state is RateState.CRUISING)
    path.run(0.5)
    path.run(1, until=lambda: path.controller.state is RateState.CRUISING)
    return path


def test_the_first_window_is_ten_packets_and_then_doubles_every_round_trip():
    path = Path(1e9)
    sent = []
    for step in [RTT - 0.004, *[RTT + 0.001] * 5]:
        before = path._number
        path.run(step)
        sent.append(path._number - before)

    assert sent[0] == INITIAL_PACKETS
    assert path.controller.state is RateState.STARTING
    assert all(1.3 * a <= b <= 3 * a for a, b in zip(sent, sent[1:], strict=False)), sent


def test_a_full_link_ends_the_start_with_its_rate_learnt():
    path = Path(12.5e6)
    states = path.run(1.5)

    assert states[:3] == [RateState.STARTING, RateState.DRAINING, RateState.CRUISING]
    assert path.controller.rate == pytest.approx(12.5e6, rel=0.05)


def test_a_free_path_is_probed_again_and_again_and_drained_after_each_probe():
    states = settled().run(2)

    assert states.count(RateState.PROBING) >= 3
    assert all(
        b is RateState.DRAINING
        for a, b in zip(states, states[1:], strict=False)
        if a is RateState.PROBING
    )


def test_more_room_is_found_by_probing():
    path = settled()
    path.rate *= 2
    path.run(2.5)

    assert path.controller.rate > 1.8 * 12.5e6


def test_a_loss_with_a_queue_multiplies_the_estimate_once_a_round_trip():
    path = settled()
    before = path.controller.rate
    path.lose_every, path.extra_rtt = 20, 0.03
    path.run(1, until=lambda: path.controller.rate < before * 0.9)

    assert path.controller.rate == pytest.approx(before * BACK_OFF, rel=0.05)
    assert path.controller.state is RateState.DRAINING
    path.run(RTT)
    assert path.controller.rate >= before * BACK_OFF * BACK_OFF * 0.99


def test_a_queue_that_others_keep_changes_nothing_without_a_loss():
    path = settled()
    before = path.controller.rate
    path.extra_rtt = 0.03
    path.run(1)

    assert path.controller.rate >= 0.9 * before


def test_four_percent_lost_without_a_queue_is_ignored():
    path = settled()
    before = path.controller.rate
    path.lose_every = 25
    path.run(1.5)

    assert path.controller.rate >= 0.9 * before


def test_a_third_lost_without_a_queue_caps_the_estimate_at_what_was_delivered():
    path = settled()
    before = path.controller.rate
    path.lose_every = 3
    path.run(1, until=lambda: path.controller.rate < before * 0.9)

    assert path.controller.rate == pytest.approx(before * 2 / 3, rel=0.15)


def test_the_minimum_round_trip_is_measured_anew_when_a_route_got_longer():
    path = settled()
    path.extra_rtt = 0.02
    states = path.run(13)

    assert RateState.MEASURING in states
    assert path.controller.rate >= 0.9 * 12.5e6
    assert path.controller._minimum_rtt_s == pytest.approx(RTT + 0.02, rel=0.1)


def test_a_sender_without_data_neither_lowers_nor_raises_the_estimate():
    path = settled()
    before = path.controller.rate
    path.has_more = False
    for _ in range(300):
        path.send(1)
        path.run(0.04)

    assert path.controller.rate == pytest.approx(before, rel=0.02)


def test_the_mark_tells_whether_the_sender_was_short_of_data():
    path = settled()
    record = SentRecord(10**6, 1, path.now, PACKET, True)
    path.controller.on_sent(path.now, record, False, PACKET)
    late = SentRecord(10**6 + 1, 1, path.now + 1, PACKET, True)
    path.controller.on_sent(path.now + 1, late, True, 2 * PACKET)
    soon = SentRecord(10**6 + 2, 1, path.now + 1, PACKET, True)
    path.controller.on_sent(path.now + 1, soon, True, 3 * PACKET)

    assert [each.mark.is_app_limited for each in (record, late, soon)] == [False, True, False]


def test_a_full_window_waits_for_an_acknowledgement_not_for_a_time():
    path = Path(12.5e6)
    while path.send() or path._number < INITIAL_PACKETS:
        path.now += 0.001

    assert path.controller.sendable_packets(path.now + 1, INITIAL_PACKETS * PACKET) == 0
    assert path.controller.next_send_at(path.now + 1, INITIAL_PACKETS * PACKET) is None


def test_another_packet_size_keeps_the_model():
    path = settled()
    rate, window = path.controller.rate, path.controller.window
    path.controller.set_packet_size(1400)

    assert path.controller.packet_size() == 1400
    assert path.controller.rate == rate
    assert path.controller.window == pytest.approx(window, rel=0.1)


def test_the_trace_has_a_word_for_every_state():
    words = [state.value for state in RateState]

    assert words == ["starting", "draining", "cruising", "probing", "measuring"]


def some_round(**values):
    return Round(
        began=5.0, sent_from=4.9, sent_until=4.95, acked_at=5.05, lowest_pace=1e6, **values
    )


def test_a_sample_is_taken_over_the_longer_of_both_spans_and_five_ms_at_least():
    record = SentRecord(0, 10, 4.99, PACKET, True)
    usual, bunched = some_round(), Round(5.0, 4.9, 4.9, 5.0, 1e6)
    usual.add(5.1, 0.11, [record])
    bunched.add(5.001, 0.011, [record])
    both = Round(5.0, 4.9895, 4.9895, 5.0, 1e6)
    both.add(5.001, 0.011, [record])

    assert usual.rate == pytest.approx(10 * PACKET / 0.1)
    assert bunched.rate == pytest.approx(10 * PACKET / 0.09)
    assert both.rate == pytest.approx(10 * PACKET / 0.005)


@pytest.mark.parametrize(
    ("acked", "lost", "is_lossy"),
    [(10, 2, False), (10, 6, True), (950, 50, False), (930, 70, False), (900, 100, True), (0, 9, True)],
)  # fmt: skip
def test_more_than_five_percent_counts_only_beyond_chance(acked, lost, is_lossy):
    assert some_round(acked_packets=acked, lost_packets=lost).is_lossy is is_lossy
