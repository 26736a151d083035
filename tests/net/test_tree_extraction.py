"""Trees that are written to a real file system: modes, times, holes, links, and what is in the way."""

import os
import resource

import pytest
from net.tree_scene import PRECIOUS, Scene, phrases
from support.archives import archive_of, file, folder, link, member

from derphole.edges import extraction
from derphole.edges.destination import present, taken_for
from derphole.edges.left_behind import LeftBehind
from derphole.edges.partial_file import PartialFile
from derphole.errors import PartialUnusable
from derphole.transfer.archive import ArchiveWriter
from derphole.transfer.entries import Change, Ending, Entry, EntryType, Extent
from derphole.transfer.names import System, part_name
from derphole.transfer.placing import Policy
from tunnel.errors import MisuseError, ProtocolViolation

TOP = folder(b"top")
OVERWRITE, RENAME, SKIP = Policy.OVERWRITE, Policy.RENAME, Policy.SKIP


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    before = scene.outside()
    yield scene
    assert scene.outside() == before


class Diary:
    """Keeps what it is told."""

    def __init__(self):
        self.said = []

    def began(self, entry, offset):
        self.said.append(("began", entry.path, offset))

    def finished(self, entry):
        self.said.append(("finished", entry.path))


# -- what is made --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, 100])
def test_a_tree_is_made(scene, step):
    data = archive_of(
        TOP,
        folder(b"top/empty"),
        (file(b"top/x", 5, 0o640, 10**18 + 7), b"hello"),
        file(b"top/zero"),
        link(b"top/zz", b"x", 3 * 10**18),
    )

    received = scene.extract(data, step)

    assert scene.names(b"top") == [b"empty", b"x", b"zero", b"zz"]
    assert scene.get(b"top/x") == b"hello"
    assert scene.mode(b"top/x") == 0o640
    assert os.stat(scene.path(b"top/x")).st_mtime_ns == 10**18 + 7
    assert os.stat(scene.path(b"top")).st_mtime_ns == 10**18
    assert os.lstat(scene.path(b"top/zz")).st_mtime_ns == 3 * 10**18
    assert os.readlink(scene.path(b"top/zz")) == b"x"
    assert (received.made.files, received.made.folders, received.made.links) == (2, 2, 1)
    assert received.made.size == received.stored == 5
    assert not received.refused.count


def test_names_are_kept_byte_for_byte(scene):
    names = [b"\n", b" ", b"-rf", b"\xff\xfe", "ä".encode(), b"x" * 255, b"...", b"\\", b"con"]
    entries = [file(b"top/" + name) for name in sorted(names)]

    received = scene.extract(archive_of(TOP, *entries))

    assert scene.names(b"top") == sorted(names)
    assert received.made.files == len(names)


def test_a_top_that_is_a_file(scene):
    scene.extract(archive_of((file(b"one", 3), b"abc"), file(b"two")))

    assert scene.names() == [b"one", b"two"]
    assert scene.get(b"one") == b"abc"


@pytest.mark.parametrize(
    ("mode", "umask", "becomes"),
    [
        (0o777, 0o022, 0o755),
        (0o666, 0o077, 0o600),
        (0o700, 0o022, 0o700),
        (0o4755, 0o022, 0o755),
        (0o1777, 0o000, 0o777),
        (0o000, 0o022, 0o000),
        (0o444, 0o022, 0o444),
    ],
)
def test_modes_are_the_senders_without_what_the_umask_takes(scene, mode, umask, becomes):
    data = member(b"top/", b"5", mode=mode) + member(b"top/x", mode=mode) + bytes(1024)

    scene.extract(data, umask=umask)

    assert scene.mode(b"top") == becomes
    os.chmod(scene.path(b"top"), 0o755)  # or only root sees what is in it
    assert scene.mode(b"top/x") == becomes
    os.chmod(scene.path(b"top/x"), 0o644)


def test_nobody_else_looks_in_before_it_is_complete(scene):
    with scene.extractor() as extractor:
        extractor.write([archive_of(TOP, (file(b"top/x", 9), b"under way"), ends=False)[:1030]])

        assert scene.mode(b"top") == 0o700
        assert scene.mode(b"top/" + part_name(b"x")) == 0o600
        assert scene.names(b"top") == [part_name(b"x")]


def test_a_read_only_folder_gets_its_content_first(scene):
    scene.extract(archive_of(folder(b"top", 0o555), (file(b"top/x", 1), b"x")))

    assert scene.mode(b"top") == 0o555
    assert scene.get(b"top/x") == b"x"


def test_holes_take_no_room(scene):
    size = 64 << 20
    writer = ArchiveWriter()
    data = writer.begin(TOP) + writer.begin(file(b"top/x", size), 0, [Extent(32 << 20, 5)])
    writer.took(5)
    data += b"hello" + writer.end() + writer.begin(file(b"top/zeros", 8 << 20))
    writer.took(8 << 20)
    data += bytes(8 << 20) + writer.end() + writer.finish()

    scene.extract(data, 1 << 20)

    for name, length in ((b"top/x", size), (b"top/zeros", 8 << 20)):
        status = os.stat(scene.path(name))
        assert status.st_size == length
        assert status.st_blocks * 512 < 1 << 20
    with open(scene.path(b"top/x"), "rb") as opened:
        opened.seek((32 << 20) - 1)
        assert opened.read(7) == b"\0hello\0"


def test_a_file_that_became_shorter_has_its_true_size(scene):
    writer = ArchiveWriter()
    data = writer.begin(file(b"x", 1000))
    writer.took(1000)
    data += b"abc" + bytes(997) + writer.end(Ending(3, Change.SHRANK)) + writer.finish()

    received = scene.extract(data)

    assert scene.get(b"x") == b"abc"
    assert "shorter" in phrases(received.changed)[b"x"]


def test_a_file_that_could_not_be_read_to_its_end_is_not_left(scene):
    writer = ArchiveWriter()
    data = writer.begin(file(b"x", 10))
    writer.took(10)
    data += bytes(10) + writer.end(Ending(10, Change.BROKEN)) + writer.finish()

    received = scene.extract(data)

    assert scene.names() == []
    assert "could not be read" in phrases(received.refused)[b"x"]


def test_a_very_deep_tree_is_made(scene):
    paths = [b"/".join([b"d"] * depth) for depth in range(1, 200)]

    received = scene.extract(archive_of(*map(folder, paths), file(paths[-1] + b"/x")))

    assert received.made.folders == 199
    assert os.path.exists(scene.path(paths[-1] + b"/x"))


def test_an_archive_that_is_cut_is_not_taken_for_whole(scene):
    data = archive_of(TOP, (file(b"top/x", 5), b"hello"))

    for end in (100, 512, 700, 1024, 1100, 1536, len(data) - 512):
        with scene.extractor(policy=OVERWRITE) as extractor:
            extractor.write([data[:end]])
            with pytest.raises(ProtocolViolation, match="ends before its end"):
                extractor.finish()


# -- what is in the way --------------------------------------------------------------------------


def test_a_file_that_is_there_stays(scene):
    scene.put(b"x")

    received = scene.extract(archive_of((file(b"x", 3), b"new"), (file(b"y", 3), b"new")))

    assert scene.get(b"x") == PRECIOUS
    assert scene.get(b"y") == b"new"
    assert "is there already" in phrases(received.refused)[b"x"]


def test_a_folder_that_is_there_stays_and_nothing_is_put_into_it(scene):
    scene.put(b"top/mine")

    received = scene.extract(archive_of(TOP, file(b"top/x"), folder(b"top/y"), file(b"top/y/z")))

    assert scene.names(b"top") == [b"mine"]
    assert list(phrases(received.refused)) == [b"top"]


def test_overwriting_replaces_files_and_fills_up_folders(scene):
    scene.put(b"top/x")
    scene.put(b"top/mine")
    os.chmod(scene.path(b"top"), 0o711)

    received = scene.extract(
        archive_of(TOP, (file(b"top/x", 3), b"new"), file(b"top/y")), policy=OVERWRITE
    )

    assert scene.get(b"top/x") == b"new"
    assert scene.get(b"top/mine") == PRECIOUS
    assert scene.mode(b"top") == 0o711
    assert not received.refused.count


def test_overwriting_never_takes_a_folder_away(scene):
    scene.put(b"top/x/mine")

    received = scene.extract(archive_of(TOP, file(b"top/x"), file(b"top/y")), policy=OVERWRITE)

    assert scene.get(b"top/x/mine") == PRECIOUS
    assert "a folder" in phrases(received.refused)[b"top/x"]


def test_overwriting_never_makes_a_folder_of_a_file(scene):
    scene.put(b"top")

    received = scene.extract(archive_of(TOP, file(b"top/x")), policy=OVERWRITE)

    assert scene.get(b"top") == PRECIOUS
    assert "a file" in phrases(received.refused)[b"top"]


def test_overwriting_replaces_a_link_and_not_what_it_points_to(scene):
    os.symlink(b"../secret", scene.path(b"x"))
    os.symlink(b"../secret", scene.path(b"y"))

    scene.extract(archive_of((file(b"x", 3), b"new"), file(b"z")), policy=OVERWRITE)

    assert not os.path.islink(scene.path(b"x"))
    assert scene.get(b"x") == b"new"
    assert scene.get(b"../secret") == PRECIOUS


@pytest.mark.parametrize("policy", Policy)
def test_nothing_is_put_through_a_link_that_is_there(scene, policy):
    os.symlink(b"../outside", scene.path(b"top"))

    scene.extract(archive_of(TOP, file(b"top/x"), folder(b"top/y")), policy=policy)

    assert scene.names(b"../outside") == [b"secret"]
    assert os.path.islink(scene.path(b"top"))


@pytest.mark.parametrize("policy", Policy)
def test_a_run_that_goes_on_through_no_link(scene, policy, monkeypatch):
    """A folder that somebody replaces by a link between a look and the opening."""
    os.mkdir(scene.path(b"top"))

    def present_then_swapped(fd, name):
        seen = present(fd, name)
        if name == b"top":
            os.rename(scene.path(b"top"), scene.path(b"gone"))
            os.symlink(b"../outside", scene.path(b"top"))
        return seen

    monkeypatch.setattr(extraction, "present", present_then_swapped)

    scene.extract(archive_of(TOP, file(b"top/x")), policy=policy, is_continued=True)

    assert scene.names(b"../outside") == [b"secret"]


def test_overwriting_replaces_a_file_by_a_link(scene):
    scene.put(b"top/l")

    scene.extract(archive_of(TOP, link(b"top/l", b"x")), policy=OVERWRITE)

    assert os.readlink(scene.path(b"top/l")) == b"x"
    assert scene.names(b"top") == [b"l"]


def test_skipping_leaves_what_is_there_and_adds_the_rest(scene):
    scene.put(b"top/x")

    received = scene.extract(
        archive_of(TOP, (file(b"top/x", 3), b"new"), (file(b"top/y", 3), b"new")), policy=SKIP
    )

    assert scene.get(b"top/x") == PRECIOUS
    assert scene.get(b"top/y") == b"new"
    assert list(phrases(received.skipped)) == [b"top/x"]
    assert not received.refused.count


def test_renaming_puts_all_of_it_elsewhere(scene):
    scene.put(b"top/mine")
    scene.put(b"x.txt")
    scene.put(b"x (1).txt")

    received = scene.extract(
        archive_of(TOP, file(b"top/y"), (file(b"x.txt", 3), b"new")), policy=RENAME
    )

    assert scene.names() == [b"top", b"top (1)", b"x (1).txt", b"x (2).txt", b"x.txt"]
    assert scene.names(b"top (1)") == [b"y"]
    assert scene.get(b"x (2).txt") == b"new"
    assert phrases(received.renamed)[b"top"] == "is called top (1) here"


def test_what_a_file_system_takes_for_the_same_is_found_by_its_other_name(scene):
    composed, decomposed = "é".encode(), "e\u0301".encode()
    scene.put(decomposed)
    scene.put(b"A")
    fd = os.open(scene.into, os.O_RDONLY)

    assert taken_for(fd, composed) == decomposed
    assert taken_for(fd, decomposed) is None
    assert taken_for(fd, b"A") is None
    os.close(fd)


def test_names_decided_before_are_used(scene):
    scene.extract(archive_of(TOP, file(b"top/x")), top_names={b"top": b"else where"})

    assert scene.names(b"else where") == [b"x"]


@pytest.mark.parametrize("present", ["pipe", "socket"])
def test_what_is_no_file_is_never_written_to(scene, present):
    os.mkfifo(scene.path(b"x")) if present == "pipe" else os.mknod(scene.path(b"x"), 0o140644)

    received = scene.extract(archive_of((file(b"x", 3), b"new")), policy=OVERWRITE)

    assert received.refused.count == 1


def test_a_file_that_appears_meanwhile_is_not_replaced(scene):
    data = archive_of((file(b"x", 600), b"n" * 600))
    with scene.extractor() as extractor:
        extractor.write([data[:1000]])
        scene.put(b"x")
        extractor.write([data[1000:]])
        extractor.finish()

        assert phrases(extractor.received.refused)[b"x"] == (
            "is complete as .x.derphole-part: something took its name meanwhile"
        )
    assert scene.get(b"x") == PRECIOUS
    assert scene.get(part_name(b"x")) == b"n" * 600


def test_windows_names_are_changed_and_told(scene):
    data = archive_of(TOP, file(b"top/a:b"), file(b"top/con"))

    received = scene.extract(data, system=System.WINDOWS)

    assert scene.names(b"top") == [b"_con", b"a_b"]
    assert phrases(received.renamed) == {
        b"top/a:b": "is called a_b here",
        b"top/con": "is called _con here",
    }


def test_names_that_become_the_same_are_not_mixed_up(scene):
    data = archive_of(TOP, (file(b"top/a:b", 1), b"1"), (file(b"top/a?b", 1), b"2"))

    received = scene.extract(data, system=System.WINDOWS)

    assert scene.get(b"top/a_b") == b"1"
    assert list(phrases(received.refused)) == [b"top/a?b"]


# -- going on ------------------------------------------------------------------------------------


def test_what_is_written_is_told_while_it_is_written(scene):
    diary = Diary()

    scene.extract(
        archive_of(TOP, (file(b"top/x", 3), b"abc"), link(b"top/y", b"x")), recorder=diary
    )

    assert diary.said == [
        ("began", b"top/x", 0),
        ("finished", b"top/x"),
        ("finished", b"top/y"),
        ("finished", b"top"),
    ]


def continued(entry, offset, rest):
    writer = ArchiveWriter()
    data = writer.begin(TOP) + writer.begin(entry, offset)
    writer.took(len(rest))
    return data + rest + writer.end() + writer.finish()


def cut_short(scene, entry, content):
    """Extract the first part of a file, and end as a killed process would."""
    with scene.extractor() as extractor:
        extractor.write([archive_of(TOP, (entry, content), ends=False)[: 1024 + len(content) // 2]])


def test_a_file_goes_on_where_it_stopped(scene):
    entry, content = file(b"top/x", 3000, 0o640), bytes(range(250)) * 12
    cut_short(scene, entry, content)
    with_fd = os.open(scene.into, os.O_RDONLY)
    left = LeftBehind(with_fd)
    held = left.held(b"top/x")
    os.close(with_fd)

    received = scene.extract(continued(entry, held, content[held:]), is_continued=True)

    assert held == 1500
    assert scene.get(b"top/x") == content
    assert scene.names(b"top") == [b"x"]
    assert scene.mode(b"top/x") == 0o640
    assert received.stored == 3000
    assert os.stat(scene.path(b"top")).st_mtime_ns == TOP.mtime_ns


def test_what_was_held_is_repaired_before_it_gets_its_name(scene):
    entry, content = file(b"top/x", 3000), bytes(range(250)) * 12
    cut_short(scene, entry, content)
    os.truncate(scene.path(b"top/" + part_name(b"x")), 0)
    os.truncate(scene.path(b"top/" + part_name(b"x")), 1500)

    with scene.extractor(is_continued=True) as extractor:
        extractor.write([continued(entry, 1500, content[1500:])])
        assert scene.names(b"top") == [part_name(b"x")]
        extractor.repair(b"top/x", 0, [content[:700], content[700:1500]])
        with pytest.raises(MisuseError):
            extractor.repair(b"top/y", 0, [b"x"])
        extractor.finish()

    assert scene.get(b"top/x") == content
    assert scene.mode(b"top") == 0o755


def test_finished_entries_are_gone_on_with_and_others_stay(scene):
    done, mine = file(b"top/done", 3), file(b"top/mine", 3)
    with scene.extractor() as extractor:
        extractor.write([archive_of(TOP, (done, b"abc"), ends=False), archive_of(file(b"top/e"))])
    scene.put(b"top/mine")

    received = scene.extract(archive_of(TOP, (done, b"abc"), (mine, b"new")), is_continued=True)

    assert scene.get(b"top/done") == b"abc"
    assert scene.get(b"top/mine") == PRECIOUS
    assert list(phrases(received.refused)) == [b"top/mine"]


def test_a_process_killed_between_two_names_left_one_file_with_both(scene):
    entry = file(b"top/x", 3)
    scene.put(b"top/" + part_name(b"x"), b"abc")
    os.link(scene.path(b"top/" + part_name(b"x")), scene.path(b"top/x"))
    os.utime(scene.path(b"top/x"), ns=(entry.mtime_ns, entry.mtime_ns))

    scene.extract(continued(entry, 3, b""), is_continued=True)

    assert scene.names(b"top") == [b"x"]
    assert scene.get(b"top/x") == b"abc"


def test_a_finished_file_without_its_name_gets_it(scene):
    scene.put(b"top/" + part_name(b"x"), b"abc")
    scene.put(b"top/" + part_name(b"y"), b"abc")
    scene.put(b"top/y")
    folder_fd = os.open(scene.into, os.O_RDONLY)
    left = LeftBehind(folder_fd)

    mtime_ns = os.stat(scene.path(b"top/" + part_name(b"x"))).st_mtime_ns
    assert left.stands(Entry(b"top/x", EntryType.FILE, 3, mtime_ns))
    assert left.stands(Entry(b"top/x", EntryType.FILE, 3, mtime_ns))
    assert not left.stands(Entry(b"top/x", EntryType.FILE, 4, mtime_ns))
    assert not left.stands(Entry(b"top/y", EntryType.FILE, 3, mtime_ns))
    assert not left.stands(Entry(b"top/z", EntryType.FILE, 3, mtime_ns))
    assert not left.stands(Entry(b"nowhere/x", EntryType.FILE, 3, mtime_ns))
    left.forget(b"top/y")
    left.forget(b"top/y")
    os.close(folder_fd)
    assert scene.names(b"top") == [b"x", b"y"]
    assert scene.get(b"top/y") == PRECIOUS


@pytest.mark.parametrize("what", ["missing", "link", "folder", "short", "second name", "pipe"])
def test_a_temporary_file_that_is_another_thing_is_not_continued(scene, what):
    part = scene.path(part_name(b"x"))
    if what == "link":
        os.symlink(b"../secret", part)
    elif what == "folder":
        os.mkdir(part)
    elif what == "short":
        scene.put(part_name(b"x"), b"ab")
    elif what == "second name":
        os.link(scene.path(b"../secret"), part)
    elif what == "pipe":
        os.mkfifo(part)
    fd = os.open(scene.into, os.O_RDONLY)

    with pytest.raises(PartialUnusable, match="cannot continue"):
        PartialFile(fd, b"x", 3)

    if what in ("missing", "link", "folder", "pipe"):
        assert LeftBehind(fd).held(b"x") == 0
    os.close(fd)
    if what == "second name":
        os.unlink(part)


@pytest.mark.parametrize("what", ["link", "file", "second name"])
def test_a_new_temporary_file_never_goes_through_what_has_its_name(scene, what):
    part = scene.path(part_name(b"x"))
    if what == "link":
        os.symlink(b"../secret", part)
    elif what == "second name":
        os.link(scene.path(b"../secret"), part)
    else:
        scene.put(part_name(b"x"))

    scene.extract(archive_of((file(b"x", 3), b"new")))

    assert scene.get(b"x") == b"new"
    assert scene.get(b"../secret") == PRECIOUS


def test_a_folder_that_has_the_name_of_a_temporary_file_is_left(scene):
    scene.put(part_name(b"x") + b"/mine")

    received = scene.extract(archive_of((file(b"x", 3), b"new")))

    assert scene.get(part_name(b"x") + b"/mine") == PRECIOUS
    assert received.refused.count == 1


def test_left_behind_does_not_look_through_links(scene):
    scene.put(b"../outside/" + part_name(b"x"), b"abc")
    os.symlink(b"../outside", scene.path(b"top"))
    fd = os.open(scene.into, os.O_RDONLY)

    assert LeftBehind(fd).held(b"top/x") == 0
    os.close(fd)
    os.unlink(scene.path(b"../outside/" + part_name(b"x")))


def test_no_descriptor_is_left_open(scene):
    before = len(os.listdir("/proc/self/fd"))
    for cut in (700, 1300, 2000, None):
        with scene.extractor(policy=RENAME) as extractor:
            extractor.write(
                [archive_of(TOP, folder(b"top/d"), (file(b"top/d/x", 9), b"9" * 9))[:cut]]
            )

    assert len(os.listdir("/proc/self/fd")) == before


def test_every_type_can_be_refused_by_a_folder_that_is_refused(scene):
    scene.put(b"top")
    data = (
        archive_of(TOP, folder(b"top/d"), file(b"top/d/x"), link(b"top/d/y", b"x"), ends=False)
        + member(b"top/d/z", b"6")
        + bytes(1024)
    )

    received = scene.extract(data)

    assert received.refused.count == 1


def test_a_disk_that_is_full_ends_it_and_keeps_what_came(scene):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    data = archive_of((file(b"x", 1 << 20), os.urandom(1 << 20)), file(b"y"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limit[1]))
    try:
        received = scene.extract(data, 1 << 16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert "too large" in phrases(received.refused)[b"x"]
    assert scene.names() == [b"y"]
