"""Claims and decisions: repeats, limits, refusals, turns of relays, forgeries."""

import pytest
from world import HEADER, SECRET, World

from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.crypto.link_keys import packet_keys
from tunnel.proto.link.parameters import Feature
from tunnel.proto.meeting import issuer as issuer_module
from tunnel.proto.meeting.claimer import ClaimState, LinkUp
from tunnel.proto.meeting.handshake import IncomingClaim, Meeting, OutgoingClaim
from tunnel.proto.meeting.owner import Declined, NotHere, NotUnderstood, Refused
from tunnel.proto.meeting.places import LinkAdmitted
from tunnel.units import Instant, WallTime
from tunnel.wire.handshake import (
    ACCEPTED,
    CLAIM_SIZE,
    DECISION_SIZE,
    VERSION,
    ClaimPayload,
    DecisionPayload,
    decode_message,
    is_handshake,
)


class Sent:
    """Notes every packet that hosts hand to relays."""

    def __init__(self, world):
        self.world = world
        self.packets = []
        world.watch = self.note

    def note(self, host, packet):
        self.packets.append((self.world.now, host, packet.to.relay, bytes(packet.data)))

    def by(self, host):
        return [(time, relay, data) for time, sender, relay, data in self.packets if sender is host]


def handshakes(sent, host):
    return [(time, relay, data) for time, relay, data in sent.by(host) if is_handshake(data)]


def pair_of(number):
    """Return a key pair for each number; a scalar's outer bits are fixed, so not there."""
    return KeyPair.from_secret(number.to_bytes(16, "big").center(32, b"\x40"))


class Knocker:
    """Makes claims by hand and hands them straight to an issuer."""

    def __init__(self, world, secret=SECRET, header=HEADER):
        self.world = world
        self.issuer = world.issuer().machine
        self.secret = secret
        self.header = header
        self.wall = WallTime(world.epoch)

    def outgoing(self, source=1, ephemeral=1, header=None, secret=None):
        """Return the meeting and the claim of a claimer."""
        meeting = Meeting(
            NoiseKey(self.world._static.public),
            DerpKey(self.world._issuer_derp.public),
            DerpKey(pair_of(source).public),
        )
        payload = ClaimPayload(0, source.to_bytes(16, "big"), 5, 1, 24)
        header, secret = header or self.header, secret or self.secret
        return meeting, OutgoingClaim(meeting, header, secret, payload, pair_of(ephemeral))

    def claim(self, **options):
        """Return (source key, claim bytes) of a claimer."""
        meeting, claim = self.outgoing(**options)
        return meeting.claimer_derp, claim.message

    def knock(self, key, data):
        """Return the answers to a claim."""
        now = self.world.instant
        self.issuer.handle_packet(now, self.wall, 0, key, memoryview(data))
        return [bytes(packet.data) for packet in self.issuer.packets_to_send(now)]

    def pass_time(self, seconds):
        self.world.now += seconds
        self.issuer.handle_timeout(self.world.instant)


def test_two_hosts_meet_within_two_round_trips():
    world = World()
    started_at = world.now

    issuer, claimer = world.linked_pair(delay=0.05)

    # Claim, decision, first sealed packet and its answer: four ways of two wires each.
    assert world.now - started_at == pytest.approx(4 * 0.1, abs=0.01)
    assert issuer.link.parameters.is_issuer
    assert not claimer.link.parameters.is_issuer


def test_a_wish_of_either_side_to_stay_on_the_relay_holds_for_both():
    for wishes in ((Feature.RELAY_ONLY, Feature(0)), (Feature(0), Feature.RELAY_ONLY)):
        world = World()
        issuer, claimer = world.issuer(features=wishes[0]), world.claimer(features=wishes[1])
        world.drive(lambda: claimer.has(LinkUp) and issuer.has(LinkAdmitted))  # noqa: B023
        assert issuer.link.parameters.features == Feature.RELAY_ONLY
        assert claimer.link.parameters.features == Feature.RELAY_ONLY


def test_datagrams_are_agreed_on_by_both_sides_or_not_at_all():
    """Who has no use for them keeps nothing for a peer that would send them."""
    for wishes in ((Feature.DATAGRAMS, Feature(0)), (Feature(0), Feature.DATAGRAMS)):
        world = World()
        issuer, claimer = world.issuer(features=wishes[0]), world.claimer(features=wishes[1])
        world.drive(lambda: claimer.has(LinkUp) and issuer.has(LinkAdmitted))  # noqa: B023
        assert issuer.link.parameters.features == Feature(0)
        assert claimer.link.parameters.features == Feature(0)


def test_the_claimer_waits_for_a_late_issuer_and_its_retries_back_off():
    world = World()
    claimer = world.claimer()
    sent = Sent(world)
    world.run_for(20)

    times = [time for time, _, _ in handshakes(sent, claimer)]
    gaps = [round(later - earlier, 2) for earlier, later in zip(times, times[1:], strict=False)]
    assert gaps[0] <= 0.5
    assert max(gaps) <= 2.1
    assert len(times) < 20
    assert claimer.has(NotHere)

    issuer = world.issuer()
    world.drive(lambda: claimer.has(LinkUp), seconds=4)
    assert issuer.has(LinkAdmitted)


def test_a_claim_that_nobody_answers_is_repeated_byte_for_byte_ever_later():
    world = World()
    issuer, claimer = world.issuer(), world.claimer()
    world.cut(issuer)
    sent = Sent(world)

    world.run_for(20)

    claims = handshakes(sent, claimer)
    assert len({data for _, _, data in claims}) == 1
    assert len(claims[0][2]) == CLAIM_SIZE
    times = [time - 1000 for time, _, _ in claims]
    assert times[:4] == pytest.approx([0, 0.25, 0.75, 1.75])
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert max(gaps) <= 2.0
    assert min(gaps[4:]) >= 0.99


def test_a_repeated_claim_gets_the_identical_answer_and_changes_nothing():
    knocker = Knocker(World())
    key, claim = knocker.claim()

    (answer,) = knocker.knock(key, claim)

    assert len(answer) == DECISION_SIZE
    for _ in range(100):
        assert knocker.knock(key, claim) == [answer]
    assert len(knocker.issuer._pending) == 1


def test_a_changed_claim_is_a_new_one_with_another_answer():
    knocker = Knocker(World())
    answers = set()
    for ephemeral in range(1, 4):
        key, claim = knocker.claim(ephemeral=ephemeral)
        answers.update(knocker.knock(key, claim))

    assert len(answers) == 3
    assert len({answer[8:40] for answer in answers}) == 3
    assert len(knocker.issuer._pending) == 1
    assert len(knocker.issuer.places.by_index) == 1


def test_one_grant_gets_four_answers_a_second():
    knocker = Knocker(World())
    claims = [knocker.claim(source=source, ephemeral=source) for source in range(1, 30)]

    assert sum(len(knocker.knock(*claim)) for claim in claims[:20]) == 4
    knocker.pass_time(0.5)
    assert sum(len(knocker.knock(*claim)) for claim in claims[10:29]) == 2


def test_all_grants_together_get_twenty_answers_a_second():
    world = World()
    knocker = Knocker(world)
    headers = [bytes([i]).ljust(64, b"\0") for i in range(60)]
    world.gate.secrets = dict.fromkeys(headers, SECRET)

    claims = [
        knocker.claim(source=i + 1, ephemeral=i + 1, header=header)
        for i, header in enumerate(headers)
    ]

    assert sum(len(knocker.knock(*claim)) for claim in claims[:30]) == 20
    knocker.pass_time(1.0)
    assert sum(len(knocker.knock(*claim)) for claim in claims[30:]) == 20


def test_only_claims_with_a_good_mac_count_for_the_limits():
    knocker = Knocker(World())
    for source in range(100, 200):
        assert (
            knocker.knock(*knocker.claim(source=source, ephemeral=source, secret=b"x" * 16)) == []
        )

    assert len(knocker.knock(*knocker.claim())) == 1


def test_eight_pending_claims_of_a_grant_are_kept_and_the_oldest_goes():
    knocker = Knocker(World())
    claims = [knocker.claim(source=source, ephemeral=source) for source in range(1, 12)]
    answers = []
    for claim in claims:
        answers += knocker.knock(*claim)
        knocker.pass_time(1)

    assert len(knocker.issuer._pending) == issuer_module.MAX_PENDING_OF_GRANT == 8
    assert len(knocker.issuer.places.by_index) == 8
    assert knocker.knock(*claims[-1]) == [answers[-1]]
    assert knocker.knock(*claims[0]) != [answers[0]]


def test_sixty_four_pending_claims_are_kept_in_all():
    world = World()
    knocker = Knocker(world)
    headers = [bytes([i]).ljust(64, b"\0") for i in range(80)]
    world.gate.secrets = dict.fromkeys(headers, SECRET)
    for i, header in enumerate(headers):
        assert len(knocker.knock(*knocker.claim(source=i + 1, ephemeral=i + 1, header=header))) == 1
        knocker.pass_time(0.1)

    assert len(knocker.issuer._pending) == issuer_module.MAX_PENDING == 64
    assert len(knocker.issuer.places.by_index) == 64


def test_a_pending_claim_is_forgotten_after_thirty_seconds():
    knocker = Knocker(World())
    key, claim = knocker.claim()
    (answer,) = knocker.knock(key, claim)

    knocker.pass_time(29.9)
    assert knocker.knock(key, claim) == [answer]
    assert knocker.issuer.next_timeout() == Instant(1030.0)
    knocker.pass_time(0.2)
    assert not knocker.issuer._pending
    assert not knocker.issuer.places.by_index
    assert knocker.issuer.next_timeout() is None
    assert knocker.knock(key, claim) != [answer]


def test_nobody_without_the_secret_gets_any_answer():
    world = World()
    issuer = world.issuer()
    world.claimer(secret=b"x" * 16)
    world.claimer(header=b"another grant".ljust(64, b"\0"))
    sent = Sent(world)

    world.run_for(30)

    assert sent.by(issuer) == []
    assert issuer.events == []
    assert not issuer.machine._pending


def test_a_claim_that_names_another_claimer_s_key_gets_no_answer():
    """The DERP keys are under the MAC: a recorded claim is worth nothing from another address."""
    knocker = Knocker(World())
    _, claim = knocker.claim(source=1)
    thief, _ = knocker.claim(source=2)

    assert knocker.knock(thief, claim) == []


def test_every_flipped_bit_of_a_claim_gets_no_answer():
    knocker = Knocker(World())
    key, claim = knocker.claim()

    for bit in range(8 * len(claim)):
        flipped = bytearray(claim)
        flipped[bit // 8] ^= 1 << bit % 8
        assert knocker.knock(key, bytes(flipped)) == []
    assert len(knocker.knock(key, claim)) == 1


def test_a_refusal_carries_its_reason_and_the_issuer_s_clock():
    world = World()
    world.gate.answer = 3
    issuer, claimer = world.issuer(), world.claimer()

    world.drive(lambda: claimer.is_over)

    (refused,) = claimer.all(Refused)
    assert refused.verdict == 3
    assert refused.clock_s == pytest.approx(world.now + world.epoch, abs=1)
    assert claimer.machine.state is ClaimState.REFUSED
    assert issuer.all(Declined) == [Declined(3, b"claimer 1.0")]
    assert refused.program == b"issuer 1.0"
    assert issuer.links == []
    world.run_for(60)
    assert claimer.machine.next_timeout() is None


def test_not_here_moves_on_to_the_next_relay_at_once():
    world = World(relays=3)
    issuer, claimer = world.issuer(on=(2,)), world.claimer()
    started_at = world.now

    world.drive(lambda: claimer.has(LinkUp))

    assert world.now - started_at < 0.5
    assert claimer.all(NotHere) == [NotHere(0), NotHere(1)]
    assert claimer.link.relay == issuer.link.relay == 2


def test_a_relay_that_says_nothing_has_its_turn_for_three_seconds():
    world = World(relays=2)
    world.issuer(on=(1,))
    world.relays[0].is_up = False
    claimer = world.claimer()
    sent = Sent(world)

    world.drive(lambda: claimer.has(LinkUp))

    first_at_second_relay = next(time for time, relay, _ in sent.by(claimer) if relay == 1)
    assert first_at_second_relay - 1000.0 == pytest.approx(3.0)


def test_relays_take_turns_in_a_circle():
    world = World(relays=3)
    claimer = world.claimer()
    for host_relay in world.relays:
        host_relay.tamper = lambda *packet: []  # swallows everything
    sent = Sent(world)

    world.run_for(20)

    turns = [relay for _, relay, _ in sent.by(claimer)]
    order = [relay for i, relay in enumerate(turns) if i == 0 or turns[i - 1] != relay]
    assert order == [0, 1, 2, 0, 1, 2, 0]


def test_all_relays_saying_not_here_is_no_reason_to_hurry():
    world = World(relays=3)
    claimer = world.claimer()
    sent = Sent(world)

    world.run_for(30)

    assert len(sent.by(claimer)) < 75
    assert claimer.machine.state is ClaimState.CLAIMING


def swallow(*packet):
    return []


def test_an_issuer_counts_as_absent_from_the_first_not_here_of_the_last_relay_on():
    world = World(relays=2)
    claimer = world.claimer()
    world.relays[0].tamper = swallow
    world.run_for(2)
    assert claimer.machine.absence.since is None

    world.relays[0].tamper = None
    world.drive(lambda: claimer.machine.absence.since is not None, seconds=10)
    since = claimer.machine.absence.since
    assert since == world.instant
    world.run_for(200)
    assert claimer.machine.absence.since == since


def test_an_issuer_is_not_absent_while_a_relay_says_nothing_of_it_any_more():
    world = World()
    claimer = world.claimer()
    world.run_for(20)
    assert claimer.machine.absence.since is not None

    world.relay.tamper = swallow  # it is there now, and its machine sleeps
    world.run_for(5)
    assert claimer.machine.absence.since is not None
    world.run_for(10)

    assert claimer.machine.absence.since is None


def test_a_relay_that_is_away_says_nothing_of_the_issuer():
    world = World(relays=2)
    claimer = world.claimer()
    world.relays[1].tamper = swallow
    claimer.relay_down(1)  # a relay that cannot be reached does not count
    world.run_for(2)
    assert claimer.machine.absence.since is not None

    claimer.relay_down(0)
    assert claimer.machine.absence.since is None
    claimer.relay_up(0)
    assert claimer.machine.absence.since is None
    world.run_for(4)
    assert claimer.machine.absence.since is not None


def test_an_issuer_that_was_absent_and_answers_is_so_no_longer():
    world = World()
    claimer = world.claimer()
    world.run_for(100)

    world.issuer()
    world.drive(lambda: claimer.has(LinkUp), seconds=4)
    assert claimer.machine.absence.since is None
    claimer.peer_gone(0, world._issuer_derp.public)

    assert claimer.machine.absence.since is None


def test_a_relay_that_goes_down_loses_its_turn_and_one_that_comes_up_gets_a_claim_at_once():
    world = World(relays=2)
    claimer = world.claimer()
    for host_relay in world.relays:
        host_relay.tamper = lambda *packet: []
    world.run_for(0.1)
    sent = Sent(world)

    claimer.relay_down(0)
    world.settle()
    assert [relay for _, relay, _ in sent.by(claimer)] == [1]
    world.run_for(1.1)
    sent.packets.clear()
    claimer.relay_up(1)
    world.settle()
    assert [relay for _, relay, _ in sent.by(claimer)] == [1]
    sent.packets.clear()
    claimer.relay_up(0)
    claimer.relay_down(0)
    world.settle()
    assert sent.by(claimer) == []


def test_an_accepted_link_that_stays_silent_is_claimed_anew():
    world = World()
    issuer, claimer = world.issuer(), world.claimer()
    world.relay.tamper = lambda source, destination, data: (
        [(source, destination, data)] if is_handshake(data) else []
    )
    sent = Sent(world)
    world.run_for(3.5)
    world.relay.tamper = None

    world.drive(lambda: claimer.has(LinkUp), seconds=5)

    assert len({data for _, _, data in handshakes(sent, claimer)}) == 2
    assert len(issuer.all(LinkAdmitted)) == 1


def test_a_forged_decision_changes_nothing():
    world = World()
    issuer, claimer = world.issuer(), world.claimer()

    def forge(source, destination, data):
        if not is_handshake(data) or len(data) != DECISION_SIZE:
            return [(source, destination, data)]
        forgeries = [(source, destination, data[:8] + bytes(112))]
        forgeries += [(source, destination, data[:8] + b"\x09" * 32 + data[40:])]
        forgeries += [
            (source, destination, data[:40] + bytes(80)),
            (source, destination, data[:60]),
        ]
        forgeries += [(destination, destination, data)]
        return [*forgeries, (source, destination, data)]

    world.relay.tamper = forge

    world.drive(lambda: claimer.has(LinkUp))
    assert issuer.has(LinkAdmitted)
    assert not claimer.has(Refused)
    assert len(world.noted("decision.dropped")) >= 3


def test_every_flipped_bit_of_a_decision_is_refused():
    world = World()
    knocker = Knocker(world)
    claimer = world.claimer()
    machine = claimer.machine
    (claim,) = machine.packets_to_send(world.instant)
    issuer_key = DerpKey(world._issuer_derp.public)
    (decision,) = knocker.knock(DerpKey(claimer.key.public), bytes(claim.data))

    for bit in range(8 * len(decision)):
        flipped = bytearray(decision)
        flipped[bit // 8] ^= 1 << bit % 8
        machine.handle_packet(world.instant, claimer.wall, 0, issuer_key, memoryview(flipped))
        assert machine.state is ClaimState.CLAIMING
    machine.handle_packet(world.instant, claimer.wall, 0, issuer_key, memoryview(decision))
    assert machine.state is ClaimState.ADMITTING


def test_an_accepted_claim_with_an_aead_we_do_not_know_is_no_link_and_is_not_claimed_for_ever():
    world = World()
    claimer = world.claimer()
    machine = claimer.machine
    (claim,) = machine.packets_to_send(world.instant)
    meeting = machine._identity.meeting
    incoming = IncomingClaim(
        world._static, meeting, HEADER, SECRET, decode_message(bytes(claim.data))
    )
    payload = DecisionPayload(ACCEPTED, 99, 24, False, 0, 1, 0, program=b"issuer 2.0")
    decision, _ = incoming.decide(payload, pair_of(9))

    machine.handle_packet(world.instant, claimer.wall, 0, meeting.issuer_derp, memoryview(decision))

    assert machine.state is ClaimState.REFUSED
    assert machine.link is None
    assert machine.next_event() == NotUnderstood(VERSION, b"issuer 2.0")
    assert machine.packets_to_send(Instant(world.now + 60)) == []
    assert machine.next_timeout() is None


def test_the_issuer_says_whether_it_holds_a_link_of_the_claimer_s_process():
    knocker = Knocker(World())

    def decided(source, ephemeral):
        meeting, claim = knocker.outgoing(source=source, ephemeral=ephemeral)
        (answer,) = knocker.knock(meeting.claimer_derp, claim.message)
        payload, root = claim.read_decision(decode_message(answer))
        sealer, _ = packet_keys(
            root, AeadId(payload.aead), is_issuer=False, peer_index=payload.link_index
        )
        return meeting.claimer_derp, payload, sealer

    key, payload, sealer = decided(1, 1)
    assert not payload.holds_link
    assert not decided(1, 2)[1].holds_link

    key, _, sealer = decided(1, 3)
    _, ping = sealer.seal_general(0, b"\x01")
    knocker.knock(key, bytes(ping))
    knocker.pass_time(1)

    assert decided(1, 4)[1].holds_link
    assert not decided(2, 5)[1].holds_link


def test_an_instance_id_of_another_size_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        World().claimer(instance=b"short")


@pytest.mark.parametrize("round_trip_s", [4.0, 10.0])
def test_no_network_is_too_slow_to_meet(round_trip_s):
    """Four wires a round trip; an answer that comes after the first patience is waited for."""
    world = World()
    issuer = world.issuer(delay=round_trip_s / 4)
    claimer = world.claimer(delay=round_trip_s / 4)

    world.drive(lambda: claimer.has(LinkUp), seconds=90)

    stream = claimer.send_all(b"slowly")
    world.drive(lambda: stream in issuer.ended, seconds=60)
    assert issuer.received[stream] == b"slowly"
