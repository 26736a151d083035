"""What a direct path's rate controller makes of links of many kinds, in numbers.

Every flow is also watched packet by packet: no burst above its limit, never more in flight than the
window, never more at one instant than 2 ms of the rate, no deadline in the past.
"""

import random

import pytest
from bottleneck import PACKET, Bottleneck, Clock, Flow, Schedule, Shape, TcpFlow, mbit


def run(shape, seconds, seed=1, **options):
    clock = Clock()
    link = Bottleneck(clock, shape, seed)
    flow = Flow(link, **options)
    clock.run_until(clock.now + seconds)
    assert flow.faults == []
    return link, flow


def line(rate, rtt_ms, queue=1.0, **options):
    """A link of `rate` Mbit/s whose queue is so many bandwidth-delay products, 30 packets at least."""
    rtt = rtt_ms / 1e3
    return Shape(mbit(rate), rtt, max(queue * mbit(rate) * rtt, 30 * PACKET), **options)


def jain(rates):
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


FEW = [(50, 20), (100, 1), (100, 20), (100, 50), (100, 200), (1000, 20)]
ALL = [(rate, rtt) for rate in (50, 100, 1000) for rtt in (1, 20, 50, 200)]


@pytest.mark.slow
def test_a_clean_link_is_filled_and_its_queue_stays_short(is_full):
    for rate, rtt_ms in ALL if is_full else FEW:
        start_s = 1.5 if rtt_ms < 200 else 4.0
        end_s = start_s + (10 if is_full else 1.5)
        link, flow = run(line(rate, rtt_ms), end_s)
        case = f"{rate} Mbit/s, {rtt_ms} ms"

        assert flow.tally.rate(start_s, end_s) >= 0.95 * mbit(rate), case
        assert link.usual_delay(start_s, end_s) <= max(0.005, 0.15 * rtt_ms / 1e3), case
        assert link.worst_delay(start_s, end_s) <= max(0.01, 0.35 * rtt_ms / 1e3), case
        assert flow.tally.loss(start_s, end_s) < 0.02, case


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "least"), [(0.01, 0.9), (0.05, 0.8)])
def test_random_loss_costs_little_more_than_what_is_lost(loss, least, is_full):
    for seed in range(20 if is_full else 1):
        _, flow = run(line(100, 50, loss=loss), 5, seed)

        assert flow.tally.rate(2, 5) >= least * mbit(100), seed


def test_heavy_random_loss_slows_the_flow_but_never_stops_it():
    _, flow = run(line(20, 30, loss=0.2), 6)

    assert flow.tally.rate(3, 6) > 20 * PACKET


def test_a_tiny_queue_is_enough():
    shape = line(100, 50)
    shape.queue = 10 * PACKET
    _, flow = run(shape, 5)

    assert flow.tally.rate(2, 5) >= 0.95 * mbit(100)
    assert flow.tally.loss(2, 5) < 0.05


def test_a_queue_of_two_seconds_stays_almost_empty():
    link, flow = run(line(100, 50, queue=40), 6)

    assert flow.tally.rate(2, 6) >= 0.95 * mbit(100)
    assert link.worst_delay(0, 2) < 0.2
    assert link.worst_delay(2, 6) < 0.02


@pytest.mark.parametrize("rate", [0.064, 0.128])
def test_a_line_as_slow_as_a_telephone_s_is_filled_and_loses_nothing_for_ever(rate):
    """A pace that cannot go as low as the line would fill its queue again and again."""
    _, flow = run(Shape(mbit(rate), 0.05, 2 * mbit(rate)), 40)

    assert flow.tally.rate(10, 40) >= 0.95 * mbit(rate)
    assert flow.tally.loss(10, 40) == 0


@pytest.mark.parametrize("depth", [60_000, 500_000])
def test_a_policer_is_recognised_and_kept_to(depth):
    _, flow = run(line(100, 50, policer=mbit(20), policer_depth=depth), 6)

    assert flow.tally.rate(2, 6) >= 0.85 * mbit(20)
    assert flow.tally.loss(2, 6) < 0.1


def test_a_link_that_gets_ten_times_slower_and_fast_again_is_followed():
    clock = Clock()
    link = Bottleneck(clock, line(100, 40))
    flow = Flow(link)
    began = clock.now
    clock.run_until(began + 2)
    link.set_rate(mbit(10))
    clock.run_until(began + 7)
    link.set_rate(mbit(100))
    clock.run_until(began + 11)

    assert flow.faults == []
    assert flow.tally.rate(2, 7) >= 0.95 * mbit(10)
    assert link.worst_delay(6, 7) < 0.1
    assert flow.tally.loss(5, 7) < 0.01
    assert flow.tally.rate(9, 11) >= 0.9 * mbit(100)


def test_an_idle_sender_keeps_its_estimate_and_its_next_burst_is_fast():
    """A trickle between two bursts neither lowers the estimate nor raises it."""
    clock = Clock()
    link = Bottleneck(clock, line(100, 20))
    flow = Flow(link, has_supply=False)
    clock.run_until(clock.now + 0.1)
    flow.supply(20_000_000)
    clock.run_until(clock.now + 3)
    learnt = flow.controller.rate
    for _ in range(500):
        flow.supply(3 * PACKET)
        clock.run_until(clock.now + 0.02)
    after_trickle = flow.controller.rate
    burst_at = clock.now - flow.tally.began
    flow.supply(5_000_000)
    clock.run_until(clock.now + 0.45)

    assert flow.faults == []
    assert learnt == pytest.approx(mbit(100), rel=0.05)
    assert after_trickle == pytest.approx(learnt, rel=0.05)
    assert flow.tally.rate(burst_at, burst_at + 0.45) >= 0.85 * mbit(100)


def test_a_trickle_from_the_start_claims_no_rate_it_did_not_see():
    clock = Clock()
    link = Bottleneck(clock, line(100, 20))
    flow = Flow(link, has_supply=False)
    for _ in range(200):
        clock.run_until(clock.now + 0.02)
        flow.supply(3 * PACKET)

    assert flow.faults == []
    assert flow.controller.rate < mbit(20)
    assert link.worst_delay(0, 4) < 0.005


@pytest.mark.slow
def test_two_of_our_flows_share_fairly(is_full):
    few = [(20, 50, 1)]
    for rate, rtt_ms, queue in (
        [*few, (20, 20, 1), (100, 20, 1), (100, 50, 0.3)] if is_full else few
    ):
        clock = Clock()
        link = Bottleneck(clock, line(rate, rtt_ms, queue))
        flows = [Flow(link), Flow(link, start_after=2.0)]
        clock.run_until(clock.now + 20)
        rates = [flow.tally.rate(8, 20) for flow in flows]

        assert [flow.faults for flow in flows] == [[], []]
        assert jain(rates) >= 0.9, (rate, rtt_ms, queue)
        assert sum(rates) >= 0.9 * mbit(rate)


@pytest.mark.slow
@pytest.mark.parametrize(("is_cubic", "least"), [(False, 0.25), (True, 0.2)], ids=["reno", "cubic"])
def test_a_tcp_flow_beside_us_and_we_beside_it_get_a_share(is_cubic, least, is_full):
    few = [(20, 40)]
    for rate, rtt_ms in [*few, (50, 40), (100, 20), (20, 100)] if is_full else few:
        clock = Clock()
        link = Bottleneck(clock, line(rate, rtt_ms))
        ours, tcp = Flow(link), TcpFlow(link, is_cubic)
        clock.run_until(clock.now + 25)

        assert ours.faults == []
        assert ours.tally.rate(5, 25) >= least * mbit(rate), (rate, rtt_ms)
        assert tcp.tally.rate(5, 25) >= least * mbit(rate), (rate, rtt_ms)


def test_three_acknowledgements_of_ten_may_be_lost():
    _, flow = run(line(100, 20, ack_loss=0.3), 3)

    assert flow.tally.rate(1, 3) >= 0.95 * mbit(100)


def test_jitter_of_half_the_round_trip_is_no_queue():
    _, flow = run(line(100, 20, jitter=0.01), 3)

    assert flow.tally.rate(1, 3) >= 0.9 * mbit(100)


@pytest.mark.parametrize(("rtt_ms", "late_ms"), [(1, 5), (20, 5), (80, 16)])
def test_wake_ups_that_are_late_cost_little(rtt_ms, late_ms):
    """16 ms is the timer of some systems; acknowledgements wake the sender as well."""
    _, flow = run(line(100, rtt_ms), 3, late=late_ms / 1e3)

    assert flow.tally.rate(1.5, 3) >= 0.9 * mbit(100)


@pytest.mark.parametrize("distance", [10, 50])
def test_packets_that_overtake_each_other_are_soon_not_called_lost(distance, is_full):
    for seed in range(5 if is_full else 1):
        shape = line(200, 20, overtaken=0.1, overtaken_by=distance)
        _, flow = run(shape, 3, seed)

        assert flow.tally.rate(1.5, 3) >= 0.9 * mbit(200), seed
        lost_before = flow.lost
        flow.clock.run_until(flow.clock.now + 2)
        sent = sum(flow.tally.entries.values())
        assert flow.lost - lost_before < 0.01 * sent, seed


SHORT_TURNS = ((0.003, 0.003), (0.006, 0.010))  # as two busy processes a core leave us
LONG_TURNS = ((0.005, 0.030), (0.020, 0.100))
BUFFER = 4 << 20


def run_share(turns):
    """The share of the time that a process runs, and in which it makes up for being late."""
    runs, waits = (sum(span) / 2 for span in turns)
    return (runs + 0.002) / (runs + waits)


@pytest.mark.parametrize("turns", [SHORT_TURNS, LONG_TURNS], ids=["short", "long"])
def test_a_receiver_that_is_often_not_scheduled_is_no_queue_and_slows_nothing(turns, is_full):
    for seed in range(10 if is_full else 2):
        shape = line(100, 20)
        link, flow = run(
            shape, 6, seed, peer_buffer=BUFFER, receives_when=Schedule(seed + 70, *turns)
        )

        assert flow.tally.rate(3, 6) >= 0.85 * mbit(100), seed
        assert link.usual_delay(3, 6) < 0.01, seed
        assert flow.overflows == 0, seed


def test_a_receiver_that_is_often_not_scheduled_gets_what_its_socket_holds():
    shape = Shape(mbit(2000), 0.0003, BUFFER)
    _, flow = run(shape, 2, peer_buffer=BUFFER, receives_when=Schedule(7, *SHORT_TURNS))
    assert flow.tally.rate(1, 2) >= 0.9 * mbit(2000)

    _, flow = run(shape, 2, peer_buffer=212_992, receives_when=Schedule(7, *SHORT_TURNS))
    # Full speed while the process runs, and what may wait in its socket while it does not.
    turn_s, runs_s = 0.011, 0.003
    ideal = (mbit(2000) * runs_s + 0.75 * 212_992) / turn_s
    assert flow.tally.rate(1, 2) >= 0.75 * ideal
    assert flow.overflows < 0.01 * flow.tally.rate(0, 2) * 2 / PACKET


@pytest.mark.parametrize("turns", [SHORT_TURNS, LONG_TURNS], ids=["short", "long"])
@pytest.mark.parametrize(("rate", "rtt_ms"), [(100, 20), (2000, 0.3)])
def test_a_sender_that_is_often_not_scheduled_sends_all_the_more_when_it_is(turns, rate, rtt_ms):
    shape = line(rate, rtt_ms)
    shape.queue = max(shape.queue, 1e6)
    _, flow = run(shape, 4, peer_buffer=BUFFER, sends_when=Schedule(7, *turns))

    assert flow.tally.rate(1, 4) >= 0.75 * run_share(turns) * mbit(rate)


@pytest.mark.parametrize("turns", [SHORT_TURNS, LONG_TURNS], ids=["short", "long"])
def test_two_processes_that_are_often_not_scheduled_do_not_bring_the_rate_down(turns):
    shape = Shape(mbit(2000), 0.0003, BUFFER)
    _, flow = run(
        shape, 6, peer_buffer=BUFFER,
        sends_when=Schedule(7, *turns), receives_when=Schedule(8, *turns),
    )  # fmt: skip

    assert flow.tally.rate(3, 6) >= 0.5 * run_share(turns) * mbit(2000)


def test_one_long_pause_of_either_process_is_forgotten_at_once():
    pause = ((2.0, 2.0), (0.1, 0.1))
    for option in ("sends_when", "receives_when"):
        _, flow = run(line(100, 20), 4, peer_buffer=BUFFER, **{option: Schedule(1, *pause)})

        assert flow.tally.rate(2.3, 4) >= 0.93 * mbit(100), option


def test_a_sender_that_is_often_late_still_notices_a_link_that_got_slower():
    clock = Clock()
    link = Bottleneck(clock, line(100, 20, queue=4))
    flow = Flow(link, peer_buffer=BUFFER, sends_when=Schedule(7, *SHORT_TURNS))
    began = clock.now
    clock.run_until(began + 3)
    link.set_rate(mbit(10))
    clock.run_until(began + 9)

    assert flow.faults == []
    assert flow.tally.rate(6, 9) >= 0.8 * mbit(10)
    assert link.usual_delay(6, 9) < 0.1
    assert flow.tally.loss(6, 9) < 0.05


def test_single_packets_keep_to_the_same_limits_as_bursts():
    link, flow = run(line(50, 20), 1.5, is_one_by_one=True)

    assert flow.tally.rate(0.75, 1.5) >= 0.95 * mbit(50)
    assert link.usual_delay(0.75, 1.5) < 0.01


def test_a_small_receive_buffer_shortens_the_bursts():
    _, flow = run(line(1000, 5), 0.3, peer_buffer=24 * PACKET)

    assert flow.controller.pacer.burst_packets <= 6


def test_a_flow_that_heard_nothing_for_10_s_goes_on_at_once():
    """Black holes are others' matter, but what comes after one must not start from nothing."""
    clock = Clock()
    link = Bottleneck(clock, line(50, 20))
    flow = Flow(link)
    clock.run_until(clock.now + 2)
    link.shape.loss = 1.0
    clock.run_until(clock.now + 10)
    link.shape.loss = 0.0
    clock.run_until(clock.now + 6)

    assert flow.faults == []
    assert flow.tally.rate(16, 18) >= 0.9 * mbit(50)


def random_shape(seed):
    draw = random.Random(seed)
    shape = line(
        draw.choice([0.3, 2, 10, 50]),
        draw.choice([0.2, 3, 20, 80, 300]),
        draw.choice([0.1, 1, 5]),
        loss=draw.choice([0, 0.02, 0.1]),
        ack_loss=draw.choice([0, 0.3]),
        jitter=draw.choice([0, 0.02]),
        policer=draw.choice([None, None, mbit(5)]),
    )
    return shape, draw.choice([0, 0.005, 0.02]), draw.choice([None, 30_000])


@pytest.mark.slow
@pytest.mark.parametrize("group", range(4))
def test_limits_hold_and_something_arrives_on_any_link(group, is_full):
    for seed in range(group, 400 if is_full else 20, 4):
        shape, late, peer_buffer = random_shape(seed)
        _, flow = run(shape, 3, seed, late=late, peer_buffer=peer_buffer)

        assert flow.tally.rate(1, 3) > 0.02 * min(shape.rate, shape.policer or shape.rate), seed
