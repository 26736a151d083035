"""The grid: transfers between hosts behind every pair of NAT kinds, printed as a table.

Each cell is one transfer from a host behind the row's NAT to one behind the column's.  It tells the
path at the end, the seconds from the link's start to the first direct path, and `exact` when the
receiver wrote just what the sender read.  After the grid come the other topologies.

What must be is either the relay for every pair (`--expect relay`), or what theory allows
(`--expect theory`): direct where hole punching can work, the relay elsewhere.

    usage: grid.py [--expect relay|theory] [--kinds KIND,...] [--size BYTES] [--no-topologies]

`scripts/lab` runs this; exit code 1 when a cell is not what it must be.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# As in the tests, `support` is found beside this folder.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from lab import Lab
from lab_transfers import Outcome, Stage
from namespaces import missing_requirements, remove_leftovers
from nat_kinds import NatKind, can_go_direct
from topology import CASES, Topology

# Chosen.
SIZE_BYTES = 256 << 10
DIRECT_LIMIT_S = 5.0  # how long a cell that must go direct may take to
GAP = "  "


class Expect(StrEnum):
    """What decides which path a cell must end on."""

    RELAY = "relay"
    THEORY = "theory"


@dataclass(frozen=True, slots=True)
class Cell:
    """One transfer and what had to come of it."""

    row: str
    column: str
    must_be: str
    outcome: Outcome

    @property
    def is_good(self) -> bool:
        """Whether every byte came, on the path that had to be."""
        return self.outcome.is_exact and self.outcome.path == self.must_be

    @property
    def text(self) -> str:
        """What the table shows, with a mark where it is not what it must be."""
        after_s = self.outcome.direct_after_s
        time = "-" if after_s is None else f"{after_s:.2f} s"
        exactness = "exact" if self.outcome.is_exact else "NOT EXACT"
        return f"{self.outcome.path} {time} {exactness}{'' if self.is_good else ' !'}"

    @property
    def complaint(self) -> str:
        """What is wrong with it, as a sentence."""
        pair = f"{self.row} to {self.column}" if self.column else self.row
        found = self.text.removesuffix(" !")
        return f"{pair}: {found}, had to be {self.must_be}; {self.outcome.reason}"


class Grid:
    """Runs transfers, one at a time.

    Args:
        expect: which path each must end on.
        folder: a private folder for the programs.
        size_bytes: what each moves.
    """

    def __init__(self, expect: Expect, folder: Path, size_bytes: int = SIZE_BYTES) -> None:
        self._expect = expect
        self._folder = folder
        self._size_bytes = size_bytes
        self._count = 0

    def run_pairs(self, pairs: Sequence[tuple[NatKind, NatKind]]) -> Iterator[Cell]:
        """Yield a cell for each pair of NAT kinds; one lab and one relay serve them all."""
        with Lab() as lab:
            stage = self._stage(lab)
            try:
                stage.start_relay()
                for row, column in pairs:
                    lab.set_nat("a", row)
                    lab.set_nat("b", column)
                    yield self._cell(stage, row, column, can_go_direct(row, column))
            finally:
                stage.close()

    def run_topology(self, name: str, topology: Topology) -> Cell:
        """Return the cell of another topology, in a lab of its own."""
        with Lab(topology) as lab:
            stage = self._stage(lab)
            try:
                stage.start_relay()
                return self._cell(stage, name, "", topology.expects_direct())
            finally:
                stage.close()

    def _stage(self, lab: Lab) -> Stage:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return Stage(lab, folder)

    def _cell(self, stage: Stage, row: str, column: str, can_be_direct: bool) -> Cell:
        must_be = "direct" if can_be_direct and self._expect is Expect.THEORY else "relay"
        # Where theory allows no direct path there is nothing to wait for but a path too many.
        limit_s = DIRECT_LIMIT_S if must_be == "direct" else 1.0
        payload = os.urandom(self._size_bytes)
        try:
            if self._expect is Expect.RELAY:
                outcome = stage.transfer(payload, options=("--force-relay",)).finish()
            else:
                outcome = stage.transfer_when_direct(payload, limit_s)
        except AssertionError as error:  # a wait that ended without what it waited for
            outcome = Outcome("none", None, is_exact=False, reason=str(error))
        return Cell(row, column, must_be, outcome)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def grid_table(cells: Sequence[Cell]) -> str:
    """Return the cells of pairs as a table, rows for a and columns for b."""
    text = {(cell.row, cell.column): cell.text for cell in cells}
    kinds = list(dict.fromkeys(cell.row for cell in cells))
    rows = [["a \\ b", *kinds]]
    rows += [[row, *(text.get((row, column), "") for column in kinds)] for row in kinds]
    return table(rows)


def _topology_table(cells: Sequence[Cell]) -> str:
    rows = [["topology", "must be", "path, time to direct, exactness"]]
    rows += [[cell.row, cell.must_be, cell.text] for cell in cells]
    return table(rows)


def _kinds(text: str) -> list[NatKind]:
    try:
        return [NatKind(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(NatKind)}") from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/lab", add_help=False)
    parser.add_argument("--expect", type=Expect, choices=list(Expect), default=Expect.THEORY)
    parser.add_argument("--kinds", type=_kinds)
    parser.add_argument("--size", type=int, default=SIZE_BYTES)
    parser.add_argument("--no-topologies", action="store_true")
    return parser.parse_args()


def _show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _watched(cells: Iterator[Cell], total: int, what: str) -> list[Cell]:
    seen: list[Cell] = []
    for cell in cells:
        seen.append(cell)
        _show_progress(f"{what} {len(seen)}/{total}")
    _show_progress("")
    return seen


def _print_failures(cells: Sequence[Cell], out: Callable[[str], None]) -> None:
    bad = [cell for cell in cells if not cell.is_good]
    for cell in bad:
        out(f"! {cell.complaint}")
    out(f"{len(cells) - len(bad)} of {len(cells)} as they must be")


def main() -> int:
    """Print both tables; 1 when something is not as it must be."""
    arguments = _arguments()
    if reason := missing_requirements():
        print(f"scripts/lab: {reason}", file=sys.stderr)
        return 1
    remove_leftovers()
    kinds = arguments.kinds or list(NatKind)
    with tempfile.TemporaryDirectory(prefix="derphole-grid-") as folder:
        grid = Grid(arguments.expect, Path(folder), arguments.size)
        pairs = [(row, column) for row in kinds for column in kinds]
        cells = _watched(grid.run_pairs(pairs), len(pairs), "pairs")
        print(f"path at the end, time to direct, exactness (expecting: {arguments.expect})\n")
        print(grid_table(cells), flush=True)
        if not arguments.no_topologies:
            runs = (grid.run_topology(name, plan) for name, plan in CASES.items())
            others = _watched(runs, len(CASES), "topologies")
            print(f"\n{_topology_table(others)}")
            cells += others
    print()
    _print_failures(cells, print)
    return 0 if all(cell.is_good for cell in cells) else 1


if __name__ == "__main__":
    # Ended from outside, the lab still comes down.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
