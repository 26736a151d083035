"""FileTarget: one file, named when it is complete; goes on where it stopped, if it can."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from derphole.delivery.keeper import Keeper
from derphole.delivery.target import Target
from derphole.delivery.wishes import Wishes
from derphole.edges.destination import Destination
from derphole.edges.left_behind import LeftBehind
from derphole.edges.one_file import read_stretch
from derphole.edges.trees import FileSink
from derphole.edges.worker import Worker
from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import Checked, Kind, Offer, Part
from derphole.transfer.entries import NANOSECONDS, Entry, EntryType
from derphole.transfer.offer import NO_SOURCE, RESUMABLE, Fit
from derphole.transfer.outcome import Received
from derphole.transfer.placing import Present
from tunnel.net.clock import wall
from tunnel.units import Buffer, ByteCount

# Chosen.
PLAIN_FILE_MODE = 0o666


class FileTarget(Target):
    """One file.

    Attributes:
        is_there: whether an earlier run finished it, and was ended before anybody knew.

    Args:
        offer: what is offered.
        destination: the folder; closed with this.
        name: of the file there.
        wishes: of the person.
        keeper: the journal; closed with this.
        replaces: whether it may replace what has its name.
    """

    def __init__(
        self,
        offer: Offer,
        destination: Destination,
        name: bytes,
        wishes: Wishes,
        keeper: Keeper,
        *,
        replaces: bool,
    ) -> None:
        self._offer = offer
        self._destination = destination
        self._name = name
        self._replaces = replaces
        self._umask = wishes.umask
        self._verifies = wishes.verifies
        self.goes_on = keeper.goes_on
        self._keeper = keeper
        self.shown = destination.path_of(name)
        self.would = "written over" if replaces else "written to"
        self.keeps_what_came = offer.kind in RESUMABLE and offer.source != NO_SOURCE
        self._entry = Entry(offer.name, EntryType.FILE, offer.size, offer.mtime_ns, offer.mode)
        self._worker = Worker()
        self._left = LeftBehind(destination.fd, top_names={offer.name: name})
        self.has_changed = keeper.fit is Fit.CHANGED
        self.is_there = keeper.goes_on and self._stands()
        self._sink: FileSink | None = None
        self._received = Received()
        self._is_done = False

    def _stands(self) -> bool:
        """Tell whether an earlier run finished it, and was ended before anybody knew."""
        is_finished = self._entry.key not in self._keeper.begun
        if not is_finished or self._destination.present(self._name) is not Present.FILE:
            return False
        return self._worker.call(self._left.stands, self._entry)

    @property
    def stored(self) -> ByteCount:
        """Bytes that are written."""
        if self.is_there:
            return self._offer.size
        return 0 if self._sink is None else self._sink.bytes_written

    @property
    def received(self) -> Received:
        """What became of it."""
        return self._received

    @property
    def free(self) -> ByteCount | None:
        """Bytes that are free."""
        return self._destination.free_bytes()

    def check(self, needed: ByteCount | None) -> None:
        """Raise `TargetUnwritable`, or `SpaceShort` where the rest of it does not fit."""
        self._worker.call(self._destination.check_writable)
        if needed is not None and not self.is_there:
            held = sum(part.held for part in self.parts())
            self._worker.call(self._destination.check_space, max(0, needed - held))

    def parts(self) -> list[Part]:
        """Return what the temporary file holds."""
        if not self.goes_on or self.is_there:
            return []
        held = self._worker.call(self._left.held, self._offer.name)
        held = min(held, self._offer.size)
        return [Part(self._entry.key, held)] if held else []

    def finished_keys(self) -> Iterator[Sequence[bytes]]:
        """Yield its key where all of it is there."""
        if self.is_there and not self._verifies:
            yield [self._entry.key]

    def checked_files(self) -> Iterator[Sequence[Checked]]:
        """Yield it where all of it is there and is to be compared."""
        if self.is_there and self._verifies:
            digest = self._worker.call(self._left.digest, self._offer.name)
            yield [] if digest is None else [Checked(self._entry.key, digest)]

    def begin(self, *, goes_on: bool, claimed: Callable[[bytes], ByteCount]) -> None:
        """Open the temporary file."""
        held = claimed(self._entry.key) if goes_on else 0
        if self.is_there and goes_on:
            return
        if self.is_there:
            self._make_way()
        self._open(held)

    def _make_way(self) -> None:
        """What an earlier run finished comes again, and takes its place."""
        self.is_there, self._replaces = False, True

    def _open(self, held: ByteCount) -> None:
        self._keeper.begin(self._offer)
        self._sink = FileSink(self._destination, self._name, held)
        if not held:
            self._keeper.call(self._keeper.journal.note_begun, self._entry)
        self._keeper.call(self._keeper.journal.flush)

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Write the next bytes."""
        if self.is_there:  # but has another content than on the other side
            self._make_way()
            self._open(0)
        assert self._sink is not None
        self._sink.write(chunks)

    def piece(self, piece: Piece) -> bytes:
        """Return a stretch of the temporary file."""
        assert self._sink is not None
        return self._worker.call(read_stretch, self._sink.fd, piece.offset, piece.size)

    def repair(self, key: bytes, offset: ByteCount, data: Buffer) -> None:
        """Write over what is held."""
        assert self._sink is not None
        assert key == self._entry.key
        self._sink.repair(offset, (data,))

    def finish(self) -> None:
        """Give it mode, time and name; raises `OutputExists`, `SinkFailed`."""
        if self.is_there:
            with suppress(OSError):  # it may have both names
                self._worker.call(self._left.forget, self._offer.name)
            self._keeper.remove()
            self._is_done = True
            return
        assert self._sink is not None
        is_file = self._offer.kind is Kind.FILE
        mode = (self._offer.mode if is_file else PLAIN_FILE_MODE) & ~self._umask
        mtime_ns = self._offer.mtime_ns if is_file else int(wall() * NANOSECONDS)
        stored = self._sink.bytes_written
        self._sink.finish(mode, mtime_ns)
        self._keeper.call(self._keeper.journal.finished, self._entry)
        self._keeper.call(self._keeper.journal.flush)
        self._sink.take_name(replaces=self._replaces)
        self._received.made.files = 1
        self._received.made.size = self._received.stored = stored
        if is_file and stored < self._offer.size:
            self._received.changed.add(
                self._name, "became shorter on the other side while it was read"
            )
        self._keeper.remove()
        self._is_done = True

    def close(self) -> None:
        """Let go; what cannot be gone on with is removed."""
        if self._sink is not None:
            if self._is_done or self.keeps_what_came:
                self._sink.close()
            else:
                self._sink.discard()
                self._keeper.remove()
        self._keeper.close()
        self._worker.close(self._destination.close)
