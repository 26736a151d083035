"""`pipe` of 1 KiB: from the start of its process to its exit, with a listener that waits."""

import os
import tempfile
import time
from pathlib import Path

from figure import Figure
from processes import listen, pipe, relay

SIZE = 1024


def run(rounds: int, is_quick: bool) -> list[Figure]:
    del is_quick
    samples = []
    with tempfile.TemporaryDirectory(prefix="derphole-bench-") as folder, relay() as url:
        source, copy = Path(folder, "source"), Path(folder, "copy")
        source.write_bytes(os.urandom(SIZE))
        for _ in range(2 * rounds):
            receiver, token = listen(url, copy)
            started = time.perf_counter()
            sender = pipe(url, token, source)
            sent = sender.finish()
            samples.append(time.perf_counter() - started)
            received = receiver.finish()
            is_same = copy.read_bytes() == source.read_bytes()
            if sent.exit_code or received.exit_code or not is_same:
                raise RuntimeError(f"transfer failed: {sender.lines} {receiver.lines}")
    what = "pipe of 1 KiB, relay on loopback, from source"
    return [Figure(what, "s", samples, 1.0, 0.5, is_upper_bound=True)]
