"""A transfer whose sender or receiver is killed goes on where it was, when both are started again."""

import os
import random
import signal
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest
from desk import Desk, token_of
from sending import facts, make_tree, receive, send
from support.processes import Process, await_true, record_figure

pytestmark = pytest.mark.e2e

SIZE = 40 << 20
RUNS, FULL_RUNS = 3, 100  # of each kind, for each of the two
OVER_S = 0.3
LONGEST_S = 0.5  # after which one of them is killed; by then it may be over


def goods(tmp_path: Path, kind: str, contents: bytes) -> Path:
    """Make what is sent."""
    if kind == "file":
        path = tmp_path / "large.bin"
        path.write_bytes(contents)
        return path
    tree = make_tree(tmp_path / "tree")
    for name in ("a", "sub/b", "z"):
        (tree / name).write_bytes(contents[: SIZE // 3])
    return tree


def size_below(folder: Path) -> int:
    """Return the bytes of all files below a folder, journals left out; of two names one counts."""
    found = [path.lstat() for path in folder.rglob("*") if not path.name.endswith(".derphole")]
    sizes = {status.st_ino: status.st_size for status in found if stat.S_ISREG(status.st_mode)}
    return sum(sizes.values())


def is_same(source: Path, copy: Path) -> bool:
    return (
        facts(source) == facts(copy)
        if source.is_dir()
        else (source.read_bytes() == copy.read_bytes())
    )


def headers_of(desk: Desk, source: Path, there: Path, total: int) -> int:
    """Return what comes on top of the contents when all of it is sent."""
    (there / "whole").mkdir()
    sender = send(desk, source, name="whole")
    receiver = receive(desk, sender, "--json", "-o", there / "whole", name="receive whole")
    receiver.ends_with(0)
    sender.ends_with(0)
    return sent_bytes(receiver) - total


def is_over(sender: Process) -> bool:
    """Tell whether a sender ends by itself: its receiver was killed behind its last word."""
    with suppress(AssertionError):
        await_true(lambda: not sender.is_running, "the sender ends", OVER_S)
    return not sender.is_running


def sent_bytes(process: Process) -> int:
    (receipt,) = (event for event in process.events if event["event"] == "receipt")
    return int(str(receipt["bytes"]))


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("victim", ["send", "receive"])
@pytest.mark.timeout(3600)
def test_nothing_is_lost_and_little_is_sent_again(
    desk: Desk, tmp_path: Path, there: Path, kind: str, victim: str, is_full: bool
):
    chance = random.Random(f"{kind} {victim}")
    source = goods(tmp_path, kind, chance.randbytes(SIZE))
    total = size_below(source) if source.is_dir() else source.stat().st_size
    total += headers_of(desk, source, there, total)
    again = arrived_before = 0
    for run in range(FULL_RUNS if is_full else RUNS):
        target = there / str(run)
        target.mkdir()
        sender = send(desk, "--force-relay", source, name=f"send {run}")
        receiver = receive(desk, sender, "-o", target, name=f"receive {run}")
        receiver.await_line("^receiving")
        time.sleep(chance.uniform(0, LONGEST_S))  # any moment will do
        killed = sender if victim == "send" else receiver
        killed.send_signal(signal.SIGKILL)
        if killed.wait() == 0 or (killed is receiver and is_over(sender)):
            continue
        if victim == "send":
            receiver.send_signal(signal.SIGINT)
            if receiver.wait() == 0:
                continue
            sender = send(desk, "--force-relay", source, name=f"new send {run}")
        arrived = size_below(target)

        last = desk.derphole(
            f"receive {run} again", "receive", "--json", "-o", target, token_of(sender)
        )
        last.ends_with(0)
        sender.ends_with(0)

        assert is_same(source, target / source.name)
        sent = sent_bytes(last)
        again += max(0, sent - (total - arrived))
        arrived_before += arrived
        os.sync()
    if arrived_before:
        share = again / arrived_before
        record_figure(f"sent again after kill -9 of {victim}, {kind}", f"{share:.1%}", "<= 10%")
        assert share <= 0.10


@pytest.mark.timeout(240)
@pytest.mark.alongside("waits")
def test_a_code_is_good_for_who_comes_back_after_the_link_was_given_up(
    desk: Desk, tmp_path: Path, there: Path
):
    source = goods(tmp_path, "file", random.Random("late").randbytes(SIZE))
    sender = send(desk, "--force-relay", source)
    receiver = receive(desk, sender, "-o", there)
    part = there / ".large.bin.derphole-part"
    await_true(lambda: part.exists() and part.stat().st_size > 1 << 20, "something has come")
    receiver.send_signal(signal.SIGKILL)
    receiver.wait()

    sender.await_line("^the receiver has stopped answering; the code is still good", 90.0)
    receive(desk, sender, "-o", there, name="late").ends_with(0, "^going on where it stopped")

    sender.ends_with(0)
    assert is_same(source, there / "large.bin")


@pytest.mark.parametrize("victim", ["file"])
def test_a_partial_file_that_was_changed_by_hand_is_mended(
    desk: Desk, tmp_path: Path, there: Path, victim: str
):
    source = goods(tmp_path, victim, random.Random(victim).randbytes(SIZE))
    sender = send(desk, "--force-relay", source)
    receiver = receive(desk, sender, "-o", there)
    part = there / ".large.bin.derphole-part"
    await_true(lambda: part.exists() and part.stat().st_size > 5 << 20, "something has come")
    receiver.send_signal(signal.SIGKILL)
    receiver.wait()
    with part.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed by hand")

    receive(desk, sender, "-o", there, name="again").ends_with(0, "^going on where it stopped")

    sender.ends_with(0)
    assert is_same(source, there / "large.bin")


def test_standard_input_that_was_begun_is_sent_to_nobody_else(
    desk: Desk, tmp_path: Path, there: Path
):
    source = goods(tmp_path, "file", random.Random("stdin").randbytes(SIZE))
    with source.open("rb") as data:
        sender = send(desk, "--force-relay", "--name", "large.bin", stdin=data)
    receiver = receive(desk, sender, "-o", there)
    part = there / ".large.bin.derphole-part"
    await_true(lambda: part.exists() and part.stat().st_size > 1 << 20, "something has come")
    receiver.send_signal(signal.SIGKILL)
    receiver.wait()

    receive(desk, sender, "-o", there, name="again").ends_with(1, "in use|has been used")

    sender.send_signal(signal.SIGINT)
    sender.ends_with(130)
    assert not (there / "large.bin").exists()


def test_many_pieces_that_differ_are_all_mended(desk: Desk, tmp_path: Path, there: Path):
    source = goods(tmp_path, "file", random.Random("many").randbytes(2 * SIZE))
    sender = send(desk, "--force-relay", source)
    receiver = receive(desk, sender, "-o", there)
    part = there / ".large.bin.derphole-part"
    await_true(lambda: part.exists() and part.stat().st_size > SIZE, "half of it has come")
    receiver.send_signal(signal.SIGKILL)
    receiver.wait()
    with part.open("r+b") as file:
        for offset in range(0, part.stat().st_size - 16, 4 << 20):
            file.seek(offset)
            file.write(b"changed by hand")

    receive(desk, sender, "-o", there, name="again").ends_with(0, "^going on where it stopped")

    sender.ends_with(0)
    assert is_same(source, there / "large.bin")


def test_a_finished_file_that_was_changed_by_hand_is_mended_with_verify(
    desk: Desk, tmp_path: Path, there: Path
):
    source = goods(tmp_path, "folder", random.Random("verify").randbytes(SIZE))
    sender = send(desk, "--force-relay", source)
    receiver = receive(desk, sender, "-o", there)
    finished = there / "tree" / "a"
    await_true(finished.exists, "a file is finished")
    receiver.send_signal(signal.SIGKILL)
    receiver.wait()
    status = finished.stat()
    with finished.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed by hand")
    os.utime(finished, ns=(status.st_atime_ns, status.st_mtime_ns))

    again = receive(desk, sender, "--verify", "-o", there, name="again")
    again.ends_with(0, "^comparing what an earlier run finished by its content")

    sender.ends_with(0)
    assert is_same(source, there / "tree")
