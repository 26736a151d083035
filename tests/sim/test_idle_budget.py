"""What a command that has nothing to do costs: wake-ups in a minute, in every state it can be in.

Counted exactly: an instant at which a timer, a packet or a relay wakes a host is one wake-up.  What
drivers look at by themselves (clocks, relay connections) is added by arithmetic at the end.
"""

import pytest
from direct_world import Direct, direct_pair, world_of
from udp_network import UdpNetwork
from world import Host, World

from derphole.rendezvous.waiting import CLOCK_LOOK_S
from tunnel.net.udp.network_watch import CHECK_S
from tunnel.proto.link.parameters import Feature
from tunnel.proto.relay_client.derp_client import DEFAULT_TIMING

MINUTE = 60.0
REFRESHED_S = 90.0  # by then everything has been refreshed once: STUN, mappings, pings
# The budget: what a process may wake up, and what it may more for each link but the first.
WAKEUPS_PER_S = 2.0
MORE_PER_LINK = 0.2
RELAYS_OF_ISSUER = 2  # that one process is connected to at most, for long
LINKS = 8

# What runs beside the machines: see `tunnel.net.udp.network_watch`, `derphole.rendezvous.waiting` and
# `tunnel.proto.relay_client.derp_client`; a ping has an answer, and a relay's keepalive comes once a minute.
OF_DRIVERS_PER_S = (
    1 / CHECK_S
    + 1 / CLOCK_LOOK_S
    + RELAYS_OF_ISSUER * (2 / DEFAULT_TIMING.idle_ping_s + 1 / MINUTE)
)


def assert_idle(world: World, *hosts: Host, links: int = 1, seconds: float = MINUTE) -> None:
    """Let time pass; no host wakes up more often than the budget of its links allows."""
    before = [host.wakeups for host in hosts]
    world.run_for(seconds)
    for host, count in zip(hosts, before, strict=True):
        rate = (host.wakeups - count) / seconds + OF_DRIVERS_PER_S
        print(f"{rate:.2f} wake-ups a second, {links} links")
        assert rate <= WAKEUPS_PER_S + MORE_PER_LINK * (links - 1), f"{rate:.2f} wake-ups a second"


def many_links(*, are_direct: bool) -> tuple[World, list[Host]]:
    """Return a world with one issuer and many claimers, all linked and in use."""
    world = World(7)
    network, issuer = UdpNetwork(world), world.issuer(places=LINKS)
    network.attach(issuer, "203.0.113.1", delay=0.02).is_blocked = not are_direct
    claimers: list[Host] = []
    for number in range(LINKS):  # one after another, or their timers would be due together
        claimers.append(world.claimer())
        network.attach(claimers[-1], f"203.0.{114 + number}.1", delay=0.02)
        world.run_for(2.0 + world.rng.random())
    assert len(issuer.links) == LINKS
    assert all(bool(link.direct_path) is are_direct for link in issuer.links)
    return world, [issuer, *claimers]


def test_waiting_for_a_claim():
    world = World()
    issuer = world.issuer()
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer)


def test_waiting_for_somebody_who_is_not_there():
    world = World()
    claimer = world.claimer()
    world.run_for(REFRESHED_S)

    assert_idle(world, claimer)


def test_waiting_for_a_relay():
    world = World()
    world.relay.is_up = False
    issuer, claimer = world.issuer(), world.claimer()
    world.relay.stop()
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer, claimer)


def test_up_and_idle_by_a_relay():
    world = World()
    relay_only = Feature.RELAY_ONLY
    issuer, claimer = world.issuer(features=relay_only), world.claimer(features=relay_only)
    world.drive(lambda: issuer.link is not None and claimer.link is not None)
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer, claimer)


def test_up_and_idle_by_a_direct_path():
    world, _, issuer, claimer = direct_pair()
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer, claimer)


def test_direct_while_the_relay_is_dead():
    world, _, issuer, claimer = direct_pair()
    world.relay.stop()
    world.run_for(REFRESHED_S)

    assert issuer.link.direct_path
    assert claimer.link.direct_path
    assert_idle(world, issuer, claimer)


def cut_off(direct: Direct) -> None:
    """Take a world's network away, UDP and relay both, without a word to anybody."""
    world, network, issuer, claimer = direct
    for host in (issuer, claimer):
        network.cut(host)
        world.cut(host)


@pytest.mark.parametrize("are_told", [False, True])
def test_without_any_network(are_told: bool):
    direct = world, _, issuer, claimer = direct_pair()
    cut_off(direct)
    if are_told:  # by their connections to the relay, which ended
        world.relay.stop()
    world.run_for(25.0)  # all is backed off; a minute after the last packet the link is given up

    assert_idle(world, issuer, claimer, seconds=25.0)
    assert not issuer.is_over

    world.run_for(REFRESHED_S)
    assert issuer.is_over
    assert_idle(world, issuer, claimer)


@pytest.mark.parametrize("after_s", [REFRESHED_S, 600.0])
@pytest.mark.parametrize("was_direct", [False, True])
def test_while_udp_is_blocked(was_direct: bool, after_s: float):
    world, network, issuer, claimer = direct_pair() if was_direct else world_of()
    for port in network.ports.values():
        port.is_blocked = True
    world.run_for(after_s)

    assert not issuer.link.direct_path
    assert_idle(world, issuer, claimer)


def pair_of_many_addresses() -> Direct:
    """Return a world whose hosts have eight addresses of each family, all reachable."""
    world = World(3)
    issuer, claimer = world.linked_pair()
    network = UdpNetwork(world)
    for host, number in ((issuer, 1), (claimer, 2)):
        ipv4 = [f"203.0.{113 + i}.{number}" for i in range(8)]
        ipv6 = [f"2001:db8:{i + 1}::{number}" for i in range(8)]
        network.attach(host, *ipv4, *ipv6, delay=0.02)
    world.run_for(10)
    return world, network, issuer, claimer


def test_up_and_idle_between_hosts_of_many_addresses():
    world, _, issuer, claimer = pair_of_many_addresses()
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer, claimer)


def test_while_udp_is_blocked_between_hosts_of_many_addresses_that_were_direct():
    world, network, issuer, claimer = pair_of_many_addresses()
    for port in network.ports.values():
        port.is_blocked = True
    world.run_for(REFRESHED_S)

    assert not issuer.link.direct_path
    assert_idle(world, issuer, claimer)


@pytest.mark.parametrize("are_direct", [False, True])
def test_many_links(are_direct: bool):
    world, (issuer, *claimers) = many_links(are_direct=are_direct)
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer, links=LINKS)
    assert_idle(world, *claimers)


def test_many_links_while_the_relay_is_dead():
    world, (issuer, *claimers) = many_links(are_direct=True)
    world.relay.stop()
    world.run_for(REFRESHED_S)

    assert_idle(world, issuer, links=LINKS)
    assert_idle(world, *claimers)
