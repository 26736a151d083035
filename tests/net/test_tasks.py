"""TaskGroup: failures are heard, nothing outlives the group."""

import gevent
import pytest
from gevent.event import Event

from tunnel.net.tasks import TaskGroup

WAIT_S = 5.0


class Broken(Exception):
    """What a child of these tests fails with."""


def fail():
    raise Broken("on purpose")


def test_join_waits_for_every_child_and_passes_arguments():
    seen = []
    with TaskGroup("group") as tasks:
        for i in range(3):
            tasks.spawn(f"child {i}", lambda n, *, twice: seen.append((n, twice)), i, twice=2 * i)
        tasks.join()

    assert sorted(seen) == [(0, 0), (1, 2), (2, 4)]


def test_children_are_named_after_their_group():
    with TaskGroup("group") as tasks:
        assert tasks.spawn("child", gevent.sleep, 0).name == "group/child"
        tasks.join()


def test_joining_an_empty_group_returns_at_once():
    with TaskGroup("group") as tasks:
        tasks.join()
        tasks.raise_failure()


def test_a_failure_ends_the_others_and_is_raised_by_join():
    ended = Event()

    def wait_for_ever():
        try:
            Event().wait()
        finally:
            ended.set()

    heard = []
    with TaskGroup("group", on_failure=heard.append) as tasks:
        tasks.spawn("waits", wait_for_ever)
        gevent.sleep(0)
        tasks.spawn("fails", fail)
        with pytest.raises(Broken):
            tasks.join()

    assert ended.is_set()
    assert [type(error) for error in heard] == [Broken]


def test_only_the_first_failure_counts():
    heard = []
    with TaskGroup("group", on_failure=heard.append) as tasks:
        for _ in range(3):
            tasks.spawn("fails", fail)
        with pytest.raises(Broken):
            tasks.join()

    assert len(heard) == 1


def test_what_is_no_exception_is_a_failure_too():
    def stop():
        raise KeyboardInterrupt

    with TaskGroup("group") as tasks:
        tasks.spawn("stops", stop)
        with pytest.raises(KeyboardInterrupt):
            tasks.join()


def test_leaving_the_group_ends_its_children_even_those_that_never_ran():
    with TaskGroup("group") as tasks:
        running = tasks.spawn("waits", Event().wait)
        gevent.sleep(0)
        fresh = tasks.spawn("never ran", Event().wait)

    assert running.dead
    assert fresh.dead
    with gevent.Timeout(WAIT_S):
        tasks.join()


def test_a_child_may_end_the_others_and_live_on():
    done = Event()
    with TaskGroup("group") as tasks:
        other = tasks.spawn("waits", Event().wait)
        gevent.sleep(0)

        def end_them():
            tasks.kill()
            done.set()

        tasks.spawn("ends", end_them)
        with gevent.Timeout(WAIT_S):
            tasks.join()

    assert done.is_set()
    assert other.dead
