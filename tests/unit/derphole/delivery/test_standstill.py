"""When a person is told that a transfer stands still, and that it goes on."""

from derphole.delivery.standstill import STILL_S, Standstill


def told(*steps):
    """Return what is told of steps of one second each: bytes that have come, and the cause."""
    machine = Standstill(100.0)
    return [machine.take(101.0 + number, *step) for number, step in enumerate(steps)]


def test_nothing_is_said_of_a_transfer_that_moves():
    assert told(*[(number, "the network") for number in range(1, 20)]) == [None] * 19


def test_a_standstill_is_told_once_with_its_cause_and_so_is_its_end():
    said = told(*[(5, "the network")] * 9, (6, "the network"), (7, "the network"))

    assert said[:5] == [None] * 5
    assert said[5] == "nothing has moved for 5 s: waiting for the network"
    assert said[6:9] == [None] * 3
    assert said[9] == "going on, after 9 s"
    assert said[10] is None


def test_a_cause_that_is_no_news_is_not_told_before_it_is_one():
    said = told(*[(0, None)] * 8, (0, "the network"), (3, None))

    assert said[:8] == [None] * 8
    assert said[8] == "nothing has moved for 9 s: waiting for the network"
    assert said[9] == "going on, after 10 s"


def test_every_standstill_is_told():
    still = [(5, "x")] * (int(STILL_S) + 1)
    assert [each is not None for each in told(*still, (6, "x"), *[(6, "x")] * 5)].count(True) == 3
