"""Child processes of tests: their streams, their signals, their peak memory.

Every wait is bounded and ends with what the process had said.  A process runs in a group of its
own, without the settings of the person who runs the tests.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("measured_run.py")
# What is tested: this checkout, or another build of it, such as dist/derphole/derphole.
PROGRAM = os.environ.get("DERPHOLE_PROGRAM") or str(Path(sys.executable).with_name("derphole"))

# A skip whose reason begins so is one in CI, too, where all others are failures.
OPTIONAL_SKIP = "optional: "

WAIT_S = 30.0
STOP_S = 10.0
POLL_S = 0.02  # where the system offers nothing to wait on

STALL_LINE = re.compile(r"the event loop was blocked for (\d+) ms")
UNWANTED = re.compile(r"DERPHOLE_|DERPTUN_|TS_|(https?|all|no)_proxy$", re.IGNORECASE)


def _are_all_dead(group: int) -> bool:
    """Tell whether all that is left of a process group waits for whoever collects orphans."""
    states = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                states.append(fields[0])
    return bool(states) and set(states) <= {"Z", "X"}


def clean_environment(folder: Path) -> dict[str, str]:
    """Our environment without what would redirect a loopback test; caches go to `folder`.

    What is kept for later runs goes there too: nothing of a test is left in a person's home.
    """
    kept = {name: value for name, value in os.environ.items() if not UNWANTED.match(name)}
    own = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_RUNTIME_DIR": str(folder),  # short: a socket's path has 107 bytes at most
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return {**kept, **own, "PYTHONUNBUFFERED": "1"}


def await_true(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout_s:g} s still not true: {what}"
        time.sleep(POLL_S)


class Process:
    """A child process whose output is read as it comes.

    Args:
        name: for messages.
        command: program and arguments.
        folder: where it runs.
        environment: all of its variables.
        stdin: a descriptor, `PIPE` for `feed`, or bytes to feed and end with.
        stdout: a descriptor, or `PIPE` to collect it in `stdout`.
        on_terminal: whether standard error is a terminal, and the one that controls the process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
        *,
        stdin: IO[bytes] | int | bytes = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.PIPE,
        on_terminal: bool = False,
    ) -> None:
        self.name = name
        self._is_terminal_closed = threading.Event()
        terminal, far_end = pty.openpty() if on_terminal else (None, subprocess.PIPE)
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._stdout = bytearray()
        self._has_said_all = False
        self._popen = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=stdout,
            stderr=far_end,
            start_new_session=True,
            bufsize=0,
            preexec_fn=_take_terminal if on_terminal else None,
        )
        if on_terminal:
            os.close(far_end)
        self._threads = [
            self._spawn(self._read_stderr if terminal is None else lambda: self._read(terminal))
        ]
        if stdout == subprocess.PIPE:
            self._threads.append(self._spawn(self._read_stdout))
        if isinstance(stdin, bytes):
            self._threads.append(self._spawn(lambda: self._write_all(stdin)))

    # -- streams ----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdout(self) -> bytes:
        """What was written to standard output so far."""
        with self._changed:
            return bytes(self._stdout)

    @property
    def output_size(self) -> int:
        """Bytes written to standard output so far."""
        with self._changed:
            return len(self._stdout)

    @property
    def stderr(self) -> str:
        """Everything on standard error so far."""
        return "\n".join(self._all_lines())

    @property
    def lines(self) -> list[str]:
        """The lines of standard error so far, without reports of the watchdog."""
        return [line for line in self._all_lines() if not is_of_stall(line)]

    @property
    def events(self) -> list[dict[str, object]]:
        """The events of a process with --json, without reports of the watchdog."""
        parsed = [json.loads(line) for line in self._all_lines()]
        return [event for event in parsed if not is_of_stall(str(event.get("message", "")))]

    @property
    def stalls_ms(self) -> list[int]:
        """Stalls of the hub that the watchdog saw, without those of importing at the start."""
        stalls: list[int] = []
        is_import = False
        for line in reversed(self._all_lines()):  # a stack follows the line it belongs to
            found = STALL_LINE.search(line)
            if found is None:
                is_import |= "importlib" in line
            else:
                stalls += [] if is_import else [int(found.group(1))]
                is_import = False
        return stalls

    def feed(self, data: bytes, timeout_s: float = WAIT_S) -> None:
        """Write to a standard input that is a pipe; returns when the pipe has taken it."""
        thread = self._spawn(lambda: self._write(data))
        thread.join(timeout_s)
        assert not thread.is_alive(), f"{self.name} does not read its input; {self.story}"

    def end_input(self) -> None:
        """Close a standard input that is a pipe."""
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()

    def await_line(self, pattern: str, timeout_s: float = WAIT_S) -> re.Match[str]:
        """Wait for a line of standard error in which the pattern is found."""
        wanted = re.compile(pattern)
        found: list[re.Match[str]] = []

        def has_come() -> bool:
            found.extend(match for line in self._lines if (match := wanted.search(line)))
            return bool(found) or self._has_said_all

        with self._changed:
            self._changed.wait_for(has_come, timeout_s)
        assert found, f"no line of {self.name} matches {pattern!r}; {self.story}"
        return found[0]

    def await_output(self, size: int, timeout_s: float = WAIT_S) -> bytes:
        """Wait until standard output has at least `size` bytes, and return what it has."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._stdout) >= size, timeout_s)
        assert len(self.stdout) >= size, f"{len(self.stdout)} bytes of {size}; {self.story}"
        return self.stdout

    # -- life -------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def send_signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """Wait for the end of the process and of its output; return its exit code."""
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} still runs after {timeout_s:g} s; {self.story}"
            ) from None
        for thread in self._threads:
            thread.join(STOP_S)
        return code

    def ends_with(self, code: int, *patterns: str, timeout_s: float = WAIT_S) -> None:
        """Assert the exit code, and that each pattern is found in a line of standard error."""
        assert self.wait(timeout_s) == code, self.story
        for pattern in patterns:
            assert any(re.search(pattern, line) for line in self.lines), (
                f"no line of {self.name} matches {pattern!r}; {self.story}"
            )

    def close_terminal(self) -> None:
        """Close the window that a process on a terminal runs in."""
        self._is_terminal_closed.set()
        self._threads[0].join(STOP_S)

    def stop(self) -> None:
        """End the process if it is running: ask first, then kill its whole group."""
        if self.is_running:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._popen.wait()
        self.end_input()
        for thread in self._threads:
            thread.join(STOP_S)

    @property
    def has_survivors(self) -> bool:
        """Whether anything of the process's group still lives."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return not _are_all_dead(self.pid)

    # -- inside -----------------------------------------------------------------------------

    def _all_lines(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    @property
    def story(self) -> str:
        """What became of the process, and everything it said; for messages of failed tests."""
        state = "it runs" if self.is_running else f"it ended with {self._popen.returncode}"
        return f"{state}, and {self.name} said:\n" + "\n".join(self._all_lines())

    def _spawn(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=self.name, daemon=True)
        thread.start()
        return thread

    def _read_stderr(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as stream, open(stream.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                self._take_line(line)
        self._note_all_said()

    def _read(self, terminal: int) -> None:
        """Read what is shown on a terminal until that is closed, by either side."""
        shown = bytearray()
        while not self._is_terminal_closed.is_set():
            if not select.select([terminal], [], [], POLL_S)[0]:
                continue
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # nobody has the other end any more
                break
            *lines, rest = shown.split(b"\n")
            for line in lines:
                self._take_line(line)
            shown = bytearray(rest)
        self._note_all_said()
        # Closed at once it would hang up on a program that closes its streams before it ends.
        while self.is_running and not self._is_terminal_closed.wait(POLL_S):
            pass
        os.close(terminal)

    def _take_line(self, line: bytes | bytearray) -> None:
        with self._changed:
            self._lines.append(line.decode(errors="replace").rstrip("\r\n"))
            self._changed.notify_all()

    def _note_all_said(self) -> None:
        with self._changed:
            self._has_said_all = True
            self._changed.notify_all()

    def _read_stdout(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stream:
            while chunk := stream.read(1 << 20):
                with self._changed:
                    self._stdout += chunk
                    self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        assert self._popen.stdin is not None
        rest = memoryview(data)
        with contextlib.suppress(BrokenPipeError, ValueError):  # its exit code tells why
            while rest:
                rest = rest[self._popen.stdin.write(rest) :]

    def _write_all(self, data: bytes) -> None:
        self._write(data)
        self.end_input()


class MeasuredCommand:
    """A command line whose process tells its own peak memory when it has ended."""

    def __init__(self, folder: Path, name: str) -> None:
        self._report = folder / f"{name}.usage.json"

    def line(self, *command: str | Path) -> list[str | Path]:
        """Return the command line that runs a command line and measures it."""
        launcher: list[str | Path] = [sys.executable, "-I", "-S", LAUNCHER, self._report]
        return [*launcher, *command]

    @property
    def peak_rss_bytes(self) -> int:
        return int(json.loads(self._report.read_text())["peak_rss_bytes"])


def _take_terminal() -> None:
    """Have standard error control this process; runs in a child that leads its session."""
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def is_of_stall(line: str) -> bool:
    """Whether a line belongs to a report of the watchdog; other lines may stand between them."""
    return bool(STALL_LINE.match(line)) or line.startswith("  ")


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def record_figure(what: str, figure: str, must: str) -> None:
    """Append one measured figure, with the bound it is held to, to .build/figures.jsonl."""
    path = ROOT / ".build" / "figures.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"what": what, "figure": figure, "must": must}) + "\n")
