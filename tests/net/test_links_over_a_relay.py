"""Rendezvous, pump, Link and Stream in one process, over the embedded relay on loopback."""

import os
from contextlib import contextmanager

import gevent
import pytest
from gevent.event import Event

from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import ClaimRefused, TimedOut, TokenExpired, TokenUnclaimed
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.status import PathTaken, Waiting
from derphole.token.grant import Capability
from derphole.token.text import parse_token
from tunnel.crypto.keys import KeyPair
from tunnel.errors import ClosedHere, MisuseError, PeerClosed, StreamReset
from tunnel.net.clock import wall
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer
from tunnel.units import MIB

WAIT_S = 10.0


@pytest.fixture
def server():
    keys = KeyPair.from_secret(b"\x23" * 32)
    relay = RelayServer(("127.0.0.1", 0), keys, None, None, RelayLimits(), "")
    relay.start()
    yield relay
    relay.stop()


@pytest.fixture
def options(server):
    address = RelayAddress("127.0.0.1", server.node.derp_port, tls=False)
    return NetworkOptions(relay=address, timeout_s=WAIT_S)


@pytest.fixture(autouse=True)
def _bounded():
    with gevent.Timeout(40):
        yield


def ignore(status):
    del status


@contextmanager
def issuing(options, report=ignore, expires_at=None):
    with IssuerRendezvous(options, report, Capability.LISTEN, expires_at) as issuer:
        yield issuer, issuer.issue()


def claiming(options, token, report=ignore):
    return ClaimerRendezvous(options, report, parse_token(token))


@contextmanager
def met(options, report_of_issuer=ignore):
    """Yield both sides and their links, the issuer's first."""
    with (
        issuing(options, report_of_issuer) as (issuer, token),
        claiming(options, token) as claimer,
    ):
        theirs = claimer.claim("the other side")
        ours = issuer.wait_link("the other side")
        yield issuer, claimer, ours, theirs


@contextmanager
def linked(options):
    """Yield the links of both sides, the issuer's first."""
    with met(options) as (_, _, ours, theirs):
        yield ours, theirs


def read_to_end(stream):
    data = bytearray()
    while chunks := stream.read():
        for chunk in chunks:
            data += chunk
    return bytes(data)


def test_bytes_go_both_ways_and_both_ends_are_clean(options):
    up, down = os.urandom(3 * MIB), os.urandom(2 * MIB)
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        stream.write(up)
        stream.end()
        accepted = issuer.accept_stream()
        writer = gevent.spawn(lambda: (accepted.write(down), accepted.end()))

        assert read_to_end(accepted) == up
        assert read_to_end(stream) == down
        writer.get(timeout=WAIT_S)
        assert stream.wait_acknowledged(WAIT_S)
        assert accepted.wait_acknowledged(WAIT_S)
        assert stream._sending.buffered == 0


def test_an_empty_stream_s_end_is_acknowledged_too(options):
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        stream.end()

        assert not stream.wait_acknowledged(0.0)
        assert stream.wait_acknowledged(WAIT_S)
        assert issuer.accept_stream().read() == []


def test_an_acknowledgement_is_not_awaited_for_longer_than_asked(options, server):
    with linked(options) as (_, claimer):
        server.stop()
        stream = claimer.open_stream()
        stream.write(b"nobody takes this")

        assert not stream.wait_acknowledged(0.05)
        assert stream._sending.buffered == 17


def test_a_writer_waits_while_too_much_is_buffered_and_goes_on_when_it_is_read(options):
    size = 24 * MIB
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        accepted = None

        def write():
            for _ in range(size // MIB):
                stream.write(bytes(MIB))
            stream.end()

        writer = gevent.spawn(write)
        accepted = issuer.accept_stream()
        writer.join(timeout=0.3)
        assert not writer.dead
        assert stream._sending.buffered <= 9 * MIB

        assert len(read_to_end(accepted)) == size
        writer.get(timeout=WAIT_S)


def test_a_stopped_writer_fails_with_the_reader_s_code(options):
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        stream.write(b"x")
        issuer.accept_stream().stop(18)

        with pytest.raises(StreamReset) as caught:
            while True:
                stream.write(bytes(MIB))
        assert caught.value.code == 18
        with pytest.raises(StreamReset):
            stream.wait_acknowledged(WAIT_S)
        stream.reset(1)
        stream.stop(1)
        stream.end()


def test_a_reset_reaches_the_reader_as_an_error(options):
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        stream.write(b"x")
        accepted = issuer.accept_stream()
        stream.reset(7)

        with pytest.raises(StreamReset) as caught:
            while accepted.read():
                pass
        assert caught.value.code == 7


def test_writing_behind_the_end_is_a_mistake_of_the_caller(options):
    with linked(options) as (_, claimer):
        stream = claimer.open_stream()
        stream.end()

        with pytest.raises(MisuseError):
            stream.write(b"x")


def test_a_close_ends_every_wait_on_both_sides(options):
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        stream.write(b"x")
        accepted = issuer.accept_stream()
        assert accepted.read() == [b"x"]
        waits = [
            gevent.spawn(accepted.read),
            gevent.spawn(issuer.accept_stream),
            gevent.spawn(stream.read),
            gevent.spawn(claimer.accept_stream),
        ]
        gevent.sleep(0)

        claimer.close(19, "the disk is full")
        gevent.joinall(waits, timeout=WAIT_S)

        assert [type(wait.exception) for wait in waits[:2]] == [PeerClosed, PeerClosed]
        assert [type(wait.exception) for wait in waits[2:]] == [ClosedHere, ClosedHere]
        end = issuer.wait_ended(WAIT_S)
        assert (end.code, end.text) == (19, "the disk is full")
        for call in (issuer.open_stream, lambda: accepted.write(b"y")):
            with pytest.raises(PeerClosed):
                call()


def test_waiting_for_the_end_of_a_live_link_is_bounded(options):
    with linked(options) as (issuer, _):
        assert issuer.wait_ended(0.01) is None


def test_a_hundred_streams_run_at_once(options):
    with linked(options) as (issuer, claimer):

        def echo():
            while True:
                accepted = issuer.accept_stream()
                gevent.spawn(lambda s: (s.write(read_to_end(s)), s.end()), accepted)

        echoing = gevent.spawn(echo)

        def ask(i):
            stream = claimer.open_stream()
            stream.write(bytes([i]) * (1000 * i))
            stream.end()
            return read_to_end(stream)

        asked = [gevent.spawn(ask, i) for i in range(100)]
        gevent.joinall(asked, timeout=30, raise_error=True)
        echoing.kill()

        assert [wait.value for wait in asked] == [bytes([i]) * (1000 * i) for i in range(100)]


def test_a_transfer_survives_a_restart_of_its_relay(options, server):
    data = os.urandom(24 * MIB)
    with linked(options) as (issuer, claimer):
        stream = claimer.open_stream()
        writer = gevent.spawn(lambda: (stream.write(data), stream.end()))
        accepted = issuer.accept_stream()
        out = bytearray()
        while len(out) < 4 * MIB:
            for chunk in accepted.read():
                out += chunk
        port = server.node.derp_port
        server.stop()
        keys = KeyPair.from_secret(b"\x23" * 32)
        again = RelayServer(("127.0.0.1", port), keys, None, None, RelayLimits(), "")
        again.start()
        try:
            out += read_to_end(accepted)
            writer.get(timeout=WAIT_S)
        finally:
            again.stop()

    assert out == data


def test_nobody_waits_in_silence_and_no_longer_than_asked(options):
    told = []
    brief = NetworkOptions(relay=options.relay, timeout_s=2.5)
    with issuing(brief, told.append) as (issuer, _), pytest.raises(TimedOut, match="the sender"):
        issuer.wait_link("the sender")

    assert [status.what for status in told if isinstance(status, Waiting)] == ["the sender"]


def test_a_token_that_nobody_used_in_its_time_ends_the_wait(options):
    with (
        issuing(options, expires_at=wall() + 1.2) as (issuer, _),
        pytest.raises(TokenUnclaimed),
    ):
        issuer.wait_link("the sender")


def test_an_expired_token_is_refused_with_both_clocks(options):
    with issuing(options, expires_at=wall() + 1.0) as (issuer, token):
        with gevent.Timeout(WAIT_S):
            while wall() < issuer._expires_at + 0.05:
                gevent.sleep(0.01)
        with claiming(options, token) as claimer, pytest.raises(TokenExpired, match="the issuer's"):
            claimer.claim("the listener")


def test_a_used_token_is_refused(options):
    from derphole.token.admission import Refusal

    with issuing(options) as (issuer, token), claiming(options, token) as claimer:
        issuer.gate.refusal = Refusal.USED_UP
        with pytest.raises(ClaimRefused, match="used already"):
            claimer.claim("the listener")


def test_a_claimer_comes_back_after_expiry_with_what_the_issuer_handed_out(options):
    with (
        issuing(options, expires_at=wall() + 3.0) as (issuer, token),
        claiming(options, token) as claimer,
    ):
        lost = claimer.claim("the other side")
        held = issuer.wait_link("the other side")
        secret = issuer.resumption_secret(held)
        while wall() < issuer._expires_at + 0.05:
            gevent.sleep(0.01)

        lost.close(25, "reconnecting")
        link = claimer.resume(secret, "the other side to come back", WAIT_S)
        assert held.wait_ended(WAIT_S).code == 25
        again = issuer.wait_link("the other side")

        assert issuer.resumption_secret(again) == secret
        stream = link.open_stream()
        stream.write(b"here again")
        stream.end()
        assert read_to_end(again.accept_stream()) == b"here again"


def test_the_bare_token_brings_nobody_back_after_expiry(options):
    with (
        issuing(options, expires_at=wall() + 3.0) as (issuer, token),
        claiming(options, token) as claimer,
    ):
        claimer.claim("the other side").close(25, "reconnecting")
        while wall() < issuer._expires_at + 0.05:
            gevent.sleep(0.01)

        with pytest.raises(TokenExpired):
            claimer.resume(None, "the other side to come back", WAIT_S)


def test_coming_back_to_an_issuer_that_left_is_bounded(options):
    with issuing(options) as (issuer, token), claiming(options, token) as claimer:
        link = claimer.claim("the other side")
        secret = issuer.resumption_secret(issuer.wait_link("the other side"))
        issuer.close()
        link.close(25, "reconnecting")

        with pytest.raises(TimedOut, match="to come back"):
            claimer.resume(secret, "the other side to come back", 1.0)


def test_the_path_is_told_in_words(options):
    with issuing(options) as (issuer, token), claiming(options, token) as claimer:
        theirs = claimer.claim("the other side")
        issuer.wait_link("the other side")

        assert "127.0.0.1" in claimer.path_description(theirs)
        assert claimer.reason_relayed(theirs)


def test_the_other_side_is_told_at_once_when_our_pump_has_failed(options):
    def fail_when_direct(status):
        if isinstance(status, PathTaken) and status.is_direct:
            raise RuntimeError("a defect of ours")

    failed = Event()
    with met(options, fail_when_direct) as (issuer, claimer, ours, theirs):
        issuer.watch(failed.set)
        issuer.report_path(ours)
        claimer.report_path(theirs)
        assert failed.wait(WAIT_S)
        assert isinstance(issuer.failure, RuntimeError)
        issuer.__exit__(RuntimeError, issuer.failure, None)

        assert isinstance(theirs.wait_ended(3 * 1.0), PeerClosed)
