# Invariant: whatever the other side says, an end of a transfer fails or goes on, holds little, and succeeds only truly.
from collections.abc import Iterator

from fuzzing import Feed, chunk
from xxhash import xxh3_128

from derphole.speech.decisions import Decision, Fail, Flush, Over, Proved, Replaced, Write
from derphole.speech.messages import Confirm, ConfirmAck, Fin, encode
from derphole.speech.transfer_decisions import (
    Begin,
    Compare,
    Heard,
    Offered,
    ReadPieces,
    ReadRepair,
    WritePiece,
)
from derphole.speech.transfer_messages import (
    Answer,
    Checked,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Kind,
    Offer,
    Origin,
    Part,
    Pieces,
    Start,
    Totals,
    Verdict,
)
from derphole.transfer.held import MAX_HELD_ENTRIES
from derphole.transfer.offer import file_key
from derphole.transfer.pieces import MAX_PIECES, piece_digest
from derphole.transfer.receiving import ReceivingTransfer
from derphole.transfer.repairs import repair_header
from derphole.transfer.sending import SendingTransfer
from tunnel.units import Instant

PIECE = 16
MAX_STEPS = 200
CONTENT = bytes(range(100))
OFFER = Offer(Kind.FILE, b"s" * 16, b"name", 1, len(CONTENT), 0o644, 5)
KEY = file_key(OFFER)
HELD = 40
SAY, DATA, REPAIRS, END_DATA, END_REPAIRS, WAIT, RESET, STORED = range(8)
ENDS = (Over, Replaced, Fail)


class End:
    """One end, with an owner that does what it decides."""

    def __init__(self) -> None:
        self.now = Instant(1000.0)
        self.ended = False
        self.passed = bytearray()
        self.held = bytearray(CONTENT[:HELD])

    def follow(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            assert not self.ended, "a decision behind the end"
            self.ended = isinstance(decision, ENDS)
            self.carry_out(decision)

    def carry_out(self, decision: Decision) -> None:
        raise NotImplementedError

    def step(self, kind: int, feed: Feed) -> None:
        raise NotImplementedError


class Sender(End):
    def __init__(self) -> None:
        super().__init__()
        self.machine = SendingTransfer(self.now, "the receiver", OFFER, PIECE)
        self.follow(self.machine.begin())

    def carry_out(self, decision: Decision) -> None:
        match decision:
            case Heard():
                self.follow(self.machine.start(Origin.HELD))
                self.follow(self.machine.handle_entry(KEY, len(CONTENT)))
            case Compare(piece):
                digest = piece_digest(CONTENT[piece.offset : piece.offset + piece.size])
                self.follow(self.machine.handle_compared(digest))
            case ReadRepair(piece):
                data = CONTENT[piece.offset : piece.offset + piece.size]
                self.follow(self.machine.handle_repair(data))
                self.follow(self.machine.handle_repaired())
            case Write(chunks):
                self.passed += b"".join(chunks)
            case Proved():
                assert self.machine.held.is_nothing or self.machine.origin is not None

    def step(self, kind: int, feed: Feed) -> None:
        if kind == DATA:
            self.follow(self.machine.handle_data(self.now, [feed.chunk()]))
        elif kind == END_DATA:
            self.follow(self.machine.handle_data_ended())
        elif kind == STORED:
            self.follow(self.machine.handle_acknowledged())
        held = self.machine.held
        assert held.claims.count <= MAX_PIECES
        assert held.finished_count <= MAX_HELD_ENTRIES


class Receiver(End):
    def __init__(self) -> None:
        super().__init__()
        self.machine = ReceivingTransfer(self.now, "the sender", True, PIECE)
        self.has_begun = self.has_data_ended = False
        self.pieces: list[bytes] = []

    def carry_out(self, decision: Decision) -> None:
        machine = self.machine
        match decision:
            case Offered(offer):
                if offer.kind is Kind.TEXT:
                    self.follow(machine.look(self.now))
                    return
                self.follow(machine.go([Part(KEY, HELD)] if offer == OFFER else []))
                self.follow(machine.hold([b"k" * 16]))
                self.follow(machine.hold_checked([Checked(b"f" * 16, b"d" * 16)]))
                self.follow(machine.end_held())
            case Begin():
                self.has_begun = True
            case ReadPieces(pieces):
                self.pieces = [
                    piece_digest(self.held[piece.offset : piece.offset + piece.size])
                    for piece in pieces
                ]
            case WritePiece(key, offset, data):
                assert key == KEY
                assert offset + len(data) <= HELD
            case Write(chunks):
                assert self.has_begun
                self.passed += b"".join(chunks)
            case Flush():
                self.follow(machine.handle_flushed(self.now))
            case Proved():
                assert self.has_data_ended
                assert machine.tally.digest == xxh3_128(bytes(self.passed)).digest()

    def step(self, kind: int, feed: Feed) -> None:
        machine = self.machine
        if self.pieces:
            self.follow(machine.handle_pieces([self.pieces.pop(0)]))
        if kind == DATA and self.has_begun and not self.has_data_ended:
            self.follow(machine.handle_data(self.now, [feed.chunk()]))
        elif kind == END_DATA and self.has_begun and not self.has_data_ended:
            self.has_data_ended = True
            self.follow(machine.handle_data_ended())
        elif kind == REPAIRS:
            self.follow(machine.handle_repair_data([feed.chunk()]))
        elif kind == END_REPAIRS:
            self.follow(machine.handle_repairs_ended())
        elif kind == STORED:
            self.follow(machine.handle_stored(self.now))
            self.follow(machine.handle_acknowledged())


def run(data: bytes) -> None:
    feed = Feed(data)
    end = Sender() if feed.uint(1) % 2 else Receiver()
    for _ in range(MAX_STEPS):
        if not feed:
            break
        kind = feed.uint(1) % 8
        if kind == SAY:
            end.follow(end.machine.handle_message_bytes(end.now, [feed.chunk()]))
        elif kind == WAIT:
            end.now = Instant(end.now + feed.uint(1) / 10)
            end.follow(end.machine.handle_timeout(end.now))
        elif kind == RESET:
            end.follow(end.machine.handle_reset(end.now))
        end.step(kind, feed)
        if end.ended:
            assert end.machine.next_timeout() is None


def script(is_sender: bool, *steps: tuple[int, bytes]) -> bytes:
    parts = [bytes((kind,)) + (chunk(data) if data else b"") for kind, data in steps]
    return bytes((is_sender,)) + b"".join(parts)


def seeds() -> Iterator[bytes]:
    rest = CONTENT[HELD:]
    fin = Fin(len(rest), xxh3_128(rest).digest())
    digests = [piece_digest(CONTENT[start : min(start + PIECE, HELD)]) for start in (0, 16, 32)]
    began = (SAY, encode(OFFER)), (SAY, encode(Totals(1, 100)) + encode(Start(Origin.HELD)))
    held = encode(HaveParts((Part(KEY, HELD),))) + encode(HaveEntries((b"k" * 16,)))
    held += encode(HaveChecked((Checked(b"f" * 16, b"d" * 16),)))
    go = (SAY, encode(Answer(Verdict.GO)) + held + encode(HaveEnd()))
    ends = [(END_DATA, b""), (STORED, b""), (STORED, b""), (END_REPAIRS, b"")]
    yield script(
        False, *began, (DATA, rest), *ends, (SAY, encode(fin)), (SAY, encode(ConfirmAck()))
    )
    piece = CONTENT[:PIECE]
    yield script(False, *began, (REPAIRS, repair_header(0, piece) + piece), (WAIT, b"\1"))
    yield script(False, (SAY, encode(Offer(Kind.TEXT, bytes(16), b""))), (STORED, b""))
    confirm = encode(Confirm(fin.size, fin.digest))
    said = (SAY, encode(Pieces(tuple(digests))))
    yield script(True, go, (DATA, rest), said, (END_DATA, b""), (SAY, confirm), (STORED, b""))
    wrong = (SAY, encode(Pieces((bytes(16), *digests[1:]))))
    yield script(True, go, (END_DATA, b""), wrong, (SAY, encode(Confirm(0, xxh3_128().digest()))))
    yield script(True, (SAY, encode(Answer(Verdict.LOOKED))), (RESET, b""))
