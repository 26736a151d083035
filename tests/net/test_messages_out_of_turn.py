"""Every message in every stage of every conversation: what may not come ends it at once, in words.

One cell of the table in docs/protocol.md ("Turns") is one test.  The peer that speaks out of turn
is ours up to the word it says; the side under test is the product's.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from conversations import WAIT_S, Listening, Piping, ignore, relay_options
from gevent import socket
from gevent.event import Event
from xxhash import xxh3_128

from derphole.config import NetworkOptions
from derphole.errors import DerpholeError, Interrupted, PeerBrokeProtocol
from derphole.forwarding.endpoints import TcpEndpoint
from derphole.forwarding.opening import Opening
from derphole.forwarding.share import ShareOptions, share
from derphole.forwarding.statuses import ClientLeft, Departure
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.speech.control import Control
from derphole.speech.endings import Ending, ending_error
from derphole.speech.messages import Confirm, ConfirmAck, Fin, Resumption, Total, encode
from derphole.speech.turns import Stage
from derphole.status import Caution, Status, TokenIssued
from derphole.token.grant import Capability
from derphole.token.text import SessionToken, parse_token
from derphole.transfer_status import Receipt
from tunnel.errors import ClosedHere, PeerClosed
from tunnel.net.link import Link, Stream

pytestmark = pytest.mark.net

AT_ONCE_S = 3.0  # three times what it takes on a busy machine; the waits it must not wait are 10 s
DATA = b"what the sender sends"
DIGEST = xxh3_128(DATA).digest()
MESSAGES = {
    "fin": Fin(len(DATA), DIGEST),
    "confirm": Confirm(len(DATA), DIGEST),
    "confirm_ack": ConfirmAck(),
    "resumption": Resumption(bytes(16)),
    "total": Total(len(DATA)),
}
RAW = {name: encode(message) for name, message in MESSAGES.items()}
RAW["malformed"] = b"\x01\x04\x00abcd"
LATER = b"\x63\x05\x00later"  # a type of a later version
# Which messages may come in which stage; everything else is out of turn.
ALLOWED = {
    Stage.LISTEN_BEFORE_FIN: ("total", "fin"),
    Stage.LISTEN_AFTER_FIN: (),
    Stage.LISTEN_CONFIRMED: ("confirm_ack",),
    Stage.PIPE_BEFORE_FIN: (),
    Stage.PIPE_AFTER_FIN: ("confirm",),
    Stage.SHARE: (),
    Stage.OPEN_FIRST: ("resumption",),
    Stage.OPEN_LATER: (),
}


def out_of_turn(stage: Stage) -> list[str]:
    """Return what may not come in a stage; the end of all messages may come in none."""
    return [name for name in (*RAW, "end") if name not in ALLOWED[stage]]


def cells(*stages: Stage) -> pytest.MarkDecorator:
    table = [(stage, name) for stage in stages for name in out_of_turn(stage)]
    return pytest.mark.parametrize(
        ("stage", "name"), table, ids=[f"{stage.name.lower()}-{name}" for stage, name in table]
    )


@pytest.fixture(scope="module")
def options() -> Iterator[NetworkOptions]:
    with relay_options() as chosen:
        yield chosen


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with gevent.Timeout(40):
        yield


def say(stream: Stream, name: str) -> None:
    """Say a message, or end all messages; what a later version would say goes before it."""
    stream.write(LATER)
    if name == "end":
        stream.end()
    else:
        stream.write(RAW[name])


class Stopwatch:
    def __init__(self) -> None:
        self._started_at = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started_at


def assert_said(link: Link, name: str) -> None:
    """The side that spoke out of turn is told so, and a person there reads it."""
    end = link.wait_ended(WAIT_S)
    assert isinstance(end, PeerClosed)
    assert end.code == Ending.PROTOCOL_VIOLATION
    error = ending_error(end, "anything")
    assert error.code == "protocol"
    assert "this side broke the protocol" in str(error)
    assert word_for(name) in str(error)


def word_for(name: str) -> str:
    words = {"end": "its messages", "malformed": "cannot be read"}
    return words.get(name, name.upper().replace("_", "-"))


def assert_broken(error: object, name: str) -> None:
    assert isinstance(error, PeerBrokeProtocol), error
    assert error.code == "protocol"
    assert "the other side broke the protocol" in str(error)
    assert word_for(name) in str(error)


# --- listen ----------------------------------------------------------------------------------


@contextmanager
def sender(options: NetworkOptions, listening: Listening) -> Iterator[tuple[Link, Stream, Stream]]:
    """Claim as `pipe` does; yields the link, its control stream and its data stream."""
    token = listening.tokens.get(timeout=WAIT_S)
    with ClaimerRendezvous(options, ignore, token) as claimer:
        link = claimer.claim("the listener")
        yield link, link.open_stream(), link.open_stream()


def bring_to(stage: Stage, control: Stream, data: Stream) -> None:
    """Speak as `pipe` does up to a stage of the listener."""
    data.write(DATA)
    if stage is Stage.LISTEN_CONFIRMED:
        data.end()
    if stage is not Stage.LISTEN_BEFORE_FIN:
        control.write(RAW["fin"])
    if stage is Stage.LISTEN_CONFIRMED:
        assert isinstance(Control(control, Stage.PIPE_AFTER_FIN).receive(), Confirm)


@cells(Stage.LISTEN_BEFORE_FIN, Stage.LISTEN_AFTER_FIN)
def test_listen_ends_at_once(
    options: NetworkOptions, tmp_path: Path, stage: Stage, name: str
) -> None:
    listening = Listening(options, tmp_path / "out")
    with sender(options, listening) as (link, control, data):
        bring_to(stage, control, data)
        clock = Stopwatch()
        say(control, name)

        assert_broken(listening.greenlet.get(timeout=WAIT_S), name)
        assert clock.seconds < AT_ONCE_S
        assert_said(link, name)


@cells(Stage.LISTEN_CONFIRMED)
def test_listen_that_has_everything_waits_no_longer_and_has_succeeded(
    options: NetworkOptions, tmp_path: Path, stage: Stage, name: str
) -> None:
    listening = Listening(options, tmp_path / "out")
    with sender(options, listening) as (link, control, data):
        bring_to(stage, control, data)
        clock = Stopwatch()
        say(control, name)

        assert isinstance(listening.greenlet.get(timeout=WAIT_S), Receipt)
        assert clock.seconds < AT_ONCE_S
        assert_said(link, name)
    (warning,) = [each for each in listening.statuses if isinstance(each, Caution)]
    assert "all data was written and verified" in warning.text
    assert word_for(name) in warning.text
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_fin_that_tells_less_than_came_ends_listen_while_data_still_flows(
    options: NetworkOptions, tmp_path: Path
) -> None:
    listening = Listening(options, tmp_path / "out")
    with sender(options, listening) as (link, control, data):
        data.write(DATA)
        clock = Stopwatch()
        control.write(encode(Fin(1, DIGEST)))

        error = listening.greenlet.get(timeout=WAIT_S)
        assert isinstance(error, DerpholeError)
        assert error.code == "size-mismatch"
        assert clock.seconds < AT_ONCE_S
        assert isinstance(link.wait_ended(WAIT_S), PeerClosed)


def test_types_of_later_versions_change_nothing(options: NetworkOptions, tmp_path: Path) -> None:
    listening = Listening(options, tmp_path / "out")
    with sender(options, listening) as (_, control, data):
        control.write(LATER)
        data.write(DATA)
        data.end()
        say(control, "fin")
        assert isinstance(Control(control, Stage.PIPE_AFTER_FIN).receive(), Confirm)
        say(control, "confirm_ack")

        assert isinstance(listening.greenlet.get(timeout=WAIT_S), Receipt)
    assert not [each for each in listening.statuses if isinstance(each, Caution)]


# --- pipe ------------------------------------------------------------------------------------


@cells(Stage.PIPE_BEFORE_FIN, Stage.PIPE_AFTER_FIN)
def test_pipe_ends_at_once(options: NetworkOptions, stage: Stage, name: str) -> None:
    with IssuerRendezvous(options, ignore, Capability.LISTEN, None) as issuer:
        token = parse_token(issuer.issue())
        assert isinstance(token, SessionToken)
        piping = Piping(options, token)
        piping.feed(DATA)
        link = issuer.wait_link("the sender")
        control = link.accept_stream()
        if stage is Stage.PIPE_AFTER_FIN:
            piping.end()
            assert isinstance(Control(control, Stage.LISTEN_BEFORE_FIN).receive(), Fin)
        clock = Stopwatch()
        say(control, name)

        assert_broken(piping.greenlet.get(timeout=WAIT_S), name)
        assert clock.seconds < AT_ONCE_S
        assert_said(link, name)


# --- share -----------------------------------------------------------------------------------


class Told:
    """What `share` or `open` reports; can be awaited."""

    def __init__(self) -> None:
        self.statuses: list[Status] = []
        self._changed = Event()

    def __call__(self, status: Status) -> None:
        self.statuses.append(status)
        self._changed.set()

    def wait(self, is_wanted: Callable[[Status], bool]) -> Status:
        with gevent.Timeout(WAIT_S, AssertionError(f"not told: {self.statuses}")):
            while True:
                self._changed.clear()
                for status in self.statuses:
                    if is_wanted(status):
                        return status
                self._changed.wait()


@contextmanager
def shared(options: NetworkOptions) -> Iterator[tuple[SessionToken, Told]]:
    """Run `share` of a target that accepts; yields its token and what it tells."""
    told = Told()
    with socket.socket() as target:
        target.bind(("127.0.0.1", 0))
        target.listen(10)
        wanted = ShareOptions(TcpEndpoint("127.0.0.1", target.getsockname()[1]))

        def run() -> None:
            share(options, wanted, report=told)

        greenlet = gevent.spawn(run)
        try:
            issued = told.wait(lambda status: isinstance(status, TokenIssued))
            assert isinstance(issued, TokenIssued)
            token = parse_token(issued.text)
            assert isinstance(token, SessionToken)
            yield token, told
        finally:
            gevent.kill(greenlet)


@cells(Stage.SHARE)
def test_share_sends_the_client_away_at_once_and_serves_the_next(
    options: NetworkOptions, stage: Stage, name: str
) -> None:
    assert not ALLOWED[stage]
    with shared(options) as (token, told):
        with ClaimerRendezvous(options, ignore, token) as claimer:
            link = claimer.claim("the share")
            control = link.open_stream()
            control.write(LATER)
            assert isinstance(Control(control, Stage.OPEN_FIRST).receive(), Resumption)
            clock = Stopwatch()
            say(control, name)

            assert_said(link, name)
            assert clock.seconds < AT_ONCE_S
        left = told.wait(lambda status: isinstance(status, ClientLeft) and status.number == 1)
        assert isinstance(left, ClientLeft)
        assert left.departure is Departure.BROKE_PROTOCOL
        assert word_for(name) in (left.detail or "")
        with ClaimerRendezvous(options, ignore, token) as claimer:
            assert claimer.claim("the share").end is None


# --- open ------------------------------------------------------------------------------------


@cells(Stage.OPEN_FIRST, Stage.OPEN_LATER)
def test_open_ends_at_once(options: NetworkOptions, stage: Stage, name: str) -> None:
    with (
        IssuerRendezvous(options, ignore, Capability.SHARE, None) as issuer,
        socket.socket() as listener,
    ):
        token = parse_token(issuer.issue())
        assert isinstance(token, SessionToken)
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        command = Opening(options, token, listener, ignore)

        def run() -> DerpholeError | None:
            try:
                command.run()
            except (DerpholeError, Interrupted) as error:
                assert isinstance(error, DerpholeError)
                return error
            return None

        greenlet = gevent.spawn(run)
        link = issuer.wait_link("the client")
        control = link.accept_stream()
        if stage is Stage.OPEN_LATER:
            say(control, "resumption")
        clock = Stopwatch()
        say(control, name)

        assert_broken(greenlet.get(timeout=WAIT_S), name)
        assert clock.seconds < AT_ONCE_S
        assert_said(link, name)


def test_a_link_that_broke_the_rules_below_is_told_as_that_on_our_side_too() -> None:
    error = ending_error(ClosedHere(Ending.PROTOCOL_VIOLATION), "the sender")

    assert isinstance(error, PeerBrokeProtocol)
    assert "the other side broke the protocol" in str(error)
