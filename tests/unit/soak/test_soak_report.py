"""The lines and the table of a soak."""

from dataclasses import replace

from soak_lib.judge import Verdict
from soak_lib.plan import Fault, FaultKind, make_episode
from soak_lib.report import Row, line, summary

KILLED = Fault(FaultKind.RELAY_KILLED, 1.0, 2.0)
NO_UDP = Fault(FaultKind.UDP_GONE, 3.0, 4.0, "a")


def row(number, recovery_s, *faults, direct_s=0.0, violations=()):
    episode = replace(make_episode(7, number), faults=faults)
    return Row(episode, Verdict(recovery_s, direct_s, violations))


def test_a_line_tells_the_figures_and_what_was_wrong():
    text = line(row(3, 1.234, KILLED, direct_s=0.5, violations=("pipe ended with 1",)))

    first, second = text.splitlines()
    assert first.startswith("7/3 FAILED, recovery 1.23 s, direct 0.50 s: ")
    assert first.endswith("relay killed at 1.0 s for 2.0 s")
    assert second == "    ! pipe ended with 1"


def test_the_table_parts_single_from_crossed():
    rows = [
        row(1, 1.0, KILLED),
        row(2, 3.0, KILLED),
        row(3, 2.5, KILLED),
        row(4, 4.0, KILLED, NO_UDP, direct_s=0.75),
    ]

    assert summary(rows).splitlines() == [
        "fault         single  median  worst   crossed  median  worst",
        "relay killed  3       2.50 s  3.00 s  1        4.00 s  4.00 s",
        "UDP gone      0                       1        4.00 s  4.00 s",
        "all           3       2.50 s  3.00 s  1        4.00 s  4.00 s",
        "longest wait for a byte after a direct path was taken: 0.75 s",
        "4 of 4 episodes as they must be",
    ]


def test_each_failure_brings_its_command():
    text = summary([row(1, 1.0, KILLED), row(2, 9.0, KILLED, violations=("stood still",))])

    assert "! scripts/soak --seed 7 --episode 2   (stood still)" in text.splitlines()
    assert text.splitlines()[-1] == "1 of 2 episodes as they must be"
