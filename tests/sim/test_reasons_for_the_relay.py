"""Why a link stays on the relay is told by what its two sides could learn, in the simulated world."""

import pytest
from udp_network import UdpNetwork, nat_of
from world import Host, World

from derphole.receipt_paths import NOT_IN_TIME, reason_relayed


class Side:
    """A host behind a NAT of some kind, or without UDP."""

    def __init__(self, network: UdpNetwork, host: Host, number: int, kind: str) -> None:
        self.host = host
        self.network = network
        nat = nat_of("port-restricted" if kind == "blocked" else kind, f"203.0.113.{number}0")
        port = network.attach(host, f"10.0.{number}.2", nat=nat, delay=0.02)
        port.is_blocked = kind == "blocked"

    def reason(self) -> str | None:
        evidence = self.network.drivers[self.host].gatherer.evidence
        return reason_relayed(self.host.link, evidence, False, self.host.instant)


def sides_of(kind_a: str, kind_b: str, servers: int, seconds: float = 4.0) -> tuple[Side, Side]:
    world = World(3)
    issuer, claimer = world.linked_pair(delay=0.02)
    network = UdpNetwork(world)
    network.servers = servers
    one, other = Side(network, issuer, 1, kind_a), Side(network, claimer, 2, kind_b)
    world.run_for(seconds)
    return one, other


@pytest.mark.parametrize(
    ("kind_a", "kind_b", "servers", "reason_a", "reason_b"),
    [
        ("port-restricted", "port-restricted", 2, None, None),
        (
            "symmetric",
            "symmetric",
            2,
            "both NATs are symmetric, as far as the STUN answers tell",
            "both NATs are symmetric, as far as the STUN answers tell",
        ),
        ("symmetric", "symmetric", 1, NOT_IN_TIME, NOT_IN_TIME),
        (
            "symmetric",
            "port-restricted",
            2,
            f"{NOT_IN_TIME}; the NAT of this side is symmetric by the STUN answers",
            f"{NOT_IN_TIME}; the NAT of the other side is symmetric by the STUN answers",
        ),
        (
            "port-restricted",
            "blocked",
            1,
            "UDP seems to be blocked on the other side: no STUN server answered",
            "UDP seems to be blocked on this side: no STUN server answered",
        ),
    ],
)
def test_each_side_tells_what_it_could_learn(kind_a, kind_b, servers, reason_a, reason_b):
    one, other = sides_of(kind_a, kind_b, servers)

    assert (one.reason(), other.reason()) == (reason_a, reason_b)


def test_a_direct_path_that_broke_is_the_reason():
    one, other = sides_of("port-restricted", "port-restricted", 1)
    for side in (one, other):
        side.network.cut(side.host)
    stream = one.host.send_all(bytes(100_000))

    one.network.world.drive(lambda: stream in other.host.ended, seconds=20)

    assert one.reason() == "the direct path was lost"


def test_the_peer_is_not_called_blocked_before_it_had_time_to_tell():
    one, other = sides_of("port-restricted", "blocked", 1, seconds=0.5)

    assert one.reason() == NOT_IN_TIME
    assert other.reason() == NOT_IN_TIME
