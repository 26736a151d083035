"""What a fuzz target is, where its inputs are kept, and the bounds that hold for every one of them.

    targets/NAME.py        line 1: its invariant;  run(data) raises when the invariant is broken
                           seeds() yields inputs made by the real encoders
                           cost(data), if there, is what the bounds are about in place of run
    corpus/NAME/           those inputs, and small ones that a fuzzer found worth keeping
    vectors/NAME/          inputs that once broke the invariant

Time and memory belong to every invariant: an input of at most MAX_INPUT bytes costs at most CPU_S
of processor time and ALLOCATION bytes at its peak; a target may set its own figures.
"""

import contextlib
import importlib
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
CORPUS, VECTORS = FOLDER / "corpus", FOLDER / "vectors"

MAX_INPUT = 64 << 10
# Of an input of MAX_INPUT bytes, on a slow machine: what grows as the square of its size takes minutes.
CPU_S = 0.3
ALLOCATION = 8 << 20
# A processor that others use as well makes one run look slow, but hardly several in a row.
TRIES = 5


class Broken(AssertionError):
    """An input costs more than the bounds allow."""


@dataclass(frozen=True)
class Target:
    """One fuzz target.

    Args:
        invariant: what must hold for every input.
        run: raises for an input that breaks it.
        seeds: yields inputs made by the real encoders.
        cost: what the bounds are about: `run`, or only the part of it that is the product's.
        cpu_s: processor seconds that one input may cost.
        allocation: bytes that one input may hold at once.
        words: byte strings that a mutator should know.
    """

    name: str
    invariant: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    cost: Callable[[bytes], object]
    cpu_s: float
    allocation: int
    words: tuple[bytes, ...]


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(path.stem for path in (FOLDER / "targets").glob("*.py"))


def load(name: str) -> Target:
    """Import one target."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    first_line = (FOLDER / "targets" / f"{name}.py").read_text().partition("\n")[0]
    module = importlib.import_module(f"targets.{name}")
    return Target(
        name,
        first_line.removeprefix("# Invariant: "),
        module.run,
        module.seeds,
        getattr(module, "cost", module.run),
        getattr(module, "CPU_S", CPU_S),
        getattr(module, "ALLOCATION", ALLOCATION),
        getattr(module, "WORDS", ()),
    )


def inputs(folder: Path, name: str) -> list[Path]:
    """Return the files of one target below `folder`."""
    return sorted(path for path in (folder / name).glob("*") if path.is_file())


def check_cost(target: Target, data: bytes) -> None:
    """Raise `Broken` if an input costs too much; the caller has seen that it runs."""
    allowed_s = target.cpu_s * max(1.0, len(data) / MAX_INPUT)
    best_s = min(_cpu_s(target, data, allowed_s))
    if best_s > allowed_s:
        raise Broken(f"{len(data)} bytes cost {best_s:.3f} s of processor time, over {allowed_s}")
    with _untraced():
        tracemalloc.start()
        try:
            target.cost(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    if peak > target.allocation:
        raise Broken(f"{len(data)} bytes hold {peak} bytes of memory, over {target.allocation}")


def _cpu_s(target: Target, data: bytes, allowed_s: float) -> Iterator[float]:
    """Yield what the input costs, until it is cheap enough or TRIES are over."""
    for _ in range(TRIES):
        with _untraced():
            began = time.process_time()
            target.cost(data)
            spent_s = time.process_time() - began
        yield spent_s
        if spent_s <= allowed_s:
            return


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Take a coverage tracer away meanwhile: it would be what is measured."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


class Feed:
    """Takes values off the front of an input; what is missing reads as zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def uint(self, size: int) -> int:
        """Return a little-endian number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def chunk(self) -> bytes:
        """Return bytes behind their own size in two bytes."""
        return self.take(self.uint(2))

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(len(self._data))


def chunk(data: bytes) -> bytes:
    """Write what `Feed.chunk` reads."""
    return len(data).to_bytes(2, "little") + data
