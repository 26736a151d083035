"""A transfer that ends before its last byte: both sides say how much there is of how much."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from desk import Desk, token_of
from support.processes import PROGRAM, await_true

pytestmark = pytest.mark.e2e

MIB = 1 << 20
SIZE = 64 * MIB


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


@pytest.mark.parametrize("aborting", ["listen", "pipe"])
def test_both_sides_say_how_much_of_a_file_there_is(
    desk: Desk, original: Path, aborting: str
) -> None:
    read_end, write_end = os.pipe()  # nobody reads: the transfer stops half-way
    listen = desk.listen(stdout=write_end)
    os.close(write_end)
    pipe = desk.derphole("pipe", "pipe", token_of(listen), original)
    assert os.read(read_end, 1) == b"\0"

    (listen if aborting == "listen" else pipe).send_signal(signal.SIGTERM)

    reached = rf"^incomplete: \d+ of {SIZE} bytes reached the other side$"
    listen.ends_with(143 if aborting == "listen" else 1, rf"^incomplete: \d+ of {SIZE} bytes came$")
    pipe.ends_with(143 if aborting == "pipe" else 1, reached)
    assert listen.lines[-2].startswith("incomplete")
    assert pipe.lines[-2].startswith("incomplete")
    os.close(read_end)


def test_where_the_size_is_unknown_the_bytes_are_told(desk: Desk, tmp_path: Path) -> None:
    listen = desk.listen("--quiet", "-o", str(tmp_path / "copy"))
    pipe = desk.pipe(token_of(listen), "--quiet", stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    await_true(lambda: [part.stat().st_size for part in tmp_path.glob(".copy.*")] == [13], "came")

    pipe.send_signal(signal.SIGINT)

    pipe.ends_with(130, "^incomplete: 13 bytes reached the other side$")
    listen.ends_with(1, r"^incomplete: 13 bytes came; .*/copy is as it was before$")
    assert not list(tmp_path.glob("*copy*"))


def test_programs_get_the_figures(desk: Desk) -> None:
    listen = desk.derphole("json", "listen", "--relay", desk.relay_url, "--json")
    token = listen.await_line(r'"token": "(dhp1_[^"]+)"').group(1)
    pipe = desk.pipe(token, "--json", stdin=subprocess.PIPE, name="json")
    pipe.feed(b"the beginning")
    listen.await_output(13)

    pipe.send_signal(signal.SIGTERM)
    assert (listen.wait(), pipe.wait()) == (1, 143)

    for process, direction in ((listen, "received"), (pipe, "sent")):
        incomplete, error = process.events[-2:]
        assert (incomplete["event"], error["event"]) == ("incomplete", "error")
        assert incomplete["direction"] == direction
        assert (incomplete["bytes"], incomplete["total"]) == (13, None)


def test_a_left_side_that_failed_is_told_on_both_sides(desk: Desk) -> None:
    listen = desk.listen()
    words = ["sh", "-c", 'tar -cf - no-such-folder 2>/dev/null | head -c 0 | "$@"', "sh", PROGRAM]

    pipe = desk.run("pipe", [*words, "pipe", token_of(listen)])

    pipe.ends_with(0, "^warning: nothing was read from standard input$")
    listen.ends_with(
        0,
        "^warning: nothing was read from standard input on the other side, and so nothing came$",
    )


def test_an_empty_file_is_told_as_that(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "nothing.bin").touch()
    listen = desk.listen("-o", str(tmp_path / "copy"))

    pipe = desk.derphole("pipe", "pipe", token_of(listen), tmp_path / "nothing.bin")

    pipe.ends_with(0, r"^warning: nothing was read from .*nothing\.bin$")
    listen.ends_with(0, "^warning: nothing came: the file on the other side is empty$")
    assert (tmp_path / "copy").read_bytes() == b""
