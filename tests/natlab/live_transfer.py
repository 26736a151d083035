"""LiveTransfer: a transfer from a to b that lasts as long as a test needs, and its pauses.

    Feeder --stdin--> pipe ~~~ the lab ~~~> listen --stdout--> Progress: when how much had come
    Feeder --stdin--> server ──TCP──► share ~~~ the lab ~~~> open ──TCP──► client --stdout--> Progress

The feeder sends at least the asked number of bytes and goes on until it is released.  A pause is
read from what the receiver wrote, the path from the events and traces of the programs.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.processes import Process, await_true

# Chosen.
BLOCK_SIZE = 256 << 10
NUMBER_SIZE = 8  # each block begins with its number, so that no two are alike
SEED = 4
LOOK_S = 0.01
# A pause lasts until so much has come: an acknowledgement that slips through is no traffic.
TRAFFIC_SIZE = 64 << 10
FEED_LIMIT_S = 300.0  # longer than any network here is away
JOIN_S = 10.0


class Feeder:
    """Feeds a process and keeps the digest; runs in a thread until `release` and enough is fed."""

    def __init__(self, process: Process, size: int) -> None:
        self.fed_size = 0
        self._process = process
        self._size = size
        self._digest = hashlib.sha256()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """End the input as soon as the asked size is reached."""
        self._released.set()

    def digest(self) -> str:
        """Wait until everything is fed, and return the SHA-256 of it."""
        self._thread.join(FEED_LIMIT_S)
        assert not self._thread.is_alive(), f"the sender takes no more; {self._process.story}"
        return self._digest.hexdigest()

    def close(self) -> None:
        """Wait for the thread; its process has ended."""
        self.release()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        rest = random.Random(SEED).randbytes(BLOCK_SIZE - NUMBER_SIZE)
        number = 0
        while self._process.is_running:
            if self.fed_size >= self._size and self._released.is_set():
                break
            block = number.to_bytes(NUMBER_SIZE, "big") + rest
            self._process.feed(block, FEED_LIMIT_S)
            self._digest.update(block)
            self.fed_size += len(block)
            number += 1
        self._process.end_input()


class Progress:
    """Notes when how much had been written by a process, in a thread of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._samples: list[tuple[float, int]] = [(time.monotonic(), 0)]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._is_over.set()
        self._thread.join(JOIN_S)

    def longest_pause_s(self, since: float, until: float) -> float:
        """Return the longest time in which less than TRAFFIC_SIZE came, between two instants."""
        inside = [(at, size) for at, size in list(self._samples) if since <= at <= until]
        before = [size for at, size in list(self._samples) if at < since]
        start = [(since, before[-1] if before else 0)]
        points = [*start, *inside]
        longest_s, behind = 0.0, 0
        for at, size in points[1:]:
            while size - points[behind][1] >= TRAFFIC_SIZE:
                longest_s = max(longest_s, at - points[behind][0])
                behind += 1
        return max(longest_s, until - points[behind][0])

    def _run(self) -> None:
        size = 0
        while not self._is_over.wait(LOOK_S):
            now_size = self._process.output_size
            if now_size != size:
                size = now_size
                self._samples.append((time.monotonic(), size))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a live transfer ended.

    Args:
        is_exact: whether the SHA-256 of both ends agree.
        codes: exit codes of what was fed and of what wrote it.
        receipts: what each of them said at the end, in this order; empty where it said none.
        story: what both said, for messages.
    """

    is_exact: bool
    codes: tuple[int, int]
    receipts: tuple[dict[str, object], dict[str, object]]
    story: str


class LiveTransfer:
    """See the module docstring.

    Args:
        sender: the program under test on host a.
        receiver: the one on host b.
        traces: the trace file of each, by its name.
        size: bytes that it has at least.
        source: what is fed, if that is not the sender.
        sink: whose output is what came, if that is not the receiver.
    """

    def __init__(
        self,
        sender: Process,
        receiver: Process,
        traces: dict[str, Path],
        size: int,
        source: Process | None = None,
        sink: Process | None = None,
    ) -> None:
        self.sender = sender
        self.receiver = receiver
        self._source = source or sender
        self._sink = sink or receiver
        self.feeder = Feeder(self._source, size)
        self.progress = Progress(self._sink)
        self._traces = traces

    # -- waiting ------------------------------------------------------------------------------

    @property
    def received_size(self) -> int:
        """Bytes that the receiver has written so far."""
        return self._sink.output_size

    def await_more(self, size: int, limit_s: float) -> None:
        """Wait until the receiver has written that many bytes more than now."""
        goal = self.received_size + size
        self._await(f"{size} bytes more", lambda: self.received_size >= goal, limit_s)

    def await_direct(self, since: float, limit_s: float) -> float:
        """Wait until both sides send by a direct path; returns seconds from `since` (monotonic).

        A side that never left its direct path since then counts as 0.
        """
        self._await("both sides direct", lambda: self.is_direct, limit_s)
        began = time.time() - (time.monotonic() - since)
        times = [_moved_at(side) for side in (self.sender, self.receiver)]
        return max(0.0, max(times) - began)

    def await_relayed(self, limit_s: float) -> None:
        """Wait until the sender's data takes the relay."""
        self._await("the sender on the relay", lambda: not is_direct(self.sender), limit_s)

    @property
    def is_direct(self) -> bool:
        """Whether both sides send by a direct path."""
        return is_direct(self.sender) and is_direct(self.receiver)

    def finish(self, limit_s: float) -> Ending:
        """Let the transfer come to its end and tell how it went."""
        self.feeder.release()
        codes = (self._source.wait(limit_s), self._sink.wait(limit_s))
        digest = hashlib.sha256(self._sink.stdout).hexdigest()
        receipts = (_receipt(self.sender), _receipt(self.receiver))
        story = "\n".join(process.story for process in self._processes)
        return Ending(digest == self.feeder.digest(), codes, receipts, story)

    def close(self) -> None:
        """End the threads; the processes have ended."""
        self.progress.close()
        self.feeder.close()

    def trace(self, name: str, *events: str) -> list[dict[str, object]]:
        """Return the events of a program with these names."""
        lines = self._traces[name].read_text(encoding="utf-8").splitlines()
        parsed = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in parsed if event["event"] in events]

    def _await(self, what: str, condition: Callable[[], bool], limit_s: float) -> None:
        """Wait until something is true; it never will be once a side has ended."""
        run = self._processes
        try:
            await_true(
                lambda: condition() or not all(each.is_running for each in run), what, limit_s
            )
            assert condition(), f"a side ended before it was true: {what}"
        except AssertionError as error:
            stories = "\n".join(each.story for each in run)
            raise AssertionError(f"{error}\n{stories}") from None

    @property
    def _processes(self) -> list[Process]:
        return list(dict.fromkeys((self._source, self.sender, self.receiver, self._sink)))


def is_direct(side: Process) -> bool:
    """Tell whether a program's data takes a direct path now."""
    paths = [event for event in side.events if event.get("event") == "path"]
    return bool(paths) and bool(paths[-1].get("direct"))


def _moved_at(side: Process) -> float:
    """Return when a program's data last moved from the relay to a direct path, as a Unix time."""
    moved, was_direct = 0.0, False
    for event in side.events:
        if event.get("event") != "path":
            continue
        if event.get("direct") and not was_direct:
            moved = float(str(event["time"]))
        was_direct = bool(event.get("direct"))
    return moved


def _receipt(side: Process) -> dict[str, object]:
    receipts = [event for event in side.events if event.get("event") == "receipt"]
    return receipts[-1] if receipts else {}
