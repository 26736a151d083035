"""What happens where something is already: the person's policy, and what follows from it.  Pure."""

from enum import Enum

from derphole.transfer.entries import Kind


class Present(Enum):
    """What a name stands for before anything is written there; no link is followed."""

    NOTHING = "nothing"
    FILE = "a file"
    FOLDER = "a folder"
    LINK = "a symbolic link"
    OTHER = "a device, a named pipe or a socket"


class Policy(Enum):
    """What a person wants where something is already."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"  # files are replaced, folders are filled up; neither becomes the other
    RENAME = "rename"  # `NAME (1)`
    SKIP = "skip"  # files stay as they are, folders are filled up


class Placement(Enum):
    """What is done with one entry."""

    NEW = "new"  # and never over what appears meanwhile
    REPLACE = "replace"
    ENTER = "enter"  # a folder that is there
    OTHER_NAME = "other name"
    SKIP = "skip"
    REFUSE = "refuse"


def placement(kind: Kind, present: Present, policy: Policy, *, is_ours: bool) -> Placement:
    """Decide about one entry.

    Args:
        kind: of the entry.
        present: what is there under its name.
        policy: what the person wants.
        is_ours: whether what is there came from an earlier run of the same transfer.
    """
    if present is Present.NOTHING:
        return Placement.NEW
    if is_ours and kind is Kind.FOLDER and present is Present.FOLDER:
        return Placement.ENTER
    if is_ours and kind is not Kind.FOLDER and present in (Present.FILE, Present.LINK):
        return Placement.REPLACE
    if policy is Policy.RENAME:
        return Placement.OTHER_NAME
    if Kind.FOLDER is kind and present is Present.FOLDER:
        return Placement.REFUSE if policy is Policy.REFUSE else Placement.ENTER
    if policy is Policy.SKIP:
        return Placement.SKIP
    is_replaceable = kind is not Kind.FOLDER and present in (Present.FILE, Present.LINK)
    if policy is Policy.OVERWRITE and is_replaceable:
        return Placement.REPLACE
    return Placement.REFUSE
