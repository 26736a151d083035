"""Whether this machine's kernel cuts and joins datagrams as it should: looked at until it is known.

    a burst --UDP_SEGMENT--> a socket of our own --> the same datagrams, in the same order
                       `---> one with UDP_GRO -----> joined, and cut into the same again

There were kernels whose segments came out corrupt, and others that take the option and then fail.
A burst to ourselves over loopback costs a few milliseconds and shows both.  What fails for another
reason, such as a loopback that is not up yet, shows nothing, and is looked at again.  Nor does it
show what a network card does: a lane learns that, for a while, by what the kernel says of its
bursts.  Source: udp(7).
"""

import errno
import logging
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import gevent
from gevent import get_hub, socket

from tunnel.net.clock import monotonic
from tunnel.proto.link.received_burst import MAX_READ
from tunnel.units import Instant, Seconds

# Fixed by Linux.
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
_SEGMENT = struct.Struct("=H")
# Chosen: as many bytes as a burst ever has, in datagrams of the usual size, and a shorter last one.
CHECK_SEGMENT = 1472
CHECK_DATAGRAMS = 43
CHECK_TAIL = 100
CHECK_LIMIT_S: Seconds = 0.25
# Chosen: a kernel that shows nothing in so many looks cannot do it.
MAX_LOOKS = 3
# Linux says this of what it cannot do: a device without checksums, an IPsec policy, an old kernel.
# Everything else (no route, a firewall, a full queue) is about a moment or a destination.
CANNOT = frozenset((errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP))
# Chosen: another route, or a driver that was loaded anew, can do what one could not.
REST_S: Seconds = 60.0
READABLE = 1

_log = logging.getLogger(__name__)


class Offload(NamedTuple):
    """What may be used: `segments` for sending bursts, `joins` for receiving them."""

    segments: bool
    joins: bool


def segment_control(segment_size: int) -> list[tuple[int, int, bytes]]:
    """Return the control message that has the kernel cut a send into datagrams."""
    return [(SOL_UDP, UDP_SEGMENT, _SEGMENT.pack(segment_size))]


def segment_size_of(control: list[tuple[int, int, bytes]], size: int) -> int:
    """Return how long the datagrams in a read of `size` bytes are."""
    for level, kind, value in control:
        if (level, kind) == (SOL_UDP, UDP_GRO):
            return int.from_bytes(value, sys.byteorder)
    return size


class BurstGate:
    """Whether one lane hands its bursts to the kernel in one call.

    Args:
        works: whether this machine's kernel can do it at all.
        clock: returns the instant.
    """

    def __init__(self, works: bool, clock: Callable[[], Instant] = monotonic) -> None:
        self._works = works
        self._clock = clock
        self._opens_at: Instant | None = None

    def is_open(self) -> bool:
        """Tell whether to try."""
        return self._works and (self._opens_at is None or self._clock() >= self._opens_at)

    def refused(self, error: OSError) -> bool:
        """Learn from the kernel's refusal of a burst; returns whether it closes the gate."""
        if error.errno not in CANNOT:
            return False
        self._opens_at = Instant(self._clock() + REST_S)
        return True

    def reopen(self, works: bool) -> None:
        """Try again at once: the network has changed."""
        self._works, self._opens_at = works, None


class OffloadCheck:
    """Finds out what works on this machine.

    Args:
        try_out: sends a burst to ourselves, with UDP_GRO at the receiver or without it; returns
            whether it arrived as it should, None if nothing can be said.
    """

    def __init__(self, try_out: Callable[[bool], bool | None]) -> None:
        self._try_out = try_out
        self._known: Offload | None = None
        self._looks = 0

    def offload(self) -> Offload:
        """Return what works as far as is known; looks unless it is."""
        if self._known is not None:
            return self._known
        if not sys.platform.startswith("linux"):
            self._known = Offload(segments=False, joins=False)
            return self._known
        began = monotonic()
        self._looks += 1
        segments = self._try_out(False)
        joins = self._try_out(True) if segments else segments
        found = Offload(bool(segments), bool(joins))
        if joins is not None or self._looks >= MAX_LOOKS:
            self._known = found
        _log.info(
            "bursts of datagrams: sent in one call %s, received in one call %s (%.1f ms)",
            _word(segments), _word(joins), (monotonic() - began) * 1e3,
        )  # fmt: skip
        return found


def offload() -> Offload:
    """Return what works on this machine; the first call tries it out."""
    return _check.offload()


def _word(works: bool | None) -> str:
    if works is None:
        return "could not be tried out"
    return "works" if works else "does not work and is not used"


def _arrives_whole(with_gro: bool) -> bool | None:
    """Tell whether a burst to ourselves arrives as the same datagrams in the same order."""
    verdict: bool | None = False
    for family, ip in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with closing(_plain(family)) as sender, closing(_plain(family)) as receiver:
                receiver.bind((ip, 0))
                if with_gro:
                    receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
                return _try_burst(sender, receiver)
        except OSError as error:
            _log.debug("a burst over %s failed: %s", ip, error)
            if error.errno not in (*CANNOT, errno.EINVAL):
                verdict = None
    return verdict


def _plain(family: int) -> "socket._socket.socket":
    plain = socket._socket.socket(family, socket.SOCK_DGRAM)  # noqa: SLF001 - it is never waited for in a call
    plain.setblocking(False)
    return plain


def _try_burst(sender: "socket._socket.socket", receiver: "socket._socket.socket") -> bool | None:
    """Send a burst and read it; None if it did not all come, as on a machine that is very busy."""
    sizes = [CHECK_SEGMENT] * CHECK_DATAGRAMS + [CHECK_TAIL]
    sent = [number.to_bytes(2, "big") * (size // 2) for number, size in enumerate(sizes)]
    control = segment_control(CHECK_SEGMENT)
    sender.sendmsg((b"".join(sent),), control, 0, receiver.getsockname())
    found = _read_datagrams(receiver, len(sent))
    left = iter(sent)
    is_in_order = all(datagram in left for datagram in found)
    return None if is_in_order and len(found) < len(sent) else found == sent


def _read_datagrams(receiver: "socket._socket.socket", count: int) -> list[bytes]:
    """Read `count` datagrams, or what comes within the limit."""
    memory, control_size = bytearray(MAX_READ), socket.CMSG_SPACE(4)
    found: list[bytes] = []
    with gevent.Timeout(CHECK_LIMIT_S, exception=False):
        watcher = get_hub().loop.io(receiver.fileno(), READABLE)
        try:
            while len(found) < count:
                try:
                    size, control, _, _ = receiver.recvmsg_into([memory], control_size)
                except BlockingIOError:
                    get_hub().wait(watcher)
                    continue
                step = segment_size_of(control, size) or MAX_READ
                found += [bytes(memory[at : min(at + step, size)]) for at in range(0, size, step)]
        finally:
            watcher.close()
    return found


_check = OffloadCheck(_arrives_whole)
