"""UdpLane: one local UDP socket that direct paths and STUN share.

    socket --a few reads a wake-up--> observer        send: at once, or dropped when full

The socket is non-blocking and read by one greenlet.  DF is set, so that nothing on the way cuts our
datagrams to pieces: the link must know what a path carries.  What does not go out is lost like any
datagram; the link repeats what it must.  Windows reports what answers an earlier datagram at the
next read, which goes on then (`tunnel.net.udp.failures`); its sockets are read without control
messages, for which Python has no call there.

On Linux many datagrams pass in one call: UDP_SEGMENT (GSO) cuts a burst that is sent, UDP_GRO joins
what arrives.  Elsewhere, and behind cards and routers that join nothing, they are read one by one
and joined here: what follows, from opening to acknowledging, costs as much for many as for one.
Both are used only if this machine passed the check of `tunnel.net.udp.segmentation`; a lane whose
bursts the kernel cannot send by the interface in use sends none for a while.  There the kernel also
says when a datagram came: that it waits for a busy process must not look like a long queue on
the way.  Source: udp(7), socket(7).
"""

import logging
import struct
import sys
from typing import Any, Protocol

import gevent
from gevent import get_hub, socket

from tunnel.net.clock import wall
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.device import bind_to_device
from tunnel.net.udp.failures import Failure, failure_of
from tunnel.net.udp.segmentation import (
    READABLE,
    SOL_UDP,
    UDP_GRO,
    BurstGate,
    Offload,
    offload,
    segment_control,
    segment_size_of,
)
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.paths.lane_plan import Uplink
from tunnel.units import Buffer, Seconds

# Chosen: the kernel clamps it; wireguard-go gained a third from 7 MB.
BUFFER_SIZE = 7 << 20
# Chosen: reads, and bytes, before other greenlets run: a millisecond's work.
BATCH = 64
BATCH_BYTES = 512 << 10
# Linux: the wall clock at which a datagram arrived comes along with it; see socket(7).
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
MAX_WAIT_S: Seconds = 1.0  # what waited longer arrived before somebody set the clock
# Windows has no control messages, and no call that reads them.
HAS_CONTROL = hasattr(socket, "CMSG_SPACE")
_CONTROL_SIZE = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(_TIMESPEC.size) if HAS_CONTROL else 0
# The option that sets DF and its value, by family.  Linux: and ignore what the kernel believes of
# the path's MTU; see ip(7).  The same numbers mean something else on the other systems.
DONT_FRAGMENT = {
    "linux": {False: (10, 3), True: (23, 3)},  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
    "darwin": {False: (28, 1), True: (62, 1)},  # IP_DONTFRAG, IPV6_DONTFRAG
    "win32": {False: (14, 1), True: (14, 1)},  # IP_DONTFRAGMENT, IPV6_DONTFRAG
}

_log = logging.getLogger(__name__)


class LaneObserver(Protocol):
    """Who is told about datagrams; called from the lane's greenlet, must not block."""

    def lane_datagrams(self, lane: "UdpLane", ip: str, port: int, burst: ReceivedBurst) -> None:
        """Take datagrams of one sender; the burst is valid during the call only."""

    def lane_read_done(self, lane: "UdpLane") -> None:
        """Note that everything that waited was delivered."""


class UdpLane:
    """One UDP socket on a port of its own.

    Args:
        number: by which machines name this lane.
        is_ipv6: the address family; an IPv6 lane carries no IPv4.
        observer: told about what arrives.
        uplink: the address and interface to keep to, None for whatever the system chooses.
        bursts: which offloads to use; what was found to work here unless given.
        port: where no uplink is given; 0 for any.

    Raises `OSError` where the machine lacks the family or the address.
    """

    def __init__(
        self,
        number: int,
        is_ipv6: bool,
        observer: LaneObserver,
        uplink: Uplink | None = None,
        bursts: Offload | None = None,
        port: int = 0,
    ) -> None:
        self.number = number
        self.is_ipv6 = is_ipv6
        self.uplink = uplink
        self.dropped = 0
        self._failures: set[Failure] = set()  # of sends, that were told
        self._observer = observer
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
        self._socket = socket._socket.socket(family, socket.SOCK_DGRAM)  # noqa: SLF001 - the plain one: a datagram is never waited for
        self._socket.setblocking(False)
        self._receive = getattr(self._socket, "recvmsg_into", self._receive_plainly)
        self._bursts = bursts
        usable = bursts or offload()
        self._gate = BurstGate(usable.segments)
        try:
            self._tune(usable)
            self._bind(port)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self.receive_buffer = self._usable_buffer()
        self._watcher = get_hub().loop.io(self._socket.fileno(), READABLE)
        self._reader: gevent.Greenlet | None = None

    def start(self, tasks: TaskGroup) -> None:
        """Read until closed or the task group ends."""
        self._reader = tasks.spawn(f"udp lane {self.number}", self._run)

    def send(self, ip: str, port: int, data: Buffer, segment_size: int = 0) -> None:
        """Send a datagram, or a burst of datagrams of `segment_size`, now or never."""
        if not segment_size or len(data) <= segment_size:
            self._send_one((ip, port), data)
            return
        if self._gate.is_open():
            try:
                self._socket.sendmsg((data,), segment_control(segment_size), 0, (ip, port))
            except BlockingIOError:
                self.dropped += 1
                return
            except OSError as error:
                if self._gate.refused(error):
                    _log.info("lane %d: bursts are sent one by one: %s", self.number, error)
            else:
                return
        view = memoryview(data)
        for start in range(0, len(view), segment_size):
            self._send_one((ip, port), view[start : start + segment_size])

    def network_changed(self) -> None:
        """Try again what the kernel could not do: another interface, or another time, may."""
        self._failures.clear()
        usable = self._bursts or offload()
        self._gate.reopen(usable.segments)
        if usable.joins:
            self._try_option(SOL_UDP, UDP_GRO, 1)

    def _send_one(self, to: tuple[str, int], data: Buffer) -> None:
        try:
            self._socket.sendto(data, to)
        except OSError as error:
            self.dropped += 1  # whatever the reason: all the same to the link
            failure = failure_of(error)
            if failure not in self._failures:
                self._failures.add(failure)
                _log.debug("lane %d: not sent, %s: %s", self.number, failure.value, error)

    def close(self) -> None:
        """Stop reading and close the socket."""
        if self._reader is not None:
            self._reader.kill()
        self._watcher.close()
        self._socket.close()

    def _run(self) -> None:
        burst = ReceivedBurst()
        while True:
            if self._read_batch(burst):
                gevent.sleep(0)
            else:
                get_hub().wait(self._watcher)

    def _read_batch(self, burst: ReceivedBurst) -> bool:
        """Read what waits and hand it over in bursts; returns whether more may wait."""
        source: tuple[Any, ...] | None = None  # of what the burst holds
        told: list[tuple[int, int, bytes]] = []  # by the kernel, of its newest datagram
        reads = total = 0
        while reads < BATCH and total < BATCH_BYTES:
            try:
                size, control, _, address = self._receive([burst.free], _CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if not self._reads_on(error):
                    break
                reads += 1
                continue
            reads += 1
            total += size
            segment_size = segment_size_of(control, size)
            if not size or not segment_size:
                continue
            if address != source or not burst.try_join(size, segment_size):
                self._hand_over(burst, source, told)
                burst.begin_with_last(size, segment_size)
                source = address
            told = control
            if burst.is_complete:
                self._hand_over(burst, source, told)
                burst.size = 0
        self._hand_over(burst, source, told)
        burst.size = 0
        if total:
            self._observer.lane_read_done(self)
        return reads >= BATCH or total >= BATCH_BYTES

    def _receive_plainly(
        self, buffers: list[memoryview], control_size: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Read as `recvmsg_into` does, where there is none."""
        del control_size
        size, address = self._socket.recvfrom_into(buffers[0])
        return size, [], 0, address

    def _reads_on(self, error: OSError) -> bool:
        """Tell whether datagrams may wait behind a failed read; else one is awaited again."""
        failure = failure_of(error)
        if failure is not Failure.FULL:
            _log.debug("lane %d: not read, %s: %s", self.number, failure.value, error)
        return failure in (Failure.ANSWERED, Failure.TOO_LARGE)

    def _hand_over(
        self,
        burst: ReceivedBurst,
        source: tuple[Any, ...] | None,
        told: list[tuple[int, int, bytes]],
    ) -> None:
        if burst.size and source is not None:
            burst.waited_s = _waited_s(told)
            self._observer.lane_datagrams(self, source[0], source[1], burst)

    def _bind(self, port: int) -> None:
        if self.uplink is None:
            self._socket.bind(("::" if self.is_ipv6 else "", port))
            return
        bind_to_device(self._socket, self.uplink.interface, self.is_ipv6)
        self._socket.bind((self.uplink.ip, 0))

    def _usable_buffer(self) -> int:
        """Return how many bytes of datagrams may wait to be read."""
        size: int = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        # Linux says twice what it was asked for: the other half is for its own bookkeeping.
        return size // 2 if sys.platform.startswith("linux") else size

    def _tune(self, bursts: Offload) -> None:
        """Set what is there of the socket options; none is needed to carry datagrams."""
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._try_option(socket.SOL_SOCKET, option, BUFFER_SIZE)
        if self.is_ipv6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform in DONT_FRAGMENT:
            level = socket.IPPROTO_IPV6 if self.is_ipv6 else socket.IPPROTO_IP
            self._try_option(level, *DONT_FRAGMENT[sys.platform][self.is_ipv6])
        if bursts.joins:
            self._try_option(SOL_UDP, UDP_GRO, 1)
        if sys.platform.startswith("linux"):
            self._try_option(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def _try_option(self, level: int, option: int, value: int) -> None:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError as error:
            _log.debug("lane %d: option %d of %d: %s", self.number, option, level, error)


def _waited_s(control: list[tuple[int, int, bytes]]) -> Seconds:
    """Return how long a datagram had been on this machine when it was read, as far as is known."""
    for level, kind, value in control:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            waited_s = wall() - (seconds + nanoseconds / 1e9)
            return waited_s if 0.0 < waited_s < MAX_WAIT_S else 0.0
    return 0.0
