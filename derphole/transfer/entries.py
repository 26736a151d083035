"""What a tree consists of: folders, files and symbolic links, as values.  Pure."""

from enum import Enum, IntEnum
from hashlib import blake2b
from typing import NamedTuple

from derphole.speech.transfer_messages import KEY_SIZE
from tunnel.units import ByteCount

# Fixed by the protocol.
KEY_PERSONALISATION = b"derphole entry"
NANOSECONDS = 1_000_000_000
PERMISSIONS = 0o777  # set-id and sticky bits never travel


class EntryType(IntEnum):
    """What an entry is."""

    FILE = 1
    FOLDER = 2
    LINK = 3


class Entry(NamedTuple):
    """One file, folder or symbolic link.

    Attributes:
        path: relative, checked by `names.path_fault`; its first part is the name of what was sent.
        type: what it is.
        size: bytes of a file, holes included; 0 for all others.
        mtime_ns: nanoseconds since 1970; may be negative.
        mode: permissions, 0 to 0o777.
        target: what a symbolic link points to, else empty.
    """

    path: bytes
    type: EntryType
    size: ByteCount = 0
    mtime_ns: int = 0
    mode: int = 0
    target: bytes = b""

    @property
    def name(self) -> bytes:
        """The last part of the path."""
        return self.path.rpartition(b"/")[2]

    @property
    def key(self) -> bytes:
        """16 bytes over everything above: with any change it is another entry.

        Raises `OverflowError` for numbers that do not fit.
        """
        numbers = (
            self.type.to_bytes(1, "little")
            + self.mode.to_bytes(2, "little")
            + self.size.to_bytes(8, "little")
            + self.mtime_ns.to_bytes(8, "little", signed=True)
            + len(self.path).to_bytes(4, "little")
        )
        hashed = blake2b(digest_size=KEY_SIZE, person=KEY_PERSONALISATION)
        hashed.update(numbers + self.path + self.target)
        return hashed.digest()


class Extent(NamedTuple):
    """Bytes of a file that are not in a hole: where, and how many."""

    offset: ByteCount
    size: ByteCount


class Change(Enum):
    """What befell a file while it was read; the value is what the archive says of it."""

    GREW = "grew"  # only its first bytes, as many as it had at first, were taken
    SHRANK = "shrank"  # it ends earlier than was announced
    WRITTEN = "written"  # it has the same size, and another time of change
    BROKEN = "broken"  # it could not be read to its end: what was taken is no copy


class Ending(NamedTuple):
    """How a file of an archive ended.

    Attributes:
        size: bytes that it has.
        change: what befell it at the source, if anything did.
    """

    size: ByteCount
    change: Change | None = None


def link_fault(path: bytes, target: bytes) -> str | None:
    """Say why a symbolic link is not made, as a phrase that follows it; None for a good one.

    A link may point to whatever is in the tree that it came in.  The folders above it are real
    ones, so `..` at the front of a target means what it says; behind a name it would start from
    wherever that name leads, which may be another link.
    """
    if not target:
        return "points nowhere"
    if b"\0" in target:
        return "has a NUL in what it points to"
    if target.startswith(b"/"):
        return "points to a path from the root of the file system"
    depth = path.count(b"/")  # folders above it, the outermost one included
    if not depth:
        return "is not in a folder that is sent"
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    if b".." in parts[ups:]:
        return "has .. behind a name in what it points to"
    if ups >= depth:
        return "points out of what is sent"
    return None
