"""Forged datagrams at the UDP socket of a link: they cost little, answer nothing and move nothing.

Who sees the traffic of a link knows its index, its paths and its numbers, and no key.
"""

import os
import random
import time
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from gevent import socket
from support.processes import record_figure
from test_links_over_a_relay import met, options, read_to_end, server  # noqa: F401

from tunnel.units import KIB, MIB
from tunnel.wire import packet as layout

COUNT, FULL_COUNT = 4_000, 40_000
WARM_UP = 500  # after which every code path has run once
TURN = 20  # datagrams that are sent before the others have their turn: a socket holds them all
LARGEST = 1400
SEED = 77
DIRECT_S = 10.0
# With the sending of them, on a machine that does much else; 30 us each were seen.
MOST_CPU_US = 300.0
MOST_GROWTH = MIB

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads memory from /proc"
)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def endpoints(link):
    """Return the address pairs a link knows; which of them is the fastest may change."""
    return {path.endpoint for path in link.machine._paths.direct}


class Forger:
    """Sends datagrams to the lane by which `theirs` reaches the other side, as if it had."""

    def __init__(self, theirs) -> None:
        self._random = random.Random(SEED)
        self._index = theirs.machine.parameters.peer_index
        self._to = (theirs.machine.direct_path.ip, theirs.machine.direct_path.port)
        family = socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def close(self) -> None:
        self._socket.close()

    def send(self, count: int) -> None:
        for number in range(count):
            self._socket.sendto(self._datagram(), self._to)
            if number % TURN == TURN - 1:
                gevent.sleep(0.001)

    def _datagram(self) -> bytes:
        """Return noise, or a packet of the link's whose seal is noise, as often."""
        draw = self._random
        noise = draw.randbytes(draw.randrange(1, LARGEST))
        kind = draw.randrange(3)
        path, number = draw.choice((0, 1, 2, 77)), draw.choice((draw.getrandbits(12), 1 << 40))
        if kind == 0:
            return noise
        if kind == 1:
            return layout.encode_general_header(0, path, self._index, number) + noise
        return layout.encode_bulk_header(0, path, self._index, number, 0, 0) + noise


@contextmanager
def direct(options):  # noqa: F811
    """Yield the links of both sides, which have taken a direct path, and a forger at the first."""
    with met(options) as (issuer, claimer, ours, theirs):
        issuer.report_path(ours)
        claimer.report_path(theirs)
        deadline = time.monotonic() + DIRECT_S
        while not (ours.machine.direct_path and theirs.machine.direct_path):
            assert time.monotonic() < deadline, "no direct path"
            gevent.sleep(0.01)
        forger = Forger(theirs)
        try:
            yield ours, theirs, forger
        finally:
            forger.close()


def test_an_idle_link_drops_a_flood_of_forged_datagrams_at_little_cost(
    options,  # noqa: F811
    is_full,
):
    count = FULL_COUNT if is_full else COUNT
    with direct(options) as (ours, _, forger):
        forger.send(WARM_UP)
        gevent.sleep(0.2)
        paths, counters = endpoints(ours), ours.machine.counters
        sent, dropped, before = counters.bytes_sent, counters.packets_dropped, resident_bytes()
        began = time.process_time()

        forger.send(count)
        gevent.sleep(0.2)

        cpu_us = (time.process_time() - began) / count * 1e6
        grown = resident_bytes() - before
        assert counters.packets_dropped - dropped >= count / 2  # a third names no link
        assert counters.bytes_sent - sent <= 4 * KIB  # its own keepalives
        assert endpoints(ours) == paths
        assert ours.machine.direct_path in paths
        assert grown <= MOST_GROWTH
        assert cpu_us <= MOST_CPU_US
        what = f"{count} forged datagrams at an idle link"
        record_figure(f"{what}: memory", f"{grown / KIB:+.0f} KiB", "1024 KiB")
        record_figure(f"{what}: processor time of each", f"{cpu_us:.0f} us", f"{MOST_CPU_US:.0f}")


def test_a_transfer_in_a_flood_of_forged_datagrams_is_exact_and_stays_direct(
    options,  # noqa: F811
    is_full,
):
    data = os.urandom((48 if is_full else 8) * MIB)
    with direct(options) as (ours, theirs, forger):
        paths = endpoints(ours), endpoints(theirs)
        dropped = ours.machine.counters.packets_dropped
        stream = theirs.open_stream()
        writer = gevent.spawn(lambda: (stream.write(data), stream.end()))
        flood = gevent.spawn(forger.send, COUNT)
        relayed = ours.machine.counters.bytes_received_relayed

        received = read_to_end(ours.accept_stream())
        flood.get(timeout=30)
        writer.get(timeout=10)

        assert received == data
        assert (endpoints(ours), endpoints(theirs)) == paths
        assert ours.machine.direct_path in paths[0]
        assert theirs.machine.direct_path in paths[1]
        assert ours.machine.promotions == theirs.machine.promotions == 1
        assert ours.machine.counters.packets_dropped - dropped >= COUNT / 3
        assert ours.machine.counters.bytes_received_relayed - relayed <= 4 * KIB
