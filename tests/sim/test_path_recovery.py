"""How long it takes: traffic after a direct path was cut, direct again after it healed.

Figures in simulated time, so they are exact; every test also sees all bytes arrive.
"""

import pytest
from direct_world import direct_pair, drive_to_direct, world_of
from world import patterned

MIB = 1 << 20
AGAIN_S = 3.0  # traffic after a cut
HEALED_S = 5.0  # direct after it healed
SLOW_HEALED_S = 31.0  # the same after more than five minutes: probes are 30 s apart


def transfer_both_ways(issuer, claimer, size):
    """Begin to send both ways; returns (receiver, stream, payload) of each."""
    there, back = patterned(size), patterned(size, 2)
    return [
        (issuer, claimer.send_all(there), there),
        (claimer, issuer.send_all(back), back),
    ]


def pauses(world, transfers, seconds=10):
    """Return how long it takes until each receiver has more than what is in flight now."""
    began = world.now
    before = [len(host.received.get(stream, b"")) for host, stream, _ in transfers]
    found = {}

    def is_done():
        for index, (host, stream, _) in enumerate(transfers):
            if len(host.received.get(stream, b"")) > before[index] + 128 * 1024:
                found.setdefault(index, world.now - began)
        return len(found) == len(transfers)

    world.drive(is_done, seconds=seconds)
    return list(found.values())


def check_exact(world, transfers):
    world.drive(lambda: all(stream in host.ended for host, stream, _ in transfers), seconds=2000)
    for host, stream, payload in transfers:
        assert host.received[stream] == payload


@pytest.mark.parametrize("rtt_s", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("which", ["both", "up", "down"])
def test_traffic_flows_again_within_three_seconds_of_a_cut(rtt_s, which):
    world, network, issuer, claimer = direct_pair(delay=rtt_s / 4, rate=1e6)
    transfers = transfer_both_ways(issuer, claimer, 6 * MIB)
    world.run_for(2)

    up, down = network.wires(claimer)
    up.is_cut, down.is_cut = which != "down", which != "up"

    assert max(pauses(world, transfers)) <= AGAIN_S
    check_exact(world, transfers)


@pytest.mark.parametrize("rtt_s", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("cut_s", [1.0, 10.0, 60.0, 299.0])
def test_a_path_that_heals_is_taken_again_within_five_seconds(rtt_s, cut_s):
    world, network, issuer, claimer = direct_pair(delay=rtt_s / 4)
    network.cut(claimer)
    issuer.send_all(b"so that somebody notices")
    world.run_for(cut_s)

    network.cut(claimer, is_cut=False)

    assert drive_to_direct(world, issuer, claimer, seconds=60) <= HEALED_S


@pytest.mark.parametrize("cut_s", [301.0, 3600.0])
def test_a_path_that_was_lost_for_more_than_five_minutes_is_taken_again_in_half_a_minute(cut_s):
    world, network, issuer, claimer = direct_pair()
    network.cut(claimer)
    world.run_for(cut_s)
    assert issuer.link.direct_path is claimer.link.direct_path is None

    network.cut(claimer, is_cut=False)

    assert drive_to_direct(world, issuer, claimer, seconds=60) <= SLOW_HEALED_S


def test_a_change_of_interfaces_or_a_sleep_ends_the_slow_probing():
    world, network, issuer, claimer = direct_pair()
    network.cut(claimer)
    world.run_for(3600)

    network.drivers[claimer].network_changed()
    world.run_for(20)  # the first probe after the change is lost, too
    network.cut(claimer, is_cut=False)

    assert drive_to_direct(world, issuer, claimer, seconds=60) <= HEALED_S


def test_udp_that_is_opened_later_is_found():
    world, network, issuer, claimer = world_of()
    network.ports[claimer].is_blocked = True
    world.run_for(60)

    network.ports[claimer].is_blocked = False

    # STUN is asked every 25 s; its answer is a new candidate.
    assert drive_to_direct(world, issuer, claimer, seconds=60) <= 26


def test_udp_that_nobody_sees_opened_is_found_in_five_minutes():
    world, network, issuer, claimer = world_of()
    network.cut(claimer)
    network.tamper = lambda datagram: []  # STUN works all the time, nothing else does
    network.cut(claimer, is_cut=False)
    world.run_for(60)

    network.tamper = None

    assert drive_to_direct(world, issuer, claimer, seconds=600) <= 301


def test_a_path_that_carries_only_small_packets_is_not_used():
    world, network, issuer, claimer = direct_pair(rate=1e6)
    transfers = transfer_both_ways(issuer, claimer, 2 * MIB)
    world.run_for(0.5)

    network.ports[claimer].mtu = 1128
    network.ports[issuer].mtu = 1128
    began = world.now
    check_exact(world, transfers)

    assert world.now - began <= 10
    assert claimer.link.direct_path is None
    for port in network.ports.values():
        port.mtu = 1500
    assert drive_to_direct(world, issuer, claimer) <= HEALED_S


def test_data_on_a_lane_that_goes_away_goes_on_by_the_relay():
    world, network, issuer, claimer = direct_pair(rate=1e6)
    transfers = transfer_both_ways(issuer, claimer, 2 * MIB)
    world.run_for(0.5)

    network.cut(claimer)
    world.run_for(0.05)
    network.drivers[claimer].use_lanes(claimer.link, {})
    assert max(pauses(world, transfers)) <= AGAIN_S
    network.cut(claimer, is_cut=False)
    network.drivers[claimer].use_lanes(claimer.link)

    assert drive_to_direct(world, issuer, claimer) <= HEALED_S
    check_exact(world, transfers)


def test_a_route_that_becomes_longer_for_good_does_not_look_like_a_queue_for_ever():
    world, network, issuer, claimer = direct_pair(delay=0.01, rate=1e5)
    transfers = transfer_both_ways(issuer, claimer, 3 * MIB)
    world.run_for(3)

    network.ports[claimer].down.delay = 0.4
    world.run_for(25)
    before = [len(host.received[stream]) for host, stream, _ in transfers]
    world.run_for(5)

    for (host, stream, _), count in zip(transfers, before, strict=True):
        assert len(host.received[stream]) - count >= 0.5 * 1e5 * 5
