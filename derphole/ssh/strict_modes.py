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


@frozen
class Part:
    """A file or folder on the way.

    Args:
        path: as a person may type it.
        owner: its user id.
        mode: its permissions.
        is_folder: whether it is one.
        is_private_group: whether its group has the user in it and nobody else.
        is_usable: whether the user may read the file, or enter the folder.
        link: what leads there, where it is outside of the home: not the user's to change.
    """

    path: str
    owner: int
    mode: int
    is_folder: bool
    is_private_group: bool = False
    is_usable: bool = True
    link: str = ""


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
        if part.owner not in (ROOT_ID, user_id):
            yield Refusal(
                f"{part.path} belongs to somebody else than {user} and root: sshd takes no key "
                "from there",
                _command(part, f"sudo chown {shlex.quote(user)} {shlex.quote(part.path)}"),
            )
            continue
        refusal = _of_mode(part, user, user_id)
        if refusal is not None:
            yield refusal
        if not part.is_usable:
            yield _of_use(part, user, user_id)


def _of_mode(part: Part, user: str, user_id: int) -> Refusal | None:
    """Return who else can write there."""
    path = shlex.quote(part.path)
    chmod = "chmod" if part.owner == user_id else "sudo chmod"
    if part.mode & OTHERS_WRITE:
        return Refusal(
            f"{part.path} can be written by everybody: sshd takes no key from there",
            _command(part, f"{chmod} go-w {path}"),
        )
    if part.mode & GROUP_WRITES and part.is_private_group:
        return Refusal(
            f"{part.path} can be written by the group of {user}: sshd of Debian takes keys from "
            "there, others do not",
            _command(part, f"{chmod} g-w {path}"),
            is_everywhere=False,
        )
    if part.mode & GROUP_WRITES:
        return Refusal(
            f"{part.path} can be written by its group: sshd takes no key from there",
            _command(part, f"{chmod} g-w {path}"),
        )
    return None


def _of_use(part: Part, user: str, user_id: int) -> Refusal:
    """Return what keeps the user, as whom sshd reads the file, out."""
    path = shlex.quote(part.path)
    what, mode = ("entered", "u+rwx") if part.is_folder else ("read", "u+rw")
    mend = f"chmod {mode} {path}"
    if part.owner != user_id:
        mend = f"sudo chown {shlex.quote(user)} {path}"
    return Refusal(
        f"{part.path} cannot be {what} by {user}: sshd finds no key there",
        _command(part, mend),
    )


def _command(part: Part, mend: str) -> str:
    """Return what mends a part: for a folder outside of the home, a copy in place of the link."""
    if not part.link or not part.is_folder:
        return mend
    link, copy = shlex.quote(part.link), shlex.quote(f"{part.link}.copy")
    return f"sudo cp -RpL {link} {copy} && sudo rm {link} && sudo mv {copy} {link}"
