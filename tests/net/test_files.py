"""Files that a person names: whole under their name, or not there; read from their beginning."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gevent
import pytest

from derphole.edges import files
from derphole.edges.files import FileSource, NewFile, file_sink
from derphole.errors import OutputExists, SinkFailed, UsageError

PATIENCE_S = 10


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with gevent.Timeout(PATIENCE_S):
        yield


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.bin"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# --- writing ---


def test_a_file_has_its_name_only_once_it_is_whole(copy: Path) -> None:
    with closing(file_sink(str(copy), overwrites=False)) as sink:
        sink.write([b"half"])
        assert not copy.exists()
        assert sink.bytes_written == 4
        sink.write([b" and half"])
        sink.flush()
        assert copy.read_bytes() == b"half and half"

    assert names(copy.parent) == ["copy.bin"]


def test_a_file_that_is_given_up_leaves_nothing(copy: Path) -> None:
    with closing(file_sink(str(copy), overwrites=False)) as sink:
        sink.write([b"half"])

    assert names(copy.parent) == []


def test_what_is_there_is_left_as_it_is(copy: Path) -> None:
    copy.write_bytes(b"older")

    with pytest.raises(OutputExists, match=r"copy\.bin exists already, and was left as it is; "):
        file_sink(str(copy), overwrites=False)

    assert copy.read_bytes() == b"older"
    assert names(copy.parent) == ["copy.bin"]


def test_what_appears_meanwhile_is_left_as_it_is(copy: Path) -> None:
    with closing(file_sink(str(copy), overwrites=False)) as sink:
        sink.write([b"newer"])
        copy.write_bytes(b"somebody else's")
        with pytest.raises(OutputExists):
            sink.flush()

    assert copy.read_bytes() == b"somebody else's"
    assert names(copy.parent) == ["copy.bin"]


def test_without_hard_links_what_appears_meanwhile_is_left_as_it_is_too(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    with closing(file_sink(str(copy), overwrites=False)) as sink:
        copy.write_bytes(b"somebody else's")
        with pytest.raises(OutputExists):
            sink.flush()
    copy.unlink()
    with closing(file_sink(str(copy), overwrites=False)) as sink:
        sink.write([b"ours"])
        sink.flush()

    assert copy.read_bytes() == b"ours"
    assert names(copy.parent) == ["copy.bin"]


def test_the_old_file_stands_until_the_new_one_is_whole_and_keeps_its_permissions(
    copy: Path,
) -> None:
    copy.write_bytes(b"older")
    copy.chmod(0o640)
    with closing(file_sink(str(copy), overwrites=True)) as sink:
        sink.write([b"newer"])
        assert copy.read_bytes() == b"older"
        sink.flush()

    assert copy.read_bytes() == b"newer"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert names(copy.parent) == ["copy.bin"]


def test_a_replacement_that_is_given_up_leaves_the_old_file(copy: Path) -> None:
    copy.write_bytes(b"older")
    with closing(file_sink(str(copy), overwrites=True)) as sink:
        sink.write([b"newer"])

    assert copy.read_bytes() == b"older"
    assert names(copy.parent) == ["copy.bin"]


def test_a_symbolic_link_stays_and_its_target_is_written(copy: Path) -> None:
    link = copy.with_name("link")
    link.symlink_to(copy)
    for content, overwrites in ((b"first", False), (b"second", True)):
        with closing(file_sink(str(link), overwrites=overwrites)) as sink:
            sink.write([content])
            sink.flush()
        assert link.is_symlink()
        assert copy.read_bytes() == content


def test_a_device_is_written_as_it_is() -> None:
    with closing(file_sink("/dev/null", overwrites=False)) as sink:
        assert not isinstance(sink, NewFile)
        sink.write([b"gone"])
        sink.flush()

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_full_disk_is_named_with_the_file() -> None:
    with (
        closing(file_sink("/dev/full", overwrites=False)) as sink,
        pytest.raises(SinkFailed, match="^writing to /dev/full failed after 0 bytes: no space"),
    ):
        sink.write([b"does not fit"])


def test_a_named_pipe_waits_for_its_reader_and_leaves_the_hub_free(copy: Path) -> None:
    os.mkfifo(copy)
    opening = gevent.spawn(file_sink, str(copy), overwrites=False)
    for _ in range(20):
        gevent.sleep(0.001)
    assert not opening.ready()

    reader = os.open(copy, os.O_RDONLY | os.O_NONBLOCK)
    with closing(opening.get()) as sink:
        sink.write([b"through"])
        assert os.read(reader, 100) == b"through"
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", r"is a directory; name a file in it$"),
        ("missing/copy.bin", r"^cannot write .*missing/copy\.bin: no such file or directory$"),
        ("missing/", r"^cannot write .*missing/: no such file or directory$"),
        ("n" * 300, r"^cannot write .*: file name too long$"),
    ],
)
def test_what_cannot_be_written_is_told_at_once(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        file_sink(f"{tmp_path}/{name}", overwrites=True)

    assert names(tmp_path) == []


def test_the_longest_name_of_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with closing(file_sink(str(path), overwrites=False)) as sink:
        sink.flush()

    assert path.exists()


# --- reading ---


def test_a_file_is_read_whole_and_its_size_is_known(copy: Path) -> None:
    copy.write_bytes(b"what is sent")
    with closing(FileSource(str(copy))) as source:
        assert source.size_hint() == 12
        assert source.read() == b"what is sent"
        assert source.read() == b""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is a directory; to send one, pipe the output of tar$"),
        ("missing", "^cannot read .*/missing: no such file or directory$"),
    ],
)
def test_what_cannot_be_read_is_told_at_once(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        FileSource(f"{tmp_path}/{name}")
