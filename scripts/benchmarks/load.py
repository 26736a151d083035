"""What keeps the machine busy while programs are measured.

    --busy N      N loops that never wait
    --builds N    N loops of programs that each compute for some 50 ms and end, as a build has them
    --mixed       two loops of simulated worlds, Go builds of the standard library with an empty
                  cache, and a flood of UDP on loopback

Every load runs from before the first measurement to behind the last one, in process groups that
end with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BUSY = "while True: pass"
# One such program: about 50 ms of a processor on the machines that we measure on.
SHORT_PROGRAM = "sum(number * number for number in range(400_000))"
BUILDS = 'while :; do "$0" -I -S -c "$1"; done'
SIMULATED = 'while :; do "$0" -m pytest -q -p no:cacheprovider tests/sim/test_bottlenecks.py; done'
GO_BUILDS = 'while :; do GOCACHE=$(mktemp -d -p "$0"); export GOCACHE; go build std; done'
FLOOD = """
import socket, sys
sender, taker = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
taker.bind(("127.0.0.1", 0))
while True:
    sender.sendto(bytes(1200), taker.getsockname())
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What runs beside.

    Args:
        busy: loops that never wait.
        builds: loops of short programs.
        is_mixed: whether the mixed load runs.
    """

    busy: int = 0
    builds: int = 0
    is_mixed: bool = False

    def lacks(self) -> str:
        """Return what is missing, and how to get it; the empty text if nothing is."""
        if self.is_mixed and shutil.which("go") is None:
            return "the mixed load builds with Go, and there is no `go` in PATH"
        return ""

    def words(self) -> str:
        """Return what it is, for the head of a table."""
        parts = [f"{self.busy} busy loops"] if self.busy else []
        parts += [f"{self.builds} loops of short programs"] if self.builds else []
        parts += ["the mixed load"] if self.is_mixed else []
        return " and ".join(parts) or "nothing"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have it run."""
        with ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="derphole-load-", ignore_cleanup_errors=True)
            )
            for command in self._commands(folder):
                stack.enter_context(_group(command))
            yield

    def _commands(self, folder: str) -> list[Sequence[str]]:
        python = sys.executable
        commands: list[Sequence[str]] = [[python, "-I", "-S", "-c", BUSY]] * self.busy
        commands += [["sh", "-c", BUILDS, python, SHORT_PROGRAM]] * self.builds
        if self.is_mixed:
            commands += [["sh", "-c", SIMULATED, python]] * 2
            commands += [["sh", "-c", GO_BUILDS, folder], [python, "-I", "-S", "-c", FLOOD]]
        return commands


@contextmanager
def _group(command: Sequence[str]) -> Iterator[None]:
    """Run a command in a process group of its own, all of which ends."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
