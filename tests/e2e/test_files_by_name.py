"""Files named on the command line: `pipe TOKEN FILE`, `listen -o FILE`."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from desk import Desk, token_of
from support.processes import PROGRAM, Process, await_true

pytestmark = pytest.mark.e2e

PAYLOAD = bytes(range(256)) * 800


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original.bin"
    path.write_bytes(PAYLOAD)
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "copy.bin"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def pipe_file(desk: Desk, token: str, path: Path) -> Process:
    return desk.derphole("pipe", "pipe", token, path)


def test_a_file_goes_into_a_file(desk: Desk, original: Path, copy: Path) -> None:
    listen = desk.listen("-o", str(copy))

    pipe_file(desk, token_of(listen), original).ends_with(0, "^sent 200.0KiB")

    listen.ends_with(0, "^received 200.0KiB")
    assert copy.read_bytes() == PAYLOAD
    assert names(copy.parent) == ["copy.bin"]
    assert listen.stdout == b""


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(
    desk: Desk, original: Path, copy: Path
) -> None:
    copy.write_bytes(b"older")

    desk.listen("-o", str(copy)).ends_with(1, r"copy\.bin exists already, .*; .*--overwrite$")
    assert copy.read_bytes() == b"older"

    listen = desk.listen("-o", str(copy), "--overwrite")
    pipe_file(desk, token_of(listen), original).ends_with(0)
    listen.ends_with(0)
    assert copy.read_bytes() == PAYLOAD


@pytest.mark.parametrize("aborting", ["listen", "pipe"])
def test_nothing_stands_under_the_name_of_an_aborted_transfer(
    desk: Desk, copy: Path, aborting: str
) -> None:
    listen = desk.listen("-o", str(copy))
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    await_true(lambda: [part.stat().st_size for part in copy.parent.iterdir()] == [13], "written")

    (listen if aborting == "listen" else pipe).send_signal(signal.SIGINT)

    assert {listen.wait(), pipe.wait()} == {1, 130}
    assert names(copy.parent) == []


def test_a_file_that_appears_meanwhile_is_left_and_both_sides_say_so(
    desk: Desk, copy: Path
) -> None:
    listen = desk.listen("-o", str(copy))
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"ours")
    copy.write_bytes(b"somebody else's")
    pipe.end_input()

    listen.ends_with(1, r"copy\.bin exists already, and was left as it is; ")
    pipe.ends_with(1, "^the other side stopped: it could not write its output: the file exists")
    assert copy.read_bytes() == b"somebody else's"


def test_a_file_without_a_token_is_told_what_is_missing(desk: Desk, original: Path) -> None:
    process = desk.derphole("pipe", "pipe", original)

    process.ends_with(
        2, r"original\.bin is a file, and the token is missing; run `derphole listen`"
    )
    assert "damaged" not in process.stderr


def test_the_token_may_come_from_elsewhere(desk: Desk, original: Path) -> None:
    listen = desk.listen()
    token = token_of(listen)

    pipe = desk.derphole("pipe", "pipe", original, variables={"DERPHOLE_TOKEN": token})

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == PAYLOAD


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["listen", "--overwrite"], "^--overwrite requires --output FILE$"),
        (["listen", "-o", ""], "^--output requires the name of a file$"),
        (["listen", "-o", "."], r"^\. is a directory; name a file in it$"),
        (["listen", "-o", "no/where"], "^cannot write no/where: no such file or directory$"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_begins(
    desk: Desk, words: list[str], sentence: str
) -> None:
    process = desk.derphole("wrong", *words)

    process.ends_with(2, sentence)


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_folder_as_standard_input_gets_a_sentence(
    desk: Desk, tmp_path: Path, flags: list[str]
) -> None:
    if Path(PROGRAM).read_bytes()[:2] != b"#!":
        pytest.skip("optional: in a binary Python ends itself before anything of ours begins")
    folder = os.open(tmp_path, os.O_RDONLY)

    process = desk.derphole("pipe", "pipe", "TOKEN", *flags, stdin=folder)

    os.close(folder)
    process.ends_with(2)
    says = "standard input is a directory; to send one, pipe the output of tar"
    if flags:
        [event] = process.events
        assert (event["event"], event["code"], event["exit_code"]) == ("error", "usage", 2)
        assert event["message"] == says
    else:
        assert process.lines == [says]


def test_an_interruption_while_the_program_is_loaded_ends_it_without_a_traceback(
    desk: Desk, tmp_path: Path
) -> None:
    if Path(PROGRAM).read_bytes()[:2] != b"#!":
        pytest.skip("optional: what comes before anything of ours is the binary's own affair")
    module = tmp_path / "derphole" / "cli" / "main.py"
    module.parent.mkdir(parents=True)
    for folder in (module.parent, module.parent.parent):
        (folder / "__init__.py").touch()
    module.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\n")

    process = desk.derphole("version", "version", variables={"PYTHONPATH": str(tmp_path)})

    assert process.wait() == -signal.SIGINT
    assert process.lines == []
