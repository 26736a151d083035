"""The ways out of this machine: which addresses of its interfaces lead to the internet.

    Linux       the kernel is asked, over rtnetlink, for the route that a packet with this source
                and by this interface would take; also rules of policy routing count
    elsewhere   netifaces lists the gateways of every interface

What leads nowhere (a bridge of containers, a network without a router) is not an uplink.  Where a
VPN takes all traffic, the interfaces beside it are not either, and the router before them is not
asked: whoever sends everything by a VPN does not want to be seen past it.  Asking sends nothing.
Sources: rtnetlink(7), linux/rtnetlink.h.
"""

import logging
import struct
import sys
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address

from gevent import socket

from tunnel.net.ifaces import (
    FAR_AWAY,
    Gateway,
    InterfaceAddress,
    Version,
    default_gateway,
    interface_gateways,
    is_point_to_point,
    local_addresses,
    source_address,
    with_zone,
)
from tunnel.proto.paths.lane_plan import Uplink

# Fixed by Linux.
_ROUTE_FAMILY = 0  # NETLINK_ROUTE
_GET_ROUTE, _NEW_ROUTE, _IS_REQUEST = 26, 24, 1
_MATCH_TABLES = 0x2000  # RTM_F_FIB_MATCH: only a route that is in a table counts
_DESTINATION, _SOURCE, _BY_INTERFACE, _GATEWAY = 1, 2, 4, 5
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_INDEX = struct.Struct("=I")
# Chosen.
_MAX_ANSWER = 8192

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """A route that is there; `gateway_ip` is "" where the next machine is not a router."""

    gateway_ip: str


def find_uplinks() -> list[Uplink]:
    """Return the addresses that lead out, of each interface the public ones first."""
    versions: tuple[Version, ...] = (4, 6)
    preferred = {version: source_address(version, FAR_AWAY[version]) for version in versions}
    addresses = [address for address in local_addresses() if _may_lead_out(address)]
    defaults = {
        _version(address): address.interface
        for address in addresses
        if address.ip == preferred[_version(address)]
    }
    uplinks = []
    for address in sorted(addresses, key=lambda each: ip_address(each.ip).is_private):
        version = _version(address)
        default = defaults.get(version)
        is_default = address.interface == default
        if default is not None and not is_default and is_point_to_point(default):
            continue
        route = find_route(version, address.ip, address.interface)
        if route is not None:
            gateway_ip = with_zone(route.gateway_ip, address.interface)
            uplinks.append(Uplink(address.interface, address.ip, gateway_ip, is_default))
    return uplinks


def gateway_of(uplink: Uplink | None, version: Version) -> Gateway | None:
    """Return the router that an uplink leads to; without one, the one that packets go by."""
    if uplink is None:
        gateway = default_gateway(version)
        is_used = gateway and gateway.local_ip == source_address(version, FAR_AWAY[version])
        return gateway if is_used else None
    if not uplink.gateway_ip:
        return None
    return Gateway(uplink.gateway_ip, uplink.interface, uplink.ip)


def find_route(version: Version, source_ip: str, interface: str) -> Route | None:
    """Return the route out for what is sent from an address by an interface, None for none."""
    if not sys.platform.startswith("linux"):
        gateway_ip = interface_gateways(version).get(interface)
        return None if gateway_ip is None else Route(gateway_ip)
    try:
        answer = _ask_kernel(version, source_ip, interface)
    except OSError as error:
        _log.debug("the routes of %s cannot be read: %s", interface, error)
        return None
    return _read_route(version, answer)


def _may_lead_out(address: InterfaceAddress) -> bool:
    is_own = address.is_loopback or address.is_link_local
    return address.is_up and bool(address.interface) and not is_own


def _version(address: InterfaceAddress) -> Version:
    return 6 if ":" in address.ip else 4


def _ask_kernel(version: Version, source_ip: str, interface: str) -> bytes:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    bits = 32 if version == 4 else 128
    question = _ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, _MATCH_TABLES)
    question += _attribute(_DESTINATION, socket.inet_pton(family, FAR_AWAY[version]))
    question += _attribute(_SOURCE, socket.inet_pton(family, source_ip))
    question += _attribute(_BY_INTERFACE, _INDEX.pack(socket.if_nametoindex(interface)))
    header = _HEADER.pack(_HEADER.size + len(question), _GET_ROUTE, _IS_REQUEST, 1, 0)
    kernel = socket._socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE_FAMILY)  # noqa: SLF001 - the plain one: the answer is there when `send` returns
    with closing(kernel):
        kernel.setblocking(False)
        kernel.send(header + question)
        return bytes(kernel.recv(_MAX_ANSWER))


def _read_route(version: Version, answer: bytes) -> Route | None:
    """Read the kernel's answer; anything but a route means that there is none."""
    if len(answer) < _HEADER.size + _ROUTE.size or _HEADER.unpack_from(answer)[1] != _NEW_ROUTE:
        return None
    at = _HEADER.size + _ROUTE.size
    gateway_ip = ""
    while at + _ATTRIBUTE.size <= len(answer):
        size, kind = _ATTRIBUTE.unpack_from(answer, at)
        value = answer[at + _ATTRIBUTE.size : at + size]
        if kind == _GATEWAY and len(value) == (4 if version == 4 else 16):
            gateway_ip = str(ip_address(value))
        at += max(_ATTRIBUTE.size, size + -size % 4)
    return Route(gateway_ip)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
