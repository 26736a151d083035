"""Who holds the place: second claimers, silent holders, new links of the same process."""

import pytest
from world import World, forge, patterned

from tunnel.proto.link.events import LinkClosed
from tunnel.proto.meeting.claimer import ClaimState, LinkUp
from tunnel.proto.meeting.owner import Declined
from tunnel.proto.meeting.places import IN_USE, REPLACED, ApplicantState, LinkAdmitted
from tunnel.units import KIB, MIB
from tunnel.wire import frames as wire


def closings(host):
    return [(event.code, event.text, event.is_by_peer) for event in host.all(LinkClosed)]


def test_a_second_claimer_is_refused_and_the_first_is_undisturbed():
    world = World()
    issuer, first = world.linked_pair(rate=5e6)
    stream = first.send_all(patterned(4 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > MIB)

    second = world.claimer()
    world.drive(lambda: second.is_over)

    assert closings(second) == [(IN_USE, "already in use", True)]
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(4 * MIB)
    assert len(issuer.all(LinkAdmitted)) == 1
    assert issuer.all(Declined) == [Declined(IN_USE)]
    assert not first.is_over


def test_who_is_refused_is_closing_and_heard_by_the_relay_alone():
    """Direct paths belong to those who have a place; its close is repeated by the relay."""
    world = World()
    issuer, first = world.linked_pair()
    second = world.claimer()
    world.drive(lambda: second.is_over)

    state_by_key = {each.claimer: each.state for each in issuer.machine.places.by_index.values()}
    assert state_by_key[first.key.public] is ApplicantState.ADMITTED
    assert state_by_key[second.key.public] is ApplicantState.CLOSING
    (refused,) = (
        each.link
        for each in issuer.machine.places.by_index.values()
        if each.state is ApplicantState.CLOSING
    )
    heard = refused.counters.packets_received
    issuer.receive_udp(("192.0.2.7", 4000), forge(second, wire.encode(wire.Ping()), path=1))
    assert refused.counters.packets_received == heard
    issuer.receive(0, second.key.public, forge(second, wire.encode(wire.Ping())))
    assert refused.counters.packets_received == heard + 1


def test_an_idle_holder_that_answers_keeps_its_place():
    world = World()
    issuer, first = world.linked_pair(delay=0.2)
    world.run_for(100)

    second = world.claimer()
    started_at = world.now
    world.drive(lambda: second.is_over)

    assert closings(second)[0][0] == IN_USE
    assert world.now - started_at < 2.0
    assert not first.is_over
    assert len(issuer.links) == 1


def test_a_silent_holder_is_replaced_after_two_seconds():
    world = World()
    issuer, first = world.linked_pair()
    world.cut(first)

    second = world.claimer()
    started_at = world.now
    world.drive(lambda: second.has(LinkUp))

    assert 2.0 <= world.now - started_at < 2.5
    assert closings(issuer)[0][0] == REPLACED
    stream = second.send_all(b"here I am")
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == b"here I am"


def test_a_replaced_holder_is_told_when_it_comes_back():
    world = World()
    issuer, first = world.linked_pair()
    world.cut(first)
    second = world.claimer()
    world.drive(lambda: second.has(LinkUp))

    world.cut(first, is_cut=False)
    first.open()
    world.drive(lambda: first.is_over, seconds=5)

    assert closings(first) == [(REPLACED, "another claimer took over after a silence", True)]
    assert not second.is_over


def test_a_silent_holder_keeps_its_place_where_nobody_may_replace_it():
    world = World()
    issuer, first = world.linked_pair()
    issuer.machine.places.may_replace = False
    world.cut(first)

    second = world.claimer()
    world.drive(lambda: second.is_over)

    assert closings(second)[0][0] == IN_USE
    world.cut(first, is_cut=False)
    stream = first.send_all(b"still here")
    world.drive(lambda: stream in issuer.ended)
    assert not first.is_over


def test_who_only_names_the_process_of_a_holder_disturbs_it_no_more_than_a_stranger():
    world = World()
    issuer, first = world.issuer(), world.claimer(instance=b"i" * 16)
    world.drive(lambda: first.has(LinkUp))

    again = world.claimer(instance=b"i" * 16)
    world.drive(lambda: again.is_over)

    assert closings(again) == [(IN_USE, "already in use", True)]
    world.run_for(5)
    assert not first.is_over
    assert len(issuer.all(LinkAdmitted)) == 1


def test_who_only_names_the_process_of_a_holder_gets_a_place_of_its_own_where_one_is_free():
    world = World()
    issuer, first = world.issuer(places=2), world.claimer(instance=b"i" * 16)
    world.drive(lambda: first.has(LinkUp))

    again = world.claimer(instance=b"i" * 16)
    started_at = world.now
    world.drive(lambda: again.has(LinkUp))

    assert world.now - started_at < 0.2
    assert not any(event.is_proven for event in issuer.all(LinkAdmitted))
    world.run_for(5)
    assert not first.is_over
    assert len(issuer.machine.links) == 2


def test_a_claimer_that_was_let_in_without_hearing_of_it_does_not_compete_with_itself():
    """It claims anew after 3 s, and closes the link it never heard of."""
    world = World()
    issuer, first = world.issuer(), world.claimer()
    world.relay.tamper = lambda source, destination, data: (
        [(source, destination, data)] if data[0] == 0x54 or destination != first.key.public else []
    )
    world.drive(lambda: len(issuer.all(LinkAdmitted)) == 2, seconds=3.2)
    world.relay.tamper = None

    world.drive(lambda: first.has(LinkUp), seconds=1)

    world.run_for(3)
    assert closings(issuer) == [(REPLACED, "a newer claim of the same process", True)]
    assert len(issuer.machine.links) == 1
    stream = first.send_all(b"once")
    world.drive(lambda: stream in issuer.ended)


@pytest.mark.parametrize("delay", [0.3, 0.6])
def test_a_silent_holder_is_replaced_however_slow_the_relay_is(delay):
    """The place is free after 2 s; the newcomer asks again after 3 s, and then finds it free."""
    world = World()
    issuer, first = world.linked_pair(delay=delay)
    world.cut(first)

    second = world.claimer(delay=delay)
    world.drive(lambda: second.has(LinkUp), seconds=20)

    stream = second.send_all(b"here I am")
    world.drive(lambda: stream in issuer.ended)
    assert len(issuer.machine.links) == 1


def test_several_places_are_given_to_several_claimers_and_no_more():
    world = World()
    issuer = world.issuer(places=3)
    claimers = [world.claimer() for _ in range(3)]
    world.drive(lambda: all(host.has(LinkUp) for host in claimers))

    fourth = world.claimer()
    world.drive(lambda: fourth.is_over)

    assert closings(fourth)[0][0] == IN_USE
    assert len(issuer.machine.links) == 3
    claimers[1].link.close(world.instant, 16, "done")
    world.run_for(1)
    fifth = world.claimer()
    world.drive(lambda: fifth.has(LinkUp))
    assert not claimers[0].is_over
    assert not claimers[2].is_over


def test_the_relay_s_frames_are_shared_between_links():
    world = World()
    issuer = world.issuer(places=20)
    claimers = [world.claimer() for _ in range(20)]
    world.drive(lambda: all(host.has(LinkUp) for host in claimers))

    assert {link.our_grant for link in issuer.machine.links} == {2}
    for host in claimers[1:]:
        host.link.close(world.instant, 16, "done")
    world.run_for(60)
    assert [link.our_grant for link in issuer.machine.links] == [24]


def test_a_newcomer_that_leaves_while_the_holder_is_asked_takes_no_place():
    world = World()
    issuer, first = world.linked_pair()
    world.cut(first)
    second = world.claimer()
    world.drive(lambda: second.machine.state is ClaimState.ADMITTING)
    world.run_for(0.5)

    second.machine.link.close(world.instant, 17, "interrupted")
    world.settle()
    world.hosts.remove(second)
    world.run_for(5)

    assert len(issuer.all(LinkAdmitted)) == 1
    assert not issuer.links[0].is_closed
    world.cut(first, is_cut=False)
    stream = first.send_all(b"still here")
    world.drive(lambda: stream in issuer.ended)


def test_a_free_place_goes_to_whoever_waits():
    world = World()
    issuer, first = world.linked_pair()
    world.cut(first)
    second = world.claimer()
    world.drive(lambda: second.machine.state is ClaimState.ADMITTING)
    world.run_for(0.5)

    issuer.link.close(world.instant, 16, "done")
    started_at = world.now
    world.drive(lambda: second.has(LinkUp))

    assert world.now - started_at < 0.5


def test_nothing_is_taken_by_a_claim_alone():
    """Only the first sealed packet asks for the place."""
    world = World()
    issuer, first = world.linked_pair()
    world.cut(first)
    second = world.claimer()
    world.relay.tamper = lambda source, destination, data: (
        [] if source == second.key.public and data[0] != 0x54 else [(source, destination, data)]
    )

    world.run_for(10)

    assert second.machine.state in (ClaimState.CLAIMING, ClaimState.ADMITTING)
    assert len(issuer.all(LinkAdmitted)) == 1
    assert not issuer.links[0].is_closed


def test_links_of_the_past_are_forgotten():
    world = World()
    issuer = world.issuer()
    for _ in range(5):
        claimer = world.claimer()
        world.drive(lambda: claimer.has(LinkUp))  # noqa: B023
        claimer.link.close(world.instant, 16, "done")
        world.run_for(5)
    world.run_for(120)
    last = world.claimer()
    world.drive(lambda: last.has(LinkUp))
    world.run_for(60)

    assert len(issuer.machine.places.by_index) == 1
    assert not issuer.machine._pending


def test_a_link_that_was_refused_by_silence_leaves_room_for_another_transfer():
    world = World()
    issuer, first = world.linked_pair()
    stream = first.send_all(patterned(100 * KIB))
    world.drive(lambda: stream in issuer.ended)
    first.link.close(world.instant, 16, "done")
    world.drive(lambda: issuer.has(LinkClosed))

    second = world.claimer()
    world.drive(lambda: second.has(LinkUp), seconds=1)

    stream = second.send_all(patterned(100 * KIB, seed=2))
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(100 * KIB, seed=2)


def test_links_that_all_have_much_to_send_take_turns():
    world = World()
    issuer, claimers = world.issuer(places=3), [world.claimer() for _ in range(3)]
    world.drive(lambda: len(issuer.links) == 3 and all(c.link for c in claimers))
    streams = [link.streams.open() for link in issuer.links]
    for link, stream in zip(issuer.links, streams, strict=True):
        link.streams.write(stream, patterned(300 * KIB))
    world.drive(lambda: all(len(c.received.get(streams[0], b"")) == 300 * KIB for c in claimers))
    for link, stream in zip(issuer.links, streams, strict=True):
        link.streams.write(stream, patterned(MIB))

    sent = [issuer.machine.packets_to_send(world.instant, limit=1) for _ in range(6)]

    keys = [packet.to.key for packets in sent for packet in packets]
    assert len(set(keys[:3])) == len(set(keys[3:])) == 3
