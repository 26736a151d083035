"""What `--verbose` says of paths, by what an endpoint knows."""

import gevent
import pytest

from derphole.rendezvous import path_words
from derphole.rendezvous.path_words import (
    MAX_PLACES_TOLD,
    PathWords,
    figures_sentence,
    is_worth_a_line,
    offers_text,
    reason_not_yet,
    router_sentence,
)
from tunnel.net.endpoint import (
    AddressLearned,
    Candidate,
    CandidateKind,
    DirectFigures,
    LinkOver,
    LinkTold,
    PathAnswered,
    PathChanged,
    PathFacts,
    PeerOffered,
    PortNews,
    SideEvidence,
)
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.portmap.mapping import MappingProtocol, PortMapping
from tunnel.values import replace

OURS = (
    Candidate(CandidateKind.MAPPED, "203.0.113.10", 41641),
    Candidate(CandidateKind.REFLEXIVE, "203.0.113.10", 4000),
    Candidate(CandidateKind.HOST, "10.0.1.2", 41641),
)
THEIRS = (Candidate(CandidateKind.HOST, "10.0.2.2", 5000), Candidate(77, "10.0.2.3", 5000))
PEER = UdpEndpoint(0, "10.0.2.2", 5000)
FIGURES = DirectFigures("10.0.2.2:5000", 1452, 2 << 20, 0.0201, 0.0123)


class Link:
    """A link as far as words look at one."""

    def __init__(self):
        self.direct_path = None
        self.end = None


class Endpoint:
    """What is known, for tests to set."""

    def __init__(self):
        self.offers = ((), ())
        self.figures = None
        self.facts = PathFacts(None, False, False, SideEvidence(), SideEvidence())

    def candidates(self, link):
        return self.offers

    def direct_figures(self, link):
        return self.figures

    def path_facts(self, link):
        return self.facts

    def fail(self, error):
        raise error


class Scene:
    def __init__(self, *, is_forced=False):
        self.said = []
        self.endpoint = Endpoint()
        self.words = PathWords(self.hear, self.endpoint, is_forced=is_forced)
        self.link = Link()

    def hear(self, status):
        self.said.append((status.topic, status.text))

    def heard(self, *events):
        """Return what is said of these events."""
        self.said.clear()
        for event in events:
            self.words.take(event)
        return list(self.said)


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.words.close()


def test_it_is_said_who_sees_us_where(scene):
    assert scene.heard(
        AddressLearned(0, "203.0.113.10", 4000, "203.0.113.1 port 3478"),
        AddressLearned(1, "2001:db8::9", 4000, ""),
    ) == [
        ("seen", "seen from outside as 203.0.113.10:4000 (by 203.0.113.1 port 3478)"),
        ("seen", "seen from outside as [2001:db8::9]:4000 (by the other side)"),
    ]


def test_it_is_said_what_the_router_gave_or_why_not():
    public = PortMapping(MappingProtocol.PCP, "5.5.5.10", 4001, 7200)
    nested = replace(public, external_ip="100.64.0.7")

    given = "the router forwards UDP port 5.5.5.10:4001 by PCP"
    assert router_sentence(PortNews(0, public)) == given
    assert router_sentence(PortNews(0, nested)).endswith(", which is behind another NAT")
    refused = PortNews(0, None, {"PCP": "no answer", "UPnP": "refused"})
    assert router_sentence(refused) == "the router forwards no port (PCP: no answer, UPnP: refused)"


def test_addresses_are_told_by_kind_and_only_if_one_is_new(scene):
    scene.words.begin(scene.link)
    assert scene.said == []
    scene.endpoint.offers = (OURS, THEIRS)

    first = scene.heard(LinkTold(scene.link, PeerOffered()))
    again = scene.heard(LinkTold(scene.link, PeerOffered()))

    assert first == [
        ("offered", f"this side can be reached at {offers_text(OURS)}"),
        ("offered", f"the other side can be reached at {offers_text(THEIRS)}"),
    ]
    assert offers_text(OURS) == (
        "1 forwarded by its router (203.0.113.10:41641); "
        "1 as seen from outside (203.0.113.10:4000); 1 of its interfaces (10.0.1.2:41641)"
    )
    assert offers_text(THEIRS).endswith("1 of another kind (10.0.2.3:5000)")
    assert again == []


def test_whoever_offers_other_addresses_all_the_time_does_not_fill_the_terminal(scene):
    scene.words.begin(scene.link)
    for port in range(1, 10 * MAX_PLACES_TOLD):
        scene.endpoint.offers = ((), (Candidate(CandidateKind.HOST, "10.0.2.2", port),))
        scene.words.take(LinkTold(scene.link, PeerOffered()))

    assert len(scene.said) == MAX_PLACES_TOLD


def test_the_first_answer_counts(scene):
    scene.words.begin(scene.link)
    answer = LinkTold(scene.link, PathAnswered(PEER, 0.0123))

    said = scene.heard(answer, answer)
    assert said == [("answered", "first probe answered: 10.0.2.2:5000 in 12.3 ms")]


def test_a_direct_path_is_described_when_it_is_taken_and_at_the_end(scene):
    scene.words.begin(scene.link)
    scene.endpoint.figures = FIGURES
    words = "10.0.2.2:5000, datagrams of up to 1452 bytes, 2.0MiB/s, round trip 20.1 ms, 1.2 % lost"

    assert figures_sentence(FIGURES) == words
    taken = scene.heard(LinkTold(scene.link, PathChanged(PEER)))
    assert taken == [("direct", f"direct path: {words}")]
    assert scene.heard(LinkOver(scene.link)) == [("direct", f"at the end: {words}")]
    assert scene.heard(LinkOver(scene.link), LinkTold(scene.link, PathChanged(PEER))) == []


@pytest.mark.parametrize(
    ("now", "is_worth"),
    [
        (FIGURES, False),
        (replace(FIGURES, rate=FIGURES.rate * 1.5, rtt_s=0.03, loss=0.02), False),
        (replace(FIGURES, datagram_size=1200), True),
        (replace(FIGURES, rate=FIGURES.rate * 3), True),
        (replace(FIGURES, rtt_s=0.1), True),
        (replace(FIGURES, loss=0.1), True),
        (replace(FIGURES, address="10.0.2.3:5000"), True),
    ],
)
def test_what_is_clearly_different_is_worth_a_line(now, is_worth):
    assert is_worth_a_line(FIGURES, now) is is_worth
    assert is_worth_a_line(replace(FIGURES, rate=None), FIGURES)


def await_said(scene, topic):
    with gevent.Timeout(5.0):
        while not [text for said, text in scene.said if said == topic]:
            gevent.sleep(0.005)
    return [text for said, text in scene.said if said == topic][0]


def test_while_there_is_no_direct_path_the_reason_is_told_again_and_again(scene, monkeypatch):
    monkeypatch.setattr(path_words, "LOOK_S", 0.02)
    scene.endpoint.offers = (OURS, THEIRS)
    scene.words.begin(scene.link)

    assert await_said(scene, "relayed") == (
        "no direct path after 0 s: none of its 2 addresses answers"
    )
    scene.link.direct_path, scene.endpoint.figures = PEER, FIGURES
    await_said(scene, "direct")
    scene.said.clear()
    scene.endpoint.figures = replace(FIGURES, rtt_s=0.5)
    assert "round trip 500.0 ms" in await_said(scene, "direct")


def test_the_reason_is_what_is_known():
    symmetric = "both NATs are symmetric according to the STUN answers"

    assert reason_not_yet(None, OURS, ()) == "the other side has not told where it may be reached"
    assert reason_not_yet(None, (), THEIRS) == "this machine has no address to be reached at"
    assert reason_not_yet(symmetric, OURS, THEIRS[:1]) == f"its address is silent; {symmetric}"
    in_time = "no direct path was found in time; the NAT of this side is symmetric"
    assert reason_not_yet(in_time, OURS, THEIRS[:1]) == (
        "its address is silent; the NAT of this side is symmetric"
    )


def test_who_keeps_to_the_relay_is_told_nothing():
    scene = Scene(is_forced=True)
    scene.endpoint.offers = (OURS, THEIRS)
    scene.words.begin(scene.link)

    assert scene.heard(LinkTold(scene.link, PeerOffered()), LinkOver(scene.link)) == []
