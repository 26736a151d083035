"""The library's front door: two endpoints in one process, over the embedded relay on loopback."""

import os
import subprocess
import sys
from pathlib import Path

import gevent
import pytest
from gevent.queue import Queue

from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.errors import MisuseError, PeerClosed, StreamReset
from tunnel.net.endpoint import (
    ClaimerEndpoint,
    EndpointOptions,
    IssuerEndpoint,
    LinkArrived,
    LinkOver,
    LinkTold,
    NotAdmitted,
    OneSecret,
    PathAnswered,
    PathChanged,
    RelayChanged,
    Relays,
    RelayState,
)
from tunnel.net.relay_client.regions import parse_relay_url
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer
from tunnel.proto.meeting.owner import ACCEPTED, NotHere, Refused

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 10.0
CODE = 40  # of an owner's own
NOT_TODAY = 9
NOISE, DERP, RELAY = (KeyPair.from_secret(bytes([number]) * 32) for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def _bounded():
    with gevent.Timeout(60):
        yield


@pytest.fixture
def server():
    relay = RelayServer(("127.0.0.1", 0), RELAY, None, None, RelayLimits(), "")
    relay.start()
    yield relay
    relay.stop()


@pytest.fixture
def relays(server):
    return Relays((parse_relay_url(f"http://127.0.0.1:{server.node.derp_port}?stun=off"),))


@pytest.fixture
def gate():
    return OneSecret(os.urandom(16))


def invitation(gate):
    return gate.invitation(NoiseKey(NOISE.public), DerpKey(DERP.public))


def read_all(stream):
    parts = []
    while chunks := stream.read():
        parts += chunks
    return b"".join(parts)


def kinds(events):
    return [type(event) for event in events]


def test_bytes_go_both_ways_and_what_happens_is_told_in_order(relays, gate):
    told = {"issuer": [], "claimer": []}
    payload = os.urandom(3_000_000)
    with (
        IssuerEndpoint(NOISE, DERP, gate, on_event=told["issuer"].append) as issuer,
        ClaimerEndpoint(on_event=told["claimer"].append) as claimer,
    ):
        issuer.open(relays)
        link = claimer.claim(invitation(gate), relays)
        there = issuer.accept_link()
        stream = link.open_stream()
        writer = gevent.spawn(lambda: (stream.write(payload), stream.end()))
        taken = there.accept_stream()
        received = read_all(taken)
        writer.get()
        taken.write(received[::-1])
        taken.end()
        assert received == payload
        assert read_all(stream) == payload[::-1]
        link.close(CODE, "that is all")
        assert issuer.wait(lambda: there.end, WAIT_S)
        assert isinstance(there.end, PeerClosed)
        assert (there.end.code, there.end.text) == (CODE, "that is all")
        assert issuer.links == []

    for events in told.values():
        order = [kind for kind in kinds(events) if kind in (RelayChanged, LinkArrived, LinkOver)]
        assert order.index(RelayChanged) < order.index(LinkArrived) < order.index(LinkOver)
        assert RelayState.CONNECTED in {
            e.relay.state for e in events if isinstance(e, RelayChanged)
        }
    (arrival,) = [event for event in told["issuer"] if isinstance(event, LinkArrived)]
    assert arrival.link is there
    assert len(arrival.instance) == 16


@pytest.mark.parametrize("is_relay_only", [True, False], ids=["relay", "direct"])
def test_datagrams_of_any_size_go_both_ways_beside_a_stream(relays, gate, is_relay_only):
    options = EndpointOptions(is_relay_only=is_relay_only, has_datagrams=True)
    sizes = [0, 1, 1200, 1472, 9000, 65507]
    sent = [os.urandom(size) for size in sizes]
    came, back = [], Queue()
    with (
        IssuerEndpoint(NOISE, DERP, gate, options=options) as issuer,
        ClaimerEndpoint(options=options) as claimer,
    ):
        issuer.open(relays)
        link = claimer.claim(invitation(gate), relays)
        there = issuer.accept_link()
        if not is_relay_only:
            assert claimer.wait(lambda: link.direct_path, WAIT_S)
        stream = link.open_stream()
        stream.write(b"hello")
        taken = there.accept_stream()
        taken.on_datagram = lambda data: (came.append(data), taken.send_datagram(data[::-1]))
        stream.on_datagram = back.put
        for data in sent:
            stream.send_datagram(data)
            assert back.get(timeout=WAIT_S) == data[::-1]

    assert came == sent


def test_datagrams_that_were_not_agreed_on_are_refused(relays, gate):
    with IssuerEndpoint(NOISE, DERP, gate) as issuer, ClaimerEndpoint() as claimer:
        issuer.open(relays)
        stream = claimer.claim(invitation(gate), relays).open_stream()
        with pytest.raises(MisuseError):
            stream.send_datagram(b"x")


def test_a_link_moves_to_a_direct_path_and_the_owner_is_told(relays, gate):
    told = []
    with (
        IssuerEndpoint(NOISE, DERP, gate) as issuer,
        ClaimerEndpoint(on_event=told.append) as claimer,
    ):
        issuer.open(relays)
        link = claimer.claim(invitation(gate), relays)
        issuer.accept_link()

        assert claimer.wait(lambda: link.direct_path, WAIT_S)
        facts = claimer.path_facts(link)

    news = [event.news for event in told if isinstance(event, LinkTold)]
    assert [each.endpoint for each in news if isinstance(each, PathChanged)][0] == facts.direct
    assert [each for each in news if isinstance(each, PathAnswered)]


def test_who_keeps_to_the_relay_keeps_both_there(relays, gate):
    options = EndpointOptions(is_relay_only=True)
    with IssuerEndpoint(NOISE, DERP, gate) as issuer, ClaimerEndpoint(options=options) as claimer:
        issuer.open(relays)
        link = claimer.claim(invitation(gate), relays)
        there = issuer.accept_link()
        stream = link.open_stream()
        stream.write(b"x" * 500_000)
        stream.end()
        assert len(read_all(there.accept_stream())) == 500_000

        assert claimer.path_facts(link).is_relay_only
        assert issuer.path_facts(there).is_relay_only
        assert link.promotions == there.promotions == 0
        assert claimer.relay_of(link).node.derp_port == relays.regions[0].nodes[0].derp_port


def test_who_lost_a_link_comes_back_as_the_same_process(relays, gate):
    arrivals = []
    with (
        IssuerEndpoint(NOISE, DERP, gate, on_event=arrivals.append) as issuer,
        ClaimerEndpoint() as claimer,
    ):
        issuer.open(relays)
        invited = invitation(gate)
        first = claimer.claim(invited, relays)
        issuer.accept_link()
        with pytest.raises(MisuseError):
            claimer.resume(invited.header, invited.secret)
        first.close(CODE, "back at once")

        second = claimer.resume(invited.header, invited.secret)
        there = issuer.accept_link()
        second.open_stream().reset(7)
        with pytest.raises(StreamReset):
            there.accept_stream().read()

    instances = [event.instance for event in arrivals if isinstance(event, LinkArrived)]
    assert len(instances) == 2
    assert len(set(instances)) == 1


class ClosedToday(OneSecret):
    def verdict(self, header, instance, wall):
        return NOT_TODAY


def test_a_refusal_is_raised_with_the_issuers_reason(relays):
    gate, told = ClosedToday(bytes(16)), []
    with (
        IssuerEndpoint(NOISE, DERP, gate) as issuer,
        ClaimerEndpoint(on_event=told.append) as claimer,
    ):
        issuer.open(relays)
        with pytest.raises(NotAdmitted) as caught:
            claimer.claim(invitation(gate), relays)

    assert caught.value.answer.verdict == NOT_TODAY
    assert Refused in kinds(told)


def test_nobody_waits_longer_than_the_owner_wants(relays, gate):
    told = []
    with ClaimerEndpoint(on_event=told.append) as claimer, pytest.raises(NotAdmitted) as caught:
        claimer.claim(invitation(gate), relays, lambda is_true: claimer.wait(is_true, 0.5))

    assert caught.value.answer is None
    assert NotHere in kinds(told)  # the relay says so, and the claim goes on


def test_a_stranger_with_another_secret_is_told_nothing(relays, gate):
    stranger = OneSecret(bytes(16))
    told = []
    with (
        IssuerEndpoint(NOISE, DERP, gate, on_event=told.append) as issuer,
        ClaimerEndpoint() as claimer,
    ):
        issuer.open(relays)
        with pytest.raises(NotAdmitted) as caught:
            claimer.claim(invitation(stranger), relays, lambda is_true: claimer.wait(is_true, 1.0))

    assert caught.value.answer is None
    assert set(kinds(told)) == {RelayChanged}


def test_a_failure_in_the_background_ends_every_wait(relays, gate):
    with IssuerEndpoint(NOISE, DERP, gate) as issuer:
        issuer.open(relays)
        noticed = []
        issuer.watch(lambda: noticed.append(issuer.failure))
        gevent.spawn_later(0.05, issuer.fail, ValueError("broken"))
        with pytest.raises(ValueError, match="broken"):
            issuer.accept_link()
        with pytest.raises(ValueError, match="broken"):
            issuer.wait(lambda: False, WAIT_S)

    assert [str(error) for error in noticed] == ["broken"]


def test_an_endpoint_is_opened_once(relays, gate):
    with IssuerEndpoint(NOISE, DERP, gate) as issuer:
        issuer.open(relays)
        with pytest.raises(MisuseError):
            issuer.open(relays)


def test_secrets_are_not_shown(gate):
    secret = b"0123456789abcdef"
    one = OneSecret(secret)

    assert secret.decode() not in f"{one!r} {invitation(one)!r} {vars(one).keys()}"
    assert one.verdict(bytes(64), None, 0) == ACCEPTED
    assert one.named(b"x" * 64, b"") is None


def test_the_example_moves_bytes_in_under_thirty_lines():
    example = ROOT / "docs" / "examples" / "library.py"

    done = subprocess.run(
        [sys.executable, str(example)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=WAIT_S * 3, check=True,
    )  # fmt: skip

    assert done.stdout == "hello\n"
    assert done.stderr == ""
    assert len(example.read_text().splitlines()) < 30
