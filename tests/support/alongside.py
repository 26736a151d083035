"""Tests that run side by side, each in a pytest of its own, at the end of a run.

    @pytest.mark.alongside("waits")       what it proves takes its time, and it does little meanwhile
    @pytest.mark.alongside("computes")    it keeps a processor busy, and measures no time

Those that compute come first, one a processor, then those that wait.  Nothing else runs beside
them, and under --full they run one after another like all others.  A test that runs so is reported
as if it had run here: its own process writes its reports down, and they are read.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# How many at once; those that wait spend a second or two of a processor at their beginning.
AT_ONCE = {"computes": os.cpu_count() or 1, "waits": 6}
ORDER = list(AT_ONCE)
# A test's own limit ends it, long before this.
LIMIT_S = 900.0


def kind_of(item: pytest.Item) -> str | None:
    """Return how a test runs beside others, None for one that runs alone."""
    mark = item.get_closest_marker("alongside")
    return None if mark is None else str(mark.args[0])


class Recorder:
    """Writes the reports of this process down, for the one that started it."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


class Alongside:
    """Runs the marked tests of this run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = TemporaryDirectory(prefix="alongside-")
        self._pools = {kind: ThreadPoolExecutor(count) for kind, count in AT_ONCE.items()}
        self._by_kind: dict[str, list[pytest.Item]] = {kind: [] for kind in ORDER}
        self._running: dict[str, Future[list[pytest.TestReport]]] = {}
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._is_over = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the marked ones at the end, by kind."""
        for item in items:
            kind = kind_of(item)
            if kind is not None:
                self._by_kind[kind].append(item)
        marked = [item for kind in ORDER for item in self._by_kind[kind]]
        if len(marked) > 1:
            items[:] = [item for item in items if kind_of(item) is None] + marked
        else:
            self._by_kind = {kind: [] for kind in ORDER}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Report a marked test, whose whole kind is started when its first one is reached."""
        kind = kind_of(item)
        if kind is None or not self._by_kind[kind]:
            return None
        for each in self._by_kind[kind]:
            if each.nodeid not in self._running:
                self._running[each.nodeid] = self._pools[kind].submit(self._run, each)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._running[item.nodeid].result():
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        """End what still runs: the run was broken off."""
        with self._lock:
            self._is_over = True
            for process in self._processes:
                process.terminate()
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def _run(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Run one test in a process of its own; return its reports."""
        path = Path(self._folder.name, f"{id(item)}.jsonl")
        options = ["-p", "no:cacheprovider", "--record-reports", str(path)]
        command = [sys.executable, "-m", "pytest", *options, item.nodeid]
        with self._lock:
            if self._is_over:
                return []
            process = subprocess.Popen(
                command,
                cwd=self._config.rootpath,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self._processes.add(process)
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
        finally:
            with self._lock:
                self._processes.discard(process)
        reports = list(self._read(path))
        is_whole = any(report.when == "teardown" for report in reports)
        return reports if is_whole else [*reports, _broken(item, said)]

    def _read(self, path: Path) -> Iterator[pytest.TestReport]:
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            yield self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )


def _broken(item: pytest.Item, said: str) -> pytest.TestReport:
    """Return the report of a test whose process did not get to its end."""
    words = f"the test's own process ended too early; it said:\n{said[-4000:]}"
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call", duration=0.0)
