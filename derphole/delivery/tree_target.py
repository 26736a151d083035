"""TreeTarget: an archive, extracted as it comes; goes on where it stopped."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from derphole.delivery.keeper import Keeper
from derphole.delivery.target import Target
from derphole.delivery.wishes import Wishes
from derphole.edges.destination import Destination
from derphole.edges.extraction import MAX_CONTINUED, Extractor
from derphole.edges.left_behind import LeftBehind
from derphole.edges.one_file import read_stretch
from derphole.edges.trees import TreeSink
from derphole.edges.worker import Worker
from derphole.errors import (
    PartialUnusable,
)
from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import Checked, Offer, Part
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.names import (
    shown,
    system_named,
)
from derphole.transfer.offer import NO_SOURCE
from derphole.transfer.outcome import Received
from derphole.transfer.placing import Policy, Present
from tunnel.units import Buffer, ByteCount

# Chosen.
KEYS_AT_ONCE = 1000
CHECKED_AT_ONCE = 16  # files, which may be large


class TreeTarget(Target):
    """A folder, or several things.

    Args:
        offer: what is offered.
        destination: the folder that it goes into; closed with this.
        top: what the folder that is offered is called here; None for several things.
        wishes: of the person.
        keeper: the journal.
        policy: what happens where something is.
    """

    keeps_what_came = True

    def __init__(
        self,
        offer: Offer,
        destination: Destination,
        top: bytes | None,
        wishes: Wishes,
        keeper: Keeper,
        policy: Policy,
    ) -> None:
        self._offer = offer
        self._destination = destination
        self._keeper = keeper
        self._umask = wishes.umask
        self._policy = policy
        self._verifies = wishes.verifies
        self.goes_on = keeper.goes_on
        self._tops = {} if top is None else {offer.name: top}
        self._system = system_named(sys.platform)
        self.shown = destination.shown if top is None else destination.path_of(top)
        self.would = "written into" if top is None or self._is_there(top) else "written to"
        self.keeps_what_came = offer.source != NO_SOURCE
        self._worker = Worker()
        self._left = LeftBehind(destination.fd, system=self._system, top_names=self._tops)
        self._sink: TreeSink | None = None
        self._descriptors: dict[bytes, int] = {}

    def _is_there(self, top: bytes) -> bool:
        return self._destination.present(top) is not Present.NOTHING

    @property
    def stored(self) -> ByteCount:
        """Bytes that are written."""
        return 0 if self._sink is None else self._sink.bytes_written

    @property
    def received(self) -> Received:
        """What became of it."""
        return Received() if self._sink is None else self._sink.received

    @property
    def free(self) -> ByteCount | None:
        """Bytes that are free."""
        return self._destination.free_bytes()

    def check(self, needed: ByteCount | None) -> None:
        """Raise `TargetUnwritable`, `SpaceShort`."""
        self._worker.call(self._destination.check_writable)
        if needed is not None and not self.goes_on:  # else nobody knows what is needed yet
            self._worker.call(self._destination.check_space, needed)

    def parts(self) -> list[Part]:
        """Return what temporary files hold."""
        return self._worker.call(self._found_parts) if self.goes_on else []

    def _found_parts(self) -> list[Part]:
        found: list[Part] = []
        for entry in self._keeper.begun.values():
            held = min(self._left.held(entry.path), entry.size)
            if held and len(found) < MAX_CONTINUED:
                found.append(Part(entry.key, held))
        return found

    def finished_keys(self) -> Iterator[Sequence[bytes]]:
        """Yield the keys of what stands there as it was left."""
        for entries in self._standing(KEYS_AT_ONCE, lambda entry: not self._is_checked(entry)):
            yield [entry.key for entry in entries]

    def checked_files(self) -> Iterator[Sequence[Checked]]:
        """Yield files that stand there as they were left, with what is in them."""
        if self._verifies:
            for entries in self._standing(CHECKED_AT_ONCE, self._is_checked):
                yield self._worker.call(self._read, entries)

    def _is_checked(self, entry: Entry) -> bool:
        return self._verifies and entry.type is EntryType.FILE

    def _standing(
        self, at_once: int, is_wanted: Callable[[Entry], bool]
    ) -> Iterator[Sequence[Entry]]:
        """Yield those of the finished entries that are there as they were left."""
        if not self.goes_on:
            return
        entries = filter(is_wanted, self._keeper.journal.finished_entries())
        while some := self._worker.call(lambda: list(islice(entries, at_once))):
            yield self._worker.call(lambda found: list(filter(self._left.stands, found)), some)

    def _read(self, entries: Sequence[Entry]) -> list[Checked]:
        found = ((entry.key, self._left.digest(entry.path)) for entry in entries)
        return [Checked(key, digest) for key, digest in found if digest is not None]

    def begin(self, *, goes_on: bool, claimed: Callable[[bytes], ByteCount]) -> None:
        """Make the extractor."""
        del goes_on, claimed  # a journal that fits is gone on with, if only with folders
        self._keeper.begin(self._offer)
        extractor = Extractor(
            self._destination.fd,
            policy=self._policy,
            system=self._system,
            umask=self._umask,
            is_continued=self.goes_on,
            top_names=self._tops,
            recorder=self._keeper.journal,
        )
        self._sink = TreeSink(self._destination, extractor)

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Extract the next bytes."""
        assert self._sink is not None
        self._sink.write(chunks)
        self._keeper.call(self._keeper.journal.flush)

    def piece(self, piece: Piece) -> bytes:
        """Return a stretch of a temporary file."""
        return self._worker.call(self._stretch, piece)

    def _stretch(self, piece: Piece) -> bytes:
        fd = self._descriptors.get(piece.key)
        if fd is None:
            entry = self._keeper.begun[piece.key]
            fd = self._left.open(entry.path)
            if fd is None:
                raise PartialUnusable(shown(entry.path), "its temporary file is gone")
            self._descriptors[piece.key] = fd
        return read_stretch(fd, piece.offset, piece.size)

    def repair(self, key: bytes, offset: ByteCount, data: Buffer) -> None:
        """Write over what is held of a file."""
        assert self._sink is not None
        self._sink.repair(self._keeper.begun[key].path, offset, (data,))

    def finish(self) -> None:
        """Check that the archive is whole, and name what was continued."""
        assert self._sink is not None
        self._sink.finish()
        self._keeper.call(self._keeper.journal.flush)
        if not self.received.refused.count:  # what was refused may come in another run
            self._keeper.remove()

    def close(self) -> None:
        """Let go of everything."""
        if self._sink is not None:
            self._sink.close()
        self._keeper.close()
        descriptors, destination = self._descriptors, self._destination

        def last() -> None:
            for fd in descriptors.values():
                os.close(fd)
            destination.close()

        self._worker.close(last)
