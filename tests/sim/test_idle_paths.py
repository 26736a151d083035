"""What a link costs that nobody uses: hours, simulated exactly, packet by packet."""

from direct_world import direct_pair, drive_to_direct, world_of
from udp_network import Nat, UdpNetwork
from world import World

MINUTE, HOUR = 60.0, 3600.0
MOST_A_MINUTE = 100


def test_an_idle_hour_of_a_direct_link_costs_at_most_a_hundred_packets_a_minute():
    world, network, issuer, claimer = direct_pair()
    world.run_for(10)
    relayed = [host.link.counters.bytes_sent_relayed for host in (issuer, claimer)]
    minutes, asked = network.sent_by_minute(world.now), network.asked

    world.run_for(HOUR)

    assert sorted(minutes) == list(range(60))
    assert max(minutes.values()) <= 40
    assert (network.asked - asked) / 60 <= 10
    assert issuer.link.direct_path
    assert claimer.link.direct_path
    assert relayed == [host.link.counters.bytes_sent_relayed for host in (issuer, claimer)]


def test_an_idle_hour_between_hosts_of_many_addresses_costs_no_more():
    world = World(3)
    issuer, claimer = world.linked_pair()
    network = UdpNetwork(world)
    for host, number in ((issuer, 1), (claimer, 2)):
        ipv4 = [f"203.0.{113 + i}.{number}" for i in range(8)]
        ipv6 = [f"2001:db8:{i + 1}::{number}" for i in range(8)]
        network.attach(host, *ipv4, *ipv6, delay=0.02)
    drive_to_direct(world, issuer, claimer)
    world.run_for(10)
    minutes = network.sent_by_minute(world.now)

    world.run_for(HOUR)

    assert max(minutes.values()) + network.asked / 60 <= MOST_A_MINUTE
    assert issuer.link.direct_path
    assert claimer.link.direct_path


def test_an_idle_relayed_link_without_udp_pings_once_in_thirty_seconds():
    world, network, issuer, claimer = world_of()
    for port in network.ports.values():
        port.is_blocked = True
    world.run_for(5 * MINUTE)
    sent = []
    world.watch = lambda host, packet: sent.append(host)

    world.run_for(HOUR)

    for host in (issuer, claimer):  # one pings, the other one acknowledges; offers come on top
        assert HOUR / 30 - 1 <= sent.count(host) <= HOUR / 30 + 2 * HOUR / (5 * MINUTE)


def test_a_host_without_udp_backs_off_its_probing():
    world, network, _, _ = world_of()
    for port in network.ports.values():
        port.is_blocked = True
    minutes, asked = network.sent_by_minute(world.now), network.asked
    world.run_for(2 * MINUTE)
    asked_at_first = network.asked - asked

    world.run_for(HOUR - 2 * MINUTE)

    assert network.asked - asked - asked_at_first <= asked_at_first * 58 / 2 / 3
    assert minutes[0] == 10  # 5 probes for each address of the other side
    assert sum(minutes[minute] for minute in range(1, 60)) <= minutes[0] * 60 / 4
    assert max(minutes[minute] for minute in range(1, 60)) <= minutes[0]


def test_a_broken_direct_path_is_probed_less_after_five_minutes():
    world, network, issuer, claimer = direct_pair()
    network.cut(claimer)
    minutes = network.sent_by_minute(world.now)

    world.run_for(HOUR)

    assert issuer.link.direct_path is claimer.link.direct_path is None
    for minute in range(1, 4):
        assert 2 * 29 <= minutes[minute] <= 2 * 32 + 20
    for begin in range(6, 60, 5):  # and 5 probes a candidate in five minutes
        assert sum(minutes[minute] for minute in range(begin, begin + 5)) <= 5 * 2 * 2 + 40


def test_five_idle_hours_behind_nats_that_forget_after_thirty_seconds_stay_direct():
    world, network, issuer, claimer = direct_pair()
    for port in network.ports.values():
        assert isinstance(port.nat, Nat)
        port.nat.life_s = 30.0
    paths = issuer.link.direct_path, claimer.link.direct_path
    lost = []
    for _ in range(5 * 60):
        world.run_for(MINUTE)
        if (issuer.link.direct_path, claimer.link.direct_path) != paths:
            lost.append(world.now)

    assert lost == []
    assert not issuer.is_over
    assert issuer.link.promotions == claimer.link.promotions == 1
