"""Links of a tunnel: a silent one lives on while the issuer holds it, and is made anew once not."""

import random

import pytest
from bounds import check_host
from seeds import check_all
from world import HEADER, SECRET, World, patterned

from tunnel.proto.link.events import LinkClosed, LinkGivenUp
from tunnel.proto.meeting.claimer import LinkUp
from tunnel.proto.meeting.handshake import other_version
from tunnel.proto.meeting.owner import NotUnderstood
from tunnel.proto.meeting.places import REPLACED
from tunnel.units import KIB
from tunnel.wire.handshake import Claim, decode_message, is_handshake

GIVE_UP_S, RENEW_S = 600.0, 3.0
PLACES = 16
REVOKED = 5


class TunnelWorld(World):
    """A world whose issuer may be killed and started again, and whose claimers renew their links."""

    def __init__(self, seed=0, relays=1):
        super().__init__(seed, relays)
        self.serve()

    def serve(self, **wire):
        """Start an issuer with the keys that it always has."""
        self.server = self.issuer(places=PLACES, give_up_after_s=GIVE_UP_S, **wire)

    def kill(self):
        """Kill the issuer; relays say that it is gone to those who sent to it."""
        self.hosts.remove(self.server)
        for relay in self.relays:
            relay.disconnect(self.server)

    def freeze(self):
        """Let nothing run at the issuer any more, whose connections stay."""
        self.server.is_asleep = True

    def opener(self, **options):
        """Add a host that has a link."""
        host = self.claimer(give_up_after_s=GIVE_UP_S, renew_after_s=RENEW_S, **options)
        self.drive(lambda: host.has(LinkUp))
        return host

    def check_works(self, host, seconds=600.0):
        """See that bytes arrive over the newest link of a host."""
        data = patterned(50 * KIB, self.rng.randrange(1 << 30))
        stream = host.send_all(data)
        inboxes = self.server.inboxes
        self.drive(lambda: any(box.received.get(stream) == data for box in inboxes), seconds)


def links_up(host):
    return len(host.all(LinkUp))


@pytest.mark.parametrize("has_died", [True, False], ids=["killed", "frozen"])
def test_an_issuer_that_was_started_again_gets_a_new_link(has_died):
    world = TunnelWorld()
    opener = world.opener()
    (world.kill if has_died else world.freeze)()
    world.run_for(20)
    opener.send_all(b"nobody takes this")
    world.run_for(20)
    assert links_up(opener) == 1

    world.serve()
    began_at = world.now
    world.drive(lambda: links_up(opener) == 2)

    assert world.now - began_at < 2.5
    ends = [event for event in opener.inboxes[0].events if isinstance(event, LinkClosed)]
    assert [end.code for end in ends] == [REPLACED]
    assert opener.machine.is_renewed
    world.check_works(opener)
    check_host(world.server)


def test_a_new_connection_through_an_idle_link_finds_out_that_its_issuer_is_another_process():
    world = TunnelWorld()
    opener = world.opener()
    world.run_for(100)
    world.freeze()
    world.hosts.remove(world.server)
    world.serve()

    began_at = world.now
    opener.send_all(b"a connection")
    world.drive(lambda: links_up(opener) == 2)

    assert world.now - began_at < 5
    world.check_works(opener)


@pytest.mark.parametrize("outage_s", [5.0, 60.0, 180.0, 590.0])
def test_a_link_lives_through_an_outage_and_its_streams_go_on(outage_s):
    world = TunnelWorld(2)
    opener = world.opener(rate=200_000)
    data = patterned(1000 * KIB)
    stream = opener.send_all(data)
    world.run_for(1)

    world.cut(opener)
    world.run_for(outage_s)
    world.cut(opener, is_cut=False)
    began_at = world.now
    world.drive(lambda: world.server.received.get(stream) == data)

    assert links_up(opener) == 1
    assert world.now - began_at < 60
    assert not opener.has(LinkClosed)
    check_host(world.server)


def test_while_the_issuer_holds_the_link_what_was_asked_beside_it_comes_to_nothing():
    """Claims get through, and nothing of the link does: a relay that drops what it wants."""
    world = TunnelWorld(3)
    opener = world.opener()

    def keep_handshakes_only(source, destination, data):
        return [(source, destination, data)] if is_handshake(data) else []

    world.relay.tamper = keep_handshakes_only
    opener.send_all(b"a connection")
    world.run_for(60)
    asked = len(world.noted("claim.renewal"))
    world.relay.tamper = None
    world.run_for(10)

    assert links_up(opener) == 1
    assert 10 <= asked <= 20
    assert not opener.has(LinkClosed)
    assert bytes(world.server.received[opener.inboxes[0].receiving.popitem()[0]]) == b"a connection"


def test_an_issuer_away_for_longer_than_links_live_is_found_again():
    world = TunnelWorld(4)
    opener = world.opener()
    world.kill()
    opener.send_all(b"nobody takes this")
    world.drive(lambda: opener.has(LinkGivenUp), seconds=700)
    world.run_for(1200)

    opener.machine.claim_again(opener.instant, lambda _: HEADER, SECRET)
    world.run_for(100)
    world.serve()
    began_at = world.now
    world.drive(lambda: links_up(opener) == 2)

    assert world.now - began_at < 2.5
    world.check_works(opener)


def test_a_token_that_is_refused_meanwhile_ends_the_link():
    world = TunnelWorld(5)
    opener = world.opener()
    world.kill()
    opener.send_all(b"nobody takes this")
    world.gate.answer = REVOKED
    world.serve()

    world.drive(lambda: opener.has(LinkClosed))

    assert links_up(opener) == 1
    assert not opener.machine.is_renewed


def test_an_issuer_that_came_back_as_another_version_ends_the_link():
    world = TunnelWorld(6)
    opener = world.opener()
    world.kill()
    opener.send_all(b"nobody takes this")

    def answer_as_another_version(source, destination, data):
        message = decode_message(data) if is_handshake(data) else None
        if not isinstance(message, Claim):
            return []
        return [(destination, source, other_version(SECRET, message, b"later"))]

    world.relay.tamper = answer_as_another_version

    world.drive(lambda: opener.has(LinkClosed))

    assert not opener.has(NotUnderstood)
    assert links_up(opener) == 1


def test_an_idle_link_whose_issuer_is_gone_costs_little():
    world = TunnelWorld(7)
    opener = world.opener()
    world.kill()
    world.run_for(60)

    opener.wakeups = 0
    world.run_for(300)

    assert opener.wakeups <= 2 * 300


def check_a_tunnel(seed):
    """Kill, freeze and cut at random instants; returns how long each return took."""
    world = TunnelWorld(seed, relays=1 + seed % 3)
    rng = random.Random(seed)
    opener = world.opener(loss=0.02)
    took = []
    for _ in range(6):
        world.run_for(rng.uniform(0, 40))
        if rng.random() < 0.5:
            opener.link.is_closed or opener.send_all(patterned(rng.choice((10, 100_000)), seed))
        fault = rng.choice(("kill", "freeze", "cut", "relay", "both"))
        if fault in ("kill", "both"):
            world.kill()
        elif fault == "freeze":
            world.freeze()
            world.hosts.remove(world.server)
        if fault in ("cut", "both"):
            world.cut(opener)
        if fault == "relay":
            relay = rng.choice(world.relays)
            relay.stop()
        world.run_for(rng.choice((0.1, 2.0, 4.0, 30.0, 120.0)))
        if fault in ("kill", "freeze", "both"):
            world.serve(loss=0.02)
        if fault == "both":
            world.run_for(rng.choice((0.0, 1.0, 10.0)))
        if fault in ("cut", "both"):
            world.cut(opener, is_cut=False)
        if fault == "relay":
            relay.start()
        began_at = world.now
        while True:
            link = opener.link
            data = patterned(5000, rng.randrange(1 << 30))
            stream = opener.send_all(data)
            boxes = world.server.inboxes
            world.drive(
                lambda link=link, stream=stream, data=data: (
                    link.is_closed or any(box.received.get(stream) == data for box in boxes)
                ),
                seconds=60,
            )
            if not link.is_closed:
                break
            world.drive(lambda: not opener.link.is_closed, seconds=60)
        took.append(world.now - began_at)
        assert len(world.server.machine.places.by_index) <= PLACES
    return max(took)


def test_a_tunnel_comes_back_whatever_befalls_it_and_whenever(is_full):
    took = check_all(check_a_tunnel, range(1000 if is_full else 60), "test_renewal")

    assert max(took) <= 10
