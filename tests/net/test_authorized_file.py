"""The real file of keys: nothing in it is lost, whatever it is like and whatever goes wrong."""

import errno
import fcntl
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.processes import ROOT, Process, record_figure
from support.ssh_keys import ed25519_key, ed25519_line

from derphole.edges import replacing
from derphole.edges.accounts import Account
from derphole.edges.authorized_file import AuthorizedFile
from derphole.errors import KeysUnwritable
from derphole.ssh.authorized_keys import MARK, Standing, standing
from derphole.ssh.public_key import parse_line

pytestmark = pytest.mark.net

KEY = ed25519_key(1, "me@here")
NEW = KEY.line.encode() + b"\n"
OTHER = ed25519_line(2, b"somebody else") + b"\n"
# Nobody's in the user database of any machine.
USER_ID, OTHER_ID = 54321, 54322
IS_ROOT = os.geteuid() == 0
ADDER = Path(__file__).with_name("key_adder.py")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="gives files to others: needs root")


class Home:
    """A home, and the file of keys in it."""

    def __init__(self, path: Path, user_id: int | None = None) -> None:
        self.path = path
        user_id = os.geteuid() if user_id is None else user_id
        group_id = os.getegid() if user_id == os.geteuid() else user_id
        self.file = AuthorizedFile(Account("somebody", user_id, group_id, str(path)))
        self.folder = path / ".ssh"
        self.keys = self.folder / "authorized_keys"

    def put(self, contents: bytes, mode: int = 0o600) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.keys.write_bytes(contents)
        self.keys.chmod(mode)

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*"))

    def refuses(self) -> str:
        """Try to add a key, which changes nothing; return why not."""
        before = self.names(), self.keys.read_bytes() if self.keys.is_file() else None
        with pytest.raises(KeysUnwritable) as caught:
            self.file.add(KEY)
        assert before == (self.names(), self.keys.read_bytes() if self.keys.is_file() else None)
        assert str(self.keys) in str(caught.value)
        return caught.value.reason


@pytest.fixture
def home(tmp_path: Path) -> Home:
    path = tmp_path / "home"
    path.mkdir()
    return Home(path)


@pytest.fixture
def users_home(tmp_path: Path) -> Home:
    """The home of a user, seen by root."""
    if not IS_ROOT:
        pytest.skip("gives files to others: needs root")
    path = tmp_path / "home"
    path.mkdir()
    os.chown(path, USER_ID, USER_ID)
    return Home(path, USER_ID)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- what is made -------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o377])
def test_a_missing_folder_and_file_are_made_for_the_user_alone(home: Home, umask: int):
    before = os.umask(umask)
    try:
        assert home.file.add(KEY) is Standing.ABSENT
    finally:
        os.umask(before)

    assert home.names() == [".ssh", ".ssh/authorized_keys"]
    assert (mode_of(home.folder), mode_of(home.keys)) == (0o700, 0o600)
    assert home.keys.read_bytes() == NEW


def test_a_missing_folder_is_made_by_no_other_call(home: Home):
    assert home.file.contents() == b""
    home.file.check_writable()
    assert home.names() == []

    home.folder.mkdir()
    assert home.file.contents() == b""
    home.file.check_writable()
    assert home.names() == [".ssh"]


def test_what_root_makes_for_a_user_is_the_user_s(users_home: Home):
    users_home.file.check_writable()
    users_home.file.add(KEY)

    for path in (users_home.folder, users_home.keys):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER_ID, USER_ID)
    assert (mode_of(users_home.folder), mode_of(users_home.keys)) == (0o700, 0o600)


@pytest.mark.parametrize("home_is", ["missing", "a file", "a link to nothing"])
def test_a_home_that_is_none_is_told_by_every_call(tmp_path: Path, home_is: str):
    path = tmp_path / "nobody"
    if home_is == "a file":
        path.write_bytes(b"")
    elif home_is == "a link to nothing":
        path.symlink_to("nowhere")
    file = Home(path).file

    for call in (file.check_writable, file.contents, lambda: file.add(KEY)):
        with pytest.raises(KeysUnwritable, match=f"the home {path} cannot be opened: n"):
            call()


def test_a_key_is_added_once(home: Home):
    assert home.file.add(KEY) is Standing.ABSENT
    assert home.file.add(ed25519_key(1, "another comment")) is Standing.PRESENT
    assert home.file.contents() == NEW
    home.put(b"restrict " + NEW)
    status = home.keys.stat()

    assert home.file.add(KEY) is Standing.RESTRICTED
    assert home.keys.read_bytes() == b"restrict " + NEW
    assert home.keys.stat().st_ino == status.st_ino


# -- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        OTHER,
        OTHER[:-1],
        OTHER.replace(b"\n", b"\r\n") * 2,
        b"# note\n\n \t\n" + OTHER + b"\n\n",
        b'command="echo \\"a\\"",no-pty ' + OTHER,
        MARK + OTHER,
        b"no key\xff\0 at all",
        OTHER.decode().encode("utf-16"),
    ],
)
def test_what_is_there_stays_byte_for_byte(home: Home, contents: bytes):
    home.put(contents)

    assert home.file.add(KEY) is Standing.ABSENT

    assert home.keys.read_bytes().startswith(contents)
    assert standing(home.keys.read_bytes(), KEY) is Standing.PRESENT
    assert home.names() == [".ssh", ".ssh/authorized_keys"]
    assert home.file.add(KEY) is Standing.PRESENT


def test_ten_thousand_lines_stay(home: Home):
    contents = b"".join(b"restrict " + ed25519_line(n, b"n") + b"\n" for n in range(10, 10_010))
    home.put(contents)

    assert home.file.add(KEY) is Standing.ABSENT
    assert home.keys.read_bytes() == contents + NEW
    assert home.file.add(ed25519_key(10_009)) is Standing.RESTRICTED


@pytest.mark.parametrize("mode", [0o400, 0o644, 0o604, 0o666, 0o4755])
def test_the_mode_of_a_file_is_kept_also_of_one_that_is_read_only(home: Home, mode: int):
    home.put(OTHER, mode)

    home.file.check_writable()
    home.file.add(KEY)

    assert mode_of(home.keys) == mode
    assert home.keys.read_bytes() == OTHER + NEW


@pytest.mark.parametrize(
    "ids", [(0, 0), (USER_ID, OTHER_ID), (OTHER_ID, USER_ID)], ids=["root", "group", "other"]
)
def test_the_owner_of_a_file_is_kept_by_root(users_home: Home, ids: tuple[int, int]):
    users_home.put(OTHER, 0o640)
    os.chown(users_home.keys, *ids)

    users_home.file.check_writable()
    users_home.file.add(KEY)

    status = users_home.keys.stat()
    assert (status.st_uid, status.st_gid, mode_of(users_home.keys)) == (*ids, 0o640)


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """Return a list as the kernel has it: kind, permissions and number of each; acl(5)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


NOBODY = 0xFFFFFFFF
OWNER, NAMED, GROUP, MASK, OTHERS = 1, 2, 4, 16, 32
LIST = access_list(
    (OWNER, 6, NOBODY), (NAMED, 4, OTHER_ID), (GROUP, 0, NOBODY), (MASK, 4, NOBODY), (OTHERS, 0, NOBODY)
)  # fmt: skip
ACCESS, INHERITED, NOTE = (
    "system.posix_acl_access",
    "system.posix_acl_default",
    "user.note",
)


def set_attribute(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except (OSError, AttributeError):
        pytest.skip("this file system has no access lists")


def test_the_access_list_and_other_attributes_of_a_file_are_kept(home: Home):
    home.put(OTHER)
    set_attribute(home.keys, ACCESS, LIST)
    set_attribute(home.keys, NOTE, b"mine")
    assert mode_of(home.keys) == 0o640

    home.file.check_writable()
    home.file.add(KEY)

    assert os.getxattr(home.keys, ACCESS) == LIST
    assert os.getxattr(home.keys, NOTE) == b"mine"
    assert mode_of(home.keys) == 0o640
    assert home.keys.read_bytes() == OTHER + NEW


def test_a_file_without_an_access_list_gets_none_from_its_folder(home: Home):
    home.put(OTHER, 0o644)
    set_attribute(home.folder, INHERITED, LIST)

    home.file.add(KEY)

    assert ACCESS not in os.listxattr(home.keys)
    assert mode_of(home.keys) == 0o644
    home.keys.unlink()
    home.file.add(KEY)
    assert mode_of(home.keys) == 0o600  # whoever the folder names, the mask lets nobody in


def refuse_attribute(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    real = os.setxattr

    def set_others(path: object, name: str, value: bytes) -> None:
        if name == refused:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        real(path, name, value)

    monkeypatch.setattr(os, "setxattr", set_others)


def test_an_access_list_that_cannot_be_kept_leaves_the_file_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    home.put(OTHER)
    set_attribute(home.keys, ACCESS, LIST)
    refuse_attribute(monkeypatch, ACCESS)

    assert home.refuses() == "its access list cannot be kept: operation not supported"
    with pytest.raises(KeysUnwritable, match="its access list cannot be kept"):
        home.file.check_writable()
    assert os.getxattr(home.keys, ACCESS) == LIST


def test_one_attribute_that_cannot_be_kept_takes_no_other_with_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    home.put(OTHER)
    for name in ("user.a", NOTE, "user.z"):
        set_attribute(home.keys, name, b"mine")
    set_attribute(home.keys, ACCESS, LIST)
    refuse_attribute(monkeypatch, NOTE)

    home.file.add(KEY)

    assert set(os.listxattr(home.keys)) >= {"user.a", "user.z", ACCESS}


# -- links --------------------------------------------------------------------------------------


def test_a_link_to_the_file_stays_and_what_it_leads_to_is_replaced(home: Home):
    real = home.path / "dotfiles" / "keys"
    real.parent.mkdir()
    real.write_bytes(OTHER)
    home.folder.mkdir()
    (home.path / "step").symlink_to("dotfiles")
    home.keys.symlink_to("../step/keys")

    home.file.check_writable()
    assert home.file.contents() == OTHER
    home.file.add(KEY)

    assert os.readlink(home.keys) == "../step/keys"
    assert real.read_bytes() == OTHER + NEW
    assert sorted(os.listdir(real.parent)) == ["keys"]


def test_a_link_to_the_folder_stays(home: Home):
    real = home.path / "dotfiles"
    real.mkdir()
    home.folder.symlink_to("dotfiles")

    home.file.check_writable()
    assert home.file.contents() == b""
    home.file.add(KEY)

    assert home.folder.is_symlink()
    assert (real / "authorized_keys").read_bytes() == NEW


@pytest.mark.parametrize("name", [".ssh", "authorized_keys"])
def test_a_link_that_leads_nowhere_is_told_and_left_alone(home: Home, name: str):
    if name == "authorized_keys":
        home.folder.mkdir()
    link = home.folder if name == ".ssh" else home.keys
    link.symlink_to("nowhere")

    assert home.refuses() == f"{name} is a link that leads nowhere"
    assert link.is_symlink()


def test_root_is_not_led_elsewhere_by_a_user_s_link_to_a_folder(users_home: Home, tmp_path: Path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "authorized_keys").write_bytes(OTHER)
    users_home.folder.symlink_to(precious)
    os.chown(users_home.folder, USER_ID, USER_ID, follow_symlinks=False)

    assert users_home.refuses() == ".ssh is a link to a folder of somebody else"
    for call in (users_home.file.contents, users_home.file.check_writable):
        with pytest.raises(KeysUnwritable):
            call()
    assert (precious / "authorized_keys").read_bytes() == OTHER
    os.chown(precious, USER_ID, USER_ID)
    users_home.file.add(KEY)
    assert (precious / "authorized_keys").read_bytes() == OTHER + NEW


@pytest.mark.parametrize("through", ["one link", "another link"])
def test_root_is_not_led_elsewhere_by_a_user_s_link_to_a_file(
    users_home: Home, tmp_path: Path, through: str
):
    precious = tmp_path / "precious"
    precious.write_bytes(OTHER)
    precious.chmod(0o600)
    users_home.folder.mkdir()
    if through == "another link":
        (tmp_path / "step").symlink_to(precious)
    users_home.keys.symlink_to(precious if through == "one link" else tmp_path / "step")
    os.chown(users_home.keys, USER_ID, USER_ID, follow_symlinks=False)

    assert users_home.refuses() == "it is a link to a file of somebody else"
    for call in (users_home.file.contents, users_home.file.check_writable):
        with pytest.raises(KeysUnwritable, match="somebody else"):
            call()
    assert precious.read_bytes() == OTHER
    assert precious.stat().st_uid == 0


def test_a_link_to_a_pipe_is_left_alone_and_not_waited_for(home: Home):
    home.folder.mkdir()
    os.mkfifo(home.path / "pipe")
    home.keys.symlink_to("../pipe")

    assert home.refuses() == "it is not a file"


# -- what cannot be replaced --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_left_alone(home: Home, kind: str):
    home.folder.mkdir()
    home.keys.mkdir() if kind == "folder" else os.mkfifo(home.keys)

    assert home.refuses() == "it is not a file"
    with pytest.raises(KeysUnwritable):
        home.file.check_writable()


def test_a_folder_that_is_a_file_is_left_alone(home: Home):
    home.folder.write_bytes(b"notes")

    assert home.refuses() == "not a directory"
    assert home.folder.read_bytes() == b"notes"


@contextmanager
def mounted(target: Path, *options: str | Path) -> Iterator[None]:
    done = subprocess.run(
        ["mount", *map(str, options), str(target)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a file system of one's own needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_a_file_that_is_a_mount_point_is_left_alone(home: Home, tmp_path: Path):
    """As that of a container often is."""
    home.put(OTHER)
    (tmp_path / "outside").write_bytes(OTHER)
    with mounted(home.keys, "--bind", tmp_path / "outside"):
        assert home.refuses() == "it is a mount point, which nothing can replace"
        assert home.file.contents() == OTHER
    assert (tmp_path / "outside").read_bytes() == OTHER


@pytest.mark.parametrize("which", ["file", "folder"])
def test_a_file_that_nobody_may_change_is_left_alone(home: Home, which: str):
    home.put(OTHER)
    path = home.keys if which == "file" else home.folder
    lock = ["chattr", "+i", str(path)]
    if shutil.which("chattr") is None or subprocess.run(lock, capture_output=True).returncode:
        pytest.skip("locking a file needs root, chattr and a file system that knows it")
    try:
        assert home.refuses() == "operation not permitted"
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def test_a_file_system_that_is_read_only_can_be_read_and_is_left_alone(home: Home):
    with mounted(home.path, "-t", "tmpfs", "tmpfs"):
        home.put(OTHER)
        subprocess.run(["mount", "-o", "remount,ro", str(home.path)], check=True)

        assert home.file.contents() == OTHER
        assert home.refuses() == "read-only file system"
        with pytest.raises(KeysUnwritable, match="read-only"):
            home.file.check_writable()


@pytest.mark.parametrize("is_there", [True, False], ids=["file", "no folder"])
def test_a_full_disk_is_told_and_loses_nothing(home: Home, is_there: bool):
    with mounted(home.path, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        if is_there:
            home.put(OTHER * 40)
        filler = home.path / "filler"
        with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(KeysUnwritable, match="no space left"):
            home.file.check_writable()
        with pytest.raises(KeysUnwritable, match="no space left"):
            home.file.add(KEY)
        left = [name for name in home.names() if "authorized_keys" in name]
        assert left == ([".ssh/authorized_keys"] if is_there else [])
        if is_there:
            assert home.keys.read_bytes() == OTHER * 40

        filler.unlink()
        home.file.add(KEY)
        assert home.keys.read_bytes() == (OTHER * 40 if is_there else b"") + NEW


def test_a_file_too_large_to_be_one_of_keys_is_left_alone(home: Home):
    home.put(OTHER)
    os.truncate(home.keys, (64 << 20) + 1)

    with pytest.raises(KeysUnwritable, match="it is too large"):
        home.file.add(KEY)
    assert home.names() == [".ssh", ".ssh/authorized_keys"]


# -- others at the same time --------------------------------------------------------------------


def adder(folder: Path, home: Home, first: int, count: int) -> Process:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    command = [sys.executable, ADDER, home.path, str(first), str(count)]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return Process("adder", command, folder, environment, stdin=subprocess.PIPE)


def test_two_processes_that_add_at_once_lose_nothing_to_each_other(home: Home, tmp_path: Path):
    home.put(OTHER)
    processes = [adder(tmp_path, home, 1000 * number, 50) for number in (1, 2)]
    try:
        for process in processes:
            process.feed(b"go\n")
        for process in processes:
            process.ends_with(0)
    finally:
        for process in processes:
            process.stop()

    keys = [parse_line(line).blob for line in home.keys.read_bytes().splitlines()]
    wanted = [parse_line(OTHER).blob]
    wanted += [ed25519_key(1000 * number + n).blob for number in (1, 2) for n in range(50)]
    assert sorted(keys) == sorted(wanted)
    assert home.names() == [".ssh", ".ssh/authorized_keys"]


def test_a_line_that_another_program_appends_meanwhile_is_not_lost(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    home.put(OTHER)
    added = ed25519_line(3) + b"\n"
    real, appended = os.fsync, []

    def append_once(fd: int) -> None:
        real(fd)
        if not appended:
            appended.append(added)
            with open(home.keys, "ab") as file:
                file.write(added)

    monkeypatch.setattr(os, "fsync", append_once)

    assert home.file.add(KEY) is Standing.ABSENT
    assert home.keys.read_bytes() == OTHER + added + NEW
    assert home.names() == [".ssh", ".ssh/authorized_keys"]


def test_who_keeps_the_folder_locked_is_not_waited_for_without_end(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    home.put(OTHER)
    monkeypatch.setattr(replacing, "LOCK_S", 0.1)
    folder = os.open(home.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        assert home.refuses() == "another process keeps it locked"
    finally:
        os.close(folder)
    assert home.file.add(KEY) is Standing.ABSENT


def test_descriptors_are_closed_whatever_happens(home: Home):
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("this system does not tell which descriptors are open")
    before = count()
    test_a_link_that_leads_nowhere_is_told_and_left_alone(home, "authorized_keys")
    home.keys.unlink()
    home.keys.mkdir()
    home.refuses()
    home.keys.rmdir()
    home.file.check_writable()
    home.file.add(KEY)
    home.file.contents()

    assert count() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_that_is_killed_leaves_every_line_whole(
    home: Home, tmp_path: Path, is_full: bool
):
    """At most one file is left beside, that of the last one killed; the next run removes it."""
    # Notes are read at once, so that most of the time is that of writing.
    old = b"".join(b"# %d " % n + b"n" * 99 + b"\n" for n in range(20_000)) + OTHER
    home.put(old, 0o640)
    chance = random.Random(20)
    left_count = 0
    for number in range(200 if is_full else 10):
        process = adder(tmp_path, home, 100_000 + 1000 * number, 1000)
        try:
            process.feed(b"go\n")
            process.await_output(1)
            time.sleep(chance.random() * 0.05)  # any moment is as good as another
            process.send_signal(signal.SIGKILL)
            process.wait()
        finally:
            process.stop()

        contents = home.keys.read_bytes()
        assert contents.startswith(old)
        assert contents.endswith(b"\n")
        keys = {parse_line(line).blob for line in contents.removeprefix(old).splitlines()}
        told = process.stdout.rpartition(b"\n")[0].split()
        assert keys >= {ed25519_key(int(each)).blob for each in told}
        assert mode_of(home.keys) == 0o640
        left = set(home.names()) - {".ssh", ".ssh/authorized_keys"}
        assert len(left) <= 1, left
        left_count += len(left)

    assert home.file.add(KEY) is Standing.ABSENT
    assert home.names() == [".ssh", ".ssh/authorized_keys"]
    record_figure("killed while adding a key, with a file left beside", str(left_count), "recorded")


def test_what_a_killed_process_left_is_removed_and_nothing_else(home: Home):
    home.put(OTHER)
    left = ".authorized_keys.0123abcd.derphole"
    mine = (".authorized_keys.swp", f"{left}.old", "authorized_keys.0123abcd", f"x{left}")
    for name in (left, *mine):
        (home.folder / name).write_bytes(b"")

    home.file.contents()
    assert left in os.listdir(home.folder)
    home.file.add(KEY)

    assert sorted(os.listdir(home.folder)) == sorted(("authorized_keys", *mine))
