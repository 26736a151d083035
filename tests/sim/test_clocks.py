"""Clocks that jump, stop or are wrong, and timers that fire late or for nothing."""

import random

import pytest
from conversation import Outcome, Receiver, Sender
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World, patterned

from derphole.errors import TokenExpired
from derphole.speech.endings import refusal_error
from derphole.token.admission import ClaimHeader, Refusal, SessionGate, encode_header
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import RegionHints
from derphole.token.text import session_token
from derphole.token.validity import check_session
from tunnel.proto.link.events import LinkGivenUp, LinkResumed, LinkStalled
from tunnel.proto.meeting.claimer import LinkUp
from tunnel.proto.meeting.owner import Declined, Refused
from tunnel.proto.meeting.places import LinkAdmitted
from tunnel.units import KIB, MIB

MINUTE, HOUR = 60.0, 3600.0
LIFE_S = HOUR


class TokenWorld(World):
    """A world whose issuer has made a real session token, good for an hour from its own clock."""

    def __init__(self, seed=0, issuer_error=0.0):
        maker = Mint.from_seed(bytes([seed + 1]) * 32)
        super().__init__(seed, issuer_keys=(maker.keys.noise, maker.keys.derp))
        expires_at = int(self.now + self.epoch + issuer_error + LIFE_S)
        self.grant = Grant(b"\7" * 8, expires_at, Capability.LISTEN)
        self.token = session_token(maker, self.grant, RegionHints((1,)))
        self.gate = SessionGate(maker.keys, self.grant)
        self.issuer_host = self.issuer()
        self.issuer_host.wall_error = issuer_error

    def reader(self, error=0.0):
        """Add a host with a wrong clock that reads the token and claims; raises `TokenExpired`."""
        wall = self.now + self.epoch + error
        token = check_session(self.token, Capability.LISTEN, wall)
        header = encode_header(ClaimHeader(token.grant))
        host = self.claimer(secret=token.secret, header=header)
        host.wall_error = error
        return host


def transfer(world, size=4 * MIB):
    """Begin a transfer that takes seconds; returns (receiver, sender, payload) midway."""
    payload = patterned(size)
    receiver = Receiver(world.issuer())
    sender = Sender(world.claimer(rate=1e6), payload)
    world.drive(lambda: len(receiver.written) > size / 4)
    return receiver, sender, payload


def check_exact(world, receiver, sender, payload):
    world.drive(lambda: receiver.is_over and sender.is_over)
    assert receiver.outcome is sender.outcome is Outcome.SUCCEEDED
    assert bytes(receiver.written) == payload


# -- clocks that are wrong ------------------------------------------------------------------


@pytest.mark.parametrize("issuer_error", [-30 * MINUTE, 0.0, 30 * MINUTE])
@pytest.mark.parametrize("reader_error", [-30 * MINUTE, 0.0, 30 * MINUTE])
def test_a_fresh_token_works_with_both_clocks_wrong_by_half_an_hour(issuer_error, reader_error):
    world = TokenWorld(1, issuer_error)

    reader = world.reader(reader_error)

    world.drive(lambda: reader.has(LinkUp), seconds=2)


@pytest.mark.parametrize(
    ("issuer_error", "reader_error", "age", "outcome"),
    [
        # The issuer's clock decides, wrong as it may be: its hour is an hour.
        (0, 0, 59 * MINUTE, "linked"),
        (30 * MINUTE, 0, 59 * MINUTE, "linked"),
        (-30 * MINUTE, 0, 39 * MINUTE, "linked"),
        (0, 0, 61 * MINUTE, "refused"),
        (30 * MINUTE, 0, 61 * MINUTE, "refused"),
        # A reader gives up by itself only on what expired over ten minutes ago by its own clock.
        (0, 9 * MINUTE, 59 * MINUTE, "linked"),
        (0, 30 * MINUTE, 39 * MINUTE, "linked"),
        (0, 30 * MINUTE, 41 * MINUTE, "not even tried"),
        (-30 * MINUTE, 0, 41 * MINUTE, "not even tried"),
        (-30 * MINUTE, -30 * MINUTE, 61 * MINUTE, "refused"),
        (0, -30 * MINUTE, 99 * MINUTE, "refused"),
        (0, -30 * MINUTE, 101 * MINUTE, "not even tried"),
        (0, 0, 69 * MINUTE, "refused"),
        (0, 0, 71 * MINUTE, "not even tried"),
    ],
)
def test_who_refuses_an_old_token_by_which_clock(issuer_error, reader_error, age, outcome):
    world = TokenWorld(2, issuer_error)
    world.run_for(age)

    if outcome == "not even tried":
        with pytest.raises(TokenExpired):
            world.reader(reader_error)
        return
    reader = world.reader(reader_error)
    world.drive(lambda: reader.has(LinkUp) or reader.has(Refused), seconds=2)

    if outcome == "linked":
        assert reader.has(LinkUp)
        return
    (refused,) = reader.all(Refused)
    assert refused.verdict == Refusal.EXPIRED
    assert refused.clock_s == pytest.approx(world.issuer_host.wall, abs=1)
    assert [event.verdict for event in world.issuer_host.all(Declined)] == [Refusal.EXPIRED]
    error = refusal_error(refused, world.grant, reader.wall)
    assert isinstance(error, TokenExpired)


def test_a_wall_clock_that_jumps_over_the_expiry_cuts_no_link():
    world = TokenWorld(3)
    reader = world.reader()
    world.drive(lambda: reader.has(LinkUp) and world.issuer_host.has(LinkAdmitted))
    stream = reader.send_all(patterned(MIB))

    world.issuer_host.wall_error += 2 * HOUR
    reader.wall_error -= 2 * HOUR
    world.drive(lambda: stream in world.issuer_host.ended, seconds=10)
    world.run_for(2 * HOUR)

    assert not world.issuer_host.is_over
    assert not reader.is_over
    assert world.issuer_host.received[stream] == patterned(MIB)


def test_a_wall_clock_that_is_set_back_lets_a_token_live_again_and_nothing_else():
    world = TokenWorld(4)
    world.run_for(61 * MINUTE)
    late = world.reader()
    world.drive(lambda: late.has(Refused), seconds=2)

    world.issuer_host.wall_error = -30 * MINUTE

    again = world.reader()
    world.drive(lambda: again.has(LinkUp), seconds=2)
    assert not late.has(LinkUp)


# -- sleep ----------------------------------------------------------------------------------


@pytest.mark.parametrize("does_clock_stop", [True, False], ids=["clock stops", "clock runs"])
@pytest.mark.parametrize("sleeps", ["issuer", "claimer"])
def test_a_nap_in_the_middle_of_a_transfer_costs_only_its_time(sleeps, does_clock_stop):
    world = World(5)
    receiver, sender, payload = transfer(world)
    host = (receiver if sleeps == "issuer" else sender).host

    host.wall_error += 40 if does_clock_stop else 0
    world.sleep(host, 40, does_clock_stop)

    check_exact(world, receiver, sender, payload)


@pytest.mark.parametrize("does_clock_stop", [True, False], ids=["clock stops", "clock runs"])
def test_two_that_sleep_for_an_hour_together_go_on_when_they_wake(does_clock_stop):
    """Time in which nothing ran here is no silence of the other side."""
    world = World(6)
    receiver, sender, payload = transfer(world)
    receiver.host.is_asleep = True
    world.sleep(sender.host, HOUR, does_clock_stop)
    receiver.host.is_asleep = False
    receiver.host.lag += HOUR if does_clock_stop else 0.0

    check_exact(world, receiver, sender, payload)

    assert not receiver.host.has(LinkGivenUp)
    assert not sender.host.has(LinkGivenUp)


@pytest.mark.parametrize("does_clock_stop", [True, False], ids=["clock stops", "clock runs"])
@pytest.mark.parametrize("sleeps", ["issuer", "claimer"])
def test_who_sleeps_longer_than_the_other_waits_learns_it_and_neither_claims_success(
    sleeps, does_clock_stop
):
    world = World(7)
    receiver, sender, payload = transfer(world)
    sleeper, awake = (receiver, sender) if sleeps == "issuer" else (sender, receiver)

    world.sleep(sleeper.host, HOUR, does_clock_stop)

    assert awake.host.has(LinkStalled)
    assert awake.host.has(LinkGivenUp)
    assert awake.outcome is Outcome.FAILED
    woke_at = world.now
    world.drive(lambda: sleeper.is_over, seconds=100)
    assert world.now - woke_at < 61
    assert sleeper.outcome is Outcome.FAILED
    assert payload.startswith(bytes(receiver.written))


def test_an_idle_link_survives_the_sleep_of_one_side_until_the_other_misses_it():
    world = World(8)
    issuer, claimer = world.linked_pair()
    world.run_for(1)

    world.sleep(claimer, 50)
    stream = claimer.send_all(patterned(100 * KIB))
    world.drive(lambda: stream in issuer.ended, seconds=10)

    assert len(issuer.all(LinkStalled)) == len(issuer.all(LinkResumed)) <= 1
    assert not issuer.is_over
    assert not claimer.is_over


def test_a_claimer_that_sleeps_while_it_claims_claims_on():
    world = World(9)
    claimer = world.claimer()
    world.run_for(2)
    world.sleep(claimer, HOUR)

    issuer = world.issuer()

    world.drive(lambda: claimer.has(LinkUp), seconds=5)
    assert issuer.has(LinkAdmitted)


def test_an_issuer_that_slept_is_claimed_from_at_once():
    world = World(10)
    issuer = world.issuer()
    old = world.claimer()
    world.drive(lambda: old.has(LinkUp))
    world.hosts.remove(old)
    world.sleep(issuer, HOUR)

    new = world.claimer()

    world.drive(lambda: new.has(LinkUp), seconds=5)


# -- timers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_timers_that_fire_late_cost_time_and_never_a_byte(seed):
    world = World(seed)
    delays = random.Random(seed)
    payload = patterned(300 * KIB, seed)
    receiver = Receiver(world.issuer(loss=0.05))
    sender = Sender(world.claimer(loss=0.05), payload)
    for host in world.hosts:
        host.lateness = lambda: delays.choice((0.0, 0.001, 0.05, 0.5, 3.0))

    check_exact(world, receiver, sender, payload)


def story(times, seed):
    """Return every packet of a transfer, with its instant, when timers fire at `times` as well."""
    world = World(seed)
    packets = []
    world.watch = lambda host, packet: packets.append((world.now, host.key.public, packet.data))
    issuer, claimer = world.issuer(loss=0.1, jitter=0.03), world.claimer(loss=0.1)

    def fire():
        for host in world.hosts:
            host.machine.handle_timeout(host.instant)

    for time in times:
        world.at(1000.0 + time, fire)
    world.drive(lambda: issuer.link is not None and claimer.link is not None)
    stream = claimer.send_all(patterned(60 * KIB))
    world.drive(lambda: stream in issuer.ended)
    world.cut(issuer)
    claimer.open()
    world.run_for(20)
    world.cut(issuer, is_cut=False)
    world.run_for(1090.0 - world.now)
    events = [[str(type(event)) for event in host.events] for host in (issuer, claimer)]
    return packets, events


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 90), max_size=30), st.integers(0, 5))
def test_timers_that_fire_for_nothing_change_nothing(times, seed):
    """No packet, no event and no instant differs, whenever `handle_timeout` is called besides."""
    assert story(times, seed) == story([], seed)
