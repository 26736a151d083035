"""What is told of a tree that was sent or received, beside that it is there.  Pure."""

from dataclasses import dataclass, field

from derphole.transfer.entries import Entry, EntryType
from tunnel.units import ByteCount

# Chosen.
MAX_TOLD = 1000  # entries that are named; more are counted


@dataclass(slots=True)
class Told:
    """Entries and what is said of each.

    Attributes:
        first: path, and a phrase that goes on from it; `MAX_TOLD` at most.
        count: of all of them.
    """

    first: list[tuple[bytes, str]] = field(default_factory=list)
    count: int = 0

    def add(self, path: bytes, phrase: str) -> None:
        """Count one, and keep it while there is room."""
        self.count += 1
        if len(self.first) < MAX_TOLD:
            self.first.append((path, phrase))


@dataclass(slots=True)
class Totals:
    """How much there is; the counts only grow.

    Attributes:
        files, folders, links: of each kind.
        size: bytes of the files.
    """

    files: int = 0
    folders: int = 0
    links: int = 0
    size: ByteCount = 0

    def add(self, entry: Entry) -> None:
        """Count one."""
        if entry.type is EntryType.FILE:
            self.files += 1
            self.size += entry.size
        elif entry.type is EntryType.FOLDER:
            self.folders += 1
        else:
            self.links += 1


@dataclass(slots=True)
class Received:
    """What became of an archive so far.

    Attributes:
        made: entries that stand under their names, and their bytes.
        stored: bytes of files that were written, those held from an earlier run included.
        refused: entries that were not made, and why; what is in a folder is told with it.
        skipped: entries that were left as they are, as the person wanted.
        renamed: entries that got another name.
        changed: files that changed at the source while they were read.
    """

    made: Totals = field(default_factory=Totals)
    stored: ByteCount = 0
    refused: Told = field(default_factory=Told)
    skipped: Told = field(default_factory=Told)
    renamed: Told = field(default_factory=Told)
    changed: Told = field(default_factory=Told)


@dataclass(slots=True)
class Sent:
    """What became of a tree so far.

    Attributes:
        sent: entries that are in the archive.
        omitted: entries that are not, and why.
        changed: files that changed while they were read.
    """

    sent: Totals = field(default_factory=Totals)
    omitted: Told = field(default_factory=Told)
    changed: Told = field(default_factory=Told)
