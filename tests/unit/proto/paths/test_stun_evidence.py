"""What STUN answers tell of a network is told, and nothing beyond it."""

import pytest

from tunnel.proto.paths.candidates import CandidateKind
from tunnel.proto.paths.gather import Gatherer, StunQuestion
from tunnel.proto.paths.stun_evidence import SeenMapping, StunEvidence, mapping_told
from tunnel.units import Instant
from tunnel.wire.frames import Candidate

START = Instant(10.0)
RETRY = Instant(10.3)
LATER = Instant(20.0)
HOME = "203.0.113.10"


def evidence_of(*answers: tuple[Instant, int, str, int]) -> StunEvidence:
    evidence = StunEvidence()
    evidence.asked(START, ("192.0.2.1", "192.0.2.2"))
    for asked_at, server, ip, port in answers:
        evidence.answered(asked_at, 0, server, ip, port)
    return evidence


@pytest.mark.parametrize(
    ("answers", "mapping"),
    [
        ([], SeenMapping.UNKNOWN),
        ([(START, 0, HOME, 5000)], SeenMapping.UNKNOWN),
        ([(START, 0, HOME, 5000), (START, 0, HOME, 5001)], SeenMapping.UNKNOWN),  # one server
        ([(START, 0, HOME, 5000), (START, 1, HOME, 5000)], SeenMapping.SHARED),
        ([(START, 0, HOME, 5000), (START, 1, HOME, 5001)], SeenMapping.BY_DESTINATION),
        ([(START, 0, HOME, 5000), (RETRY, 1, HOME, 5001)], SeenMapping.BY_DESTINATION),
        # The NAT was restarted between two rounds.
        ([(START, 0, HOME, 5000), (LATER, 1, HOME, 5001)], SeenMapping.UNKNOWN),
        # A server in our own network sees our own address.
        ([(START, 0, HOME, 5000), (START, 1, "10.0.0.2", 41000)], SeenMapping.UNKNOWN),
        ([(START, 0, "2001:db8::2", 5000), (START, 1, "2001:db8::2", 5001)], SeenMapping.UNKNOWN),
        (
            [(START, s, HOME, 5000 + s) for s in (0, 1)] + [(LATER, s, HOME, 7) for s in (0, 1)],
            SeenMapping.SHARED,
        ),
    ],
)
def test_answers_of_two_servers_at_one_time_tell_the_mapping(answers, mapping):
    assert evidence_of(*answers).mapping is mapping


def test_two_lanes_may_rightly_be_seen_at_two_ports():
    evidence = StunEvidence()
    for lane in (0, 1):
        for server in ("one", "other"):
            evidence.answered(START, lane, server, HOME, 5000 + lane)

    assert evidence.mapping is SeenMapping.SHARED


def test_silence_is_told_only_after_a_while_and_only_if_somebody_was_asked():
    assert not StunEvidence().is_silent(LATER)
    assert not evidence_of().is_silent(Instant(START + 1.0))
    assert evidence_of().is_silent(LATER)
    assert not evidence_of((START, 0, HOME, 5000)).is_silent(LATER)


@pytest.mark.parametrize(
    ("servers", "several"),
    [
        ((), False),
        (("192.0.2.1",), False),
        (("192.0.2.1", "2001:db8::1"), False),  # one host with both families
        (("192.0.2.1", "192.0.2.2"), True),
        (("2001:db8::1", "2001:db8::2"), True),
    ],
)
def test_one_host_is_not_several_servers(servers, several):
    evidence = StunEvidence()
    for server in servers:
        evidence.asked(START, (server,))

    assert evidence.asked_several is several


def test_the_gatherer_keeps_the_evidence_and_believes_only_what_it_asked():
    counter = iter(range(100))
    gatherer = Gatherer(START, lambda size: next(counter).to_bytes(size, "big"))
    questions = [StunQuestion(0, "203.0.113.1", port) for port in (1, 2)]
    requests = gatherer.requests_to_send(START, questions)

    gatherer.handle_response(0, b"never asked!", HOME, 1)
    assert not gatherer.evidence.has_answer
    for question, transaction in requests:
        gatherer.handle_response(0, transaction, HOME, 5000 + question.port)

    assert gatherer.evidence.mapping is SeenMapping.BY_DESTINATION


def test_an_answer_to_a_repeated_question_is_compared_with_the_others():
    counter = iter(range(100))
    gatherer = Gatherer(START, lambda size: next(counter).to_bytes(size, "big"))
    questions = [StunQuestion(0, "203.0.113.1", port) for port in (1, 2)]
    ((_, first), _) = gatherer.requests_to_send(START, questions)
    gatherer.handle_response(0, first, HOME, 5000)

    ((_, again),) = gatherer.requests_to_send(gatherer.next_timeout(), questions)
    gatherer.handle_response(0, again, HOME, 5000)

    assert gatherer.evidence.mapping is SeenMapping.SHARED


def test_lanes_that_are_seen_at_two_ports_are_not_compared_by_the_gatherer():
    counter = iter(range(100))
    gatherer = Gatherer(START, lambda size: next(counter).to_bytes(size, "big"))
    questions = [StunQuestion(lane, "203.0.113.1", 3478) for lane in (0, 2)]

    for question, transaction in gatherer.requests_to_send(START, questions):
        gatherer.handle_response(question.lane, transaction, HOME, 5000 + question.lane)

    assert gatherer.evidence.has_answer
    assert gatherer.evidence.mapping is SeenMapping.UNKNOWN


@pytest.mark.parametrize(
    ("told", "mapping"),
    [
        ([], SeenMapping.UNKNOWN),
        ([Candidate(CandidateKind.REFLEXIVE, HOME, 5000)], SeenMapping.UNKNOWN),
        ([Candidate(CandidateKind.REFLEXIVE, HOME, n) for n in (1, 2)], SeenMapping.BY_DESTINATION),
        (
            [
                Candidate(CandidateKind.REFLEXIVE, HOME, 1),
                Candidate(CandidateKind.MAPPED, HOME, 2),
                Candidate(CandidateKind.HOST, "10.0.0.2", 3),
            ],
            SeenMapping.UNKNOWN,
        ),
        (  # two sockets, each with a port of its own
            [
                *(Candidate(CandidateKind.REFLEXIVE, HOME, n) for n in (1, 2)),
                *(Candidate(CandidateKind.HOST, "10.0.0.2", n) for n in (3, 4)),
            ],
            SeenMapping.UNKNOWN,
        ),
    ],
)
def test_a_peer_that_is_seen_at_two_ports_of_one_address_is_behind_a_symmetric_nat(told, mapping):
    assert mapping_told(told) is mapping
