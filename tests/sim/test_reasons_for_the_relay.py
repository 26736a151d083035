"""Why a link stays on the relay is told by what its two sides could learn, in the simulated world."""

import pytest
from udp_network import UdpNetwork, nat_of
from world import Host, World

from derphole.rendezvous.receipt_paths import NOT_IN_TIME, reason_relayed
from tunnel.proto.link.path_facts import facts_of


def sides_of(kind_a: str, kind_b: str, servers: int) -> tuple[UdpNetwork, Host, Host]:
    """Return two linked hosts that look for direct paths; "blocked" is a kind of NAT here."""
    world = World(3)
    issuer, claimer = world.linked_pair(delay=0.02)
    network = UdpNetwork(world, servers)
    for host, kind, number in ((issuer, kind_a, 1), (claimer, kind_b, 2)):
        nat = nat_of("port-restricted" if kind == "blocked" else kind, f"203.0.113.{number}0")
        port = network.attach(host, f"10.0.{number}.2", nat=nat, delay=0.02)
        port.is_blocked = kind == "blocked"
    return network, issuer, claimer


def reason_of(network: UdpNetwork, host: Host) -> str | None:
    facts = facts_of(host.link, network.drivers[host].evidence, host.instant)
    return reason_relayed(facts, is_forced_here=False)


@pytest.mark.parametrize(
    ("kind_a", "kind_b", "servers", "reason_a", "reason_b"),
    [
        ("port-restricted", "port-restricted", 2, None, None),
        (
            "symmetric",
            "symmetric",
            2,
            "both NATs are symmetric according to the STUN answers",
            "both NATs are symmetric according to the STUN answers",
        ),
        ("symmetric", "symmetric", 1, NOT_IN_TIME, NOT_IN_TIME),
        (
            "symmetric",
            "port-restricted",
            2,
            f"{NOT_IN_TIME}; the NAT of this side is symmetric according to STUN",
            f"{NOT_IN_TIME}; the NAT of the other side is symmetric according to STUN",
        ),
        (
            "port-restricted",
            "blocked",
            1,
            "UDP seems to be blocked on the other side: no STUN server answered",
            f"{NOT_IN_TIME}; the relay's STUN server did not answer",
        ),
        (
            "port-restricted",
            "blocked",
            2,
            "UDP seems to be blocked on the other side: no STUN server answered",
            "UDP seems to be blocked on this side: no STUN server answered",
        ),
    ],
)
def test_each_side_tells_what_it_could_learn(kind_a, kind_b, servers, reason_a, reason_b):
    network, one, other = sides_of(kind_a, kind_b, servers)
    network.world.run_for(4)

    assert (reason_of(network, one), reason_of(network, other)) == (reason_a, reason_b)


def test_a_direct_path_that_broke_is_the_reason():
    network, one, other = sides_of("port-restricted", "port-restricted", 1)
    network.world.run_for(4)
    network.cut(one)
    network.cut(other)
    stream = one.send_all(bytes(100_000))

    network.world.drive(lambda: stream in other.ended, seconds=20)

    assert reason_of(network, one) == "the direct path was lost"


def test_the_peer_is_not_called_blocked_before_it_had_time_to_tell():
    network, one, other = sides_of("port-restricted", "blocked", 1)

    network.world.run_for(0.5)

    assert reason_of(network, one) == NOT_IN_TIME
    assert reason_of(network, other) == NOT_IN_TIME
