"""Checking a network with real sockets: the NAT, relays, port mappers, sign-in pages.

    check_nat       two UDP sockets of one family around `tunnel.proto.netcheck.nat_behaviour`
    check_relay     one login to a region, as a conversation would do it
    check_mappers   each protocol maps a port of its own at the gateway, and releases it again
    look_for_page   whether a sign-in page answers plain HTTP in a relay's place

Nothing here raises for what a network does or fails to do: that is the finding.
"""

import errno
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from ipaddress import ip_address

import gevent
from gevent import socket
from gevent.event import Event

from tunnel.addresses import host_and_port
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import HostUnreachable, RelayError, RelayFault, RelayRedirected
from tunnel.net import ifaces
from tunnel.net.clock import monotonic
from tunnel.net.deadlines import Deadlines
from tunnel.net.ifaces import Gateway, InterfaceAddress
from tunnel.net.ports.portmap import GatewayPorts, PortMapper
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.relay_client.dial import DialOptions, limited, location_of, read_head
from tunnel.net.relay_client.regions import stun_addresses
from tunnel.net.rtnetlink import Version
from tunnel.net.sockets import connect_tcp
from tunnel.net.tasks import TaskGroup
from tunnel.net.threads import in_thread
from tunnel.proto.netcheck.checks import (
    PLAIN_HTTP_PORT,
    MapperCheck,
    RelayCheck,
    SignInPage,
    sign_in_page,
)
from tunnel.proto.netcheck.nat_behaviour import LANES, NatCheck, NatFindings
from tunnel.proto.paths.candidates import is_overlay
from tunnel.proto.portmap.mapping import Failure, MappingMade, MappingProtocol, Reason
from tunnel.units import Instant, Seconds
from tunnel.wire.derp import GoneReason
from tunnel.wire.derpmap import RelayNode, RelayRegion
from tunnel.wire.stun import SocketAddress

__all__ = [
    "check_mappers",
    "check_nat",
    "check_relay",
    "default_gateway",
    "is_overlay",
    "link_local_zones",
    "local_addresses",
    "look_for_page",
]

# Fixed by the protocol: tailscale net/captivedetection.
PORTAL_PATH = "/generate_204"

# Chosen.
MAX_DATAGRAM_SIZE = 2048
RETRY_S = 0.05  # after a failed receive: an ICMP error of an earlier datagram
RELEASE_S = 1.0  # for a gateway to confirm that it took a mapping back; at most half the budget
NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
LOOPBACK_NAMES = ("lo", "lo0")
MAX_LOOKUPS = 8  # STUN servers whose names are looked up


def local_addresses() -> list[InterfaceAddress]:
    """Return this machine's addresses, the most useful first; see `tunnel.net.ifaces`."""
    return in_thread(ifaces.local_addresses)


def default_gateway(version: Version = 4) -> Gateway | None:
    """Return the default gateway of a family, None where there is none or it is unknown."""
    return in_thread(ifaces.default_gateway, version)


def link_local_zones() -> list[str]:
    """Return the names of the interfaces that a link-local IPv6 address may need, oldest first."""
    if not hasattr(socket, "if_nameindex"):
        return []
    return [name for _, name in sorted(socket.if_nameindex()) if name not in LOOPBACK_NAMES]


# -- NAT ------------------------------------------------------------------------------------


def check_nat(
    nodes: Sequence[RelayNode],
    local_addresses: Collection[str],
    entropy: Callable[[int], bytes],
    budget_s: Seconds,
    *,
    is_ipv6: bool,
    round_trip_s: Seconds = 0.0,
    port: int = 0,
) -> NatFindings | None:
    """Return what the NAT does to UDP of one family.

    Args:
        nodes: whose STUN servers are asked, the nearest first.
        local_addresses: this machine's addresses.
        entropy: returns that many random bytes.
        budget_s: the longest it may take.
        is_ipv6: the family.
        round_trip_s: how long answers take here, if that is known to be long.
        port: to ask from; another one where it is taken, 0 for any.

    None where this machine lacks the family or no server has an address of it.
    """
    deadline = Instant(monotonic() + budget_s)
    servers = _stun_servers(nodes, budget_s / 2, is_ipv6=is_ipv6)
    is_here = any(ip_address(ip).is_loopback for ip, _ in servers)
    usable = [ip for ip in local_addresses if _is_usable(ip, is_ipv6, allows_loopback=is_here)]
    if not servers or not usable:
        return None
    sockets: list[socket.socket] = []
    try:
        for lane in range(LANES):
            sockets.append(_udp_socket(is_ipv6, 0 if lane else port))
        ports = (sockets[0].getsockname()[1], sockets[1].getsockname()[1])
        check = NatCheck(monotonic(), servers, ports, local_addresses, entropy, round_trip_s)
        has_route = _run_check(check, sockets, deadline)
    except OSError:
        return None  # a machine without this family
    finally:
        for sock in sockets:
            sock.close()
    return check.findings() if has_route else None


def _run_check(check: NatCheck, sockets: list[socket.socket], deadline: Instant) -> bool:
    """Carry the check out; tell whether there is a way to any server at all."""
    answered, deadlines = Event(), Deadlines("the check of NATs")

    def receive(lane: int, sock: socket.socket) -> None:
        while True:
            try:
                data, source = sock.recvfrom(MAX_DATAGRAM_SIZE)
            except OSError:
                gevent.sleep(RETRY_S)
                continue
            check.handle_datagram(monotonic(), lane, data, (source[0], source[1]))
            answered.set()

    with TaskGroup("nat check") as tasks:
        for lane, sock in enumerate(sockets):
            tasks.spawn(f"lane {lane}", receive, lane, sock)
        while (now := monotonic()) < deadline:
            due = check.datagrams_to_send(now)
            has_way = [_send(sockets[each.lane], each.data, each.to) for each in due]
            if has_way and not any(has_way) and not check.findings().is_udp_working:
                return False
            due_at = deadlines.come_back_at(check.next_timeout(), now)
            if due_at is None:
                break
            answered.clear()
            answered.wait(max(0.0, min(due_at, deadline) - monotonic()))
        tasks.raise_failure()
    return True


def _send(sock: socket.socket, data: bytes, to: SocketAddress) -> bool:
    """Send a datagram; tell whether this machine knows a way there."""
    try:
        sock.sendto(data, to)
    except OSError as error:
        # Where UDP is forbidden, nothing answers, which is what we find out.
        return error.errno not in NO_WAY
    return True


def _udp_socket(is_ipv6: bool, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        host = "::" if is_ipv6 else ""
        try:
            sock.bind((host, port))
        except OSError:
            sock.bind((host, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _stun_servers(
    nodes: Sequence[RelayNode], budget_s: Seconds, *, is_ipv6: bool
) -> list[SocketAddress]:
    """Look the nodes up, all at once, and return the STUN servers of one family in their order."""
    wanted = int(socket.AF_INET6 if is_ipv6 else socket.AF_INET)
    found: dict[int, SocketAddress] = {}

    def look_up(turn: int, node: RelayNode) -> None:
        try:
            addresses = stun_addresses(node)
        except HostUnreachable:
            return  # its name is unknown; the others are asked all the same
        for family, address in addresses:
            if family == wanted:
                found[turn] = (address, node.stun_port)

    with TaskGroup("stun names") as tasks, gevent.Timeout(max(budget_s, 0.001), False):
        for turn, node in enumerate([node for node in nodes if node.stun_port > 0][:MAX_LOOKUPS]):
            tasks.spawn(node.name, look_up, turn, node)
        tasks.join()
    return list(dict.fromkeys(found[turn] for turn in sorted(found)))


def _is_usable(ip: str, is_ipv6: bool, *, allows_loopback: bool) -> bool:
    address = ip_address(ip)
    if (address.version == 6) is not is_ipv6 or address.is_link_local:
        return False
    return allows_loopback or not address.is_loopback


# -- relays ---------------------------------------------------------------------------------


class _Watcher:
    """Hears of one relay; packets for a key that nobody knows are not awaited."""

    def __init__(self) -> None:
        self.changed = Event()

    def relay_packet(self, relay: RelayConnection, source: DerpKey, packet: memoryview) -> None:
        """Drop it."""

    def relay_read_done(self, relay: RelayConnection) -> None:
        """Do nothing."""

    def relay_peer_gone(self, relay: RelayConnection, key: DerpKey, reason: GoneReason) -> None:
        """Do nothing."""

    def relay_changed(self, relay: RelayConnection) -> None:
        """Look again."""
        self.changed.set()

    def relay_has_room(self, relay: RelayConnection) -> None:
        """Do nothing."""


def check_relay(
    region: RelayRegion,
    keys: KeyPair,
    options: DialOptions,
    budget_s: Seconds,
    patience_s: Seconds = 0.0,
) -> RelayCheck:
    """Log in to a region once, over all its nodes, and leave again.

    Args:
        region: whose nodes are tried.
        keys: used for this login alone.
        options: how to dial.
        budget_s: how long there may be no sign of life.
        patience_s: how long a login may take in all, as long as it gets on.
    """
    started_at = monotonic()
    watcher = _Watcher()
    with TaskGroup("relay check") as tasks:
        relay = RelayConnection(region, keys, watcher, options, tasks)
        relay.start()
        try:
            while relay.is_trying:
                watcher.changed.clear()
                if relay.state is RelayState.CONNECTED:
                    took_s = monotonic() - started_at
                    return RelayCheck(
                        relay.node,
                        took_s,
                        None,
                        round_trip_s=relay.round_trip_s,
                        leaf_pin=relay.leaf_pin,
                    )
                limit_s = max(budget_s, patience_s) if relay.is_getting_on else budget_s
                left_s = started_at + limit_s - monotonic()
                if left_s <= 0:
                    break
                watcher.changed.wait(left_s)
            error = relay.last_error
            name = f"relay {relay.node.address}" if relay.node else "the relay"
            if error is None:
                doing = f" ({relay.step.value})" if relay.step else ""
                late = f"{name} did not answer within {monotonic() - started_at:.1f} s{doing}"
                return RelayCheck(relay.node, None, late, RelayFault.UNREACHABLE)
            location = error.location if isinstance(error, RelayRedirected) else None
            return RelayCheck(relay.node, None, str(error), error.fault, location)
        finally:
            relay.close()


def look_for_page(node: RelayNode, options: DialOptions, budget_s: Seconds) -> SignInPage | None:
    """Return the sign-in page that answers plain HTTP instead of a relay.

    None without one, and where that cannot be found out: no plain HTTP at this relay, a proxy in
    between, silence.
    """
    if node.use_tls and not node.can_port_80:
        return None
    port = PLAIN_HTTP_PORT if node.use_tls else node.derp_port
    if options.proxy.proxy_for(node.host, port, use_tls=False) is not None:
        return None
    host = host_and_port(node.host, port)
    lines = (f"GET {PORTAL_PATH} HTTP/1.1", f"Host: {host}", "User-Agent: derphole")
    request = "\r\n".join((*lines, "Connection: close", "", ""))
    try:
        with limited(budget_s, "did not answer in time"):
            sock = connect_tcp(node.host, port, node.ipv4, node.ipv6)
            with closing(sock):
                sock.sendall(request.encode("ascii"))
                head, _ = read_head(sock)
    except (RelayError, HostUnreachable, OSError):
        return None
    return sign_in_page(head.status, location_of(head), node.host, port)


# -- port mappers ---------------------------------------------------------------------------


def check_mappers(
    gateway: Gateway,
    entropy: Callable[[int], bytes],
    budget_s: Seconds,
    ports: GatewayPorts | None = None,
) -> list[MapperCheck]:
    """Ask a gateway for a port by every protocol at once, and give each back.

    Takes `budget_s`, and up to a second more for giving back; that is done too when the greenlet
    is killed meanwhile.  An IPv6 gateway is asked only by PCP.
    """
    protocols = [MappingProtocol.PCP] if ":" in gateway.ip else list(MappingProtocol)
    found: dict[MappingProtocol, MapperCheck] = {}

    def check(protocol: MappingProtocol) -> None:
        found[protocol] = _check_mapper(protocol, gateway, entropy, budget_s, ports)

    with TaskGroup("port mappers") as tasks:
        for protocol in protocols:
            tasks.spawn(protocol.value, check, protocol)
        tasks.join()
    return [found[protocol] for protocol in protocols]


def _check_mapper(
    protocol: MappingProtocol,
    gateway: Gateway,
    entropy: Callable[[int], bytes],
    budget_s: Seconds,
    ports: GatewayPorts | None,
) -> MapperCheck:
    ip, local_ip = gateway.ip, gateway.local_ip
    mapper = PortMapper(ip, local_ip, entropy, protocols=[protocol], ports=ports)
    # The port is held, so that what a stranger sends there meanwhile comes to nobody's socket.
    with closing(_udp_socket(":" in local_ip)) as held, TaskGroup(protocol.value) as tasks:
        mapper.start(tasks)
        mapped = mapper.map(held.getsockname()[1])
        try:
            event = mapped.next_event(budget_s)
            is_found = protocol in mapped.services_seen()
            failure = mapped.failures().get(protocol)
        finally:
            is_given_back = mapper.release(min(RELEASE_S, budget_s / 2))
            tasks.kill()
            mapper.close()
    if isinstance(event, MappingMade):
        return MapperCheck(protocol, True, event.mapping, None, is_given_back)
    return MapperCheck(protocol, is_found, None, failure or Failure(Reason.SILENT))
