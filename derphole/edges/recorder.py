"""Who is told of what is written while it is written, to keep a journal of it."""

from typing import Protocol

from derphole.transfer.entries import Entry
from tunnel.units import ByteCount


class Recorder(Protocol):
    """Who keeps a journal of what is written; called in the thread that writes."""

    def began(self, entry: Entry, offset: ByteCount) -> None:
        """A file begins at an offset; its temporary file is there."""

    def finished(self, entry: Entry) -> None:
        """An entry is complete; a file stands under its temporary name and gets its own next."""


class NoRecorder:
    """Keeps no journal."""

    def began(self, entry: Entry, offset: ByteCount) -> None:
        """Forget it."""

    def finished(self, entry: Entry) -> None:
        """Forget it."""
