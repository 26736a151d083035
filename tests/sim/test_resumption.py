"""Coming back: a claimer whose link is over makes a new one, also when its token has expired."""

import pytest
from bounds import check_host
from world import World, patterned

from derphole.admission import ClaimHeader, Refusal, SessionGate, encode_header
from derphole.grant import Capability, Grant
from derphole.grant import Issuer as GrantIssuer
from tunnel.errors import MisuseError
from tunnel.proto.claimer import ClaimState, LinkUp, Refused
from tunnel.proto.link_events import LinkClosed, LinkGivenUp
from tunnel.proto.places import IN_USE, REPLACED, LinkAdmitted
from tunnel.units import KIB

LIFE_S = 3600.0
AWAY_S = 10.0
INSTANCE, OTHER = b"i" * 16, b"o" * 16


class SharedWorld(World):
    """A world whose issuer has made a session token for `open`, good for an hour."""

    def __init__(self, seed=0, places=1, relays=1):
        maker = GrantIssuer.from_seed(bytes([seed + 1]) * 32)
        super().__init__(seed, relays, issuer_keys=(maker.keys.noise, maker.keys.derp))
        expires_at = int(self.now + self.epoch + LIFE_S)
        self.grant = Grant(b"\7" * 8, expires_at, Capability.SHARE)
        self.token_secret = maker.secret_of(self.grant)
        self.gate = SessionGate(maker.keys, self.grant)
        self.issuer_host = self.issuer(places=places)

    def opener(self, instance=INSTANCE):
        """Add a host that uses the token."""
        header = encode_header(ClaimHeader(self.grant))
        return self.claimer(self.token_secret, instance, header=header)

    def linked(self, instance=INSTANCE):
        """Add a host that uses the token, and wait for its link."""
        host = self.opener(instance)
        self.drive(lambda: host.has(LinkUp))
        return host

    def come_back(self, host, secret_of=INSTANCE, instance=INSTANCE):
        """Have a host claim again with the secret that the issuer handed out to `secret_of`."""
        header = encode_header(ClaimHeader(self.grant, instance))
        host.machine.claim_again(host.instant, header, self.gate.resumption_secret(secret_of))

    def expire(self):
        """Let the token's time go by."""
        self.run_for(LIFE_S + 1)

    def lose(self, host):
        """Have a host give its link up."""
        self.cut(host)
        host.send_all(b"nobody takes this")
        self.drive(lambda: host.links[-1].is_closed, seconds=120)
        self.cut(host, is_cut=False)

    def dropped(self):
        return [values["reason"] for values in self.noted("claim.dropped")]


def links_up(host):
    return len(host.all(LinkUp))


def check_works(world, host, seed=1):
    """See that bytes arrive over a host's newest link."""
    data = patterned(100 * KIB, seed)
    stream = host.send_all(data)
    inboxes = world.issuer_host.inboxes
    world.drive(lambda: any(inbox.received.get(stream) == data for inbox in inboxes))


def test_a_link_that_was_lost_is_made_anew_after_the_token_has_expired():
    world = SharedWorld()
    opener = world.linked()
    world.expire()
    world.lose(opener)
    assert opener.has(LinkGivenUp)

    world.come_back(opener)
    began_at = world.now
    world.drive(lambda: links_up(opener) == 2)

    assert world.now - began_at < 0.2
    check_works(world, opener)
    assert [event.instance for event in world.issuer_host.all(LinkAdmitted)] == [INSTANCE] * 2
    check_host(world.issuer_host)


def test_the_bare_token_brings_nobody_back_after_it_has_expired():
    world = SharedWorld()
    world.expire()
    stranger = world.opener(OTHER)

    world.drive(lambda: stranger.has(Refused))

    assert stranger.all(Refused)[0].verdict == Refusal.EXPIRED


def test_a_claimer_that_comes_back_replaces_its_own_link_without_a_probe():
    world = SharedWorld()
    opener = world.linked()
    opener.link.close(world.instant, 17, "its close is lost")
    world.cut(opener)
    world.settle()
    world.cut(opener, is_cut=False)

    world.come_back(opener)
    began_at = world.now
    world.drive(lambda: links_up(opener) == 2)

    assert world.now - began_at < 0.2
    closed = [event.code for event in world.issuer_host.all(LinkClosed)]
    assert closed == [REPLACED]
    check_works(world, opener)


def test_a_close_that_was_just_asked_for_goes_out_before_the_new_claim():
    world = SharedWorld()
    opener = world.linked()

    opener.link.close(world.instant, 25, "reconnecting")
    world.come_back(opener)
    world.drive(lambda: links_up(opener) == 2)

    closed = [(event.code, event.is_by_peer) for event in world.issuer_host.all(LinkClosed)]
    assert closed == [(25, True)]
    check_works(world, opener)


def test_streams_are_not_carried_over():
    world = SharedWorld()
    opener = world.linked()
    stream = opener.open()
    opener.link.streams.write(stream, b"the first half")
    world.drive(lambda: world.issuer_host.received.get(stream) == b"the first half")
    world.lose(opener)

    world.come_back(opener)
    world.drive(lambda: links_up(opener) == 2)

    assert opener.open() == stream
    assert world.issuer_host.received == {}
    assert not any(inbox.ended for inbox in world.issuer_host.inboxes)


def test_it_comes_back_again_and_again():
    world = SharedWorld()
    opener = world.linked()
    world.expire()
    for count in range(2, 12):
        world.lose(opener)
        world.come_back(opener)
        world.drive(lambda: links_up(opener) == count)  # noqa: B023
        check_works(world, opener, seed=count)
    world.run_for(60)

    assert len(world.issuer_host.machine.places.by_index) == 1
    check_host(world.issuer_host)


def test_the_secret_of_one_process_does_not_serve_another():
    world = SharedWorld()
    thief = world.linked(OTHER)
    world.lose(thief)

    world.come_back(thief, secret_of=INSTANCE, instance=OTHER)
    world.run_for(AWAY_S)

    assert thief.machine.state is ClaimState.CLAIMING
    assert set(world.dropped()) == {"a claim with a wrong MAC"}
    assert links_up(thief) == 1


def test_a_process_cannot_say_after_expiry_that_it_is_another_one():
    """The secret is bound to the instance in the header, which the payload must repeat."""
    world = SharedWorld()
    thief = world.linked(OTHER)
    world.expire()
    world.lose(thief)

    world.come_back(thief, secret_of=INSTANCE, instance=INSTANCE)
    world.drive(lambda: thief.has(Refused))

    assert thief.all(Refused)[0].verdict == Refusal.EXPIRED
    assert len(world.issuer_host.all(LinkAdmitted)) == 1


def test_the_token_s_own_secret_is_no_resumption_secret():
    world = SharedWorld()
    opener = world.linked()
    world.expire()
    world.lose(opener)

    header = encode_header(ClaimHeader(world.grant, INSTANCE))
    opener.machine.claim_again(opener.instant, header, world.token_secret)
    world.run_for(AWAY_S)

    assert links_up(opener) == 1
    assert set(world.dropped()) == {"a claim with a wrong MAC"}


@pytest.mark.parametrize("later_s", [1.0, 45.0, 5000.0])
def test_a_resuming_claim_that_a_relay_replays_takes_no_place(later_s):
    world = SharedWorld()
    opener = world.linked()
    world.expire()
    world.lose(opener)
    world.relay.keeps_seen = True
    world.come_back(opener)
    world.drive(lambda: links_up(opener) == 2)
    claim = next(data for data in world.relay.seen if data[6] == 1)
    world.relay.keeps_seen = False
    world.run_for(later_s)

    for _ in range(3):
        world.relay.route(opener.key.public, world.issuer_host.key.public, claim)
        world.run_for(35)

    assert len(world.issuer_host.all(LinkAdmitted)) == 2
    assert not opener.link.is_closed
    check_works(world, opener)
    check_host(world.issuer_host)


def test_an_issuer_that_was_started_again_answers_nothing():
    """Its seed, and so every secret, is another one: to the relay it is not even the same key."""
    world = SharedWorld()
    opener = world.linked()
    world.relay.disconnect(world.issuer_host)
    world.hosts.remove(world.issuer_host)
    again = SharedWorld(seed=1)
    restarted = world.issuer(on=())
    restarted.key = again.issuer_host.key
    restarted.machine = again.issuer_host.machine
    world.connect(restarted, 0)
    world.drive(lambda: opener.links[-1].is_closed or opener.has(LinkGivenUp), seconds=200)

    world.come_back(opener)
    world.run_for(600)

    assert links_up(opener) == 1
    assert not restarted.has(LinkAdmitted)
    assert not opener.has(Refused)
    check_host(restarted)


def test_a_place_that_somebody_else_holds_now_is_lost():
    world = SharedWorld()
    opener = world.linked()
    world.lose(opener)
    second = world.linked(OTHER)

    world.come_back(opener)
    world.drive(lambda: len(opener.all(LinkClosed)) == 1)

    assert opener.all(LinkClosed)[0].code == IN_USE
    assert not second.link.is_closed


def test_two_claimers_come_back_to_their_own_places():
    world = SharedWorld(places=2)
    first, second = world.linked(INSTANCE), world.linked(OTHER)
    world.expire()
    world.lose(first)
    world.lose(second)

    world.come_back(second, OTHER, OTHER)
    world.come_back(first, INSTANCE, INSTANCE)
    world.drive(lambda: links_up(first) == links_up(second) == 2)

    assert len(world.issuer_host.machine.links) == 2
    check_works(world, first, seed=3)


def test_it_comes_back_over_another_relay_when_its_own_is_gone():
    world = SharedWorld(relays=2)
    opener = world.linked()
    used = opener.link.relay
    world.lose(opener)
    world.relays[used].stop()

    world.come_back(opener)
    world.drive(lambda: links_up(opener) == 2, seconds=10)

    assert opener.link.relay != used
    check_works(world, opener)


def test_a_claim_beside_a_link_that_lives_is_a_mistake_of_the_caller():
    world = SharedWorld()
    opener = world.linked()

    with pytest.raises(MisuseError):
        world.come_back(opener)
