"""Requirements, figures and files of the interoperability tests."""

import hashlib
import os
import time
from pathlib import Path
from typing import NoReturn

import pytest
from support.processes import OPTIONAL_SKIP

ROOT = Path(__file__).resolve().parents[2]

LOOPBACK = "127.0.0.1"
MIB = 1 << 20
POLL_S = 0.02


def require(condition: object, reason: str) -> None:
    """Skip the test with the reason if the condition is false.

    Under DERPHOLE_REQUIRE_ALL=1, as in CI, tests/conftest.py makes every skip a failure.
    """
    if not condition:
        pytest.skip(reason)


def skip_everywhere(reason: str) -> NoReturn:
    """Skip a test for what no machine has to have, CI's included."""
    pytest.skip(f"{OPTIONAL_SKIP}{reason}")


def write_random_file(path: Path, size_bytes: int) -> str:
    """Fill a file with random bytes, a MiB at a time; return their SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size_bytes, MIB):
            chunk = os.urandom(min(MIB, size_bytes - start))
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def await_size(path: Path, size_bytes: int, timeout_s: float) -> None:
    """Wait until a file that another process writes has at least this size."""
    deadline = time.monotonic() + timeout_s
    while path.stat().st_size < size_bytes:
        assert time.monotonic() < deadline, f"{path.name} has {path.stat().st_size} bytes"
        time.sleep(POLL_S)  # a growing file raises no event


def file_sha256(path: Path) -> str:
    """Read a file and return its SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
