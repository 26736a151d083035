"""Child processes of the interoperability tests, with their standard error and peak memory."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from interop_support import ROOT

LAUNCHER = ROOT / "tests" / "interop" / "measured_run.py"

LINE_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


def clean_environment(private: Path) -> dict[str, str]:
    """Our environment without what would redirect a loopback test; caches go to `private`."""
    unwanted = re.compile(r"DERPHOLE_|DERPTUN_|TS_|(https?|all|no)_proxy$", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not unwanted.match(name)}
    return {**kept, "XDG_CACHE_HOME": str(private / "cache"), "PYTHONUNBUFFERED": "1"}


class Process:
    """A child process in a group of its own, whose standard error is read as it comes."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        private: Path,
        *,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        self.name = name
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=clean_environment(private),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = threading.Thread(
            target=self._read_stderr, name=f"{name} stderr", daemon=True
        )
        self._reader.start()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def feed(self, data: bytes, timeout_s: float) -> None:
        """Write to the standard input of a process that was started with stdin=PIPE."""
        stdin = self._process.stdin
        assert stdin is not None

        def write() -> None:
            with contextlib.suppress(BrokenPipeError):  # its exit code tells what happened
                stdin.write(data)
                stdin.flush()

        writer = threading.Thread(target=write, name=f"{self.name} stdin", daemon=True)
        writer.start()
        writer.join(timeout_s)
        assert not writer.is_alive(), (
            f"{self.name} did not read its input for {timeout_s:g} s:\n{self.stderr}"
        )

    def end_input(self) -> None:
        """Close the standard input of a process that was started with stdin=PIPE."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    @property
    def stderr(self) -> str:
        """Everything the process has written to standard error so far."""
        with self._changed:
            return "\n".join(self._lines)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def await_line(self, pattern: str, timeout_s: float = LINE_TIMEOUT_S) -> re.Match[str]:
        """Wait for a line of standard error that the pattern is found in."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if found := wanted.search(line):
                        return found
                seen = len(self._lines)
                if self._ended or not self._changed.wait(deadline - time.monotonic()):
                    why = "ended" if self._ended else f"ran for {timeout_s:g} s"
                    raise AssertionError(
                        f"{self.name} {why} without a line that matches {pattern!r}; it said:\n"
                        + "\n".join(self._lines)
                    )

    def wait(self, timeout_s: float) -> int:
        """Wait for the end of the process and of its standard error; return its exit code."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            said = self.stderr
            self.stop()
            raise AssertionError(
                f"{self.name} was still running after {timeout_s:g} s; it said:\n{said}"
            ) from None
        self._reader.join(STOP_TIMEOUT_S)
        return code

    def stop(self) -> None:
        """End the process if it is running: ask first, then kill its whole group."""
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self.end_input()
        self._reader.join(STOP_TIMEOUT_S)


class MeasuredProcess(Process):
    """A process whose own peak memory is known once it has ended."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        private: Path,
        *,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        self._report = private / f"{name}.usage.json"
        launcher: list[str | Path] = [sys.executable, "-I", "-S", LAUNCHER]
        launcher.append(self._report)
        super().__init__(name, [*launcher, *command], private, stdin=stdin, stdout=stdout)

    @property
    def peak_rss_bytes(self) -> int:
        return int(json.loads(self._report.read_text())["peak_rss_bytes"])


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Stop the process at the end of the block, however the block ends."""
    try:
        yield process
    finally:
        process.stop()


def derphole(*arguments: str | Path) -> list[str | Path]:
    """Build the command line that runs derphole from source with the Python of the tests."""
    return [sys.executable, "-m", "derphole", *arguments]
