"""Worlds with a direct path: two hosts behind NATs, a relay, and who keeps the paths."""

from udp_network import UdpNetwork, nat_of
from world import Host, World

from tunnel.proto.link.parameters import NO_FEATURE, Feature

Direct = tuple[World, UdpNetwork, Host, Host]


def world_of(
    kind_a: str = "port-restricted",
    kind_b: str = "port-restricted",
    seed: int = 1,
    features: Feature = NO_FEATURE,
    **wire: float,
) -> Direct:
    """Return a world whose issuer and claimer have a link and begin to look for direct paths."""
    wire.setdefault("delay", 0.02)
    world = World(seed)
    issuer, claimer = world.linked_pair(features, delay=wire["delay"])
    network = UdpNetwork(world)
    for host, kind, number in ((issuer, kind_a, 1), (claimer, kind_b, 2)):
        ip = f"203.0.113.{number}" if kind == "none" else f"10.0.{number}.2"
        network.attach(host, ip, nat=nat_of(kind, f"203.0.113.{number}0"), **wire)
    return world, network, issuer, claimer


def direct_pair(seed: int = 1, features: Feature = NO_FEATURE, **wire: float) -> Direct:
    """Return a world in which both sides have taken a direct path."""
    world, network, issuer, claimer = world_of(seed=seed, features=features, **wire)
    drive_to_direct(world, issuer, claimer)
    return world, network, issuer, claimer


def drive_to_direct(world: World, *hosts: Host, seconds: float = 5.0) -> float:
    """Run until all hosts are direct; returns how long that took."""
    began = world.now
    world.drive(lambda: all(host.link.direct_path for host in hosts), seconds=seconds)
    return world.now - began
