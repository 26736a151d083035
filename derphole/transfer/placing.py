"""What happens where something is already: the person's policy, and what follows from it.  Pure."""

from enum import Enum

from derphole.transfer.entries import EntryType


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


def placement(type_: EntryType, present: Present, policy: Policy, *, is_ours: bool) -> Placement:
    """Decide about one entry.

    Args:
        type_: of the entry.
        present: what is there under its name.
        policy: what the person wants.
        is_ours: whether what is there came from an earlier run of the same transfer.
    """
    is_folder = type_ is EntryType.FOLDER
    is_folder_there = present is Present.FOLDER
    is_replaceable = not is_folder and present in (Present.FILE, Present.LINK)
    if present is Present.NOTHING:
        return Placement.NEW
    if is_ours and (is_replaceable or (is_folder and is_folder_there)):
        return Placement.ENTER if is_folder else Placement.REPLACE
    if policy is Policy.RENAME:
        return Placement.OTHER_NAME
    if policy is Policy.REFUSE:
        return Placement.REFUSE
    if is_folder and is_folder_there:
        return Placement.ENTER
    if policy is Policy.SKIP:
        return Placement.SKIP
    return Placement.REPLACE if is_replaceable else Placement.REFUSE
