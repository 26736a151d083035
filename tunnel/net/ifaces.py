"""This machine's addresses and its default gateway.

                          addresses                            default gateway
    rtnetlink             of every interface, on Linux         the kernel is asked for one route
    netifaces             the same on other systems            of the table, which it reads
    ioctl and /proc       on Linux where nobody may ask        the head of the table of IPv4
    a connected socket    the one of the default route         our own address towards it

Connecting a UDP socket sends nothing; it makes the system choose a route and a source address.
netifaces is imported late, here and nowhere else: it is a binary wheel, and a machine without it
loses candidates, not the program.  It takes the whole list anew for each interface, seconds where
there are hundreds: looking belongs into a thread.
"""

import errno
import socket  # the plain one: nothing is waited for here, in whatever thread
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from types import ModuleType

from tunnel.net.rtnetlink import KernelLink, RouteKernel, Version
from tunnel.values import frozen

# Fixed by the systems.
PROC_ROUTES = Path("/proc/net/route")
PROC_ADDRESSES_IPV6 = Path("/proc/net/if_inet6")
_ROUTE_UP = 0x1
_ROUTE_GATEWAY = 0x2
_UP, _POINT_TO_POINT, _RUNNING = 0x1, 0x10, 0x40
_GET_FLAGS = {"linux": 0x8913, "darwin": 0xC0206911}  # SIOCGIFFLAGS
_GET_LIST = 0x8912  # SIOCGIFCONF: the first IPv4 address of each interface
_GET_NETMASK = 0x891B  # SIOCGIFNETMASK
_REQUEST_SIZE = 40  # struct ifreq
_NAME_SIZE = 16
_DEPRECATED, _UNUSABLE = 0x20, 0x08 | 0x40  # as in if_inet6: duplicate, tentative
# Chosen: documentation addresses (RFC 5737, RFC 3849); they are in no network but the internet's.
FAR_AWAY: dict[Version, str] = {4: "192.0.2.1", 6: "2001:db8::1"}
_ANY_PORT = 9
# Chosen: what a hypervisor with hundreds of addresses would list does not help.
MAX_ADDRESSES = 128
# Chosen: the kernel prints the default route first; a router with a full table has 60 MB of it.
_HEAD_SIZE = 16 << 10
_LIST_SIZE = 4096 * _REQUEST_SIZE


@frozen
class InterfaceAddress:
    """An address of this machine.

    Args:
        interface: its name, "" where that is unknown.
        ip: without a zone.
        prefix_length: of its network, 0 to 32 or 128.
    """

    interface: str
    ip: str
    prefix_length: int

    @property
    def version(self) -> Version:
        """The family."""
        return 6 if ":" in self.ip else 4

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can use it."""
        return ip_address(self.ip).is_loopback

    @property
    def is_link_local(self) -> bool:
        """Whether only its own network can use it (169.254/16, fe80::/10)."""
        return ip_address(self.ip).is_link_local

    @property
    def needs_zone(self) -> bool:
        """Whether it means nothing without the interface: fe80::/10, of which each has one."""
        return ":" in self.ip and self.is_link_local


@frozen
class Gateway:
    """The default gateway of one family.

    Args:
        ip: its address; a link-local one has its zone (fe80::1%eth0).
        interface: the way to it.
        local_ip: our address for what goes through it.
    """

    ip: str
    interface: str
    local_ip: str


@frozen
class _Found:
    """An address of an interface that is up, and what tells how much use it is."""

    address: InterfaceAddress
    is_running: bool = True
    is_physical: bool = False
    is_deprecated: bool = False


def local_addresses() -> list[InterfaceAddress]:
    """Return the addresses in use of both families, the most useful first.

    Each is there once, at most `MAX_ADDRESSES`: what packets leave from by default, then that
    interface's others, then those of hardware, of software (bridges of containers), of interfaces
    with nothing at the other end; link-local ones and the loopback's last.  IPv6 addresses that
    need a zone are not among them.  The list is empty where none can be read, as by a process that
    has no descriptor left.  It takes milliseconds, seconds in other systems than Linux: call it in
    a thread.
    """
    found = _first_that_finds(_by_kernel, _by_netifaces, _by_system, _by_default_routes)
    best: dict[str, InterfaceAddress] = {}
    for each in _by_use(found):
        best.setdefault(each.ip, each)
    return list(best.values())[:MAX_ADDRESSES]


def _first_that_finds(*ways: Callable[[], Iterable[_Found]]) -> list[_Found]:
    for way in ways:
        with suppress(OSError, ValueError):
            found = [each for each in way() if not each.address.needs_zone]
            if found:
                return found
    return []


def _by_use(found: Iterable[_Found]) -> list[InterfaceAddress]:
    """Sort addresses by how likely others reach us by them; those alike stay in order."""
    everything = list(found)
    preferred = {source_address(version, ip) for version, ip in FAR_AWAY.items()}
    defaults = {
        (each.address.interface, each.address.version)
        for each in everything
        if each.address.ip in preferred
    }

    def rank(each: _Found) -> tuple[bool, ...]:
        address = each.address
        return (
            address.is_loopback,
            address.is_link_local,
            address.ip not in preferred,
            (address.interface, address.version) not in defaults,
            not each.is_running,
            not each.is_physical,
            each.is_deprecated,
        )

    return [each.address for each in sorted(everything, key=rank)]


def has_address(ip: str, scope: int = 0) -> bool:
    """Tell whether this machine has an address now; yes where the system does not say.

    Args:
        ip: without a zone.
        scope: the zone's number, for link-local IPv6.
    """
    family, place = (socket.AF_INET6, (ip, 0, 0, scope)) if ":" in ip else (socket.AF_INET, (ip, 0))
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
            sock.bind(place)
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


def default_gateway(version: Version = 4) -> Gateway | None:
    """Return the gateway of what has no other route, None where there is none or it is unknown.

    Not free of charge in other systems than Linux: call it in a thread.
    """
    route = _default_route(version)
    if route is None:
        return None
    ip, interface = route
    # Towards a link-local gateway the source would be link-local too, which is not what is mapped.
    local_ip = source_address(version, ip if version == 4 else FAR_AWAY[6])
    if local_ip is None:
        return None
    return Gateway(with_zone(ip, interface), interface, local_ip)


def interface_gateways(version: Version) -> dict[str, str]:
    """Return the gateway of each interface that has one, as netifaces tells; reads the table."""
    netifaces = _netifaces()
    gateways: dict[str, str] = {}
    if netifaces is not None:
        family = netifaces.AF_INET if version == 4 else netifaces.AF_INET6
        with suppress(OSError, ValueError):
            for entry in netifaces.gateways().get(family, ()):
                gateways.setdefault(str(entry[1]), str(entry[0]).partition("%")[0])
    return gateways


def _netifaces() -> ModuleType | None:
    try:
        import netifaces  # late: see above
    except ImportError:
        return None
    return netifaces


def _by_kernel() -> Iterator[_Found]:
    """Yield what Linux tells: one dump of addresses, and a question for each interface with any."""
    links: dict[int, KernelLink | None] = {}
    with RouteKernel() as kernel:
        for each in kernel.addresses():
            if each.index not in links:
                links[each.index] = kernel.link(each.index)
            link = links[each.index]
            if link is not None and link.is_up:
                address = InterfaceAddress(link.name, each.ip, each.prefix_length)
                yield _Found(address, link.is_running, not link.is_virtual, each.is_deprecated)


def _by_netifaces() -> Iterator[_Found]:
    netifaces = _netifaces()
    if netifaces is None:
        return
    for interface in netifaces.interfaces():
        flags = _flags(interface, _UP | _RUNNING)
        if not flags & _UP:
            continue
        by_family = netifaces.ifaddresses(interface)
        for family in (netifaces.AF_INET, netifaces.AF_INET6):
            for entry in by_family.get(family, ()):
                address = _interface_address(interface, entry)
                if address is not None:
                    yield _Found(address, bool(flags & _RUNNING))


def _interface_address(interface: str, entry: dict[str, str]) -> InterfaceAddress | None:
    """Read one entry of netifaces, whose forms differ between systems and versions."""
    try:
        ip = str(ip_address(entry.get("addr", "").partition("%")[0]))
    except ValueError:
        return None
    width = 128 if ":" in ip else 32
    mask = entry.get("mask") or entry.get("netmask") or entry.get("prefixlen") or str(width)
    return InterfaceAddress(interface, ip, _prefix_length(mask, width))


def _prefix_length(mask: str, width: int) -> int:
    """Read "255.255.255.0", "ffff:ffff::", "ffff:ffff::/32" or "24"; unreadable: one address."""
    text = mask.rpartition("/")[2]
    try:
        if ":" in text:
            return int(IPv6Address(text)).bit_count()
        return ip_network(f"{'::' if width == 128 else '0.0.0.0'}/{text}").prefixlen  # noqa: S104
    except ValueError:
        return width


def is_point_to_point(interface: str) -> bool:
    """Tell whether an interface leads to one other machine, as a VPN's does; no if unknown."""
    return bool(_flags(interface, 0) & _POINT_TO_POINT)


def _flags(interface: str, unknown: int) -> int:
    """Return the flags of an interface; `unknown` where the system does not say."""
    request = _GET_FLAGS.get(sys.platform)
    with suppress(OSError), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asker:
        data = None if request is None else _ask_interface(asker, interface, request)
        return unknown if data is None else int(struct.unpack_from("=H", data, _NAME_SIZE)[0])
    return unknown


def _ask_interface(asker: socket.socket, interface: str, request: int) -> bytes | None:
    """Do one ioctl about an interface; None where that is not possible."""
    try:
        import fcntl  # late: Windows has none
    except ImportError:
        return None
    name = interface.encode("utf-8", "surrogateescape")[: _NAME_SIZE - 1]
    with suppress(OSError):
        return bytes(fcntl.ioctl(asker.fileno(), request, name.ljust(_REQUEST_SIZE, b"\0")))
    return None


def _by_system() -> Iterator[_Found]:
    """Yield what Linux tells whom it lets not ask: an IPv4 of each interface, every IPv6."""
    if sys.platform != "linux":
        return
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asker:
        for interface, ip in _listed_ipv4(asker):
            mask = _ask_interface(asker, interface, _GET_NETMASK)
            netmask = str(IPv4Address(mask[20:24])) if mask else ""
            flags = _flags(interface, _UP | _RUNNING)
            if flags & _UP:
                address = InterfaceAddress(interface, ip, _prefix_length(netmask, 32))
                yield _Found(address, bool(flags & _RUNNING))
        for fields in _proc_rows(PROC_ADDRESSES_IPV6, 6):
            with suppress(ValueError):
                ip, state = str(IPv6Address(bytes.fromhex(fields[0]))), int(fields[4], 16)
                address = InterfaceAddress(fields[5], ip, int(fields[2], 16))
                if address.needs_zone or state & _UNUSABLE:
                    continue
                flags = _flags(address.interface, _UP | _RUNNING)
                if flags & _UP:
                    is_deprecated = bool(state & _DEPRECATED)
                    yield _Found(address, bool(flags & _RUNNING), is_deprecated=is_deprecated)


def _listed_ipv4(asker: socket.socket) -> Iterator[tuple[str, str]]:
    """Yield interface and address of what SIOCGIFCONF lists, which asks no netlink."""
    import array
    import fcntl

    rows = array.array("B", bytes(_LIST_SIZE))
    request = struct.pack("iP", len(rows), rows.buffer_info()[0])
    size = struct.unpack("iP", fcntl.ioctl(asker.fileno(), _GET_LIST, request))[0]
    listed = rows.tobytes()[:size]
    for at in range(0, size, _REQUEST_SIZE):
        name = listed[at : at + _NAME_SIZE].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        yield name, str(IPv4Address(listed[at + 20 : at + 24]))


def _by_default_routes() -> Iterator[_Found]:
    for version, far_away in FAR_AWAY.items():
        ip = source_address(version, far_away)
        if ip is not None:
            yield _Found(InterfaceAddress("", ip, 32 if version == 4 else 128))


def _default_route(version: Version) -> tuple[str, str] | None:
    """Return gateway and interface of the route that leads out."""
    if not sys.platform.startswith("linux"):
        return _route_by_netifaces(version)
    with suppress(OSError), RouteKernel() as kernel:
        route = kernel.route(version, FAR_AWAY[version])
        if route is not None and route.gateway_ip:
            return route.gateway_ip, socket.if_indextoname(route.index)
    return _route_by_proc() if version == 4 else None


def _route_by_netifaces(version: Version) -> tuple[str, str] | None:
    netifaces = _netifaces()
    if netifaces is None:
        return None
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        family = netifaces.AF_INET if version == 4 else netifaces.AF_INET6
        ip, interface = netifaces.gateways()["default"][family][:2]
        return str(ip_address(str(ip).partition("%")[0])), str(interface)
    return None


def _route_by_proc() -> tuple[str, str] | None:
    """Return gateway and interface of the IPv4 default route with the lowest metric, on Linux."""
    routes = []
    for fields in _proc_rows(PROC_ROUTES, 8, _HEAD_SIZE):
        with suppress(ValueError):
            is_default = int(fields[1], 16) == 0 and int(fields[7], 16) == 0
            if is_default and _is_gateway_route(int(fields[3], 16)):
                # The kernel prints the four bytes as one number of this machine.
                packed = int(fields[2], 16).to_bytes(4, sys.byteorder)
                routes.append((int(fields[6]), str(IPv4Address(packed)), fields[0]))
    return min(routes)[1:] if routes else None


def _is_gateway_route(flags: int) -> bool:
    wanted = _ROUTE_UP | _ROUTE_GATEWAY
    return flags & wanted == wanted


def _proc_rows(path: Path, columns: int, size: int = -1) -> Iterator[list[str]]:
    """Yield the fields of each line that has enough of them; nothing without /proc.

    Args:
        path: of the table.
        columns: how many fields are enough.
        size: bytes to read at most, -1 for all.
    """
    try:
        with path.open("rb", buffering=0) as file:
            text = file.read(size).decode("ascii", "replace")
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= columns:
            yield fields


def source_address(version: Version, destination: str) -> str | None:
    """Return our address towards a destination, without a packet; None where no route leads."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
        sock.connect((destination, _ANY_PORT))
        ip = str(sock.getsockname()[0]).partition("%")[0]
        return None if ip_address(ip).is_unspecified else ip
    return None


def with_zone(ip: str, interface: str) -> str:
    """Return a link-local IPv6 address with its zone, any other text as it is."""
    return f"{ip}%{interface}" if ":" in ip and ip_address(ip).is_link_local else ip
