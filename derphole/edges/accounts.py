"""Accounts of this machine, as the user database has them."""

import grp
import os
import pwd

from derphole.errors import AccountUnknown
from tunnel.values import frozen


@frozen
class Account:
    """Who can log in.

    Args:
        name: of the user.
        user_id: the same as a number.
        group_id: of the user's own group.
        home: where sshd looks for keys, whatever HOME says.
    """

    name: str
    user_id: int
    group_id: int
    home: str


def account_named(user: str | None) -> Account:
    """Return an account, that of this process for None; raises `AccountUnknown`."""
    try:
        entry = pwd.getpwuid(os.geteuid()) if user is None else pwd.getpwnam(user)
    except KeyError as error:
        raise AccountUnknown(f"number {os.geteuid()}" if user is None else user) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def is_private_group(group_id: int, account: Account) -> bool:
    """Tell whether a group has an account in it and nobody else."""
    try:
        group = grp.getgrgid(group_id)
    except KeyError:
        return False
    primary = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == group_id}
    others = [name for name in group.gr_mem if name != account.name]
    is_in_it = bool(primary) or bool(group.gr_mem)
    return is_in_it and not others and primary <= {account.user_id}


def may_read(status: os.stat_result, account: Account) -> bool:
    """Tell whether an account may read a file, by its permissions."""
    if account.user_id == 0:
        return True
    if status.st_uid == account.user_id:
        return bool(status.st_mode & 0o400)
    groups = os.getgrouplist(account.name, account.group_id)
    return bool(status.st_mode & (0o040 if status.st_gid in groups else 0o004))
