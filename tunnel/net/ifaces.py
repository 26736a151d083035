"""This machine's addresses and its default gateway.

                          addresses                            default gateway
    netifaces             of every interface, on every system  the second choice on Linux, where
    /proc and ioctl       the same on Linux                    /proc also tells the metrics
    a connected socket    the one of the default route         our own address towards it

Connecting a UDP socket sends nothing; it makes the system choose a route and a source address.
netifaces is imported late, here and nowhere else: it is a binary wheel, and a machine without it
loses candidates, not the program.
"""

import errno
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from types import ModuleType
from typing import Literal

from gevent import socket

Version = Literal[4, 6]

# Fixed by the systems.
PROC_ROUTES = Path("/proc/net/route")
PROC_ROUTES_IPV6 = Path("/proc/net/ipv6_route")
PROC_ADDRESSES_IPV6 = Path("/proc/net/if_inet6")
_ROUTE_UP = 0x1
_ROUTE_GATEWAY = 0x2
_INTERFACE_UP = 0x1
_POINT_TO_POINT = 0x10
_GET_FLAGS = {"linux": 0x8913, "darwin": 0xC0206911}  # SIOCGIFFLAGS
_GET_ADDRESS = 0x8915  # SIOCGIFADDR
_GET_NETMASK = 0x891B  # SIOCGIFNETMASK
_REQUEST_SIZE = 40  # struct ifreq
_NAME_SIZE = 16
# Chosen: documentation addresses (RFC 5737, RFC 3849); they are in no network but the internet's.
FAR_AWAY = {4: "192.0.2.1", 6: "2001:db8::1"}
_ANY_PORT = 9
# Chosen: what a hypervisor with hundreds of interfaces would list does not help.
MAX_ADDRESSES = 128


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of this machine.

    Args:
        interface: its name, "" where that is unknown.
        ip: without a zone.
        prefix_length: of its network, 0 to 32 or 128.
        is_up: whether the interface is switched on, as far as the system tells.
    """

    interface: str
    ip: str
    prefix_length: int
    is_up: bool

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can use it."""
        return ip_address(self.ip).is_loopback

    @property
    def is_link_local(self) -> bool:
        """Whether only its own network can use it, with a zone (169.254/16, fe80::/10)."""
        return ip_address(self.ip).is_link_local


@dataclass(frozen=True, slots=True)
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


def local_addresses() -> list[InterfaceAddress]:
    """Return this machine's addresses of both families, each once, at most `MAX_ADDRESSES`.

    The list is empty where they cannot be read, as by a process that has no descriptor left.
    """
    netifaces = _netifaces()
    found: list[InterfaceAddress] = []
    if netifaces is not None:
        with suppress(OSError, ValueError):
            found = list(_by_netifaces(netifaces))
    if not found:
        with suppress(OSError):
            found = list(_by_system())
    if not found:
        found = list(_by_default_routes())
    return list({(each.interface, each.ip): each for each in found}.values())[:MAX_ADDRESSES]


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
    """Return the default gateway of IPv4 or IPv6, None where there is none or it is unknown."""
    route = _route_by_proc(version) or _route_by_netifaces(version)
    if route is None:
        return None
    ip, interface = route
    # Towards a link-local gateway the source would be link-local too, which is not what is mapped.
    local_ip = source_address(version, ip if version == 4 else FAR_AWAY[6])
    if local_ip is None:
        return None
    return Gateway(with_zone(ip, interface), interface, local_ip)


def interface_gateways(version: Version) -> dict[str, str]:
    """Return the gateway of each interface that has one, as netifaces tells."""
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


def _by_netifaces(netifaces: ModuleType) -> Iterator[InterfaceAddress]:
    for interface in netifaces.interfaces():
        by_family = netifaces.ifaddresses(interface)
        is_up = _is_up(interface)
        for family in (netifaces.AF_INET, netifaces.AF_INET6):
            for entry in by_family.get(family, ()):
                address = _interface_address(interface, entry, is_up=is_up)
                if address is not None:
                    yield address


def _interface_address(
    interface: str, entry: dict[str, str], *, is_up: bool
) -> InterfaceAddress | None:
    """Read one entry of netifaces, whose forms differ between systems and versions."""
    try:
        ip = str(ip_address(entry.get("addr", "").partition("%")[0]))
    except ValueError:
        return None
    width = 128 if ":" in ip else 32
    mask = entry.get("mask") or entry.get("netmask") or entry.get("prefixlen") or str(width)
    return InterfaceAddress(interface, ip, _prefix_length(mask, width), is_up)


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


def _is_up(interface: str) -> bool:
    """Tell whether an interface is switched on; yes where the system does not say."""
    return bool(_flags(interface, _INTERFACE_UP) & _INTERFACE_UP)


def _flags(interface: str, unknown: int) -> int:
    request = _GET_FLAGS.get(sys.platform)
    data = None if request is None else _ask_interface(interface, request)
    return unknown if data is None else int(struct.unpack_from("=H", data, _NAME_SIZE)[0])


def _ask_interface(interface: str, request: int) -> bytes | None:
    """Do one ioctl about an interface; None where that is not possible."""
    try:
        import fcntl  # late: Windows has none
    except ImportError:
        return None
    name = interface.encode("utf-8", "surrogateescape")[: _NAME_SIZE - 1]
    with suppress(OSError), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        return bytes(fcntl.ioctl(sock.fileno(), request, name.ljust(_REQUEST_SIZE, b"\0")))
    return None


def _by_system() -> Iterator[InterfaceAddress]:
    """Yield what Linux tells without netifaces: the first IPv4 of each interface, every IPv6."""
    if sys.platform != "linux":
        return
    for _, interface in socket.if_nameindex():
        address = _ask_interface(interface, _GET_ADDRESS)
        mask = _ask_interface(interface, _GET_NETMASK)
        if address is not None and mask is not None:
            ip, netmask = (str(IPv4Address(data[20:24])) for data in (address, mask))
            yield InterfaceAddress(interface, ip, _prefix_length(netmask, 32), _is_up(interface))
    for fields in _proc_rows(PROC_ADDRESSES_IPV6, 6):
        with suppress(ValueError):
            ip = str(IPv6Address(bytes.fromhex(fields[0])))
            yield InterfaceAddress(fields[5], ip, int(fields[2], 16), _is_up(fields[5]))


def _by_default_routes() -> Iterator[InterfaceAddress]:
    versions: tuple[Version, ...] = (4, 6)
    for version in versions:
        ip = source_address(version, FAR_AWAY[version])
        if ip is not None:
            yield InterfaceAddress("", ip, 32 if version == 4 else 128, is_up=True)


def _route_by_netifaces(version: Version) -> tuple[str, str] | None:
    netifaces = _netifaces()
    if netifaces is None:
        return None
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        family = netifaces.AF_INET if version == 4 else netifaces.AF_INET6
        ip, interface = netifaces.gateways()["default"][family][:2]
        return str(ip_address(str(ip).partition("%")[0])), str(interface)
    return None


def _route_by_proc(version: Version) -> tuple[str, str] | None:
    """Return gateway and interface of the default route with the lowest metric, on Linux."""
    routes = list(_routes_ipv4() if version == 4 else _routes_ipv6())
    return min(routes)[1:] if routes else None


def _routes_ipv4() -> Iterator[tuple[int, str, str]]:
    for fields in _proc_rows(PROC_ROUTES, 8):
        with suppress(ValueError):
            is_default = int(fields[1], 16) == 0 and int(fields[7], 16) == 0
            if is_default and _is_gateway_route(int(fields[3], 16)):
                # The kernel prints the four bytes as one number of this machine.
                packed = int(fields[2], 16).to_bytes(4, sys.byteorder)
                yield int(fields[6]), str(IPv4Address(packed)), fields[0]


def _routes_ipv6() -> Iterator[tuple[int, str, str]]:
    for fields in _proc_rows(PROC_ROUTES_IPV6, 10):
        with suppress(ValueError):
            is_default = int(fields[0], 16) == 0 and int(fields[1], 16) == 0
            if is_default and _is_gateway_route(int(fields[8], 16)):
                gateway = str(IPv6Address(bytes.fromhex(fields[4])))
                yield int(fields[5], 16), gateway, fields[9]


def _is_gateway_route(flags: int) -> bool:
    wanted = _ROUTE_UP | _ROUTE_GATEWAY
    return flags & wanted == wanted


def _proc_rows(path: Path, columns: int) -> Iterator[list[str]]:
    """Yield the fields of each line that has enough of them; nothing where there is no /proc."""
    try:
        text = path.read_text("ascii", "replace")
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
