"""Transfers in the simulated world: exact under loss, and every ending named on both sides."""

import pytest
from conversation import Outcome
from transfer_sides import Disk, Receiving, Sending, Source, kill
from world import World, patterned

from derphole.errors import (
    Declined,
    DeclinedHere,
    Interrupted,
    KindRefused,
    SinkFailed,
    SpaceShort,
    TargetExists,
    TargetUnwritable,
    TimedOut,
)
from derphole.speech.endings import ending_of
from derphole.speech.transfer_messages import Kind

FILE = Source({b"one": patterned(60_000)}, Kind.FILE)
FOLDER = Source({b"%d" % n: patterned(9000 * n % 20_011, n) for n in range(12)})
SOURCES = {"file": FILE, "folder": FOLDER, "empty": Source({b"none": b""}, Kind.FILE)}
REFUSALS = [
    DeclinedHere(),
    TargetExists("/here/one"),
    SpaceShort("/here", 1, 2),
    TargetUnwritable("/here/one", "Read-only file system"),
    KindRefused("a folder", "standard output"),
]


def pair(world, source, disk, is_sender_issuer=True, wire=None, **options):
    """Return (sender, receiver) in a world."""
    wire = wire or {}
    issuer, claimer = world.issuer(**wire), world.claimer(**wire)
    sender, receiver = (issuer, claimer) if is_sender_issuer else (claimer, issuer)
    return (
        Sending(sender, source, is_claimer=not is_sender_issuer),
        Receiving(receiver, disk, is_claimer=is_sender_issuer, **options),
    )


def over(*sides):
    return lambda: all(side.is_over for side in sides)


def check(source, disk, sender, receiver):
    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED, (sender.error, receiver.error)
    assert {path: content for path, (_, content) in disk.files.items()} == source.files
    assert disk.parts == {}


@pytest.mark.parametrize("is_sender_issuer", [True, False], ids=["send", "send --to"])
@pytest.mark.parametrize("name", SOURCES)
def test_everything_arrives_whoever_made_the_token(name, is_sender_issuer):
    world, disk = World(), Disk()
    sender, receiver = pair(world, SOURCES[name], disk, is_sender_issuer)

    world.drive(over(sender, receiver))

    check(SOURCES[name], disk, sender, receiver)
    assert sender.sent == SOURCES[name].size
    assert sender.skipped == []
    assert receiver.proof.totals.is_final


def test_progress_is_what_the_receiver_has_stored():
    world, disk = World(), Disk()
    sender, receiver = pair(world, FILE, disk, wire={"rate": 30_000.0})
    told = []
    world.drive(lambda: sender.proof is not None and sender.proof.stored > 0)
    while not sender.is_over:
        told.append((sender.proof.stored, disk.stored, world.now))
        assert world.step()

    assert all(stored <= really for stored, really, _ in told)
    steps = len({stored for stored, *_ in told})
    assert 10 < steps < 2 + (told[-1][2] - told[0][2]) / 0.1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_transfer_over_a_lossy_doubling_reordering_path_is_exact(is_full):
    for seed in range(400 if is_full else 25):
        world, disk = World(seed), Disk()
        rough = {"loss": 0.051, "duplicate": 0.1, "jitter": 0.05, "keeps_order": False}
        source = [FILE, FOLDER][seed % 2]
        sender, receiver = pair(world, source, disk, seed % 4 < 2, rough)

        world.drive(over(sender, receiver), seconds=120)

        check(source, disk, sender, receiver)


# -- endings --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_sender_issuer", [True, False], ids=["send", "send --to"])
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: error.code)
def test_a_refusal_is_told_with_its_reason(refusal, is_sender_issuer):
    world, disk = World(), Disk()
    sender, receiver = pair(world, FILE, disk, is_sender_issuer, refusal=refusal)

    world.drive(over(sender, receiver), seconds=2)

    assert receiver.error is refusal
    assert isinstance(sender.error, Declined)
    assert "/here" not in str(sender.error)
    assert disk == Disk()


def test_reasons_differ():
    texts = set()
    for refusal in REFUSALS:
        world = World()
        sender, receiver = pair(world, FILE, Disk(), refusal=refusal)
        world.drive(over(sender, receiver), seconds=2)
        texts.add(str(sender.error))

    assert len(texts) == len(REFUSALS)


def test_a_refusal_is_told_over_a_path_that_loses_much():
    for seed in range(20):
        world = World(seed)
        sender, receiver = pair(world, FILE, Disk(), wire={"loss": 0.2}, refusal=REFUSALS[1])

        world.drive(over(sender, receiver), seconds=90)

        assert receiver.error is REFUSALS[1]
        assert isinstance(sender.error, Declined), seed
        assert "something of that name already" in str(sender.error), seed


def test_a_look_is_no_failure_of_either_side_and_leaves_nothing():
    world, disk = World(), Disk()
    sender, receiver = pair(world, FOLDER, disk, only_looks=True)

    world.drive(over(sender, receiver), seconds=2)

    assert sender.outcome is receiver.outcome is Outcome.LOOKED
    assert disk == Disk()


def test_a_full_disk_is_told_within_a_second_and_what_came_stays():
    world, disk = World(), Disk()
    sender, receiver = pair(world, FILE, disk, wire={"rate": 30_000.0})
    world.drive(lambda: disk.stored > 20_000)
    full_at = world.now

    receiver._fail(SinkFailed("/here/one", "No space left on device"))
    world.drive(over(sender, receiver))

    assert world.now < full_at + 2  # the goodbye of a process takes up to one of them
    assert "No space left on device" in str(sender.error)
    assert disk.stored > 20_000


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_who_is_gone_without_a_word_is_missed(side):
    world, disk = World(), Disk()
    sender, receiver = pair(world, FILE, disk, is_sender_issuer=True, wire={"rate": 30_000.0})
    world.drive(lambda: disk.stored > 20_000)
    gone, left = (sender, receiver) if side == "sender" else (receiver, sender)

    kill(gone)
    world.drive(over(left), seconds=100)

    assert isinstance(left.error, TimedOut)


@pytest.mark.parametrize("stage", ["offered", "flowing"])
@pytest.mark.parametrize("leaver", ["sender", "receiver"])
def test_who_is_interrupted_is_named_within_a_second(leaver, stage):
    world, disk = World(), Disk()
    sender, receiver = pair(world, FILE, disk, wire={"rate": 30_000.0})
    world.drive(lambda: disk.stored > 20_000 if stage == "flowing" else receiver.proof is not None)
    left_at = world.now
    gone, left = (sender, receiver) if leaver == "sender" else (receiver, sender)

    gone._link.close(world.instant, *ending_of(Interrupted(2, "SIGINT")))
    gone._leave()
    world.drive(lambda: left.error is not None)

    assert world.now < left_at + 1
    assert "interrupted by SIGINT" in str(left.error)
