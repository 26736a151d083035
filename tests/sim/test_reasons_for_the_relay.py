"""Why a link stays on the relay is told by what its two sides could learn, in the simulated world."""

import itertools

import pytest
from udp_network import UdpNetwork, nat_of
from world import Host, World

from derphole.receipt_paths import NOT_IN_TIME, reason_relayed
from tunnel.proto.gather import Gatherer, StunQuestion
from tunnel.units import Instant

SERVERS = (("192.0.2.1", 3478), ("192.0.2.2", 3478))


class Side:
    """A host with a NAT, and the gatherer that its driver would run."""

    def __init__(self, network: UdpNetwork, host: Host, number: int, kind: str) -> None:
        self.host = host
        self.network = network
        nat = nat_of("port-restricted" if kind == "blocked" else kind, f"203.0.113.{number}0")
        self.port = network.attach(host, f"10.0.{number}.2", nat, delay=0.02)
        self.port.is_blocked = kind == "blocked"
        counter = itertools.count(number << 32)
        self.gatherer = Gatherer(
            Instant(network.world.now), lambda size: next(counter).to_bytes(size, "big")
        )

    def gather(self, servers: int) -> None:
        """Ask the servers; what they saw becomes a candidate, unless UDP is blocked."""
        now = self.host.instant
        ip, port = self.port.address
        self.gatherer.set_hosts([(ip, port)])
        questions = [StunQuestion(0, *server) for server in SERVERS[:servers]]
        for question, transaction in self.gatherer.requests_to_send(now, questions):
            if not self.port.is_blocked and self.port.nat is not None:
                server = (question.ip, question.port)
                seen = self.port.nat.outbound(self.port.address, server)
                self.gatherer.handle_response(question.lane, transaction, *seen)
        self.host.link.use_lanes(now, {0: False}, allows_loopback=False)
        self.host.link.offer_candidates(self.gatherer.candidates())

    def reason(self) -> str | None:
        now = self.host.instant
        return reason_relayed(self.host.link, self.gatherer.evidence, False, now)


def sides_of(kind_a: str, kind_b: str, servers: int) -> tuple[Side, Side]:
    world = World(3)
    issuer, claimer = world.linked_pair(delay=0.02)
    network = UdpNetwork(world)
    one, other = Side(network, issuer, 1, kind_a), Side(network, claimer, 2, kind_b)
    one.gather(servers)
    other.gather(servers)
    world.run_for(4)
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
    world = World(5)
    issuer, claimer = world.linked_pair(delay=0.02)
    network = UdpNetwork(world)
    one, other = Side(network, issuer, 1, "port-restricted"), Side(network, claimer, 2, "blocked")
    one.gather(1)
    other.gather(1)

    world.run_for(0.5)

    assert one.reason() == NOT_IN_TIME
    assert other.reason() == NOT_IN_TIME
