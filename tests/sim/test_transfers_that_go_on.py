"""A transfer goes on where it stopped: either side killed at every step, then both as before.

The receiver dies and comes back with the same token, or the sender dies and both start again with a
new one.  What arrives is exact, and at least nine tenths of what had arrived is not sent again.
"""

from dataclasses import replace

import pytest
from conversation import Outcome
from test_transfers import FILE, FOLDER, check, over, pair
from transfer_sides import PIECE, Disk, Receiving, Sending, Source, kill
from world import World, patterned

from derphole.speech.transfer_messages import Kind, Origin
from derphole.transfer.offer import Fit

WIRE = {"rate": 200_000.0}
SOURCES = {"file": FILE, "folder": FOLDER}
STRIDE = 7  # of the steps at which something is killed, unless all are tried
SHARE = 0.9  # of what had arrived, that is not sent again


def begin(source, disk, is_sender_issuer=True):
    world = World()
    return world, *pair(world, source, disk, is_sender_issuer, WIRE)


def steps_of(source):
    """Return how many steps a whole transfer takes."""
    world, sender, receiver = begin(source, Disk())
    count = 0
    while not over(sender, receiver)():
        count += 1
        assert world.step()
    return count


def stopped_after(steps, source, is_sender_issuer=True):
    """Return a transfer after some steps: world, disk, sender, receiver."""
    disk = Disk()
    world, sender, receiver = begin(source, disk, is_sender_issuer)
    for _ in range(steps):
        assert world.step()
    return world, disk, sender, receiver


def check_resumed(source, disk, arrived, sender):
    assert {path: content for path, (_, content) in disk.files.items()} == source.files
    assert disk.parts == {}
    assert sender.sent <= source.size - SHARE * arrived, (sender.sent, arrived)


def chosen_steps(source, is_full):
    return range(1, steps_of(source), 1 if is_full else STRIDE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SOURCES)
def test_a_receiver_killed_at_any_step_goes_on_with_the_same_token(name, is_full):
    source, known = SOURCES[name], 0
    for steps in chosen_steps(source, is_full):
        world, disk, sender, receiver = stopped_after(steps, source)
        if receiver.outcome is Outcome.SUCCEEDED:
            continue
        arrived = disk.stored
        kill(receiver)

        again = Receiving(world.claimer(**WIRE), disk)
        world.drive(over(sender, again))

        assert sender.outcome is again.outcome is Outcome.SUCCEEDED, (steps, sender.error)
        check_resumed(source, disk, arrived, sender)
        known += arrived > 0
    assert known > 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SOURCES)
def test_a_sender_killed_at_any_step_goes_on_with_a_new_token(name, is_full):
    source = SOURCES[name]
    for steps in chosen_steps(source, is_full):
        _, disk, _, receiver = stopped_after(steps, source)
        if receiver.outcome is Outcome.SUCCEEDED:
            continue
        arrived = disk.stored

        _, sender, again = begin(source, disk)
        again.host.world.drive(over(sender, again))

        assert sender.outcome is again.outcome is Outcome.SUCCEEDED, (steps, sender.error)
        check_resumed(source, disk, arrived, sender)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SOURCES)
def test_a_receiver_that_waits_is_served_by_the_next_sender(name, is_full):
    """`receive` made the token, `send --to` was killed and is started again."""
    source = SOURCES[name]
    for steps in chosen_steps(source, is_full):
        world, disk, sender, receiver = stopped_after(steps, source, is_sender_issuer=False)
        if receiver.outcome is Outcome.SUCCEEDED:
            continue
        kill(sender)
        world.run_for(1)  # what it had sent still comes, and says that it is there
        arrived = disk.stored

        again = Sending(world.claimer(**WIRE), source, is_claimer=True)
        world.drive(lambda: receiver.is_over)  # noqa: B023

        # One that had been told everything finishes with what it has, and serves no other.
        assert receiver.outcome is Outcome.SUCCEEDED, (steps, receiver.error)
        check_resumed(source, disk, arrived, again)


def test_killed_again_and_again_it_still_gets_there():
    disk, sent, seed = Disk(), 0, 0
    while True:
        world = World(seed)
        sender, receiver = pair(world, FOLDER, disk, wire=WIRE)
        at = disk.stored + 9000
        world.drive(lambda: disk.stored >= at or over(sender, receiver)())  # noqa: B023
        sent += sender.sent
        if over(sender, receiver)():
            break
        kill(receiver)
        seed += 1

    check(FOLDER, disk, sender, receiver)
    assert seed > 8
    assert sent < FOLDER.size + seed * 2 * 16_000  # what was under way at each end, and no more


# -- what is not as it was ------------------------------------------------------------------


def half(source):
    """Return a disk with about half of a source."""
    disk = Disk()
    world, *_ = begin(source, disk)
    world.drive(lambda: disk.stored > source.size / 2)
    return disk


def go_on(source, disk):
    world, sender, receiver = begin(source, disk)
    world.drive(over(sender, receiver))
    check(source, disk, sender, receiver)
    return sender, receiver


@pytest.mark.parametrize("name", SOURCES)
def test_a_partial_file_changed_by_hand_is_noticed_and_its_pieces_alone_come_again(name):
    source = SOURCES[name]
    disk = half(source)
    world, *_ = begin(source, disk)
    world.drive(lambda: any(len(part) > PIECE for part in disk.parts.values()))
    arrived = disk.stored
    [part] = disk.parts.values()
    part[5] ^= 1

    sender, receiver = go_on(source, disk)

    assert sender.proof.repaired_count == receiver.proof.repaired_count == 1
    assert sender.sent == source.size - arrived + PIECE


def test_a_partial_file_of_zeros_comes_whole_again():
    """As a file system may leave one after the power was lost."""
    disk = half(FILE)
    [part] = disk.parts.values()
    pieces = -(-len(part) // PIECE)
    part[:] = bytes(len(part))

    sender, _ = go_on(FILE, disk)

    assert sender.proof.repaired_count == pieces
    assert sender.sent == FILE.size


@pytest.mark.parametrize("name", SOURCES)
def test_a_partial_file_made_longer_or_shorter_by_hand_comes_right(name):
    for change in (bytes(100_000), None):
        disk = half(SOURCES[name])
        [part] = disk.parts.values()
        if change is None:
            del part[17:]
        else:
            part += change

        go_on(SOURCES[name], disk)


def test_a_journal_cut_or_damaged_anywhere_costs_time_but_no_byte():
    whole = half(FOLDER)
    for size in range(0, len(whole.journal), 11):
        for is_cut in (True, False):
            disk = Disk(
                {key: bytearray(part) for key, part in whole.parts.items()},
                dict(whole.files),
                bytearray(whole.journal),
            )
            if is_cut:
                del disk.journal[size:]
            else:
                disk.journal[max(size, 24)] ^= 1
            disk.files = {path: both for path, both in disk.files.items() if size % 2}

            go_on(FOLDER, disk)


def test_a_file_that_has_changed_since_begins_anew_and_it_is_known_why():
    disk = half(FILE)
    changed = Source({b"one": patterned(60_000, seed=9)}, Kind.FILE, mtime_ns=6)

    sender, receiver = go_on(changed, disk)

    assert receiver.fit is Fit.CHANGED
    assert sender.sent == changed.size
    assert sender.proof.origin is Origin.NOTHING_HELD


def test_a_file_changed_under_the_same_size_and_time_comes_right_all_the_same():
    disk = half(FILE)
    changed = Source({b"one": patterned(60_000, seed=9)}, Kind.FILE)

    sender, _ = go_on(changed, disk)

    assert sender.proof.repaired_count > 0


def test_another_source_of_the_same_name_is_never_told_what_is_held():
    disk = half(FILE)
    other = replace(FILE, id=b"\x08" * 16)

    sender, receiver = go_on(other, disk)

    assert receiver.fit is Fit.OTHER_SOURCE
    assert sender.proof.held.is_nothing


def test_a_source_that_cannot_begin_in_the_middle_begins_anew():
    disk = half(FILE)

    sender, receiver = go_on(replace(FILE, can_seek=False), disk)

    assert receiver.proof.origin is Origin.CANNOT_SEEK
    assert sender.sent == FILE.size


def test_of_a_folder_what_changed_comes_again_and_what_vanished_does_not_matter():
    disk = half(FOLDER)
    files = dict(FOLDER.files)
    finished = [path for path in files if path in disk.files]
    begun = next(path for path in files if path not in disk.files)
    changed, gone = finished[1], finished[2]
    files[changed] = files[changed] + b"more"
    del files[gone], files[begun]
    source = Source(files)

    world, sender, receiver = begin(source, disk)
    world.drive(over(sender, receiver))

    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert sender.skipped == [path for path in finished if path in files and path != changed]
    assert {path: disk.files[path][1] for path in files} == files


def test_the_first_new_byte_does_not_wait_for_what_is_held():
    """What is held is compared beside the running transfer."""
    source = Source({b"large": patterned(400_000)}, Kind.FILE)
    disk = Disk()
    world, *_ = begin(source, disk)
    world.drive(lambda: disk.stored > 300_000)
    held = disk.stored

    world, sender, receiver = begin(source, disk)
    world.drive(lambda: receiver.proof is not None and receiver.proof.origin is not None)
    began_at = world.now
    world.drive(lambda: disk.stored > held)

    assert world.now < began_at + 0.2
    assert sender.proof._comparison.heard_count < sender.proof.held.claims.count
