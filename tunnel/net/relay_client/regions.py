"""Measuring the relay regions: STUN to all of them at once, HTTPS where UDP is dead.

Source: tailscale net/netcheck/netcheck.go; the plan and the choice are `tunnel.proto.netcheck`.
"""

from collections.abc import Callable

from gevent import socket
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from tunnel.errors import DecodeError, HostUnreachable, RelayError, RelayUnreachable
from tunnel.net.clock import monotonic
from tunnel.net.deadlines import Deadlines
from tunnel.net.names import Address
from tunnel.net.relay_client.dial import Dialling, DialOptions, host_header, limited, read_head
from tunnel.net.relay_client.proxy import ProxySettings
from tunnel.net.relay_client.relay_map import FETCH_PATIENCE_S, FETCH_TIMEOUT_S, load_relay_map
from tunnel.net.relay_client.tls import Authorities
from tunnel.net.sockets import resolve
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_client.regions import (
    Probe,
    RegionLatency,
    StunMeasurement,
    choose_regions,
    fallback_regions,
    measurable_regions,
)
from tunnel.units import Instant, Seconds
from tunnel.wire.derpmap import (
    DEFAULT_STUN_PORT,
    FAMILY_OFF,
    STUN_OFF,
    RelayMap,
    RelayNode,
    RelayRegion,
    parse_relay_url,
)
from tunnel.wire.stun import decode_binding_response, encode_binding_request

__all__ = [
    "DEFAULT_STUN_PORT",
    "FAMILY_OFF",
    "FETCH_PATIENCE_S",
    "FETCH_TIMEOUT_S",
    "STUN_OFF",
    "Authorities",
    "ProxySettings",
    "RegionLatency",
    "RelayMap",
    "RelayNode",
    "RelayRegion",
    "choose_regions",
    "fallback_regions",
    "load_relay_map",
    "measurable_regions",
    "measure_by_https",
    "measure_by_stun",
    "measure_regions",
    "parse_relay_url",
    "stun_addresses",
]

# Fixed by the protocol.
LATENCY_PATH = "/derp/latency-check"

# Chosen.
MAX_PARALLEL_CHECKS = 16  # TLS handshakes cost CPU time, which would show up as latency
MAX_DATAGRAM_SIZE = 2048
MAX_SOCKET_ERRORS = 200  # some systems report ICMP errors of earlier datagrams by recv


def measure_regions(
    relay_map: RelayMap,
    entropy: Callable[[int], bytes],
    budget_s: Seconds,
    options: DialOptions,
) -> list[RegionLatency]:
    """Return the round-trip times of the regions that answered within `budget_s`, in any order.

    An empty list means that no relay can be reached, or none in time.
    """
    deadline = Instant(monotonic() + budget_s)
    latencies = measure_by_stun(relay_map, entropy, budget_s)
    return latencies or measure_by_https(relay_map, deadline - monotonic(), options)


def measure_by_stun(
    relay_map: RelayMap, entropy: Callable[[int], bytes], budget_s: Seconds
) -> list[RegionLatency]:
    """Return the regions whose STUN servers answered within `budget_s`, half of it if none does."""
    return _StunRun(StunMeasurement(relay_map, entropy, monotonic(), budget_s)).run()


def measure_by_https(
    relay_map: RelayMap, budget_s: Seconds, options: DialOptions
) -> list[RegionLatency]:
    """Time a small request to the first node of every region, over a connection made before."""
    deadline = Instant(monotonic() + budget_s)
    found: list[RegionLatency] = []
    places = BoundedSemaphore(MAX_PARALLEL_CHECKS)

    def check(region_id: int, node: RelayNode) -> None:
        with places:
            try:
                with limited(deadline - monotonic(), "did not answer in time"):
                    found.append(RegionLatency(region_id, _time_request(node, options)))
            except RelayError:
                return  # a region that cannot be reached has no latency

    with TaskGroup("latency") as tasks:
        for region in measurable_regions(relay_map):
            tasks.spawn(region.code, check, region.id, region.relay_nodes[0])
        tasks.join()
    return found


def stun_addresses(node: RelayNode) -> list[Address]:
    """Return one address per family; a node with an address in the map is not looked up.

    Raises `HostUnreachable` for a node without an address.
    """
    ipv4, ipv6 = node.ipv4, node.ipv6
    if any(field not in ("", FAMILY_OFF) for field in (ipv4, ipv6)):
        ipv4, ipv6 = ipv4 or FAMILY_OFF, ipv6 or FAMILY_OFF
    addresses = resolve(node.host, ipv4, ipv6)
    return list({family: (family, address) for family, address in reversed(addresses)}.values())


class _StunRun:
    """One measurement by STUN: a socket per address family and a greenlet that reads it."""

    def __init__(self, measurement: StunMeasurement) -> None:
        self._measurement = measurement
        self._answered = Event()
        self._socket_by_family: dict[int, socket.socket] = {}

    def run(self) -> list[RegionLatency]:
        measurement, deadlines = self._measurement, Deadlines("the measurement of regions")
        try:
            with TaskGroup("stun") as tasks:
                self._open_sockets(tasks)
                while not measurement.is_finished(now := monotonic()):
                    for probe in measurement.probes_to_send(now):
                        tasks.spawn(probe.node.name, self._send, probe)
                    self._answered.clear()
                    due = deadlines.come_back_at(measurement.next_timeout(), now)
                    self._answered.wait(max(0.0, (due or now) - monotonic()))
        finally:
            for sock in self._socket_by_family.values():
                sock.close()
        return measurement.latencies()

    def _open_sockets(self, tasks: TaskGroup) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM)
            except OSError:
                continue  # a machine without this family
            self._socket_by_family[int(family)] = sock
            tasks.spawn("answers", self._receive, sock)

    def _send(self, probe: Probe) -> None:
        try:
            addresses = stun_addresses(probe.node)
        except HostUnreachable:
            return  # its name is unknown; the other nodes and regions are asked all the same
        request = encode_binding_request(probe.transaction_id)
        for family, address in addresses:
            sock = self._socket_by_family.get(family)
            if sock is None:
                continue
            try:
                sock.sendto(request, (address, probe.node.stun_port))
            except OSError:
                continue  # no route in this family, or UDP is forbidden: then nothing answers

    def _receive(self, sock: socket.socket) -> None:
        errors = 0
        while errors < MAX_SOCKET_ERRORS:
            try:
                response = decode_binding_response(sock.recv(MAX_DATAGRAM_SIZE))
            except DecodeError:
                continue
            except OSError:
                errors += 1  # says nothing about other destinations
                continue
            self._measurement.handle_response(monotonic(), response.transaction_id)
            self._answered.set()


def _time_request(node: RelayNode, options: DialOptions) -> Seconds:
    stream = Dialling(node, options).stream()
    try:
        lines = [f"GET {LATENCY_PATH} HTTP/1.1", f"Host: {host_header(node)}"]
        request = "\r\n".join((*lines, "User-Agent: derphole", "Connection: close", "", ""))
        started_at = monotonic()
        stream.socket.sendall(request.encode("ascii"))
        head, _ = read_head(stream.socket)
        latency_s = monotonic() - started_at
    except OSError as error:
        raise RelayUnreachable("broke the connection off") from error
    finally:
        stream.socket.close()
    if head.status != 200:
        raise RelayUnreachable(f"answered the latency check with HTTP {head.status}")
    return latency_s
