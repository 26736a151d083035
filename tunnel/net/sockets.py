"""TCP connections to hosts with many addresses, and sockets that listen.

    connecting   addresses in turn IPv6, IPv4, IPv6, ...; number n starts at n times 200 ms, or at
                 once when the one before it failed: the first that answers wins.  Relays that are
                 silent are asked again beside it, since this machine may have moved meanwhile
    listening    an empty host means every address of this machine, IPv4 and IPv6 by one socket
                 where the system can

So IPv4 waits for IPv6 only where there is an IPv6 address, and a dead address costs 200 ms.  This
module knows neither relays nor TLS: whoever dials says in its own words what could not be reached.
Source: RFC 8305; derphttp_client.go dialNode.
"""

import errno
import ipaddress
import os
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest

import gevent
from gevent import socket
from gevent.queue import Empty, SimpleQueue

from tunnel.addresses import host_and_port
from tunnel.errors import HostUnreachable, TunnelError
from tunnel.net.clock import monotonic
from tunnel.net.ifaces import source_address
from tunnel.net.names import Address, look_up
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_client.outgoing import Unacknowledged
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.values import frozen, replace
from tunnel.wire.derpmap import FAMILY_OFF

# Chosen.
STAGGER_S = 0.2  # derphttp_client.go waits that long before IPv4
MAX_ADDRESSES = 6  # the last starts one second after the first
LOOK_UP_BESIDE_S = 1.0  # for the other family, where one address is known
AGAIN_TIMES_S = (1.5, 4.5)  # when a silent address is asked again; what was asked before may answer

# Fixed by Linux: struct tcp_info up to tcpi_bytes_acked, which is there since 4.1.
_TCP_INFO_SIZE = 128
_REPEATS_OFFSET, _SEGMENTS_OFFSET, _ACKNOWLEDGED_OFFSET = 2, 24, 120


def unacknowledged(sock: socket.socket) -> Unacknowledged | None:
    """Return what the kernel tells of a TCP connection; None where it tells nothing."""
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return None  # it is ending
    if len(info) < _TCP_INFO_SIZE:
        return None
    (repeats,) = struct.unpack_from("=B", info, _REPEATS_OFFSET)
    (segments,) = struct.unpack_from("=I", info, _SEGMENTS_OFFSET)
    (acknowledged,) = struct.unpack_from("=Q", info, _ACKNOWLEDGED_OFFSET)
    return Unacknowledged(segments, acknowledged, repeats)


def is_own_address(ip: str) -> bool:
    """Tell whether an interface of this machine has this address, a literal without a zone.

    What is sent to an address of one's own comes from it; so no list of them is needed.
    """
    return source_address(6 if ":" in ip else 4, ip) == ip


def connect_tcp(host: str, port: int, ipv4: str = "", ipv6: str = "") -> socket.socket:
    """Return a connected socket; the caller bounds the time.

    Args:
        host: a name or an address literal.
        port: 1 to 65535.
        ipv4: an address to use, "" to look `host` up, or `FAMILY_OFF`.
        ipv6: the same.

    Raises:
        HostUnreachable: no address answered.
    """
    return connect_to(resolve(host, ipv4, ipv6), port)


def connect_to(
    addresses: list[Address], port: int, segment_size: ByteCount | None = None
) -> socket.socket:
    """Return a socket connected to one of a host's addresses, as `connect_tcp` does.

    Args:
        addresses: of the host.
        port: 1 to 65535.
        segment_size: the largest TCP segment in either direction; None for what the system takes.
    """
    try:
        winner = connect_first(addresses[:MAX_ADDRESSES], port, AGAIN_TIMES_S, segment_size)
    except OSError as error:
        is_refused = isinstance(error, ConnectionRefusedError)
        raise HostUnreachable(_connect_reason(error), is_refused=is_refused) from error
    winner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return winner


def connect_first(
    addresses: list[Address],
    port: int,
    again_s: Sequence[Seconds] = (),
    segment_size: ByteCount | None = None,
) -> socket.socket:
    """Return a socket connected to the first address that answers; the caller bounds the time.

    Args:
        addresses: in the order of trying.
        port: 1 to 65535.
        again_s: when those that are silent are tried once more, beside the attempts before.
        segment_size: see `connect_to`.

    Raises the `OSError` that says most when none does.
    """
    if len(addresses) == 1 and not again_s:
        return _connected(addresses[0], port, segment_size)
    began_at = monotonic()
    waiting = [
        _Attempt(turn, is_first, Instant(began_at + STAGGER_S * turn + delay_s))
        for turn in range(len(addresses))
        for is_first, delay_s in ((True, 0.0), *((False, delay_s) for delay_s in again_s))
    ]
    results: SimpleQueue[_Result] = SimpleQueue()
    errors: list[OSError] = []
    with TaskGroup("connect") as tasks:
        try:
            while len(errors) < len(addresses):
                now = monotonic()
                for attempt in [each for each in waiting if each.due_at <= now]:
                    waiting.remove(attempt)
                    address = addresses[attempt.turn]
                    tasks.spawn(address[1], _connect, attempt, address, port, segment_size, results)
                next_at = min((attempt.due_at for attempt in waiting), default=None)
                try:
                    tried, result = results.get(timeout=next_at and max(0.0, next_at - now))
                except Empty:
                    continue
                if not isinstance(result, OSError):
                    return result
                if tried.is_first:  # that an address fails later says no more than its silence
                    errors.append(result)
                    waiting = _after_failure(waiting, tried.turn)
        finally:
            tasks.kill()
            _close_rest(results)
    # A refusal says more than a family without a route.
    refusals = [error for error in errors if isinstance(error, ConnectionRefusedError)]
    raise (refusals or errors)[0]


def resolve(host: str, ipv4: str, ipv6: str) -> list[Address]:
    """Return the addresses to try, in order and not empty; raises `HostUnreachable`."""
    found: dict[int, list[str]] = {
        socket.AF_INET6: [ipv6] if ipv6 and ipv6 != FAMILY_OFF else [],
        socket.AF_INET: [ipv4] if ipv4 and ipv4 != FAMILY_OFF else [],
    }
    wanted = [family for family, field in _families(ipv4, ipv6) if not field]
    literal = _literal_family(host)
    if literal is not None and literal in wanted:
        found[literal] = [host]
    elif literal is None and wanted:
        for family, address in _look_up(host, wanted, is_needed=not any(found.values())):
            found[family].append(address)
    columns = ([(family, text) for text in found[family]] for family in found)
    ordered = [entry for entry in chain.from_iterable(zip_longest(*columns)) if entry is not None]
    if not ordered:
        raise HostUnreachable("it has no usable address")
    return ordered


def _families(ipv4: str, ipv6: str) -> tuple[tuple[int, str], tuple[int, str]]:
    return ((socket.AF_INET6, ipv6), (socket.AF_INET, ipv4))


def _literal_family(host: str) -> int | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return int(socket.AF_INET if version == 4 else socket.AF_INET6)


def _look_up(host: str, wanted: list[int], *, is_needed: bool) -> list[Address]:
    """Ask for a name's addresses; failure and silence count only when there is no other address."""
    family = wanted[0] if len(wanted) == 1 else socket.AF_UNSPEC
    found: list[Address] = []
    with gevent.Timeout(None if is_needed else LOOK_UP_BESIDE_S, False):
        try:
            found = look_up(host, family)
        except HostUnreachable:
            if is_needed:
                raise
    return [pair for pair in found if pair[0] in wanted]


@frozen
class _Attempt:
    """When the address of that turn is tried, for the first time or once more."""

    turn: int
    is_first: bool
    due_at: Instant


_Result = tuple[_Attempt, socket.socket | OSError]


def _after_failure(waiting: list[_Attempt], turn: int) -> list[_Attempt]:
    """Return the attempts that are left: the next address is due, the failed one is not again."""
    return [
        replace(each, due_at=Instant(0.0)) if each.is_first and each.turn == turn + 1 else each
        for each in waiting
        if each.turn != turn
    ]


def _connect(
    attempt: _Attempt,
    address: Address,
    port: int,
    segment_size: ByteCount | None,
    results: "SimpleQueue[_Result]",
) -> None:
    try:
        results.put((attempt, _connected(address, port, segment_size)))
    except OSError as error:
        results.put((attempt, error))


def _connected(address: Address, port: int, segment_size: ByteCount | None) -> socket.socket:
    family, text = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if segment_size is not None and hasattr(socket, "TCP_MAXSEG"):
            with suppress(OSError):  # without it the system's own size has to do
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment_size)
        sock.connect((text, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused (nothing listens there, or a firewall says no)"
    return (error.strerror or str(error)).lower()


def _close_rest(results: "SimpleQueue[_Result]") -> None:
    while not results.empty():
        _, result = results.get_nowait()
        if not isinstance(result, OSError):
            result.close()


# Chosen: connections that wait while the accept loop is held back by its rate limit.
BACKLOG = 512


class ListenFailed(TunnelError):
    """An address could not be listened on.

    Args:
        purpose: what was to listen ("relay", "STUN").
        host: as given.
        port: as given.
        cause: what the system said.
    """

    def __init__(self, purpose: str, host: str, port: int, cause: OSError) -> None:
        super().__init__(f"cannot listen on {host_and_port(host, port)}: {_reason(cause)}")
        self.purpose = purpose
        self.host = host
        self.port = port
        self.is_taken = cause.errno == errno.EADDRINUSE
        self.is_forbidden = cause.errno in (errno.EACCES, errno.EPERM)


def open_listener(purpose: str, host: str, port: int, kind: int) -> socket.socket:
    """Return a bound socket, listening if `kind` is SOCK_STREAM; raises `ListenFailed`.

    Args:
        purpose: for the error.
        host: an address, a name, or "" for every address of this machine.
        port: 0 for any.
        kind: SOCK_STREAM or SOCK_DGRAM.
    """
    try:
        if host:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
            return _bound(family, kind, address)
        try:
            return _bound(socket.AF_INET6, kind, ("::", port))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _bound(socket.AF_INET, kind, ("0.0.0.0", port))  # noqa: S104 - asked for by an empty host
    except OSError as error:
        raise ListenFailed(purpose, host, port, error) from error


def _bound(family: int, kind: int, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            is_any = address[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if is_any else 1)
        if kind == socket.SOCK_STREAM and os.name != "nt":
            # On Windows the option means that two programs may share the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(cause: OSError) -> str:
    if cause.errno == errno.EADDRINUSE:
        return "another program listens there"
    if cause.errno == errno.EADDRNOTAVAIL:
        return "it is not an address of this machine"
    return cause.strerror or str(cause)
