"""Look-ups of names: slow ones are waited for once, by everybody, and never thrown away."""

import threading
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket

from tunnel.errors import HostUnreachable, RelayLate
from tunnel.net import names
from tunnel.net.names import look_up
from tunnel.net.relay_client.dial import Dialling, DialOptions, DialStep
from tunnel.net.sockets import resolve
from tunnel.proto.relay_client.patience import DialLimits
from tunnel.wire.derpmap import RelayNode

pytestmark = pytest.mark.net

WAIT_S = 10.0
HERE = "192.0.2.7"


class SlowResolver:
    """Stands in for the system's resolver: answers a question when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: OSError | None = None
        self.may_answer = threading.Event()

    def getaddrinfo(
        self, host: str, port: None, family: int, kind: int
    ) -> list[tuple[object, ...]]:
        self.asked += 1
        assert self.may_answer.wait(WAIT_S)
        if self.failure is not None:
            raise self.failure
        return [(socket.AF_INET, kind, 6, "", (HERE, 0))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowResolver]:
    resolver = SlowResolver()
    monkeypatch.setattr(names.system, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.may_answer.set()


@pytest.fixture
def every_answer_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SLOW_S", 0.0)


def name(of: Callable[..., object]) -> str:
    """Return a host name that no other test asks for."""
    return f"{of.__name__.replace('_', '-')}.test"[-60:].lstrip("-")


def await_asked(resolver: SlowResolver, count: int) -> None:
    with gevent.Timeout(WAIT_S):
        while resolver.asked < count:
            gevent.sleep(0.005)


def test_who_asks_while_a_look_up_is_under_way_gets_its_answer(resolver):
    host = name(test_who_asks_while_a_look_up_is_under_way_gets_its_answer)
    askers = [gevent.spawn(look_up, host, socket.AF_UNSPEC) for _ in range(5)]
    await_asked(resolver, 1)
    resolver.may_answer.set()

    gevent.joinall(askers, timeout=WAIT_S, raise_error=True)

    assert [each.value for each in askers] == [[(socket.AF_INET, HERE)]] * 5
    assert resolver.asked == 1


def test_an_attempt_that_was_cut_off_leaves_its_look_up_to_the_next_one(
    resolver, every_answer_is_slow
):
    host = name(test_an_attempt_that_was_cut_off_leaves_its_look_up_to_the_next_one)
    node, limits = RelayNode("x", 900, host), DialLimits(node_s=0.05)
    steps: list[DialStep] = []
    for _ in range(3):
        with pytest.raises(RelayLate) as late:
            Dialling(node, DialOptions(), limits, steps.append).relay()
        assert str(late.value) == "cannot be reached: its name was not looked up within 0.05 s"
    resolver.may_answer.set()

    assert resolve(host, "", "") == [(socket.AF_INET, HERE)]
    assert resolver.asked == 1
    assert steps == [DialStep.NAME] * 3


def test_a_costly_answer_that_nobody_waited_for_is_there_for_the_next(
    resolver, every_answer_is_slow
):
    host = name(test_a_costly_answer_that_nobody_waited_for_is_there_for_the_next)
    with gevent.Timeout(0.05, False):
        look_up(host, socket.AF_UNSPEC)
    resolver.may_answer.set()
    assert look_up(host, socket.AF_UNSPEC) == [(socket.AF_INET, HERE)]
    resolver.may_answer.clear()

    with gevent.Timeout(WAIT_S):
        assert look_up(host, socket.AF_UNSPEC) == [(socket.AF_INET, HERE)]
    assert resolver.asked == 1


def test_a_quick_answer_is_asked_for_anew(resolver):
    host = name(test_a_quick_answer_is_asked_for_anew)
    resolver.may_answer.set()

    look_up(host, socket.AF_UNSPEC)
    look_up(host, socket.AF_UNSPEC)

    assert resolver.asked == 2


def test_a_failure_is_told_and_not_kept(resolver, every_answer_is_slow):
    host = name(test_a_failure_is_told_and_not_kept)
    resolver.failure = socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
    resolver.may_answer.set()
    with pytest.raises(HostUnreachable, match="no name server answers"):
        look_up(host, socket.AF_UNSPEC)
    resolver.failure = None

    assert look_up(host, socket.AF_UNSPEC) == [(socket.AF_INET, HERE)]


def test_name_servers_that_came_meanwhile_answer_beside_a_look_up_that_hangs(monkeypatch):
    monkeypatch.setattr(names, "AGAIN_S", 0.05)
    hangs = threading.Event()
    asked = []

    def first_hangs(host, port, family, kind):
        asked.append(host)
        if len(asked) == 1:
            hangs.wait(WAIT_S)
        return [(socket.AF_INET, kind, 6, "", (HERE, 0))]

    monkeypatch.setattr(names.system, "getaddrinfo", first_hangs)
    host = name(test_name_servers_that_came_meanwhile_answer_beside_a_look_up_that_hangs)
    try:
        with gevent.Timeout(WAIT_S / 2):
            assert look_up(host, socket.AF_UNSPEC) == [(socket.AF_INET, HERE)]
    finally:
        hangs.set()
