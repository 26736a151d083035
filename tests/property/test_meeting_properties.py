"""Issuer and claimer as state machines: any packets, any order, and nobody without the secret."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.proto.link.parameters import Feature
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.issuer import MAX_PENDING, MAX_PENDING_OF_GRANT, Issuer, IssuerIdentity
from tunnel.proto.meeting.owner import Named
from tunnel.proto.meeting.places import LinkAdmitted
from tunnel.units import Instant, WallTime
from tunnel.wire.handshake import ACCEPTED, MAGIC

SECRET = b"s" * 16
HEADER = b"grant".ljust(64, b"\0")
STATIC = KeyPair.from_secret(b"\x11" * 32)
DERP = KeyPair.from_secret(b"\x12" * 32)


class Gate:
    def named(self, header, ephemeral):
        return Named(header[:8], SECRET) if header == HEADER else None

    def verdict(self, header, instance, wall):
        return ACCEPTED


def new_issuer(rng, places=1):
    identity = IssuerIdentity(STATIC, DerpKey(DERP.public), Feature(0), 1, places)
    machine = Issuer(identity, Gate(), rng.randbytes, lambda _: False, lambda *_: None)
    machine.handle_relay_up(Instant(0), 0)
    return machine


def new_claimer(rng, secret=SECRET, instance=None):
    """Return a claimer and its DERP key."""
    key = DerpKey(KeyPair.from_secret(rng.randbytes(32)).public)
    meeting = Meeting(NoiseKey(STATIC.public), DerpKey(DERP.public), key)
    instance = instance or rng.randbytes(16)
    identity = ClaimerIdentity(meeting, lambda _: HEADER, secret, instance, Feature(0), 1)
    machine = Claimer(Instant(0), identity, [0], rng.randbytes, lambda _: False, lambda *_: None)
    machine.handle_relay_up(Instant(0), 0)
    return machine, key


PACKETS = st.lists(
    st.tuples(
        st.sampled_from([b"", MAGIC, MAGIC + b"\x01\x01", MAGIC + b"\x02\x01", b"\x81", b"\x82"]),
        st.binary(max_size=220),
    ).map(b"".join),
    max_size=10,
)


@given(PACKETS, st.integers(0, 1 << 32))
def test_no_packet_raises_out_of_a_machine_or_is_answered(packets, seed):
    rng = random.Random(seed)
    issuer, (claimer, key) = new_issuer(rng), new_claimer(rng)
    for data in packets:
        issuer.handle_packet(Instant(0), WallTime(0), 0, key, memoryview(data))
        claimer.handle_packet(Instant(0), WallTime(0), 0, DerpKey(DERP.public), memoryview(data))

    assert issuer.packets_to_send(Instant(0)) == []
    assert issuer.next_event() is None
    assert claimer.next_event() is None


class MeetingMachine(RuleBasedStateMachine):
    """Claimers that come, repeat, knock, go silent; packets that are lost or come twice."""

    def __init__(self):
        super().__init__()
        self.rng = random.Random(5)
        self.now = 0.0
        self.places = 2
        self.issuer = new_issuer(self.rng, self.places)
        self.claimers = []
        self.strangers = set()
        self.flying = []
        self.admitted = []

    @rule(instance=st.integers(0, 3), is_stranger=st.booleans())
    @precondition(lambda self: len(self.claimers) < 6)
    def a_claimer_comes(self, instance, is_stranger):
        secret = b"x" * 16 if is_stranger else SECRET
        machine, key = new_claimer(self.rng, secret, bytes([instance]) * 16)
        self.claimers.append((machine, key))
        if is_stranger:
            self.strangers.add(key)
        self.collect()

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 2.1, 31.0]))
    def time_passes(self, seconds):
        self.now += seconds
        for machine in (self.issuer, *(claimer for claimer, _ in self.claimers)):
            machine.handle_timeout(Instant(self.now))
        self.collect()

    @rule(fate=st.sampled_from(["arrives", "arrives", "arrives", "is lost", "comes twice"]),
          position=st.integers(0, 1000))  # fmt: skip
    def a_packet(self, fate, position):
        if not self.flying:
            return
        packet = self.flying.pop(position % len(self.flying))
        if fate == "is lost":
            return
        if fate == "comes twice":
            self.flying.append(packet)
        self.deliver(packet)

    def deliver(self, packet):
        source, destination, data = packet
        now, view = Instant(self.now), memoryview(data)
        if destination == DERP.public:
            self.issuer.handle_packet(now, WallTime(self.now), 0, source, view)
        for machine, key in self.claimers:
            if key == destination:
                machine.handle_packet(now, WallTime(self.now), 0, DerpKey(DERP.public), view)
        self.collect()

    @rule(rounds=st.integers(1, 4))
    def everything_arrives(self, rounds):
        for _ in range(rounds):
            self.now += 0.05
            for machine in (self.issuer, *(claimer for claimer, _ in self.claimers)):
                machine.handle_timeout(Instant(self.now))
            self.collect()
            for _ in range(len(self.flying)):
                self.deliver(self.flying.pop(0))

    def collect(self):
        now = Instant(self.now)
        for packet in self.issuer.packets_to_send(now):
            self.flying.append((DERP.public, packet.to.key, bytes(packet.data)))
        for machine, key in self.claimers:
            for packet in machine.packets_to_send(now):
                self.flying.append((key, packet.to.key, bytes(packet.data)))
        while (event := self.issuer.next_event()) is not None:
            if isinstance(event, LinkAdmitted):
                self.admitted.append(event)

    @invariant()
    def never_more_links_than_places(self):
        assert len(self.issuer.links) <= self.places

    @invariant()
    def a_stranger_is_never_admitted_nor_answered(self):
        assert not any(e.link.parameters.peer_key in self.strangers for e in self.admitted)
        assert not any(packet[1] in self.strangers for packet in self.flying)

    @invariant()
    def pending_claims_are_bounded(self):
        assert len(self.issuer._pending) <= min(MAX_PENDING, MAX_PENDING_OF_GRANT)

    @invariant()
    def links_known_are_bounded(self):
        assert len(self.issuer.places.by_index) <= MAX_PENDING_OF_GRANT + len(self.admitted) + 60


MeetingMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
TestMeeting = MeetingMachine.TestCase
