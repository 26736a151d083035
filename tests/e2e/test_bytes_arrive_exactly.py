"""Whatever goes into `pipe` comes out of `listen`, and both say so."""

import fcntl
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import Desk, token_of, unread_bytes
from support.processes import PROGRAM, MeasuredCommand, await_true, record_figure

pytestmark = pytest.mark.e2e

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = [0, 1, 7, 8, 9, KIB, 64 * KIB + 1, 8 * MIB + 3]
PEAK_RSS_LIMIT_BYTES = 150_000_000
FULL_TIMEOUT_S = 1500.0
LONGER_THAN_GIVE_UP_S = 75.0
STILL_S = 1.0


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_of_any_size_arrives_exactly(desk: Desk, size: int) -> None:
    data = os.urandom(size)
    listen = desk.listen("--verbose")

    pipe = desk.pipe(token_of(listen), "--verbose", stdin=data)

    pipe.ends_with(0, r"^sent .*; XXH3-128 [0-9a-f]{32}$")
    listen.ends_with(0, r"^received .*; XXH3-128 [0-9a-f]{32}$")
    assert listen.stdout == data
    assert pipe.stdout == b""
    assert digest_of(pipe.lines) == digest_of(listen.lines)


def test_an_input_that_is_already_at_its_end_is_an_empty_stream(desk: Desk) -> None:
    listen = desk.listen()

    pipe = desk.pipe(token_of(listen), stdin=subprocess.DEVNULL)

    pipe.ends_with(0, "^warning: nothing was read from standard input$", "^sent 0B")
    listen.ends_with(
        0,
        "^warning: nothing was read from standard input on the other side, and so nothing came$",
        "^received 0B",
    )
    assert listen.stdout == b""


def test_an_input_that_pauses_is_sent_as_it_comes(desk: Desk) -> None:
    first, second, last = os.urandom(10), os.urandom(200 * KIB), os.urandom(1)
    listen = desk.listen()
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)

    for sent, piece in ((first, first), (first + second, second), (first + second + last, last)):
        pipe.feed(piece)
        assert listen.await_output(len(sent)) == sent
        assert pipe.is_running
        assert listen.is_running
    pipe.end_input()

    pipe.ends_with(0, "^sent ")
    listen.ends_with(0, "^received ")
    assert listen.stdout == first + second + last


def test_an_input_that_is_silent_for_long_loses_nothing(desk: Desk, is_full: bool) -> None:
    silence_s = LONGER_THAN_GIVE_UP_S if is_full else 1.0
    listen = desk.listen()
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"before")
    listen.await_output(6)

    time.sleep(silence_s)  # the time itself is what is tested
    assert pipe.is_running
    assert listen.is_running
    pipe.feed(b" and after")
    pipe.end_input()

    pipe.ends_with(0, "^sent 16B")
    listen.ends_with(0, "^received 16B")
    assert len(pipe.lines) == 1, "silence without anything unanswered is no stall"
    assert len(listen.lines) == 2
    assert listen.stdout == b"before and after"


def test_what_is_typed_at_a_terminal_is_sent_until_ctrl_d(desk: Desk) -> None:
    keyboard, terminal = os.openpty()
    listen = desk.listen()
    try:
        pipe = desk.pipe(token_of(listen), stdin=terminal)
        pipe.await_line("^reading from the keyboard; end with Ctrl-D on an empty line$")
        os.write(keyboard, b"a line that was typed\n")
        assert listen.await_output(22) == b"a line that was typed\n"
        os.write(keyboard, b"\x04")

        pipe.ends_with(0, "^sent 22B")
        listen.ends_with(0, "^received 22B")
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert listen.stdout == b"a line that was typed\n"


def test_a_long_stream_of_zeros_runs_through_pipes(desk: Desk, is_full: bool) -> None:
    size = 5 * GIB if is_full else 64 * MIB
    timeout_s = FULL_TIMEOUT_S if is_full else 60.0
    read_end, write_end = os.pipe()
    listen = desk.listen(stdout=write_end)
    os.close(write_end)
    token = token_of(listen)
    source_end, head_end = os.pipe()
    command = ["sh", "-c", f"head -c {size} /dev/zero"]
    head = desk.run("head", command, stdout=head_end)
    os.close(head_end)
    pipe = desk.pipe(token, stdin=source_end)
    os.close(source_end)

    count = zeros = 0
    with open(read_end, "rb", buffering=0) as stream:
        while chunk := stream.read(MIB):
            count += len(chunk)
            zeros += chunk.count(0)

    pipe.ends_with(0, "^sent ", timeout_s=timeout_s)
    listen.ends_with(0, "^received ")
    head.ends_with(0)
    assert count == size
    assert zeros == size


def test_a_reader_that_pauses_stalls_the_sender_and_fills_no_memory(
    desk: Desk, tmp_path: Path
) -> None:
    size = 256 * MIB
    read_end, write_end = os.pipe()
    listening, sending = MeasuredCommand(tmp_path, "listen"), MeasuredCommand(tmp_path, "pipe")
    command = listening.line(PROGRAM, "listen", "--relay", desk.relay_url)
    listen = desk.run("listen", command, stdout=write_end)
    os.close(write_end)
    token = token_of(listen)
    source_end, head_end = os.pipe()
    desk.run("head", ["sh", "-c", f"head -c {size} /dev/zero"], stdout=head_end)
    os.close(head_end)
    pipe = desk.run("pipe", sending.line(PROGRAM, "pipe", token), stdin=source_end)

    await_stillness(lambda: unread_bytes(read_end), 1)
    await_stillness(lambda: unread_bytes(source_end), 1)
    os.close(source_end)
    count = 0
    with open(read_end, "rb", buffering=0) as stream:
        while chunk := stream.read(MIB):
            count += len(chunk)

    pipe.ends_with(0, "^sent 256.0MiB")
    listen.ends_with(0, "^received 256.0MiB")
    assert count == size
    for measured in (listening, sending):
        assert measured.peak_rss_bytes <= PEAK_RSS_LIMIT_BYTES


def test_a_folder_goes_through_tar_and_pv_unchanged(desk: Desk, tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "command -v pv"], capture_output=True).returncode:
        pytest.skip("pv is not installed")
    tree, copy = make_tree(tmp_path / "tree"), tmp_path / "copy"
    copy.mkdir()
    to_tar, from_listen = os.pipe()
    listen = desk.listen(stdout=from_listen)
    os.close(from_listen)
    receiving = f"pv -q | tar -xpf - -C '{copy}'"
    untar = desk.run("untar", ["sh", "-c", receiving], stdin=to_tar)
    os.close(to_tar)
    token = token_of(listen)
    to_pipe, from_tar = os.pipe()
    tar = desk.run("tar", ["sh", "-c", f"tar -C '{tree}' -cpf - . | pv -q"], stdout=from_tar)
    os.close(from_tar)
    pipe = desk.pipe(token, stdin=to_pipe)
    os.close(to_pipe)

    pipe.ends_with(0, "^sent ")
    listen.ends_with(0, "^received ")
    tar.ends_with(0)
    untar.ends_with(0)
    difference = subprocess.run(
        ["diff", "-r", "--no-dereference", tree, copy], capture_output=True, text=True
    )
    assert difference.returncode == 0, difference.stdout
    assert modes_of(tree) == modes_of(copy)


def test_a_large_file_arrives_whole_in_little_memory(
    desk: Desk, tmp_path: Path, is_full: bool
) -> None:
    size = GIB if is_full else 32 * MIB
    timeout_s = FULL_TIMEOUT_S if is_full else 60.0
    source, target = tmp_path / "source", tmp_path / "target"
    write_random_file(source, size)
    listening, sending = MeasuredCommand(tmp_path, "listen"), MeasuredCommand(tmp_path, "pipe")
    with target.open("wb") as output:
        command = listening.line(PROGRAM, "listen", "--relay", desk.relay_url)
        listen = desk.run("listen", command, stdout=output, variables={"DERPHOLE_DEBUG": "0"})
    token = token_of(listen)
    started_at = time.monotonic()
    with source.open("rb") as file:
        pipe = desk.run(
            "pipe",
            sending.line(PROGRAM, "pipe", "--force-relay", token),
            stdin=file,
            variables={"DERPHOLE_DEBUG": "0"},
        )

    pipe.ends_with(0, "^sent ", timeout_s=timeout_s)
    took_s = time.monotonic() - started_at
    listen.ends_with(0, "^received ")

    assert sha256_of(target) == sha256_of(source)
    what = f"{size // MIB} MiB over the embedded relay"
    record_figure(f"{what}: rate", f"{size / took_s / 1e6:.1f} MB/s", "recorded")
    for name, measured in (("listen", listening), ("pipe", sending)):
        peak = measured.peak_rss_bytes
        record_figure(f"{what}: peak memory of {name}", f"{peak / 1e6:.1f} MB", "<= 150 MB")
        assert peak <= PEAK_RSS_LIMIT_BYTES
    source.unlink()  # pytest keeps the folders of three runs
    target.unlink()


def test_the_flags_of_inherited_descriptors_stay_as_they_are(desk: Desk) -> None:
    ends = [*os.pipe(), *os.pipe()]
    before = [fcntl.fcntl(end, fcntl.F_GETFL) for end in ends]
    stdin_end, feed_end, result_end, stdout_end = ends

    listen = desk.listen(stdout=stdout_end)
    pipe = desk.pipe(token_of(listen), stdin=stdin_end)
    os.write(feed_end, b"some bytes")
    assert os.read(result_end, 100) == b"some bytes"
    during = [fcntl.fcntl(end, fcntl.F_GETFL) for end in ends]
    os.close(feed_end)
    pipe.ends_with(0)
    listen.ends_with(0)

    assert during == before
    after = [fcntl.fcntl(end, fcntl.F_GETFL) for end in (stdin_end, result_end, stdout_end)]
    assert after == [before[0], before[2], before[3]]
    for end in (stdin_end, result_end, stdout_end):
        os.close(end)


def await_stillness(figure: Callable[[], int], at_least: int) -> None:
    """Wait until a figure has reached a value and has not changed for a second."""
    seen = [(time.monotonic(), figure())]

    def is_still() -> bool:
        if figure() != seen[-1][1]:
            seen.append((time.monotonic(), figure()))
        return seen[-1][1] >= at_least and time.monotonic() > seen[-1][0] + STILL_S

    await_true(is_still, "nothing moves any more")


def digest_of(lines: list[str]) -> str:
    [digest] = re.findall(r"; XXH3-128 ([0-9a-f]{32})$", "\n".join(lines), re.MULTILINE)
    return str(digest)


def make_tree(root: Path) -> Path:
    """A folder with what copying programs like to get wrong."""
    (root / "empty folder").mkdir(parents=True)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty file").touch()
    (root / "name with\nline break").write_bytes(b"odd")
    (root / "größe.txt").write_text("ü\n", encoding="utf-8")
    (root / "deep" / "er" / "large").write_bytes(os.urandom(5 * MIB + 17))
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o750)
    (root / "read only").write_text("no writing\n")
    (root / "read only").chmod(0o444)
    (root / "link").symlink_to("deep/er/large")
    (root / "broken link").symlink_to("nowhere")
    os.link(root / "script", root / "hard link")
    for number in range(200):
        (root / f"small {number}").write_bytes(b"x" * number)
    return root


def modes_of(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_mode for path in root.rglob("*")}


def write_random_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
