"""`send` and `receive` in a real terminal (tmux), wide and narrow: what a person sees at each stage.

Only the screen is read, as tmux would show it; what wraps, flickers or stays behind would be in it.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Desk, token_of
from sending import receive, send
from support.processes import PROGRAM, await_true, clean_environment

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]

WIDE, NARROW = 120, 40
LINES = 30
SIZE = 96 << 20


class Screen:
    """A terminal in tmux, with a shell that runs one command and stays."""

    def __init__(self, folder: Path, columns: int) -> None:
        self._socket = folder / "tmux"
        self._folder = folder
        environment = {**clean_environment(folder), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        environment["PS1"] = "$ "
        self._environment = environment
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(LINES), "sh", "-i"
        )

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, columns: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(LINES))

    @property
    def rows(self) -> list[str]:
        """What the screen shows, without empty rows at its end."""
        return self._tmux("capture-pane", "-p").rstrip("\n").split("\n")

    @property
    def text(self) -> str:
        """The same with wrapped lines joined."""
        return self._tmux("capture-pane", "-p", "-J")

    def await_text(self, pattern: str) -> re.Match[str]:
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            match = re.search(pattern, self.text, re.MULTILINE)
            found.extend([match] if match else [])
            return bool(match)

        try:
            await_true(is_there, f"the screen shows {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows\n{self.text}") from None
        return found[0]

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    screen = Screen(tmp_path, WIDE)
    yield screen
    screen.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def command(*words: str | Path) -> str:
    """Return a command line as a person types it."""
    return shlex.join([str(word) for word in (PROGRAM, *words)])


def come(folder: Path) -> int:
    part = folder / ".large.bin.derphole-part"
    return part.stat().st_size if part.exists() else 0


def test_a_receiver_s_screen_from_the_offer_to_the_receipt(
    desk: Desk, screen: Screen, large: Path, there: Path
):
    sender = send(desk, "--force-relay", large)
    screen.type(command("receive", "-o", there, token_of(sender)) + "; echo ended $?")
    screen.await_text(r'^receiving file "large\.bin" \(96\.0MiB\) into \S+there/large\.bin$')
    await_true(lambda: come(there) > 1 << 20, "bytes have come")
    sender.send_signal(signal.SIGSTOP)

    bar = screen.await_text(r"^ *\d+%\|#*\.*\| \S+MiB/96\.0MiB \[\S+, nothing for \d+ s\] relay.*$")
    assert len(bar[0]) < WIDE
    screen.resize(NARROW)
    # The bar that was drawn for the old width may have wrapped; the next one fits.
    screen.await_text(r"^ *\d+% \S+MiB.* nothing for \d+ s( relay)?$")
    assert all(len(row) <= NARROW for row in screen.rows)
    sender.send_signal(signal.SIGCONT)

    screen.await_text("^ended 0$")
    sender.ends_with(0)
    assert re.search(r"^received 96\.0MiB, complete after ", screen.text, re.MULTILINE)
    assert "%" not in screen.rows[-3], "the bar is gone"


def test_a_sender_s_screen_from_the_code_to_the_receipt(
    desk: Desk, screen: Screen, large: Path, there: Path
):
    screen.type(command("send", "--relay", desk.relay_url, large) + "; echo ended $?")
    code = screen.await_text(r"^On the other machine, run:\n +derphole receive (0-\S+) --relay ")[1]
    screen.await_text(r"The code is good for 1 hour \(until \S+\), for one receiver\.")
    screen.await_text(r"^waiting for the other side to use the code \(2 s\)$")

    relay = ("--relay", desk.relay_url)
    desk.derphole("receive", "receive", "-o", there, *relay, code).ends_with(0)

    screen.await_text(r"^sent 96\.0MiB, confirmed after \d+\.\d s, .*/s, by ")
    screen.await_text("^ended 0$")


def test_text_with_escape_sequences_does_nothing_to_the_screen(desk: Desk, screen: Screen):
    sender = send(desk, "--text", "red \x1b[31m\x1b[2J gone\rover \x07 ünï")
    screen.type(command("receive", token_of(sender)) + "; echo ended $?")

    screen.await_text("^ended 0$")
    sender.ends_with(0)
    assert r"red \x1b[31m\x1b[2J gone\rover \x07 ünï" in screen.text


def test_a_person_answers_and_sees_what_came_of_it(
    desk: Desk, screen: Screen, large: Path, there: Path
):
    (there / "large.bin").write_bytes(b"precious")
    sender = send(desk, large)
    screen.type(command("receive", "-o", there, token_of(sender)) + "; echo ended $?")
    screen.await_text(r"large\.bin exists; replace it\? \[y/N\]$")

    screen.type("n")

    screen.await_text("^what was offered was declined, and nothing was written; ")
    screen.await_text("^ended 1$")
    sender.ends_with(1, "it was declined there")
    assert (there / "large.bin").read_bytes() == b"precious"


def test_a_code_as_a_picture_fits_a_narrow_screen(desk: Desk, screen: Screen):
    screen.resize(NARROW)
    screen.type("clear; " + command("send", "--qr", "--relay", desk.relay_url, "--text", "hi"))
    screen.await_text("^On the other machine, run:")
    assert len([row for row in screen.rows if set(row) <= set(" ▀▄█")]) >= 12
    screen.press("C-c")


def test_a_token_as_a_picture_fits_or_is_told_what_it_needs(desk: Desk, screen: Screen):
    line = command("send", "--no-code", "--qr", "--relay", desk.relay_url, "--text", "hi")
    screen.type("clear; " + line)
    screen.await_text("^On the other machine, run:")
    picture = [row for row in screen.rows if set(row) <= set(" ▀▄█")]
    assert len(picture) >= 20
    screen.press("C-c")
    screen.await_text("interrupted by SIGINT")

    screen.resize(NARROW)
    screen.type("clear; " + line)

    screen.await_text(
        r"^warning: the QR code needs a terminal of \d\d columns and \d\d lines, and "
    )
    screen.press("C-c")


def test_a_narrow_screen_from_the_beginning(desk: Desk, screen: Screen, large: Path, there: Path):
    screen.resize(NARROW)
    sender = send(desk, "--force-relay", large)
    receiver_line = command("receive", "-o", there, token_of(sender)) + "; echo ended $?"
    screen.type(receiver_line)
    await_true(lambda: come(there) > 1 << 20, "bytes have come")
    sender.send_signal(signal.SIGSTOP)
    screen.await_text(r"^ *\d+% \S+MiB.* nothing for \d+ s( relay)?$")
    assert all(len(row) <= NARROW for row in screen.rows)
    sender.send_signal(signal.SIGCONT)
    screen.await_text("^ended 0$")
    sender.ends_with(0)


def test_a_pair_without_terminals_says_lines_and_no_bar(desk: Desk, large: Path, there: Path):
    sender = send(desk, large)
    receiver = receive(desk, sender, "-o", there)
    sender.ends_with(0)
    receiver.ends_with(0)

    for process in (sender, receiver):
        assert not any("%|" in line for line in process.lines), process.story
