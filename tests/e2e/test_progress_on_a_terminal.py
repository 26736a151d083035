"""The bar of `listen` and `pipe`: on a terminal, at its width, and gone at the end."""

import fcntl
import os
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator

import pytest
from desk import Desk, token_of
from support.processes import PROGRAM, Process, await_true

pytestmark = pytest.mark.e2e

MIB = 1 << 20
TOKEN = re.compile(r"(dhp1_[A-Za-z0-9_-]+)\s*\r\n")
PLAIN = {"DERPHOLE_DEBUG": "0"}  # no reports of the watchdog
ON_TERMINAL = 'tty=$1; shift; exec "$@" 2>"$tty"'


class Terminal:
    """A terminal, and everything that was written to it."""

    def __init__(self, columns: int) -> None:
        self._screen, self._terminal = os.openpty()
        self.name = os.ttyname(self._terminal)
        self.resize(columns)
        self._written = b""
        threading.Thread(target=self._read, daemon=True).start()

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def close(self) -> None:
        os.close(self._terminal)

    @property
    def text(self) -> str:
        return self._written.decode()

    @property
    def bars(self) -> list[str]:
        """Everything that was drawn in the last row, one after the other."""
        drawn = re.split(r"\r(?!\n)", self.text)[1:]
        return [bar.partition("\r\n")[0] for bar in drawn if "/s" in bar or "nothing for" in bar]

    @property
    def rows(self) -> list[str]:
        """What stands there, as far as lines were not wrapped."""
        shown = []
        for line in self.text.split("\r\n"):
            row = ""
            for part in line.split("\r"):
                row = part + row[len(part) :]
            shown.append(row.rstrip())
        return [row for row in shown if not row.startswith("waiting for ")]  # where it is slow

    def _read(self) -> None:
        try:
            while data := os.read(self._screen, 1 << 16):
                self._written += data
        except OSError:  # everybody has closed it
            return


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(100)
    yield terminal
    terminal.close()


def on(terminal: Terminal, desk: Desk, *words: str, stdin: int = subprocess.DEVNULL) -> Process:
    shell = ["sh", "-c", ON_TERMINAL, "sh", terminal.name]
    return desk.run(words[0], [*shell, PROGRAM, *words], stdin=stdin, variables=PLAIN)


def test_a_sender_sees_bytes_rate_and_path_at_every_width(desk: Desk, terminal: Terminal) -> None:
    listen = desk.listen("--force-relay")
    pipe = on(terminal, desk, "pipe", token_of(listen), stdin=subprocess.PIPE)

    pipe.feed(bytes(MIB))
    wanted = r"^1\.0MiB \[\d\d:\d\d, \S+/s\] relay own \(127\.0\.0\.1:\d+\) *$"
    await_true(lambda: re.search(wanted, (terminal.bars or [""])[-1]), "the counter stands there")
    await_true(lambda: "nothing for" in terminal.bars[-1], "the pause is seen")

    terminal.resize(40)
    before = len(terminal.bars)
    pipe.feed(bytes(MIB))
    await_true(lambda: "2.0MiB" in terminal.bars[-1], "the counter has gone on")
    assert all(len(bar) <= 39 for bar in terminal.bars[before + 1 :])
    terminal.resize(200)

    pipe.end_input()
    pipe.ends_with(0)
    listen.ends_with(0)
    await_true(lambda: terminal.rows[-2].startswith("sent 2.0MiB, "), "the receipt came")
    assert terminal.rows[-1] == ""
    assert len(terminal.rows) == 2, terminal.rows
    assert re.fullmatch(r"[\x20-\x7e\r\n]*", terminal.text)


def test_a_receiver_sees_how_much_of_a_file_has_come(
    desk: Desk, terminal: Terminal, tmp_path: os.PathLike[str]
) -> None:
    original = os.path.join(tmp_path, "original.bin")
    with open(original, "wb") as file:
        file.truncate(32 * MIB)
    read_end, write_end = os.pipe()
    shell = ["sh", "-c", ON_TERMINAL, "sh", terminal.name]
    words = [*shell, PROGRAM, "listen", "--relay", desk.relay_url]
    listen = desk.run("listen", words, stdout=write_end, variables=PLAIN)
    os.close(write_end)
    await_true(lambda: TOKEN.search(terminal.text), "the token came")

    pipe = desk.derphole("pipe", "pipe", TOKEN.findall(terminal.text)[0], original)
    wanted = r"^ *\d+%\|[#.]{20}\| \S+/32\.0MiB \[\d\d:\d\d<\S+, \S+/s\] (relay own|direct) "
    await_true(lambda: any(re.search(wanted, bar) for bar in terminal.bars), "the bar is there")
    while os.read(read_end, MIB):
        pass

    pipe.ends_with(0)
    listen.ends_with(0)
    await_true(lambda: terminal.rows[-2].startswith("received 32.0MiB, "), "the receipt came")
    assert not any("100%" in bar for bar in terminal.bars)
    os.close(read_end)


@pytest.mark.parametrize("flag", ["--hide-progress", "--quiet", "--json"])
def test_who_wants_none_gets_none(desk: Desk, terminal: Terminal, flag: str) -> None:
    listen = desk.listen()
    pipe = on(terminal, desk, "pipe", token_of(listen), flag, stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    listen.await_output(13)
    threading.Event().wait(0.5)  # a bar would be there five times

    pipe.end_input()
    pipe.ends_with(0)
    listen.ends_with(0)
    assert terminal.bars == []


def test_elsewhere_there_is_none(desk: Desk) -> None:
    listen = desk.listen()
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    listen.await_output(13)
    threading.Event().wait(0.5)

    pipe.end_input()
    pipe.ends_with(0)
    listen.ends_with(0)
    assert not [line for line in pipe.lines + listen.lines if "[00:" in line]
