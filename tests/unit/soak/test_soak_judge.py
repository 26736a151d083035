"""How an episode is judged: the time to the next byte, and what was said meanwhile."""

from dataclasses import replace

import pytest
from soak_lib.judge import Flow, Seen, Word, judge
from soak_lib.plan import Fault, FaultKind, make_episode
from soak_lib.ways import Applied, Network

BASE = make_episode(1, 3)
SINGLE = replace(BASE, faults=(Fault(FaultKind.RELAY_KILLED, 0, 0),))
CROSSED = replace(BASE, faults=(*SINGLE.faults, Fault(FaultKind.UDP_GONE, 0, 0, "a")))
START, END = 0.0, 60.0


def every(step_s, *holes, until=END):
    """Arrivals at a steady pace, with holes in them."""
    times = [step_s * n for n in range(1, int(until / step_s) + 1)]
    return [at for at in times if not any(since < at < til for since, til in holes)]


def seen(applied, arrivals, words=(), directs=None, to="b", lateness_s=0.0, troubles=()):
    directs = {"a": [START], "b": [START]} if directs is None else directs
    said = {host: [Word(at, name) for who, at, name in words if who == host] for host in "ab"}
    network = Network(applied, START, END, True, directs)
    return Seen(network, [Flow("pipe", to, arrivals)], said, troubles, lateness_s)


def fault(kind, began, healed, **more):
    return Applied(Fault(kind, 0, 0, **more), began, healed)


BOTH_GONE = [
    fault(FaultKind.RELAY_KILLED, 20.0, 40.0),
    fault(FaultKind.UDP_GONE, 20.0, 30.0, side="a"),
]
SAID = [(host, at, name) for host in "ab" for at, name in ((25.2, "stalled"), (30.5, "resumed"))]


def test_bytes_that_never_rest_are_no_recovery():
    verdict = judge(SINGLE, seen([fault(FaultKind.RELAY_KILLED, 20.0, 30.0)], every(0.1)))

    assert verdict.recovery_s == pytest.approx(0.1)
    assert verdict.violations == ()


def test_the_recovery_counts_from_the_heal():
    verdict = judge(CROSSED, seen(BOTH_GONE, every(0.1, (20.0, 31.0)), SAID))

    assert verdict.recovery_s == pytest.approx(1.0)
    assert verdict.violations == ()


def test_a_way_that_was_open_all_the_time_counts_from_the_last_byte():
    udp_gone = fault(FaultKind.UDP_GONE, 20.0, 40.0, side="a")
    verdict = judge(SINGLE, seen([udp_gone], every(0.1, (20.0, 23.0))))

    assert verdict.recovery_s == pytest.approx(3.0)


def test_a_stall_while_a_way_is_open_is_a_violation_though_the_other_is_closed():
    words = [(h, t, name) for h in "ab" for t, name in ((25.2, "stalled"), (41.0, "resumed"))]
    verdict = judge(CROSSED, seen(BOTH_GONE, every(0.1, (20.0, 41.0)), words))

    assert verdict.recovery_s == pytest.approx(11.0)
    [violation] = verdict.violations
    assert "a way was open for 11.00 s and no byte moved" in violation


@pytest.mark.parametrize(("episode", "limit_s"), [(SINGLE, 5.0), (CROSSED, 8.0)])
def test_single_and_crossed_faults_have_limits_of_their_own(episode, limit_s):
    udp_gone = fault(FaultKind.UDP_GONE, 20.0, 40.0, side="a")
    within = judge(episode, seen([udp_gone], every(0.1, (20.0, 20.0 + limit_s - 0.05))))
    beyond = judge(episode, seen([udp_gone], every(0.1, (20.0, 20.0 + limit_s + 0.15))))

    assert within.violations == ()
    assert len(beyond.violations) == 1


def test_a_machine_that_was_late_itself_has_more_time():
    udp_gone = fault(FaultKind.UDP_GONE, 20.0, 40.0, side="a")
    arrivals = every(0.1, (20.0, 26.0))

    assert judge(SINGLE, seen([udp_gone], arrivals)).violations != ()
    assert judge(SINGLE, seen([udp_gone], arrivals, lateness_s=0.5)).violations == ()


def test_bytes_follow_a_direct_path_soon():
    udp_gone = fault(FaultKind.UDP_GONE, 20.0, 30.0, side="a")
    directs = {"a": [START, 30.1], "b": [START, 30.1]}
    arrivals = every(0.1, (20.0, 32.0))
    verdict = judge(CROSSED, seen([udp_gone], arrivals, SAID, directs=directs))

    assert verdict.after_direct_s == pytest.approx(1.9)
    assert any("1.90 s before the next byte" in violation for violation in verdict.violations)


def test_a_direct_path_that_is_gone_at_once_owes_no_byte():
    udp_gone = [
        fault(FaultKind.UDP_GONE, 20.0, 30.0, side="a"),
        fault(FaultKind.UDP_GONE, 30.3, 50.0, side="b"),
    ]
    directs = {"a": [START, 30.2], "b": [START, 30.2]}
    verdict = judge(CROSSED, seen(udp_gone, every(0.1, (28.0, 32.0)), directs=directs))

    assert verdict.after_direct_s == pytest.approx(0.1)


def test_silence_must_be_told_by_both():
    verdict = judge(CROSSED, seen(BOTH_GONE, every(0.1, (20.0, 31.0)), SAID[:2]))

    [violation] = verdict.violations
    assert violation == "b heard and got nothing for 10.0 s and did not say so"


def test_a_stopped_program_owes_no_word():
    stopped = fault(FaultKind.PEER_STOPPED, 20.0, 30.0, side="a")
    verdict = judge(SINGLE, seen([stopped], every(0.1, (20.0, 31.0)), SAID[2:]))

    assert verdict.violations == ()


def test_before_there_is_a_link_a_wait_is_told_once():
    words = [(host, at, name) for host in "ab" for at, name in ((2.0, "waiting"), (41.0, "path"))]
    verdict = judge(CROSSED, seen(BOTH_GONE, every(0.1, (0.0, 31.0)), words))

    assert not any("did not say so" in violation for violation in verdict.violations)


def test_a_stall_must_be_taken_back():
    words = [word for word in SAID if word[:1] != ("b",) or word[2] != "resumed"]
    verdict = judge(CROSSED, seen(BOTH_GONE, every(0.1, (20.0, 31.0)), words))

    assert verdict.violations == ("b stalled 1 times and was back 0 times by its own words",)


def test_a_stall_is_not_told_while_bytes_come():
    words = [("b", 25.0, "stalled"), ("b", 25.1, "resumed")]
    verdict = judge(SINGLE, seen([fault(FaultKind.RELAY_KILLED, 20.0, 30.0)], every(0.1), words))

    [violation] = verdict.violations
    assert violation.startswith("b said that it stalled 0.10 s after a byte came")


def test_bytes_that_waited_for_a_slow_reader_make_no_lie_of_a_stall():
    words = [(h, t, name) for h in "ab" for t, name in ((25.0, "stalled"), (40.5, "resumed"))]
    observed = seen(BOTH_GONE, every(0.1, (24.0, 40.5)), words)
    [flow] = observed.flows
    slow = replace(observed, flows=[replace(flow, is_buffered=True)])

    assert any("a byte came" in violation for violation in judge(CROSSED, observed).violations)
    assert not any("a byte came" in violation for violation in judge(CROSSED, slow).violations)


def test_a_stall_that_was_told_before_a_last_buffered_byte_still_stands():
    words = [(h, t, name) for h in "ab" for t, name in ((25.0, "stalled"), (40.5, "resumed"))]
    observed = seen(BOTH_GONE, [*every(0.1, (20.0, 40.5)), 26.0], words)
    [flow] = observed.flows
    slow = replace(
        observed, flows=[replace(flow, arrivals=sorted(flow.arrivals), is_buffered=True)]
    )

    assert not any("did not say so" in violation for violation in judge(CROSSED, slow).violations)


def test_what_was_found_wrong_at_the_end_stands_first():
    verdict = judge(SINGLE, seen([], every(0.1), troubles=["pipe ended with 1"]))

    assert verdict.violations == ("pipe ended with 1",)
