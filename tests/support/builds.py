"""What scripts build of this checkout, once a run, for the tests of packages."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.processes import ROOT, clean_environment

# With an empty cache: the tools come from the package index, and PyInstaller reads every module.
BUILD_S = 900
FROZEN = ROOT / "dist" / "derphole"
FROZEN_FROM = (
    "derphole",
    "tunnel",
    "build/entry.py",
    "derphole.spec",
    "scripts/binary",
    "setup.cfg",
)


def run_script(name: str, *arguments: str | Path, **variables: str) -> str:
    """Run a script of the project; returns what it printed, and fails with what it said."""
    done = subprocess.run(
        [ROOT / "scripts" / name, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, f"scripts/{name} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold a lock that whoever builds the same thing in this checkout waits for."""
    path = ROOT / ".build" / f"{name}.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def newest_source() -> float:
    """Return when the youngest file changed that the frozen program is made of."""
    files = [path for name in FROZEN_FROM for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    kept = (path for path in files if path.is_file() and "__pycache__" not in path.parts)
    return max(path.stat().st_mtime for path in kept)


def frozen_program(folder: Path) -> Path:
    """Return the folder of the frozen program, built anew unless it is younger than its sources."""
    with alone("binary"):
        program = FROZEN / "derphole"
        if not program.exists() or program.stat().st_mtime < newest_source():
            run_script("binary", "--build-only")
        subprocess.run(
            [program, "version"], env=clean_environment(folder), capture_output=True, check=True
        )
    return FROZEN
