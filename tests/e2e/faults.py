"""What the tests of faults share: files that are sent whole, relays that come back, memory."""

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from desk import Desk, token_of
from support.processes import Process, await_true

MIB = 1 << 20
CHUNK = 1 << 20
# Tests of relays stay about relays, whatever direct paths there are.
RELAYED = "--force-relay"
# Five seconds behind what was last unanswered; heard it may have been some time before.
STALL = (
    r"^no answer from the other side for [5-9] s; "
    r"giving up after 60 s$"
)
SILENCE_S = 5.0  # until a survivor says that it hears nothing
GIVE_UP_S = 60.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLACK_S = 10.0  # a machine that others load as well


@contextmanager
def heeded_signals() -> Iterator[None]:
    """Let processes heed signals that this one ignores, under nohup or in the background.

    What is ignored stays so in a child; what has a handler is back to its default there.
    """
    ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def write_random(path: Path, size: int, seed: int) -> str:
    """Write `size` bytes that `seed` decides; return their SHA-256."""
    source = random.Random(seed)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, CHUNK):
            data = source.randbytes(min(CHUNK, size - start))
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileTransfer:
    """A file on its way: a listener that writes a copy, and a sender once `send` was called.

    Args:
        desk: where the processes run.
        size: of the file, in bytes.
        where: the options that tell the listener its relay.
        name: keeps the files of several transfers of one test apart.
    """

    def __init__(
        self,
        desk: Desk,
        size: int,
        *where: str,
        name: str = "file",
        seed: int = 3,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.desk, self.size, self.name = desk, size, name
        self.source, self.copy = desk.folder / f"{name}.source", desk.folder / f"{name}.copy"
        self.digest = write_random(self.source, size, seed)
        with self.copy.open("wb") as output:
            words = ["listen", "--verbose", RELAYED, *where]
            self.listen = desk.derphole(
                f"{name}/listen", *words, stdout=output, variables=variables
            )

    def send(self, *options: str, variables: dict[str, str] | None = None) -> Process:
        """Start the sender and return it."""
        token = token_of(self.listen)
        with self.source.open("rb") as file:
            self.pipe = self.desk.derphole(
                f"{self.name}/pipe", "pipe", "--verbose", RELAYED, *options, token,
                stdin=file, variables=variables,
            )  # fmt: skip
        return self.pipe

    @property
    def written(self) -> int:
        """Bytes that the listener has written so far."""
        return self.copy.stat().st_size

    def await_written(self, size: int, timeout_s: float = 60.0) -> None:
        """Wait until the copy has at least `size` bytes."""

        def has_come() -> bool:
            ended = [p for p in (self.listen, self.pipe) if not p.is_running]
            assert self.written >= size or not ended, ended[0].story
            return self.written >= size

        await_true(has_come, f"{size} bytes of {self.name} have come", timeout_s)

    @property
    def is_exact(self) -> bool:
        return self.written == self.size and digest_of(self.copy) == self.digest

    def ends_well(self, timeout_s: float = 60.0) -> None:
        """Assert that both sides end with success and that the copy is exact."""
        self.pipe.ends_with(0, "^sent ", timeout_s=timeout_s)
        self.listen.ends_with(0, "^received ", timeout_s=timeout_s)
        assert self.is_exact, self.listen.story
        self.remove()

    def remove(self) -> None:
        """Let go of the disk space."""
        self.source.unlink(missing_ok=True)
        self.copy.unlink(missing_ok=True)


def start_relay(desk: Desk, address: str = "127.0.0.1:0", *options: str) -> tuple[Process, str]:
    """Start a relay; return it with its address."""
    words = ["relay", "--listen", address, "--stun-port", "off", *options]
    relay = desk.derphole("relay", *words)
    return relay, relay.await_line(r"^relay ready: http://(\S+)").group(1)


def rss_bytes(process: Process) -> int:
    """Return the resident memory of a process now (Linux)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no VmRSS; {process.story}")


def cpu_s(process: Process) -> float:
    """The processor time that a process has taken so far, all of its threads together."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began
