"""Accounts of this machine, as the user database has them."""

import os
import stat

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
        shell: that a login starts.
    """

    name: str
    user_id: int
    group_id: int
    home: str
    shell: str = ""

    @property
    def lets_in(self) -> bool:
        """Whether its shell is one, and not a program that only ends."""
        return os.path.basename(self.shell) not in ("nologin", "false")


def account_named(user: str | None) -> Account:
    """Return an account, that of this process for None; raises `AccountUnknown`."""
    import pwd  # late: Windows has none

    try:
        entry = pwd.getpwuid(os.geteuid()) if user is None else pwd.getpwnam(user)
    except KeyError as error:
        raise AccountUnknown(f"number {os.geteuid()}" if user is None else user) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)


def is_private_group(status: os.stat_result, account: Account) -> bool:
    """Tell whether Debian's sshd takes the group of a file for that of the user alone.

    It is the group of no other user, and names nobody but the owner of the file.
    """
    import grp  # late: Windows has neither
    import pwd

    try:
        group = grp.getgrgid(status.st_gid)
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return False
    members = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == status.st_gid}
    if not members <= {account.user_id} or group.gr_mem not in ([], [owner]):
        return False
    return bool(members or group.gr_mem)


def may_use(status: os.stat_result, account: Account) -> bool:
    """Tell whether an account may read a file, or enter a folder, by its permissions."""
    if account.user_id == 0:
        return True
    wanted = stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH
    if status.st_uid == account.user_id:
        return bool(status.st_mode & (wanted << 6))
    groups = os.getgrouplist(account.name, account.group_id)
    return bool(status.st_mode & (wanted << 3 if status.st_gid in groups else wanted))
