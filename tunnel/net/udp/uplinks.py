"""A look at the network: our addresses, the ways out of this machine, the routers on them.

    Linux       the kernel is asked, over rtnetlink, for the route that a packet with this source
                and by this interface would take; also rules of policy routing count
    elsewhere   netifaces lists the gateways of every interface

What leads nowhere (a bridge of containers, a network without a router) is not an uplink.  Where a
VPN takes all traffic, the interfaces beside it are not either, and the router before them is not
asked: whoever sends everything by a VPN does not want to be seen past it.  Asking sends nothing.
"""

import logging
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import field
from ipaddress import ip_address

from tunnel.net.ifaces import (
    FAR_AWAY,
    Gateway,
    InterfaceAddress,
    default_gateway,
    interface_gateways,
    is_point_to_point,
    local_addresses,
    source_address,
    with_zone,
)
from tunnel.net.rtnetlink import RouteKernel, Version
from tunnel.proto.paths.lane_plan import Uplink
from tunnel.values import frozen

_log = logging.getLogger(__name__)

# Returns the router on the way out from an address of ours, "" without one; None without a way.
FindRouter = Callable[[InterfaceAddress], str | None]


@frozen
class Network:
    """What one look at this machine's network found.

    Args:
        addresses: of interfaces that are up, the most useful first.
        uplinks: those that lead out, of each interface the public ones first.
        gateways: the routers that packets go by which ask for no interface.
    """

    addresses: tuple[InterfaceAddress, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    gateways: Mapping[Version, Gateway] = field(default_factory=dict)


def look_around() -> Network:
    """Look at everything once; takes milliseconds and more: call it in a thread."""
    addresses = local_addresses()
    gateways = {version: _gateway_in_use(version) for version in FAR_AWAY}
    there = {version: gateway for version, gateway in gateways.items() if gateway is not None}
    return Network(tuple(addresses), tuple(find_uplinks(addresses)), there)


def default_sources() -> tuple[str | None, ...]:
    """Return which addresses of ours packets leave from by default; costs next to nothing."""
    return tuple(source_address(version, ip) for version, ip in FAR_AWAY.items())


def find_uplinks(
    addresses: Iterable[InterfaceAddress], find: FindRouter | None = None
) -> list[Uplink]:
    """Return which addresses lead out, of each interface the public ones first."""
    usable = [address for address in addresses if _may_lead_out(address)]
    with ExitStack() as stack:
        router_of = find or _router_finder(stack)
        return list(_uplinks(usable, router_of))


def _uplinks(addresses: list[InterfaceAddress], router_of: FindRouter) -> Iterable[Uplink]:
    preferred = {version: source_address(version, ip) for version, ip in FAR_AWAY.items()}
    defaults = {
        address.version: address.interface
        for address in addresses
        if address.ip == preferred[address.version]
    }
    taken_by_vpn = {
        version for version, interface in defaults.items() if is_point_to_point(interface)
    }
    for address in sorted(addresses, key=lambda each: ip_address(each.ip).is_private):
        is_default = address.interface == defaults.get(address.version)
        if address.version in taken_by_vpn and not is_default:
            continue
        if _is_further_public(address, preferred[address.version]):
            is_default = False
        router = router_of(address)
        if router is not None:
            gateway_ip = with_zone(router, address.interface)
            yield Uplink(address.interface, address.ip, gateway_ip, is_default)


def gateway_of(network: Network, uplink: Uplink | None, version: Version) -> Gateway | None:
    """Return the router that an uplink leads to; without one, the one that packets go by."""
    if uplink is None:
        return network.gateways.get(version)
    if not uplink.gateway_ip:
        return None
    return Gateway(uplink.gateway_ip, uplink.interface, uplink.ip)


def _gateway_in_use(version: Version) -> Gateway | None:
    gateway = default_gateway(version)
    is_used = gateway and gateway.local_ip == source_address(version, FAR_AWAY[version])
    return gateway if is_used else None


def _may_lead_out(address: InterfaceAddress) -> bool:
    is_own = address.is_loopback or address.is_link_local
    return bool(address.interface) and not is_own


def _is_further_public(address: InterfaceAddress, preferred: str | None) -> bool:
    """Tell whether whoever is reached there would answer from another address of the interface.

    The system chooses one source for all that is bound to none, and a peer behind a NAT hears only
    the address that it asked.  Public IPv4 addresses are what one has more than one of on purpose;
    an IPv6 interface brings some by itself.
    """
    is_public = address.version == 4 and ip_address(address.ip).is_global
    return is_public and address.ip != preferred


def _router_finder(stack: ExitStack) -> FindRouter:
    """Return how this system tells routers; what it opens for that is closed with `stack`."""
    if not sys.platform.startswith("linux"):
        gateways = {version: interface_gateways(version) for version in FAR_AWAY}
        return lambda address: gateways[address.version].get(address.interface)
    try:
        kernel = stack.enter_context(RouteKernel())
    except OSError as error:
        _log.debug("the ways out cannot be told: %s", error)
        return lambda _: None
    return lambda address: _ask_for_router(kernel, address)


def _ask_for_router(kernel: RouteKernel, address: InterfaceAddress) -> str | None:
    version = address.version
    try:
        index = socket.if_nametoindex(address.interface)
        route = kernel.route(version, FAR_AWAY[version], address.ip, index)
    except OSError as error:
        _log.debug("the routes of %s cannot be read: %s", address.interface, error)
        return None
    return None if route is None else route.gateway_ip
