"""Usage: summary.py LOG...

Prints one summary line of several runs of pytest, in the form of pytest's own.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ORDER = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")
COLOR = re.compile(r"\x1b\[[0-9;]*m")


def main() -> None:
    counts: Counter[str] = Counter()
    seconds = 0.0
    for name in sys.argv[1:]:
        lines = COLOR.sub("", Path(name).read_text(encoding="utf-8", errors="replace")).split("\n")
        summary = next((line for line in reversed(lines) if re.search(r" in [0-9.]+s", line)), "")
        if not summary:
            counts["error"] += 1  # it ended without a summary
        for count, kind in re.findall(r"(\d+) ([a-z]+?)s?\b(?=,| in )", summary):
            counts[kind] += int(count)
        took = re.search(r" in ([0-9.]+)s", summary)
        seconds = max(seconds, float(took[1]) if took else 0.0)
    parts = [f"{counts[kind]} {kind}" for kind in ORDER if counts[kind]]
    print(f"==== {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ====")


if __name__ == "__main__":
    main()
