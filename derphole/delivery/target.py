"""Target: where what is received goes, behind one face: what is held, bytes, pieces, the end.

    FileTarget      one file: `derphole.delivery.file_target`
    TreeTarget      an archive: `derphole.delivery.tree_target`
    StreamTarget    standard output, as the bytes come
    WordsTarget     text on a terminal, made visible

Calls block the greenlet only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from derphole.edges.stdio import ByteSink
from derphole.errors import (
    SinkFailed,
)
from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import Checked, Part
from derphole.transfer.outcome import Received
from tunnel.errors import MisuseError
from tunnel.units import Buffer, ByteCount

# Chosen.
MAX_SHOWN_TEXT: ByteCount = 1 << 20  # of text on a terminal; a longer one belongs into a file


class Target(ABC):
    """Where one transfer goes.

    Attributes:
        shown: what a person calls it.
        would: what would happen there, as in "would be ... TARGET".
        keeps_what_came: whether a later run can go on with what was written.
        goes_on: whether an earlier run left something of it.
        has_changed: whether what an earlier run left is of no use, since the source has changed.
    """

    shown = "standard output"
    would = "written to"
    keeps_what_came = False
    has_changed = False
    goes_on = False

    @property
    def stored(self) -> ByteCount:
        """Bytes of contents that are written, those of earlier runs included."""
        return 0

    @property
    def received(self) -> Received:
        """What became of the entries."""
        return Received()

    @property
    def free(self) -> ByteCount | None:
        """Bytes that are free there; None where that is not told."""
        return None

    def check(self, needed: ByteCount | None) -> None:
        """Raise `NotTaken` where nothing can be written, or not so much."""
        del needed

    def parts(self) -> list[Part]:
        """Return what is held of begun entries."""
        return []

    def finished_keys(self) -> Iterator[Sequence[bytes]]:
        """Yield the keys of entries that are finished by size and time, some at a time."""
        return iter(())

    def checked_files(self) -> Iterator[Sequence[Checked]]:
        """Yield finished files whose content is to be compared, read as they stand there."""
        return iter(())

    def begin(self, *, goes_on: bool, claimed: Callable[[bytes], ByteCount]) -> None:
        """Get ready to write.

        Args:
            goes_on: whether what is held counts.
            claimed: tells how much of an entry was claimed.
        """
        del goes_on, claimed

    @abstractmethod
    def write(self, chunks: Sequence[Buffer]) -> None:
        """Write the next bytes."""

    def piece(self, piece: Piece) -> bytes:
        """Return what is held of an entry, as it stands there."""
        raise MisuseError("nothing is held here")  # and so nothing of it was claimed

    def repair(self, key: bytes, offset: ByteCount, data: Buffer) -> None:
        """Write over what is held of an entry."""
        raise MisuseError("nothing is held here")  # and so nothing of it was claimed

    @abstractmethod
    def finish(self) -> None:
        """Keep what was written, which agrees with what was sent."""

    def close(self) -> None:
        """Let go of everything; what is not finished stays for a later run, if one can go on."""
        return


class StreamTarget(Target):
    """Standard output.

    Args:
        sink: it stays the caller's.
    """

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self.shown = sink.name

    @property
    def stored(self) -> ByteCount:
        """Bytes that are written."""
        return self._sink.bytes_written

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Write the next bytes."""
        self._sink.write(chunks)

    def finish(self) -> None:
        """Have the system keep them."""
        self._sink.flush()


class WordsTarget(Target):
    """Text on a terminal, shown when all of it is there.

    Args:
        show: shows lines in which everything that is no letter is spelled out.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._data = bytearray()

    @property
    def stored(self) -> ByteCount:
        """Bytes that came."""
        return len(self._data)

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Keep the next bytes."""
        for chunk in chunks:
            self._data += chunk
        if len(self._data) > MAX_SHOWN_TEXT:
            raise SinkFailed("the terminal", "the text is too long to be shown; use -o FILE")

    def finish(self) -> None:
        """Show it."""
        self._show(self._data.decode("utf-8", "backslashreplace"))
