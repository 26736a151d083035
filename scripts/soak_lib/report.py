"""The lines and the table that a soak prints.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from soak_lib.judge import Verdict
from soak_lib.plan import Episode, FaultKind

GAP = "  "


@dataclass(frozen=True, slots=True)
class Row:
    """One episode that was played."""

    episode: Episode
    verdict: Verdict


def line(row: Row) -> str:
    """Return the line of an episode, with what was wrong below it."""
    verdict = row.verdict
    direct = f", direct {verdict.after_direct_s:.2f} s" if verdict.after_direct_s else ""
    state = "FAILED" if verdict.violations else "ok"
    head = (
        f"{row.episode.seed}/{row.episode.number} {state}, recovery {verdict.recovery_s:.2f} s"
        f"{direct}: {row.episode}"
    )
    return "\n".join([head, *(f"    ! {words}" for words in verdict.violations)])


def summary(rows: Sequence[Row]) -> str:
    """Return the table of all episodes, and the command for each that failed."""
    table = [("fault", "single", "median", "worst", "crossed", "median", "worst")]
    for kind in FaultKind:
        mine = [row for row in rows if any(fault.kind is kind for fault in row.episode.faults)]
        if mine:
            table.append((str(kind), *_figures(mine)))
    table.append(("all", *_figures(rows)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    ]
    direct_s = max((row.verdict.after_direct_s for row in rows), default=0.0)
    lines.append(f"longest wait for a byte after a direct path was taken: {direct_s:.2f} s")
    bad = [row for row in rows if row.verdict.violations]
    for row in bad:
        lines.append(f"! {row.episode.again}   ({row.verdict.violations[0]})")
    lines.append(f"{len(rows) - len(bad)} of {len(rows)} episodes as they must be")
    return "\n".join(lines)


def _figures(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the number, median and worst recovery of single episodes, then of crossed ones."""
    cells: list[str] = []
    for is_crossed in (False, True):
        times = [row.verdict.recovery_s for row in rows if row.episode.is_crossed is is_crossed]
        figures = [f"{median(times):.2f} s", f"{max(times):.2f} s"] if times else ["", ""]
        cells += [str(len(times)), *figures]
    return tuple(cells)
