"""What systems say of failed sends and reads, said to a real lane by a socket that is told to."""

import errno
import logging
import sys
from contextlib import closing
from types import SimpleNamespace

import gevent
import pytest
from gevent import socket

from tunnel.net.tasks import TaskGroup
from tunnel.net.udp import lane as lane_module
from tunnel.net.udp.failures import _LINUX, Failure, failure_of
from tunnel.net.udp.lane import BATCH, DONT_FRAGMENT, UdpLane
from tunnel.net.udp.segmentation import Offload

LIMIT_S = 5.0
PLAIN = Offload(segments=False, joins=False)
SYSTEMS = ("linux", "darwin", "win32")
# (of which system, the number, what it means); the names are those of the documents of the systems.
NUMBERS = [
    ("linux", 111, Failure.ANSWERED),  # ECONNREFUSED
    ("linux", 90, Failure.TOO_LARGE),  # EMSGSIZE
    ("linux", 11, Failure.FULL),  # EAGAIN
    ("linux", 105, Failure.FULL),  # ENOBUFS
    ("linux", 101, Failure.UNREACHABLE),  # ENETUNREACH
    ("linux", 113, Failure.UNREACHABLE),  # EHOSTUNREACH
    ("linux", 99, Failure.UNREACHABLE),  # EADDRNOTAVAIL
    ("linux", 1, Failure.REFUSED),  # EPERM
    ("darwin", 61, Failure.ANSWERED),
    ("darwin", 40, Failure.TOO_LARGE),
    ("darwin", 35, Failure.FULL),
    ("darwin", 55, Failure.FULL),
    ("darwin", 51, Failure.UNREACHABLE),
    ("darwin", 65, Failure.UNREACHABLE),
    ("darwin", 49, Failure.UNREACHABLE),
    ("darwin", 13, Failure.REFUSED),
    ("win32", 10054, Failure.ANSWERED),  # WSAECONNRESET
    ("win32", 10052, Failure.ANSWERED),  # WSAENETRESET
    ("win32", 10040, Failure.TOO_LARGE),  # WSAEMSGSIZE
    ("win32", 10035, Failure.FULL),  # WSAEWOULDBLOCK
    ("win32", 10055, Failure.FULL),  # WSAENOBUFS
    ("win32", 10051, Failure.UNREACHABLE),  # WSAENETUNREACH
    ("win32", 10065, Failure.UNREACHABLE),  # WSAEHOSTUNREACH
    ("win32", 10049, Failure.UNREACHABLE),  # WSAEADDRNOTAVAIL
    ("win32", 13, Failure.REFUSED),  # WSAEACCES, as Python translates it
]
UNFORESEEN = [("linux", errno.EBADF), ("darwin", 22), ("win32", 10038)]


class ToldSocket(socket._socket.socket):
    """A UDP socket whose next calls fail as it was told; afterwards they succeed."""

    def __init__(self, *args):
        super().__init__(*args)
        self.failures = []
        self.options = []

    def __getattribute__(self, name):
        if sys.platform == "win32" and name in ("recvmsg", "recvmsg_into", "sendmsg"):
            raise AttributeError(name)
        return super().__getattribute__(name)

    def setsockopt(self, level, option, value):
        self.options.append((level, option, value))
        if option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            super().setsockopt(level, option, value)

    def sendto(self, data, to):
        self._fail()
        return super().sendto(data, to)

    def recvmsg_into(self, buffers, control_size):
        self._fail()
        return super().recvmsg_into(buffers, control_size)

    def recvfrom_into(self, buffer):
        self._fail()
        return super().recvfrom_into(buffer)

    def _fail(self):
        if self.failures:
            raise OSError(self.failures.pop(0), "as told")


class Collector:
    def __init__(self):
        self.datagrams = []

    def lane_datagrams(self, lane, ip, port, burst):
        self.datagrams += [bytes(datagram) for datagram in burst.datagrams()]

    def lane_read_done(self, lane):
        pass


@pytest.fixture
def lane_on(monkeypatch):
    """Return a function that opens a lane as on a system, its socket told what to say."""
    opened = []
    module = SimpleNamespace(**{name: getattr(socket, name) for name in dir(socket)})
    module._socket = SimpleNamespace(socket=ToldSocket)

    def open_lane(system, is_ipv6=False):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(lane_module, "socket", module)
        lane = UdpLane(0, is_ipv6, Collector(), bursts=PLAIN)
        opened.append(lane)
        return lane

    yield open_lane
    for lane in opened:
        lane.close()


def send_to(lane, *datagrams):
    """Have what is sent wait in the lane's socket."""
    with closing(socket._socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, ("127.0.0.1", lane.port))


def await_datagrams(lane, count):
    with gevent.Timeout(LIMIT_S):
        while len(lane._observer.datagrams) < count:
            gevent.sleep(0.001)
    return lane._observer.datagrams


@pytest.mark.parametrize(("system", "number", "meaning"), NUMBERS)
def test_a_number_means_what_its_system_means_by_it(system, number, meaning):
    assert failure_of(OSError(number, "as told"), system) is meaning


@pytest.mark.parametrize(("system", "number"), UNFORESEEN)
def test_a_number_that_nobody_foresaw_is_unknown(system, number):
    assert failure_of(OSError(number, "as told"), system) is Failure.UNKNOWN


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the numbers are those of Linux")
def test_the_numbers_of_linux_are_what_this_system_calls_them():
    names = {
        Failure.ANSWERED: "EPROTO ENOPROTOOPT EOPNOTSUPP ECONNRESET ECONNREFUSED",
        Failure.TOO_LARGE: "EMSGSIZE",
        Failure.FULL: "EAGAIN ENOMEM ENOBUFS",
        Failure.UNREACHABLE: "ENXIO ENODEV EINVAL ENONET EAFNOSUPPORT EADDRNOTAVAIL ENETDOWN"
        " ENETUNREACH EHOSTDOWN EHOSTUNREACH",
        Failure.REFUSED: "EPERM EACCES",
    }
    named = {each: tuple(getattr(errno, name) for name in names[each].split()) for each in names}
    assert named == _LINUX


@pytest.mark.parametrize(("system", "number", "meaning"), NUMBERS)
def test_a_datagram_that_is_not_sent_is_lost_and_said_once(
    lane_on, caplog, system, number, meaning
):
    caplog.set_level(logging.DEBUG, lane_module.__name__)
    lane = lane_on(system)
    lane._socket.failures = [number] * 2

    for datagram in (b"lost", b"lost too", b"sent"):
        lane.send("127.0.0.1", lane.port, datagram)

    assert lane.dropped == 2
    assert [meaning.value in record.getMessage() for record in caplog.records] == [True]
    with TaskGroup("lane") as tasks:
        lane.start(tasks)
        assert await_datagrams(lane, 1) == [b"sent"]
        tasks.kill()


@pytest.mark.parametrize(("system", "number"), UNFORESEEN)
def test_a_send_that_fails_for_an_unusual_reason_is_a_loss_too(lane_on, system, number):
    lane = lane_on(system)
    lane._socket.failures = [number]

    lane.send("127.0.0.1", lane.port, b"lost")

    assert lane.dropped == 1


def test_what_was_said_is_said_again_on_another_network(lane_on, caplog):
    caplog.set_level(logging.DEBUG, lane_module.__name__)
    lane = lane_on("darwin")
    lane._socket.failures = [55, 51, 55]

    lane.send("127.0.0.1", lane.port, b"lost")
    lane.send("127.0.0.1", lane.port, b"lost")
    lane.network_changed()
    lane.send("127.0.0.1", lane.port, b"lost")

    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("system", "number", "meaning"),
    [each for each in NUMBERS if each[2] in (Failure.ANSWERED, Failure.TOO_LARGE)],
)
def test_what_waits_behind_an_answer_to_an_earlier_datagram_is_read_at_once(
    lane_on, system, number, meaning
):
    lane = lane_on(system)
    send_to(lane, b"first", b"second")
    lane._socket.failures = [number] * 3

    more = lane._read_batch(lane_module.ReceivedBurst())

    assert lane._observer.datagrams == [b"first", b"second"]
    assert not more


@pytest.mark.parametrize(("system", "number"), [("linux", 111), ("darwin", 61), ("win32", 10054)])
def test_endless_answers_let_other_greenlets_run(lane_on, system, number):
    lane = lane_on(system)
    lane._socket.failures = [number] * (2 * BATCH)

    assert lane._read_batch(lane_module.ReceivedBurst())
    assert len(lane._socket.failures) == BATCH


@pytest.mark.parametrize(
    ("system", "number"),
    [each[:2] for each in NUMBERS if each[2] not in (Failure.ANSWERED, Failure.TOO_LARGE)]
    + UNFORESEEN,
)
def test_a_read_that_brings_nothing_now_is_tried_when_something_came(lane_on, system, number):
    lane = lane_on(system)
    lane._socket.failures = [number]
    send_to(lane, b"waits")

    assert not lane._read_batch(lane_module.ReceivedBurst())
    assert lane._observer.datagrams == []

    with TaskGroup("lane") as tasks:
        lane.start(tasks)
        assert await_datagrams(lane, 1) == [b"waits"]
        tasks.kill()


@pytest.mark.parametrize("is_ipv6", [False, True])
@pytest.mark.parametrize("system", [*SYSTEMS, "freebsd14"])
def test_datagrams_are_never_cut_and_no_option_means_something_else(lane_on, system, is_ipv6):
    lane = lane_on(system, is_ipv6)

    level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
    options = {option: value for at, option, value in lane._socket.options if at == level}
    if is_ipv6:
        assert options.pop(socket.IPV6_V6ONLY) == 1
    wanted = {
        "linux": {23: 3} if is_ipv6 else {10: 3},
        "darwin": {62: 1} if is_ipv6 else {28: 1},
        "win32": {14: 1},
    }
    assert options == wanted.get(system, {})
    assert set(DONT_FRAGMENT) == set(wanted)
