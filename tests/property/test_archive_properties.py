"""Archives over random trees: whatever goes in comes out, however the stream is cut."""

import io
import tarfile

from hypothesis import example, given
from hypothesis import strategies as st
from support.archives import archive_of, read

from derphole.transfer.archive import MIN_HOLE, ArchiveWriter, extents_from
from derphole.transfer.archive_reader import Began, Data, Ended, Entered, Finished, Left, Linked
from derphole.transfer.entries import Change, Ending, Entry, EntryType, Extent, link_fault
from derphole.transfer.names import order_key, part_fault, part_name, path_fault, shown, twin
from derphole.transfer.tar_header import decode_header, encode_header

parts = st.one_of(
    st.binary(min_size=1, max_size=255),
    st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"a", b"a.b", b"a b", b"-", b"~", b"\xff" * 255, b"x" * 200]),
).filter(lambda part: part_fault(part) is None)
times = st.integers(min_value=-(1 << 62), max_value=(1 << 62))
modes = st.integers(min_value=0, max_value=0o777)


@st.composite
def trees(draw):
    """A tree below one folder, as entries in order and the contents of files."""
    paths = {b"top": True}
    for _ in range(draw(st.integers(0, 8))):
        above = draw(st.sampled_from(sorted(p for p, is_folder in paths.items() if is_folder)))
        path = above + b"/" + draw(parts)
        if path_fault(path) is None and path not in paths:
            paths[path] = draw(st.booleans())
    members = []
    for path in sorted(paths, key=order_key):
        mtime_ns, mode = draw(times), draw(modes)
        if paths[path]:
            members.append((Entry(path, EntryType.FOLDER, 0, mtime_ns, mode), b""))
        elif draw(st.booleans()):
            target = draw(st.binary(min_size=1, max_size=300).filter(lambda t: b"\0" not in t))
            members.append((Entry(path, EntryType.LINK, 0, mtime_ns, mode, target), b""))
        else:
            content = draw(st.binary(max_size=1500))
            members.append((Entry(path, EntryType.FILE, len(content), mtime_ns, mode), content))
    return members


def rebuilt(events):
    """Return entries and contents as the events tell them, and check that these fit together."""
    members, depth, is_open = [], 0, False
    for event in events:
        assert is_open == isinstance(event, Data | Ended), event
        match event:
            case Entered(entry):
                members.append((entry, b""))
                depth += 1
            case Linked(entry, fault):
                assert fault == link_fault(entry.path, entry.target)
                members.append((entry, b""))
            case Began(entry, offset):
                assert offset == 0
                members.append((entry, b""))
                is_open = True
            case Data(offset, view):
                entry, content = members[-1]
                assert offset == len(content)
                members[-1] = entry, content + bytes(view)
            case Ended(ending):
                assert ending == Ending(members[-1][0].size)
                is_open = False
            case Left():
                depth -= 1
            case Finished():
                assert depth == 0
    return members


@given(trees(), st.integers(1, 3000))
def test_a_tree_comes_back(members, step):
    data = archive_of(*members)

    assert rebuilt(read(data)) == members
    assert rebuilt(read(data, step)) == members


@given(trees())
def test_tarfile_sees_the_same_tree(members):
    with tarfile.open(fileobj=io.BytesIO(archive_of(*members)), errors="surrogateescape") as tar:
        infos = tar.getmembers()
        assert len(infos) == len(members)
        for info, (entry, content) in zip(infos, members, strict=True):
            # Python's own reader takes these away, at the end of a name of a folder.
            assert info.name.encode("utf-8", "surrogateescape") == entry.path
            assert info.mode == entry.mode
            if entry.type is EntryType.FILE:
                assert tar.extractfile(info).read() == content
            elif entry.type is EntryType.LINK:
                assert info.linkname.encode("utf-8", "surrogateescape") == entry.target


@given(st.binary(max_size=100), st.integers(0, 0o777), st.integers(0, 8**11 - 1), times)
def test_headers_come_back(name, mode, size, mtime_ns):
    name = name.replace(b"\0", b"")
    header = decode_header(encode_header(name, b"0", mode, size, mtime_ns))

    assert (header.name, header.mode, header.size) == (name, mode, size)
    assert header.mtime_ns == (mtime_ns if 0 <= mtime_ns < 8**11 * 10**9 else 0)


@st.composite
def sparse_files(draw):
    """Where a file has data, its size, and how much of its front is held."""
    extents, at = [], 0
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.integers(0, 3 * MIN_HOLE))
        size = draw(st.integers(1, MIN_HOLE))
        extents.append(Extent(at, size))
        at += size
    size = at + draw(st.integers(0, 2 * MIN_HOLE))
    return extents, size, draw(st.integers(0, size))


@given(sparse_files(), st.integers(1, 70_000))
@example(([Extent(0, 5)], 5, 5), 512)
def test_sparse_files_come_back_from_any_offset(sparse, step):
    found, size, offset = sparse
    truth = bytearray(size)
    for extent in found:
        truth[extent.offset : extent.offset + extent.size] = b"x" * extent.size
    spans = extents_from(found, offset, size)
    entry = Entry(b"x", EntryType.FILE, size, 0, 0o644)
    writer = ArchiveWriter()
    chunks = [writer.begin(entry, offset, spans)]
    for span in [Extent(offset, size - offset)] if spans is None else spans:
        chunks.append(bytes(truth[span.offset : span.offset + span.size]))
        writer.took(span.size)
    chunks += [writer.end(), writer.finish()]

    events = read(b"".join(chunks), step)

    came = bytearray(truth[:offset]) + bytearray(size - offset)
    for event in events:
        if isinstance(event, Data):
            came[event.offset : event.offset + len(event.view)] = event.view
    assert came == truth
    assert events[0] == Began(entry, offset)
    assert sum(len(chunk) for chunk in chunks) <= size - offset + 8192


@given(st.lists(st.tuples(st.sampled_from(Change), st.integers(0, 40)), max_size=5))
def test_every_change_is_told_of_its_own_file(changes):
    writer = ArchiveWriter()
    data = b""
    for number, (change, size) in enumerate(changes):
        data += writer.begin(Entry(b"%04d" % number, EntryType.FILE, 40))
        writer.took(40)
        data += bytes(40) + writer.end(Ending(size, change))

    events = read(data + writer.finish(), 77)

    wanted = [Ending(size, change) for change, size in changes]
    assert [event.ending for event in events if isinstance(event, Ended)] == wanted


@given(parts)
def test_names_are_shown_on_one_line_and_found_again(part):
    assert "\n" not in shown(part)
    assert "\x1b" not in shown(part)
    assert part_fault(part_name(part)) is None
    assert twin(part, [part]) is None
