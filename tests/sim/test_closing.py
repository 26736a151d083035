"""Authenticated closes, and what breaks the protocol: the link ends on both sides, with a reason."""

import pytest
from inside import relay_path, sealer_of
from world import World, forge, forge_bulk, patterned

from tunnel.proto.link.events import LinkClosed
from tunnel.proto.streams.table import MAX_PEER_STREAMS
from tunnel.units import KIB, MIB
from tunnel.wire import frames as wire
from tunnel.wire.frames import (
    Ack,
    Challenge,
    Close,
    Credit,
    Rekey,
    RekeyAnswer,
    Reset,
    Stop,
    StreamData,
)
from tunnel.wire.packet import decode_general_header

PROTOCOL_VIOLATION = 1


def inject(world, sender, receiver, packed):
    """Deliver frames as an authenticated but misbehaving peer would send them."""
    receiver.receive(0, sender.key.public, forge(sender, packed))


def inject_bulk(world, sender, receiver, stream, offset, data):
    receiver.receive(0, sender.key.public, forge_bulk(sender, stream, offset, data))


def only_closing(host):
    (closed,) = host.all(LinkClosed)
    return closed


@pytest.mark.parametrize("is_by_issuer", [True, False])
def test_a_close_reaches_the_peer_with_code_and_text(is_by_issuer):
    world = World()
    pair = world.linked_pair()
    closing, other = pair if is_by_issuer else pair[::-1]

    closing.link.close(world.instant, 19, "the disk is full")
    world.drive(lambda: other.is_over, seconds=1)

    assert only_closing(other) == LinkClosed(19, "the disk is full", is_by_peer=True)
    assert only_closing(closing) == LinkClosed(19, "", is_by_peer=False)


def test_a_close_comes_behind_the_data_that_was_sent_before_it():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(b"the last words")
    world.settle()

    claimer.link.close(world.instant, 16, "done")
    world.drive(lambda: issuer.is_over)

    assert issuer.received[stream] == b"the last words"
    assert stream in issuer.ended


def test_a_close_goes_before_no_data_in_the_socket():
    world = World()
    issuer, claimer = world.linked_pair()
    packets = []
    world.watch = lambda host, packet: packets.append(packet)

    claimer.link.close(world.instant, 16, "done")
    world.settle()

    assert [packet.is_control for packet in packets] == [False]


def test_a_lost_close_is_repeated_while_packets_still_arrive_but_not_for_each():
    world = World()
    issuer, claimer = world.linked_pair()
    issuer.send_all(patterned(40 * MIB))
    world.run_for(0.5)
    closes = []
    world.watch = lambda host, packet: closes.append(world.now) if host is claimer else None
    world.relay.ports[claimer.key.public].up.is_cut = True
    claimer.link.close(world.instant, 16, "done")
    closes.clear()

    world.run_for(3)
    assert 1 <= len(closes) <= 3 / 0.25 + 1
    assert not issuer.is_over
    world.relay.ports[claimer.key.public].up.is_cut = False
    world.drive(lambda: issuer.is_over, seconds=3)

    assert only_closing(issuer) == LinkClosed(16, "done", is_by_peer=True)


def test_a_second_close_says_nothing_new():
    world = World()
    issuer, claimer = world.linked_pair()
    claimer.link.close(world.instant, 16, "done")

    claimer.link.close(world.instant, 17, "again")
    world.drive(lambda: issuer.is_over)

    assert only_closing(claimer).code == 16
    assert only_closing(issuer).code == 16


def test_both_sides_may_close_at_once():
    world = World()
    issuer, claimer = world.linked_pair()

    issuer.link.close(world.instant, 20, "input failed")
    claimer.link.close(world.instant, 19, "output failed")
    world.run_for(60)

    assert not only_closing(issuer).is_by_peer
    assert not only_closing(claimer).is_by_peer


def test_a_closed_link_sends_nothing_more_by_itself():
    world = World()
    issuer, claimer = world.linked_pair()
    claimer.send_all(patterned(MIB))
    claimer.link.close(world.instant, 16, "done")
    world.run_for(2)
    sent = []
    world.watch = lambda host, packet: sent.append(packet)

    world.run_for(300)

    assert sent == []


BREACHES = {
    "data beyond the credit": wire.encode(StreamData(0, 16 * KIB, b"x", False)),
    "a stream of our own that we never opened": wire.encode(StreamData(1, 0, b"x", False)),
    "data beyond the end": wire.encode(StreamData(0, 0, b"abc", True))
    + wire.encode(StreamData(0, 3, b"x", False)),
    "an end before data that came": wire.encode(StreamData(0, 0, b"abc", False))
    + wire.encode(StreamData(0, 0, b"a", True)),
    "two different ends": wire.encode(StreamData(0, 10, b"abc", True))
    + wire.encode(StreamData(0, 0, b"a", True)),
    "a reset beyond the credit": wire.encode(Reset(0, 16 * KIB + 1, 7)),
    "too many streams": wire.encode(StreamData(2 * MAX_PEER_STREAMS + 2, 0, b"", False)),
    "an ack of a number never sent": wire.encode(Ack(0, 24, 0, ((1 << 40, 1 << 40),))),
    "an ack of a path never used": wire.encode(Ack(1, 24, 0, ((0, 0),))),
    "a path challenge": wire.encode(Challenge(bytes(8))),
    "a frame of unknown type": b"\xff",
    "a cut frame": wire.encode(Stop(0, 7))[:-1],
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_of_the_protocol_ends_the_link_on_both_sides(name):
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)

    inject(world, claimer, issuer, BREACHES[name])
    world.drive(lambda: claimer.is_over, seconds=1)

    assert only_closing(issuer) == LinkClosed(PROTOCOL_VIOLATION, "", is_by_peer=False)
    assert only_closing(claimer).code == PROTOCOL_VIOLATION
    assert only_closing(claimer).text
    assert only_closing(claimer).is_by_peer


@pytest.mark.parametrize("offset", [16 * KIB - 7, 1 << 61, (1 << 64) - 8])
def test_bulk_beyond_the_credit_ends_the_link(offset):
    world = World()
    issuer, claimer = world.linked_pair()

    inject_bulk(world, claimer, issuer, 0, offset, bytes(8))
    world.drive(lambda: claimer.is_over, seconds=1)

    assert only_closing(issuer).code == PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    "packed",
    [
        wire.encode(Stop(0, 7)),
        wire.encode(Credit(0, 0, 0)),
        wire.encode(Reset(0, 0, 7)) * 2,
        wire.encode(StreamData(0, 0, b"", True)) * 2 + wire.encode(Reset(0, 0, 7)),
        wire.encode(StreamData(0, 0, b"abc", True)) * 3 + wire.encode(Stop(0, 1)) * 2,
        wire.encode(Credit(0, (1 << 64) - 1, 0)),
        bytes(100),
        b"",
    ],
)
def test_what_is_odd_but_allowed_ends_nothing(packed):
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    claimer.link.streams.open()
    packet = forge(claimer, packed)
    number = decode_general_header(packet)[4]
    relay_path(claimer.link).ledger._next_number = number + 1  # as if it had been sent regularly

    issuer.receive(0, claimer.key.public, packet)
    world.run_for(1)

    assert not issuer.is_over
    assert not claimer.is_over


def test_frames_behind_a_close_are_not_looked_at():
    world = World()
    issuer, claimer = world.linked_pair()

    inject(world, claimer, issuer, wire.encode(Close(16, "done")) + BREACHES["a path challenge"])
    world.run_for(1)

    assert only_closing(issuer) == LinkClosed(16, "done", is_by_peer=True)


def test_numbers_that_jump_far_ahead_are_answered():
    """A peer may choose any numbers, and never makes us fail over them."""
    world = World()
    issuer, claimer = world.linked_pair()
    for number in (1 << 33, 1 << 50, (1 << 62) - 10):
        sealer_of(claimer.link)._next_number[0] = number
        claimer.link.ping()
        world.run_for(0.5)

    stream = claimer.send_all(b"still here")
    world.drive(lambda: stream in issuer.ended)
    assert not issuer.is_over


@pytest.mark.parametrize(
    ("is_from_issuer", "frames"),
    [
        (False, [Rekey(b"\x09" * 32)]),
        (True, [RekeyAnswer(b"\x09" * 32)]),
        (True, [Rekey(b"\x09" * 32), Rekey(b"\x0a" * 32)]),
        (True, [Rekey(bytes(32))]),
    ],
    ids=["by the claimer", "an answer by the issuer", "two at once", "of low order"],
)
def test_a_re_key_that_nobody_may_ask_for_ends_the_link(is_from_issuer, frames):
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    sender, receiver = (issuer, claimer) if is_from_issuer else (claimer, issuer)

    inject(world, sender, receiver, b"".join(map(wire.encode, frames)))
    world.drive(lambda: sender.is_over, seconds=1)

    assert only_closing(receiver).code == only_closing(sender).code == PROTOCOL_VIOLATION


def test_a_repeated_re_key_and_an_answer_out_of_turn_end_nothing():
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    rekey = wire.encode(Rekey(b"\x09" * 32))
    answer = wire.encode(RekeyAnswer(b"\x09" * 32))

    inject(world, issuer, claimer, rekey + rekey)
    inject(world, claimer, issuer, answer)

    assert not claimer.link.is_closed
    assert not issuer.link.is_closed
