"""`scripts/bench --against COMMIT`: the benchmarks of this checkout, run on two commits in turns.

The other commit has a worktree and a virtual environment below .build/against, made by
scripts/bench; what measures is always the code of this checkout, what is measured is imported from
where it runs.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from comparison import Comparison, comparison_rows
from figure import Figure, table

RUN = Path(__file__).with_name("run.py")
ROOT = RUN.parents[2]
LIMIT_S = 900.0  # one benchmark, once, on a busy machine


def compare(other: Path, names: Sequence[str], rounds: int, options: Sequence[str]) -> int:
    """Print the table of these benchmarks; return 1 if anything became slower."""
    comparisons: list[Comparison] = []
    for name in names:
        here: list[list[Figure]] = []
        there: list[list[Figure]] = []
        for number in range(rounds):
            sides = [(ROOT, here), (other, there)]
            # Neither is always the first: the second finds a warmer machine, or a more tired one.
            for tree, results in sides if number % 2 == 0 else sides[::-1]:
                print(
                    f"{name}, round {number + 1} of {rounds}: {tree}", file=sys.stderr, flush=True
                )
                results.append(_run_once(tree, name, options))
        comparisons += merge(here, there)
    print(table(comparison_rows(comparisons)))
    return 1 if any(each.is_slower for each in comparisons) else 0


def merge(here: Sequence[Sequence[Figure]], there: Sequence[Sequence[Figure]]) -> list[Comparison]:
    """Return a comparison for each figure that every round of both has."""
    found = []
    for first in here[0]:
        ours = [_sample(first.what, figures) for figures in here]
        theirs = [_sample(first.what, figures) for figures in there]
        if None not in ours and None not in theirs:
            pairs = ([s for s in side if s is not None] for side in (ours, theirs))
            found.append(Comparison(first.what, first.unit, *pairs, first.is_other))
    return found


def _sample(what: str, figures: Sequence[Figure]) -> float | None:
    return next((figure.median for figure in figures if figure.what == what), None)


def _run_once(tree: Path, name: str, options: Sequence[str]) -> list[Figure]:
    """Run a benchmark once, in the tree whose programs are measured; none if it fails there."""
    with tempfile.TemporaryDirectory(prefix="derphole-bench-") as folder:
        result = Path(folder, "result.json")
        python = tree / ".venv" / "bin" / "python"
        command = [python, RUN, "--rounds", "1", "--only", name, "--result", result, *options]
        # A bound that is missed is told by the plain benchmark; here only the ratio counts.
        done = subprocess.run(
            command, cwd=tree, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        if not result.exists():
            why = done.stderr.strip().splitlines()[-1:]
            print(f"{name}: left out, it fails in {tree}: {' '.join(why)}", file=sys.stderr)
            return []
        records = json.loads(result.read_text())["figures"]
    return [Figure.from_record(record) for record in records]
