"""The watchdog sees what blocks the hub, and nothing else."""

import subprocess
import sys
import threading
import time

import gevent
from gevent.hub import get_hub

from derphole.watchdog import Watchdog

PATIENCE_S = 10


class Reports:
    def __init__(self):
        self.stalls = []
        self._come = threading.Event()

    def __call__(self, stall):
        self.stalls.append(stall)
        self._come.set()

    def first(self):
        assert self._come.wait(PATIENCE_S), "no stall was reported"
        return self.stalls[0]


def block_the_hub(seconds):
    time.sleep(seconds)


def turn_hub(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        gevent.sleep(0.001)


def test_a_greenlet_that_blocks_is_named_with_its_stack():
    reports = Reports()
    with Watchdog(reports):
        culprit = gevent.Greenlet(block_the_hub, 0.2)
        culprit.name = "tests/culprit"
        culprit.start()
        culprit.join()
        turn_hub(0.02)
        stall = reports.first()

    assert stall.greenlet_name == "tests/culprit"
    assert "block_the_hub" in stall.stack
    assert stall.has_ended
    assert 0.1 <= stall.lasted_s < 5
    assert str(stall).startswith("the event loop was blocked for ")


def test_a_callback_that_blocks_the_event_loop_is_named():
    reports = Reports()
    with Watchdog(reports):
        timer = get_hub().loop.timer(0)
        timer.start(block_the_hub, 0.2)
        turn_hub(0.3)
        stall = reports.first()
        timer.close()

    assert stall.greenlet_name == "hub"
    assert "block_the_hub" in stall.stack


def test_a_hub_that_waits_for_events_is_left_alone():
    reports = Reports()
    with Watchdog(reports):
        gevent.sleep(0.3)

    assert reports.stalls == []


def test_a_process_ends_though_its_watchdog_was_never_stopped():
    program = "import gevent; from derphole.watchdog import Watchdog; Watchdog(print).start(); gevent.sleep(0.05)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_stopped_watchdog_reports_nothing_and_leaves_no_thread():
    reports = Reports()
    before = threading.active_count()
    with Watchdog(reports):
        turn_hub(0.02)
    block_the_hub(0.1)

    assert reports.stalls == []
    assert threading.active_count() == before
