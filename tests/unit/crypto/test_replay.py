"""The replay window at its edges; the property tests compare it with a naive set."""

from tunnel.crypto.replay import WINDOW, ReplayWindow


def test_a_number_is_fresh_once():
    window = ReplayWindow()
    assert window.is_fresh(5)

    window.mark(5)

    assert not window.is_fresh(5)
    assert window.is_fresh(4)
    assert window.is_fresh(6)


def test_numbers_older_than_the_window_count_as_seen():
    window = ReplayWindow()
    window.mark(WINDOW + 10)

    assert window.is_fresh(11)
    assert not window.is_fresh(10)


def test_a_jump_over_the_whole_window_forgets_what_was_seen():
    window = ReplayWindow()
    window.mark(1)
    window.mark(1 + WINDOW)

    assert not window.is_fresh(1)
    assert window.is_fresh(2)


def test_a_run_is_fresh_only_above_everything_seen():
    window = ReplayWindow()
    window.mark_run(0, 45)

    assert not window.is_fresh_run(44, 2)
    assert not window.is_fresh_run(45, 0)
    assert window.is_fresh_run(45, 45)


def test_a_run_far_ahead_is_marked_whole():
    window = ReplayWindow()
    window.mark(0)
    window.mark_run(10 * WINDOW, 45)

    assert window.highest == 10 * WINDOW + 44
    assert not any(window.is_fresh(10 * WINDOW + i) for i in range(45))
    assert window.is_fresh(10 * WINDOW - 1)
    assert not window.is_fresh(0)
