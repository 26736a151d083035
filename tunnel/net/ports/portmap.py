"""The driver of port mapping: sockets towards one gateway around `tunnel.proto.portmap`.

    gateway:5351      one connected UDP socket; only the gateway is heard on it
    searches          one UDP socket, to gateway:1900 and 239.255.255.250:1900; any source is heard,
                      the machine believes only the gateway
    gateway HTTP      one short connection per request, 1 s each

A gateway that cannot be reached, or is not one, costs events and log lines, never an exception.  A
socket that cannot be had now (an address that is not quite there yet, say) is tried for again with
the next question.  One machine per mapped port; all of them share the sockets.
"""

import logging
from collections.abc import Callable, Iterable

import gevent
from gevent import socket
from gevent.event import Event

from tunnel.errors import DecodeError, MisuseError
from tunnel.net.clock import monotonic
from tunnel.net.deadlines import Deadlines
from tunnel.net.ports.http_exchange import exchange
from tunnel.net.tasks import TaskGroup
from tunnel.proto.portmap.igd_calls import HttpRequest
from tunnel.proto.portmap.igd_search import Search
from tunnel.proto.portmap.machine import ALL_PROTOCOLS, PortMapMachine
from tunnel.proto.portmap.mapping import Failure, MappingEvent, MappingProtocol, PortMapping
from tunnel.units import Instant, Seconds
from tunnel.values import frozen
from tunnel.wire import ssdp

# Fixed by the protocol.
MAPPING_PORT = 5351
MULTICAST_TTL = 2  # UPnP Device Architecture 1.1 section 1.3.2
# Chosen: a gateway is one hop away.
HTTP_TIMEOUT_S = 1.0
# Chosen.
MAX_PORTS = 8
MAX_DATAGRAM_SIZE = 4096
RETRY_S = 0.1  # after a failed receive; such errors come from the system, not from one datagram
DATAGRAMS_PER_TURN = 32  # taken before other greenlets run
LONGEST_WAIT_S = 3600.0

_log = logging.getLogger(__name__)


@frozen
class GatewayPorts:
    """Where a gateway listens; only tests need others.

    Args:
        mapping: the UDP port of PCP and NAT-PMP.
        search: the UDP port of SSDP.
        multicast: address and port that all devices listen on.
    """

    mapping: int = MAPPING_PORT
    search: int = ssdp.PORT
    multicast: tuple[str, int] = (ssdp.MULTICAST_ADDRESS, ssdp.PORT)


class MappedPort:
    """One port of ours that a `PortMapper` keeps mapped; its events go to one reader."""

    def __init__(self, internal_port: int, machine: PortMapMachine) -> None:
        self.internal_port = internal_port
        self.machine = machine  # the driver's
        self.changed = Event()  # the driver's

    @property
    def mapping(self) -> PortMapping | None:
        """The mapping as it is now."""
        return self.machine.mapping

    @property
    def is_trying(self) -> bool:
        """Whether protocols are being tried; else there is a mapping, or a longer pause."""
        return self.machine.is_trying

    def next_event(self, timeout_s: Seconds | None = None) -> MappingEvent | None:
        """Wait for what happens next; None when that takes longer than `timeout_s`."""
        with gevent.Timeout(timeout_s, False):
            while (event := self.machine.next_event()) is None:
                self.changed.clear()
                self.changed.wait()
            return event
        return None

    def services_seen(self) -> frozenset[MappingProtocol]:
        """Return what the gateway answered in lately; ask 1 s after the start."""
        return self.machine.services_seen(monotonic())

    def failures(self) -> dict[MappingProtocol, Failure]:
        """Return why protocols that were tried hold no mapping."""
        return self.machine.failures()


class PortMapper:
    """Maps ports of this machine at one gateway.

    Args:
        gateway: its address, of either family; an IPv6 one may have a zone (fe80::1%eth0).
        local_address: ours towards it, of the same family.
        entropy: returns that many random bytes.
        protocols: what may be tried.
        ports: where the gateway listens.
    """

    def __init__(
        self,
        gateway: str,
        local_address: str,
        entropy: Callable[[int], bytes],
        *,
        protocols: Iterable[MappingProtocol] = ALL_PROTOCOLS,
        ports: GatewayPorts | None = None,
    ) -> None:
        self._gateway = gateway
        self._local_ip = _without_zone(local_address)
        self._entropy = entropy
        self._protocols = frozenset(protocols)
        self._ports = ports or GatewayPorts()
        self._mapped: dict[int, MappedPort] = {}
        self._wake = Event()
        self._released = Event()
        self._tasks: TaskGroup | None = None
        self._greenlets: list[gevent.Greenlet] = []
        self._requests: list[gevent.Greenlet] = []
        self._mapping_socket: socket.socket | None = None
        self._search_socket: socket.socket | None = None

    def start(self, tasks: TaskGroup) -> None:
        """Open the sockets and run in greenlets of `tasks`."""
        self._spawn(tasks)

    def map(self, internal_port: int) -> MappedPort:
        """Begin to keep a UDP port (1 to 65535) mapped; raises `MisuseError` for too many."""
        known = self._mapped.get(internal_port)
        if known is not None:
            return known
        if len(self._mapped) >= MAX_PORTS:
            raise MisuseError(f"more than {MAX_PORTS} ports to map")
        gateway_ip = _without_zone(self._gateway)
        machine = PortMapMachine(
            monotonic(), gateway_ip, self._local_ip, internal_port, self._entropy, self._protocols
        )
        mapped = self._mapped[internal_port] = MappedPort(internal_port, machine)
        self._wake.set()
        return mapped

    def check(self) -> None:
        """Ask whether the mappings still exist: after sleep, or when a path has died."""
        for mapped in self._mapped.values():
            mapped.machine.check(monotonic())
        self._wake.set()

    def move(self, gateway: str, local_address: str) -> None:
        """Go on at another gateway or with another address; the same ones change nothing."""
        local_ip = _without_zone(local_address)
        if (gateway, local_ip) == (self._gateway, self._local_ip):
            return
        # First the old requests end, so that their answers reach the machines before the change.
        self.close()
        self._gateway, self._local_ip = gateway, local_ip
        for mapped in self._mapped.values():
            mapped.machine.handle_network_change(monotonic(), _without_zone(gateway), local_ip)
        if self._tasks is not None:
            self._spawn(self._tasks)

    def release(self, timeout_s: Seconds) -> bool:
        """Delete all mappings; tell whether the gateway confirmed that in time.

        Also works when the greenlets of `start` have been killed.  Nothing is mapped afterwards.
        """
        for mapped in self._mapped.values():
            mapped.machine.release(monotonic())
        if self._tasks is None:
            return True
        self._released.clear()
        with TaskGroup("port mapping release") as tasks:
            if any(greenlet.dead for greenlet in self._greenlets):
                gevent.killall(self._greenlets)
                self._spawn(tasks)
            self._wake.set()
            return bool(self._released.wait(timeout_s))

    def close(self) -> None:
        """Stop, and close the sockets; what was not released stays until its lease ends."""
        gevent.killall([*self._greenlets, *self._requests])
        for sock in (self._mapping_socket, self._search_socket):
            if sock is not None:
                sock.close()
        self._mapping_socket = self._search_socket = None

    def _spawn(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._greenlets = [tasks.spawn("port mapping", self._run)]
        for sock, receive in (
            (self._mapping_socket, self._receive),
            (self._search_socket, self._receive_searches),
        ):
            if sock is not None:
                self._greenlets.append(tasks.spawn("answers", receive, sock))

    def _open_missing(self) -> None:
        """Open the sockets that are not there, and hear them."""
        assert self._tasks is not None, "not started"
        try:
            if self._mapping_socket is None:
                sock = _connected(self._gateway, self._ports.mapping, self._local_ip)
                self._mapping_socket = sock
                self._greenlets.append(self._tasks.spawn("gateway", self._receive, sock))
            if self._search_socket is None and ":" not in self._gateway:
                sock = self._search_socket = _searching(self._local_ip)
                self._greenlets.append(self._tasks.spawn("search", self._receive_searches, sock))
        except OSError as error:
            _log.info("no socket towards the gateway: %s", error.strerror)

    def _run(self) -> None:
        deadlines = Deadlines("the port mapper")
        while True:
            self._wake.clear()
            now = monotonic()
            machines = [mapped.machine for mapped in self._mapped.values()]
            for mapped in self._mapped.values():
                mapped.machine.handle_timeout(now)
                self._send(now, mapped.machine)
                mapped.changed.set()
            if all(machine.is_released for machine in machines):
                self._released.set()
            due = [at for machine in machines if (at := machine.next_timeout()) is not None]
            due.append(Instant(now + LONGEST_WAIT_S))
            come_back_at = deadlines.come_back_at(min(due), now)
            self._wake.wait(max(0.0, (come_back_at or now) - monotonic()))

    def _send(self, now: Instant, machine: PortMapMachine) -> None:
        datagrams, searches = machine.datagrams_to_send(), machine.searches_to_send(now)
        if datagrams or searches:
            self._open_missing()
        for data in datagrams:
            self._send_datagram(data)
        for search in searches:
            self._send_search(search)
        assert self._tasks is not None, "not started"
        for request in machine.requests_to_send():
            self._requests = [greenlet for greenlet in self._requests if not greenlet.dead]
            self._requests.append(
                self._tasks.spawn("gateway HTTP", self._carry_out, machine, request, self._local_ip)
            )

    def _send_datagram(self, data: bytes) -> None:
        if self._mapping_socket is None:
            return
        try:
            self._mapping_socket.send(data)
        except OSError as error:
            # A refusal belongs to an earlier datagram, and its reader may not have heard of it.
            self._note_socket_error(error)

    def _send_search(self, search: Search) -> None:
        if self._search_socket is None:
            return
        host, port = self._gateway, self._ports.search
        if search.is_multicast:
            host, port = self._ports.multicast
        try:
            self._search_socket.sendto(ssdp.encode_search(search.target, host, port), (host, port))
        except OSError as error:
            _log.debug("a search for gateways was not sent: %s", error)

    def _receive(self, sock: socket.socket) -> None:
        turn = 0
        while True:
            turn += 1
            if turn % DATAGRAMS_PER_TURN == 0:
                gevent.sleep(0)
            try:
                data = sock.recv(MAX_DATAGRAM_SIZE)
            except OSError as error:
                self._note_socket_error(error)
                gevent.sleep(RETRY_S)
                continue
            for mapped in self._mapped.values():
                mapped.machine.handle_datagram(monotonic(), data)
            self._wake.set()

    def _note_socket_error(self, error: OSError) -> None:
        # Windows says "reset" where others say "refused".
        if not isinstance(error, ConnectionRefusedError | ConnectionResetError):
            _log.debug("the gateway's port mapping port cannot be reached: %s", error)
            return
        for mapped in self._mapped.values():
            mapped.machine.handle_closed_port(monotonic())
        self._wake.set()

    def _receive_searches(self, sock: socket.socket) -> None:
        turn = 0
        while True:
            turn += 1
            if turn % DATAGRAMS_PER_TURN == 0:
                gevent.sleep(0)
            try:
                data, source = sock.recvfrom(MAX_DATAGRAM_SIZE)
            except OSError as error:
                _log.debug("receiving answers of gateways failed: %s", error)
                gevent.sleep(RETRY_S)
                continue
            for mapped in self._mapped.values():
                mapped.machine.handle_search_answer(monotonic(), data, source[0])
            self._wake.set()

    def _carry_out(self, machine: PortMapMachine, request: HttpRequest, local_ip: str) -> None:
        """Do one HTTP request; however this ends, the machine is told."""
        words = "was interrupted"
        answer: tuple[int, bytes] | None = None
        try:
            with gevent.Timeout(HTTP_TIMEOUT_S, TimeoutError("no answer in time")):
                answer = exchange(request.data, request.host, request.port, local_ip)
        except OSError as error:
            words = (error.strerror or str(error)).lower()
        except DecodeError as error:
            words = str(error)
        finally:
            if answer is None:
                machine.handle_no_response(monotonic(), request.number, words)
            else:
                machine.handle_response(monotonic(), request.number, *answer)
            self._wake.set()


def _without_zone(address: str) -> str:
    return address.partition("%")[0]


def _connected(gateway: str, port: int, local_ip: str) -> socket.socket:
    """Return a UDP socket that hears only one port of the gateway."""
    ip, _, zone = gateway.partition("%")
    is_ipv6 = ":" in ip
    sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((local_ip, 0))
        scope_id = socket.if_nametoindex(zone) if zone else 0
        sock.connect((ip, port, 0, scope_id) if is_ipv6 else (ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _searching(local_ip: str) -> socket.socket:
    """Return a UDP socket whose multicasts leave by the interface of `local_ip`."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((local_ip, 0))
        interface = socket.inet_aton(local_ip)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, MULTICAST_TTL)
    except BaseException:
        sock.close()
        raise
    return sock
