"""Fuzzes one target without any library: python drive_own.py TARGET SECONDS SEED FOLDER

Inputs that reach a line by a way nobody took before are kept in FOLDER/corpus and mutated further;
an input that breaks the invariant is written to FOLDER, its traceback shown, and the exit code is
CRASHED.  Line events come from `sys.settrace`, which every Python has.
"""

import hashlib
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from fuzzing import CORPUS, MAX_INPUT, ROOT, VECTORS, Broken, Target, check_cost, inputs, load
from mutation import Mutator

CRASHED = 77  # as with libFuzzer
HANG_S = 20
REPORT_S = 10.0
COST_EVERY = 64  # one input of so many has its cost looked at although it found nothing new
PRODUCT = (f"{ROOT}/tunnel/", f"{ROOT}/derphole/")

Place = tuple[CodeType, int]


class Coverage:
    """Which pairs of successive lines of the product were ever run."""

    def __init__(self) -> None:
        self.edges: set[tuple[Place, Place]] = set()
        self._last: Place = (compile("", "", "exec"), 0)

    def run(self, target: Target, data: bytes) -> bool:
        """Run the target; return whether it went a way that is new."""
        known = len(self.edges)
        sys.settrace(self._enter)
        try:
            target.run(data)
        finally:
            sys.settrace(None)
        return len(self.edges) > known

    def _enter(self, frame: FrameType, event: str, value: Any) -> Any:
        del event, value
        return self._line if frame.f_code.co_filename.startswith(PRODUCT) else None

    def _line(self, frame: FrameType, event: str, value: Any) -> Any:
        del value
        if event == "line":
            here = (frame.f_code, frame.f_lineno)
            self.edges.add((self._last, here))
            self._last = here
        return self._line


class Driver:
    """Runs one target until its time is over or its invariant is broken."""

    def __init__(self, target: Target, seed: int, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._rng = random.Random(seed)
        self._mutator = Mutator(self._rng, target.words, MAX_INPUT)
        self._coverage = Coverage()
        self._pool: list[bytes] = []
        self._count = 0
        (folder / "corpus").mkdir(parents=True, exist_ok=True)

    def run(self, seconds: float) -> None:
        """Fuzz; raises what the target raises."""
        deadline, report_at = time.monotonic() + seconds, time.monotonic() + REPORT_S
        kept = sorted((self._folder / "corpus").iterdir())
        name = self._target.name
        for path in [*inputs(CORPUS, name), *inputs(VECTORS, name), *kept]:
            self._try(path.read_bytes(), keeps=False)
        self._pool = self._pool or [b""]
        while time.monotonic() < deadline:
            # The newest finds are the most promising ones.
            newest = self._pool[-(len(self._pool) // 4 + 1) :]
            base = self._rng.choice(newest if self._rng.random() < 0.5 else self._pool)
            self._try(self._mutator.mutate(base, self._rng.choice(self._pool)), keeps=True)
            if time.monotonic() >= report_at:
                self.report()
                report_at += REPORT_S
        self.report()

    def report(self) -> None:
        """Print how far it has come."""
        print(
            f"{self._target.name}: {self._count} inputs, {len(self._coverage.edges)} edges, "
            f"{len(self._pool)} kept",
            flush=True,
        )

    def _try(self, data: bytes, keeps: bool) -> None:
        self._count += 1
        signal.alarm(HANG_S)
        try:
            is_new = self._coverage.run(self._target, data)
            if is_new or self._count % COST_EVERY == 0:
                check_cost(self._target, data)
        except BaseException:
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]
            path = self._folder / f"crash-{digest}"
            path.write_bytes(data)
            print(f"{self._target.name}: broken by {path} ({len(data)} bytes)", flush=True)
            raise
        finally:
            signal.alarm(0)
        if is_new:
            self._pool.append(data)
            if keeps:
                digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
                (self._folder / "corpus" / digest).write_bytes(data)


def _hang(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Broken(f"an input that runs for more than {HANG_S} s")


def main(name: str, seconds: str, seed: str, folder: str) -> int:
    """Fuzz one target; return the exit code."""
    signal.signal(signal.SIGALRM, _hang)
    target = load(name)
    print(f"{name}: {target.invariant}", flush=True)
    try:
        Driver(target, int(seed), Path(folder)).run(float(seconds))
    except Exception:  # noqa: BLE001 - whatever a target raises is what was looked for
        traceback.print_exc()
        return CRASHED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
