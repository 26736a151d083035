"""What happens behind the listener's standard output is told on both sides."""

import os
import shutil
import subprocess
import sys

import pytest
from desk import Desk, token_of
from support.processes import PROGRAM

pytestmark = pytest.mark.e2e

MIB = 1 << 20
TMPFS_SIZE = 1 * MIB
# A file system of our own, in a mount namespace that ends with the process.
ON_TINY_DISK = """
mount -t tmpfs -o size="$1" tmpfs "$2" && shift && folder=$1 && shift && exec "$@" >"$folder/copy"
"""


def own_mounts() -> list[str]:
    """The command line before one that may mount; empty where the system allows nobody to."""
    if shutil.which("unshare") is not None:
        for words in (["unshare", "-m"], ["unshare", "-r", "-m"]):
            command = [*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
            if subprocess.run(command, capture_output=True, timeout=10).returncode == 0:
                return words
    return []


def test_a_reader_that_leaves_early_ends_both_sides(desk: Desk) -> None:
    read_end, write_end = os.pipe()
    result_end, head_end = os.pipe()
    head = desk.run("head", ["head", "-c", "1000"], stdin=read_end, stdout=head_end)
    listen = desk.listen(stdout=write_end)
    for end in (read_end, write_end, head_end):
        os.close(end)

    with open("/dev/zero", "rb") as endless:
        pipe = desk.pipe(token_of(listen), stdin=endless)

    listen.ends_with(1, r"^standard output was closed after \d+ bytes; find out why ")
    pipe.ends_with(1, "^the receiver's output was closed; find out why ")
    head.ends_with(0)
    assert os.read(result_end, 2000) == bytes(1000)
    os.close(result_end)


def test_a_reader_that_leaves_while_nothing_is_sent_ends_both_sides(desk: Desk) -> None:
    read_end, write_end = os.pipe()
    listen = desk.listen(stdout=write_end)
    os.close(write_end)
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"one")
    assert os.read(read_end, 10) == b"one"

    os.close(read_end)

    listen.ends_with(1, "^standard output was closed after 3 bytes; find out why ")
    pipe.ends_with(1, "^the receiver's output was closed; find out why ")


def test_a_reader_that_leaves_before_anybody_sends_ends_the_listener(desk: Desk) -> None:
    read_end, write_end = os.pipe()
    listen = desk.listen(stdout=write_end)
    os.close(write_end)
    token_of(listen)

    os.close(read_end)

    listen.ends_with(1, "^standard output was closed after 0 bytes; find out why ")


def test_a_device_without_room_is_named_on_both_sides(desk: Desk) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        listen = desk.listen(stdout=full)
        pipe = desk.pipe(token_of(listen), stdin=b"does not fit")

    listen.ends_with(
        1, r"^writing to standard output failed after 0 bytes: no space left on device"
    )
    pipe.ends_with(
        1, "^the other side stopped: it could not write its output: no space left on dev"
    )


def test_a_disk_that_fills_up_is_named_on_both_sides(desk: Desk) -> None:
    mounting = own_mounts()
    if not mounting:
        pytest.skip("a file system of one's own needs root or user namespaces")
    disk = desk.folder / "disk"
    disk.mkdir()
    command = [*mounting, "sh", "-c", ON_TINY_DISK, "sh", str(TMPFS_SIZE), str(disk)]
    listen = desk.run("listen", [*command, PROGRAM, "listen", "--relay", desk.relay_url])

    pipe = desk.pipe(token_of(listen), stdin=bytes(8 * MIB))

    listen.ends_with(
        1,
        rf"^writing to standard output failed after {TMPFS_SIZE} bytes: no space left on device; "
        "what was written is incomplete: discard it, and run the command again$",
    )
    pipe.ends_with(
        1, "^the other side stopped: it could not write its output: no space left on dev"
    )


def test_an_input_that_cannot_be_read_is_named_on_both_sides(desk: Desk) -> None:
    listen = desk.listen()
    with open(desk.folder / "write only", "wb") as unreadable:
        pipe = desk.pipe(token_of(listen), stdin=unreadable)

    pipe.ends_with(
        1, "^reading from standard input failed: it is closed, or open only for the other"
    )
    listen.ends_with(1, "^the other side stopped: it could not read its input: ")
    assert listen.stdout == b""


@pytest.mark.parametrize(
    ("closed", "name"), [("<&-", "standard input"), (">&-", "standard output")]
)
def test_a_closed_descriptor_is_refused_with_what_to_do(desk: Desk, closed: str, name: str) -> None:
    is_input = "<" in closed
    words = ["pipe", token_of(desk.listen())] if is_input else ["listen", "--relay", desk.relay_url]

    process = desk.run("closed", ["sh", "-c", f'exec "$@" {closed}', "sh", PROGRAM, *words])

    process.ends_with(2, f"^{name} is closed; connect it to a file, a pipe or /dev/null$")


def test_a_closed_standard_error_changes_nothing_but_the_messages(desk: Desk) -> None:
    listen = desk.listen()
    token = token_of(listen)

    words = ["sh", "-c", 'exec "$@" 2>&-', "sh", PROGRAM, "pipe", token]
    pipe = desk.run("pipe", words, stdin=b"without a word")

    pipe.ends_with(0)
    listen.ends_with(0, "^received 14B")
    assert listen.stdout == b"without a word"
    assert pipe.stdout == b""
    assert pipe.lines == []


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["listen"], "2>&-"),
        (["listen", "--json"], "2>&-"),
        (["listen"], "2>/dev/null"),
        (["share", "1"], "2>&-"),
        (["share", "1", "--print-token-only"], ">&-"),
        (["listen", "--print-token-only", "-o", "copy"], ">&-"),
    ],
)
def test_a_token_that_nobody_can_read_is_not_waited_for(
    desk: Desk, words: list[str], where: str
) -> None:
    command = ["sh", "-c", f'exec "$@" {where}', "sh", PROGRAM, *words, "--relay", desk.relay_url]

    process = desk.run("closed", command)

    process.ends_with(2)
    if where == ">&-":
        process.ends_with(2, "^nobody can read the token: standard output is closed; connect it ")


def test_a_token_whose_reader_is_gone_is_not_waited_for(desk: Desk) -> None:
    gone = (
        "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 2); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )

    process = desk.run(
        "unread", [sys.executable, "-c", gone, PROGRAM, "listen", "--relay", desk.relay_url]
    )

    process.ends_with(2)


def test_raw_bytes_for_a_terminal_are_warned_about(desk: Desk) -> None:
    screen, terminal = os.openpty()
    listen = desk.listen(stdout=terminal)
    os.close(terminal)

    listen.await_line("^warning: standard output is a terminal; received data will be shown as is$")
    desk.pipe(token_of(listen), stdin=b"shown").ends_with(0)

    listen.ends_with(0)
    assert os.read(screen, 100) == b"shown"
    os.close(screen)


def test_a_reader_that_leaves_after_the_last_byte_is_no_failure(desk: Desk) -> None:
    # tar stops at the end of its archive and closes the pipe before our stream has ended.
    read_end, write_end = os.pipe()
    listen = desk.listen(stdout=write_end)
    os.close(write_end)
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"x" * 10240)
    arrived = b""
    while len(arrived) < 10240:
        arrived += os.read(read_end, 10240)
    assert arrived == b"x" * 10240

    os.close(read_end)
    pipe.end_input()

    pipe.ends_with(0)
    listen.ends_with(0)
