"""Targets: where what is received goes, behind one face: what is held, bytes, pieces, the end.

    FileTarget      one file, named when it is complete; goes on where it stopped
    TreeTarget      an archive, extracted as it comes; goes on likewise
    StreamTarget    standard output, as the bytes come
    WordsTarget     text on a terminal, made visible

`target_for` decides by the offer and by what the person wants, and raises `NotTaken` with the
reason.  Calls block the greenlet only.
"""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from derphole.delivery.wishes import Wishes
from derphole.edges.destination import Destination, target_in
from derphole.edges.extraction import MAX_CONTINUED, Extractor
from derphole.edges.journal_file import JournalFile
from derphole.edges.kept_state import KeptState
from derphole.edges.left_behind import LeftBehind
from derphole.edges.one_file import read_stretch
from derphole.edges.stdio import ByteSink, reason_text
from derphole.edges.trees import FileSink, TreeSink
from derphole.edges.worker import Worker
from derphole.errors import (
    DeclinedHere,
    KindRefused,
    PartialUnusable,
    SinkFailed,
    TargetExists,
    TargetSkipped,
    TargetUnwritable,
)
from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import Kind, Offer, Part
from derphole.transfer.entries import NANOSECONDS, Entry, EntryType
from derphole.transfer.journal import OfferKept, TokenKept
from derphole.transfer.names import (
    is_reserved,
    journal_name,
    local_part,
    part_fault,
    shown,
    system_named,
)
from derphole.transfer.offer import NO_SOURCE, RESUMABLE, Fit, fit
from derphole.transfer.outcome import Received
from derphole.transfer.placing import Policy, Present
from tunnel.net.clock import wall
from tunnel.units import Buffer, ByteCount

# Chosen.
KEYS_AT_ONCE = 1000
PLAIN_FILE_MODE = 0o666
MAX_SHOWN_TEXT: ByteCount = 1 << 20  # of text on a terminal; a longer one belongs into a file
STDOUT = "-"


class Target(ABC):
    """Where one transfer goes.

    Attributes:
        shown: what a person calls it.
        would: what would happen there, as in "would be ... TARGET".
        keeps_what_came: whether a later run can go on with what was written.
    """

    shown = "standard output"
    would = "written to"
    keeps_what_came = False

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
        """Yield the keys of finished entries, some at a time."""
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
        raise NotImplementedError

    def repair(self, key: bytes, offset: ByteCount, data: Buffer) -> None:
        """Write over what is held of an entry."""
        raise NotImplementedError

    @abstractmethod
    def finish(self) -> None:
        """Keep what was written, which agrees with what was sent."""

    def close(self) -> None:
        """Let go of everything; what is not finished stays for a later run, if one can go on."""
        return


class FileTarget(Target):
    """One file.

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
        keeper: "Keeper",
        *,
        replaces: bool,
    ) -> None:
        self._offer = offer
        self._destination = destination
        self._name = name
        self._replaces = replaces
        self._umask = wishes.umask
        self._keeper = keeper
        self.shown = destination.path_of(name)
        self.would = "written over" if replaces else "written to"
        self.keeps_what_came = offer.kind in RESUMABLE and offer.source != NO_SOURCE
        self._entry = Entry(offer.name, EntryType.FILE, offer.size, offer.mtime_ns, offer.mode)
        self._worker = Worker()
        self._left = LeftBehind(destination.fd, top_names={offer.name: name})
        self._is_there = keeper.goes_on and self._stands()
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
        if self._is_there:
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
        if needed is not None:
            held = sum(part.held for part in self.parts())
            self._worker.call(self._destination.check_space, max(0, needed - held))

    def parts(self) -> list[Part]:
        """Return what the temporary file holds."""
        if not self._keeper.goes_on or self._is_there:
            return []
        held = self._worker.call(self._left.held, self._offer.name)
        held = min(held, self._offer.size)
        return [Part(self._entry.key, held)] if held else []

    def finished_keys(self) -> Iterator[Sequence[bytes]]:
        """Yield its key where all of it is there."""
        if self._is_there:
            yield [self._entry.key]

    def begin(self, *, goes_on: bool, claimed: Callable[[bytes], ByteCount]) -> None:
        """Open the temporary file."""
        held = claimed(self._entry.key) if goes_on else 0
        self._is_there = self._is_there and goes_on
        if self._is_there:
            return
        self._keeper.begin(self._offer, goes_on=goes_on)
        self._sink = FileSink(self._destination, self._name, held)
        self._keeper.call(self._keeper.journal.began, self._entry, held)
        self._keeper.call(self._keeper.journal.flush)

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Write the next bytes."""
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
        if self._is_there:
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
        keeper: "Keeper",
        policy: Policy,
    ) -> None:
        self._offer = offer
        self._destination = destination
        self._keeper = keeper
        self._umask = wishes.umask
        self._policy = policy
        self._tops = {} if top is None else {offer.name: top}
        self._system = system_named(sys.platform)
        self.shown = destination.shown if top is None else destination.path_of(top)
        self.would = "written into" if top is None or self._is_there(top) else "written to"
        self.keeps_what_came = offer.source != NO_SOURCE
        self._worker = Worker()
        self._left = LeftBehind(destination.fd, system=self._system, top_names=self._tops)
        self._parts: list[Part] | None = None
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
        if needed is not None:
            self._worker.call(self._destination.check_space, needed)

    def parts(self) -> list[Part]:
        """Return what temporary files hold."""
        if self._parts is None:
            self._parts = self._worker.call(self._found_parts) if self._keeper.goes_on else []
        return self._parts

    def _found_parts(self) -> list[Part]:
        found: list[Part] = []
        for entry in self._keeper.begun.values():
            held = min(self._left.held(entry.path), entry.size)
            if held and len(found) < MAX_CONTINUED:
                found.append(Part(entry.key, held))
        return found

    def finished_keys(self) -> Iterator[Sequence[bytes]]:
        """Yield the keys of what stands there as it was left."""
        if not self._keeper.goes_on:
            return
        entries = self._keeper.journal.finished_entries()
        while some := self._worker.call(lambda: list(islice(entries, KEYS_AT_ONCE))):
            yield self._worker.call(self._standing, some)

    def _standing(self, entries: Sequence[Entry]) -> list[bytes]:
        return [entry.key for entry in entries if self._left.stands(entry)]

    def begin(self, *, goes_on: bool, claimed: Callable[[bytes], ByteCount]) -> None:
        """Make the extractor."""
        del claimed
        self._keeper.begin(self._offer, goes_on=goes_on)
        extractor = Extractor(
            self._destination.fd,
            policy=self._policy,
            system=self._system,
            umask=self._umask,
            is_continued=goes_on,
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


class Keeper:
    """The journal of one transfer and where it is kept in mind.

    Attributes:
        journal: the file.
        goes_on: whether what it tells of fits what is offered.

    Args:
        destination: the folder that it lies in; it stays the caller's.
        name: of the journal.
        offer: what is offered.
        state: where journals are kept in mind.
        token: what this side was started with; None for nothing that is used again.
    """

    def __init__(
        self,
        destination: Destination,
        name: bytes,
        offer: Offer,
        state: KeptState,
        token: TokenKept | None,
    ) -> None:
        self._worker = Worker()
        self._state = state
        self._token = token
        self._path = os.path.join(destination.real_path, name)
        self.journal = self._worker.call(JournalFile, destination.fd, name)
        kept = self.journal.replay.offer
        self.fit = None if kept is None else fit(kept, offer)
        self.goes_on = self.fit is Fit.FITS

    @property
    def begun(self) -> dict[bytes, Entry]:
        """Entries that an earlier run began and did not finish, by key."""
        return self.journal.replay.begun

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Do something with the journal, in its thread."""
        try:
            self._worker.call(function, *args)
        except OSError as error:
            raise SinkFailed(shown(self._path), reason_text(error)) from error

    def begin(self, offer: Offer, *, goes_on: bool) -> None:
        """Go on with the journal, or begin a new one."""
        if goes_on:
            self.call(self.journal.go_on, self._token)
        else:
            self.call(self.journal.begin, OfferKept(offer), self._token)
        self.call(self._state.remember, self._path)

    def remove(self) -> None:
        """Remove it: everything is done."""
        with suppress(OSError):
            self._worker.call(self.journal.remove)
        self._worker.call(self._state.forget, self._path)

    def close(self) -> None:
        """Let go of the journal; it stays."""
        self._worker.close(self.journal.close)


@dataclass(frozen=True, slots=True)
class Place:
    """What `target_for` needs beside offer and wishes.

    Args:
        state: where journals are kept in mind.
        token: what this side was started with.
        output: opens standard output.
        show: shows text on the terminal that standard output is; None where it is none.
    """

    state: KeptState
    token: TokenKept | None
    output: Callable[[], ByteSink]
    show: Callable[[str], None] | None


def target_for(offer: Offer, wishes: Wishes, place: Place) -> Target:
    """Return where an offer goes.

    Raises `NotTaken` with the reason why it goes nowhere, `PartialUnusable`.
    """
    is_tree = offer.kind in (Kind.FOLDER, Kind.SEVERAL)
    if wishes.output == STDOUT or (wishes.output is None and offer.kind is Kind.TEXT):
        if is_tree:
            raise KindRefused(_kind_text(offer), "standard output")
        is_shown = offer.kind is Kind.TEXT and wishes.output is None and place.show is not None
        if is_shown and place.show is not None:
            return WordsTarget(place.show)
        return StreamTarget(place.output())
    if offer.kind is Kind.SEVERAL:
        return _several(offer, wishes, place)
    fault = part_fault(offer.name)
    if fault is None and is_reserved(offer.name):
        fault = "belongs to unfinished transfers"
    if fault is not None:
        raise KindRefused(f"something whose name {fault}", "a folder")
    here = local_part(offer.name, system_named(sys.platform))
    folder, name = target_in(wishes.output, here)
    destination = Destination(folder)
    try:
        return (_folder if is_tree else _file)(offer, wishes, place, destination, name)
    except BaseException:
        destination.close()
        raise


def _file(
    offer: Offer, wishes: Wishes, place: Place, destination: Destination, name: bytes
) -> Target:
    there = destination.present(name)
    replaces = False
    if there is not Present.NOTHING:
        keeper = Keeper(destination, journal_name(name), offer, place.state, place.token)
        if keeper.goes_on:
            target = FileTarget(offer, destination, name, wishes, keeper, replaces=False)
            if next(target.finished_keys(), None) is not None:
                return target
        keeper.close()
        if there is Present.FOLDER or there is Present.OTHER:
            raise KindRefused("a file", destination.path_of(name))
        name, replaces = _settled(destination, name, wishes)
    keeper = Keeper(destination, journal_name(name), offer, place.state, place.token)
    return FileTarget(offer, destination, name, wishes, keeper, replaces=replaces)


def _settled(destination: Destination, name: bytes, wishes: Wishes) -> tuple[bytes, bool]:
    """Return under which name a file goes where something is, and whether it replaces that."""
    match wishes.policy:
        case Policy.RENAME:
            return destination.free_name(name), False
        case Policy.OVERWRITE:
            return name, True
        case Policy.REFUSE:
            target = destination.path_of(name)
            answer = None if wishes.only_looks else wishes.ask(f"{target} exists; replace it?")
            if answer:
                return name, True
            raise DeclinedHere if answer is False else TargetExists(target)
        case Policy.SKIP:
            raise TargetSkipped(destination.path_of(name))


def _folder(
    offer: Offer, wishes: Wishes, place: Place, destination: Destination, name: bytes
) -> Target:
    keeper = Keeper(destination, journal_name(name), offer, place.state, place.token)
    there = destination.present(name)
    policy = wishes.policy
    if there is not Present.NOTHING and not keeper.goes_on:
        target = destination.path_of(name)
        if there is not Present.FOLDER and policy is not Policy.RENAME:
            keeper.close()
            raise (
                KindRefused("a folder", target)
                if policy is not Policy.REFUSE
                else TargetExists(target)
            )
        if policy is Policy.RENAME:
            keeper.close()
            name = destination.free_name(name)
            keeper = Keeper(destination, journal_name(name), offer, place.state, place.token)
        elif policy is Policy.REFUSE:
            question = f"{target} exists; write into it, and replace files that are in both?"
            answer = None if wishes.only_looks else wishes.ask(question)
            if not answer:
                keeper.close()
                raise DeclinedHere if answer is False else TargetExists(target)
            policy = Policy.OVERWRITE
    return TreeTarget(offer, destination, name, wishes, keeper, policy)


def _several(offer: Offer, wishes: Wishes, place: Place) -> Target:
    path = b"." if wishes.output is None else os.fsencode(wishes.output)
    if not os.path.lexists(path) and not wishes.only_looks:
        try:
            os.mkdir(path)
        except OSError as error:
            raise TargetUnwritable(shown(path), reason_text(error)) from error
    if os.path.lexists(path) and not os.path.isdir(path):
        raise KindRefused("several files and folders", shown(path))
    destination = Destination(path if os.path.lexists(path) else os.path.dirname(path) or b".")
    try:
        name = journal_name(offer.source.hex().encode())
        keeper = Keeper(destination, name, offer, place.state, place.token)
        return TreeTarget(offer, destination, None, wishes, keeper, wishes.policy)
    except BaseException:
        destination.close()
        raise


def _kind_text(offer: Offer) -> str:
    return "a folder" if offer.kind is Kind.FOLDER else "several files and folders"
