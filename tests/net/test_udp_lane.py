"""UDP lanes and the check of bursts, on real sockets: every datagram arrives as it was sent."""

import errno
import logging
import sys
from contextlib import closing, contextmanager

import gevent
import pytest
from gevent import socket
from support.processes import record_figure

from tunnel.net.clock import monotonic
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp import segmentation
from tunnel.net.udp.lane import BUFFER_SIZE, UdpLane
from tunnel.net.udp.segmentation import (
    MAX_LOOKS,
    REST_S,
    BurstGate,
    Offload,
    OffloadCheck,
    offload,
)

LIMIT_S = 5.0
LINUX = offload() == Offload(segments=True, joins=True)
needs_offload = pytest.mark.skipif(not LINUX, reason="this kernel cuts and joins no datagrams")


class Collector:
    """Keeps what a lane delivers, and in how many bursts."""

    def __init__(self):
        self.datagrams = []
        self.bursts = 0
        self.datagrams_by_port = {}

    def lane_datagrams(self, lane, ip, port, burst):
        self.bursts += 1
        datagrams = [bytes(datagram) for datagram in burst.datagrams()]
        self.datagrams += datagrams
        self.datagrams_by_port.setdefault(port, []).extend(datagrams)

    def lane_read_done(self, lane):
        pass


@pytest.fixture
def lanes(request):
    """A pair of lanes (sender, receiver) of one family, and what the receiver gets."""
    is_ipv6, sends, joins = request.param
    collector = Collector()
    bursts = Offload(sends, joins)
    sender = UdpLane(0, is_ipv6, Collector(), bursts=bursts)
    receiver = UdpLane(1, is_ipv6, collector, bursts=bursts)
    with TaskGroup("lanes") as tasks:
        receiver.start(tasks)
        yield sender, receiver, collector
        tasks.kill()
    sender.close()
    receiver.close()


def home(lane):
    return "::1" if lane.is_ipv6 else "127.0.0.1"


def await_datagrams(collector, count):
    with gevent.Timeout(LIMIT_S):
        while len(collector.datagrams) < count:
            gevent.sleep(0.001)


@contextmanager
def one_read():
    """Yield a port and what one read there brings: a whole burst if it left in one call."""
    with closing(segmentation._plain(socket.AF_INET)) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(segmentation.SOL_UDP, segmentation.UDP_GRO, 1)
        yield receiver.getsockname()[1], lambda: len(receiver.recv(65_536))


COMBINATIONS = [
    (is_ipv6, sends, joins)
    for is_ipv6 in (False, True)
    for sends in (False, True)
    for joins in (False, True)
    if LINUX or not (sends or joins)
]


@pytest.mark.parametrize("lanes", COMBINATIONS, indirect=True)
@pytest.mark.parametrize(("size", "count"), [(1200, 45), (1472, 43), (8864, 7), (32_000, 2)])
def test_a_burst_arrives_datagram_by_datagram_with_any_offload(lanes, size, count):
    sender, receiver, collector = lanes
    sent = [bytes([number]) * size for number in range(count)]

    sender.send(home(sender), receiver.port, b"".join(sent), size)
    await_datagrams(collector, count)

    assert collector.datagrams == sent
    assert sender.dropped == 0


@needs_offload
@pytest.mark.parametrize("lanes", [(False, True, True)], indirect=True)
def test_a_burst_that_is_too_large_for_the_interface_is_lost_and_the_next_leaves_as_one(lanes):
    sender, receiver, collector = lanes
    sender.send("127.0.0.1", receiver.port, bytes(2 * 65_520), 65_520)
    assert sender.dropped == 2

    with one_read() as (port, read):
        sender.send("127.0.0.1", port, bytes(20 * 1200), 1200)
        assert read() == 20 * 1200


@needs_offload
@pytest.mark.parametrize("lanes", [(False, True, True)], indirect=True)
def test_a_burst_that_the_network_refuses_just_now_says_nothing_about_the_next(lanes):
    sender, receiver, collector = lanes
    # No socket may send there unasked: EACCES, one of the errors that are none of the interface's.
    sender.send("255.255.255.255", receiver.port, bytes(20 * 1200), 1200)
    assert sender.dropped == 20

    with one_read() as (port, read):
        sender.send("127.0.0.1", port, bytes(20 * 1200), 1200)
        assert read() == 20 * 1200


@pytest.mark.parametrize("lanes", [(False, False, False), (True, False, False)], indirect=True)
def test_datagrams_that_nobody_joined_on_the_way_are_handed_over_as_bursts(lanes):
    sender, receiver, collector = lanes
    sent = [bytes([number]) * (1400 if number < 89 else 1100) for number in range(90)]
    for number, datagram in enumerate(sent):
        sent[number] = b"\x81" + datagram[1:]

    for datagram in sent:
        sender.send(home(sender), receiver.port, datagram)
    await_datagrams(collector, 90)

    assert collector.datagrams == sent
    assert collector.bursts <= 4


@pytest.mark.parametrize("lanes", [(False, False, False)], indirect=True)
def test_datagrams_of_two_senders_are_never_joined(lanes):
    sender, receiver, collector = lanes
    other = UdpLane(2, False, Collector(), bursts=Offload(segments=False, joins=False))
    with closing(other):
        for number in range(40):
            lane = (sender, other)[number // 3 % 2]
            lane.send("127.0.0.1", receiver.port, bytes([7, number]) * 700)
        await_datagrams(collector, 40)

    numbers = {port: [each[1] for each in got] for port, got in collector.datagrams_by_port.items()}
    assert numbers == {
        lane.port: [number for number in range(40) if (sender, other)[number // 3 % 2] is lane]
        for lane in (sender, other)
    }


def test_a_lane_tells_what_really_may_wait_at_it():
    lane = UdpLane(0, False, Collector())
    told = lane.receive_buffer
    sizes = []
    with closing(lane):
        for _ in range(told // 32_000):
            lane.send("127.0.0.1", lane.port, bytes(32_000))
        while True:
            try:
                sizes.append(len(lane._socket.recv(65_536)))
            except BlockingIOError:
                break

    assert 0 < told <= BUFFER_SIZE
    assert sum(sizes) >= 0.95 * (told - 32_000)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("number", [errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT])
def test_an_interface_that_cannot_send_bursts_is_tried_again_after_a_rest(number):
    clock = Clock()
    gate = BurstGate(True, clock)

    assert gate.refused(OSError(number, "no"))
    assert not gate.is_open()
    clock.now += REST_S - 0.001
    assert not gate.is_open()
    clock.now += 0.001
    assert gate.is_open()


PASSING = (
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENODEV, errno.EADDRNOTAVAIL,
    errno.EPERM, errno.EACCES, errno.ENOBUFS, errno.ENOMEM, errno.ECONNREFUSED, errno.EINVAL,
    errno.EMSGSIZE, errno.EINTR,
)  # fmt: skip


@pytest.mark.parametrize("number", PASSING)
def test_an_error_of_the_moment_has_no_consequence_for_bursts(number):
    gate = BurstGate(True, Clock())

    assert not gate.refused(OSError(number, "not now"))
    assert gate.is_open()


def test_another_network_has_bursts_tried_at_once():
    gate = BurstGate(True, Clock())
    gate.refused(OSError(errno.EIO, "no"))

    gate.reopen(works=True)
    assert gate.is_open()

    gate.reopen(works=False)
    assert not gate.is_open()


def checked(*shown):
    """A check for which bursts show these things, one after the other."""
    seen = iter(shown)
    return OffloadCheck(lambda with_gro: next(seen))


linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bursts are Linux's")


@linux_only
def test_a_check_that_shows_nothing_is_made_again():
    check = checked(None, True, None, True, True)

    assert check.offload() == Offload(segments=False, joins=False)
    assert check.offload() == Offload(segments=True, joins=False)
    assert check.offload() == Offload(segments=True, joins=True)
    assert check.offload() == Offload(segments=True, joins=True)


@linux_only
def test_a_kernel_that_cuts_or_joins_wrongly_is_not_asked_again():
    assert checked(False).offload() == Offload(segments=False, joins=False)
    check = checked(True, False)
    for _ in range(2):
        assert check.offload() == Offload(segments=True, joins=False)


@linux_only
def test_a_kernel_that_never_shows_anything_is_left_alone_after_some_looks():
    check = checked(*[None] * MAX_LOOKS)
    for _ in range(2 * MAX_LOOKS):
        assert check.offload() == Offload(segments=False, joins=False)


@needs_offload
def test_the_check_of_bursts_runs_once_and_takes_little_time(caplog):
    check = OffloadCheck(segmentation._arrives_whole)
    with caplog.at_level(logging.INFO, logger=segmentation.__name__):
        began = monotonic()
        first = check.offload()
        took_s = monotonic() - began
        assert check.offload() is first

    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "bursts of datagrams"
    ]
    record_figure("check of segmented sends", f"{took_s * 1e3:.1f} ms", "20 ms")
    assert took_s < 3 * 0.02


@needs_offload
def test_a_burst_that_arrives_in_part_shows_nothing():
    with (
        closing(segmentation._plain(socket.AF_INET)) as sender,
        closing(segmentation._plain(socket.AF_INET)) as receiver,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver.bind(("127.0.0.1", 0))

        assert segmentation._try_burst(sender, receiver) is None
