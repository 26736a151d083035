"""What a person is told of a transfer beside its progress and its receipt.  Pure."""

from collections.abc import Mapping

from derphole.speech.transfer_messages import NOT_KNOWN, Offer, Totals
from derphole.status import JsonValue, Level, Status, size_text
from derphole.transfer.names import shown
from derphole.transfer_status import Direction
from tunnel.units import ByteCount
from tunnel.values import frozen


@frozen
class Contents(Status):
    """What is sent or received, in words and as far as it is known.

    Args:
        direction: which way.
        what: such as 'file "photo.jpg"'.
        kind: in one word.
        name: of the file or folder.
        size: in bytes; None while nobody knows.
        entries: how many things; None while nobody knows.
        target: where it goes; None where it is sent.
    """

    event = "contents"
    direction: Direction
    what: str
    kind: str
    name: str
    size: ByteCount | None
    entries: int | None
    target: str | None = None

    @classmethod
    def of(
        cls, direction: Direction, what: str, offer: Offer, totals: Totals, target: str | None
    ) -> "Contents":
        """Return what is told of an offer."""
        is_known = totals.is_final and totals.size != NOT_KNOWN
        return cls(
            direction,
            what,
            offer.kind.name.lower(),
            shown(offer.name),
            totals.size if is_known else None,
            totals.entries if is_known else None,
            target,
        )

    @property
    def sentence(self) -> str:
        """What, how much, and where to."""
        verb = "sending" if self.direction is Direction.SENT else "receiving"
        much = []
        if self.entries is not None and self.kind in ("folder", "several"):
            much.append(f"{self.entries} {'entry' if self.entries == 1 else 'entries'}")
        if self.size is not None:
            much.append(size_text(self.size))
        amount = f" ({', '.join(much)})" if much else ""
        into = f" into {self.target}" if self.target is not None else ""
        return f"{verb} {self.what}{amount}{into}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, one by one."""
        return {
            "direction": self.direction.value,
            "kind": self.kind,
            "name": self.name,
            "bytes": self.size,
            "entries": self.entries,
            "target": self.target,
        }


@frozen
class EntryTold(Status):
    """Something about one file or folder of a transfer.

    Args:
        path: as it is shown.
        what: in one word: refused, skipped, renamed, changed, omitted.
        phrase: goes on from the path.
    """

    event = "entry"
    path: str
    what: str
    phrase: str

    @property
    def sentence(self) -> str:
        """Which, and what."""
        return f"{self.path} {self.phrase}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, one by one."""
        return {"path": self.path, "what": self.what, "message": self.sentence}


@frozen
class GoesOn(Status):
    """What an earlier run left counts: the transfer goes on behind it.

    Args:
        size: bytes that are held.
        entries: things that are finished.
    """

    event = "goes-on"
    size: ByteCount
    entries: int

    @property
    def sentence(self) -> str:
        """How much is there already."""
        much = f"{self.entries} finished entries and " if self.entries else ""
        return f"going on where it stopped: {much}{size_text(self.size)} are there already"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, one by one."""
        return {"bytes": self.size, "entries": self.entries, "message": self.sentence}


@frozen
class Planned(Status):
    """What `--dry-run` found.

    Args:
        what: such as 'file "photo.jpg"'.
        target: where it would go.
        would: what would happen there, a clause.
        size: bytes that would be written; None while nobody knows.
        free: bytes that are free there; None where that is not told.
    """

    event = "planned"
    level = Level.QUIET
    what: str
    target: str
    would: str
    size: ByteCount | None
    free: ByteCount | None

    @property
    def sentence(self) -> str:
        """What would happen."""
        needed = "an unknown size" if self.size is None else size_text(self.size)
        free = "" if self.free is None else f"; {size_text(self.free)} are free there"
        return (
            f"{self.what} would be {self.would} {self.target}, {needed}{free}; nothing was written"
        )

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, one by one."""
        return {
            "target": self.target,
            "would": self.would,
            "bytes": self.size,
            "free": self.free,
            "message": self.sentence,
        }
