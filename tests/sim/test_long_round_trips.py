"""Round trips of up to 3 s between each side and its relay, so twice as long between the two."""

import pytest
from world import World, patterned

from tunnel.proto.link.events import LinkStalled
from tunnel.proto.meeting.owner import Declined
from tunnel.proto.meeting.places import IN_USE, PROBE_S, LinkAdmitted
from tunnel.units import KIB

ROUND_TRIPS_S = (0.05, 0.8, 1.2, 2.0, 3.0)


@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS_S)
def test_two_sides_meet_after_two_round_trips_and_nothing_counts_as_a_stall(round_trip_s):
    world = World()
    began_at = world.now
    issuer, claimer = world.linked_pair(delay=round_trip_s / 2)

    assert world.now - began_at < 2 * 2 * round_trip_s + 0.1
    stream = claimer.send_all(patterned(256 * KIB))
    world.drive(lambda: stream in issuer.ended, seconds=60 * round_trip_s)
    assert issuer.received[stream] == patterned(256 * KIB)
    assert claimer.link.counters.packets_lost == 0
    assert len(issuer.all(LinkAdmitted)) == 1
    assert not [host for host in (issuer, claimer) if host.all(LinkStalled)]


@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS_S)
def test_a_holder_that_answers_slowly_keeps_its_place(round_trip_s):
    world = World()
    issuer, holder = world.linked_pair(delay=round_trip_s / 2)
    stream = holder.send_all(patterned(64 * KIB))
    world.drive(lambda: stream in issuer.ended, seconds=60 * round_trip_s)

    second = world.claimer(delay=round_trip_s / 2)
    world.drive(lambda: second.is_over, seconds=60 + 30 * PROBE_S)

    assert issuer.all(Declined) == [Declined(IN_USE)]
    assert not holder.is_over
