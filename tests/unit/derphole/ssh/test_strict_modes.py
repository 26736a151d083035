"""What sshd makes of a path, in words and with what mends it.  The real one is asked in tests/e2e."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derphole.ssh.strict_modes import Part, refusals

ME, OTHER = 1000, 1001
HOME = "/home/me"
FILE = f"{HOME}/.ssh/authorized_keys"


def told(part: Part) -> list[tuple[str, str, bool]]:
    found = refusals([part], "me", ME)
    return [(each.sentence, each.command, each.is_everywhere) for each in found]


@pytest.mark.parametrize("owner", [0, ME])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o700, 0o1755])
def test_what_only_its_owner_can_write_is_fine(owner: int, mode: int):
    assert told(Part(FILE, owner, mode, is_folder=False)) == []
    assert told(Part(HOME, owner, mode, is_folder=True)) == []


@pytest.mark.parametrize(
    ("part", "sentence", "command"),
    [
        (
            Part(FILE, OTHER, 0o777, is_folder=False, is_usable=False),
            f"{FILE} belongs to somebody else than me and root: sshd takes no key from there",
            f"sudo chown me {FILE}",
        ),
        (
            Part(HOME, ME, 0o757, is_folder=True),
            f"{HOME} can be written by everybody: sshd takes no key from there",
            f"chmod go-w {HOME}",
        ),
        (
            Part(HOME, 0, 0o777, is_folder=True, is_private_group=True),
            f"{HOME} can be written by everybody: sshd takes no key from there",
            f"sudo chmod go-w {HOME}",
        ),
        (
            Part(HOME, ME, 0o775, is_folder=True),
            f"{HOME} can be written by its group: sshd takes no key from there",
            f"chmod g-w {HOME}",
        ),
        (
            Part(FILE, 0, 0o600, is_folder=False, is_usable=False),
            f"{FILE} cannot be read by me: sshd finds no key there",
            f"sudo chown me {FILE}",
        ),
        (
            Part(FILE, ME, 0o200, is_folder=False, is_usable=False),
            f"{FILE} cannot be read by me: sshd finds no key there",
            f"chmod u+rw {FILE}",
        ),
        (
            Part(HOME, ME, 0o600, is_folder=True, is_usable=False),
            f"{HOME} cannot be entered by me: sshd finds no key there",
            f"chmod u+rwx {HOME}",
        ),
        (
            Part("/home/a b", ME, 0o777, is_folder=True),
            "/home/a b can be written by everybody: sshd takes no key from there",
            "chmod go-w '/home/a b'",
        ),
        (
            Part("/tmp", 0, 0o1777, is_folder=True, link=FILE),
            "/tmp can be written by everybody: sshd takes no key from there",
            f"sudo cp -RpL {FILE} {FILE}.copy && sudo rm {FILE} && sudo mv {FILE}.copy {FILE}",
        ),
        (
            Part("/tmp/keys", ME, 0o666, is_folder=False, link=FILE),
            "/tmp/keys can be written by everybody: sshd takes no key from there",
            "chmod go-w /tmp/keys",
        ),
    ],
)
def test_what_is_refused_is_told_with_what_mends_it(part: Part, sentence: str, command: str):
    assert told(part) == [(sentence, command, True)]


def test_the_user_s_own_group_is_refused_by_some_alone():
    part = Part(HOME, ME, 0o775, is_folder=True, is_private_group=True)

    [(sentence, command, is_everywhere)] = told(part)

    assert "sshd of Debian takes keys from there, others do not" in sentence
    assert command == f"chmod g-w {HOME}"
    assert not is_everywhere


def test_what_can_be_written_by_others_and_not_read_by_the_user_is_told_twice():
    part = Part(FILE, ME, 0o222, is_folder=False, is_usable=False)

    assert [command for _, command, _ in told(part)] == [f"chmod go-w {FILE}", f"chmod u+rw {FILE}"]


def test_the_file_is_told_of_before_the_folders_above_it():
    parts = [Part(path, ME, 0o777, is_folder=path != FILE) for path in (FILE, HOME)]

    assert [each.command.split()[-1] for each in refusals(parts, "me", ME)] == [FILE, HOME]


PARTS = st.builds(
    Part,
    st.text(min_size=1, max_size=20),
    st.sampled_from([0, ME, OTHER]),
    st.integers(0, 0o7777),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.text(max_size=10),
)


@given(PARTS)
def test_a_part_is_fine_only_if_nobody_else_can_write_it_and_the_user_can_use_it(part: Part):
    found = list(refusals([part], "me", ME))

    is_fine = part.owner in (0, ME) and not part.mode & 0o022 and part.is_usable
    assert (found == []) == is_fine
    for each in found:
        assert part.path in each.sentence
        assert shlex.split(each.command)
