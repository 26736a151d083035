"""What the gatherer asks, believes and tells, lane by lane."""

import itertools

import pytest

from tunnel.proto.paths.candidates import CandidateKind
from tunnel.proto.paths.gather import (
    MAX_FORWARDED,
    MAX_HOSTS,
    MAX_NEAR_HOSTS,
    MAX_OUTSTANDING,
    MAX_REFLEXIVE,
    MAX_REFRESH_S,
    REFRESH_S,
    RETRY_TIMES_S,
    Gatherer,
    StunQuestion,
)
from tunnel.units import Instant
from tunnel.wire.frames import MAX_CANDIDATES, Candidate

FIRST = StunQuestion(0, "203.0.113.1", 3478)
SECOND = StunQuestion(2, "203.0.113.1", 3478)


def gatherer() -> Gatherer:
    numbers = itertools.count()
    return Gatherer(Instant(0.0), lambda size: next(numbers).to_bytes(size, "big"))


def places(machine: Gatherer) -> list[tuple[int, str, int]]:
    return [(candidate.kind, candidate.ip, candidate.port) for candidate in machine.candidates()]


def test_every_lane_asks_and_only_what_is_unanswered_is_asked_again():
    machine = gatherer()

    asked = machine.requests_to_send(Instant(0.0), [FIRST, SECOND])
    assert [question for question, _ in asked] == [FIRST, SECOND]
    assert machine.next_timeout() == RETRY_TIMES_S[1]
    machine.handle_response(0, asked[0][1], "198.51.100.7", 40000)

    again = machine.requests_to_send(machine.next_timeout(), [FIRST, SECOND])
    assert [question for question, _ in again] == [SECOND]
    machine.handle_response(2, again[0][1], "198.51.100.8", 40001)

    assert machine.requests_to_send(machine.next_timeout(), [FIRST, SECOND]) == []
    assert machine.next_timeout() >= REFRESH_S
    refreshed = machine.requests_to_send(machine.next_timeout(), [FIRST, SECOND])
    assert len(refreshed) == 2


def test_a_silent_server_is_asked_three_times_and_then_at_the_refresh():
    machine = gatherer()
    at = Instant(0.0)
    times = []
    while at < REFRESH_S:
        assert len(machine.requests_to_send(at, [FIRST])) == 1
        times.append(at)
        at = machine.next_timeout()

    assert tuple(times) == RETRY_TIMES_S
    assert at == RETRY_TIMES_S[-1] + REFRESH_S


def test_an_answer_counts_once_by_the_lane_that_asked_and_names_its_server():
    machine = gatherer()
    ((_, transaction),) = machine.requests_to_send(Instant(0.0), [FIRST])

    assert machine.handle_response(0, b"never sent..", "198.51.100.7", 40000) is None
    assert machine.handle_response(2, transaction, "198.51.100.7", 40000) is None
    assert machine.candidates() == ()
    assert machine.handle_response(0, transaction, "198.51.100.7", 40000) == FIRST
    assert machine.handle_response(0, transaction, "198.51.100.9", 40000) is None
    assert places(machine) == [(CandidateKind.REFLEXIVE, "198.51.100.7", 40000)]


def test_an_answer_that_teaches_nothing_new_is_no_news():
    machine = gatherer()
    machine.learn(0, "198.51.100.7", 40000)
    ((_, transaction),) = machine.requests_to_send(Instant(0.0), [FIRST])

    assert machine.handle_response(0, transaction, "198.51.100.7", 40000) is None


def test_what_a_lane_was_seen_at_goes_when_the_lane_goes():
    machine = gatherer()
    machine.set_hosts([("10.0.1.2", 5000), ("10.0.3.2", 5001)])
    machine.learn(0, "198.51.100.7", 40000)
    machine.learn(2, "198.51.100.8", 40001)
    machine.set_mapping(2, ("198.51.100.8", 5001))

    machine.set_hosts([("10.0.1.2", 5000)])
    machine.forget_lane(2)

    assert places(machine) == [
        (CandidateKind.REFLEXIVE, "198.51.100.7", 40000),
        (CandidateKind.HOST, "10.0.1.2", 5000),
    ]


def test_a_mapping_is_news_once_comes_first_and_is_gone_when_it_is_lost():
    machine = gatherer()
    machine.set_hosts([("10.0.1.2", 5000)])
    machine.learn(0, "198.51.100.7", 40000)

    assert machine.set_mapping(0, ("198.51.100.7", 5000))
    assert not machine.set_mapping(0, ("198.51.100.7", 5000))
    assert places(machine)[0] == (CandidateKind.MAPPED, "198.51.100.7", 5000)
    assert len(places(machine)) == 3

    assert not machine.set_mapping(0, None)
    assert len(places(machine)) == 2


def test_no_number_of_answers_pushes_out_interfaces_or_mappings():
    machine = gatherer()
    machine.set_hosts([("10.0.1.2", 5000)])
    machine.set_mapping(0, ("198.51.100.7", 5000))

    for port in range(1, 200):
        machine.learn(0, "198.51.100.9", port)

    found = places(machine)
    assert len(found) == MAX_REFLEXIVE + 2 <= MAX_CANDIDATES
    assert found[0][0] == CandidateKind.MAPPED
    assert found[1] == (CandidateKind.REFLEXIVE, "198.51.100.9", 199)
    assert found[-1][0] == CandidateKind.HOST


def test_a_forwarded_port_is_told_at_the_addresses_its_lanes_were_seen_at():
    machine = Gatherer(Instant(0.0), bytes, forwarded_port=4000)
    machine.set_hosts([("10.0.1.2/24", 4000)])
    assert places(machine) == [(CandidateKind.HOST, "10.0.1.2", 4000)]

    for port in range(1, 50):  # a symmetric NAT
        machine.learn(0, "198.51.100.7", port)
    machine.learn(1, "2001:db8::9", 4000)
    machine.learn(2, "203.0.113.9", 5000)  # another way out, whose router forwards nothing

    mapped = [place for place in places(machine) if place[0] == CandidateKind.MAPPED]
    assert mapped == [
        (CandidateKind.MAPPED, "2001:db8::9", 4000),
        (CandidateKind.MAPPED, "198.51.100.7", 4000),
    ]
    assert places(machine)[:2] == mapped
    assert (CandidateKind.HOST, "10.0.1.2", 4000) in places(machine)


def test_hosts_are_told_by_use_and_near_the_other_side_and_leave_room_for_the_rest():
    machine = gatherer()
    machine.set_hosts([(f"172.16.{number}.1/24", 5000) for number in range(41)])

    first = [ip for _, ip, _ in places(machine)]
    assert first == [f"172.16.{number}.1" for number in range(MAX_HOSTS)]

    theirs = [Candidate(CandidateKind.HOST, f"172.16.{number}.9", 1) for number in range(40, 0, -1)]
    later = [candidate.ip for candidate in machine.candidates(theirs)]
    assert later[: len(first)] == first
    assert later[len(first) :] == [f"172.16.{MAX_HOSTS + n}.1" for n in range(MAX_NEAR_HOSTS)]
    assert MAX_HOSTS + MAX_NEAR_HOSTS + MAX_FORWARDED + MAX_REFLEXIVE <= MAX_CANDIDATES


def test_the_loopback_is_told_only_to_this_machine():
    machine = gatherer()
    machine.set_hosts([("10.0.1.2/24", 5000), ("127.0.0.1/8", 5000)])

    assert [candidate.ip for candidate in machine.candidates()] == ["10.0.1.2"]
    here = [candidate.ip for candidate in machine.candidates(is_on_loopback=True)]
    assert here == ["127.0.0.1", "10.0.1.2"]


def test_overlay_addresses_come_last():
    machine = gatherer()
    machine.set_hosts([("100.64.0.9", 5000), ("10.0.1.2", 5000)])

    assert [place[1] for place in places(machine)] == ["10.0.1.2", "100.64.0.9"]


def test_questions_that_nobody_answers_are_bounded():
    machine = gatherer()
    questions = [StunQuestion(0, "203.0.113.1", port) for port in range(1, 2 * MAX_OUTSTANDING)]
    asked = machine.requests_to_send(Instant(0.0), questions)

    assert machine.handle_response(0, asked[0][1], "198.51.100.7", 1) is None
    assert machine.handle_response(0, asked[-1][1], "198.51.100.7", 1) is not None


def pauses(machine: Gatherer, at: Instant, rounds: int) -> list[float]:
    """Ask a silent server for so many rounds; returns the pauses between them."""
    found = []
    for _ in range(rounds):
        for _ in RETRY_TIMES_S:
            assert len(machine.requests_to_send(at, [FIRST])) == 1
            last, at = at, machine.next_timeout()
        found.append(at - last)
    return found


def test_servers_that_never_answer_are_asked_ever_less_until_the_network_changes():
    machine = gatherer()

    first = pauses(machine, Instant(0.0), 6)
    assert first == pytest.approx([25, 50, 100, 200, MAX_REFRESH_S, MAX_REFRESH_S])

    machine.ask_now(Instant(5000.0))
    assert pauses(machine, Instant(5000.0), 2) == pytest.approx([25, 50])


def test_a_server_that_answers_again_is_asked_as_often_as_before():
    machine = gatherer()
    pauses(machine, Instant(0.0), 4)
    at = machine.next_timeout()
    ((_, transaction),) = machine.requests_to_send(at, [FIRST])
    machine.handle_response(0, transaction, "198.51.100.7", 40000)

    for _ in range(2):  # at once, and from then on
        ended_at = machine.next_timeout()
        assert machine.requests_to_send(ended_at, [FIRST]) == []
        at = machine.next_timeout()
        assert at == ended_at + REFRESH_S
        ((_, transaction),) = machine.requests_to_send(at, [FIRST])
        machine.handle_response(0, transaction, "198.51.100.7", 40000)


def test_after_a_change_of_the_network_all_are_asked_at_once():
    machine = gatherer()
    asked = machine.requests_to_send(Instant(0.0), [FIRST])
    machine.handle_response(0, asked[0][1], "198.51.100.7", 40000)
    machine.requests_to_send(machine.next_timeout(), [FIRST])

    machine.ask_now(Instant(3.0))

    assert machine.next_timeout() == 3.0
    assert len(machine.requests_to_send(Instant(3.0), [FIRST])) == 1


def test_a_gatherer_that_has_nobody_to_ask_is_not_due_again_at_once():
    machine = gatherer()
    at, turns = Instant(1.0), 0
    while at < 601.0:
        assert machine.requests_to_send(at, []) == []
        assert machine.next_timeout() > at
        at, turns = machine.next_timeout(), turns + 1

    assert turns <= 600 / REFRESH_S

    machine.ask_now(at)
    assert [question for question, _ in machine.requests_to_send(at, [FIRST])] == [FIRST]
