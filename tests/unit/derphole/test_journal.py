"""The journal of a receiver, byte for byte; and what counts of one that is cut or damaged."""

import pytest

from derphole.speech.transfer_messages import Kind, Offer
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.journal import (
    HEADER_SIZE,
    MAGIC,
    MAX_TOKEN,
    Begun,
    Finished,
    JournalReader,
    JournalWriter,
    OfferKept,
    Replay,
    TokenKept,
    _checksum,
)
from tunnel.errors import BadMagic, UnknownVersion
from tunnel.units import WallTime

OFFER = OfferKept(Offer(Kind.FOLDER, bytes(range(16)), b"folder"))
TOKEN = TokenKept("12-048219-cactus-denim", WallTime(1_800_000_000.0))
FILE = Entry(b"a/\xff", EntryType.FILE, 0x1122, -1, 0o640)
LINK = Entry(b"a/link", EntryType.LINK, 0, 5, 0o777, b"../b")
RECORDS = [OFFER, TOKEN, Begun(FILE), Finished(LINK), Finished(FILE)]
HEADER = "8964657270686a0a 0100 000000000000 524fd7f596f904d0"


def made(records=RECORDS):
    writer = JournalWriter()
    return writer.begin() + b"".join(map(writer.append, records))


def read(journal):
    reader = JournalReader()
    records = list(reader.feed(journal))
    reader.finish()
    return records, reader


def test_what_was_written_is_read():
    records, reader = read(made())

    assert records == RECORDS
    assert not reader.is_damaged
    assert reader.valid_size == len(made())


def test_a_journal_is_these_bytes():
    journal = made([Finished(LINK)])

    assert journal[:HEADER_SIZE] == bytes.fromhex(HEADER)
    assert len(journal) - HEADER_SIZE == 11 + 21 + 6 + 4
    head, body = journal[HEADER_SIZE : HEADER_SIZE + 11], journal[HEADER_SIZE + 11 :]
    assert head[:3].hex() == "041f00"
    assert body.hex() == "03ff0100000000000000000500000000000000" + "0600" + (b"a/link../b".hex())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_says_nothing_of_the_token(record):
    assert "cactus" not in repr(record)


def test_what_is_cut_anywhere_counts_up_to_the_last_whole_record():
    journal = made()
    for size in range(len(journal)):
        records, reader = read(journal[:size])

        assert records == RECORDS[: len(records)]
        assert made(records)[: reader.valid_size] == journal[: reader.valid_size]
        assert reader.valid_size <= size
        assert reader.is_damaged == (reader.valid_size < size)


def test_any_flipped_bit_ends_the_journal_before_it():
    journal = made()
    for place in range(len(MAGIC), len(journal)):
        damaged = bytearray(journal)
        damaged[place] ^= 1 << place % 8
        records, reader = read(bytes(damaged))

        assert records == RECORDS[: len(records)]
        assert reader.valid_size <= place
        assert reader.is_damaged


def test_it_is_gone_on_with_behind_the_last_record_that_counts():
    journal = made()
    for size in range(HEADER_SIZE, len(journal)):
        _, reader = read(journal[:size])
        longer = journal[: reader.valid_size] + reader.writer().append(Begun(LINK))

        records, again = read(longer)
        assert records[-1] == Begun(LINK)
        assert not again.is_damaged


def test_a_record_of_an_earlier_journal_in_the_same_blocks_is_not_believed():
    old = made([OFFER, Begun(FILE), Finished(FILE)])
    other = made([OfferKept(Offer(Kind.FOLDER, bytes(range(16)), b"FOLDER"))])

    records, reader = read(other + old[len(other) :])

    assert len(records) == 1
    assert reader.valid_size == len(other)


def test_records_of_later_versions_are_passed_over():
    writer = JournalWriter()
    journal = writer.begin()
    head = bytes((99, 2, 0))
    last = _checksum(journal[16:], head, b"??")
    journal += head + last + b"??" + JournalWriter(last).append(OFFER)

    records, reader = read(journal)
    assert records == [OFFER]
    assert not reader.is_damaged


def test_what_is_no_journal_or_one_of_another_version_is_not_ours_to_change():
    with pytest.raises(BadMagic):
        read(b"#!/bin/sh\n")
    fixed = MAGIC + b"\2" + bytes(7)
    with pytest.raises(UnknownVersion):
        read(fixed + _checksum(b"", fixed))
    assert read(b"")[1].valid_size == 0
    assert read(MAGIC[:3])[1].is_damaged


def test_what_is_too_large_is_not_written():
    writer = JournalWriter()
    writer.begin()

    with pytest.raises(ValueError):
        writer.append(Begun(Entry(b"p" * 9001, EntryType.FILE)))
    with pytest.raises(ValueError):
        writer.append(TokenKept("t" * (MAX_TOKEN + 1), WallTime(5)))


def test_what_a_journal_comes_to():
    replay = Replay()
    for record in [OFFER, TOKEN, Begun(FILE), Begun(LINK), Finished(LINK)]:
        replay.take(record)

    assert replay.offer == OFFER.offer
    assert replay.begun == {FILE.key: FILE}
    assert replay.token_at(WallTime(1_799_999_999)) == TOKEN
    assert replay.token_at(WallTime(1_800_000_000)) is None

    replay.take(Finished(FILE))
    assert replay.begun == {}
