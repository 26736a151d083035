"""Small private files: made, changed as a whole, and left as they were when something fails."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from derphole.edges import private_file

MOST = 1000
ADDER = """
import sys
from derphole.edges import private_file
for number in range(int(sys.argv[2])):
    private_file.change(
        sys.argv[1], 1 << 20, lambda text: text + f"{sys.argv[3]}-{number}\\n", is_secret=False
    )
"""


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def test_a_new_file_is_its_owner_s_alone_whatever_the_umask(path):
    mask = os.umask(0)
    try:
        private_file.make(str(path), "text\n", replaces=False)
    finally:
        os.umask(mask)

    assert mode(path) == 0o600
    assert path.read_text() == "text\n"
    assert private_file.read_text(str(path), MOST) == private_file.ReadFile("text\n", 0o600)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_there_is_replaced_only_when_told(path):
    path.write_text("old")
    with pytest.raises(FileExistsError):
        private_file.make(str(path), "new", replaces=False)
    assert path.read_text() == "old"

    private_file.make(str(path), "new", replaces=True)

    assert path.read_text() == "new"
    assert mode(path) == 0o600


def test_a_link_is_not_followed_when_a_file_is_made(path):
    precious = path.with_name("precious")
    precious.write_text("precious")
    path.symlink_to(precious)
    with pytest.raises(FileExistsError):
        private_file.make(str(path), "new", replaces=False)

    private_file.make(str(path), "new", replaces=True)

    assert precious.read_text() == "precious"
    assert not path.is_symlink()


def test_a_file_is_changed_where_a_link_leads_and_keeps_a_narrower_mode(path):
    real = path.parent / "elsewhere" / "real"
    real.parent.mkdir()
    real.write_text("old")
    path.symlink_to(real)
    for before, after in ((0o644, 0o600), (0o400, 0o400), (0o600, 0o600)):
        real.chmod(before)
        private_file.change(str(path), MOST, lambda text: text + "+")
        assert mode(real) == after
    assert path.is_symlink()
    assert real.read_text() == "old+++"
    assert list(real.parent.iterdir()) == [real]
    real.chmod(0o644)
    private_file.change(str(path), MOST, lambda text: text + "+", is_secret=False)
    assert mode(real) == 0o644


def test_what_fails_leaves_everything_as_it_was(path):
    path.write_text("old")

    def fail(text):
        raise ValueError(text)

    with pytest.raises(ValueError, match="old"):
        private_file.change(str(path), MOST, fail)
    with pytest.raises(OSError, match="too large"):
        private_file.change(str(path), 2, lambda text: "new")
    with pytest.raises(FileNotFoundError):
        private_file.change(str(path) + "x", MOST, str, may_make=False)
    with pytest.raises(OSError, match="it is a directory"):
        private_file.read_text(str(path.parent), MOST)
    with pytest.raises(OSError, match="it is a directory"):
        private_file.make(f"{path.parent}/", "x", replaces=True)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user: needs root")
def test_the_owner_stays(path):
    path.write_text("old")
    os.chown(path, 12345, 23456)

    private_file.change(str(path), MOST, lambda text: "new")

    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_a_fifo_is_not_waited_for(path):
    os.mkfifo(path)
    ended = threading.Event()

    def read():
        private_file.read_text(str(path), MOST)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert ended.wait(10)


def test_many_at_once_lose_nothing_and_a_reader_never_sees_half(path, is_full):
    each = 200 if is_full else 30
    command = [sys.executable, "-c", ADDER, str(path), str(each)]
    processes = [subprocess.Popen([*command, str(number)], cwd=Path.cwd()) for number in range(4)]
    seen = 0
    while any(process.poll() is None for process in processes):
        text = path.read_text() if path.exists() else ""
        assert not text or text.endswith("\n")
        lines = len(text.splitlines())
        assert lines >= seen
        seen = lines
    assert [process.wait() for process in processes] == [0] * 4
    assert len(path.read_text().splitlines()) == 4 * each
    assert list(path.parent.iterdir()) == [path]
