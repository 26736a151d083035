"""Archives of trees: what is written is read back, and what nobody of ours writes is refused."""

import io
import tarfile

import pytest
from support.archives import (
    TOP,
    archive_of,
    file,
    folder,
    link,
    member,
    patched,
    read,
)

from derphole.transfer.archive import (
    MAX_EXTENTS,
    MAX_RECORDS,
    MIN_HOLE,
    ArchiveWriter,
    extents_from,
)
from derphole.transfer.archive_reader import (
    ArchiveReader,
    Began,
    Data,
    Ended,
    Entered,
    Finished,
    Left,
    LeftOut,
    Linked,
)
from derphole.transfer.entries import Change, Ending, Entry, Extent
from derphole.transfer.names import MAX_DEPTH
from derphole.transfer.tar_header import (
    END,
    decode_header,
    decode_number,
    decode_records,
    decode_time,
    encode_header,
    encode_records,
    encode_time,
    split_name,
)
from tunnel.errors import DecodeError, MisuseError, PeerError, ProtocolViolation


def told(data, step=None):
    """Return the events of an archive, with the bytes of their data."""
    return [
        (event.offset, bytes(event.view)) if isinstance(event, Data) else event
        for event in read(data, step)
    ]


def content(events):
    """Return the data of all files, joined."""
    return b"".join(bytes(event.view) for event in events if isinstance(event, Data))


# -- what is written is read ---------------------------------------------------------------------


def test_a_tree_comes_back_as_it_was():
    top, inner, one = folder(b"top"), folder(b"top/d", 0o700), file(b"top/d/x", 3, 0o600)
    pointer, last = link(b"top/l", b"d/x"), file(b"top/z")

    events = told(archive_of(top, inner, (one, b"abc"), pointer, last))

    assert events == [
        Entered(top),
        Entered(inner),
        Began(one, 0),
        (0, b"abc"),
        Ended(Ending(3)),
        Left(),
        Linked(pointer, None),
        Began(last, 0),
        Ended(Ending(0)),
        Left(),
        Finished(),
    ]


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 1024])
def test_it_does_not_matter_how_the_stream_is_cut(step):
    data = archive_of(
        folder(b"top"),
        (file(b"top/" + b"n" * 250, 1000), bytes(range(250)) * 4),
        link(b"top/o", b"x" * 300),
        (file(b"top/p", 512), bytes(512)),
    )

    whole, cut = read(data), read(data, step)

    assert content(cut) == content(whole)
    assert [e for e in cut if not isinstance(e, Data)] == [
        e for e in whole if not isinstance(e, Data)
    ]


@pytest.mark.parametrize(
    "entry",
    [
        file(b"top/" + "ä\n".encode() + b"\xff", 0, 0),
        file(b"top/" + b"x" * 255),
        file(b"top/" + b"x" * 95),
        file(b"top/" + b"\xff" * 200),
        file(b"top/t", 0, 0o777, 1),
        file(b"top/t", 0, 0o644, -1),
        file(b"top/t", 0, 0o644, -(10**18) - 1),
        file(b"top/t", 0, 0o644, 123_456_789_987_654_321),
        file(b"top/t", 0, 0o644, 8**11 * 10**9),
        link(b"top/l", b"y" * 4000),
        link(b"top/l", b"\xfe\xff"),
        folder(b"top/" + b"d" * 200, 0o700),
    ],
)
def test_names_times_and_targets_come_back_exactly(entry):
    events = read(archive_of(folder(b"top"), entry))

    found = [event.entry for event in events if hasattr(event, "entry")]
    assert found == [folder(b"top"), entry]


def test_a_file_larger_than_a_header_can_say_is_announced_in_a_record():
    huge = file(b"top/huge", 8**11 + 5)
    writer = ArchiveWriter()

    (_, began) = read(writer.begin(folder(b"top")) + writer.begin(huge))

    assert began == Began(huge, 0)
    assert writer.data_left == huge.size


def test_a_file_that_is_held_in_part_goes_on_behind_that():
    entry = file(b"top/x", 10)
    writer = ArchiveWriter()
    data = writer.begin(folder(b"top")) + writer.begin(entry, 6)
    writer.took(4)
    data += b"6789" + writer.end() + writer.finish()

    assert told(data)[1:4] == [Began(entry, 6), (6, b"6789"), Ended(Ending(10))]


@pytest.mark.parametrize(
    ("change", "size"),
    [(Change.GREW, 4), (Change.SHRANK, 2), (Change.WRITTEN, 4), (Change.BROKEN, 4)],
)
def test_what_befell_a_file_is_told_at_its_end(change, size):
    writer = ArchiveWriter()
    data = writer.begin(folder(b"top")) + writer.begin(file(b"top/x", 4))
    writer.took(4)
    data += b"ab\0\0" + writer.end(Ending(size, change)) + writer.begin(file(b"top/y"))

    assert [e for e in told(data) if isinstance(e, Ended)] == [Ended(Ending(size, change))]


def test_a_change_that_a_later_version_tells_is_taken_for_the_worst():
    flags = encode_records({b"DERPHOLE.change": b"melted", b"DERPHOLE.size": b"0"})
    flags = patched(flags[:512], 156, b"g") + flags[512:]

    events = told(TOP + member(b"top/x") + flags + member(b"top/y"))

    assert Ended(Ending(0, Change.BROKEN)) in events


def test_records_that_are_not_known_are_passed_over():
    assert read(TOP + member(b"top/x", LATER__thing=b"1"))[1].entry.path == b"top/x"


# -- holes ---------------------------------------------------------------------------------------


def test_holes_are_not_sent():
    entry = file(b"top/x", 10 << 20)
    extents = [Extent(1 << 20, 5), Extent(9 << 20, 7)]
    writer = ArchiveWriter()
    data = writer.begin(folder(b"top")) + writer.begin(entry, 0, extents)
    assert writer.data_left == 12
    writer.took(12)
    data += b"first" + b"another" + writer.end() + writer.finish()

    for step in (None, 1, 100):
        assert content(read(data, step)) == b"firstanother"
    assert [e for e in told(data) if type(e) is tuple] == [
        (1 << 20, b"first"),
        (9 << 20, b"another"),
    ]
    assert Ended(Ending(10 << 20)) in told(data)


def test_a_file_that_is_one_hole_is_announced_by_an_empty_map():
    writer = ArchiveWriter()
    entry = file(b"top/x", 1 << 40)
    data = writer.begin(folder(b"top")) + writer.begin(entry, 0, []) + writer.end()

    events = told(data + writer.finish())

    assert events[1:3] == [Began(entry, 0), Ended(Ending(1 << 40))]
    assert len(data) < 4096


@pytest.mark.parametrize(
    ("found", "offset", "size", "wanted"),
    [
        ([Extent(0, 100)], 0, 100, None),
        ([Extent(0, 10), Extent(20, 80)], 0, 100, None),
        ([], 0, 1 << 20, []),
        ([], 0, MIN_HOLE - 1, None),
        ([Extent(0, 1 << 20)], 0, 2 << 20, [Extent(0, 1 << 20)]),
        ([Extent(1 << 20, 10)], 0, (1 << 20) + 10, [Extent(1 << 20, 10)]),
        ([Extent(0, 10), Extent(1 << 20, 10)], 5, 2 << 20, [Extent(5, 5), Extent(1 << 20, 10)]),
        ([Extent(0, 10)], 1 << 20, 2 << 20, []),
        ([Extent(0, 5 << 20)], 0, 1 << 20, None),
        ([Extent(0, 10)], 10, 10, None),
    ],
)
def test_only_holes_that_are_worth_it_are_told(found, offset, size, wanted):
    assert extents_from(found, offset, size) == wanted


def test_a_file_with_very_many_holes_is_told_with_fewer():
    found = [Extent(at * (1 << 20), 1000) for at in range(10 * MAX_EXTENTS)]
    found += [Extent(1 << 40, 1000)]

    extents = extents_from(found, 0, 1 << 41)

    assert len(extents) < MAX_EXTENTS
    assert extents[-1] == Extent(1 << 40, 1000)
    for extent in found:
        assert any(
            e.offset <= extent.offset and extent.offset + extent.size <= e.offset + e.size
            for e in extents
        )


def a_map(*numbers, data=b""):
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % 512) + data


def sparse(content, real=b"1000000", **more):
    return member(
        b"top/x",
        content=content,
        **{
            "GNU__sparse__major": b"1",
            "GNU__sparse__minor": b"0",
            "GNU__sparse__realsize": real,
            "GNU__sparse__name": b"top/x",
        }
        | more,
    )


BAD_MAPS = {
    "that does not rise": sparse(a_map(2, 500, 1, 400, 1, data=b"ab")),
    "that overlaps": sparse(a_map(2, 0, 10, 9, 1, data=bytes(11))),
    "beyond the end": sparse(a_map(1, 999_999, 2, data=b"ab")),
    "that tells of less data": sparse(a_map(1, 0, 1, data=b"ab")),
    "that tells of more data": sparse(a_map(1, 0, 3, data=b"ab")),
    "that never ends": sparse(b"1\n" + b"1" * 1022),
    "with a number that is none": sparse(a_map(1, 0, 1).replace(b"0\n1\n", b"x\n1\n") + b"a"),
    "with a huge count": sparse(a_map(10**18, data=b"a")),
    "with too many lines": sparse(a_map(MAX_EXTENTS + 1, data=b"a")),
    "that is longer than any": sparse(b"1500\n" + b"0" * 70_000),
    "that is not there": sparse(b""),
    "of another version": sparse(a_map(0), GNU__sparse__minor=b"1"),
    "before what is held": sparse(a_map(1, 0, 1, data=b"a"), DERPHOLE__offset=b"10"),
    "of a file that is too large": sparse(a_map(0), real=b"9" * 19),
}


@pytest.mark.parametrize("which", BAD_MAPS)
def test_a_map_of_holes_that_lies_is_refused(which):
    with pytest.raises(PeerError):
        read(TOP + BAD_MAPS[which] + END)


# -- what is refused -----------------------------------------------------------------------------

X = member(b"top/x")
HUGE = 1 << 62
BAD_ARCHIVES = {
    "an absolute name": (member(b"/etc/passwd"), "begins at the root"),
    "the root": (member(b"/", b"5"), "part that is empty"),
    "dot dot": (TOP + member(b"top/.."), "names a folder"),
    "dot dot as folder": (member(b"../", b"5"), "names a folder"),
    "dot dot in the middle": (TOP + member(b"top/../x"), "names a folder"),
    "dot": (member(b"./", b"5"), "names a folder"),
    "dot in the middle": (TOP + member(b"top/./x"), "names a folder"),
    "two separators": (TOP + member(b"top//x"), "empty"),
    "a file that ends with a separator": (TOP + member(b"top/x/"), "empty"),
    "no name": (member(b""), "empty"),
    "a NUL": (TOP + member(b"x", path=b"top/x\0y"), "NUL"),
    "a part that is too long": (TOP + member(b"x", path=b"top/" + b"x" * 256), "longer than 255"),
    "a path that is too long": (TOP + member(b"x", path=b"top/" + b"x" * 5000), "longer"),
    "an absolute name in a record": (TOP + member(b"x", path=b"/etc/passwd"), "root"),
    "dot dot in a record": (TOP + member(b"x", path=b"top/../../x"), "names a folder"),
    "dot dot in a prefix": (member(b"../" * 40 + b"x" * 90), "names a folder"),
    "a duplicate": (TOP + X + X, "comes twice"),
    "a duplicate folder": (TOP + TOP, "comes twice"),
    "a file that becomes a folder": (TOP + X + member(b"top/x/", b"5"), "comes twice"),
    "a link and then a file of its name": (
        TOP + member(b"top/x", b"2", target=b"y") + X,
        "comes twice",
    ),
    "a link and then something through it": (
        TOP + member(b"top/l", b"2", target=b"..") + member(b"top/l/x"),
        "without its folder",
    ),
    "a file and then something in it": (TOP + X + member(b"top/x/y"), "without its folder"),
    "no folder": (member(b"top/x"), "without its folder"),
    "a folder that was left": (
        TOP + member(b"top/a/", b"5") + member(b"top/b/", b"5") + member(b"top/a/x"),
        "without its folder",
    ),
    "another order": (TOP + member(b"top/b") + member(b"top/a"), "too late"),
    "a folder of another tree": (TOP + member(b"u/", b"5") + member(b"top/x"), "without"),
    "a type that nobody knows": (TOP + member(b"top/x", b"7"), "no known type"),
    "an old file": (TOP + member(b"top/x", b"\0"), "no known type"),
    "a volume": (TOP + member(b"top/x", b"V"), "no known type"),
    "a name of GNU": (member(b"././@LongLink", b"L", content=b"top/x\0"), "part that"),
    "a sparse file of GNU": (TOP + member(b"top/x", b"S"), "no known type"),
    "a folder with data": (member(b"top/", b"5", content=b"x"), "no known type"),
    "a link with data": (TOP + member(b"top/l", b"2", content=b"x", target=b"y"), "no known"),
    "records twice": (
        TOP + encode_records({b"path": b"top/a"}) + member(b"x", path=b"top/b"),
        "twice",
    ),
    "records without a member": (encode_records({b"path": b"top/a"}) + END, "where it should not"),
    "records of a huge size": (
        patched(encode_header(b"p", b"x", 0, HUGE & 0xFFFFFFFF, 0), 0, b"p"),
        "wrong size",
    ),
    "records without any": (encode_header(b"p", b"x", 0, 0, 0), "wrong size"),
    "more records than fit": (
        encode_header(b"p", b"x", 0, MAX_RECORDS + 1, 0),
        "wrong size",
    ),
    "a record without a length": (
        TOP + encode_header(b"p", b"x", 0, 5, 0) + b"path=".ljust(512, b"\0"),
        "no length",
    ),
    "a record that goes on": (
        TOP + encode_header(b"p", b"x", 0, 9, 0) + b"99 path=x".ljust(512, b"\0"),
        "not one",
    ),
    "a record of length nothing": (
        TOP + encode_header(b"p", b"x", 0, 9, 0) + b"0 path=x\n".ljust(512, b"\0"),
        "not one",
    ),
    "a change of no file": (
        TOP + patched(encode_records({b"DERPHOLE.change": b"grew"})[:512], 156, b"g"),
        "change of no file",
    ),
    "a file that ends behind its end": (
        TOP
        + X
        + patched(encode_records({b"DERPHOLE.size": b"9"})[:512], 156, b"g")
        + encode_records({b"DERPHOLE.size": b"9"})[512:],
        "behind its end",
    ),
    "an offset behind the end": (
        TOP + sparse(a_map(0), real=b"5", DERPHOLE__offset=b"6"),
        "larger than any",
    ),
    "an offset that is huge": (
        TOP + member(b"top/x", content=b"x", DERPHOLE__offset=b"9223372036854775807"),
        "larger than any",
    ),
    "an offset below nothing": (TOP + member(b"top/x", DERPHOLE__offset=b"-1"), "none"),
    "a size below nothing": (TOP + encode_records({b"size": b"-1"}) + X, "none"),
    "a size that no file can have": (
        TOP + encode_records({b"size": b"9" * 30}) + X,
        "none",
    ),
    "a time that is none": (TOP + member(b"top/x", mtime=b"yesterday"), "none"),
    "a time of nobody's": (TOP + member(b"top/x", mtime=b"9" * 25), "too far"),
    "no mark": (patched(X[:512], 257, b"ustar  \0"), "no mark"),
    "a wrong checksum": (X[:148] + b"000000\0 " + X[156:], "checksum"),
    "a number of another base": (patched(X[:512], 124, b"\x80" + bytes(10) + b"\1"), "none"),
    "a number with a sign": (patched(X[:512], 124, b"-0000000001\0"), "none"),
    "a number with an underscore": (patched(X[:512], 124, b"0000000_001\0"), "none"),
    "a digit that is none": (patched(X[:512], 124, b"00000000008\0"), "none"),
    "noise": (bytes(range(256)) * 2, "no mark"),
    "one block of zeros": (TOP + bytes(512) + X, "behind its end"),
    "zeros behind the end": (TOP + END + bytes(512), "where it should not"),
    "something behind the end": (TOP + END + member(b"top/z"), "behind its end"),
}  # fmt: skip


@pytest.mark.parametrize("which", BAD_ARCHIVES)
def test_what_no_writer_of_ours_makes_is_refused(which):
    data, sentence = BAD_ARCHIVES[which]

    with pytest.raises(PeerError, match=sentence) as caught:
        read(data)

    assert str(caught.value).isprintable()
    with pytest.raises(PeerError):
        read(data, 100)


def test_a_tree_that_is_too_deep_is_refused():
    paths = [b"/".join([b"d"] * depth) for depth in range(1, MAX_DEPTH + 2)]
    entries = [folder(path) for path in paths]

    assert len(read(archive_of(*entries[:-1]))) == 2 * MAX_DEPTH + 1
    with pytest.raises(ProtocolViolation, match="deeper than 256"):
        read(archive_of(*entries))


@pytest.mark.parametrize(
    ("kind", "what"),
    [(b"1", "hard link"), (b"3", "device"), (b"4", "device"), (b"6", "named pipe")],
)
def test_types_that_are_not_taken_are_told_and_left_out(kind, what):
    odd = member(b"top/o", kind, content=b"data", target=b"top/x")

    events = read(TOP + odd + member(b"top/x"))

    assert events[1:2] == [LeftOut(b"top/o", what)]
    assert events[2].entry.path == b"top/x"


@pytest.mark.parametrize("target", [b"/etc", b"../..", b"a/../../..", b""])
def test_a_link_that_leads_out_is_told_with_its_fault(target):
    (_, linked) = read(TOP + member(b"top/l", b"2", target=target))

    assert linked.fault is not None


def test_set_id_and_sticky_bits_do_not_come_through():
    (entered, began) = read(member(b"top/", b"5", mode=0o7777) + member(b"top/x", mode=0o6755))

    assert (entered.entry.mode, began.entry.mode) == (0o777, 0o755)


def test_an_archive_that_is_cut_is_not_finished():
    data = archive_of(folder(b"top"), (file(b"top/x", 5), b"abcde"))

    for end in range(0, len(data), 64):
        reader = ArchiveReader()
        events = reader.feed(data[:end])
        assert not reader.is_finished
        assert not any(isinstance(event, Finished) for event in events)
    reader = ArchiveReader()
    reader.feed(data)
    assert reader.is_finished


def test_a_cut_archive_names_the_file_that_it_ends_in():
    reader = ArchiveReader()
    reader.feed(TOP + member(b"top/x", content=b"abc", size=100))

    assert reader.under_way == b"top/x"


def test_the_writer_holds_its_caller_to_what_it_announced():
    writer = ArchiveWriter()
    writer.begin(file(b"x", 5))

    with pytest.raises(MisuseError):
        writer.took(6)
    with pytest.raises(MisuseError):
        writer.end()
    with pytest.raises(MisuseError):
        writer.begin(file(b"y"))


# -- headers, beside Python's own ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "mtime"),
    [(b"x", 0, 0), (b"d/" * 40 + b"x" * 60, 8**11 - 1, 8**11 - 1), (b"x" * 100, 77, 10**9)],
)
def test_tarfile_reads_our_headers(name, size, mtime):
    block = encode_header(name, b"0", 0o640, size, mtime * 10**9)

    info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")

    assert (info.name.encode(), info.size, info.mtime, info.mode) == (name, size, mtime, 0o640)


@pytest.mark.parametrize("name", ["x", "d/" * 40 + "x" * 60])
def test_we_read_headers_of_tarfile(name):
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = 5, 1_700_000_000, 0o600
    info.devmajor = info.devminor = 0
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[329:345] = b"0000000\0" * 2  # tarfile leaves these empty

    header = decode_header(patched(bytes(block), 329, b"0000000\0" * 2))

    assert header.name == name.encode()
    assert (header.size, header.mtime_ns, header.mode) == (5, 1_700_000_000 * 10**9, 0o600)


def test_tarfile_reads_a_whole_archive():
    entries = [folder(b"top"), (file(b"top/" + "ä".encode() * 100, 5), b"hello")]
    entries += [link(b"top/\xff" + b"l" * 200, b"t" * 150), file(b"top/\xff" + b"m" * 120)]

    with tarfile.open(fileobj=io.BytesIO(archive_of(*entries))) as tar:
        members = tar.getmembers()
        names = [info.name.encode("utf-8", "surrogateescape") for info in members]
        assert names == [(e if isinstance(e, Entry) else e[0]).path for e in entries]
        assert tar.extractfile(members[1]).read() == b"hello"
        assert members[2].linkname == "t" * 150


def test_a_name_is_split_where_both_parts_fit():
    assert split_name(b"x" * 100) == (b"", b"x" * 100)
    assert split_name(b"x" * 101) is None
    assert split_name(b"p" * 155 + b"/" + b"n" * 100) == (b"p" * 155, b"n" * 100)
    assert split_name(b"p" * 156 + b"/" + b"n" * 100) is None
    assert split_name(b"p" * 120 + b"/") is None


@pytest.mark.parametrize(
    "value", [b"", b"x", b"x" * 90, b"x" * 92, b"x" * 93, b"x" * 990, b"a=b\nc", b"\xff\0"]
)
def test_records_come_back(value):
    data = encode_records({b"key": value, b"other": b"1"})
    size = decode_header(data[:512]).size

    assert decode_records(data[512 : 512 + size]) == {b"key": value, b"other": b"1"}
    assert len(data) % 512 == 0


@pytest.mark.parametrize("time_ns", [0, 1, -1, 10**9, 1_234_567_890_123_456_789, -(1 << 62)])
def test_times_come_back(time_ns):
    assert decode_time(encode_time(time_ns)) == time_ns


@pytest.mark.parametrize("text", [b"", b"-", b"1.2.3", b"1e9", b" 1", b"0x1", b"1.x", b"--1"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(DecodeError):
        decode_time(text)


@pytest.mark.parametrize("text", [b"", b"-1", b"+1", b"1_0", b" 1", b"9223372036854775808"])
def test_a_number_that_is_none_is_refused(text):
    with pytest.raises(DecodeError):
        decode_number(text)
