"""What tests need is found, and what a run costs is told before it begins."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_programs_of_administrators_are_found_by_everybody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import conftest, os; print(os.environ['PATH'])"],
        cwd=ROOT / "tests",
        env={**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )

    assert {"/usr/sbin", "/sbin"} <= set(done.stdout.strip().split(os.pathsep))


def test_the_script_tells_how_long_everything_takes() -> None:
    done = subprocess.run(
        [ROOT / "scripts/test", "--help"], capture_output=True, text=True, timeout=15, check=True
    )

    assert "20\nminutes on a machine with two processors" in done.stdout
    assert "80 minutes with --full" in done.stdout
