"""The desk of an end-to-end test: what it starts, and that nothing of it is left behind."""

import fcntl
import os
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from support.processes import PROGRAM, STOP_S, Process, await_true, clean_environment

DERPTUN = [PROGRAM, "derptun"]
TOKEN_LINE = r"^(dhp1_[A-Za-z0-9_-]{20,})$"
LISTENING, TIME_WAIT = "0A", "06"  # states in /proc/net/tcp


class Desk:
    """Where one test works: starts processes, and knows what must not be left behind.

    Args:
        folder: a private folder; processes run in an empty one inside it.
        relay_url: the relay of listeners that name no other.
    """

    def __init__(self, folder: Path, relay_url: str) -> None:
        self.folder = folder
        self.relay_url = relay_url
        self.processes: list[Process] = []
        self.working_folder = folder / "empty"
        self.working_folder.mkdir()
        self._last: list[Callable[[], None]] = []

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        stdin: IO[bytes] | int | bytes = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.PIPE,
        variables: Mapping[str, str] | None = None,
        on_terminal: bool = False,
    ) -> Process:
        """Start any command; `variables` are added to its environment."""
        environment = {**clean_environment(self.folder), "DERPHOLE_DEBUG": "1"}
        environment |= variables or {}
        process = Process(
            name,
            command,
            self.working_folder,
            environment,
            stdin=stdin,
            stdout=stdout,
            on_terminal=on_terminal,
        )
        self.processes.append(process)
        return process

    def derphole(
        self,
        name: str,
        *arguments: str | Path,
        stdin: IO[bytes] | int | bytes = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.PIPE,
        variables: Mapping[str, str] | None = None,
        on_terminal: bool = False,
    ) -> Process:
        """Start a derphole command."""
        return self.run(
            name,
            [PROGRAM, *arguments],
            stdin=stdin,
            stdout=stdout,
            variables=variables,
            on_terminal=on_terminal,
        )

    def derptun(self, name: str, *arguments: str | Path, **rest: object) -> Process:
        """Start a derptun command."""
        return self.run(name, [*DERPTUN, *arguments], **rest)  # type: ignore[arg-type]

    def listen(self, *arguments: str, stdout: IO[bytes] | int = subprocess.PIPE) -> Process:
        """Start a listener at the desk's relay."""
        return self.derphole(
            "listen", "listen", "--relay", self.relay_url, *arguments, stdout=stdout
        )

    def pipe(
        self,
        token: str,
        *arguments: str,
        stdin: IO[bytes] | int | bytes = subprocess.DEVNULL,
        name: str = "pipe",
    ) -> Process:
        """Start a sender."""
        return self.derphole(name, "pipe", *arguments, token, stdin=stdin)

    def relay(self, address: str = "127.0.0.1:0") -> tuple[Process, str]:
        """Start a relay and return it with its URL."""
        relay = self.derphole("relay", "relay", "--listen", address, "--stun-port", "off")
        return relay, relay.await_line(r"^relay ready: (http\S+)").group(1)

    def close(self) -> None:
        """Stop what still runs."""
        for process in reversed(self.processes):
            process.stop()
        for last in self._last:
            last()

    def on_close(self, last: Callable[[], None]) -> None:
        """Have something called at the end, when nothing runs any more."""
        self._last.append(last)

    def assert_nothing_is_left(self) -> None:
        """No process, no file, no connection to the relay, and no traceback was ever shown."""
        for process in self.processes:
            assert not process.has_survivors, f"{process.name} left a process behind"
            assert not any("Traceback" in line for line in process.lines), process.story
        left = sorted(str(path) for path in self.working_folder.rglob("*"))
        assert not left, f"files were left in the working folder: {left}"
        port = self.relay_url.rpartition(":")[2]
        await_true(lambda: not connections_of(int(port)), "the relay is left alone", STOP_S)


def token_of(listener: Process) -> str:
    """Wait for the listener's token."""
    return listener.await_line(TOKEN_LINE).group(1)


def connections_of(port: int) -> list[str]:
    """TCP connections of this machine with that port at one end, the closed ones left out."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return []
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    ports = f":{port:04X}"
    return [
        f"{row[1]} {row[2]} {row[3]}"
        for row in rows
        if row[3] not in (LISTENING, TIME_WAIT)
        and (row[1].endswith(ports) or row[2].endswith(ports))
    ]


def unread_bytes(descriptor: int) -> int:
    """How many bytes wait in a pipe."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def is_full(read_end: int) -> bool:
    """Whether nothing more can be written to a pipe, however few bytes are in each of its pages."""
    writer = os.open(f"/proc/self/fd/{read_end}", os.O_WRONLY)
    try:
        return not select.select((), (writer,), (), 0)[1]
    finally:
        os.close(writer)
