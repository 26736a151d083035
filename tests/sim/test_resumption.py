"""Coming back: a claimer whose link is over makes a new one, also when its token has expired."""

import pytest
from bounds import check_host
from world import World, patterned

from derphole.token.admission import ClaimHeader, Refusal, SessionGate, claim_header, encode_header
from derphole.token.grant import Capability, Grant, Mint
from tunnel.errors import MisuseError
from tunnel.proto.link.events import LinkClosed, LinkGivenUp
from tunnel.proto.meeting.claimer import ClaimState, LinkUp
from tunnel.proto.meeting.handshake import open_header
from tunnel.proto.meeting.owner import Refused
from tunnel.proto.meeting.places import IN_USE, PROBE_S, REPLACED, LinkAdmitted
from tunnel.units import KIB
from tunnel.wire.handshake import Kind, decode_message

LIFE_S = 3600.0
AWAY_S = 10.0
INSTANCE, OTHER = b"i" * 16, b"o" * 16
INTERRUPTED, RECONNECTING = 17, 25


class SharedWorld(World):
    """A world whose issuer has made a session token for `open`, good for an hour."""

    def __init__(self, seed=0, places=1, relays=1):
        maker = Mint.from_seed(bytes([seed + 1]) * 32)
        super().__init__(seed, relays, issuer_keys=(maker.keys.noise, maker.keys.derp))
        expires_at = int(self.now + self.epoch + LIFE_S)
        self.grant = Grant(b"\7" * 8, expires_at, Capability.SHARE)
        self.token_secret = maker.secret_of(self.grant)
        self.gate = SessionGate(maker.keys, self.grant)
        self.issuer_host = self.issuer(places=places)
        self.issuer_host.application = self._hand_out
        self.secrets = {}  # by instance: what was handed out
        self._served = {}

    def _hand_out(self):
        """Do what a share does: hand each client its secret, and note who is lost and who left."""
        resumptions, has_worked = self.gate.resumptions, False
        for event in self.issuer_host.all(LinkAdmitted):
            if event.link not in self._served:
                self._served[event.link] = event.instance
                self.secrets[event.instance] = resumptions.hand_out(event.instance)
                has_worked = True
        for inbox, (link, instance) in zip(
            self.issuer_host.inboxes, self._served.items(), strict=True
        ):
            if link.is_closed and instance is not None:
                self._served[link] = None
                has_worked = True
                if instance not in self._served.values():
                    self._part(instance, inbox.events[-1])
        return has_worked

    def _part(self, instance, end):
        may_come_back = isinstance(end, LinkGivenUp) or end.code == RECONNECTING
        self.gate.resumptions.part(instance, may_come_back)

    def opener(self, instance=INSTANCE, **options):
        """Add a host that uses the token."""
        header = encode_header(ClaimHeader(self.grant))
        return self.claimer(self.token_secret, instance, header=header, **options)

    def linked(self, instance=INSTANCE, **options):
        """Add a host that uses the token, and wait for its link."""
        host = self.opener(instance, **options)
        self.drive(lambda: host.has(LinkUp))
        return host

    def come_back(self, host, secret_of=INSTANCE):
        """Have a host claim again with the secret that the issuer handed out to `secret_of`."""
        secret = self.secrets[secret_of]
        host.machine.claim_again(host.instant, claim_header(self.grant, secret), secret)

    def claim_anew(self, host):
        """Have a host claim again with the token itself."""
        header = claim_header(self.grant)
        host.machine.claim_again(host.instant, header, self.token_secret)

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


@pytest.mark.parametrize("places", [1, 2])
def test_one_whose_link_the_issuer_still_holds_closes_it_and_is_back_at_once(places):
    """Its close was lost: it says so again as soon as the issuer asks for a sign of life."""
    world = SharedWorld(places=places)
    opener = world.linked()
    world.expire()
    world.cut(opener)
    opener.link.close(world.instant, RECONNECTING, "reconnecting")
    world.run_for(1)
    world.cut(opener, is_cut=False)

    world.come_back(opener)
    began_at = world.now
    world.drive(lambda: links_up(opener) == 2)

    assert world.now - began_at < 0.3
    closed = [(event.code, event.is_by_peer) for event in world.issuer_host.all(LinkClosed)]
    assert closed == [(RECONNECTING, True)]
    assert [event.is_proven for event in world.issuer_host.all(LinkAdmitted)] == [False, True]
    assert len(world.issuer_host.machine.links) == 1
    check_works(world, opener)


@pytest.mark.parametrize("places", [1, 2])
def test_one_that_noticed_first_replaces_its_own_silent_link_after_two_seconds(places):
    """The issuer has not given the link up yet: it is live as far as it knows, and answers nothing."""
    world = SharedWorld(places=places)
    opener = world.linked(give_up_after_s=10.0)
    world.expire()
    world.lose(opener)
    assert not world.issuer_host.link.is_closed

    world.come_back(opener)
    began_at = world.now
    world.drive(lambda: links_up(opener) == 2)

    assert PROBE_S <= world.now - began_at < PROBE_S + 0.3
    closed = [(event.code, event.is_by_peer) for event in world.issuer_host.all(LinkClosed)]
    assert closed == [(REPLACED, False)]
    assert len(world.issuer_host.machine.links) == 1
    check_works(world, opener)


def test_a_link_that_answers_is_not_replaced_even_by_one_with_its_secret():
    world = SharedWorld(places=2)
    opener = world.linked()
    thief = world.linked(OTHER)
    thief.link.close(world.instant, RECONNECTING, "reconnecting")
    world.settle()

    world.come_back(thief, secret_of=INSTANCE)
    world.drive(lambda: len(thief.all(LinkClosed)) == 2)

    assert thief.all(LinkClosed)[-1].code == IN_USE
    assert not opener.link.is_closed
    check_works(world, opener)


def test_one_that_left_does_not_come_back_to_the_place_of_one_that_sleeps():
    world = SharedWorld()
    first = world.linked()
    first.link.close(world.instant, INTERRUPTED, "interrupted")
    world.run_for(1)
    second = world.linked(OTHER)
    world.expire()
    world.sleep(second, 1)
    second.is_asleep = True

    world.come_back(first)
    world.drive(lambda: first.has(Refused))
    world.run_for(3)
    second.is_asleep = False

    assert first.all(Refused)[0].verdict == Refusal.NOT_AWAITED
    assert links_up(first) == 1
    assert not second.link.is_closed
    check_works(world, second)


def test_one_whose_place_was_given_away_is_told_and_the_token_serves_it_while_it_is_good():
    world = SharedWorld()
    first = world.linked()
    world.cut(first)
    second = world.linked(OTHER)
    world.lose(first)
    second.link.close(world.instant, INTERRUPTED, "interrupted")
    world.drive(lambda: not world.issuer_host.machine.links)

    world.come_back(first)
    world.drive(lambda: first.has(Refused))
    assert first.all(Refused)[0].verdict == Refusal.NOT_AWAITED

    world.claim_anew(first)
    world.drive(lambda: links_up(first) == 2)
    check_works(world, first)


def test_who_can_open_claims_learns_nothing_of_who_comes_back():
    """A relay with a token can open headers: they say 'resuming', and never twice the same."""
    world = SharedWorld()
    opener = world.linked()
    world.relay.keeps_seen = True
    for count in range(2, 5):
        world.lose(opener)
        world.come_back(opener)
        world.drive(lambda: links_up(opener) == count)  # noqa: B023

    claims = {data for data in world.relay.seen if data[:6] == b"TS\xf0\x9f\x92\xac"}
    claims = [data for data in claims if data[6] == Kind.CLAIM]
    noise_key = opener.machine._identity.meeting.issuer_noise
    headers = [open_header(noise_key, decode_message(claim)) for claim in claims]
    assert len(headers) == 3
    assert {header[0] for header in headers} == {1}
    assert len({header[48:] for header in headers}) == 3
    assert not any(INSTANCE in header for header in headers)
    assert INSTANCE not in b"".join(world.relay.seen)


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

    own, anothers = world.secrets[OTHER], bytes(16)
    header = claim_header(world.grant, own)
    thief.machine.claim_again(thief.instant, header, anothers)
    world.run_for(AWAY_S)

    assert thief.machine.state is ClaimState.CLAIMING
    assert set(world.dropped()) == {"a claim with a wrong MAC"}
    assert links_up(thief) == 1


def test_the_token_s_own_secret_is_no_resumption_secret():
    world = SharedWorld()
    opener = world.linked()
    world.expire()
    world.lose(opener)

    header = claim_header(world.grant, world.token_secret)
    opener.machine.claim_again(opener.instant, header, world.token_secret)
    world.run_for(AWAY_S)

    assert links_up(opener) == 1
    assert set(world.dropped()) == {"a claim header that names nothing"}


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

    world.come_back(second, OTHER)
    world.come_back(first, INSTANCE)
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
