"""Usage: branch_coverage.py COVERAGE.JSON FIGURES

Adds a figure for each room whose branches must be tested, from a report of coverage.py; ends with 1
if one of them is below its bound.  `scripts/test --coverage` calls it.
"""

import json
import sys
from pathlib import Path

ROOMS = ("tunnel/wire", "tunnel/crypto", "tunnel/proto")
BOUND = 0.95


def main(report: str, figures: str) -> int:
    files = json.loads(Path(report).read_text(encoding="utf-8"))["files"]
    is_met = True
    with open(figures, "a", encoding="utf-8") as lines:
        for room in ROOMS:
            found = [file["summary"] for path, file in files.items() if path.startswith(f"{room}/")]
            taken = sum(each["covered_branches"] for each in found)
            count = sum(each["num_branches"] for each in found)
            is_met = is_met and taken >= BOUND * count > 0
            figure = f"{100 * taken / max(1, count):.1f} % ({taken} of {count})"
            row = {"what": f"branches of {room}", "figure": figure, "must": f"{BOUND:.0%}"}
            lines.write(json.dumps(row) + "\n")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
