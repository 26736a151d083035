"""A real sshd and our file of keys: it lets in whom we add, and refuses what we say it refuses."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.real_sshd import Machine
from support.ssh_keys import make_key

from derphole.ssh.authorized_keys import MARK, Standing, spoilt_key, standing
from derphole.ssh.public_key import PublicKey, parse_public_key
from derphole.ssh.strict_modes import Refusal, refusals

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KINDS = [("ed25519", None), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048)]
MAX_MENDS = 6


@pytest.fixture(scope="module")
def shared_machine() -> Iterator[Machine]:
    machine = Machine()
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture
def machine(shared_machine: Machine) -> Machine:
    """A machine whose user has an empty home."""
    shared_machine.empty_home()
    return shared_machine


def key_of(path: Path) -> PublicKey:
    return parse_public_key(path.with_suffix(".pub").read_bytes())


# -- keys that are added ------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_a_key_that_root_adds_for_a_user_logs_in(
    machine: Machine, tmp_path: Path, kind: str, bits: int | None
) -> None:
    path = make_key(tmp_path / "key", kind, bits).with_suffix("")
    assert machine.login(path) is None
    machine.file.check_writable()

    assert machine.file.add(key_of(path)) is Standing.ABSENT

    assert list(refused(machine)) == []
    assert machine.login(path, "id -un") == machine.user
    assert machine.file.add(key_of(path)) is Standing.PRESENT
    assert machine.keys.read_text().splitlines() == [key_of(path).line]


@pytest.mark.parametrize(
    "before",
    [b"# note", MARK, b"ssh-ed25519 AAAA cut", b"# note\r\n", b"# note\r\n# more", b"\xff\0\n"],
)
def test_a_key_behind_whatever_was_there_logs_in(machine: Machine, before: bytes) -> None:
    put(machine, before)

    machine.file.add(key_of(machine.key))

    assert machine.login() == "in"


def test_a_key_behind_ten_thousand_others_logs_in(machine: Machine) -> None:
    line = key_of(machine.key).line.encode()
    put(machine, b"".join(b"restrict %s %d\n" % (line[:-8] + b"AAAA", n) for n in range(10_000)))

    machine.file.add(key_of(machine.key))

    assert machine.login() == "in"


FORCED = b'command="echo forced"'


@pytest.mark.parametrize(
    ("before", "behind", "how", "says"),
    [
        (b"", b"\n", Standing.PRESENT, "in"),
        (b"", b"", Standing.PRESENT, "in"),
        (b"", b"\r\n", Standing.PRESENT, "in"),
        (b" \t", b" \t\n", Standing.PRESENT, "in"),
        (FORCED + b" ", b"\n", Standing.RESTRICTED, "forced"),
        (FORCED + b",no-pty \t ", b"\r\n", Standing.RESTRICTED, "forced"),
        (b'environment="A=\\" b",' + FORCED + b" ", b"\n", Standing.RESTRICTED, "forced"),
        (b'from="192.0.2.1" ', b"\n", Standing.RESTRICTED, None),
        (b"#", b"\n", Standing.ABSENT, None),
        (b"\r", b"\n", Standing.ABSENT, None),
        (b"# note\r", b"\n", Standing.ABSENT, None),
        (MARK, b"\n", Standing.ABSENT, None),
        (b"two words ", b"\n", Standing.ABSENT, None),
        (b'command="no end ', b"\n", Standing.ABSENT, None),
        (b"cert-authority ", b"\n", Standing.ABSENT, None),
        (b'Cert-Authority,command="a" ', b"\n", Standing.ABSENT, None),
    ],
)
def test_a_line_counts_for_us_as_it_does_for_sshd(
    machine: Machine, before: bytes, behind: bytes, how: Standing, says: str | None
) -> None:
    key = key_of(machine.key)
    put(machine, before + key.line.encode() + behind)

    assert machine.login() == says
    assert standing(machine.keys.read_bytes(), key) is how
    assert machine.file.add(key) is how
    if how is Standing.ABSENT:
        assert machine.login() == "in"


def test_a_backslash_before_a_quote_ends_nothing_whatever_is_before_it(machine: Machine) -> None:
    key = key_of(machine.key)
    put(machine, b'environment="A=\\\\" b",' + FORCED + b" " + key.line.encode() + b"\n")

    assert machine.login() == "forced"
    assert machine.file.add(key) is Standing.RESTRICTED


def test_the_first_line_that_lets_in_is_the_one_that_counts(machine: Machine) -> None:
    line = key_of(machine.key).line.encode()
    put(machine, FORCED + b" " + line + b"\n" + line + b"\n")
    assert machine.login() == "forced"
    assert machine.file.add(key_of(machine.key)) is Standing.RESTRICTED

    put(machine, line + b"\n" + FORCED + b" " + line + b"\n")
    assert machine.login() == "in"
    assert machine.file.add(key_of(machine.key)) is Standing.PRESENT


def test_a_key_behind_a_byte_order_mark_is_named_and_lets_nobody_in(machine: Machine) -> None:
    put(machine, MARK + key_of(machine.key).line.encode() + b"\n")

    assert machine.login() is None
    assert spoilt_key(machine.file.contents()) == key_of(machine.key)


def put(machine: Machine, contents: bytes) -> None:
    folder = machine.keys.parent
    folder.mkdir(mode=0o700, exist_ok=True)
    machine.keys.write_bytes(contents)
    machine.keys.chmod(0o600)
    for path in (folder, machine.keys):
        machine.give(path)


# -- what StrictModes makes of it ---------------------------------------------------------------


def mode(where: str, bits: int, group: str = "") -> Callable[[Machine, Path], None]:
    """Set the mode of a part, and its group: one of the machine's, or the other user's."""

    def change(machine: Machine, outside: Path) -> None:
        path = machine.home / where
        name = machine.groups.get(group, machine.other)
        if group:
            shutil.chown(path, group=name)
        path.chmod(bits)

    return change


def owned(where: str, user: str, bits: int, group: str = "") -> Callable[[Machine, Path], None]:
    """Give a part away: to root, or to the other user."""

    def change(machine: Machine, outside: Path) -> None:
        path = machine.home / where
        names = {"other": machine.other, "user": machine.user, **machine.groups}
        shutil.chown(path, names.get(user, user), names.get(group or user, group or user))
        path.chmod(bits)

    return change


def linked(where: str, bits: int, is_outside: bool = False) -> Callable[[Machine, Path], None]:
    """Move the file, or its folder, into a folder with this mode, with a link in its place."""

    def change(machine: Machine, outside: Path) -> None:
        folder = (outside if is_outside else machine.home) / "kept"
        folder.mkdir()
        machine.give(folder)
        path = machine.home / where
        shutil.move(path, folder / "it")
        path.symlink_to(folder / "it")
        machine.give(path)
        folder.chmod(bits)

    return change


def home_linked(machine: Machine, outside: Path) -> None:
    shutil.move(machine.home, outside / "real")
    machine.home.symlink_to(outside / "real")


FILE = ".ssh/authorized_keys"
LETS_IN = {
    "as it was made": mode(".ssh", 0o700),
    "home for others to read": mode("", 0o755),
    "home for the user alone": mode("", 0o700),
    "home to pass through": mode("", 0o711),
    "home of root": owned("", "root", 0o755),
    "folder to read": mode(".ssh", 0o755),
    "folder without writing": mode(".ssh", 0o500),
    "folder of root to pass": owned(".ssh", "root", 0o755),
    "file to read": mode(FILE, 0o644),
    "file without writing": mode(FILE, 0o400),
    "file of a group": mode(FILE, 0o640, "other's"),
    "file of root to read": owned(FILE, "root", 0o644),
    "file of root for the group": owned(FILE, "root", 0o640, "user"),
    "folder is a link into the home": linked(".ssh", 0o700),
    "file is a link into the home": linked(FILE, 0o755),
    "file is a link outside": linked(FILE, 0o755, is_outside=True),
    "home is a link": home_linked,
}
LETS_IN_ON_DEBIAN = {
    "home for the own group": mode("", 0o775),
    "folder for the own group": mode(".ssh", 0o770),
    "file for the own group": mode(FILE, 0o660),
    "home of root for the own group": owned("", "root", 0o775, "user"),
    "home for a group with the user in it": mode("", 0o775, "own"),
}
REFUSED = {
    "home for everybody": mode("", 0o777),
    "home for everybody, sticky": mode("", 0o1777),
    "home for the other's group": mode("", 0o775, "other's"),
    "home for a group with both": mode("", 0o775, "both"),
    "home for a group with nobody": mode("", 0o775, "none"),
    "home of root for a group with the user in it": owned("", "root", 0o775, "own"),
    "home of the other": owned("", "other", 0o755),
    "home that cannot be entered": mode("", 0o600),
    "home of root that cannot be entered": owned("", "root", 0o700),
    "folder for everybody": mode(".ssh", 0o777),
    "folder for the other's group": mode(".ssh", 0o770, "other's"),
    "folder of the other": owned(".ssh", "other", 0o755),
    "folder that cannot be entered": mode(".ssh", 0o600),
    "folder of root": owned(".ssh", "root", 0o700),
    "file for everybody": mode(FILE, 0o666),
    "file for the other's group": mode(FILE, 0o660, "other's"),
    "file of the other": owned(FILE, "other", 0o644),
    "file of root": owned(FILE, "root", 0o600),
    "file of root and another group": owned(FILE, "root", 0o640, "other"),
    "file for nobody": mode(FILE, 0o000),
    "file to write alone": mode(FILE, 0o200),
    "file for everybody to write alone": mode(FILE, 0o222),
    "folder is a link to an open one": linked(".ssh", 0o777),
    "file is a link into an open one": linked(FILE, 0o777),
    "file is a link to an open one outside": linked(FILE, 0o777, is_outside=True),
    "folder is a link to an open one outside": linked(".ssh", 0o1777, is_outside=True),
    "file is a link to what cannot be entered": linked(FILE, 0o600, is_outside=True),
}
CASES = {**LETS_IN, **LETS_IN_ON_DEBIAN, **REFUSED}


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder above which nobody but root can write, unlike those in /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="derphole-sshd-", dir="/var/lib"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def refused(machine: Machine) -> Iterator[Refusal]:
    return refusals(machine.file.parts(), machine.user, machine.account.user_id)


@pytest.mark.parametrize("name", CASES)
def test_what_we_foresee_is_what_sshd_does_and_what_we_advise_mends_it(
    machine: Machine, outside: Path, name: str
) -> None:
    machine.file.add(key_of(machine.key))
    CASES[name](machine, outside)

    found = list(refused(machine))
    is_let_in = not any(each.is_everywhere or not machine.is_debian for each in found)
    assert is_let_in == (machine.login() == "in"), found
    assert is_let_in == (name not in REFUSED or (name in LETS_IN_ON_DEBIAN and machine.is_debian))
    assert bool(found) == (name not in LETS_IN), found

    for _ in range(MAX_MENDS):
        advice = next(refused(machine), None)
        if advice is None:
            break
        machine.carry_out(advice.command)
    assert list(refused(machine)) == []
    assert machine.login() == "in"
    assert machine.file.add(key_of(machine.key)) is Standing.PRESENT


def test_what_is_outside_of_the_home_is_left_as_it_is(machine: Machine, outside: Path) -> None:
    machine.file.add(key_of(machine.key))
    linked(FILE, 0o1777, is_outside=True)(machine, outside)
    outside.chmod(0o1777)

    for advice in refused(machine):
        assert str(outside) not in advice.command.replace(str(machine.home), "")
        assert str(outside) in advice.sentence
    machine.carry_out(next(refused(machine)).command)

    assert os.stat(outside).st_mode & 0o7777 == 0o1777
    assert (outside / "kept" / "it").exists()
    assert not machine.keys.is_symlink()
    assert machine.login() == "in"
