"""Fixtures of the lab's tests: skip where no lab can be, and leave nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab
from lab_transfers import Stage
from namespaces import missing_requirements, remove_leftovers
from natlab_support import require
from topology import Topology


@pytest.fixture(scope="session")
def obstacle() -> str:
    """Why no lab can be built here; the empty text means that it can."""
    reason = missing_requirements()
    if not reason:
        remove_leftovers()
    return reason


@pytest.fixture(autouse=True)
def lab_is_possible(obstacle: str) -> None:
    require(not obstacle, obstacle)


@pytest.fixture
def topology() -> Topology:
    """The plan of the `lab` fixture; a test parametrizes it to get another."""
    return Topology()


@pytest.fixture
def lab(lab_is_possible: None, topology: Topology) -> Iterator[Lab]:
    with Lab(topology) as lab:
        yield lab


@pytest.fixture
def stage(lab: Lab, tmp_path: Path) -> Iterator[Stage]:
    """A stage with its relay running."""
    stage = Stage(lab, tmp_path)
    try:
        stage.start_relay()
        yield stage
    finally:
        stage.close()
