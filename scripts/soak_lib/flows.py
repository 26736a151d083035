"""Feeds a program's standard input and empties its standard output, at a pace, in threads.

What is fed is cheap and never the same twice; both ends keep size and digest, the drain also when
something came.  Neither blocks the other, and both end with their program.
"""

import contextlib
import hashlib
import os
import random
import threading
import time

# Chosen.
BLOCK_SIZE = 32 << 10
NUMBER_SIZE = 8  # each block begins with its number, so that no two are alike
SLICE_S = 0.05  # a paced flow moves what is due this often
JOIN_S = 10.0
SEED = 4


class Feed:
    """Writes to a pipe until it is released and has written enough.

    Args:
        size: bytes that it writes at least; exactly those if it is released from the beginning.
        pace: bytes a second, 0 for no limit.
    """

    def __init__(self, size: int, pace: int) -> None:
        self.reader, self._writer = os.pipe()
        self._size = size
        self._pace = pace
        self._digest = hashlib.sha256()
        self._released = threading.Event()
        self._is_given_up = False
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin, when the program has the reading end; ours is closed."""
        os.close(self.reader)
        self._thread.start()

    def release(self) -> None:
        """End as soon as enough is written."""
        self._released.set()

    def digest(self) -> str | None:
        """Return the SHA-256 of all that was written; None if it is still being written."""
        self._thread.join(JOIN_S)
        return None if self._thread.is_alive() else self._digest.hexdigest()

    def close(self) -> None:
        """Write no more, and wait for the thread; the program has ended."""
        self._is_given_up = True
        self.release()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        rest = random.Random(SEED).randbytes(BLOCK_SIZE - NUMBER_SIZE)
        number = written = 0
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # the program's exit code tells why
            while not self._is_given_up and not (self._released.is_set() and written >= self._size):
                block = number.to_bytes(NUMBER_SIZE, "big") + rest
                if self._released.is_set():
                    block = block[: self._size - written]
                self._write(block)
                self._digest.update(block)
                number += 1
                written += len(block)
                _keep_pace(began, written, self._pace)
        os.close(self._writer)

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._writer, rest) :]


class Drain:
    """Reads a pipe to its end.

    Args:
        pace: bytes a second, 0 for no limit.

    Attributes:
        arrivals: when something came, in order.
        size: bytes so far.
    """

    def __init__(self, pace: int) -> None:
        self.arrivals: list[float] = []
        self.size = 0
        self._reader, self.writer = os.pipe()
        self._pace = pace
        self._digest = hashlib.sha256()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Begin, when the program has the writing end; ours is closed."""
        os.close(self.writer)
        self._thread.start()

    def digest(self) -> str | None:
        """Return the SHA-256 of all that came; None if the end has not come."""
        self._thread.join(JOIN_S)
        return None if self._thread.is_alive() else self._digest.hexdigest()

    def _run(self) -> None:
        began = time.monotonic()
        while data := os.read(self._reader, BLOCK_SIZE):
            self.arrivals.append(time.monotonic())
            self.size += len(data)
            self._digest.update(data)
            _keep_pace(began, self.size, self._pace)
        os.close(self._reader)


def _keep_pace(began: float, size: int, pace: int) -> None:
    """Sleep while more has moved than was due; what an outage held up is made up."""
    if pace:
        ahead_s = began + size / pace - time.monotonic()
        if ahead_s > SLICE_S:
            time.sleep(ahead_s)


class Lateness:
    """Notes how late this machine wakes a sleeper: what is late here is late everywhere."""

    TICK_S = 0.05

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lateness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._is_over.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        due = time.monotonic() + self.TICK_S
        while not self._is_over.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            self.worst_s = max(self.worst_s, now - due)
            due = now + self.TICK_S
