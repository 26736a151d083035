# Invariant: what counts of a journal is the same however it is read, ends where it says, and can be gone on with.
from collections.abc import Iterator

from fuzzing import Feed

from derphole.speech.transfer_messages import Kind, Offer
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.journal import (
    HEADER_SIZE,
    MAX_RECORD,
    Begun,
    Finished,
    JournalReader,
    JournalWriter,
    OfferKept,
    Record,
    Replay,
    TokenKept,
)
from tunnel.errors import BadMagic, UnknownVersion
from tunnel.units import WallTime

SIZES = (1, 3, 24, 100, 1 << 20)
ENTRY = Entry(b"a/b", EntryType.FILE, 7, -1, 0o644)


def outcome(journal: bytes, size: int) -> tuple[list[Record], JournalReader | None]:
    reader, found = JournalReader(), []
    try:
        for start in range(0, len(journal), size):
            found += reader.feed(journal[start : start + size])
            if not reader.is_damaged:
                assert len(reader._pending) < HEADER_SIZE + MAX_RECORD
    except (BadMagic, UnknownVersion):
        return found, None
    reader.finish()
    return found, reader


def cost(data: bytes) -> None:
    outcome(data, max(1, len(data)))


def run(data: bytes) -> None:
    feed = Feed(data)
    size, journal = SIZES[feed.uint(1) % len(SIZES)], feed.rest()
    size = max(size, len(journal) // 2000)
    found, reader = outcome(journal, size)
    whole, again = outcome(journal, max(1, len(journal)))
    assert found == whole
    assert (reader is None) == (again is None)
    if reader is None or again is None:
        return
    assert reader.valid_size == again.valid_size <= len(journal)
    assert reader.is_damaged == again.is_damaged == (reader.valid_size < len(journal))
    replay = Replay()
    for record in found:
        replay.take(record)
    if not reader.valid_size:
        return
    longer = journal[: reader.valid_size] + reader.writer().append(Begun(ENTRY))
    gone_on, last = outcome(longer, len(longer))
    assert gone_on == [*found, Begun(ENTRY)]
    assert last is not None
    assert not last.is_damaged


def made(*records: Record) -> bytes:
    writer = JournalWriter()
    return writer.begin() + b"".join(map(writer.append, records))


def seeds() -> Iterator[bytes]:
    offer = OfferKept(Offer(Kind.FOLDER, bytes(range(16)), b"folder"))
    token = TokenKept("12-048219-cactus-denim", WallTime(1_800_000_000))
    link = Entry(b"a/link", EntryType.LINK, 0, 5, 0o777, b"../b")
    yield b"\0" + made(offer, token)
    yield b"\1" + made(offer, Begun(ENTRY), Finished(ENTRY), Finished(link))
    yield b"\2" + made(offer, Begun(ENTRY))[:-3]
    yield b"\3" + made()[:10]
