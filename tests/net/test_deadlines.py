"""A driver comes back when a machine says, and walks on when the machine says nonsense."""

import gevent
from gevent.event import Event

from tunnel.net.clock import monotonic
from tunnel.net.deadlines import MOST_TURNS, STUCK_PAUSE_S, Deadlines
from tunnel.net.pump import Pump
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant


def test_a_deadline_ahead_is_kept_to():
    deadlines = Deadlines("a test")

    assert deadlines.come_back_at(None, Instant(5.0)) is None
    assert deadlines.come_back_at(Instant(7.0), Instant(5.0)) == 7.0


def test_a_deadline_that_arose_meanwhile_is_done_at_once():
    deadlines = Deadlines("a test")
    for _ in range(10 * MOST_TURNS):
        assert deadlines.come_back_at(Instant(4.0), Instant(5.0)) == 5.0
        assert deadlines.come_back_at(Instant(6.0), Instant(5.0)) == 6.0


def test_a_deadline_that_nobody_moves_is_told_once_and_looked_at_now_and_then(no_stuck_deadline):
    deadlines = Deadlines("a test")
    later = [deadlines.come_back_at(Instant(4.0), Instant(5.0)) for _ in range(5 * MOST_TURNS)]

    assert later[: MOST_TURNS - 1] == [5.0] * (MOST_TURNS - 1)
    assert set(later[MOST_TURNS - 1 :]) == {5.0 + STUCK_PAUSE_S}
    assert no_stuck_deadline == ["a test has a deadline that nobody moves, 1 s ago"]
    no_stuck_deadline.clear()


class Stuck:
    """A machine of the pump that is due and never does anything about it."""

    def __init__(self):
        self.relays_up = set()
        self.links = []
        self.turns = 0
        self.due_at = monotonic()

    def handle_timeout(self, now):
        self.turns += 1

    def packets_to_send(self, now, limit):
        return []

    def next_timeout(self):
        return self.due_at

    def next_pacing(self, now):
        return None


def test_a_machine_that_stays_due_does_not_have_its_pump_spin(no_stuck_deadline):
    machine = Stuck()
    with TaskGroup("pump") as tasks:
        Pump(machine, lambda: None, lambda _: None).start(tasks)
        Event().wait(2 * STUCK_PAUSE_S)
        tasks.raise_failure()
        gevent.idle()

    assert MOST_TURNS - 1 <= machine.turns <= MOST_TURNS + 4
    assert len(no_stuck_deadline) == 1
    no_stuck_deadline.clear()
