"""Trees and files for greenlets: the hub turns, failures are sentences, and nothing is lost."""

import errno
import os
import random
import subprocess

import gevent
import pytest
from net.tree_scene import PRECIOUS, Scene, snapshot
from support.archives import archive_of, file, folder

from derphole.edges.destination import Destination, target_in
from derphole.edges.extraction import Extractor
from derphole.edges.source_tree import sources_named
from derphole.edges.trees import FileSink, TreeSink, TreeSource, TreeSurvey, current_umask
from derphole.edges.worker import Worker
from derphole.errors import (
    OutputExists,
    PartialUnusable,
    SinkFailed,
    SpaceShort,
    TargetUnwritable,
)
from derphole.transfer.names import part_name
from derphole.transfer.placing import Present
from tunnel.errors import ProtocolViolation

PATIENCE_S = 20
MIB = 1 << 20


@pytest.fixture(autouse=True)
def bounded():
    with gevent.Timeout(PATIENCE_S):
        yield


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


@pytest.fixture
def destination(scene):
    destination = Destination(scene.into)
    yield destination
    destination.close()


def test_a_tree_goes_through(scene, destination, tmp_path):
    root = tmp_path / "tree"
    for number in range(300):
        path = root / f"{number % 10}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 50))
    (root / "big").write_bytes(os.urandom(5 * MIB))
    sources = sources_named([str(root)])
    survey = TreeSurvey(sources)
    while survey.advance():
        pass
    source, sink = TreeSource(sources), TreeSink(destination, Extractor(destination.fd, umask=0))

    while data := source.read():
        sink.write([data])
    sink.finish()

    assert source.read() == b""
    assert survey.totals == source.sent.sent == sink.received.made
    assert sink.bytes_written == survey.totals.size
    assert survey.omitted.count == 0
    assert snapshot(scene.path(b"tree")) == snapshot(os.fsencode(root))
    for edge in (survey, source, sink):
        edge.close()


def test_the_hub_turns_while_a_tree_is_read(tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(8 * MIB))
    source = TreeSource(sources_named([str(tmp_path / "big")]))
    turns = 0

    def count():
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    counter = gevent.spawn(count)
    while source.read():
        pass
    counter.kill()
    source.close()

    assert turns > 8


def test_what_a_killed_greenlet_read_comes_next(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    source = TreeSource(sources_named([str(tmp_path / "x")]))
    first = gevent.spawn(source.read)
    gevent.sleep(0)
    first.kill()

    data = source.read()
    source.close()

    assert b"content" in data


def test_a_peer_that_breaks_the_rules_is_told_and_prints_nothing(destination, capfd):
    sink = TreeSink(destination, Extractor(destination.fd))

    with pytest.raises(ProtocolViolation, match="root of the file system"):
        sink.write([archive_of(file(b"/etc/passwd"))])
    sink.close()

    assert capfd.readouterr().err == ""


def test_an_archive_without_an_end_is_noticed(destination):
    sink = TreeSink(destination, Extractor(destination.fd))
    sink.write([archive_of(folder(b"top"), ends=False)])

    with pytest.raises(ProtocolViolation, match="ends before its end"):
        sink.finish()
    sink.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own needs root")
    destination = Destination(os.fsencode(folder))
    yield destination
    destination.close()
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_what_came_stays(small_disk):
    sink = TreeSink(small_disk, Extractor(small_disk.fd))
    data = archive_of(folder(b"top"), (file(b"top/x", 2 * MIB), os.urandom(2 * MIB)))

    with pytest.raises(SinkFailed, match="no space left"):
        for at in range(0, len(data), 1 << 16):
            sink.write([data[at : at + (1 << 16)]])
    sink.close()

    top = os.path.join(small_disk.shown, "top")
    assert os.listdir(top) == [os.fsdecode(part_name(b"x"))]
    assert os.stat(os.path.join(top, os.listdir(top)[0])).st_size > MIB // 2


def test_a_full_disk_is_told_of_one_file_too(small_disk):
    sink = FileSink(small_disk, b"x")

    with pytest.raises(SinkFailed, match="no space left"):
        sink.write([os.urandom(2 * MIB)])
    sink.close()

    assert os.listdir(small_disk.shown) == [os.fsdecode(part_name(b"x"))]


# -- one file ------------------------------------------------------------------------------------


def written(destination, name=b"x", content=b"content", held=0):
    sink = FileSink(destination, name, held)
    sink.write([content[:3], content[3:]])
    return sink


def test_a_file_has_its_name_once_it_is_complete(scene, destination):
    sink = written(destination)
    assert scene.names() == [part_name(b"x")]
    assert scene.mode(part_name(b"x")) == 0o600

    sink.finish(0o750, 10**18 + 1)
    assert scene.names() == [part_name(b"x")]
    sink.take_name(replaces=False)
    sink.close()

    assert scene.names() == [b"x"]
    assert scene.get(b"x") == b"content"
    assert scene.mode(b"x") == 0o750
    assert os.stat(scene.path(b"x")).st_mtime_ns == 10**18 + 1


def test_a_file_that_is_not_complete_stays_and_goes_on(scene, destination):
    written(destination).close()
    assert scene.get(part_name(b"x")) == b"content"

    sink = written(destination, content=b" and more", held=7)
    sink.repair(0, [b"C", b"O"])
    sink.finish(0o644, 0)
    sink.take_name(replaces=False)

    assert sink.bytes_written == 16
    assert scene.get(b"x") == b"COntent and more"


def test_a_file_that_is_given_up_leaves_nothing(scene, destination):
    written(destination).discard()

    assert scene.names() == []


def test_what_appeared_meanwhile_is_not_replaced_unless_told(scene, destination):
    sink = written(destination)
    scene.put(b"x")
    sink.finish(0o644, 0)

    with pytest.raises(OutputExists):
        sink.take_name(replaces=False)
    assert scene.get(b"x") == PRECIOUS
    sink.take_name(replaces=True)

    assert scene.get(b"x") == b"content"
    assert scene.names() == [b"x"]


def test_a_link_that_has_the_name_is_replaced_and_not_followed(scene, destination):
    os.symlink(b"../secret", scene.path(b"x"))
    sink = written(destination)
    sink.finish(0o644, 0)

    with pytest.raises(OutputExists):
        sink.take_name(replaces=False)
    sink.take_name(replaces=True)

    assert scene.get(b"../secret") == PRECIOUS
    assert scene.get(b"x") == b"content"


def test_what_an_earlier_run_left_must_be_what_it_seems(scene, destination):
    os.symlink(b"../secret", scene.path(part_name(b"x")))

    with pytest.raises(PartialUnusable):
        FileSink(destination, b"x", 7)
    written(destination).close()

    assert scene.get(b"../secret") == PRECIOUS
    assert not os.path.islink(scene.path(part_name(b"x")))


def test_zeros_take_no_room(scene, destination):
    sink = FileSink(destination, b"x")
    sink.write([bytes(16 * MIB), b"end", bytes(MIB)])
    sink.finish(0o644, 0)
    sink.take_name(replaces=False)

    status = os.stat(scene.path(b"x"))
    assert status.st_size == 17 * MIB + 3
    assert status.st_blocks * 512 < MIB


def test_zeros_that_come_in_small_chunks_take_no_room_either(scene, destination):
    sink = FileSink(destination, b"x")
    for _ in range(4):
        sink.write([bytes(1200)] * 3000)
    sink.write([b"end"])
    sink.finish(0o644, 0)
    sink.take_name(replaces=False)

    status = os.stat(scene.path(b"x"))
    assert status.st_size == 4 * 3000 * 1200 + 3
    assert status.st_blocks * 512 < MIB


def test_what_comes_in_chunks_of_any_size_is_written_exactly(scene, destination):
    rng = random.Random(7)
    sink = FileSink(destination, b"x")
    sizes = (0, 1, 3, 1200, 4095, 4096, 5000, 65_536, 70_000, 300_000)
    content = b""
    for _ in range(40):
        batch = [
            bytes(size) if rng.random() < 0.5 else rng.randbytes(size)
            for size in rng.choices(sizes, k=rng.choice((1, 7, 1500 if len(content) < MIB else 2)))
        ]
        sink.write(batch)
        content += b"".join(batch)
        assert sink.bytes_written == len(content)
    sink.repair(1000, [b"a", bytes(70_000), b"b"])
    content = content[:1000] + b"a" + bytes(70_000) + b"b" + content[71_002:]
    sink.finish(0o644, 0)
    sink.take_name(replaces=False)

    assert scene.get(b"x") == content


def test_zeros_over_what_was_there_are_written(scene, destination):
    written(destination, content=b"x" * 200_000).close()
    sink = FileSink(destination, b"x", 100)
    sink.write([bytes(200_000)])
    sink.finish(0o644, 0)
    sink.take_name(replaces=False)

    assert scene.get(b"x") == b"x" * 100 + bytes(200_000)


# -- where to ------------------------------------------------------------------------------------


def test_where_something_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("folder")

    assert target_in(None, b"name") == (b".", b"name")
    assert target_in("folder", b"name") == (b"folder", b"name")
    assert target_in("folder/", b"name") == (b"folder/", b"name")
    assert target_in("link", b"name") == (b"link", b"name")
    assert target_in("file", b"name") == (b".", b"file")
    assert target_in("new", b"name") == (b".", b"new")
    assert target_in("folder/new", b"name") == (b"folder", b"new")
    assert target_in("/new", b"name") == (b"/", b"new")
    for wrong in ("new/", "nowhere/..", ""):
        with pytest.raises(TargetUnwritable, match="no such folder"):
            target_in(wrong, b"name")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(TargetUnwritable, match="cannot be written"):
            Destination(os.fsencode(path))


def test_a_folder_that_can_be_written_is_left_as_it_was(scene, destination):
    destination.check_writable()

    assert scene.names() == []


def test_a_read_only_file_system_is_noticed_at_once(scene):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", scene.into], capture_output=True, check=False
    ).returncode:
        pytest.skip("a file system of one's own needs root")
    destination = Destination(scene.into)
    try:
        with pytest.raises(TargetUnwritable, match="read-only file system"):
            destination.check_writable()
    finally:
        destination.close()
        subprocess.run(["umount", scene.into], check=True)


def test_free_space_is_what_the_file_system_tells(small_disk, destination):
    assert 0 < small_disk.free_bytes() <= MIB
    assert destination.free_bytes() > MIB
    small_disk.check_space(MIB // 2)
    with pytest.raises(SpaceShort, match="bytes free, but 1048577 are needed"):
        small_disk.check_space(MIB + 1)


def test_what_a_name_stands_for(scene, destination):
    scene.put(b"file")
    os.mkdir(scene.path(b"folder"))
    os.symlink(b"nowhere", scene.path(b"link"))
    os.mkfifo(scene.path(b"pipe"))

    assert destination.present(b"nothing") is Present.NOTHING
    assert destination.present(b"file") is Present.FILE
    assert destination.present(b"folder") is Present.FOLDER
    assert destination.present(b"link") is Present.LINK
    assert destination.present(b"pipe") is Present.OTHER
    assert destination.free_name(b"file") == b"file (1)"


def test_the_umask_is_read_and_left():
    before = os.umask(0o027)
    try:
        assert current_umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


# -- the thread ----------------------------------------------------------------------------------


def test_failures_come_back_as_they_are(capfd):
    worker = Worker()

    def fail():
        raise OSError(errno.EIO, "the disk")

    with pytest.raises(OSError, match="the disk"):
        worker.call(fail)
    assert worker.call(lambda: 7) == 7
    worker.close(lambda: None)
    assert capfd.readouterr().err == ""


def test_closing_waits_for_nothing_and_closes_after_the_call():
    worker, gate, said = Worker(), os.pipe(), []
    result = worker.start(os.read, gate[0], 1)

    worker.close(lambda: said.append("closed"))
    worker.close(lambda: said.append("closed twice"))
    assert said == []
    os.write(gate[1], b"x")
    assert result.get() == b"x"
    while not said:
        gevent.sleep(0)

    assert said == ["closed"]
    for fd in gate:
        os.close(fd)
