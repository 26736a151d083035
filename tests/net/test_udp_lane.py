"""UDP lanes and the check of bursts, on real sockets: every datagram arrives as it was sent."""

import logging
from contextlib import closing

import gevent
import pytest
from gevent import socket
from support.processes import record_figure

from tunnel.net import segmentation
from tunnel.net.clock import monotonic
from tunnel.net.segmentation import Offload, offload
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp import BUFFER_SIZE, UdpLane

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

    sender.send("127.0.0.1", receiver.port, bytes(20 * 1200), 1200)
    await_datagrams(collector, 20)

    assert collector.bursts == 1


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


@needs_offload
def test_the_check_of_bursts_runs_once_and_takes_little_time(caplog):
    segmentation.offload.cache_clear()
    with caplog.at_level(logging.INFO, logger=segmentation.__name__):
        began = monotonic()
        first = offload()
        took_s = monotonic() - began
        assert offload() is first

    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "bursts of datagrams"
    ]
    record_figure("check of segmented sends", f"{took_s * 1e3:.1f} ms", "20 ms")
    assert took_s < 3 * 0.02


@needs_offload
def test_a_burst_that_arrives_in_part_fails_the_check():
    with (
        closing(segmentation._plain(socket.AF_INET)) as sender,
        closing(segmentation._plain(socket.AF_INET)) as receiver,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver.bind(("127.0.0.1", 0))

        assert not segmentation._try_burst(sender, receiver)
