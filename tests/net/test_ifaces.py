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

pytestmark = pytest.mark.net

ROUTES = """\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0101000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0001000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
broken line
"""
ZEROS = "0" * 32
FE80 = "fe80" + "0" * 27 + "1"
ROUTES_IPV6 = f"""\
{ZEROS} 00 {ZEROS} 00 {FE80} 00000400 00000001 00000000 00000003 eth0
{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200 lo
nonsense 00 {ZEROS} 00 {FE80} 00000100 00000001 00000000 00000003 eth1
"""


@pytest.fixture
def without_netifaces(monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "netifaces":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "netifaces", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


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
    assert loopback.is_up
    assert loopback.prefix_length == 8


def test_every_address_can_be_bound():
    for each in ifaces.local_addresses():
        if each.is_link_local:
            continue
        family = socket.AF_INET6 if ":" in each.ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((each.ip, 0))


@pytest.mark.skipif(sys.platform != "linux", reason="reads what only Linux has")
def test_linux_tells_the_same_without_netifaces(without_netifaces):
    assert ifaces._netifaces() is None
    found = ifaces.local_addresses()

    sys.modules.pop("netifaces", None)
    assert "127.0.0.1" in sound(found)
    assert ("lo", "127.0.0.1", 8) in {
        (each.interface, each.ip, each.prefix_length) for each in found
    }


def test_a_machine_that_tells_nothing_still_gives_its_default_addresses(monkeypatch):
    monkeypatch.setattr(ifaces, "_netifaces", lambda: None)
    monkeypatch.setattr(ifaces, "_by_system", lambda: iter(()))
    monkeypatch.setattr(ifaces, "FAR_AWAY", {4: "127.0.0.1", 6: "::1"})

    addresses = ifaces.local_addresses()

    assert InterfaceAddress("", "127.0.0.1", 32, True) in addresses


def test_without_a_descriptor_to_ask_with_the_addresses_are_unknown(monkeypatch, without_netifaces):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(ifaces.socket, "if_nameindex", refuse)
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


def test_the_default_route_with_the_lowest_metric_and_a_gateway_counts(tmp_path, monkeypatch):
    (tmp_path / "route").write_text(ROUTES)
    (tmp_path / "ipv6_route").write_text(ROUTES_IPV6)
    monkeypatch.setattr(ifaces, "PROC_ROUTES", tmp_path / "route")
    monkeypatch.setattr(ifaces, "PROC_ROUTES_IPV6", tmp_path / "ipv6_route")
    monkeypatch.setattr(
        ifaces, "source_address", lambda version, destination: f"ours to {destination}"
    )

    if sys.byteorder == "little":
        assert ifaces.default_gateway() == Gateway("10.0.1.1", "eth0", "ours to 10.0.1.1")
    # A link-local gateway is named with its zone, and our own address is one for the internet.
    assert ifaces.default_gateway(6) == Gateway("fe80::1%eth0", "eth0", "ours to 2001:db8::1")


def test_a_machine_without_a_default_route_has_no_gateway(tmp_path, monkeypatch):
    monkeypatch.setattr(ifaces, "PROC_ROUTES", tmp_path / "absent")
    monkeypatch.setattr(ifaces, "_netifaces", lambda: None)

    assert ifaces.default_gateway() is None


def test_a_source_address_towards_loopback_is_loopback():
    assert ifaces.source_address(4, "127.0.0.1") == "127.0.0.1"
    assert ifaces.source_address(6, "203.0.113.1") is None


def test_an_address_of_this_machine_is_told_from_others():
    assert has_address("127.0.0.1")
    assert not has_address("192.0.2.77")
    assert has_address("::1")
