"""`scripts/bench --versus`: one file, moved by derphole and by other programs, in turns.

Every program is measured whole, from the start of the sender until both ends are done, in every
round once.  What a row says is the rate, and how many times derphole's rate that is.  A load may
run beside.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from figure import table
from load import Load
from relayed import check_copy, write_random
from rivals import ROOT, Failed, Rival, Site, all_rivals

sys.path += [str(ROOT / "tests" / part) for part in ("natlab", "")]

from fetch_peers import CannotFetch, fetch_tailcat, fetch_wormhole
from namespaces import Namespace, ip_batch, missing_requirements, own_name, remove_namespaces

MIB = 1 << 20
SIZE, QUICK_SIZE = 1024 * MIB, 64 * MIB


def compare(
    rounds: int, load: Load, *, size_mib: int | None, is_quick: bool, is_install: bool
) -> int:
    """Print a row for each program; return 1 if none could be measured."""
    if is_install:
        install()
    if reason := missing_requirements() or load.lacks():
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    rivals = [rival for rival in all_rivals() if not rival.lacks()]
    size = QUICK_SIZE if is_quick else SIZE
    if size_mib is not None:
        size = size_mib * MIB
    with load.running():
        rates, failures = measure(rivals, 1 if is_quick else rounds, size)
    print(f"{size // MIB} MiB beside {load.words()}")
    print(table(rows(rates)))
    for rival in all_rivals():
        if lack := rival.lacks():
            print(f"missing: {rival.name}: {lack}")
    for name, words in failures.items():
        print(f"failed: {name}: {words}")
    return 1 if failures or not rates else 0


def install() -> None:
    """Fetch what can be fetched; what cannot is named, and missing in the table."""
    for fetch in (fetch_wormhole, fetch_tailcat):
        try:
            fetch()
        except CannotFetch as error:
            print(f"bench: {fetch.__name__}: {error}", file=sys.stderr)


def measure(
    rivals: Sequence[Rival], rounds: int, size: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return bytes a second by program, round by round, and what failed with which words."""
    rates: dict[str, list[float]] = {}
    failures: dict[str, str] = {}
    name = own_name("bench", "lo")
    ip_batch([f"netns add {name}"])
    try:
        namespace = Namespace(name)
        namespace.ip("link set lo up")
        with tempfile.TemporaryDirectory(prefix="derphole-bench-") as folder:
            source, copy = Path(folder, "source"), Path(folder, "copy")
            digest = write_random(source, size)
            for number in range(rounds):
                for rival in rivals:
                    if rival.name in failures:
                        continue
                    print(
                        f"round {number + 1} of {rounds}: {rival.name}", file=sys.stderr, flush=True
                    )
                    try:
                        seconds = move_once(rival, namespace, source, copy)
                        check_copy(copy, digest)
                    except (Failed, RuntimeError, OSError, subprocess.SubprocessError) as error:
                        failures[rival.name] = str(error)
                        continue
                    rates.setdefault(rival.name, []).append(size / seconds)
    finally:
        remove_namespaces([name])
    return rates, failures


def move_once(rival: Rival, namespace: Namespace, source: Path, copy: Path) -> float:
    """Let a program move the file once, with servers and files of its own."""
    with ExitStack() as stack:
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="derphole-bench-")))
        site = Site(namespace.command([]), private)
        stack.enter_context(rival.servers(site))
        return rival.move(site, source, copy)


def rows(rates: dict[str, list[float]]) -> list[tuple[str, ...]]:
    """Return the table, its head first; the first program is what the others are compared with."""
    found = [("program", "rate", "against the first", "samples")]
    first = next(iter(rates.values()), [])
    for name, samples in rates.items():
        pairs = zip(samples, first, strict=False)
        ratio = median(mine / its for mine, its in pairs)
        texts = " ".join(f"{rate / 1e6:.3g}" for rate in samples)
        found.append((name, f"{median(samples) / 1e6:.3g} MB/s", f"{ratio:.2f} x", texts))
    return found
