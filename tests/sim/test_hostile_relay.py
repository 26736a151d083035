"""A hostile relay reads, drops, repeats, reorders, delays and forges, and gains nothing."""

import pytest
from world import SECRET, World, patterned

from tunnel.units import KIB, MIB
from tunnel.wire.handshake import is_handshake

WORDS = b"a sentence that must stay between the two "


def both_ways(world, issuer, claimer, size=300 * KIB):
    """Move bytes both ways and check them."""
    up, down = patterned(size), patterned(size, seed=2)
    stream, back = claimer.send_all(up), issuer.send_all(down)
    world.drive(lambda: stream in issuer.ended and back in claimer.ended)
    assert issuer.received[stream] == up
    assert claimer.received[back] == down


def test_repeating_every_packet_changes_nothing():
    world = World()
    world.relay.tamper = lambda *packet: [packet] * 3
    issuer, claimer = world.linked_pair()

    both_ways(world, issuer, claimer)

    assert issuer.link.counters.packets_dropped > 10
    assert len(issuer.links) == 1


def test_playing_back_a_whole_recording_later_changes_nothing():
    world = World()
    world.relay.keeps_seen = True
    issuer, claimer = world.linked_pair()
    both_ways(world, issuer, claimer)
    recording = list(world.relay.seen)
    world.run_for(100)
    before = len(issuer.events), len(claimer.events)

    for data in recording:
        world.relay.route(claimer.key.public, issuer.key.public, data)
        world.relay.route(issuer.key.public, claimer.key.public, data)
        world.run_for(0.01)

    assert (len(issuer.events), len(claimer.events)) == before
    both_ways(world, issuer, claimer)


def test_flipping_bits_is_loss_and_nothing_more():
    world = World(5)

    def flip(source, destination, data):
        if is_handshake(data) or world.rng.random() > 0.2:
            return [(source, destination, data)]
        flipped = bytearray(data)
        position = world.rng.randrange(8 * len(data))
        flipped[position // 8] ^= 1 << position % 8
        return [(source, destination, bytes(flipped))]

    issuer, claimer = world.linked_pair()
    world.relay.tamper = flip

    both_ways(world, issuer, claimer)

    assert not issuer.is_over
    assert not claimer.is_over


def test_packets_under_another_name_are_dropped():
    world = World()
    issuer, claimer = world.linked_pair()
    stranger = world.claimer(secret=b"x" * 16)
    world.relay.tamper = lambda source, destination, data: [
        (source, destination, data),
        (stranger.key.public, destination, data),
        (destination, source, data),
    ]

    both_ways(world, issuer, claimer)

    assert len(issuer.links) == 1


def test_garbage_to_either_side_changes_nothing():
    world = World()
    issuer, claimer = world.linked_pair()
    before = len(issuer.events), len(claimer.events)

    for size in [*range(70), 216, 1000, 60_000]:
        for first in (0x00, 0x54, 0x81, 0x82, 0xFF):
            garbage = bytes([first]) + world.rng.randbytes(size)
            for source in (issuer, claimer):
                for target in (issuer, claimer):
                    target.receive(0, source.key.public, garbage)
    for magic in (b"TS\xf0\x9f\x92\xac\x01\x01", b"TS\xf0\x9f\x92\xac\x02\x01"):
        for size in (0, 112, 208, 209):
            issuer.receive(0, claimer.key.public, magic + world.rng.randbytes(size))
            claimer.receive(0, issuer.key.public, magic + world.rng.randbytes(size))
    world.run_for(1)

    assert (len(issuer.events), len(claimer.events)) == before
    both_ways(world, issuer, claimer)


def test_garbage_before_the_link_is_up_changes_nothing():
    world = World()
    issuer, claimer = world.issuer(), world.claimer()
    for size in range(300):
        data = world.rng.randbytes(size)
        issuer.receive(0, claimer.key.public, data)
        claimer.receive(0, issuer.key.public, data)
        claimer.receive(0, issuer.key.public, b"\x82" + data)

    world.drive(lambda: claimer.link is not None and issuer.link is not None)

    both_ways(world, issuer, claimer)


def test_a_recording_holds_no_plaintext_no_secret_and_no_claim_header():
    world = World()
    world.relay.keeps_seen = True
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(WORDS * 1000)
    issuer.send_all(WORDS * 1000, stream=None)
    world.drive(lambda: stream in issuer.ended)
    claimer.link.close(world.instant, 16, WORDS.decode())
    world.run_for(1)

    recording = b"".join(world.relay.seen)

    assert WORDS[:12] not in recording
    assert SECRET not in recording
    assert b"simulated grant" not in recording
    assert claimer.machine._identity.instance not in recording


def test_claims_of_one_grant_cannot_be_linked_by_their_bytes():
    world = World()
    world.relay.keeps_seen = True
    world.issuer(places=4)
    claimers = [world.claimer() for _ in range(4)]
    world.drive(lambda: all(host.link is not None for host in claimers))

    claims = [data for data in world.relay.seen if is_handshake(data) and len(data) == 216]

    for position in range(8, 216 - 8):
        assert len({claim[position : position + 8] for claim in claims}) == 4


@pytest.mark.parametrize("seed", range(10))
def test_any_mixture_of_tampering_still_delivers_exactly(seed):
    world = World(seed)
    held = []

    def tamper(*packet):
        choice = world.rng.random()
        if choice < 0.1:
            return []
        if choice < 0.2:
            held.append(packet)
            return []
        if choice < 0.3 and held:
            return [packet, held.pop(world.rng.randrange(len(held)))]
        if choice < 0.4:
            return [packet, packet]
        return [packet]

    world.relay.tamper = tamper
    issuer, claimer = world.linked_pair()

    both_ways(world, issuer, claimer)


def test_a_relay_s_lies_about_who_is_gone_cost_little():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(4 * MIB))
    for _ in range(200):
        issuer.peer_gone(0, claimer.key.public)
        claimer.peer_gone(0, issuer.key.public)
        world.run_for(0.01)

    world.drive(lambda: stream in issuer.ended)

    assert not issuer.is_over
    assert not claimer.is_over
