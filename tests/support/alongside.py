"""Tests that run side by side, in a pytest of their own each, at the end of a run.

    @pytest.mark.alongside("waits")       what it proves takes its time, and it does little meanwhile
    @pytest.mark.alongside("computes")    it keeps a processor busy, and measures no time

Those that compute come first, one a processor, then those that wait; nothing else runs beside them.
Simulated worlds and properties compute, whole modules of them; their clock is not the machine's.
Under --full, and where coverage is measured, all run one after another.  A test that runs so is
reported as if it had run here: its own process writes its reports down, and they are read.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# How many at once; those that wait spend a second or two of a processor at their beginning.
AT_ONCE = {"computes": os.cpu_count() or 1, "waits": 6}
ORDER = list(AT_ONCE)
COMPUTING = ("sim", "property")  # folders
# A test's own limit ends it, long before this.
LIMIT_S = 900.0


def kind_of(item: pytest.Item) -> str | None:
    """Return how a test runs beside others, None for one that runs alone."""
    mark = item.get_closest_marker("alongside")
    if mark is not None:
        return str(mark.args[0])
    return "computes" if item.path.parent.name in COMPUTING else None


class Recorder:
    """Writes the reports of this process down, for the one that started it."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


@dataclass
class Group:
    """Tests that run one after another in one process: a single one, or those of a module.

    Args:
        kind: of all of them.
        path: where their reports are written.
        items: the tests.
    """

    kind: str
    path: Path
    items: list[pytest.Item]
    reports: "Future[dict[str, list[pytest.TestReport]]] | None" = None


class Alongside:
    """Runs the marked tests of this run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = TemporaryDirectory(prefix="alongside-")
        self._pools = {kind: ThreadPoolExecutor(count) for kind, count in AT_ONCE.items()}
        self._groups: list[Group] = []
        self._group_of: dict[pytest.Item, Group] = {}
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._is_over = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the marked ones at the end, by kind; one group alone of its kind runs here."""
        groups: dict[str, Group] = {}
        for item in items:
            kind = kind_of(item)
            if kind is not None:
                key = item.nodeid if _is_marked_alone(item) else f"{kind} {item.path}"
                path = Path(self._folder.name, f"{len(groups)}.jsonl")
                groups.setdefault(key, Group(kind, path, [])).items.append(item)
        for kind in ORDER:
            of_kind = [group for group in groups.values() if group.kind == kind]
            of_kind.sort(key=lambda group: len(group.items) > 1)  # those alone take longest
            self._groups += of_kind if len(of_kind) > 1 else []
        self._group_of = {item: group for group in self._groups for item in group.items}
        for item in self._group_of:
            # Its limit is kept where it runs; here it may have to wait for its turn.
            item.add_marker(pytest.mark.timeout(0), append=False)
        items[:] = [item for item in items if item not in self._group_of] + [*self._group_of]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Report a marked test, whose whole kind is started when its first one is reached."""
        group = self._group_of.get(item)
        if group is None:
            return None
        for each in self._groups:
            if each.kind == group.kind and each.reports is None:
                each.reports = self._pools[each.kind].submit(self._run, each)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        assert group.reports is not None
        for report in group.reports.result()[item.nodeid]:
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

    def _run(self, group: Group) -> dict[str, list[pytest.TestReport]]:
        """Run a group in a process of its own; return the reports of each test."""
        options = ["-p", "no:cacheprovider", "--record-reports", str(group.path)]
        names = [item.nodeid for item in group.items]
        with self._lock:
            if self._is_over:
                return {}
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *names],
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
        reports: dict[str, list[pytest.TestReport]] = {name: [] for name in names}
        for report in self._read(group.path):
            reports[report.nodeid].append(report)
        for item in group.items:
            if not any(report.when == "teardown" for report in reports[item.nodeid]):
                reports[item.nodeid].append(_broken(item, said))
        return reports

    def _read(self, path: Path) -> Iterator[pytest.TestReport]:
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            yield self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )


def _is_marked_alone(item: pytest.Item) -> bool:
    """Tell whether the mark is the test's own, and not its module's."""
    return any(mark.name == "alongside" for mark in item.own_markers)


def _broken(item: pytest.Item, said: str) -> pytest.TestReport:
    """Return the report of a test whose process did not get to its end."""
    words = f"the test's own process ended too early; it said:\n{said[-4000:]}"
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call", duration=0.0)
