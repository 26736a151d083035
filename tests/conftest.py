"""What all tests share: the `--full` option, skips that may not skip in CI, time limits by folder."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from hypothesis import HealthCheck, settings
from support.alongside import Alongside, Recorder
from support.processes import OPTIONAL_SKIP

from tunnel.net import deadlines

# How fast examples are made says something about the machine, not about the code.
settings.register_profile("derphole", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("derphole")

# The hub tells of errors in worker threads on the standard error it saw first: that must not be one
# that a test captured and closed, or the error is lost and whoever waits for the thread hangs.
gevent.get_hub().exception_stream = sys.__stderr__

# Whoever runs the tests under nohup or in the background hands on signals that are ignored, and so
# would we to every process whose end by a signal is tested.
for _signal in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.SIG_DFL)

# Debian keeps programs of administrators (nft, tc, sshd) where only root's PATH looks.
os.environ["PATH"] = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
)

# Seconds after which a test counts as hung, on a machine that does much else; slow ones bring
# their own with pytest.mark.timeout.  A unit test takes milliseconds, a simulated one up to a second.
TIMEOUT_S = {
    "unit": 20,
    "sim": 60,
    "property": 60,
    "net": 60,
    "e2e": 180,
    "natlab": 180,
    "interop": 600,
}
FULL_FACTOR = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run everything at its full size")
    parser.addoption("--record-reports", metavar="FILE", help="write the reports of tests down")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--record-reports")
    if path:
        config.pluginmanager.register(Recorder(config, Path(path)))
    elif "coverage" not in sys.modules and not any(
        config.getoption(name) for name in ("--full", "collectonly", "usepdb")
    ):
        config.pluginmanager.register(Alongside(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    factor = FULL_FACTOR if config.getoption("--full") else 1
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in TIMEOUT_S and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S[folder] * factor))
        if folder in ("net", "e2e", "natlab", "interop"):
            item.add_marker(folder)


@pytest.fixture(scope="session")
def is_full(pytestconfig: pytest.Config) -> bool:
    """Whether the test runs at its full size."""
    return bool(pytestconfig.getoption("--full"))


class _StuckDeadlines(logging.Handler):
    """Keeps what drivers say of machines whose deadlines nobody moves."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture(autouse=True)
def no_stuck_deadline() -> Iterator[list[str]]:
    """No driver of the test process met a machine whose deadline nobody moves."""
    handler = _StuckDeadlines()
    logger = logging.getLogger(deadlines.__name__)
    logger.addHandler(handler)
    yield handler.said
    logger.removeHandler(handler)
    assert handler.said == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    """Turn a skip into a failure where everything must run (CI)."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("DERPHOLE_REQUIRE_ALL") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if str(reason).removeprefix("Skipped: ").startswith(OPTIONAL_SKIP):
            return
        report.outcome = "failed"
        report.longrepr = f"skipped although DERPHOLE_REQUIRE_ALL=1: {reason}"
