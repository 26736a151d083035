"""Ways out of this machine, and sockets that keep to one of them."""

import sys
from contextlib import closing

import pytest
from gevent import socket

from tunnel.net import ifaces
from tunnel.net.ifaces import FAR_AWAY, Gateway, InterfaceAddress, local_addresses
from tunnel.net.udp import device, uplinks
from tunnel.net.udp.uplinks import Network, find_uplinks, gateway_of, look_around
from tunnel.proto.paths.lane_plan import LanePlan, Uplink

pytestmark = pytest.mark.net

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")


def usual_uplinks():
    """The uplinks that this machine's default routes make likely."""
    for version in (4, 6):
        ip = ifaces.source_address(version, FAR_AWAY[version])
        if ip is not None and not ip.startswith(("127.", "::1")):
            yield ip


@on_linux
def test_what_the_default_route_uses_is_a_way_out_and_loopback_is_none():
    found = {uplink.ip: uplink for uplink in find_uplinks(local_addresses())}

    assert set(usual_uplinks()) <= set(found)
    assert all(found[ip].is_default for ip in usual_uplinks())
    assert not {"127.0.0.1", "::1"} & set(found)


@on_linux
def test_what_is_not_there_or_leads_nowhere_is_no_way_out():
    assert find_uplinks([InterfaceAddress("no-such0", "10.0.1.2", 24)]) == []
    assert find_uplinks([InterfaceAddress("lo", "10.0.1.2", 24)]) == []


def test_where_nobody_may_ask_no_way_out_is_known(monkeypatch):
    def refused():
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(uplinks, "RouteKernel", refused)
    monkeypatch.setattr(sys, "platform", "linux")

    assert find_uplinks(local_addresses()) == []


def test_elsewhere_the_gateways_that_netifaces_lists_count(monkeypatch):
    addresses = [
        InterfaceAddress("en0", "10.0.1.2", 24),
        InterfaceAddress("en1", "10.0.3.2", 24),
        InterfaceAddress("en2", "10.0.4.2", 24),
        InterfaceAddress("en0", "fe80::5", 64),
        InterfaceAddress("", "10.0.6.2", 24),
    ]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(uplinks, "source_address", lambda version, _: {4: "10.0.1.2"}.get(version))
    gateways, looks = {4: {"en0": "10.0.1.1", "en1": "10.0.3.1"}, 6: {}}, []
    monkeypatch.setattr(
        uplinks, "interface_gateways", lambda version: looks.append(version) or gateways[version]
    )

    assert find_uplinks(addresses) == [
        Uplink("en0", "10.0.1.2", "10.0.1.1", is_default=True),
        Uplink("en1", "10.0.3.2", "10.0.3.1"),
    ]
    assert looks == [4, 6]


def test_a_public_address_of_an_interface_comes_before_a_private_one(monkeypatch):
    addresses = [InterfaceAddress("eth0", ip, 64) for ip in ("fd00::9", "2a00:1450::9")]
    monkeypatch.setattr(uplinks, "source_address", lambda version, _: None)

    assert find_uplinks(addresses, lambda _: "fe80::1") == [
        Uplink("eth0", "2a00:1450::9", "fe80::1%eth0"),
        Uplink("eth0", "fd00::9", "fe80::1%eth0"),
    ]


def test_a_further_public_address_gets_a_lane_that_answers_from_it(monkeypatch):
    ips = ("10.0.0.5", "5.5.5.10", "5.5.5.11", "2a00:1450::9", "2a00:1450::10")
    addresses = [InterfaceAddress("eth0", ip, 24) for ip in ips]
    preferred = {4: "5.5.5.10", 6: "2a00:1450::9"}
    monkeypatch.setattr(uplinks, "source_address", lambda version, _: preferred[version])

    found = find_uplinks(addresses, lambda _: "")

    assert [uplink.ip for uplink in found if not uplink.is_default] == ["5.5.5.11"]
    opened = LanePlan().update(found).opened
    assert [uplink.ip for uplink in opened.values()] == ["5.5.5.11"]


def test_the_router_of_a_way_out_is_its_own():
    network = Network(gateways={4: Gateway("10.0.1.1", "eth0", "10.0.1.2")})

    assert gateway_of(network, Uplink("wlan0", "10.0.3.2", "10.0.3.1"), 4) == Gateway(
        "10.0.3.1", "wlan0", "10.0.3.2"
    )
    assert gateway_of(network, Uplink("ppp0", "10.0.3.2"), 4) is None
    assert gateway_of(network, None, 4) == Gateway("10.0.1.1", "eth0", "10.0.1.2")
    assert gateway_of(network, None, 6) is None


@pytest.mark.parametrize("is_vpn", [True, False])
def test_what_a_vpn_takes_goes_by_nothing_else(monkeypatch, is_vpn):
    addresses = [
        InterfaceAddress("eth0", "10.0.1.2", 24),
        InterfaceAddress("tun0", "10.8.0.2", 24),
        InterfaceAddress("eth0", "2a00:1450::9", 64),
    ]
    preferred = {4: "10.8.0.2", 6: "2a00:1450::9"}
    monkeypatch.setattr(uplinks, "source_address", lambda version, _: preferred[version])
    monkeypatch.setattr(uplinks, "is_point_to_point", lambda name: is_vpn and name == "tun0")

    found = [(uplink.interface, uplink.ip) for uplink in find_uplinks(addresses, lambda _: "")]

    assert (("eth0", "10.0.1.2") in found) is not is_vpn
    assert {("tun0", "10.8.0.2"), ("eth0", "2a00:1450::9")} <= set(found)


def test_a_router_that_packets_do_not_go_by_is_not_asked(monkeypatch):
    router = Gateway("10.0.1.1", "eth0", "10.0.1.2")
    monkeypatch.setattr(uplinks, "default_gateway", {4: router}.get)
    monkeypatch.setattr(uplinks, "source_address", lambda *_: "10.8.0.2")
    assert look_around().gateways == {}

    monkeypatch.setattr(uplinks, "source_address", lambda *_: "10.0.1.2")
    assert look_around().gateways == {4: router}

    monkeypatch.setattr(uplinks, "default_gateway", lambda _: None)
    assert look_around().gateways == {}


def test_loopback_is_no_vpn_and_neither_is_what_is_not_there():
    assert not ifaces.is_point_to_point("lo")
    assert not ifaces.is_point_to_point("no-such0")


class Refusing:
    """A socket whose kernel lets nobody bind to a device."""

    def __init__(self, *refused):
        self.refused = refused
        self.options = []

    def setsockopt(self, level, option, value):
        if option in self.refused:
            raise PermissionError(1, "Operation not permitted")
        self.options.append((level, option, value))


@on_linux
def test_a_socket_is_bound_to_its_interface():
    with closing(socket._socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        assert device.bind_to_device(sock, "lo", is_ipv6=False)
        assert sock.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(b"\0") == b"lo"


@on_linux
@pytest.mark.parametrize(
    ("is_ipv6", "level", "option"),
    [(False, socket.IPPROTO_IP, 50), (True, socket.IPPROTO_IPV6, 76)],
)
def test_where_that_is_not_allowed_it_sends_by_it_at_least(is_ipv6, level, option):
    sock = Refusing(25)

    assert device.bind_to_device(sock, "lo", is_ipv6)

    index = socket.if_nametoindex("lo")
    assert sock.options == [(level, option, index.to_bytes(4, "big"))]


@on_linux
def test_a_system_that_allows_neither_is_no_failure():
    assert not device.bind_to_device(Refusing(25, 50), "lo", is_ipv6=False)
    with closing(socket._socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        assert not device.bind_to_device(sock, "no-such0", is_ipv6=False)


@pytest.mark.parametrize(
    ("platform", "is_ipv6", "option", "order"),
    [
        ("darwin", False, 25, sys.byteorder),
        ("darwin", True, 125, sys.byteorder),
        ("win32", False, 31, "big"),
        ("win32", True, 31, sys.byteorder),
    ],
)
def test_other_systems_have_options_of_their_own(monkeypatch, platform, is_ipv6, option, order):
    monkeypatch.setattr(sys, "platform", platform)
    sock = Refusing()

    assert device.bind_to_device(sock, "lo", is_ipv6)

    level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
    index = socket.if_nametoindex("lo")
    assert sock.options == [(level, option, index.to_bytes(4, order))]
