"""Lines slower than what we like to have in flight: filled, never overfilled, nothing sent twice."""

from dataclasses import dataclass

import pytest
from derper import Derper
from inside import relay_path
from world import Host, World, patterned

from tunnel.units import KIB, MIB

KBIT = 125.0  # bytes a second
LONG_ENOUGH_S = 20.0
# Rate, one way of the four to the other side and back, and what the relay's kernel holds for a
# connection: about what Linux does at first, and when that has grown.
CUT_GRID = [
    (64, 0.005, 48 * KIB),
    (64, 0.25, 128 * KIB),
    (128, 0.05, 48 * KIB),
    (512, 0.005, 128 * KIB),
    (1000, 0.25, 48 * KIB),
]
FULL_GRID = [
    (kbit, delay, room)
    for kbit in (64, 128, 256, 512, 1000)
    for delay in (0.005, 0.05, 0.25)
    for room in (48 * KIB, 128 * KIB)
]


@dataclass
class Run:
    """What became of a transfer.

    Args:
        goodput: of the stream's bytes from the first on, in shares of the line's rate.
        sent: bytes that the sender handed to its relay, in shares of the stream's.
    """

    goodput: float
    sent: float
    lost: int
    cuts: int
    dropped: int


def measure(world: World, sender: Host, receiver: Host, rate: float, size: int) -> Run:
    """Send `size` bytes, and tell how well that went."""
    before = sender.link.counters.bytes_sent
    stream = sender.send_all(patterned(size))
    world.drive(lambda: receiver.received.get(stream))
    began, first = world.now, len(receiver.received[stream])
    world.drive(lambda: stream in receiver.ended, seconds=20 * size / rate)
    assert receiver.received[stream] == patterned(size)
    relay = world.relay
    return Run(
        (size - first) / (world.now - began) / rate,
        (sender.link.counters.bytes_sent - before) / size,
        sender.link.counters.packets_lost,
        relay.cuts if isinstance(relay, Derper) else 0,
        relay.dropped,
    )


def fill_a_slow_line(kbit: float, delay: float, room: int) -> None:
    """Send to a slow receiver through derper and check everything that must hold."""
    rate = kbit * KBIT
    world = World(relay_kind=Derper)
    issuer, claimer = world.linked_pair(delay=delay)
    world.relay.slow_down(issuer, rate, room)

    run = measure(world, claimer, issuer, rate, int(rate * LONG_ENOUGH_S))

    assert run.goodput >= 0.85
    assert run.sent <= 1.1
    assert (run.cuts, run.lost, run.dropped) == (0, 0, 0)


@pytest.mark.parametrize(("kbit", "delay", "room"), CUT_GRID)
def test_a_slow_receiver_s_line_is_filled_and_derper_never_cuts_it_off(kbit, delay, room):
    fill_a_slow_line(kbit, delay, room)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_rate_distance_or_buffer_makes_derper_cut_a_receiver_off(is_full):
    for kbit, delay, room in FULL_GRID if is_full else FULL_GRID[::7]:
        fill_a_slow_line(kbit, delay, room)


@pytest.mark.parametrize("kbit", [64, 1000])
def test_what_a_slow_sender_has_waiting_is_late_and_not_lost(kbit):
    """Its own socket is what holds it, and its own control that overtakes it there."""
    rate = kbit * KBIT
    world = World()
    issuer, claimer = world.linked_pair(delay=0.02)
    slow_up(world, claimer, rate)

    run = measure(world, claimer, issuer, rate, int(rate * LONG_ENOUGH_S))

    assert run.goodput >= 0.85
    assert run.sent <= 1.1
    assert (run.lost, run.dropped) == (0, 0)


def slow_up(world: World, host: Host, rate: float) -> None:
    """Give a host a slow way to its relay, where control waits for 64 KiB at most."""
    up = world.relay.ports[host.key.public].up
    up.rate, up.unsent = rate, 64 * KIB


def test_bytes_that_a_limited_relay_takes_late_are_not_sent_again():
    """It lets a burst pass and reads 20 kB/s from then on."""
    rate = 20e3
    world = World()
    issuer, claimer = world.linked_pair(delay=0.02)
    claimer.send_all(patterned(2 * MIB))  # the burst, by which the sender learns a high rate
    world.drive(lambda: 0 in issuer.ended)
    slow_up(world, claimer, rate)

    run = measure(world, claimer, issuer, rate, int(rate * LONG_ENOUGH_S))

    assert run.goodput >= 0.85
    assert run.sent <= 1.1
    assert (run.lost, run.dropped) == (0, 0)


def test_writes_of_both_sides_through_a_limited_relay_are_not_sent_again():
    """Credit, resets and acknowledgements overtake what waits."""
    rate = 20e3
    world = World()
    issuer, claimer = world.linked_pair(delay=0.02)
    for host in (issuer, claimer):
        slow_up(world, host, rate)
    size = int(rate * LONG_ENOUGH_S)
    back = issuer.send_all(patterned(size, seed=2))

    run = measure(world, claimer, issuer, rate, size)
    world.drive(lambda: back in claimer.ended)

    assert run.goodput >= 0.8
    assert run.sent <= 1.1
    assert run.lost == issuer.link.counters.packets_lost == 0


def test_four_senders_share_a_slow_receiver_and_none_is_starved():
    rate = 256 * KBIT
    world = World(relay_kind=Derper)
    issuer = world.issuer(places=4, delay=0.02)
    claimers = [world.claimer(delay=0.02) for _ in range(4)]
    world.drive(lambda: all(host.link is not None for host in claimers))
    world.run_for(1)
    world.relay.slow_down(issuer, rate, 128 * KIB)
    began = world.now
    size = int(rate * LONG_ENOUGH_S / 4)
    sent_before = sum(host.link.counters.bytes_sent for host in claimers)
    for number, host in enumerate(claimers):
        host.send_all(patterned(size, seed=number))

    world.run_for(LONG_ENOUGH_S / 2)
    halfway = [len(inbox.received.get(0, b"")) for inbox in issuer.inboxes]
    world.drive(lambda: all(0 in inbox.ended for inbox in issuer.inboxes))

    assert world.relay.cuts == world.relay.dropped == 0
    assert 4 * size / (world.now - began) >= 0.85 * rate
    sent = sum(host.link.counters.bytes_sent for host in claimers) - sent_before
    assert sent <= 1.1 * 4 * size
    assert min(halfway) >= 0.5 * max(halfway)


@pytest.mark.parametrize(
    ("mbit", "delay", "size"),
    [(10, 0.01, 5 * MIB), (100, 0.025, 48 * MIB), (1000, 0.0005, 32 * MIB)],
)
def test_a_long_or_fast_way_is_filled_within_a_few_round_trips(mbit, delay, size):
    rate = mbit * 1000 * KBIT
    world = World()
    issuer, claimer = world.linked_pair(delay=delay, rate=rate)

    run = measure(world, claimer, issuer, rate, size)

    assert run.goodput >= 0.85
    assert (run.lost, run.dropped) == (0, 0)


def test_a_line_that_becomes_slow_is_known_within_seconds():
    """It had been fast enough for all the grant allows."""
    world = World(relay_kind=Derper)
    issuer, claimer = world.linked_pair(delay=0.02)
    world.relay.slow_down(issuer, 1e6, 2 * MIB)
    claimer.send_all(patterned(100 * MIB))
    world.run_for(10)
    socket = world.relay.sockets[issuer.key.public]
    socket.rate = 64e3

    world.run_for(5)
    received = len(issuer.received[0])
    world.run_for(10)

    assert world.relay.cuts == 0
    assert len(issuer.received[0]) - received >= 0.85 * 10 * 64e3
    assert relay_path(claimer.link).ledger.in_flight_bytes <= 2 * 64e3
    socket.rate = 1e6
    world.run_for(3)
    received = len(issuer.received[0])
    world.run_for(10)
    assert len(issuer.received[0]) - received >= 0.85 * 10 * 1e6


def test_a_way_that_becomes_longer_is_filled_again_after_seconds():
    rate = 1e6
    world = World()
    issuer, claimer = world.linked_pair(delay=0.005, rate=rate)
    claimer.send_all(patterned(100 * MIB))
    world.run_for(3)
    for host in (issuer, claimer):
        for wire in world.wires(host):
            wire.delay = 0.15  # 20 ms there and back become 600

    world.run_for(12)
    received = len(issuer.received[0])
    world.run_for(10)

    assert len(issuer.received[0]) - received >= 0.85 * 10 * rate


def test_the_round_trip_that_our_own_queue_hides_is_found():
    """Nothing but its own frames ever told this sender how long the way is."""
    rate = 64 * KBIT
    world = World(relay_kind=Derper)
    issuer, claimer = world.linked_pair(delay=0.02)
    world.relay.slow_down(issuer, rate, 128 * KIB)
    claimer.send_all(patterned(MIB))
    world.run_for(5)
    controller = relay_path(claimer.link).controller
    controller.minimum_rtt_s = 4.0

    world.run_for(70)

    assert controller.minimum_rtt_s < 1.5
    assert relay_path(claimer.link).ledger.in_flight_bytes <= 2.5 * rate


@pytest.mark.parametrize("kbit", [64, 256])
def test_a_slow_line_is_no_reason_to_go_to_another_relay_and_begin_anew(kbit):
    """Both relays reach the receiver over its one slow line."""
    rate = kbit * KBIT
    world = World(relays=2, relay_kind=Derper)
    issuer, claimer = world.linked_pair(delay=0.02)
    for relay in world.relays:
        relay.slow_down(issuer, rate, 128 * KIB)
    changes = claimer.link.counters.relay_changes

    run = measure(world, claimer, issuer, rate, int(rate * LONG_ENOUGH_S))

    assert claimer.link.counters.relay_changes == changes
    assert run.goodput >= 0.85
    assert run.sent <= 1.1


def test_the_last_frame_that_a_relay_loses_is_missed_by_the_ping_behind_it():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.02)
    claimer.send_all(patterned(KIB))
    world.drive(lambda: 0 in issuer.ended)
    lost = []

    def lose_one(source, destination, data):
        if not lost and source == claimer.key.public:
            lost.append(data)
            return []
        return [(source, destination, data)]

    world.relay.tamper = lose_one
    began = world.now
    stream = claimer.send_all(patterned(3 * KIB))
    world.drive(lambda: stream in issuer.ended, seconds=10)

    assert len(lost) == 1
    assert claimer.link.counters.packets_lost == 1
    assert world.now - began <= 0.6  # a probe timeout and two round trips
    assert issuer.received[stream] == patterned(3 * KIB)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("burst", [16 * KIB, 32 * KIB, 64 * KIB])
def test_a_burst_that_a_slow_line_lets_pass_costs_one_cut_at_most(burst, is_full):
    """Throttled lines do that: the first answers come as quickly as from a line without limits."""
    grid = [
        (kbit, delay, room)
        for kbit in (64, 128, 256)
        for delay in (0.001, 0.05)
        for room in (48 * KIB, 128 * KIB)
    ]
    for kbit, delay, room in grid if is_full else grid[::4]:
        rate, what = kbit * KBIT, f"{kbit} kbit/s, {delay} s, room {room}"
        world = World(relay_kind=Derper)
        issuer, claimer = world.linked_pair(delay=delay)
        world.relay.slow_down(issuer, rate, room, burst)

        run = measure(world, claimer, issuer, rate, int(rate * LONG_ENOUGH_S) + burst)

        assert run.goodput >= 0.85, what
        assert run.sent <= 1.8, what
        assert run.cuts <= 1, what
