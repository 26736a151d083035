"""A peer with a place that keeps its link alive and acknowledges as little as it can."""

from inside import relay_path
from token_holder import Holder
from world import World

from tunnel.proto.recovery.loss import MAX_PINGS
from tunnel.wire import frames as wire

SECONDS = 600


def records_of(link):
    return relay_path(link).ledger._records


def test_pings_that_are_never_answered_do_not_pile_up():
    """It is heard all the time, so the link is not given up."""
    world = World(1)
    issuer = world.issuer()
    holder = Holder(world)
    holder.say(wire.Ping())
    link = issuer.links[0]

    for _ in range(SECONDS):
        world.run_for(1)
        for _ in range(4):
            holder.say(wire.RekeyAnswer(bytes([9]) * 32))

    assert not link.is_closed
    assert len(records_of(link)) <= MAX_PINGS
    # What has been unanswered for longest still counts.
    assert records_of(link)[0].sent_at < world.now - SECONDS + 1


def test_pings_that_a_relay_brings_about_do_not_pile_up():
    """PeerGone is a hint: it has us ask again, and a hostile relay says it without end."""
    world = World(2)
    issuer, claimer = world.linked_pair()
    world.cut(claimer)

    for _ in range(1000):
        issuer.peer_gone(0, claimer.key.public)
        world.run_for(0.02)

    assert len(records_of(issuer.link)) <= MAX_PINGS
