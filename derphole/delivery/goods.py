"""Goods: what is sent, behind one face: an offer, bytes from where the other side's end on, pieces.

    OneFileGoods    a file                      goes on where it stopped
    TreeGoods       a folder, or several things goes on where it stopped
    StreamGoods     standard input
    TextGoods       words

Nothing is read before `begin`, but what is counted of a tree, beside everything else.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from gevent.event import Event

from derphole.edges.archive_source import CHANGES as TREE_CHANGES
from derphole.edges.one_file import OneFile, content_digest, read_stretch
from derphole.edges.source_tree import OPEN_FILE, Source, clamped_time
from derphole.edges.stdio import ByteSource
from derphole.edges.trees import TreeSource, TreeSurvey
from derphole.edges.worker import Worker
from derphole.errors import SourceFailed
from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import NOT_KNOWN, Kind, Offer, Totals
from derphole.transfer.entries import PERMISSIONS, Entry
from derphole.transfer.held import Held
from derphole.transfer.names import shown
from derphole.transfer.offer import NO_SOURCE, file_key, source_id
from derphole.transfer.outcome import Told
from tunnel.units import MIB, Buffer, ByteCount
from tunnel.values import replace

# Chosen.
TEXT_READ: ByteCount = MIB


class Goods(ABC):
    """What is sent over one link; made anew for each.

    Attributes:
        is_repeatable: whether it can be read once more, over another link.
        offer: what the other side is told first.
        has_counted: set whenever `totals` may have changed.

    Args:
        offer: what it is.
    """

    is_repeatable = True

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.has_counted = Event()

    @property
    def totals(self) -> Totals:
        """How much there is, as far as it is counted."""
        return Totals(self.offer.entries, self.offer.size, is_final=True)

    @property
    def total(self) -> ByteCount | None:
        """All bytes, those held by the other side included; None while nobody knows."""
        totals = self.totals
        return totals.size if totals.is_final and totals.size != NOT_KNOWN else None

    @property
    def held_size(self) -> ByteCount:
        """Bytes that are not sent, since the other side has them."""
        return 0

    @property
    def omitted(self) -> Told:
        """What was not sent, and why."""
        return Told()

    @property
    def changed(self) -> Told:
        """What changed while it was read, and how."""
        return Told()

    def begin(self, held: Held | None) -> None:
        """Read from the beginning on, or behind what the other side holds."""
        del held

    @abstractmethod
    def read(self) -> Buffer:
        """Return the next bytes; b'' at the end.  Raises `SourceFailed`."""

    def met(self) -> Iterator[tuple[bytes, ByteCount]]:
        """Yield key and size of entries of which something is held, as far as they were reached."""
        return iter(())

    def piece(self, piece: Piece) -> bytes | None:
        """Return what is held of an entry, as the source has it now."""
        del piece
        return None

    def close(self) -> None:
        """Let go of everything."""
        return


class OneFileGoods(Goods):
    """A file.

    Args:
        file: open; closed with this.
        source: see `Offer`.
        name: what it is called.
    """

    def __init__(self, file: OneFile, source: bytes, name: bytes) -> None:
        status = file.status
        offer = Offer(
            Kind.FILE,
            source,
            name,
            1,
            status.st_size,
            status.st_mode & PERMISSIONS,
            clamped_time(status.st_mtime_ns),
        )
        super().__init__(offer)
        self._file = file
        self._held: ByteCount = 0
        self._is_there = False
        self._is_met = False
        self._has_ended = False

    @property
    def held_size(self) -> ByteCount:
        """Bytes that are not sent."""
        return self._held

    @property
    def changed(self) -> Told:
        """What befell it while it was read."""
        told = Told()
        change = self._file.change() if self._has_ended and not self._is_there else None
        if change is not None:
            told.add(self.offer.name, TREE_CHANGES[change])
        return told

    def begin(self, held: Held | None) -> None:
        """Read behind what is held; nothing where the other side has all of it."""
        if held is None:
            return
        key = file_key(self.offer)
        self._is_there = held.has(key, self._file.digest)
        self._is_met = not self._is_there and held.claims.held(key) > 0
        self._held = self.offer.size if self._is_there else held.claims.held(key)
        self._file.begin(self._held)

    def read(self) -> Buffer:
        """Return the next bytes."""
        data = self._file.read()
        self._has_ended = not data
        return data

    def met(self) -> Iterator[tuple[bytes, ByteCount]]:
        """The file, once."""
        if self._is_met:
            self._is_met = False
            yield file_key(self.offer), self.offer.size

    def piece(self, piece: Piece) -> bytes | None:
        """Return a stretch of it."""
        return self._file.piece(piece.offset, piece.size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TreeGoods(Goods):
    """A folder, or several files and folders, as an archive.

    Args:
        sources: in the order of an archive.
        source: see `Offer`.
        survey: what counts; it outlives this.
    """

    def __init__(self, sources: Sequence[Source], source: bytes, survey: "Count") -> None:
        is_one = len(sources) == 1
        kind, name = (Kind.FOLDER, sources[0].name) if is_one else (Kind.SEVERAL, b"")
        super().__init__(Offer(kind, source, name))
        self._sources = {each.name: each for each in sources}
        self._count = survey
        self.has_counted = survey.has_changed
        self._tree = TreeSource(sources, self._begin_at)
        self._held: Held | None = None
        self._held_entries = 0
        self._held_size: ByteCount = 0
        self._claimed: dict[bytes, Entry] = {}
        self._reached: deque[Entry] = deque()  # filled in the thread that reads
        self._worker = Worker()

    @property
    def totals(self) -> Totals:
        """How much there is, as far as it is counted."""
        return replace(
            self._count.totals,
            held_entries=self._held_entries,
            held_size=self._held_size,
            omitted=self._tree.sent.omitted.count,
        )

    @property
    def held_size(self) -> ByteCount:
        """Bytes that are not sent, as far as the walk is."""
        return self._held_size

    @property
    def omitted(self) -> Told:
        """What was not sent, and why."""
        return self._tree.sent.omitted

    @property
    def changed(self) -> Told:
        """What changed while it was read, and how."""
        return self._tree.sent.changed

    def begin(self, held: Held | None) -> None:
        """Leave out what is held."""
        self._held = held

    def read(self) -> Buffer:
        """Return the next bytes of the archive."""
        try:
            return self._tree.read()
        except OSError as error:
            raise SourceFailed("the tree", error.strerror or str(error)) from error

    def met(self) -> Iterator[tuple[bytes, ByteCount]]:
        """The entries that the walk has come to."""
        while self._reached:
            entry = self._reached.popleft()
            yield entry.key, entry.size

    def piece(self, piece: Piece) -> bytes | None:
        """Return a stretch of a file of the tree."""
        entry = self._claimed.get(piece.key)
        return None if entry is None else self._worker.call(self._stretch, entry, piece)

    def close(self) -> None:
        """Let go of descriptors and threads."""
        self._tree.close()
        self._worker.close(lambda: None)

    def _begin_at(self, entry: Entry) -> ByteCount | None:
        """Tell what of an entry is held; runs in the thread that reads."""
        if self._held is None:
            return 0
        key = entry.key
        size = self._held.claims.held(key)
        if size:
            self._claimed[key] = entry
            self._reached.append(entry)
            self._held_size += min(size, entry.size)
            return min(size, entry.size)
        if not self._held.has(key, lambda: self._digest(entry)):
            return 0
        self._held_entries += 1
        self._held_size += entry.size
        return None

    def _stretch(self, entry: Entry, piece: Piece) -> bytes | None:
        return self._read(entry, lambda fd: read_stretch(fd, piece.offset, piece.size))

    def _digest(self, entry: Entry) -> bytes | None:
        return self._read(entry, content_digest)

    def _read(self, entry: Entry, read: Callable[[int], bytes]) -> bytes | None:
        """Read something of a file of the tree; None where that cannot be."""
        top, _, rest = entry.path.partition(b"/")
        path = self._sources[top].path
        whole = os.path.join(path, rest) if rest else path
        try:
            fd = os.open(whole, OPEN_FILE | (os.O_NOFOLLOW if rest else 0))
        except OSError:
            return None
        try:
            return read(fd)
        except OSError:
            return None
        finally:
            os.close(fd)


class Count:
    """Counts a tree, once for all links.

    Attributes:
        has_changed: set whenever `totals` has changed.

    Args:
        sources: in the order of an archive.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._survey = TreeSurvey(sources)
        self._is_final = False
        self.has_changed = Event()

    @property
    def totals(self) -> Totals:
        """So far."""
        found = self._survey.totals
        entries = found.files + found.folders + found.links
        return Totals(entries, found.size, is_final=self._is_final)

    @property
    def files(self) -> int:
        """Files found so far."""
        return self._survey.totals.files

    @property
    def omitted(self) -> Told:
        """What cannot be sent, so far."""
        return self._survey.omitted

    def run(self) -> None:
        """Count to the end."""
        while self._survey.advance():
            self.has_changed.set()
        self._is_final = True
        self.has_changed.set()

    def close(self) -> None:
        """Let go of descriptors and thread."""
        self._survey.close()


class StreamGoods(Goods):
    """Standard input.

    Args:
        source: it stays the caller's.
        name: what it is called there.
    """

    is_repeatable = False

    def __init__(self, source: ByteSource, name: bytes) -> None:
        hint = source.size_hint()
        super().__init__(
            Offer(Kind.STREAM, NO_SOURCE, name, 1, NOT_KNOWN if hint is None else hint)
        )
        self._source = source

    def read(self) -> Buffer:
        """Return the next bytes."""
        return self._source.read()


class TextGoods(Goods):
    """Words.

    Args:
        text: UTF-8.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__(Offer(Kind.TEXT, NO_SOURCE, b"text", 1, len(text)))
        self._left = text

    def read(self) -> Buffer:
        """Return the next bytes."""
        data, self._left = self._left[:TEXT_READ], self._left[TEXT_READ:]
        return data


def source_of(secret: bytes | None, paths: Sequence[bytes]) -> bytes:
    """Return the id of what is at these paths; that of nothing where no secret can be kept."""
    if secret is None:
        return NO_SOURCE
    return source_id(secret, map(os.path.realpath, paths))


def named(offer: Offer) -> str:
    """Return what is offered in words: a file, a folder, several things ... with its name."""
    match offer.kind:
        case Kind.FILE:
            return f'file "{shown(offer.name)}"'
        case Kind.FOLDER:
            return f'folder "{shown(offer.name)}"'
        case Kind.SEVERAL:
            return "several files and folders"
        case Kind.TEXT:
            return "text"
        case Kind.STREAM:
            return f'standard input, called "{shown(offer.name)}"'
