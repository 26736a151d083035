"""Starts the programs under test as processes and measures them."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

DERPHOLE = [sys.executable, "-m", "derphole"]
READY_S = 20.0


@dataclass
class Usage:
    """What a process cost."""

    exit_code: int
    cpu_s: float
    peak_mb: float


class Process:
    """A process whose standard error is collected line by line."""

    def __init__(
        self,
        command: Sequence[str],
        stdin: IO[bytes] | int,
        stdout: IO[bytes] | int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_line(self, pattern: str) -> str:
        """Wait for a line of standard error that matches; returns the match."""
        found: list[str] = []

        def has_line() -> bool:
            found[:] = [m.group(0) for line in self.lines if (m := re.search(pattern, line))]
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(has_line, READY_S):
                raise RuntimeError(f"no line like {pattern!r}: {self.lines}")
        return found[0]

    def finish(self, timeout_s: float = 600.0) -> Usage:
        """Wait for the end."""
        watchdog = threading.Timer(timeout_s, self._process.kill)
        watchdog.start()
        _, status, usage = os.wait4(self._process.pid, 0)
        watchdog.cancel()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._reader.join()
        cpu_s = usage.ru_utime + usage.ru_stime
        return Usage(self._process.returncode, cpu_s, usage.ru_maxrss / 1024)

    def stop(self) -> Usage:
        """Ask it to end, and wait."""
        self._process.send_signal(signal.SIGTERM)
        return self.finish()


@contextmanager
def relay() -> Iterator[str]:
    """Run the embedded relay; yields its URL."""
    command = [*DERPHOLE, "relay", "--listen", "127.0.0.1:0", "--stun-port", "off"]
    process = Process(command, subprocess.DEVNULL, subprocess.DEVNULL)
    try:
        yield process.wait_line(r"http://\S+")
    finally:
        process.stop()


def listen(url: str, output: Path) -> tuple[Process, str]:
    """Start `listen` with its output in a file; returns it and its token."""
    with output.open("wb") as sink:
        process = Process([*DERPHOLE, "listen", "--relay", url], subprocess.DEVNULL, sink)
    return process, process.wait_line(r"dhp1_\S+")


def pipe(url: str, token: str, source: Path, *options: str) -> Process:
    """Start `pipe` with its input from a file."""
    with source.open("rb") as data:
        return Process(
            [*DERPHOLE, "pipe", *options, "--relay", url, token], data, subprocess.DEVNULL
        )
