"""Whether this machine's kernel cuts and joins datagrams as it should: looked at once, then known.

    a burst --UDP_SEGMENT--> a socket of our own --> the same datagrams, in the same order
                       `---> one with UDP_GRO -----> joined, and cut into the same again

There were kernels whose segments came out corrupt, and others that take the option and then fail.
A burst to ourselves over loopback costs a few milliseconds and shows both.  It shows nothing of a
network card that breaks bursts later: see `tunnel.net.udp`.  Source: udp(7).
"""

import functools
import logging
import struct
import sys
from contextlib import closing
from typing import NamedTuple

import gevent
from gevent import get_hub, socket

from tunnel.net.clock import monotonic
from tunnel.proto.received_burst import MAX_READ
from tunnel.units import Seconds

# Fixed by Linux.
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
CONTROL_SIZE = socket.CMSG_SPACE(4)
_SEGMENT = struct.Struct("=H")
# Chosen: as many bytes as a burst ever has, in datagrams of the usual size, and a shorter last one.
CHECK_SEGMENT = 1472
CHECK_DATAGRAMS = 43
CHECK_TAIL = 100
CHECK_LIMIT_S: Seconds = 0.25
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


@functools.cache
def offload() -> Offload:
    """Return what works on this machine; the first call tries it out."""
    if not sys.platform.startswith("linux"):
        return Offload(segments=False, joins=False)
    began = monotonic()
    segments = _arrives_whole(with_gro=False)
    joins = segments and _arrives_whole(with_gro=True)
    took_ms = (monotonic() - began) * 1e3
    _log.info(
        "bursts of datagrams: sent in one call %s, received in one call %s (%.1f ms)",
        _word(segments), _word(joins), took_ms,
    )  # fmt: skip
    return Offload(segments, joins)


def _word(works: bool) -> str:
    return "works" if works else "does not work and is left alone"


def _arrives_whole(with_gro: bool) -> bool:
    """Tell whether a burst to ourselves arrives as the same datagrams in the same order."""
    for family, ip in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with closing(_plain(family)) as sender, closing(_plain(family)) as receiver:
                receiver.bind((ip, 0))
                if with_gro:
                    receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
                return _try_burst(sender, receiver)
        except OSError as error:
            _log.debug("a burst over %s failed: %s", ip, error)
    return False


def _plain(family: int) -> "socket._socket.socket":
    plain = socket._socket.socket(family, socket.SOCK_DGRAM)  # noqa: SLF001 - it is never waited for in a call
    plain.setblocking(False)
    return plain


def _try_burst(sender: "socket._socket.socket", receiver: "socket._socket.socket") -> bool:
    sizes = [CHECK_SEGMENT] * CHECK_DATAGRAMS + [CHECK_TAIL]
    sent = [number.to_bytes(2, "big") * (size // 2) for number, size in enumerate(sizes)]
    control = segment_control(CHECK_SEGMENT)
    sender.sendmsg((b"".join(sent),), control, 0, receiver.getsockname())
    return _read_datagrams(receiver, len(sent)) == sent


def _read_datagrams(receiver: "socket._socket.socket", count: int) -> list[bytes]:
    """Read `count` datagrams, or what comes within the limit."""
    memory = bytearray(MAX_READ)
    found: list[bytes] = []
    with gevent.Timeout(CHECK_LIMIT_S, exception=False):
        watcher = get_hub().loop.io(receiver.fileno(), READABLE)
        try:
            while len(found) < count:
                try:
                    size, control, _, _ = receiver.recvmsg_into([memory], CONTROL_SIZE)
                except BlockingIOError:
                    get_hub().wait(watcher)
                    continue
                step = segment_size_of(control, size) or MAX_READ
                found += [bytes(memory[at : min(at + step, size)]) for at in range(0, size, step)]
        finally:
            watcher.close()
    return found
