"""Runs the benchmarks, prints the table and keeps the samples; see scripts/bench --help."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import against
import direct
import forwarded
import packets
import relayed
import sent
import startup
import tunnels
import versus
from figure import Figure, table
from load import Load

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / ".build" / "bench.json"
BENCHMARKS = {
    "packets": packets.run,
    "relayed": relayed.run,
    "direct": direct.run,
    "forwarded": forwarded.run,
    "sent": sent.run,
    "startup": startup.run,
    "tunnels": tunnels.run,
}


def main() -> int:
    options = arguments()
    if options.against:
        names = [options.only] if options.only else list(BENCHMARKS)
        passed = ["--quick"] if options.quick else []
        return against.compare(options.against, names, options.rounds, passed)
    if options.versus:
        load = Load(options.busy, options.builds, options.mixed)
        return versus.compare(
            options.rounds,
            load,
            size_mib=options.mib,
            is_quick=options.quick,
            is_install=options.install,
        )
    rounds = 1 if options.quick else options.rounds
    figures: list[Figure] = []
    for name, benchmark in BENCHMARKS.items():
        if options.only in (None, name):
            print(f"running {name} ...", file=sys.stderr, flush=True)
            figures += benchmark(rounds, is_quick=options.quick)
    keep(figures, options.result)
    show(figures)
    return 0 if all(figure.is_met is not False for figure in figures) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=sorted(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--versus", action="store_true")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--mib", type=int)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--builds", type=int, default=0)
    parser.add_argument("--mixed", action="store_true")
    return parser.parse_args()


def show(figures: list[Figure]) -> None:
    rows = [("what", "figure", "must", "stretch", "samples")]
    for figure in figures:
        verdict = {True: "", False: "  MISSED", None: ""}[figure.is_met]
        samples = " ".join(f"{sample:.3g}" for sample in figure.samples)
        rows.append(
            (figure.what, f"{figure.median:.3g} {figure.unit}{verdict}",
             figure.must_text, figure.stretch_text, samples)
        )  # fmt: skip
    print(table(rows))


def keep(figures: list[Figure], path: Path) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    path.parent.mkdir(exist_ok=True)
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "command": sys.argv,
        "machine": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        },
        "figures": [figure.as_record() for figure in figures],
    }
    with path.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)


def cpu_name() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        return next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")


if __name__ == "__main__":
    sys.exit(main())
