"""A relay that takes no more: what goes by it waits, and what goes by a direct path does not.

The pump is the real one; its relay and its lane only keep what they get.
"""

from direct_world import drive_to_direct
from udp_network import UdpNetwork
from world import World, patterned

from tunnel.net.clock import monotonic
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayState
from tunnel.units import KIB


class Relay:
    """A relay connection whose socket is full, or not."""

    def __init__(self):
        self.state = RelayState.CONNECTED
        self.has_room = self.is_awaited = False
        self.sent = []

    def send(self, destination, packet, *, is_control):
        self.sent.append(is_control)


class Lane:
    """A lane that only notes the size of what it sends."""

    def __init__(self):
        self.number = 0
        self.sent = []

    def send(self, ip, port, data, segment_size=0):
        self.sent.append(len(data))


def pumped(host):
    """Put a host's machine under a real pump, whose relay is full."""
    relay, lane = Relay(), Lane()
    pump = Pump(host.machine, lambda: None, lambda relay: None)
    pump.add_relay(relay)
    pump.use_lanes([lane])
    return pump, relay, lane


def recent_world(relays=1):
    """Return a world whose time is shortly before this machine's, so that all is due at once."""
    world = World(relays=relays)
    world.now = monotonic() - 10
    return world


def test_a_full_relay_does_not_hold_back_what_goes_by_a_direct_path():
    world = recent_world()
    issuer, claimer = world.linked_pair()
    network = UdpNetwork(world)
    network.attach(issuer, "203.0.113.1")
    network.attach(claimer, "203.0.113.2")
    drive_to_direct(world, issuer, claimer)
    pump, _, lane = pumped(claimer)
    claimer.link.streams.write(claimer.open(), patterned(100 * KIB))

    pump.flush()

    assert sum(lane.sent) > KIB


def test_a_full_relay_gets_no_more_data_and_control_all_the_same():
    world = recent_world()
    issuer, claimer = world.linked_pair()
    world.run_for(0.2)
    theirs = issuer.open()
    issuer.link.streams.write(theirs, b"a word that is to be acknowledged")
    issuer.run()
    packets = []
    claimer.receive = lambda *packet: packets.append(packet)
    world.run_for(0.2)
    del claimer.receive
    claimer.link.streams.write(claimer.open(), patterned(100 * KIB))
    pump, relay, _ = pumped(claimer)
    for packet in packets:
        claimer.receive(*packet)
    pump.flush()
    assert relay.sent == [True]

    relay.has_room = True
    pump.flush()

    assert False in relay.sent


def test_a_full_relay_does_not_hold_back_a_link_that_goes_by_another_one():
    world = recent_world(relays=2)
    issuer = world.issuer(places=2)
    claimers = [world.claimer(), world.claimer()]
    world.drive(lambda: all(claimer.link for claimer in claimers))
    world.relays[0].disconnect(claimers[1])
    world.run_for(2)
    assert [link.relay for link in issuer.machine.links] == [0, 1]
    for link in issuer.machine.links:
        link.streams.write(link.streams.open(), patterned(100 * KIB))
    pump, full, _ = pumped(issuer)
    other = Relay()
    other.has_room = True
    pump.add_relay(other)

    pump.flush()

    assert False not in full.sent
    assert False in other.sent
