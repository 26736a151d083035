"""Signals end a waiting command by an exception, and a second one ends the process."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.net

WAITING = """
    import sys
    import gevent
    from gevent.event import Event
    from derphole.cli.frame.signals import EndingSignals
    from derphole.errors import Interrupted

    with EndingSignals():
        print("ready", flush=True)
        try:
            Event().wait(20)
        except Interrupted as error:
            print(error.sentence, error.exit_code, flush=True)
            if "{stuck}":
                Event().wait(20)
            sys.exit(error.exit_code)
"""


def waiting_process(stuck="", ignored=None):
    """Start a process that waits, after ignoring a signal if one is given."""

    def ignore():
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    program = textwrap.dedent(WAITING).replace("{stuck}", stuck)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, preexec_fn=ignore
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process):
    """Wait for the end and return exit code and what was still printed."""
    try:
        out, _ = process.communicate(timeout=15)
    finally:
        process.kill()
    return process.returncode, out


@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_raises_interrupted_where_the_command_waits(signum, exit_code):
    process = waiting_process()

    process.send_signal(signum)

    assert ended(process) == (exit_code, f"interrupted by {signum.name} {exit_code}\n")


def test_a_second_signal_ends_a_process_that_is_stuck():
    process = waiting_process(stuck="yes")

    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted by SIGINT 130\n"
    # Signals within 300 ms of the first do not count, so they are repeated until one does.
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue

    assert ended(process)[0] == 143


def test_an_ignored_signal_stays_ignored():
    process = waiting_process(ignored=signal.SIGHUP)

    process.send_signal(signal.SIGHUP)
    os.kill(process.pid, signal.SIGTERM)

    assert ended(process) == (143, "interrupted by SIGTERM 143\n")
