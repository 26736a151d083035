"""Direct paths through real NATs: taken where theory allows, left and taken again under faults."""

import os
from pathlib import Path

import pytest
from grid import Expect, Grid
from lab import Lab
from lab_transfers import Stage
from nat_kinds import NatKind
from support.processes import record_figure
from topology import CASES
from wires import Impairment

MIB = 1 << 20
SLOW = Impairment(rate="24mbit", queue_ms=100)
DIRECT_EVENT = r'"event": "path".*"direct": true'
END_LIMIT_S = 90.0


@pytest.mark.timeout(300)
def test_pairs_of_nat_kinds_end_where_theory_says(tmp_path: Path, is_full: bool):
    kinds = list(NatKind)
    pairs = [(one, other) for one in kinds for other in kinds]
    if not is_full:  # each kind once on each side
        pairs = [(kind, kinds[number - 3]) for number, kind in enumerate(kinds)]

    cells = list(Grid(Expect.THEORY, tmp_path).run_pairs(pairs))

    assert len(cells) == len(pairs)
    assert [cell.complaint for cell in cells if not cell.is_good] == []
    times = [cell.outcome.direct_after_s for cell in cells if cell.outcome.direct_after_s]
    record_figure("time to a direct path behind NATs, slowest pair", f"{max(times):.2f} s", "1 s")


@pytest.mark.parametrize("name", ["same LAN", "double NAT on both sides", "IPv6 alone"])
def test_other_topologies_go_direct(tmp_path: Path, name: str):
    cell = Grid(Expect.THEORY, tmp_path).run_topology(name, CASES[name])

    assert cell.is_good, cell.complaint


