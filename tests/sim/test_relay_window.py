"""What is in flight over a relay: never more than was granted, small at first, polite for long."""

import pytest
from inside import relay_path
from world import World, patterned

from tunnel.proto.link.events import LinkClosed
from tunnel.proto.rate.relay import (
    FIRST_RELAY_FRAME,
    MAX_RELAY_FRAME,
    POLITE_AFTER,
    POLITE_WINDOW,
    RELAY_GRANT_TOTAL,
)
from tunnel.units import KIB, MIB, Instant
from tunnel.wire.handshake import is_handshake
from tunnel.wire.packet import BULK


class Flight:
    """Watches what a host has in flight, at every packet it sends."""

    def __init__(self, world, host):
        self.host = host
        self.most_packets = 0
        self.most_bytes = 0
        self.largest = 0
        self.sizes = []
        self.is_counting = True
        world.watch = self.note

    def note(self, host, packet):
        if host is not self.host or is_handshake(packet.data) or not host.link:
            return
        ledger = relay_path(host.link).ledger
        self.largest = max(self.largest, len(packet.data))
        if packet.data[0] == BULK:
            self.sizes.append(len(packet.data))
        if self.is_counting:
            self.most_packets = max(self.most_packets, ledger.in_flight_packets)
            self.most_bytes = max(self.most_bytes, ledger.in_flight_bytes)


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_receiver_s_queue_at_the_relay_never_overflows(seed):
    """The relay's 32 slots belong to the receiver, who grants 24 of them."""
    world = World(seed)
    issuer, claimer = world.linked_pair(delay=0.05)
    world.relay.ports[issuer.key.public].down.rate = 1e6
    flight = Flight(world, claimer)
    stream = claimer.send_all(patterned(4 * MIB))

    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == patterned(4 * MIB)
    assert world.relay.dropped == 0
    assert world.relay.longest <= 32
    assert flight.most_packets <= RELAY_GRANT_TOTAL + 2  # pings wait for no grant


def test_bulk_both_ways_over_a_slow_relay_drops_nothing():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.02, rate=2e6)
    stream = claimer.send_all(patterned(3 * MIB))
    other = issuer.send_all(patterned(3 * MIB, seed=2))

    world.drive(lambda: stream in issuer.ended and other in claimer.ended)

    assert world.relay.dropped == 0


def test_eight_senders_share_one_receiver_s_slots_without_a_drop():
    world = World()
    issuer = world.issuer(places=8, delay=0.02)
    world.relay.ports[issuer.key.public].down.rate = 4e6
    claimers = [world.claimer(delay=0.02) for _ in range(8)]
    world.drive(lambda: all(host.link is not None for host in claimers))
    world.run_for(1)
    streams = [host.send_all(patterned(600 * KIB, seed=i)) for i, host in enumerate(claimers)]

    world.drive(lambda: all(0 in inbox.ended for inbox in issuer.inboxes))

    assert streams == [0] * 8
    received = {bytes(inbox.received[0]) for inbox in issuer.inboxes}
    assert received == {patterned(600 * KIB, seed=i) for i in range(8)}
    assert world.relay.dropped == 0


def test_only_two_small_frames_go_out_before_the_first_answer():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.1)
    # A relay connection that was made anew starts its model anew.
    claimer.relay_up(0)
    flight = Flight(world, claimer)
    claimer.send_all(patterned(MIB))

    world.run_for(0.05)

    assert flight.most_packets <= 2
    assert flight.largest <= FIRST_RELAY_FRAME
    world.drive(lambda: 0 in issuer.ended)
    assert flight.largest > 50 * KIB


def test_no_relay_frame_is_over_sixty_kib():
    world = World()
    issuer, claimer = world.linked_pair(loss=0.05, delay=0.03)
    flight = Flight(world, claimer)
    for i in range(600):
        claimer.send_all(patterned(1000 + i, seed=i))
        issuer.send_all(patterned(1000 + i, seed=i))
    bulk = claimer.send_all(patterned(2 * MIB))

    world.drive(lambda: bulk in issuer.ended and len(issuer.ended) == 601)

    assert flight.largest <= MAX_RELAY_FRAME == 60 * KIB


def test_a_public_relay_carries_at_most_256_kib_at_once_after_eight_mib():
    world = World(is_polite=True)
    issuer, claimer = world.linked_pair(delay=0.05)
    flight = Flight(world, claimer)
    stream = claimer.send_all(patterned(24 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > POLITE_AFTER + 4 * MIB)
    assert flight.most_bytes > POLITE_WINDOW
    flight.most_bytes = 0

    world.drive(lambda: stream in issuer.ended)

    assert 0 < flight.most_bytes <= POLITE_WINDOW


def test_an_own_relay_is_used_with_the_whole_grant_for_ever():
    world = World(is_polite=False)
    issuer, claimer = world.linked_pair(delay=0.05)
    stream = claimer.send_all(patterned(24 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > POLITE_AFTER + 4 * MIB)
    flight = Flight(world, claimer)

    world.drive(lambda: stream in issuer.ended)

    assert flight.most_bytes > 4 * POLITE_WINDOW


def test_a_receiver_may_shrink_its_grant_while_data_flows():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.05)
    stream = claimer.send_all(patterned(16 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 4 * MIB)
    issuer.link.our_grant = 3
    world.run_for(0.5)
    flight = Flight(world, claimer)

    world.run_for(2)

    assert flight.most_packets <= 3
    world.drive(lambda: stream in issuer.ended)


def test_acks_cost_one_small_frame_for_two_of_data():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.05)
    flight = Flight(world, claimer)
    stream = claimer.send_all(patterned(8 * MIB))
    before = issuer.link.counters.bytes_sent

    world.drive(lambda: stream in issuer.ended)

    data_packets = len(flight.sizes)
    assert issuer.link.counters.bytes_sent - before < 80 * data_packets / 2 + 4 * KIB


def test_a_relay_that_drops_everything_for_a_while_costs_no_byte():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.02)
    stream = claimer.send_all(patterned(4 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > MIB)
    world.cut(issuer)
    world.run_for(12)
    world.cut(issuer, is_cut=False)

    world.drive(lambda: stream in issuer.ended, seconds=10)

    assert issuer.received[stream] == patterned(4 * MIB)
    assert not issuer.has(LinkClosed)


def test_a_frame_full_of_small_streams_has_room_for_its_acks():
    world = World()
    issuer, claimer = world.linked_pair()
    claimer.send_all(b"x")
    world.run_for(1)
    acks = claimer.link._acks._state_by_path[0]
    for i in range(100):
        acks.received(world.instant, 1000 + 2 * i, 1, is_ack_eliciting=True)
    acks.deadline = Instant(world.now + 0.02)  # it waits for company
    for _ in range(100):
        claimer.send_all(bytes(1020))

    packets = claimer.link.packets_to_send(world.instant)

    assert not acks.is_waiting
    size = relay_path(claimer.link).controller.packet_size()
    assert size - KIB < max(len(packet.data) for packet in packets) <= size
