"""Interfaces and gateways of this machine, by each of the ways to learn of them."""

import builtins
import errno
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from gevent import socket

from tunnel.net import ifaces
from tunnel.net.ifaces import Gateway, InterfaceAddress, has_address
from tunnel.net.rtnetlink import KernelRoute, RouteKernel

pytestmark = pytest.mark.net
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what only Linux has")

ROUTES = """\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0101000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0001000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
broken line
"""
OTHER_ROUTE = "eth0\t0002000A\t0101000A\t0003\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"


@pytest.fixture
def without_netifaces(monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "netifaces":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "netifaces", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


def refused():
    raise OSError(errno.EACCES, "Permission denied")


def sound(addresses):
    for each in addresses:
        assert ip_address(each.ip).version == (6 if ":" in each.ip else 4)
        assert 0 <= each.prefix_length <= (128 if ":" in each.ip else 32)
    return {each.ip for each in addresses}


def test_this_machine_has_addresses_and_loopback_is_one_of_them():
    addresses = ifaces.local_addresses()

    assert "127.0.0.1" in sound(addresses)
    [loopback] = [each for each in addresses if each.ip == "127.0.0.1"]
    assert loopback.is_loopback
    assert loopback.prefix_length == 8


def test_every_address_can_be_bound():
    for each in ifaces.local_addresses():
        if each.is_link_local:
            continue
        family = socket.AF_INET6 if ":" in each.ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((each.ip, 0))


@on_linux
def test_linux_tells_the_same_without_netlink_and_netifaces(monkeypatch, without_netifaces):
    monkeypatch.setattr(ifaces, "RouteKernel", refused)
    assert ifaces._netifaces() is None
    found = ifaces.local_addresses()

    sys.modules.pop("netifaces", None)
    assert "127.0.0.1" in sound(found)
    assert ("lo", "127.0.0.1", 8) in {
        (each.interface, each.ip, each.prefix_length) for each in found
    }


def test_a_machine_that_tells_nothing_still_gives_its_default_addresses(monkeypatch):
    monkeypatch.setattr(ifaces, "_netifaces", lambda: None)
    monkeypatch.setattr(ifaces, "RouteKernel", refused)
    monkeypatch.setattr(ifaces, "_by_system", lambda: iter(()))
    monkeypatch.setattr(ifaces, "FAR_AWAY", {4: "127.0.0.1", 6: "::1"})

    addresses = ifaces.local_addresses()

    assert InterfaceAddress("", "127.0.0.1", 32) in addresses


def test_without_a_descriptor_to_ask_with_the_addresses_are_unknown(monkeypatch, without_netifaces):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(ifaces.socket, "socket", refuse)
    monkeypatch.setattr(ifaces, "PROC_ADDRESSES_IPV6", Path("/nowhere"))

    assert ifaces.local_addresses() == []
    assert not ifaces.is_point_to_point("lo")


def test_a_netifaces_that_fails_is_replaced(monkeypatch):
    class Broken:
        AF_INET, AF_INET6 = 2, 10

        @staticmethod
        def interfaces():
            raise OSError("no")

        gateways = interfaces

    monkeypatch.setattr(ifaces, "_netifaces", Broken)
    monkeypatch.setattr(ifaces, "RouteKernel", refused)

    assert ifaces.local_addresses() != []
    assert ifaces._route_by_netifaces(4) is None


@pytest.mark.parametrize(
    ("mask", "width", "length"),
    [
        ("255.255.255.0", 32, 24),
        ("24", 32, 24),
        ("0.0.0.0", 32, 0),
        ("ffff:ffff:ffff:ffff::", 128, 64),
        ("ffff:ffff:ffff:ffff::/64", 128, 64),
        ("64", 128, 64),
        ("nonsense", 32, 32),
        ("255.0.255.0", 32, 32),
        ("", 128, 128),
    ],
)
def test_masks_are_read_in_every_form(mask, width, length):
    assert ifaces._prefix_length(mask, width) == length


@on_linux
def test_where_nobody_may_ask_the_table_s_head_tells_the_default_route(tmp_path, monkeypatch):
    (tmp_path / "route").write_text(ROUTES + OTHER_ROUTE * 100_000)
    monkeypatch.setattr(ifaces, "PROC_ROUTES", tmp_path / "route")
    monkeypatch.setattr(ifaces, "RouteKernel", refused)
    monkeypatch.setattr(
        ifaces, "source_address", lambda version, destination: f"ours to {destination}"
    )

    if sys.byteorder == "little":
        assert ifaces.default_gateway() == Gateway("10.0.1.1", "eth0", "ours to 10.0.1.1")
    assert ifaces.default_gateway(6) is None


@on_linux
def test_the_kernel_is_asked_for_the_default_route(monkeypatch):
    class Kernel(RouteKernel):
        def route(self, version, destination, source_ip="", index=0):
            gateway = "10.0.1.1" if version == 4 else "fe80::1"
            return KernelRoute(gateway, socket.if_nametoindex("lo"))

    monkeypatch.setattr(ifaces, "RouteKernel", Kernel)
    monkeypatch.setattr(
        ifaces, "source_address", lambda version, destination: f"ours to {destination}"
    )

    assert ifaces.default_gateway() == Gateway("10.0.1.1", "lo", "ours to 10.0.1.1")
    # A link-local gateway is named with its zone, and our own address is one for the internet.
    assert ifaces.default_gateway(6) == Gateway("fe80::1%lo", "lo", "ours to 2001:db8::1")


@on_linux
def test_a_machine_without_a_default_route_has_no_gateway(tmp_path, monkeypatch):
    monkeypatch.setattr(ifaces, "PROC_ROUTES", tmp_path / "absent")
    monkeypatch.setattr(ifaces, "RouteKernel", refused)

    assert ifaces.default_gateway() is None


def test_elsewhere_netifaces_tells_the_default_route(monkeypatch):
    class Netifaces:
        AF_INET, AF_INET6 = 2, 10

        @staticmethod
        def gateways():
            return {"default": {2: ("10.0.1.1", "en0")}}

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ifaces, "_netifaces", lambda: Netifaces)
    monkeypatch.setattr(ifaces, "source_address", lambda *_: "10.0.1.2")

    assert ifaces.default_gateway() == Gateway("10.0.1.1", "en0", "10.0.1.2")
    assert ifaces.default_gateway(6) is None


def ranked(monkeypatch, *found):
    """What is told of these, where packets leave from 10.0.9.2 and fd00:9::2 by default."""
    preferred = {4: "10.0.9.2", 6: "fd00:9::2"}
    monkeypatch.setattr(ifaces, "source_address", lambda version, _: preferred[version])
    monkeypatch.setattr(ifaces, "_by_kernel", lambda: found)
    return [each.ip for each in ifaces.local_addresses()]


def found(interface, ip, prefix_length=24, **about):
    return ifaces._Found(InterfaceAddress(interface, ip, prefix_length), **about)


def test_addresses_are_told_by_their_use(monkeypatch):
    assert ranked(
        monkeypatch,
        found("lo", "127.0.0.1", 8),
        found("docker0", "172.17.0.1", 16, is_running=False),
        found("br-1", "172.18.0.1", 16),
        found("eth1", "10.0.1.2", is_physical=True),
        found("eth0", "169.254.7.7", 16, is_physical=True),
        found("eth0", "10.0.9.3", is_physical=True),
        found("eth0", "fd00:9::3", 64, is_physical=True, is_deprecated=True),
        found("eth0", "10.0.9.2", is_physical=True),
        found("eth0", "fd00:9::2", 64, is_physical=True),
    ) == [
        "10.0.9.2",
        "fd00:9::2",
        "10.0.9.3",
        "fd00:9::3",
        "10.0.1.2",
        "172.18.0.1",
        "172.17.0.1",
        "169.254.7.7",
        "127.0.0.1",
    ]


def test_duplicates_and_what_needs_a_zone_push_nothing_out(monkeypatch):
    pairs = [
        each
        for number in range(ifaces.MAX_ADDRESSES)
        for each in (
            found(f"veth{number}", f"fe80::{number + 1:x}", 64),
            found(f"veth{number}", "10.244.0.1", 32),
        )
    ]

    assert ranked(monkeypatch, *pairs, found("eth7", "10.0.5.2")) == ["10.244.0.1", "10.0.5.2"]


def test_what_is_used_most_is_not_cut_off(monkeypatch):
    bridges = [found(f"br{number}", f"172.16.{number}.1") for number in range(200)]
    addresses = ranked(monkeypatch, *bridges, found("eth0", "10.0.9.2", is_physical=True))

    assert len(addresses) == ifaces.MAX_ADDRESSES
    assert addresses[0] == "10.0.9.2"


def test_a_source_address_towards_loopback_is_loopback():
    assert ifaces.source_address(4, "127.0.0.1") == "127.0.0.1"
    assert ifaces.source_address(6, "203.0.113.1") is None


def test_an_address_of_this_machine_is_told_from_others():
    assert has_address("127.0.0.1")
    assert not has_address("192.0.2.77")
    assert has_address("::1")
