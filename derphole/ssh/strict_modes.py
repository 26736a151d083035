"""What sshd, with its StrictModes, makes of the path to an authorized_keys file.

Every part from the file up to the home, or up to the root where the file is elsewhere, must belong
to the user or to root, and may be written by nobody else.  Debian's sshd lets the group write where
it is the user's own and has nobody else in it; others, and dropbear, do not.  Pure.  Source:
sshd_config(5), "StrictModes"; seen with OpenSSH 9.2p1 of Debian and dropbear 2022.83.
"""

import shlex
from collections.abc import Iterable, Iterator

from tunnel.values import frozen

ROOT_ID = 0
GROUP_WRITES, OTHERS_WRITE = 0o020, 0o002
OWNER_READS, GROUP_READS, OTHERS_READ = 0o400, 0o040, 0o004


@frozen
class Part:
    """A file or folder on the way.

    Args:
        path: as a person may type it.
        owner: its user id.
        mode: its permissions.
        is_folder: whether it is one.
        is_private_group: whether its group has the user in it and nobody else.
        is_readable: whether the user may read the file.
    """

    path: str
    owner: int
    mode: int
    is_folder: bool
    is_private_group: bool = False
    is_readable: bool = True


@frozen
class Refusal:
    """Why a key would not be taken.

    Args:
        sentence: what is wrong, for a person.
        command: mends it.
        is_everywhere: whether every sshd refuses it, and not only some.
    """

    sentence: str
    command: str
    is_everywhere: bool = True


def refusals(parts: Iterable[Part], user: str, user_id: int) -> Iterator[Refusal]:
    """Yield what is wrong, from the file up.

    Args:
        parts: the file, if it is there, then the folders above it.
        user: who wants to log in.
        user_id: the same as a number.
    """
    for part in parts:
        path = shlex.quote(part.path)
        if part.owner not in (ROOT_ID, user_id):
            yield Refusal(
                f"{part.path} belongs to somebody else than {user} and root: sshd takes no key "
                "from there",
                f"sudo chown {shlex.quote(user)} {path}",
            )
        elif part.mode & OTHERS_WRITE:
            yield Refusal(
                f"{part.path} can be written by everybody: sshd takes no key from there",
                f"chmod go-w {path}",
            )
        elif part.mode & GROUP_WRITES:
            yield _of_group(part, path, user)
        elif not part.is_folder and not part.is_readable:
            yield Refusal(
                f"{part.path} cannot be read by {user}: sshd finds no key there",
                f"sudo chown {shlex.quote(user)} {path}",
            )


def _of_group(part: Part, path: str, user: str) -> Refusal:
    if part.is_private_group:
        return Refusal(
            f"{part.path} can be written by the group of {user}: sshd of Debian takes keys from "
            "there, others do not",
            f"chmod g-w {path}",
            is_everywhere=False,
        )
    return Refusal(
        f"{part.path} can be written by its group: sshd takes no key from there",
        f"chmod g-w {path}",
    )
