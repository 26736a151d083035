"""Both ends of a transfer against each other, in any order of events; and a journal under any damage."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from derphole.speech.decisions import Close, EndData, Fail, Flush, Over, Proved, Say, Write
from derphole.speech.transfer_decisions import (
    Begin,
    Compare,
    EndRepairs,
    Heard,
    Offered,
    OpenRepairs,
    ReadPieces,
    ReadRepair,
    SendFrom,
    WritePiece,
    WriteRepair,
)
from derphole.speech.transfer_messages import NOT_KNOWN, Kind, Offer, Origin, Part
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.journal import (
    Begun,
    Finished,
    JournalReader,
    JournalWriter,
    OfferKept,
    TokenKept,
)
from derphole.transfer.offer import file_key
from derphole.transfer.pieces import piece_digest
from derphole.transfer.receiving import ReceivingTransfer
from derphole.transfer.sending import SendingTransfer
from tunnel.units import Instant, WallTime

PIECE = 8
READ = 5
NOW = Instant(1000.0)
TO_RECEIVER, TO_SENDER, DATA, REPAIRS = "to receiver", "to sender", "data", "repairs"
READ_SOURCE, READ_PARTIAL, COMPARE, REPAIR, FLUSH, WAIT = (
    "read source", "read partial", "compare", "repair", "flush", "wait",
)  # fmt: skip
EVENTS = (TO_RECEIVER, TO_SENDER, DATA, REPAIRS, READ_SOURCE, READ_PARTIAL, COMPARE, REPAIR, FLUSH,
          WAIT)  # fmt: skip


class Pair:
    """Both ends, with queues of bytes between them, and what each of them has yet to do."""

    def __init__(self, content, partial):
        self.content, self.file = content, bytearray(partial)
        offer = Offer(Kind.FILE, b"s" * 16, b"name", 1, len(content), 0o644, 5)
        self.key = file_key(offer)
        self.now = NOW
        self.sender = SendingTransfer(NOW, "the receiver", offer, PIECE)
        self.receiver = ReceivingTransfer(NOW, "the sender", True, PIECE)
        self.queues = {name: deque() for name in EVENTS}
        self.compared, self.errors, self.proved = [], [], set()
        self.reading = memoryview(b"")
        self.has_begun = self.is_reading = False
        self.follow_sender(self.sender.begin())

    # -- what is decided --

    def follow_sender(self, decisions):
        for decision in decisions:
            match decision:
                case Say(data):
                    self.queues[TO_RECEIVER].append(data)
                case Heard():
                    self.follow_sender(self.sender.start(Origin.HELD))
                    self.follow_sender(self.sender.handle_entry(self.key, len(self.content)))
                case SendFrom(offset):
                    self.reading, self.is_reading = memoryview(self.content)[offset:], True
                case Compare(piece):
                    self.compared.append(piece.number)
                    self.queues[COMPARE].append(piece)
                case ReadRepair(piece):
                    self.queues[REPAIR].append(piece)
                case Write(chunks):
                    self.queues[DATA].extend(chunks)
                case WriteRepair(chunks):
                    self.queues[REPAIRS].extend(chunks)
                case EndData():
                    self.queues[DATA].append(None)
                case EndRepairs():
                    self.queues[REPAIRS].append(None)
                case Proved():
                    self.proved.add("sender")
                    self.follow_sender(self.sender.handle_acknowledged())
                case Fail(error):
                    self.errors.append(error)
                case OpenRepairs() | Over() | Close():
                    pass

    def follow_receiver(self, decisions):
        for decision in decisions:
            match decision:
                case Say(data):
                    self.queues[TO_SENDER].append(data)
                case Offered():
                    self.follow_receiver(self.receiver.go([Part(self.key, len(self.file))]))
                    self.follow_receiver(self.receiver.end_held())
                case Begin(origin):
                    self.has_begun = True
                    if origin is not Origin.HELD:
                        self.file.clear()
                    self.queues[READ_PARTIAL] = deque()
                case ReadPieces(pieces):
                    self.queues[READ_PARTIAL] = deque(pieces)
                case Write(chunks):
                    self.file += b"".join(chunks)
                case WritePiece(_, offset, data):
                    self.file[offset : offset + len(data)] = data
                case Flush():
                    self.queues[FLUSH].append(None)
                case Proved():
                    self.proved.add("receiver")
                case Fail(error):
                    self.errors.append(error)
                case Over() | Close():
                    pass

    # -- what happens --

    def step(self, event):
        """Let one thing happen; tells whether it could."""
        if event == WAIT:
            self.now = Instant(self.now + 0.06)
            self.follow_receiver(self.receiver.handle_timeout(self.now))
            return False
        if event == READ_SOURCE:
            return self.read_source()
        queue = self.queues[event]
        if not queue or (event in (DATA, REPAIRS) and not self.has_begun):
            return False
        self.take(event, queue.popleft())
        return True

    def read_source(self):
        if not self.is_reading:
            return False
        chunk, self.reading = bytes(self.reading[:READ]), self.reading[READ:]
        self.is_reading = bool(chunk)
        decisions = (
            self.sender.handle_data(self.now, [chunk]) if chunk else self.sender.handle_data_ended()
        )
        self.follow_sender(decisions)
        return True

    def take(self, event, value):
        sender, receiver = self.sender, self.receiver
        match event:
            case "to receiver":
                self.follow_receiver(receiver.handle_message_bytes(self.now, [value]))
            case "to sender":
                self.follow_sender(sender.handle_message_bytes(self.now, [value]))
            case "data" if value is None:
                self.follow_receiver(receiver.handle_data_ended())
            case "data":
                self.follow_receiver(receiver.handle_data(self.now, [value]))
                self.follow_receiver(receiver.handle_stored(self.now))
            case "repairs" if value is None:
                self.follow_receiver(receiver.handle_repairs_ended())
            case "repairs":
                self.follow_receiver(receiver.handle_repair_data([value]))
            case "read partial":
                data = self.file[value.offset : value.offset + value.size]
                self.follow_receiver(receiver.handle_pieces([piece_digest(data)]))
            case "compare":
                data = self.content[value.offset : value.offset + value.size]
                self.follow_sender(sender.handle_compared(piece_digest(data)))
            case "repair":
                data = self.content[value.offset : value.offset + value.size]
                self.follow_sender(sender.handle_repair(data))
                self.follow_sender(sender.handle_repaired())
            case "flush":
                assert bytes(self.file) == self.content
                self.follow_receiver(receiver.handle_flushed(self.now))

    def run_out(self):
        has_worked = [True]
        while any(has_worked):
            has_worked = [self.step(event) for event in EVENTS]  # all of them, so no generator


@given(
    st.binary(max_size=60),
    st.integers(0, 60),
    st.lists(st.integers(0, 59), max_size=5),
    st.lists(st.sampled_from(EVENTS), max_size=200),
)
def test_any_order_of_events_ends_with_the_file_and_repairs_what_differs_alone(
    content, held, damaged, order
):
    partial = bytearray(content[:held])
    for place in damaged:
        if place < len(partial):
            partial[place] ^= 1
    differing = {
        start // PIECE
        for start in range(0, len(partial), PIECE)
        if partial[start : start + PIECE] != content[: len(partial)][start : start + PIECE]
    }

    pair = Pair(content, bytes(partial))
    for event in order:
        pair.step(event)
    pair.run_out()

    assert pair.errors == []
    assert pair.proved == {"sender", "receiver"}
    assert bytes(pair.file) == content
    assert pair.compared == list(range(-(-len(partial) // PIECE)))
    assert pair.sender.repaired_count == pair.receiver.repaired_count == len(differing)
    assert pair.sender.tally.size == len(content) - len(partial)
    assert pair.sender.stored <= pair.sender.tally.size


# -- the journal ----------------------------------------------------------------------------

NAMES = st.binary(min_size=1, max_size=40)
ENTRIES = st.builds(
    Entry,
    NAMES,
    st.sampled_from(EntryType),
    st.integers(0, NOT_KNOWN),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, 0o777),
    st.binary(max_size=20),
)
RECORDS = st.lists(
    st.one_of(
        st.builds(OfferKept, st.builds(Offer, st.sampled_from(Kind), st.just(bytes(16)), NAMES)),
        st.builds(
            TokenKept,
            st.text("abc123_-", max_size=60),
            st.integers(0, (1 << 32) - 1).map(float).map(WallTime),
        ),
        st.builds(Begun, ENTRIES),
        st.builds(Finished, ENTRIES),
    ),
    max_size=12,
)


def read_in(journal, size):
    reader, found = JournalReader(), []
    for start in range(0, len(journal), size):
        found += reader.feed(journal[start : start + size])
    reader.finish()
    return found, reader


@given(RECORDS, st.integers(1, 60), st.data())
def test_a_journal_says_what_was_written_up_to_the_first_damage(records, size, data):
    writer = JournalWriter()
    ends = [len(writer.begin())]
    writer = JournalWriter()
    journal = bytearray(writer.begin())
    for record in records:
        journal += writer.append(record)
        ends.append(len(journal))
    assert read_in(journal, size)[0] == records

    place = data.draw(st.integers(8, len(journal)))
    if data.draw(st.booleans()) and place < len(journal):
        journal[place] ^= data.draw(st.integers(1, 255))
    else:
        del journal[place:]
    found, reader = read_in(journal, size)
    whole = sum(end <= place for end in ends)

    assert found == records[: max(0, whole - 1)]
    assert reader.valid_size == (ends[whole - 1] if whole else 0)
