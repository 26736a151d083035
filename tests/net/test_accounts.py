"""Accounts as the user database has them, and what they may do with real files."""

import os
import pwd
from pathlib import Path

import pytest

from derphole.edges.accounts import Account, account_named, is_private_group, may_use
from derphole.errors import AccountUnknown

pytestmark = pytest.mark.net

NOBODY_S = 54321  # a number that no account and no group has


def test_an_account_is_found_by_its_name_and_ours_without_one():
    entry = pwd.getpwuid(os.geteuid())

    own = account_named(None)

    assert own == account_named(entry.pw_name)
    assert own == Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)


def test_the_home_is_that_of_the_database_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("HOME", "/elsewhere")

    assert account_named(None).home == pwd.getpwuid(os.geteuid()).pw_dir


def test_a_name_that_nobody_has_is_told():
    with pytest.raises(AccountUnknown, match="this machine has no user no-such-user-here"):
        account_named("no-such-user-here")


def test_a_group_that_is_in_no_database_is_nobody_s(tmp_path: Path):
    status = list(tmp_path.stat())
    status[5] = NOBODY_S

    assert not is_private_group(os.stat_result(status), account_named(None))


@pytest.mark.parametrize(
    ("mode", "is_owner", "is_file_fine", "is_folder_fine"),
    [
        (0o400, True, True, False),
        (0o100, True, False, True),
        (0o077, True, False, False),
        (0o004, False, True, False),
        (0o001, False, False, True),
        (0o770, False, False, False),
    ],
)
def test_what_an_account_may_use_is_told_by_the_permissions(
    tmp_path: Path, mode: int, is_owner: bool, is_file_fine: bool, is_folder_fine: bool
):
    account = Account(pwd.getpwuid(os.geteuid()).pw_name, NOBODY_S, NOBODY_S, "/nowhere")
    (tmp_path / "file").write_bytes(b"")
    for path, is_fine in ((tmp_path / "file", is_file_fine), (tmp_path, is_folder_fine)):
        status = list(path.stat())
        status[0] = status[0] & ~0o7777 | mode
        status[4] = NOBODY_S if is_owner else NOBODY_S + 1
        status[5] = NOBODY_S + 2
        assert may_use(os.stat_result(status), account) == is_fine


def test_root_may_use_everything(tmp_path: Path):
    status = list(tmp_path.stat())
    status[0] &= ~0o7777

    assert may_use(os.stat_result(status), Account("root", 0, 0, "/root"))


@pytest.mark.parametrize(
    ("shell", "lets_in"),
    [("/bin/sh", True), ("/usr/sbin/nologin", False), ("/bin/false", False), ("", True)],
)
def test_a_shell_that_only_ends_lets_nobody_in(shell: str, lets_in: bool) -> None:
    assert Account("me", 1000, 1000, "/home/me", shell).lets_in is lets_in
