"""Programs of others that tests run: whether they are there, and whether they listen."""

import shutil
import socket

import pytest
from support.processes import await_true


def needs(*programs: str) -> None:
    """Skip a test whose programs are not installed; CI makes that a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def await_listener(port: int) -> None:
    """Wait until something listens on a port of the loopback."""

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await_true(listens, f"something listens on port {port}")
