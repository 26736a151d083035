"""A lane may be closed under a path in use, and another opened: no stream notices."""

from inside import direct_paths
from udp_network import UdpNetwork, nat_of
from world import Host, World, patterned

MIB = 1 << 20


def direct_pair() -> tuple[World, UdpNetwork, Host, Host]:
    world = World(3)
    issuer, claimer = world.linked_pair(delay=0.02)
    network = UdpNetwork(world)
    for host, number in ((issuer, 1), (claimer, 2)):
        nat = nat_of("port-restricted", f"203.0.113.{number}0")
        network.attach(host, f"10.0.{number}.2", nat=nat, delay=0.02, rate=1e7)
    world.drive(lambda: issuer.link.direct_path and claimer.link.direct_path, seconds=5)
    return world, network, issuer, claimer


def close_lane(world: World, network: UdpNetwork, host: Host) -> None:
    """Take a host's interface away; the host notices a little later."""
    network.ports[host].is_blocked = True
    world.run_for(0.3)
    host.link.use_lanes(host.instant, {}, allows_loopback=False)


def test_what_was_in_flight_by_a_lane_that_is_closed_goes_out_by_the_relay():
    world, network, issuer, claimer = direct_pair()
    stream = claimer.send_all(patterned(8 * MIB))
    world.run_for(0.3)
    received = len(issuer.received[stream])
    assert 0 < received < 7 * MIB

    close_lane(world, network, claimer)

    assert claimer.link.direct_path is None
    closed_at = world.now
    world.drive(lambda: len(issuer.received[stream]) > received + 256 * 1024, seconds=5)
    assert world.now - closed_at <= 3
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(8 * MIB)


def test_what_the_receiver_owes_by_a_lane_that_is_closed_goes_by_the_relay():
    world, network, issuer, claimer = direct_pair()
    stream = claimer.send_all(patterned(8 * MIB))
    world.run_for(0.3)

    close_lane(world, network, issuer)

    world.drive(lambda: stream in issuer.ended, seconds=30)
    assert issuer.received[stream] == patterned(8 * MIB)


def test_a_lane_that_is_opened_is_a_new_path_with_an_id_of_its_own():
    world, _, issuer, claimer = direct_pair()
    old = direct_paths(claimer.link).active
    claimer.link.use_lanes(claimer.instant, {}, allows_loopback=False)
    world.run_for(0.3)

    claimer.link.use_lanes(claimer.instant, {7: False}, allows_loopback=False)
    claimer.link.suspect_paths(claimer.instant)

    opened = [path for path in direct_paths(claimer.link) if path.endpoint.lane == 7]
    assert opened
    assert all(path.id > old.id for path in opened)
    assert direct_paths(claimer.link).by_id(old.id) is None
