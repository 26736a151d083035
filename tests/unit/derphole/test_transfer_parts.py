"""What identifies a source, what is claimed of it, and the account of each claimed piece."""

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import Checked, Kind, Offer, Part
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.held import MAX_HELD_ENTRIES, Held, KeySet
from derphole.transfer.offer import (
    NO_SOURCE,
    Fit,
    file_key,
    fit,
    source_id,
)
from derphole.transfer.pieces import MAX_PARTS, MAX_PIECES, Claims, Comparison, piece_digest
from derphole.transfer.repairs import RepairReader, WrongPiece, repair_header
from tunnel.errors import DecodeError

KEYS = [bytes((number,)) * 16 for number in range(1, 9)]
FILE = Offer(Kind.FILE, b"s" * 16, b"name", 1, 100, 0o644, 5)


# -- what identifies ------------------------------------------------------------------------


def test_a_source_id_is_the_same_for_the_same_paths_of_the_same_user_alone():
    ids = {
        source_id(b"s" * 32, [b"/a", b"/b"]),
        source_id(b"s" * 32, [b"/b", b"/a", b"/a"]),
        source_id(b"t" * 32, [b"/a", b"/b"]),
        source_id(b"s" * 32, [b"/a/b"]),
        source_id(b"s" * 32, [b"/a", b"/bc"]),
        source_id(b"s" * 32, [b"/ab", b"/c"]),
    }

    assert len(ids) == 5
    assert all(len(each) == 16 for each in ids)


def test_whatever_changes_of_an_entry_makes_it_another():
    entries = [
        Entry(b"a", EntryType.FILE),
        Entry(b"b", EntryType.FILE),
        Entry(b"a", EntryType.FOLDER),
        Entry(b"a", EntryType.FILE, size=1),
        Entry(b"a", EntryType.FILE, mtime_ns=-1),
        Entry(b"a", EntryType.FILE, mode=0o600),
        Entry(b"a", EntryType.LINK, target=b"b"),
        Entry(b"ab", EntryType.LINK),
    ]

    assert len({entry.key for entry in entries}) == len(entries)


def test_what_is_held_fits_what_is_offered_or_it_is_known_why_not():
    def change(**values):
        fields = {name: getattr(FILE, name) for name in FILE.__slots__}
        return Offer(**{**fields, **values})

    folder = Offer(Kind.FOLDER, b"s" * 16, b"name")
    assert fit(FILE, FILE) is Fit.FITS
    assert fit(FILE, change(mtime_ns=6)) is fit(FILE, change(size=101)) is Fit.CHANGED
    assert fit(FILE, change(source=b"t" * 16)) is Fit.OTHER_SOURCE
    assert fit(FILE, folder) is Fit.OTHER_SOURCE
    assert fit(folder, Offer(Kind.FOLDER, b"s" * 16, b"other", 5, 5)) is Fit.FITS
    assert fit(change(source=NO_SOURCE), change(source=NO_SOURCE)) is Fit.NEVER
    text = Offer(Kind.TEXT, b"s" * 16, b"")
    assert fit(text, text) is Fit.NEVER
    assert file_key(FILE) == Entry(b"name", EntryType.FILE, 100, 5, 0o644).key


# -- what is claimed ------------------------------------------------------------------------


def claims_of(*held, piece_size=10):
    claims = Claims(piece_size)
    for key, size in zip(KEYS, held, strict=False):
        claims.add(Part(key, size))
    return claims


def test_pieces_are_numbered_through_all_parts():
    claims = claims_of(25, 10, 1)

    assert list(claims) == [
        Piece(0, KEYS[0], 0, 10),
        Piece(1, KEYS[0], 10, 10),
        Piece(2, KEYS[0], 20, 5),
        Piece(3, KEYS[1], 0, 10),
        Piece(4, KEYS[2], 0, 1),
    ]
    assert [list(claims.numbers(key)) for key in KEYS[:4]] == [[0, 1, 2], [3], [4], []]
    assert [claims.held(key) for key in KEYS[:4]] == [25, 10, 1, 0]
    for number in (-1, 5):
        with pytest.raises(IndexError):
            claims.piece(number)


def test_nothing_is_claimed_twice_or_beyond_the_bounds():
    claims = claims_of(10)
    for part in (Part(KEYS[0], 5), Part(KEYS[1], 0), Part(KEYS[1], 10 * MAX_PIECES)):
        with pytest.raises(ValueError):
            claims.add(part)
    assert claims.count == 1

    fitting = Claims(10)
    fitting.add_what_fits([Part(KEYS[0], 10 * MAX_PIECES - 25), Part(KEYS[1], 99)])
    fitting.add_what_fits([Part(KEYS[2], 1)])
    assert (fitting.count, fitting.held(KEYS[1]), fitting.held(KEYS[2])) == (MAX_PIECES, 20, 0)

    many = Claims()
    many.add_what_fits(Part(number.to_bytes(16, "little"), 1) for number in range(MAX_PARTS + 5))
    assert len(many.parts) == MAX_PARTS


# -- what becomes of it ---------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("hear"), st.integers(1, 4)),
    st.tuples(st.just("meet"), st.integers(0, 3)),
    st.tuples(st.just("close"), st.just(0)),
    st.tuples(st.just("compare"), st.sampled_from([0, 0, 1, 2])),
)


@given(st.lists(st.integers(1, 35), min_size=1, max_size=4), st.lists(STEP, max_size=60))
def test_each_piece_of_what_the_source_has_is_compared_once_and_sent_again_if_it_differs(
    held, steps
):
    claims = claims_of(*held)
    comparison = Comparison(claims)
    digests = [piece_digest(b"%d" % number) for number in range(claims.count)]
    heard, met, is_closed, compared, repaired = 0, [], False, [], 0
    steps = [
        *steps,
        *[("hear", 4)] * claims.count,
        ("close", 0),
        *[("compare", 0)] * claims.count,
    ]
    for name, value in steps:
        if name == "hear":
            comparison.hear(digests[heard : heard + value])
            heard = min(heard + value, len(digests))
        elif name == "meet":
            comparison.meet(KEYS[value])
            met += [KEYS[value]] if not is_closed and value < len(held) else []
        elif name == "close":
            comparison.close()
            is_closed = True
        elif (piece := comparison.next_piece()) is not None:
            assert piece.number < heard
            assert piece.key in met
            assert comparison.next_piece() is None
            compared.append(piece.number)
            if not comparison.is_equal(digests[piece.number] if value == 0 else None):
                assert comparison.repair() == piece
                repaired += 1
        wanted = [piece.number for piece in claims if piece.key in met]
        is_done = is_closed and heard == claims.count and sorted(compared) == wanted
        assert comparison.is_complete == is_done

    assert comparison.is_complete
    assert len(set(compared)) == len(compared)
    assert comparison.repaired_count == repaired


def test_more_digests_than_are_claimed_are_refused():
    comparison = Comparison(claims_of(25))
    comparison.hear([bytes(16)] * 2)

    with pytest.raises(ValueError):
        comparison.hear([bytes(16)] * 2)


# -- repairs --------------------------------------------------------------------------------


def repair(number, data):
    return repair_header(number, data) + data


def test_a_repair_begins_with_these_bytes():
    assert repair_header(3, b"abc").hex() == "03000000" + "03000000" + (
        "06b05ab6733a618578af5f94892f3950"
    )


@given(
    st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=10)), unique_by=lambda each: each[0]),
    st.integers(1, 40),
)
def test_repairs_land_where_they_belong_however_they_are_cut(pieces, size):
    claims = claims_of(25, 10, 1)
    pieces = [(number, data[: claims.piece(number).size]) for number, data in pieces]
    reader, written = RepairReader(claims), {}
    stream = b"".join(repair(number, data) for number, data in pieces)
    for start in range(0, len(stream), size):
        for write in reader.feed([stream[start : start + size]]):
            written.update(
                ((write.key, place), byte)
                for place, byte in enumerate(bytes(write.data), write.offset)
            )
    reader.finish()

    wanted = {}
    for number, data in pieces:
        piece = claims.piece(number)
        wanted.update(((piece.key, place), byte) for place, byte in enumerate(data, piece.offset))
    assert written == wanted
    assert reader.repaired_count == len(pieces)


@pytest.mark.parametrize(
    "stream",
    [repair(5, b"x"), repair(2, bytes(6)), repair(0, b"x") + repair(0, b"x"), repair(9, b"")],
    ids=["none such", "too large", "twice", "far beyond"],
)
def test_a_repair_that_may_not_come_is_refused(stream):
    with pytest.raises(DecodeError):
        RepairReader(claims_of(25, 10, 1)).feed([stream])


def test_a_repair_of_other_bytes_than_announced_is_seen():
    with pytest.raises(WrongPiece):
        RepairReader(claims_of(25)).feed([repair_header(0, b"abc") + b"abd"])


@pytest.mark.parametrize("cut", [1, 23, 24, 26])
def test_repairs_that_end_within_a_piece_are_refused(cut):
    reader = RepairReader(claims_of(25))
    reader.feed([repair(0, b"abc")[:cut]])

    with pytest.raises(DecodeError):
        reader.finish()


# -- what is told ---------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=300))
def test_a_set_of_keys_holds_what_was_added(keys):
    made = KeySet()
    for key in [*keys, *keys]:
        made.add(key)

    assert len(made) == len(set(keys) - {bytes(16)})
    assert all((key in made) == (key != bytes(16)) for key in keys)
    assert b"\1" * 15 + b"?" not in made or b"\1" * 15 + b"?" in keys


def test_many_keys_take_little_memory():
    rng, made = Random(1), KeySet()
    count = 50_000
    tracemalloc.start()
    try:
        for _ in range(count):
            made.add(rng.randbytes(16))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(made) == count
    assert size < 50 * count


def test_too_much_that_is_held_is_refused():
    held = Held()
    held._told = MAX_HELD_ENTRIES - 1

    with pytest.raises(ValueError):
        held.add_entries(KEYS[:2])
    held._told = MAX_HELD_ENTRIES - 1
    with pytest.raises(ValueError):
        held.add_checked([Checked(key, key) for key in KEYS[:2]])


def test_a_file_that_is_to_be_compared_is_finished_only_with_the_same_content():
    first, second, third = KEYS[:3]
    held = Held()
    held.add_entries([first])
    held.add_checked([Checked(second, b"c" * 16)])
    asked = []

    def digest(found):
        return lambda: asked.append(found) or found

    assert held.has(first, digest(b"-"))
    assert not held.has(third, digest(b"-"))
    assert asked == []
    assert held.has(second, digest(b"c" * 16))
    assert not held.has(second, digest(b"d" * 16))
    assert not held.has(second, digest(None))
    assert len(asked) == 3
    assert held.finished_count == 2
    assert not held.is_nothing
