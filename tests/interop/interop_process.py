"""Child processes of the interoperability tests: run from source, stopped with their block."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from support import processes
from support.processes import ROOT, MeasuredCommand, clean_environment


class Process(processes.Process):
    """A child process that runs in the checkout, whose standard error is read as it comes."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        private: Path,
        *,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        environment = clean_environment(private)
        super().__init__(name, command, ROOT, environment, stdin=stdin, stdout=stdout)


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
        self._measured = MeasuredCommand(private, name)
        super().__init__(name, self._measured.line(*command), private, stdin=stdin, stdout=stdout)

    @property
    def peak_rss_bytes(self) -> int:
        return self._measured.peak_rss_bytes


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
