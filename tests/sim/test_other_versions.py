"""Claims of other versions, and features that one side lacks: answered in words, never a silence."""

import random

import pytest
from test_meeting import Knocker, Sent, pair_of
from world import HEADER, SECRET, World

from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import DerpKey
from tunnel.proto.link.parameters import Feature
from tunnel.proto.meeting import issuer as issuer_module
from tunnel.proto.meeting.claimer import ClaimState, LinkUp
from tunnel.proto.meeting.handshake import other_version
from tunnel.proto.meeting.owner import Declined, NotUnderstood, OtherVersionClaimed, Refused
from tunnel.units import WallTime
from tunnel.wire.handshake import (
    CLAIMER_LACKS,
    ISSUER_LACKS,
    LARGEST_CLAIM,
    OTHER_VERSION_SIZE,
    SMALLEST_CLAIM,
    decode_message,
    encode_other_version,
)
from tunnel.wire.handshake import OtherVersion as Answer

LATER = 2
WALL = WallTime(0)
UNKNOWN = Feature(1 << 9)  # of a later program


class LaterKnocker(Knocker):
    """Makes claims of another version, as docs/protocol.md says they begin."""

    def later(self, version=LATER, size=400, source=1, secret=SECRET):
        """Return (source key, claim bytes, MAC)."""
        meeting, claim = self.outgoing(source=source, ephemeral=source)
        front = claim.message[:7] + bytes((version,)) + claim.message[8:120]
        payload = random.Random(source).randbytes(size - 136)
        covered = front + payload
        keys = (meeting.claimer_derp, meeting.issuer_derp)
        mac = derive(derive(secret, "claim mac"), "claim", covered, *keys, size=16)
        return meeting.claimer_derp, front + mac + payload, mac


@pytest.mark.parametrize("version", [0, 2, 3, 255])
@pytest.mark.parametrize("size", [SMALLEST_CLAIM, 216, LARGEST_CLAIM])
def test_a_claim_of_another_version_is_told_which_one_we_speak(version, size):
    knocker = LaterKnocker(World())
    key, claim, mac = knocker.later(version, size)

    (answer,) = knocker.knock(key, claim)

    assert len(answer) == OTHER_VERSION_SIZE < len(claim)
    message = decode_message(answer)
    assert message.version == 1
    expected = decode_message(other_version(SECRET, decode_message(claim), b"issuer 1.0"))
    assert message == expected
    assert knocker.issuer.next_event() == OtherVersionClaimed(version)
    assert knocker.issuer.next_event() is None
    assert not knocker.issuer.places.by_index


def test_nobody_without_the_secret_learns_that_there_are_versions():
    knocker = LaterKnocker(World())

    for source, secret in enumerate((b"x" * 16, bytes(16)), 1):
        assert knocker.knock(*knocker.later(source=source, secret=secret)[:2]) == []
    key, claim, _ = knocker.later()
    for bit in range(0, 8 * len(claim), 7):
        flipped = bytearray(claim)
        flipped[bit // 8] ^= 1 << bit % 8
        assert knocker.knock(key, bytes(flipped)) == []
    thief = DerpKey(pair_of(9).public)
    assert knocker.knock(thief, claim) == []
    assert knocker.issuer.next_event() is None
    assert len(knocker.knock(key, claim)) == 1


def test_a_repeat_gets_the_same_bytes_and_is_no_news():
    knocker = LaterKnocker(World())
    key, claim, _ = knocker.later()
    (answer,) = knocker.knock(key, claim)
    knocker.issuer.next_event()

    for _ in range(50):
        assert knocker.knock(key, claim) == [answer]

    assert knocker.issuer.next_event() is None
    assert len(knocker.issuer._pending) == 1


def test_claims_of_other_versions_count_for_the_limits_and_are_forgotten():
    knocker = LaterKnocker(World())
    claims = [knocker.later(source=source)[:2] for source in range(1, 30)]

    assert sum(len(knocker.knock(*claim)) for claim in claims) == 4
    knocker.pass_time(issuer_module.PENDING_S + 1)
    assert not knocker.issuer._pending


def answered(world, version, program=b"derphole 2.0", secret=SECRET):
    """Return a claimer, and what an issuer of another version answers it."""
    claimer = world.claimer()
    (claim,) = claimer.machine.packets_to_send(world.instant)
    sealed = other_version(secret, decode_message(bytes(claim.data)), program)
    return claimer.machine, encode_other_version(
        Answer(version, decode_message(sealed).sealed_payload)
    )


def test_a_claimer_of_any_version_reads_the_answer():
    """Of the version it is sealed for: the version is under the seal as well."""
    world = World()
    machine, answer = answered(world, 1)

    machine.handle_packet(
        world.instant, WALL, 0, machine._identity.meeting.issuer_derp, memoryview(answer)
    )

    assert machine.state is ClaimState.REFUSED
    assert machine.next_event() == NotUnderstood(1, b"derphole 2.0")
    assert machine.packets_to_send(world.instant) == []
    assert machine.next_timeout() is None


@pytest.mark.parametrize("case", ["another version", "another secret", "flipped", "a stranger"])
def test_a_forged_answer_ends_no_claim(case):
    world = World()
    version = 2 if case == "another version" else 1
    machine, answer = answered(world, version, secret=b"x" * 16 if "secret" in case else SECRET)
    issuer = machine._identity.meeting.issuer_derp
    forgeries = [answer]
    if case == "flipped":
        forgeries = [
            bytes((*answer[:at], answer[at] ^ 1 << bit, *answer[at + 1 :]))
            for at in range(len(answer))
            for bit in range(8)
        ]
    for forged in forgeries:
        source = DerpKey(pair_of(9).public) if case == "a stranger" else issuer
        machine.handle_packet(world.instant, WALL, 0, source, memoryview(forged))

    assert machine.state is ClaimState.CLAIMING
    assert machine.next_event() is None


def test_an_answer_that_comes_when_there_is_a_link_changes_nothing():
    world = World()
    world.relay.keeps_seen = True
    issuer, claimer = world.linked_pair()
    claim = next(data for data in world.relay.seen if data[6] == 1)

    claimer.receive(0, issuer.key.public, other_version(SECRET, decode_message(claim), b"late"))

    assert claimer.machine.state is ClaimState.LINKED
    assert not claimer.has(NotUnderstood)


# -- features -------------------------------------------------------------------------------


def test_a_claimer_that_requires_what_the_issuer_does_not_know_is_told_by_whom():
    world = World()
    issuer, claimer = world.issuer(), world.claimer(required=UNKNOWN)

    world.drive(lambda: claimer.is_over)

    (refused,) = claimer.all(Refused)
    assert (refused.verdict, refused.program) == (ISSUER_LACKS, b"issuer 1.0")
    assert issuer.all(Declined) == [Declined(ISSUER_LACKS, b"claimer 1.0")]
    assert not issuer.machine.places.by_index


def test_an_issuer_that_requires_what_the_claimer_does_not_know_says_so():
    world = World()
    issuer, claimer = world.issuer(required=UNKNOWN), world.claimer()

    world.drive(lambda: claimer.is_over)

    (refused,) = claimer.all(Refused)
    assert (refused.verdict, refused.program) == (CLAIMER_LACKS, b"issuer 1.0")
    assert issuer.all(Declined) == [Declined(CLAIMER_LACKS, b"claimer 1.0")]


def test_what_both_know_may_be_required():
    for side in ("issuer", "claimer"):
        world = World()
        wish = {"features": Feature.RELAY_ONLY, "required": Feature.RELAY_ONLY}
        issuer = world.issuer(**(wish if side == "issuer" else {}))
        claimer = world.claimer(**(wish if side == "claimer" else {}))

        world.drive(lambda: claimer.has(LinkUp))  # noqa: B023

        assert claimer.link.parameters.features == Feature.RELAY_ONLY
        assert issuer.link is not None


def test_an_expired_token_is_refused_for_that_and_not_for_a_feature():
    world = World()
    world.gate.answer = 1
    world.issuer()
    claimer = world.claimer(required=UNKNOWN)
    sent = Sent(world)

    world.drive(lambda: claimer.is_over)

    assert claimer.all(Refused)[0].verdict == 1
    assert len(sent.packets) >= 2
    assert HEADER not in b"".join(data for *_, data in sent.packets)
