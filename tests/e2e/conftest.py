"""Fixtures of the end-to-end tests: one relay process for all, one desk for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Desk
from support.processes import record_figure

# What the watchdog calls a stall.  On a machine that others load as well, a process that waits for
# its turn looks the same, so stalls are recorded and decide nothing.
STALL_MS = 50


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The folder that is received into."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def relay_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a relay that all tests share."""
    desk = Desk(tmp_path_factory.mktemp("relay"), "")
    try:
        yield desk.relay()[1]
    finally:
        desk.close()


@pytest.fixture(scope="session")
def stalls_ms() -> Iterator[list[int]]:
    """Stalls of every process of the run."""
    stalls: list[int] = []
    yield stalls
    longest = f"{max(stalls)} ms, {len(stalls)} above {STALL_MS} ms" if stalls else "none"
    record_figure("hub stalls in all e2e tests", longest, "recorded")


@pytest.fixture
def desk(tmp_path: Path, relay_url: str, stalls_ms: list[int]) -> Iterator[Desk]:
    """A desk that leaves nothing behind."""
    desk = Desk(tmp_path, relay_url)
    try:
        yield desk
    finally:
        desk.close()
    for process in desk.processes:
        stalls_ms += process.stalls_ms
    desk.assert_nothing_is_left()
