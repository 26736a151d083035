"""Both ends of a transfer in the simulated world: the product's machines around toy files.

    Source      what is sent: a file, or a folder of them
    Disk        what the receiver keeps when it dies: partial files, finished files, a journal
    Sending, Receiving     drive `derphole.transfer.sending` and `receiving`, as a command would

Contents of a folder go as a line for each entry, then its bytes: what they are in earnest is no
affair of the machines.  Nothing else is decided here.
"""

import struct
from collections import deque
from dataclasses import dataclass, field

from conversation import CONTROL_STREAM, Outcome, Side
from world import Host

from derphole.errors import NotTaken
from derphole.speech.decisions import Decision, EndData, Flush, KeepPlace, Over, Replaced, Write
from derphole.speech.stream_states import State
from derphole.speech.transfer_decisions import (
    Begin,
    Compare,
    EndRepairs,
    Heard,
    Offered,
    OpenRepairs,
    Piece,
    ReadPieces,
    ReadRepair,
    SendFrom,
    Skip,
    WritePiece,
    WriteRepair,
)
from derphole.speech.transfer_messages import Kind, Offer, Origin, Part, Totals
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.journal import (
    Begun,
    Finished,
    JournalReader,
    JournalWriter,
    OfferKept,
    Record,
    Replay,
)
from derphole.transfer.offer import Fit, fit
from derphole.transfer.pieces import piece_digest
from derphole.transfer.receiving import ReceivingTransfer
from derphole.transfer.sending import SendingTransfer
from tunnel.proto.streams.receive_stream import ReceiveState

PIECE = 4096  # bytes, where the product has 4 MiB
READ = 3000  # bytes that the sender reads at once
AHEAD = 16_000  # bytes that wait in its link before it reads on
LINE = struct.Struct("<HQQQ")


@dataclass
class Source:
    """What is sent.

    Args:
        files: contents by path, in the order in which they are found.
        kind: a file, whose one path is its name, or a folder.
        mtime_ns: of every file.
        can_seek: whether it can begin in the middle of a file.
    """

    files: dict[bytes, bytes]
    kind: Kind = Kind.FOLDER
    mtime_ns: int = 5
    can_seek: bool = True
    id: bytes = b"\x07" * 16

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def entries(self) -> list[Entry]:
        return [
            Entry(path, EntryType.FILE, len(content), self.mtime_ns, 0o644)
            for path, content in self.files.items()
        ]

    def content(self, key: bytes) -> bytes:
        return next(self.files[entry.path] for entry in self.entries if entry.key == key)

    def offer(self) -> Offer:
        if self.kind is not Kind.FILE:
            return Offer(self.kind, self.id, b"folder")
        [(name, content)] = self.files.items()
        return Offer(self.kind, self.id, name, 1, len(content), 0o644, self.mtime_ns)


@dataclass
class Disk:
    """What the receiver has written, whatever became of its processes."""

    parts: dict[bytes, bytearray] = field(default_factory=dict)
    files: dict[bytes, tuple[Entry, bytes]] = field(default_factory=dict)
    journal: bytearray = field(default_factory=bytearray)

    @property
    def stored(self) -> int:
        """How many bytes of contents it has."""
        finished = sum(len(content) for _, content in self.files.values())
        return finished + sum(map(len, self.parts.values()))

    def replay(self) -> tuple[Replay, list[Entry], JournalReader]:
        """Read the journal: what it comes to, and the entries that are finished."""
        replay, finished, reader = Replay(), [], JournalReader()
        for record in reader.feed(bytes(self.journal)):
            replay.take(record)
            if isinstance(record, Finished):
                finished.append(record.entry)
        reader.finish()
        return replay, finished, reader


class _TransferSide(Side):
    def __init__(self, host: Host, is_claimer: bool, is_sender: bool) -> None:
        self.is_claimer = is_claimer
        first = 2 if is_claimer is is_sender else 1  # of the sender's own streams
        self.data_stream, self.repair_stream = first, first + 2
        self.stream_ids = (CONTROL_STREAM, self.data_stream, self.repair_stream)
        super().__init__(host)

    def poll(self) -> bool:
        link = self._link
        if link is not None and self.proof is None and not link.is_closed:
            if self.is_claimer:
                assert self.host.open() == CONTROL_STREAM
            elif not link.streams.is_known(CONTROL_STREAM):
                return False
        return super().poll()

    def _carry_out(self, decision: Decision) -> None:
        if isinstance(decision, Replaced):
            self.served += 1
            self._begin()

    def _follow(self, decisions: list[Decision]) -> None:
        is_over = any(isinstance(decision, Over) for decision in decisions)
        if is_over and self.proof.state is State.LOOKED:
            self.outcome = Outcome.LOOKED
        super()._follow(decisions)

    def _is_stored(self) -> bool:
        sending = self._link.streams.sending(CONTROL_STREAM)
        return sending is not None and not sending.buffered


class Sending(_TransferSide):
    """Sends a source.

    Attributes:
        sent: bytes of contents that went out over the newest link, repairs included.
        skipped: paths that were not sent, since they are held.
    """

    def __init__(self, host: Host, source: Source, is_claimer: bool = False) -> None:
        self.source = source
        super().__init__(host, is_claimer, is_sender=True)

    def _begin(self) -> None:
        super()._begin()
        self.sent = 0
        self.skipped: list[bytes] = []
        self._entries = deque(self.source.entries)
        self._content: memoryview | None = None
        self._compare: Piece | None = None
        self._repair: Piece | None = None
        self._has_begun = False

    def _new_proof(self) -> SendingTransfer:
        return SendingTransfer(self.host.instant, "the receiver", self.source.offer(), PIECE)

    def _hand_in_data(self, proof: SendingTransfer) -> None:
        self._once("offer", proof.begin)
        self._once("totals", lambda: proof.handle_totals(self._totals()))
        if self._compare is not None:
            piece, self._compare = self._compare, None
            self._follow(proof.handle_compared(piece_digest(self._piece(piece))))
        if self._repair is not None:
            piece, self._repair = self._repair, None
            self.sent += piece.size
            self._follow(proof.handle_repair(self._piece(piece)))
            self._follow(proof.handle_repaired())
        if proof.state is State.FLOWING:
            self._read_on(proof)
        if proof.has_succeeded and self._is_stored():
            self._once("stored", proof.handle_acknowledged)

    def _totals(self) -> Totals:
        return Totals(len(self.source.files), self.source.size, is_final=True)

    def _piece(self, piece: Piece) -> bytes:
        return self.source.content(piece.key)[piece.offset : piece.offset + piece.size]

    def _read_on(self, proof: SendingTransfer) -> None:
        """Send on while little waits."""
        sending = self._link.streams.sending(self.data_stream)
        while proof.state is State.FLOWING and sending is not None and sending.buffered < AHEAD:
            if self._content:
                chunk, self._content = self._content[:READ], self._content[READ:]
                self.sent += len(chunk)
                self._follow(proof.handle_data(self.host.instant, [bytes(chunk)]))
            elif self._entries:
                self._send_entry(proof, self._entries.popleft())
            else:
                self._once("data ended", proof.handle_data_ended)
                return

    def _send_entry(self, proof: SendingTransfer, entry: Entry) -> None:
        self._offset: int | None = None
        self._follow(proof.handle_entry(entry.key, entry.size))
        if self._offset is None:
            self.skipped.append(entry.path)
            return
        self._content = memoryview(self.source.files[entry.path])[self._offset :]
        if self.source.kind is not Kind.FILE:
            line = LINE.pack(len(entry.path), entry.size, entry.mtime_ns, self._offset)
            self._follow(proof.handle_data(self.host.instant, [line + entry.path]))

    def _carry_out(self, decision: Decision) -> None:
        streams = self._link.streams
        match decision:
            case Heard():
                origin = Origin.HELD if self.source.can_seek else Origin.CANNOT_SEEK
                self._follow(self.proof.start(origin))
                if not self._link.is_closed:
                    self._open(self.data_stream)
            case OpenRepairs() if not self._link.is_closed:
                self._open(self.data_stream)
                self._open(self.repair_stream)
            case SendFrom(offset):
                self._offset = offset
            case Compare(piece):
                self._compare = piece
            case ReadRepair(piece):
                self._repair = piece
            case Write(chunks):
                self._write(self.data_stream, b"".join(chunks))
            case WriteRepair(chunks):
                self._write(self.repair_stream, b"".join(chunks))
            case EndData() if streams.is_known(self.data_stream):
                streams.end(self.data_stream)
            case EndRepairs() if streams.is_known(self.repair_stream):
                streams.end(self.repair_stream)
            case Skip():
                pass
            case _:
                super()._carry_out(decision)

    def _open(self, stream: int) -> None:
        if not self._link.streams.is_known(stream):
            assert self.host.open() == stream


class Receiving(_TransferSide):
    """Receives onto a disk.

    Args:
        disk: where to, with what earlier runs left there.
        refusal: why it does not want what is offered; None to take it.
        only_looks: whether it only looks.
        flush_s: how long the disk takes at the end.
    """

    def __init__(
        self,
        host: Host,
        disk: Disk,
        is_claimer: bool = True,
        refusal: NotTaken | None = None,
        only_looks: bool = False,
        flush_s: float = 0.0,
    ) -> None:
        self.disk = disk
        self.fit: Fit | None = None
        self._refusal, self._only_looks, self._flush_s = refusal, only_looks, flush_s
        super().__init__(host, is_claimer, is_sender=False)

    def _begin(self) -> None:
        super()._begin()
        self._has_begun = self._has_flushed = False
        self._pieces: list[Piece] = []
        self._line = bytearray()
        self._entry: Entry | None = None  # under way
        self._left = 0  # bytes of it that are to come
        self._unverified: list[Entry] = []  # whole, but for what earlier runs left of them
        self._writer = JournalWriter()

    def _new_proof(self) -> ReceivingTransfer:
        return ReceivingTransfer(self.host.instant, "the sender", True, PIECE)

    # -- what comes -------------------------------------------------------------------------

    def _hand_in_data(self, proof: ReceivingTransfer) -> None:
        if proof.state is State.LEAVING and self._is_stored():
            self._once("stored", proof.handle_acknowledged)
        if self._pieces:
            piece = self._pieces.pop(0)
            self._follow(proof.handle_pieces([piece_digest(self._held(piece))]))
        if self._has_begun:
            if data := self._bytes(self.data_stream):
                self._follow(proof.handle_data(self.host.instant, [data]))
                self._follow_quietly(proof.handle_stored(self.host.instant))
            if self.data_stream in self._inbox.ended:
                self._once("data ended", proof.handle_data_ended)
        if proof.origin is Origin.HELD and proof.claims.count:
            if data := self._bytes(self.repair_stream):
                self._follow(proof.handle_repair_data([data]))
            if self.repair_stream in self._inbox.ended:
                self._once("repairs ended", proof.handle_repairs_ended)
        if self._has_flushed:
            self._once("flushed", lambda: proof.handle_flushed(self.host.instant))

    def _follow_quietly(self, decisions: list[Decision]) -> None:
        if decisions:
            self._follow(decisions)

    def _held(self, piece: Piece) -> bytes:
        part = self.disk.parts.get(piece.key, b"")
        return bytes(part[piece.offset : piece.offset + piece.size])

    def _is_reset(self, stream: int) -> bool:
        receiving = self._inbox.receiving.get(stream)
        return receiving is not None and receiving.state is ReceiveState.RESET

    # -- what is decided --------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Offered(offer):
                self._answer(offer)
            case Begin(origin):
                self._begin_files(origin)
            case ReadPieces(pieces):
                self._pieces = list(pieces)
            case Write(chunks):
                self._take(b"".join(chunks))
            case WritePiece(key, offset, data):
                self.disk.parts[key][offset : offset + len(data)] = data
            case Flush():
                self.host.world.at(self.host.world.now + self._flush_s, self._flush)
            case KeepPlace():
                raise AssertionError("what came is kept, so the place need not be")
            case _:
                super()._carry_out(decision)

    def _answer(self, offer: Offer) -> None:
        now, proof = self.host.instant, self.proof
        if self._only_looks:
            self._follow(proof.look(now))
        elif self._refusal is not None:
            self._follow(proof.decline(now, self._refusal))
        else:
            parts, keys = self._what_is_held(offer)
            self._follow(proof.go(parts))
            self._follow(proof.hold(keys))
            self._follow(proof.end_held())

    def _what_is_held(self, offer: Offer) -> tuple[list[Part], list[bytes]]:
        replay, finished, _ = self.disk.replay()
        if replay.offer is None:
            return [], []
        self.fit = fit(replay.offer, offer)
        if self.fit is not Fit.FITS:
            return [], []
        parts = [
            Part(key, min(len(self.disk.parts[key]), entry.size))
            for key, entry in replay.begun.items()
            if self.disk.parts.get(key)
        ]
        keys = [entry.key for entry in finished if self._stands(entry)]
        return parts, keys

    def _stands(self, entry: Entry) -> bool:
        known = self.disk.files.get(entry.path)
        return known is not None and known[0] == entry

    def _begin_files(self, origin: Origin) -> None:
        self._has_begun = True
        if origin is Origin.HELD:
            *_, reader = self.disk.replay()
            del self.disk.journal[reader.valid_size :]
            self._writer = reader.writer()
        else:
            self.disk.parts.clear()
            self.disk.journal[:] = self._writer.begin()
            self._note(OfferKept(self.proof.offer))
        offer = self.proof.offer
        if offer.kind is Kind.FILE:
            entry = Entry(offer.name, EntryType.FILE, offer.size, offer.mtime_ns, offer.mode)
            self._open_part(entry, self.proof.claims.held(entry.key))

    def _note(self, record: Record) -> None:
        self.disk.journal += self._writer.append(record)

    def _open_part(self, entry: Entry, offset: int) -> None:
        if offset:
            part = self.disk.parts[entry.key]
            assert len(part) >= offset
            del part[offset:]
            self._unverified.append(entry)
        else:
            self.disk.parts[entry.key] = bytearray()
            self._note(Begun(entry))
        self._entry, self._left = entry, entry.size - offset

    def _take(self, data: bytes) -> None:
        """Take bytes of the data stream."""
        while True:
            if self._entry is not None:
                taken, data = data[: self._left], data[self._left :]
                self.disk.parts[self._entry.key] += taken
                self._left -= len(taken)
                if self._left:
                    return
                self._finish_entry()
            if not data:
                return
            self._line += data[:1]
            data = data[1:]
            if len(self._line) >= LINE.size:
                path_size, size, mtime_ns, offset = LINE.unpack_from(self._line)
                if len(self._line) == LINE.size + path_size:
                    path = bytes(self._line[LINE.size :])
                    self._line.clear()
                    self._open_part(Entry(path, EntryType.FILE, size, mtime_ns, 0o644), offset)

    def _finish_entry(self) -> None:
        entry, self._entry = self._entry, None
        if self.proof.offer.kind is not Kind.FILE and entry not in self._unverified:
            self._give_name(entry)

    def _give_name(self, entry: Entry) -> None:
        self._note(Finished(entry))
        self.disk.files[entry.path] = (entry, bytes(self.disk.parts.pop(entry.key)))

    def _flush(self) -> None:
        if self.host.is_asleep:
            return
        offer = self.proof.offer
        if offer.kind is Kind.FILE:
            entry = Entry(offer.name, EntryType.FILE, offer.size, offer.mtime_ns, offer.mode)
            self._give_name(entry)
        else:
            for entry in self._unverified:
                self._give_name(entry)
        self._has_flushed = True


def kill(side: Side) -> None:
    """End a process at once: nothing is said, and what it has on disk stays as it is."""
    side.is_over = True
    side.host.is_asleep = True
    for relay in side.host.world.relays:
        relay.disconnect(side.host)
