"""What STUN answers tell of a network is told, and nothing beyond it."""

import pytest

from tunnel.proto.candidates import CandidateKind
from tunnel.proto.gather import Gatherer
from tunnel.proto.stun_evidence import Mapping, StunEvidence, mapping_told
from tunnel.units import Instant
from tunnel.wire.frames import Candidate

START = Instant(10.0)
RETRY = Instant(10.3)
LATER = Instant(20.0)
HOME = "203.0.113.10"


def evidence_of(*answers: tuple[Instant, int, str, int]) -> StunEvidence:
    evidence = StunEvidence()
    evidence.asked(START)
    for asked_at, server, ip, port in answers:
        evidence.answered(asked_at, 0, server, ip, port)
    return evidence


@pytest.mark.parametrize(
    ("answers", "mapping"),
    [
        ([], Mapping.UNKNOWN),
        ([(START, 0, HOME, 5000)], Mapping.UNKNOWN),
        ([(START, 0, HOME, 5000), (START, 0, HOME, 5001)], Mapping.UNKNOWN),  # one server
        ([(START, 0, HOME, 5000), (START, 1, HOME, 5000)], Mapping.SHARED),
        ([(START, 0, HOME, 5000), (START, 1, HOME, 5001)], Mapping.BY_DESTINATION),
        ([(START, 0, HOME, 5000), (RETRY, 1, HOME, 5001)], Mapping.BY_DESTINATION),
        # The NAT was restarted between two rounds.
        ([(START, 0, HOME, 5000), (LATER, 1, HOME, 5001)], Mapping.UNKNOWN),
        # A server in our own network sees our own address.
        ([(START, 0, HOME, 5000), (START, 1, "10.0.0.2", 41000)], Mapping.UNKNOWN),
        ([(START, 0, "2001:db8::2", 5000), (START, 1, "2001:db8::2", 5001)], Mapping.UNKNOWN),
        (
            [(START, s, HOME, 5000 + s) for s in (0, 1)] + [(LATER, s, HOME, 7) for s in (0, 1)],
            Mapping.SHARED,
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

    assert evidence.mapping is Mapping.SHARED


def test_silence_is_told_only_after_a_while_and_only_if_somebody_was_asked():
    assert not StunEvidence().is_silent(LATER)
    assert not evidence_of().is_silent(Instant(START + 1.0))
    assert evidence_of().is_silent(LATER)
    assert not evidence_of((START, 0, HOME, 5000)).is_silent(LATER)


def test_the_gatherer_keeps_the_evidence_and_believes_only_what_it_asked():
    counter = iter(range(100))
    gatherer = Gatherer(START, lambda size: next(counter).to_bytes(size, "big"))
    requests = gatherer.requests_to_send(START, servers=2)

    gatherer.handle_response(b"never asked!", HOME, 1)
    assert not gatherer.evidence.has_answer
    for server, transaction in requests:
        gatherer.handle_response(transaction, HOME, 5000 + server)

    assert gatherer.evidence.mapping is Mapping.BY_DESTINATION


@pytest.mark.parametrize(
    ("told", "mapping"),
    [
        ([], Mapping.UNKNOWN),
        ([Candidate(CandidateKind.REFLEXIVE, HOME, 5000)], Mapping.UNKNOWN),
        ([Candidate(CandidateKind.REFLEXIVE, HOME, n) for n in (1, 2)], Mapping.BY_DESTINATION),
        (
            [
                Candidate(CandidateKind.REFLEXIVE, HOME, 1),
                Candidate(CandidateKind.MAPPED, HOME, 2),
                Candidate(CandidateKind.HOST, "10.0.0.2", 3),
            ],
            Mapping.UNKNOWN,
        ),
        (  # two sockets, each with a port of its own
            [
                *(Candidate(CandidateKind.REFLEXIVE, HOME, n) for n in (1, 2)),
                *(Candidate(CandidateKind.HOST, "10.0.0.2", n) for n in (3, 4)),
            ],
            Mapping.UNKNOWN,
        ),
    ],
)
def test_a_peer_that_is_seen_at_two_ports_of_one_address_is_behind_a_symmetric_nat(told, mapping):
    assert mapping_told(told) is mapping
