"""One who holds the token and is hostile to its issuer: what it leaves behind there is bounded."""

import gc
import tracemalloc

import pytest
from bounds import MAX_REMEMBERED
from token_holder import Holder
from world import World, patterned

from tunnel.crypto.keys import KeyPair
from tunnel.proto.link.events import LinkClosed
from tunnel.proto.meeting.claimer import LinkUp
from tunnel.proto.meeting.places import (
    CLOSED_S,
    IN_USE,
    MAX_CLOSED,
    MAX_KNOCKING,
    ApplicantState,
    LinkAdmitted,
)
from tunnel.units import KIB, MIB
from tunnel.wire import frames as wire

SECONDS, FULL_SECONDS = 40.0, 600.0
MOST_GROWTH = 4 * MIB  # traced bytes, while it goes on
KEPT = 60  # links that the test itself goes on pinging; each costs it 20 KiB
EVERY_S = 1 / 3.5  # links a second: just what the limit of one grant lets through
PING_S = 5.0
STREAMS, PIECE = 16, 4 * KIB
DATA = patterned(PIECE)
EARLY = [
    wire.StreamData(0, 0, b"early", is_end=False),
    wire.Reset(0, 0, 7),
    wire.Stop(0, 7),
    wire.Credit(0, 1 << 20, 0),
    wire.Recall(0, 1 << 14, 1),
    wire.Return(0, 1 << 14, 1),
    wire.Datagram(0, 0, 0, 5, b"early"),
]


def stuff(holder):
    """Send what the floors of some streams take, and a ping."""
    for stream in range(0, 2 * STREAMS, 2):
        for offset in range(0, 4 * PIECE, PIECE):
            holder.bulk(stream, offset, DATA)
    holder.say(wire.Ping())


def knocking(world):
    """Return an issuer whose holder is silent, and a hostile one that knocks."""
    issuer, first = world.linked_pair()
    world.cut(first)
    world.run_for(1)  # what it had sent is there
    holder = Holder(world)
    holder.say(wire.Ping())
    applicant = issuer.machine.places.by_index[holder.index]
    assert applicant.state is ApplicantState.KNOCKING
    return issuer, holder, applicant.link


def memory():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.alongside("computes")
def test_links_that_are_refused_and_pinged_for_ever_leave_an_issuer_as_it_was(is_full):
    """3.5 links a second, each with a quarter of a megabyte: today's worst was 15 MB a second."""
    world = World(1)
    issuer, honest = world.linked_pair()
    issuer.reads = honest.reads = True
    world._note = lambda name, values: None
    holders: list[Holder] = []
    accepted: list[float] = []

    def attack():
        holder = Holder(world)
        if holder.is_accepted:
            stuff(holder)
            holders.append(holder)
            accepted.append(world.now)
            for gone in holders[:-KEPT]:
                gone.leave()
            del holders[:-KEPT]

    def ping_all():
        for holder in holders:
            holder.say(wire.Ping())
            holder.answers.clear()

    seconds = FULL_SECONDS if is_full else SECONDS
    started_at = world.now
    for number in range(int(seconds / EVERY_S)):
        world.at(started_at + number * EVERY_S, attack)
    for number in range(int(seconds / PING_S)):
        world.at(started_at + number * PING_S, ping_all)
    world.run_for(seconds / 4)
    tracemalloc.start()
    try:
        before, held = memory(), len(accepted)
        world.run_for(seconds * 3 / 4)
        issuer.events.clear()
        after = memory()
    finally:
        tracemalloc.stop()

    assert len(accepted) - held > 20
    assert len(issuer.machine.places.by_index) <= MAX_REMEMBERED
    # A holder of ours, which the test keeps, is some 20 KiB of it.
    assert after - before < MOST_GROWTH
    assert not honest.is_over
    stream = honest.send_all(patterned(300_000))
    world.drive(lambda: stream in issuer.ended, seconds=5)


def test_before_it_has_the_place_nothing_of_its_streams_is_stored_or_acknowledged():
    world = World(2)
    issuer, holder, link = knocking(world)

    numbers = {holder.say(frame) for frame in EARLY} | {holder.bulk(4, 0, DATA)}
    world.settle()

    assert not link.streams._streams
    assert not link.streams._due
    assert not link.is_closed
    world.drive(lambda: len(issuer.all(LinkAdmitted)) == 2, seconds=5)
    holder.say(wire.Ping())
    world.run_for(1)
    assert not numbers & holder.acked()


def test_what_it_sends_again_once_it_has_the_place_is_stored():
    world = World(3)
    issuer, holder, link = knocking(world)
    holder.say(wire.StreamData(0, 0, b"once more", is_end=True))
    world.drive(lambda: len(issuer.all(LinkAdmitted)) == 2, seconds=5)

    number = holder.say(wire.StreamData(0, 0, b"once more", is_end=True))

    assert issuer.received[0] == b"once more"
    assert issuer.links[-1] is link
    world.run_for(1)
    assert number in holder.acked()


def test_data_right_behind_the_first_ping_is_taken_where_the_place_is_free():
    """No claimer has to wait for anything but the issuer's answer to its ping."""
    world = World(4)
    issuer = world.issuer()
    holder = Holder(world)

    holder.say(wire.Ping())
    holder.say(wire.StreamData(0, 0, b"at once", is_end=True))

    assert issuer.received[0] == b"at once"


def test_pings_acknowledgements_candidates_and_a_close_are_taken_before_it_has_the_place():
    world = World(5)
    issuer, holder, link = knocking(world)
    first, last = (wire.Candidate(1, f"45.10.20.{i}", 41000) for i in (5, 6))

    numbers = {holder.say(wire.Candidates((each,))) for each in (first, last)}
    numbers.add(holder.say(wire.Ping()))
    assert link.peer_candidates == ()
    world.drive(lambda: len(issuer.all(LinkAdmitted)) == 2, seconds=5)

    assert link.peer_candidates == (last,)
    world.run_for(1)
    assert numbers <= holder.acked()
    leaving = Holder(world)
    leaving.say(wire.Ping())
    leaving.say(wire.Close(17, "interrupted"))
    assert issuer.machine.places.by_index[leaving.index].link.is_closed


def test_an_honest_claimer_waits_for_no_more_than_one_round_trip_after_the_decision():
    world = World(6)
    world.issuer(delay=0.05)
    claimer = world.claimer(delay=0.05)
    started_at = world.now

    world.drive(lambda: claimer.has(LinkUp))

    # Claim, decision, ping, answer: four times two wires of 50 ms.
    assert world.now - started_at == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("is_by_us", [True, False], ids=["ours", "theirs"])
def test_the_streams_go_with_the_close(is_by_us):
    world = World(7)
    issuer = world.issuer()
    issuer.reads = False
    holder = Holder(world)
    holder.say(wire.Ping())
    stuff(holder)
    link = issuer.links[0]
    sending = link.streams.sending(0)
    link.streams.write(0, patterned(MIB))
    assert len(link.streams._streams) == STREAMS

    if is_by_us:
        link.close(world.instant, 16, "done")
    else:
        holder.say(wire.Close(16, "done"))
    world.settle()

    assert issuer.has(LinkClosed)
    assert not link.streams._streams
    assert not link.streams._turns
    assert not sending._chunks
    assert sending.buffered, "whoever waits for it learns that not all was stored"


def test_what_came_before_the_close_can_still_be_read():
    world = World(8)
    issuer = world.issuer()
    holder = Holder(world)
    holder.say(wire.Ping())

    holder.issuer.reads = False
    holder.say(wire.StreamData(0, 0, b"the last words", is_end=False))
    issuer.inboxes[0].receiving[0] = issuer.links[0].streams.receiving(0)
    holder.say(wire.Close(16, "done"))

    issuer.read_all(issuer.links[0], 0)
    assert issuer.received[0] == b"the last words"


def test_a_closed_link_is_forgotten_thirty_seconds_after_its_close_whatever_arrives():
    world = World(9)
    issuer, _ = world.linked_pair()
    holder = Holder(world)
    holder.say(wire.Ping())
    world.drive(lambda: bool(holder.all(wire.Close)), seconds=5)
    closed_at = world.now

    for _ in range(int(CLOSED_S) - 1):
        world.run_for(1)
        holder.say(wire.Ping())
    assert holder.index in issuer.machine.places.by_index
    assert holder.all(wire.Close)[-1].code == IN_USE
    told = len(holder.all(wire.Close))
    world.run_for(closed_at + CLOSED_S + 0.1 - world.now)
    for _ in range(10):
        holder.say(wire.Ping())
        world.run_for(1)

    assert holder.index not in issuer.machine.places.by_index
    assert told - 1 <= len(holder.all(wire.Close)) <= told + 1


def test_a_closed_link_is_forgotten_also_where_nothing_ever_arrives():
    world = World(10)
    issuer = world.issuer()
    holder = Holder(world)
    holder.say(wire.Ping())
    holder.say(wire.Close(16, "done"))

    world.run_for(CLOSED_S + 1)

    assert not issuer.machine.places.by_index


def test_closed_links_and_those_that_knock_are_bounded_in_number():
    world = World(11)
    issuer, first = world.linked_pair()
    most = 0
    for number in range(400):
        # As many grants' worth of claims: the limits of the rate are not what is tested here.
        issuer.machine._claims_of_grant._bucket_by_key.clear()
        issuer.machine._claims._level = 1.0
        holder = Holder(world, KeyPair.from_secret(world.rng.randbytes(32)))
        holder.say(wire.Ping())
        if number == 200:
            world.cut(first)  # those that come from here on knock and wait
        if number < 200:
            world.run_for(0.05)
        applicants = issuer.machine.places.by_index.values()
        most = max(most, len(applicants))
        waiting = [each for each in applicants if each.state is ApplicantState.KNOCKING]
        assert len(waiting) <= MAX_KNOCKING

    assert most <= MAX_REMEMBERED
    world.run_for(1)
    assert Holder(world).is_accepted
    applicants = issuer.machine.places.by_index.values()
    assert sum(each.link.is_closed for each in applicants) <= MAX_CLOSED
