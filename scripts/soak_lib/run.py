"""Plays episodes for as long as asked, prints a line for each, and the table; see scripts/soak."""

import argparse
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The package itself, the lab, and what all tests share.
sys.path[0] = str(ROOT / "scripts")
sys.path += [str(ROOT / "tests" / part) for part in ("natlab", "")]

from namespaces import missing_requirements, remove_leftovers  # noqa: E402

from soak_lib.plan import make_episode  # noqa: E402
from soak_lib.play import play  # noqa: E402
from soak_lib.report import Row, line, summary  # noqa: E402

KEEP = ROOT / ".build" / "soak"
MINUTE_S = 60.0


def main() -> int:
    """Return 1 when an episode was not as it must be."""
    arguments = _arguments()
    if reason := missing_requirements():
        print(f"scripts/soak: {reason}", file=sys.stderr)
        return 1
    remove_leftovers()
    # Who ends it either way gets the table, and nothing stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    ends_at = time.monotonic() + arguments.minutes * MINUTE_S
    rows: list[Row] = []
    number = arguments.episode or 1
    try:
        while not rows or (arguments.episode is None and time.monotonic() < ends_at):
            episode = make_episode(seed, number)
            rows.append(Row(episode, play(episode, KEEP / f"{seed}-{number}")))
            print(line(rows[-1]), flush=True)
            number += 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    print(f"\n{summary(rows)}", flush=True)
    return 1 if any(row.verdict.violations for row in rows) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", add_help=False)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--episode", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
