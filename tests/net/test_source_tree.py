"""What is sent of a real tree: the walk, what it leaves out, and files that change meanwhile."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from net.tree_scene import Scene, phrases, snapshot
from support.archives import read
from support.processes import OPTIONAL_SKIP

from derphole.edges import archive_source, source_tree
from derphole.edges.archive_source import ArchiveSource, Survey, found_extents
from derphole.edges.selected_sources import selected
from derphole.edges.source_tree import Found, Omitted, sources_named, walk
from derphole.errors import SourceUnusable
from derphole.transfer.archive_reader import Began, Data, Ended, Entered
from derphole.transfer.entries import Change, EntryType, Extent
from derphole.transfer.names import order_key, part_name
from derphole.transfer.selection import read_excludes

NOBODY = 65534


class Tree:
    """A folder `tree` that is to be sent."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "tree"
        self.root.mkdir()

    def put(self, name, content=b"", mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def sources(self, **options):
        return sources_named([str(self.root)], **options)

    def found(self, sources=None):
        """Return the paths that the walk finds, and what it tells of the rest."""
        steps = list(walk(sources or self.sources()))
        told = {step.path: step.reason for step in steps if isinstance(step, Omitted)}
        paths = [step.entry.path for step in steps if isinstance(step, Found)]
        assert paths == sorted(paths, key=order_key)
        return paths, told


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def archived(source):
    """Return everything that an archive source makes."""
    chunks = []
    while chunk := source.read():
        chunks.append(bytes(chunk))
    assert source.read() == b""
    source.close()
    return b"".join(chunks)


def sent_to(scene, sources, **options):
    """Send sources into a scene; return what both sides say of it."""
    source = ArchiveSource(sources)
    received = scene.extract(archived(source), **options)
    return source.sent, received


# -- the walk ------------------------------------------------------------------------------------


def test_everything_is_found_in_order(tree):
    for name in ("b", "a/x", "a.b", "a!", "a/y/z", "\udcff"):
        tree.put(name)
    (tree.root / "empty").mkdir()
    (tree.root / "l").symlink_to("a/x")

    paths, told = tree.found()

    names = [b"", b"/a", b"/a/x", b"/a/y", b"/a/y/z", b"/a!", b"/a.b", b"/b", b"/empty", b"/l"]
    assert paths == [b"tree" + name for name in [*names, b"/\xff"]]
    assert told == {}


def test_what_cannot_be_sent_is_told_and_left_out(tree):
    os.mkfifo(tree.root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree.root / "sock"))
    (tree.root / "out").symlink_to("../..")
    (tree.root / "absolute").symlink_to("/etc/passwd")
    (tree.root / "dangling").symlink_to("nowhere")
    tree.put(os.fsdecode(part_name(b"x")))

    paths, told = tree.found()

    assert paths == [b"tree", b"tree/dangling"]
    assert told == {
        b"tree/pipe": "is a named pipe",
        b"tree/sock": "is a socket",
        b"tree/out": "points out of what is sent",
        b"tree/absolute": "points to a path from the root of the file system",
        b"tree/" + part_name(b"x"): "belongs to an unfinished transfer",
    }


def test_a_link_to_a_folder_is_not_walked_into(tree):
    tree.put("d/x")
    (tree.root / "l").symlink_to("d")

    paths, _ = tree.found()

    assert paths == [b"tree", b"tree/d", b"tree/d/x", b"tree/l"]


def test_a_link_that_is_named_is_followed(tree, tmp_path):
    tree.put("x")
    (tmp_path / "link").symlink_to("tree")

    paths, _ = tree.found(sources_named([str(tmp_path / "link")]))

    assert paths == [b"link", b"link/x"]


@contextmanager
def not_root(path):
    """Lose root's rights over a folder for a moment, where we have them."""
    if os.geteuid() != 0:
        yield
        return
    for folder, folders, files in os.walk(path):
        for name in [".", *folders, *files]:
            os.chown(os.path.join(folder, name), NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_read_is_named():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        tree = Tree(Path(folder))
        tree.put("a", b"x")
        tree.put("x", mode=0o000)
        tree.put("d/x")
        (tree.root / "d").chmod(0o000)
        with not_root(folder):
            survey = Survey(tree.sources())
            survey.advance(100)
            source = ArchiveSource(tree.sources())
            archived(source)

    unreadable = {b"tree/x": "permission denied", b"tree/d": "permission denied"}
    for told in (phrases(survey.omitted), phrases(source.sent.omitted)):
        assert {path: reason.rpartition(": ")[2] for path, reason in told.items()} == unreadable
    assert (survey.totals.files, source.sent.sent.files) == (1, 1)


def test_what_vanishes_during_the_walk_is_told(tree):
    tree.put("a")
    tree.put("b")
    steps = walk(tree.sources())
    next(steps)
    (tree.root / "b").unlink()

    rest = list(steps)

    assert rest[-1] == Omitted(b"tree/b", "vanished")


def test_a_folder_that_becomes_a_link_while_it_is_walked(tree, tmp_path, monkeypatch):
    tree.put("d/x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    looked_at = os.stat

    def look_then_swap(path, **options):
        status = looked_at(path, **options)
        if path == b"d":
            shutil.rmtree(tree.root / "d")
            (tree.root / "d").symlink_to(outside)
        return status

    monkeypatch.setattr(source_tree.os, "stat", look_then_swap)

    steps = list(walk(tree.sources()))
    monkeypatch.undo()

    assert [step.entry.path for step in steps if isinstance(step, Found)] == [b"tree"]
    assert [step.path for step in steps if isinstance(step, Omitted)] == [b"tree/d"]


def test_a_file_that_becomes_a_link_or_a_pipe_is_not_read(tree, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for name in ("a", "b"):
        tree.put(name, b"x")
    found = []
    for step in walk(tree.sources()):
        if isinstance(step, Found) and step.entry.type is EntryType.FILE:
            (tree.root / step.entry.name.decode()).unlink()
            if step.entry.name == b"a":
                (tree.root / "a").symlink_to(secret)
                with pytest.raises(OSError, match="symbolic links"):
                    step.open()
            else:
                os.mkfifo(tree.root / "b")
                fd = step.open()  # does not wait for anybody to write
                found.append(archive_source._read_whole(fd, step.entry))
                os.close(fd)

    assert [ending.change for _, ending in found] in ([Change.SHRANK], [Change.BROKEN])


def test_descriptors_are_closed_when_a_walk_is_given_up(tree):
    tree.put("a/b/c/d")
    before = len(os.listdir("/proc/self/fd"))
    steps = walk(tree.sources())
    for _ in range(4):
        next(steps)
    assert len(os.listdir("/proc/self/fd")) > before

    steps.close()

    assert len(os.listdir("/proc/self/fd")) == before


# -- what is named -------------------------------------------------------------------------------


def test_several_are_sent_at_once(tree, tmp_path):
    tree.put("x", b"1")
    (tmp_path / "a file").write_bytes(b"22")
    sources = sources_named([str(tree.root), str(tmp_path / "a file")])
    survey = Survey(sources)
    survey.advance(100)

    paths, _ = tree.found(sources)

    assert paths == [b"a file", b"tree", b"tree/x"]
    assert (survey.totals.files, survey.totals.folders, survey.totals.size) == (2, 1, 3)
    assert survey.is_done


@pytest.mark.parametrize(("given", "name"), [(".", b"tree"), ("../tree/.", b"tree"), ("..", None)])
def test_a_folder_without_a_name_gets_its_own(tree, tmp_path, monkeypatch, given, name):
    monkeypatch.chdir(tree.root)

    (source,) = sources_named([given])

    assert source.name == (name or os.fsencode(tmp_path.name))


def test_one_source_may_be_called_otherwise(tree):
    (source,) = tree.sources(name="other name")

    assert source.name == b"other name"


@pytest.mark.parametrize(
    ("paths", "options", "sentence"),
    [
        (["nowhere"], {}, "there is no such file"),
        (["dangling"], {}, "a link that points nowhere"),
        (["/"], {}, "give it one with --name"),
        (["tree"], {"name": "a/b"}, "separator"),
        (["tree"], {"name": ".."}, "give it one"),
        (["tree", "other/tree"], {}, "is called tree too"),
        (["tree", "tree"], {}, "is called tree too"),
    ],
)
def test_what_cannot_be_named_is_refused(tree, tmp_path, monkeypatch, paths, options, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other" / "tree").mkdir(parents=True)
    (tmp_path / "dangling").symlink_to("nowhere")

    with pytest.raises(SourceUnusable, match=sentence):
        sources_named(paths, **options)


# -- archives ------------------------------------------------------------------------------------


def test_a_tree_arrives_as_it_is(tree, tmp_path):
    for number in range(50):
        tree.put(f"d{number % 7}/{number}", os.urandom(number * 997), 0o600 + number % 64)
    tree.put("sub/big", os.urandom(3 << 20))
    tree.put("sub/\udcff\n name", b"x")
    (tree.root / "sub" / "l").symlink_to("big")
    (tree.root / "empty").mkdir(mode=0o700)
    os.utime(tree.root / "empty", ns=(5, 1_000_000_007))
    scene = Scene(tmp_path)

    sent, received = sent_to(scene, tree.sources(), umask=0)

    assert snapshot(scene.path(b"tree")) == snapshot(os.fsencode(tree.root))
    assert sent.sent == received.made
    for name in (b"empty", b"sub/big", b"sub"):
        theirs = os.lstat(os.path.join(os.fsencode(tree.root), name))
        assert os.lstat(scene.path(b"tree/" + name)).st_mtime_ns == theirs.st_mtime_ns


def test_a_sparse_file_is_neither_read_nor_sent_nor_stored(tree, tmp_path):
    path = tree.root / "disk"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"in the middle")
    if os.stat(path).st_blocks > 1000:
        pytest.skip("this file system has no holes")
    scene = Scene(tmp_path)
    source = ArchiveSource(tree.sources())
    data = archived(source)

    scene.extract(data)

    assert len(data) < 100_000
    status = os.stat(scene.path(b"tree/disk"))
    assert status.st_size == 1 << 40
    assert status.st_blocks < 1000
    with open(scene.path(b"tree/disk"), "rb") as file:
        file.seek(1 << 39)
        assert file.read(13) == b"in the middle"


def test_extents_are_what_the_file_system_tells(tmp_path):
    with open(tmp_path / "x", "w+b") as file:
        file.truncate(10 << 20)
        assert found_extents(file.fileno(), 0, 10 << 20) == []
        file.seek(4 << 20)
        file.write(bytes(4096))
        file.flush()
        assert found_extents(file.fileno(), 0, 10 << 20) == [Extent(4 << 20, 4096)]
        assert found_extents(file.fileno(), 5 << 20, 10 << 20) == []
        assert found_extents(file.fileno(), 0, 0) == []


class Meddler:
    """Changes a file once the archive source has begun it."""

    def __init__(self, tree, size, change):
        self.path = tree.put("x", os.urandom(size))
        self.source = ArchiveSource(tree.sources())
        self.data = bytes(self.source.read())
        change(self.path)
        while chunk := self.source.read():
            self.data += chunk

    def ending(self):
        return next(event.ending for event in read(self.data) if isinstance(event, Ended))


def shrink(path):
    os.truncate(path, 1_500_000)


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more")


def write(path):
    with open(path, "r+b") as file:
        file.write(b"other")


def remove(path):
    path.unlink()


@pytest.mark.parametrize(
    ("change", "told", "size"),
    [
        (shrink, Change.SHRANK, 1_500_000),
        (grow, Change.GREW, 5 << 20),
        (write, Change.WRITTEN, 5 << 20),
        (remove, None, 5 << 20),
    ],
)
def test_a_file_that_changes_while_it_is_read(tree, tmp_path, change, told, size):
    meddler = Meddler(tree, 5 << 20, change)

    ending = meddler.ending()
    received = Scene(tmp_path).extract(meddler.data)

    assert (ending.change, ending.size) == (told, size)
    assert meddler.source.sent.changed.count == received.changed.count == (told is not None)
    assert received.made.size == size
    assert not received.refused.count


def test_a_file_that_cannot_be_read_to_its_end_is_dropped(tree, tmp_path, monkeypatch):
    tree.put("a", b"x" * 100)
    tree.put("b", b"y" * 3_000_000)

    def broken(found):
        # What opens and cannot be read, as on a disk that fails.
        return os.open(tree.root, os.O_RDONLY)

    monkeypatch.setattr(Found, "open", broken)
    source = ArchiveSource(tree.sources())
    data = archived(source)
    scene = Scene(tmp_path)
    received = scene.extract(data)

    assert scene.names(b"tree") == []
    assert received.refused.count == source.sent.omitted.count == 2


def test_what_the_other_side_has_is_not_sent_again(tree):
    for name in ("a/x", "a/y", "b/x", "c"):
        tree.put(name, b"0123456789")
    held = {b"tree/a": None, b"tree/a/x": None, b"tree/a/y": None, b"tree/b": None, b"tree/c": 4}

    data = archived(ArchiveSource(tree.sources(), lambda entry: held.get(entry.path, 0)))

    events = read(data)
    assert [e.entry.path for e in events if isinstance(e, Entered)] == [b"tree", b"tree/b"]
    began = [(e.entry.path, e.offset) for e in events if isinstance(e, Began)]
    assert began == [(b"tree/b/x", 0), (b"tree/c", 4)]
    assert [bytes(e.view) for e in events if isinstance(e, Data)] == [b"0123456789", b"456789"]


def test_a_folder_whose_parts_are_all_held_is_not_sent(tree):
    tree.put("a/b/c")

    data = archived(ArchiveSource(tree.sources(), lambda entry: None))

    assert data == bytes(1024)


@pytest.mark.timeout(120)
def test_a_hundred_thousand_files_are_counted_and_begun_quickly(tree, is_full):
    count = 100_000 if is_full else 20_000
    for number in range(count):
        if number % 1000 == 0:
            folder = tree.root / f"{number // 1000:03}"
            folder.mkdir()
        os.close(os.open(folder / f"{number:06}", os.O_CREAT | os.O_WRONLY))
    began = time.process_time()
    source = ArchiveSource(tree.sources())
    first = source.read()
    first_s = time.process_time() - began
    survey = Survey(tree.sources())
    while not survey.is_done:
        survey.advance(1000)
    counted_s = time.process_time() - began - first_s
    source.close()

    assert first
    assert survey.totals.files == count
    # Generous: this machine may be slow, and does much else.
    assert first_s < 1.0
    assert counted_s < 60e-6 * count


# -- with tar ------------------------------------------------------------------------------------


@pytest.fixture(params=["tar", "bsdtar"])
def tar(request):
    if shutil.which(request.param) is None:
        pytest.skip(f"{OPTIONAL_SKIP}{request.param} is not installed")
    return request.param


def test_tar_extracts_what_is_sent(tree, tmp_path, tar):
    for number in range(20):
        tree.put(f"d/{number:02}" + "n" * 12 * number, os.urandom(number * 100))
    tree.put("ä/ö", b"umlauts")
    tree.put("d/" + "e" * 200 + "/" + "f" * 200, b"long")
    (tree.root / "d" / "l").symlink_to("t" * 150)
    with open(tree.root / "holes", "wb") as file:
        file.truncate(20 << 20)
        file.seek(10 << 20)
        file.write(b"middle")
    target = tmp_path / "extracted"
    target.mkdir()

    done = subprocess.run(
        [tar, "-x", "-p", "-f", "-", "-C", target],
        input=archived(ArchiveSource(tree.sources())),
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert snapshot(os.fsencode(target / "tree")) == snapshot(os.fsencode(tree.root))
    assert os.stat(target / "tree" / "holes").st_blocks < 1000


def test_tar_bears_what_is_told_of_changes(tree, tmp_path, tar):
    meddler = Meddler(tree, 3 << 20, grow)

    done = subprocess.run(
        [tar, "-t", "-f", "-"], input=meddler.data, capture_output=True, check=False
    )

    assert done.returncode == 0
    assert done.stdout.split() == [b"tree/", b"tree/x"]


# -- what git ignores ----------------------------------------------------------------------------

IGNORED = {
    ".gitignore": b"*.o\n/out/\n!keep.o\n[z-a]\n",
    "a.c": b"", "a.o": b"", "keep.o": b"", "out/x": b"", "d/out/x": b"", "d/b.o": b"",
    "d/.gitignore": b"!b.o\nlocal\n", "d/local": b"", "local": b"", "d/e/c.o": b"",
    "link.o.d/x": b"",
}  # fmt: skip
KEPT = {
    ".gitignore", "a.c", "keep.o", "d/out/x", "d/b.o", "d/.gitignore", "local", "link.o.d/x",
}  # fmt: skip


@pytest.fixture
def git(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def run(*words, cwd):
        config = ("-c", "user.name=x", "-c", "user.email=x", "-c", "protocol.file.allow=always")
        subprocess.run(["git", *config, *words], cwd=cwd, check=True, capture_output=True)

    return run


def files_sent(tree, sources=None):
    chosen, told = selected(sources or tree.sources(), None, uses_gitignore=True)
    paths, more = tree.found(chosen)
    kept = {os.fsdecode(path.partition(b"/")[2]) for path in paths}
    told = {step.path: step.reason for step in told} | more
    return {path for path in kept if path and not (tree.root / path).is_dir()}, told


def fill(tree):
    for name, content in IGNORED.items():
        tree.put(name, content)


def test_without_a_repository_each_file_holds_in_its_folder(tree):
    fill(tree)

    kept, told = files_sent(tree)

    assert kept == KEPT
    assert list(told) == [b"tree/.gitignore"]
    assert "[z-a]" in told[b"tree/.gitignore"]


def test_the_walk_agrees_with_git(tree, git, monkeypatch):
    fill(tree)
    git("init", cwd=tree.root)
    kept, told = files_sent(tree)
    assert kept == KEPT
    assert told == {}

    monkeypatch.setenv("PATH", "/nowhere")

    assert files_sent(tree)[0] == KEPT


def test_tracked_files_are_sent_though_they_are_ignored(tree, git):
    fill(tree)
    git("init", cwd=tree.root)
    git("add", "-f", "a.o", cwd=tree.root)
    git("add", "a.c", cwd=tree.root)
    (tree.root / "a.c").unlink()

    kept, told = files_sent(tree)

    assert kept == (KEPT | {"a.o"}) - {"a.c"}
    assert told == {}


def test_a_folder_inside_a_repository(tree, git, monkeypatch):
    fill(tree)
    git("init", cwd=tree.root)
    sources = sources_named([str(tree.root / "d")])
    wanted = [b"d", b"d/.gitignore", b"d/b.o", b"d/out", b"d/out/x"]
    chosen, _ = selected(sources, None, uses_gitignore=True)
    assert tree.found(chosen)[0] == wanted

    monkeypatch.setenv("PATH", "/nowhere")
    chosen, told = selected(sources, None, uses_gitignore=True)

    # Git would not list an empty folder.
    assert tree.found(chosen)[0] == [*wanted[:3], b"d/e", *wanted[3:]]
    assert [os.path.basename(step.path) for step in told] == [b".gitignore"]


def test_repositories_in_a_repository_are_sent_as_they_say(tree, git):
    fill(tree)
    git("init", cwd=tree.root)
    inner = tree.root / "inner"
    tree.put("inner/x.tmp")
    tree.put("inner/y")
    tree.put("inner/.gitignore", b"*.tmp\n")
    git("init", cwd=inner)
    git("add", ".", cwd=inner)
    git("commit", "-m", "x", cwd=inner)
    git("submodule", "add", str(inner), "module", cwd=tree.root)
    tree.put("module/z")

    kept, _ = files_sent(tree)

    extra = {"inner/y", "inner/.gitignore", "module/y", "module/.gitignore", "module/z"}
    assert kept == KEPT | extra | {".gitmodules"}


def test_a_folder_that_git_ignores_is_told(tree, git):
    tree.put(".gitignore", b"out/\n")
    tree.put("out/x")
    git("init", cwd=tree.root)

    chosen, told = selected(sources_named([str(tree.root / "out")]), None, uses_gitignore=True)

    assert tree.found(chosen)[0] == [b"out"]
    assert [step.path for step in told] == [b"out"]


def test_variables_of_git_do_not_mislead_it(tree, git, monkeypatch, tmp_path):
    fill(tree)
    git("init", cwd=tree.root)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))

    assert files_sent(tree)[0] == KEPT


def test_no_program_that_a_repository_names_is_run(tree, git, tmp_path):
    fill(tree)
    git("init", cwd=tree.root)
    git("add", "a.c", cwd=tree.root)
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    spy.chmod(0o755)
    git("config", "core.fsmonitor", str(spy), cwd=tree.root)

    assert files_sent(tree)[0] == KEPT
    assert not (tmp_path / "was-run").exists()


def test_a_gitignore_that_is_a_link_is_not_read(tree, tmp_path):
    tree.put("x.o")
    (tmp_path / "rules").write_text("*.o\n")
    (tree.root / ".gitignore").symlink_to(tmp_path / "rules")

    kept, _ = files_sent(tree)

    assert "x.o" in kept


def test_excluded_folders_are_not_looked_into(tree):
    tree.put("keep/x")
    tree.put("node_modules/deep/x")
    os.mkfifo(tree.root / "node_modules" / "pipe")
    chosen, _ = selected(tree.sources(), read_excludes(["node_modules"]), uses_gitignore=False)

    paths, told = tree.found(chosen)

    assert paths == [b"tree", b"tree/keep", b"tree/keep/x"]
    assert told == {}


def test_a_checkout_arrives_as_it_is(tree, git, tmp_path):
    tree.put("bin/run", b"#!/bin/sh\n", 0o755)
    tree.put("src/a.c", b"int x;\n")
    (tree.root / "src" / "b.c").symlink_to("a.c")
    git("init", cwd=tree.root)
    git("add", ".", cwd=tree.root)
    git("commit", "-m", "x", cwd=tree.root)
    scene = Scene(tmp_path)

    sent_to(scene, tree.sources())

    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=scene.path(b"tree"), capture_output=True, check=True
    )
    assert status.stdout == b""
    assert phrases(Survey(tree.sources()).omitted) == {}
