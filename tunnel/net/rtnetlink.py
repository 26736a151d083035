"""rtnetlink: what Linux tells of addresses, interfaces and routes, without a table being printed.

    addresses   one dump of both families: who has hundreds of interfaces pays for each once
    an interface, a route   one question and one answer each, however many there are

The kernel answers while the question is sent, so nothing here waits; a dump takes some 10 ms where
there are thousands of addresses, and belongs into a thread.  A system that lets nobody ask (a
sandbox, Android) is an `OSError`: there are other ways to know.
Sources: rtnetlink(7), netlink(7), linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h.
"""

import errno
import os
import socket  # the plain one: the answer is there when `send` returns
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from types import TracebackType
from typing import Literal, Self

from tunnel.values import frozen

Version = Literal[4, 6]

# Fixed by Linux.
_ROUTE_FAMILY = 0  # NETLINK_ROUTE
_IS_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_NEW_LINK, _GET_LINK = 16, 18
_NEW_ADDRESS, _GET_ADDRESSES = 20, 22
_NEW_ROUTE, _GET_ROUTE = 24, 26
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_KIND_MASK = 0x3FFF  # of an attribute; the other bits say how it is encoded
_ADDRESS_OF_PEER, _ADDRESS_LOCAL, _ADDRESS_FLAGS = 1, 2, 8
_LINK_SCOPE = 253
_DEPRECATED, _UNUSABLE = 0x20, 0x08 | 0x40  # duplicate, tentative
_LINK_NAME, _LINK_INFO, _LINK_MASK = 3, 18, 29
_WITHOUT_STATISTICS = 8
_UP, _POINT_TO_POINT, _RUNNING = 0x1, 0x10, 0x40
_MATCH_TABLES = 0x2000  # RTM_F_FIB_MATCH: only a route that is in a table counts
_DESTINATION, _SOURCE, _BY_INTERFACE, _GATEWAY = 1, 2, 4, 5
# Chosen: the kernel fills at most 32 KiB at a time.
_READ_SIZE = 64 << 10


@frozen
class KernelAddress:
    """An address that can be used; `index` names its interface."""

    index: int
    ip: str
    prefix_length: int
    is_deprecated: bool


@frozen
class KernelLink:
    """An interface.

    Args:
        name: as people know it.
        is_up: whether it is switched on.
        is_running: whether something is at the other end.
        is_point_to_point: whether it leads to one other machine, as a VPN's does.
        is_virtual: whether software made it (bridge, veth, tunnel).
    """

    name: str
    is_up: bool
    is_running: bool
    is_point_to_point: bool
    is_virtual: bool


@frozen
class KernelRoute:
    """A route; `gateway_ip` is "" where the next machine is no router, `index` 0 if untold."""

    gateway_ip: str
    index: int = 0


class RouteKernel:
    """The kernel as somebody to ask; a context manager.

    Raises `OSError` where the system lets nobody ask, also in its methods.
    """

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError(errno.EOPNOTSUPP, "only Linux has rtnetlink")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE_FAMILY)
        self._socket.setblocking(False)
        self._turn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def addresses(self) -> list[KernelAddress]:
        """Return the addresses of every interface, those aside that need a zone."""
        found = []
        for kind, body in self._ask(_GET_ADDRESSES, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0)):
            address = read_address(body) if kind == _NEW_ADDRESS else None
            if address is not None:
                found.append(address)
        return found

    def link(self, index: int) -> KernelLink | None:
        """Return an interface, None if it is gone."""
        question = _LINK.pack(0, 0, index, 0, 0)
        question += _attribute(_LINK_MASK, _U32.pack(_WITHOUT_STATISTICS))
        for kind, body in self._ask(_GET_LINK, 0, question):
            if kind == _NEW_LINK:
                return read_link(body)
        return None

    def route(
        self, version: Version, destination: str, source_ip: str = "", index: int = 0
    ) -> KernelRoute | None:
        """Return the route that a packet would take, None where none leads there.

        Args:
            version: the family.
            destination: an address of it.
            source_ip: where the packet comes from; then only a route of a table counts.
            index: of the interface it is to leave by.
        """
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        bits = 32 if version == 4 else 128
        flags = _MATCH_TABLES if source_ip else 0
        question = _ROUTE.pack(family, bits, bits if source_ip else 0, 0, 0, 0, 0, 0, flags)
        question += _attribute(_DESTINATION, socket.inet_pton(family, destination))
        if source_ip:
            question += _attribute(_SOURCE, socket.inet_pton(family, source_ip))
        if index:
            question += _attribute(_BY_INTERFACE, _U32.pack(index))
        for kind, body in self._ask(_GET_ROUTE, 0, question):
            if kind == _NEW_ROUTE:
                return read_route(version, body)
        return None

    def _ask(self, kind: int, flags: int, question: bytes) -> Iterator[tuple[int, memoryview]]:
        """Send a question, and yield kind and body of each message of the answer.

        A question that the kernel refuses to understand or to answer raises; one whose answer is
        that there is no such thing has no messages.
        """
        self._turn += 1
        size = _HEADER.size + len(question)
        header = _HEADER.pack(size, kind, _IS_REQUEST | flags, self._turn, 0)
        self._socket.send(header + question)
        is_dump = bool(flags & _DUMP)
        while True:
            data = memoryview(self._socket.recv(_READ_SIZE))
            for answer, turn, body in messages(data):
                if turn != self._turn:
                    continue  # of a question that nobody read to its end
                if answer == _ERROR:
                    _raise_refusal(body)
                if answer in (_ERROR, _DONE):
                    return
                yield answer, body
                if not is_dump:
                    return


def messages(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield kind, sequence number and body of the messages in what was read."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, turn, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, turn, data[at + _HEADER.size : at + size]
        at += size + -size % 4


def read_address(body: memoryview) -> KernelAddress | None:
    """Read an address; None for one that cannot be used, or only with a zone."""
    if len(body) < _ADDRESS.size:
        return None
    family, prefix_length, flags, scope, index = _ADDRESS.unpack_from(body)
    width = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family)
    if width is None or (width == 16 and scope == _LINK_SCOPE):
        return None
    ip = b""
    for kind, value in _attributes(body, _ADDRESS.size):
        # Where both are told the other one is the far end of a tunnel.
        if kind == _ADDRESS_LOCAL or (kind == _ADDRESS_OF_PEER and not ip):
            ip = bytes(value)
        elif kind == _ADDRESS_FLAGS and len(value) == _U32.size:
            flags = _U32.unpack(value)[0]
    if len(ip) != width or flags & _UNUSABLE:
        return None
    return KernelAddress(index, str(ip_address(ip)), prefix_length, bool(flags & _DEPRECATED))


def read_link(body: memoryview) -> KernelLink | None:
    """Read an interface; None for one without a name."""
    if len(body) < _LINK.size:
        return None
    _, _, _, flags, _ = _LINK.unpack_from(body)
    name, is_virtual = "", False
    for kind, value in _attributes(body, _LINK.size):
        if kind == _LINK_NAME:
            name = os.fsdecode(bytes(value).partition(b"\0")[0])
        elif kind == _LINK_INFO:
            is_virtual = True
    if not name:
        return None
    is_up, is_running, is_point_to_point = (
        bool(flags & bit) for bit in (_UP, _RUNNING, _POINT_TO_POINT)
    )
    return KernelLink(name, is_up, is_running, is_point_to_point, is_virtual)


def read_route(version: Version, body: memoryview) -> KernelRoute | None:
    """Read a route; None for what is none."""
    if len(body) < _ROUTE.size:
        return None
    gateway_ip, index = "", 0
    for kind, value in _attributes(body, _ROUTE.size):
        if kind == _GATEWAY and len(value) == (4 if version == 4 else 16):
            gateway_ip = str(ip_address(bytes(value)))
        elif kind == _BY_INTERFACE and len(value) == _U32.size:
            index = _U32.unpack(value)[0]
    return KernelRoute(gateway_ip, index)


def _raise_refusal(body: memoryview) -> None:
    """Raise what says that we may not ask; that there is no such thing is an answer."""
    code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if code in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
        raise OSError(code, os.strerror(code))


def _attributes(body: memoryview, at: int) -> Iterator[tuple[int, memoryview]]:
    while at + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        yield kind & _KIND_MASK, body[at + _ATTRIBUTE.size : at + size]
        at += max(_ATTRIBUTE.size, size + -size % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
