"""`send` and `receive`: what a person sends arrives as it is, and nothing else is touched."""

import filecmp
import os
import pty
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Desk, token_of
from sending import facts, make_tree, names, part_size, receive, send
from support.processes import PROGRAM, await_true

pytestmark = pytest.mark.e2e

PAYLOAD = bytes(range(256)) * 800
LARGE = 48 << 20


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PAYLOAD)
    os.chmod(path, 0o640)
    os.utime(path, ns=(1, 1234567890123456789))
    return path


def test_a_file_arrives_with_its_mode_and_time(desk: Desk, photo: Path, there: Path):
    sender = send(desk, photo)
    receiver = receive(desk, sender, "-o", there)

    sender.ends_with(0, r"^sent 200\.0KiB, confirmed")
    receiver.ends_with(
        0, r'^receiving file "photo\.jpg" \(200\.0KiB\) into', r"^received 200\.0KiB"
    )
    copy = there / "photo.jpg"
    assert copy.read_bytes() == PAYLOAD
    assert copy.stat().st_mode & 0o777 == 0o640
    assert copy.stat().st_mtime_ns == 1234567890123456789
    assert names(there) == ["photo.jpg"]


@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_files_arrive(desk: Desk, tmp_path: Path, there: Path, size: int):
    path = tmp_path / ("ü" * 127 + "x")  # 255 bytes
    path.write_bytes(b"x" * size)
    sender = send(desk, "--", path)

    receive(desk, sender, "-o", there).ends_with(0)

    sender.ends_with(0)
    assert (there / path.name).read_bytes() == b"x" * size


def test_a_tree_arrives_as_it_is(desk: Desk, tmp_path: Path, there: Path):
    tree = make_tree(tmp_path / "tree")
    sender = send(desk, tree)

    receive(desk, sender, "-o", there).ends_with(0, r'^receiving folder "tree" \(6\d entries')

    sender.ends_with(0)
    assert facts(there / "tree") == facts(tree)
    assert names(there) == ["tree"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", [100 * 10**6, 5 << 30], ids=["100 MB", "5 GiB"])
def test_large_files_arrive(desk: Desk, tmp_path: Path, there: Path, is_full: bool, size: int):
    size = size if is_full else size // 64
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(1 << 20))
    with path.open("r+b") as file:
        file.truncate(size)  # the rest of it takes no room on the disk
        for start in range(1 << 20, size - 4096, 97 << 20):
            file.seek(start)
            file.write(os.urandom(4096))
    sender = send(desk, path)

    receive(desk, sender, "-o", there).ends_with(0, timeout_s=600.0)

    sender.ends_with(0)
    assert filecmp.cmp(path, there / "large.bin", shallow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tree_of_many_small_files_arrives(desk: Desk, tmp_path: Path, there: Path, is_full: bool):
    chance = random.Random("many")
    tree = tmp_path / "tree"
    for number in range(20_000 if is_full else 600):
        path = tree / f"{number % 40}" / f"{number % 7}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(0, 8192)))
    sender = send(desk, tree)

    receive(desk, sender, "-o", there).ends_with(0, timeout_s=600.0)

    sender.ends_with(0)
    assert facts(there / "tree") == facts(tree)


def test_a_checkout_of_git_is_one_on_the_other_side(desk: Desk, tmp_path: Path, there: Path):
    tree = make_tree(tmp_path / "tree")

    def git(folder: Path, *words: str) -> str:
        settings = "user.name=x", "user.email=x", "core.fsmonitor=false"
        options = [word for setting in settings for word in ("-c", setting)]
        command = ["git", "-C", str(folder), *options, *words]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "everything")
    sender = send(desk, tree)

    receive(desk, sender, "-o", there).ends_with(0)

    sender.ends_with(0)
    assert facts(there / "tree") == facts(tree)
    assert git(there / "tree", "status", "--porcelain") == ""
    git(there / "tree", "fsck", "--strict")


def test_several_things_go_into_one_folder(desk: Desk, tmp_path: Path, photo: Path, there: Path):
    tree = make_tree(tmp_path / "tree")
    sender = send(desk, photo, tree)

    receive(desk, sender, "-o", there / "new").ends_with(0)

    sender.ends_with(0)
    assert names(there / "new") == ["photo.jpg", "tree"]
    assert facts(there / "new" / "tree") == facts(tree)


def test_a_folder_gets_the_name_of_a_path_that_is_not_there(
    desk: Desk, tmp_path: Path, there: Path
):
    tree = make_tree(tmp_path / "tree")
    sender = send(desk, tree)

    receive(desk, sender, "-o", there / "other").ends_with(0)

    sender.ends_with(0)
    assert facts(there / "other") == facts(tree)


def test_standard_input_gets_a_name_and_may_go_to_standard_output(desk: Desk, there: Path):
    sender = send(desk, "--name", "log.txt", stdin=PAYLOAD)
    receive(desk, sender, "-o", there).ends_with(0)
    sender.ends_with(0)
    assert (there / "log.txt").read_bytes() == PAYLOAD

    sender = send(desk, "-", stdin=PAYLOAD)
    receiver = receive(desk, sender, "-o", "-")
    receiver.ends_with(0)
    sender.ends_with(0)
    assert receiver.stdout == PAYLOAD


def test_text_arrives_raw_in_a_pipe(desk: Desk):
    sender = send(desk, "--text", "see \x1b[31myou\x1b[0m at", "8")
    receiver = receive(desk, sender)

    receiver.ends_with(0)
    sender.ends_with(0)
    assert receiver.stdout == b"see \x1b[31myou\x1b[0m at 8"


def test_a_word_that_names_nothing_is_sent_as_text_and_said_so(desk: Desk):
    sender = send(desk, "hello")
    receiver = receive(desk, sender)

    receiver.ends_with(0)
    sender.ends_with(0, '^nothing here is called "hello": it is sent as text')
    assert receiver.stdout == b"hello"


def test_what_cannot_be_sent_is_refused_before_a_code_is_printed(desk: Desk, tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    send(desk, fifo).ends_with(1, "it is a named pipe; .*derphole send - <")
    send(desk, "").ends_with(2, "^WHAT is empty")
    send(desk, "--name", "a/b", fifo).ends_with(
        2, '^invalid --name value "a/b": it has a separator'
    )
    send(desk, "--name", "x", fifo, tmp_path).ends_with(2, "^--name is for one file or folder")


def test_a_look_at_what_would_be_declined_fails(desk: Desk, photo: Path, there: Path):
    (there / "photo.jpg").write_bytes(b"precious")
    sender = send(desk, photo)

    receive(desk, sender, "--dry-run", "-o", there).ends_with(1, r"photo\.jpg exists already")

    sender.await_line("only looked; the code is still good")
    receive(desk, sender, "--overwrite", "-o", there, name="again").ends_with(0)
    sender.ends_with(0)


@pytest.mark.parametrize("word", ["no/such", "photo.jpeg", "*.jpg"])
def test_a_name_that_is_missing_is_an_error_that_names_text(desk: Desk, word: str):
    send(desk, word).ends_with(1, f"^cannot send {word.replace('*', '.')}: .*--text")


def test_what_is_there_is_not_replaced_unasked(desk: Desk, photo: Path, there: Path):
    (there / "photo.jpg").write_bytes(b"precious")
    sender = send(desk, photo)

    receive(desk, sender, "-o", there).ends_with(1, r"photo\.jpg exists already, .*--overwrite")
    sender.ends_with(1, "did not take what was offered: there is something of that name already")
    assert (there / "photo.jpg").read_bytes() == b"precious"

    sender = send(desk, photo)
    receive(desk, sender, "--rename", "-o", there).ends_with(0)
    sender.ends_with(0)
    sender = send(desk, photo)
    receive(desk, sender, "--skip", "-o", there).ends_with(1, "exists already and was left")
    sender.ends_with(1)
    assert (there / "photo.jpg").read_bytes() == b"precious"
    assert (there / "photo (1).jpg").read_bytes() == PAYLOAD

    sender = send(desk, photo)
    receive(desk, sender, "--overwrite", "-o", there).ends_with(0)
    sender.ends_with(0)
    assert (there / "photo.jpg").read_bytes() == PAYLOAD
    assert names(there) == ["photo (1).jpg", "photo.jpg"]


def test_files_of_a_folder_that_are_there_stay_with_skip(desk: Desk, tmp_path: Path, there: Path):
    tree = make_tree(tmp_path / "tree", 3)
    (there / "tree" / "sub").mkdir(parents=True)
    (there / "tree" / "sub" / "file 1").write_bytes(b"precious")
    sender = send(desk, tree)

    receive(desk, sender, "--skip", "-o", there).ends_with(0, "^tree/sub/file 1 is there already")

    sender.ends_with(0, "^the other side left 1 as they were")
    assert (there / "tree" / "sub" / "file 1").read_bytes() == b"precious"
    assert (there / "tree" / "sub" / "file 2").read_bytes() == (tree / "sub/file 2").read_bytes()


def test_what_could_not_be_written_is_told_on_both_sides(desk: Desk, tmp_path: Path, there: Path):
    tree = make_tree(tmp_path / "tree", 3)
    (there / "tree" / "sub" / "file 1").mkdir(parents=True)  # a folder, where a file should go
    sender = send(desk, tree)

    receive(desk, sender, "--overwrite", "-o", there).ends_with(
        1, "^tree/sub/file 1 is there already, as a folder", "^1 of what was sent could not"
    )

    sender.ends_with(1, "^the other side could not write 1 of what was sent")


def test_a_look_writes_nothing_and_leaves_the_code_good(desk: Desk, photo: Path, there: Path):
    sender = send(desk, photo)
    receive(desk, sender, "--dry-run", "-o", there).ends_with(
        0, r'file "photo\.jpg" would be written to .*photo\.jpg, 200\.0KiB; .* nothing was written'
    )
    sender.await_line("only looked; the code is still good")
    assert names(there) == []

    receive(desk, sender, "-o", there, name="again").ends_with(0)

    sender.ends_with(0)
    assert (there / "photo.jpg").read_bytes() == PAYLOAD


def test_a_size_above_the_limit_is_asked_about(desk: Desk, photo: Path, there: Path):
    sender = send(desk, photo)
    receive(desk, sender, "--ask-above", "1K", "-o", there).ends_with(1, "200.0KiB, .* use --yes")
    sender.ends_with(1)

    sender = send(desk, photo)
    receive(desk, sender, "--ask-above", "1K", "-y", "-o", there).ends_with(0)
    sender.ends_with(0)


def test_a_receiver_without_code_prints_a_token_for_the_sender(
    desk: Desk, photo: Path, there: Path
):
    receiver = desk.derphole("receive", "receive", "--relay", desk.relay_url, "-o", there)
    sender = desk.derphole("send", "send", photo, "--to", token_of(receiver))

    sender.ends_with(0)
    receiver.ends_with(0)
    assert (there / "photo.jpg").read_bytes() == PAYLOAD


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 1), (b"no\n", 1)])
def test_a_person_at_a_terminal_is_asked(
    desk: Desk, photo: Path, there: Path, answer: bytes, code: int
):
    (there / "photo.jpg").write_bytes(b"precious")
    keyboard, stdin = pty.openpty()
    sender = send(desk, photo)
    receiver = receive(desk, sender, "-o", there, stdin=stdin, on_terminal=True)
    receiver.await_line(r"photo\.jpg exists; replace it\? \[y/N\]")
    sender.await_line("^waiting for the other side to decide")

    os.write(keyboard, answer)

    receiver.ends_with(code)
    sender.ends_with(code)
    assert (there / "photo.jpg").read_bytes() == (b"precious" if code else PAYLOAD)
    os.close(keyboard)
    os.close(stdin)


def test_of_two_that_receive_the_same_name_the_second_is_told(
    desk: Desk, tmp_path: Path, there: Path
):
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(LARGE))
    first, second = send(desk, large, name="first"), send(desk, "--name", "large.bin", large)
    receiver = receive(desk, first, "-o", there)
    await_true(lambda: part_size(there), "it has begun")
    receiver.send_signal(signal.SIGSTOP)

    other = receive(desk, second, "-o", there, name="other")

    other.ends_with(1, "another process is receiving the same name here; .* -o$")
    second.ends_with(1)
    receiver.send_signal(signal.SIGCONT)
    receiver.ends_with(0)
    first.ends_with(0)
    assert (there / "large.bin").read_bytes() == large.read_bytes()
    assert names(there) == ["large.bin"]


def test_codes_of_other_commands_are_told_apart(desk: Desk, photo: Path):
    listen = desk.listen()
    desk.derphole("receive", "receive", token_of(listen)).ends_with(1, "derphole pipe")
    sender = send(desk, photo)
    desk.derphole("pipe", "pipe", token_of(sender), stdin=b"x").ends_with(1, "derphole receive")
    listen.stop()
    sender.stop()


def test_a_full_disk_is_told_before_the_first_byte(desk: Desk, tmp_path: Path, there: Path):
    sparse = tmp_path / "sparse.bin"
    with sparse.open("wb") as file:
        file.truncate(shutil.disk_usage(there).free + (1 << 30))
    sender = send(desk, sparse)

    receive(desk, sender, "-o", there).ends_with(1, "bytes free, but .* are needed")

    sender.ends_with(1, "there is not enough space")
    assert names(there) == []


def test_a_place_that_is_missing_does_not_use_up_the_code(desk: Desk, photo: Path, there: Path):
    sender = send(desk, photo)

    receive(desk, sender, "-o", there / "missing" / "photo.jpg", name="typo").ends_with(
        1, "no such file or directory; .*the code was not used"
    )

    receive(desk, sender, "-o", there).ends_with(0)
    sender.ends_with(0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_is_told_and_what_came_is_gone_on_with(
    desk: Desk, tmp_path: Path, small_disk: Path
):
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(16 << 20))
    sender = send(desk, large)
    receiver = receive(desk, sender, "--no-space-check", "-o", small_disk)

    receiver.ends_with(1, "no space left on device", "^incomplete: ", "^what came is kept")
    ended_at = time.monotonic()
    sender.ends_with(1, "could not write its output: no space left on device")
    assert time.monotonic() - ended_at < 6.0
    come = part_size(small_disk)
    assert come > 6 << 20
    assert not (small_disk / "large.bin").exists()

    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    sender = send(desk, large)
    receive(desk, sender, "-o", small_disk).ends_with(0, "^going on where it stopped: [6-8]")
    sender.ends_with(0)
    assert (small_disk / "large.bin").read_bytes() == large.read_bytes()
    assert names(small_disk) == ["large.bin"]


def test_a_read_only_folder_is_noticed_before_the_first_byte(
    desk: Desk, photo: Path, small_disk: Path
):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    sender = send(desk, photo)

    receive(desk, sender, "-o", small_disk, name="told").ends_with(
        1, "cannot be written: read-only file system; .*the code was not used"
    )
    words = ["sh", "-c", 'cd "$0" && exec "$@"', small_disk, PROGRAM, "receive", token_of(sender)]
    desk.run("receive", words).ends_with(1, "cannot be written: read-only file system")
    sender.ends_with(1, "nothing can be written there")


def test_what_cannot_be_read_is_told_before_anybody_waits(desk: Desk, tmp_path: Path, there: Path):
    tree = make_tree(tmp_path / "tree", 2)
    expected = facts(tree).keys()
    os.mkfifo(tree / "pipe")
    sender = send(desk, tree)
    sender.await_line("^warning: tree/pipe is a named pipe, and will be left out")

    receive(desk, sender, "-o", there).ends_with(0, "^warning: 1 was left out by the other side")

    sender.ends_with(1, "^tree/pipe is a named pipe", "^1 of what was to be sent could not be")
    assert facts(there / "tree").keys() == expected


def test_what_is_excluded_is_not_sent(desk: Desk, tmp_path: Path, there: Path):
    tree = make_tree(tmp_path / "tree", 3)
    sender = send(desk, "--exclude", "file*", "--exclude", "link", tree)

    receive(desk, sender, "-o", there).ends_with(0)

    sender.ends_with(0)
    assert names(there / "tree" / "sub") == ["empty"]
    assert "link" not in names(there / "tree")
