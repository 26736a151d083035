"""Where a packet comes from is part of what it is: the wrong way in changes nothing."""

from inside import direct_paths
from world import World, forge

from tunnel.crypto.keys import KeyPair
from tunnel.proto.machine import UdpEndpoint
from tunnel.units import KIB
from tunnel.wire import frames as wire
from tunnel.wire.frames import StreamData

UDP = UdpEndpoint(0, "192.0.2.7", 4321)
STRANGER = KeyPair.from_secret(b"\x77" * 32).public
FRAMES = wire.encode(StreamData(0, 0, b"hello", is_end=True))


def linked():
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    return world, issuer, claimer


def sealed(host, path):
    """Seal an authentic packet of a host's next number on a path."""
    return forge(host, FRAMES, path)


def state(host):
    return host.link.counters.packets_received, host.link.last_heard, dict(host.received)


def test_a_packet_of_path_0_by_udp_is_dropped_authentic_as_it_is():
    world, issuer, claimer = linked()
    for sender, receiver in ((claimer, issuer), (issuer, claimer)):
        before, packet = state(receiver), sealed(sender, path=0)

        assert not receiver.link.handle_packet(world.instant, UDP, memoryview(packet))

        assert state(receiver) == before


def test_a_packet_of_a_direct_path_by_the_relay_is_dropped_authentic_as_it_is():
    world, issuer, claimer = linked()
    for sender, receiver in ((claimer, issuer), (issuer, claimer)):
        for path in (1, 2, 65535):
            before = state(receiver)

            receiver.receive(0, sender.key.public, sealed(sender, path))

            assert state(receiver) == before


def test_a_packet_under_another_derp_key_is_dropped_authentic_and_fresh_as_it_is():
    world, issuer, claimer = linked()
    for sender, receiver in ((claimer, issuer), (issuer, claimer)):
        for source in (STRANGER, receiver.key.public, bytes(32)):
            before = state(receiver)

            receiver.receive(0, source, sealed(sender, path=0))

            assert state(receiver) == before
        receiver.receive(0, sender.key.public, sealed(sender, path=0))
        assert state(receiver)[0] == before[0] + 1


def test_a_packet_in_a_foreign_link_s_index_opens_nowhere():
    world = World()
    issuer = world.issuer(places=2)
    first, second = world.claimer(), world.claimer()
    world.drive(lambda: first.link is not None and second.link is not None)
    world.run_for(1)
    packet = sealed(first, path=0)
    into = sealed(second, path=0)[4:8]
    counts = [link.counters.packets_received for link in issuer.links]

    issuer.receive(0, first.key.public, packet[:4] + into + packet[8:])
    issuer.receive(0, second.key.public, packet[:4] + into + packet[8:])

    assert [link.counters.packets_received for link in issuer.links] == counts


def test_a_peer_that_uses_every_path_id_costs_no_more_than_one_that_uses_a_few():
    """A token's holder seals what it likes: acknowledgements of its paths are bounded."""
    world, issuer, claimer = linked()
    for path in range(1, 3000):
        packet = sealed(claimer, path)
        endpoint = UdpEndpoint(0, "192.0.2.7", 1024 + path % 60000)
        issuer.link.handle_packet(world.instant, endpoint, memoryview(packet))

    acks = issuer.link._acks
    assert len(acks) <= 64
    assert len(acks._return_by_path) <= 64
    assert len(issuer.link._opener._windows) <= 65
    assert len(list(direct_paths(issuer.link))) <= 64
    stream = claimer.send_all(bytes(100 * KIB))
    world.drive(lambda: stream in issuer.ended, seconds=5)
