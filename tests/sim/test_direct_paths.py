"""Direct paths in the simulated world: found, taken, lost, healed, and never given to a stranger."""

import itertools

import pytest
from direct_world import direct_pair, world_of
from inside import direct_paths, sealer_of
from udp_network import UdpNetwork
from world import World, forge, patterned

from tunnel.proto.link.parameters import Feature
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.wire.frames import Ack, encode

MIB = 1 << 20
KINDS = ("none", "full-cone", "restricted", "port-restricted", "symmetric")
# What theory says: a symmetric NAT and one that filters by port cannot be punched, nor can two
# symmetric ones; every other pair can.
RELAYED = {
    ("symmetric", "symmetric"),
    ("symmetric", "port-restricted"),
    ("port-restricted", "symmetric"),
}


@pytest.mark.parametrize(("kind_a", "kind_b"), list(itertools.product(KINDS, KINDS)))
def test_a_pair_of_nats_goes_direct_where_theory_allows_it(kind_a, kind_b):
    world, _, issuer, claimer = world_of(kind_a, kind_b)

    world.run_for(4)

    is_direct = bool(issuer.link.direct_path and claimer.link.direct_path)
    assert is_direct == ((kind_a, kind_b) not in RELAYED)
    stream = claimer.send_all(patterned(MIB // 16))
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(MIB // 16)


@pytest.mark.parametrize("seed", range(8))
def test_promotion_takes_less_than_half_a_second_between_cone_nats(seed):
    world, _, issuer, claimer = world_of(seed=seed, delay=0.02, jitter=0.01)
    began = world.now

    world.drive(lambda: issuer.link.direct_path and claimer.link.direct_path, seconds=5)

    assert world.now - began <= 0.5


def test_data_moves_to_the_direct_path_and_the_relay_falls_silent():
    world, _, issuer, claimer = direct_pair(rate=5e6)
    relayed_before = claimer.link.counters.bytes_sent_relayed

    stream = claimer.send_all(patterned(4 * MIB))
    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == patterned(4 * MIB)
    assert claimer.link.counters.bytes_sent_direct >= 4 * MIB
    assert claimer.link.counters.bytes_sent_relayed - relayed_before < 2000


def test_traffic_flows_again_within_three_seconds_of_a_cut_and_is_direct_again_after_it():
    world, network, issuer, claimer = direct_pair(rate=3e5)
    for wire in (*world.wires(issuer), *world.wires(claimer)):
        wire.rate = 3e5
    stream = claimer.send_all(patterned(6 * MIB))
    world.run_for(1)

    network.cut(claimer)
    before = len(issuer.received[stream])
    cut_at = world.now
    world.drive(lambda: len(issuer.received[stream]) > before + 64 * 1024, seconds=10)
    paused_s = world.now - cut_at
    world.run_for(10 - paused_s)
    assert claimer.link.direct_path is None
    network.cut(claimer, is_cut=False)
    healed_at = world.now
    world.drive(lambda: claimer.link.direct_path and issuer.link.direct_path, seconds=20)

    assert paused_s <= 3
    assert world.now - healed_at <= 5
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(6 * MIB)


def test_a_nat_that_rebinds_is_followed_after_a_challenge():
    world, network, issuer, claimer = direct_pair(rate=1e6)
    stream = claimer.send_all(patterned(8 * MIB))
    world.run_for(0.5)

    network.ports[claimer].nat.rebind("203.0.113.77")
    world.drive(
        lambda: issuer.link.direct_path and issuer.link.direct_path.ip == "203.0.113.77",
        seconds=5,
    )

    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(8 * MIB)


def test_an_acknowledgement_may_name_a_probe():
    # As when a process stood still: it then acknowledges what it missed, a probe as the newest.
    world, network, issuer, claimer = direct_pair()
    path, sealer = direct_paths(claimer.link).active, sealer_of(claimer.link)
    number = sealer._next_number[path.id]
    claimer.link.suspect_paths(claimer.instant)
    claimer.run()
    assert sealer._next_number[path.id] == number + 1

    ack = encode(Ack(path.id, 0, 0, ((number, number),)))
    packet = forge(issuer, ack, direct_paths(issuer.link).active.id)
    claimer.receive_udp((path.endpoint.ip, path.endpoint.port), packet)

    assert not claimer.link.is_closed


def test_one_way_loss_of_the_direct_path_falls_back_to_the_relay():
    world, network, issuer, claimer = direct_pair(rate=5e6)
    stream = claimer.send_all(patterned(8 * MIB))
    world.run_for(0.3)

    network.ports[claimer].up.is_cut = True
    world.drive(lambda: stream in issuer.ended, seconds=60)

    assert issuer.received[stream] == patterned(8 * MIB)


@pytest.mark.parametrize("way", ["up", "down"])
def test_one_way_loss_of_the_direct_path_is_noticed_as_soon_as_a_cut(way):
    # What still comes the other way, pings of the receiver among it, proves nothing for our data.
    world, network, issuer, claimer = direct_pair(rate=1e6)
    for wire in (*world.wires(issuer), *world.wires(claimer)):
        wire.rate = 1e6
    stream = claimer.send_all(patterned(16 * MIB))
    world.run_for(1)

    getattr(network.ports[claimer], way).is_cut = True
    world.run_for(0.2)  # what was on its way
    before = len(issuer.received[stream])
    cut_at = world.now
    world.drive(lambda: len(issuer.received[stream]) > before + 64 * 1024, seconds=10)

    assert world.now - cut_at <= 1.5


def test_a_packet_replayed_from_another_address_moves_nothing():
    world, network, issuer, claimer = direct_pair(rate=5e6)
    stream = claimer.send_all(patterned(4 * MIB))
    world.run_for(0.3)
    good = issuer.link.direct_path
    seen = [entry for entry in network.seen if entry[1][0] == good.ip or entry[0][0] == good.ip]

    for index, (_, remote, data) in enumerate(seen[-200:]):
        network.arrive(("198.51.100.9", 5000 + index % 3), remote, data)
    world.run_for(0.2)

    assert issuer.link.direct_path == good
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(4 * MIB)


def test_what_is_repeated_in_one_burst_is_dropped_and_counted():
    world, network, issuer, claimer = direct_pair(rate=5e6)
    stream = claimer.send_all(patterned(MIB))
    world.drive(lambda: stream in issuer.ended)
    to_issuer = issuer.link.direct_path
    source = (to_issuer.ip, to_issuer.port)
    sent = [data for sender, _, data in network.seen if sender == source]
    size = max(map(len, sent))
    large = [data for data in sent if len(data) == size]
    dropped_before = issuer.link.counters.packets_dropped
    received_before = issuer.link.counters.packets_received
    burst = ReceivedBurst()
    joined = b"".join(large[:40])
    burst.view[: len(joined)] = joined
    burst.set(len(joined), size)

    issuer.machine.handle_datagrams(issuer.instant, to_issuer, burst)

    assert issuer.link.counters.packets_dropped == dropped_before + 40
    assert issuer.link.counters.packets_received == received_before


def test_a_stolen_fresh_packet_earns_the_thief_a_challenge_and_no_data():
    # An on-path attacker passes the claimer's packets on from its own address, and first.
    world, network, issuer, claimer = direct_pair(rate=5e6)
    network.ports[claimer].up.is_cut = True
    thief = ("198.51.100.9", 4444)
    original = claimer.send_udp

    def steal(to, data):
        network.arrive(thief, (issuer_address[0], issuer_address[1]), data)
        original(to, data)

    port = network.ports[issuer]
    issuer_address = (port.nat.ip, next(iter(port.nat.inside)))
    port.nat.open_to(thief)
    claimer.send_udp = steal
    stream = claimer.send_all(patterned(4 * MIB))

    world.drive(lambda: stream in issuer.ended, seconds=60)

    assert issuer.received[stream] == patterned(4 * MIB)
    direct = issuer.link.direct_path
    assert direct is None or (direct.ip, direct.port) != thief
    to_thief = [data for _, remote, data in network.seen if remote == thief]
    assert sum(map(len, to_thief)) < 10_000


def test_junk_at_the_udp_port_changes_nothing():
    world, network, issuer, claimer = direct_pair(rate=5e6)
    port = network.ports[issuer]
    target = (port.nat.ip, next(iter(port.nat.inside)))
    for number in range(4):
        port.nat.open_to(("198.51.100.9", number))
    good = issuer.link.direct_path
    stream = claimer.send_all(patterned(4 * MIB))
    for index in range(5000):
        junk = bytearray(world.rng.randbytes(world.rng.randrange(0, 1400)))
        if len(junk) > 16:
            junk[0] = 0x81 + index % 2
            junk[4:8] = claimer.link.parameters.peer_index.to_bytes(4, "little")
        network.arrive(("198.51.100.9", index % 4), target, bytes(junk))

    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == patterned(4 * MIB)
    assert issuer.link.direct_path == good
    assert issuer.link.counters.packets_dropped >= 3000


def test_forced_relay_on_one_side_keeps_both_on_the_relay():
    world = World(4)
    issuer, claimer = world.issuer(), world.claimer(features=Feature.RELAY_ONLY)
    world.drive(lambda: issuer.link is not None and claimer.link is not None)
    network = UdpNetwork(world)
    for host, ip in ((issuer, "203.0.113.1"), (claimer, "203.0.113.2")):
        network.attach(host, ip)

    world.run_for(5)

    assert issuer.link.is_relay_only
    assert claimer.link.direct_path is None
    assert network.seen == []
