"""Datagram sizes in the simulated world: grown by probes, given up in a black hole, never at a loss.

host a --(its MTU)--> network --(its MTU)--> host b       larger packets vanish without a word
"""

import pytest
from direct_world import direct_pair, world_of
from inside import direct_paths
from udp_network import RECEIVE_BUFFER
from world import Host, World, patterned

MIB = 1 << 20
BLACK_HOLE_S = 1.0  # a path is doubted after a second at the earliest


def size_of(host: Host) -> int:
    return direct_paths(host.link).active.controller.packet_size()


def sizes_noted(world: World) -> list[int]:
    return [values["bytes"] for values in world.noted("path.packet_size")]


def set_mtu(network, mtu, *hosts):
    for host in hosts or list(network.ports):
        network.ports[host].mtu = mtu


@pytest.mark.parametrize(
    ("mtu", "size"), [(1228, 1200), (1400, 1368), (1500, 1472), (9000, 8864), (65_536, 32_000)]
)
def test_a_transfer_ends_with_the_largest_datagrams_that_the_path_carries(mtu, size):
    world, network, issuer, claimer = world_of(rate=4e5)
    for wire in world.wires(claimer):  # the relay is no faster, or it would carry everything
        wire.rate = 4e5
    set_mtu(network, mtu)
    stream = claimer.send_all(patterned(2 * MIB))

    world.run_for(3.5)

    assert stream not in issuer.ended
    assert size_of(claimer) == size
    assert max(len(data) for _, _, data in network.seen) == size
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(2 * MIB)


def test_lost_probes_are_no_congestion_and_no_reason_to_doubt_the_path():
    world, network, issuer, claimer = world_of()
    set_mtu(network, 1228)
    world.run_for(30)

    assert claimer.link.direct_path is not None
    assert world.noted("path.doubtful") == []
    assert world.noted("path.probed") == []
    assert claimer.link.counters.packets_lost == 0
    assert claimer.link.promotions == 1


def test_an_idle_path_is_probed_a_few_times_and_again_after_ten_minutes():
    world, network, _, claimer = direct_pair()
    world.run_for(30)
    network.seen.clear()
    world.run_for(500)
    assert max(len(data) for _, _, data in network.seen) < 200

    set_mtu(network, 9000)
    world.run_for(200)

    assert size_of(claimer) == 8864


def test_an_mtu_that_falls_in_mid_transfer_is_found_before_the_path_is_doubted():
    world, network, issuer, claimer = direct_pair(rate=5e5)
    stream = claimer.send_all(patterned(3 * MIB))
    world.run_for(2)
    assert size_of(claimer) == 1472

    set_mtu(network, 1400)
    fell_at = world.now
    world.drive(lambda: size_of(claimer) < 1472, seconds=BLACK_HOLE_S)
    noticed_s = world.now - fell_at
    before = len(issuer.received[stream])
    world.drive(lambda: len(issuer.received[stream]) > before + MIB // 4, seconds=3)
    world.drive(lambda: stream in issuer.ended)

    assert noticed_s < BLACK_HOLE_S
    assert issuer.received[stream] == patterned(3 * MIB)
    assert world.noted("path.doubtful") == []
    assert sizes_noted(world)[-1] == 1368
    relayed = claimer.link.counters.bytes_sent_relayed
    assert relayed < MIB  # what went before the direct path was there


def test_a_black_hole_for_large_packets_from_the_start_costs_nothing():
    world, network, issuer, claimer = world_of(rate=1e6)
    set_mtu(network, 1400, issuer)
    stream = claimer.send_all(patterned(3 * MIB))
    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == patterned(3 * MIB)
    assert claimer.link.counters.packets_lost == 0
    assert size_of(claimer) == 1368


def test_losses_by_chance_are_no_black_hole():
    world, network, issuer, claimer = direct_pair(rate=1e6)
    for host in (issuer, claimer):
        for wire in network.wires(host):
            wire.loss = 0.02
    stream = claimer.send_all(patterned(2 * MIB))
    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == patterned(2 * MIB)
    assert sizes_noted(world).count(1200) == 0


def test_a_path_that_was_doubted_starts_again_with_small_packets():
    world, network, issuer, claimer = direct_pair(rate=4e5)
    stream = claimer.send_all(patterned(2 * MIB))
    world.run_for(1)
    network.cut(claimer)
    world.run_for(4)
    set_mtu(network, 1300)
    network.cut(claimer, is_cut=False)

    world.drive(lambda: claimer.link.direct_path is not None, seconds=5)
    world.run_for(3)

    assert size_of(claimer) == 1248
    assert sizes_noted(world)[-1] == 1248
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(2 * MIB)


def test_both_sides_learn_how_much_may_wait_at_the_other():
    world, _, issuer, claimer = direct_pair()
    world.run_for(1)

    for host in (issuer, claimer):
        assert direct_paths(host.link)._peer_buffer == RECEIVE_BUFFER
        assert direct_paths(host.link).active.controller._peer_buffer == RECEIVE_BUFFER


def test_the_news_of_a_receive_buffer_is_repeated_until_it_arrives():
    world, network, issuer, claimer = direct_pair()
    world.cut(claimer)
    network.cut(claimer)
    claimer.link.tell_receive_buffer(5000)
    world.run_for(1)
    world.cut(claimer, is_cut=False)
    network.cut(claimer, is_cut=False)

    world.drive(lambda: direct_paths(issuer.link)._peer_buffer == 5000, seconds=10)


def test_a_path_that_comes_back_owes_its_new_model_nothing():
    """What was sent before the doubt, if it counted, would have the sender wait for room."""
    world, network, _, claimer = direct_pair(rate=3e5)
    claimer.send_all(patterned(MIB))
    world.run_for(0.5)
    network.cut(claimer)
    world.run_for(8)
    path = next(path for path in direct_paths(claimer.link) if path.was_confirmed)

    network.cut(claimer, is_cut=False)
    world.drive(lambda: claimer.link.direct_path is not None, seconds=5)

    assert path.ledger.in_flight_bytes == path.controller._in_flight
