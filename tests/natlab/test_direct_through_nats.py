"""Direct paths through real NATs: taken where theory allows, and soon."""

import math
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

# Kinds whose mapping depends on no destination.
CONES = [NatKind.FULL_CONE, NatKind.RESTRICTED, NatKind.PORT_RESTRICTED, NatKind.REMAPPED]
DELAY = Impairment(delay_ms=10)  # 20 ms there and back
SHORT = 64 << 10
PROMOTION_LIMIT_S = 1.0  # design, section 12
LENIENCE = 3
SHARE = 0.95


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


@pytest.mark.timeout(300)
def test_other_topologies_end_where_theory_says(tmp_path: Path, is_full: bool):
    names = list(CASES) if is_full else ["same LAN", "double NAT on both sides", "IPv6 alone"]
    grid = Grid(Expect.THEORY, tmp_path)

    cells = {name: grid.run_topology(name, CASES[name]) for name in names}

    for name, cell in cells.items():
        record_figure(f"{name}: ends", cell.outcome.path, "as theory says")
    assert {name: cell.complaint for name, cell in cells.items() if not cell.is_good} == {}


@pytest.mark.timeout(900)
def test_the_time_from_link_up_to_direct_between_cone_nats(lab: Lab, stage: Stage, is_full: bool):
    lab.wire("a").impair(DELAY)
    pairs = [(one, other) for one in CONES for other in CONES]
    count = 50 if is_full else 8
    times = []
    for number in range(count):
        one, other = pairs[number * 5 % len(pairs)]  # each kind on each side within four runs
        lab.set_nat("a", one)
        lab.set_nat("b", other)
        outcome = stage.transfer_when_direct(os.urandom(SHORT), 10.0)
        assert outcome.is_exact, outcome.reason
        assert outcome.direct_after_s is not None, f"{one} to {other}: {outcome.reason}"
        times.append(outcome.direct_after_s)

    times.sort()
    p95 = times[math.ceil(SHARE * count) - 1]
    what = f"link up to direct, {count} runs with cone NATs, p95"
    middle = times[count // 2]
    record_figure(what, f"{p95:.2f} s (median {middle:.2f} s)", f"{PROMOTION_LIMIT_S:g} s")
    assert p95 <= LENIENCE * PROMOTION_LIMIT_S
