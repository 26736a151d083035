"""What Linux tells over rtnetlink: read from recorded answers, from any bytes, and from the kernel."""

import errno
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.net import rtnetlink
from tunnel.net.rtnetlink import (
    KernelAddress,
    KernelLink,
    KernelRoute,
    RouteKernel,
    messages,
    read_address,
    read_link,
    read_route,
)

pytestmark = pytest.mark.net

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")
# What Linux 5.10 answered: default via fe80::1 dev eth0 metric 1024.
ROUTE_IPV6 = bytes.fromhex(
    "5000000018000000010000006b1e0000"  # header: 80 bytes, RTM_NEWROUTE
    "0a000000fe02000100000000"  # IPv6, no prefix, main table
    "14000500fe800000000000000000000000000001"  # RTA_GATEWAY
    "0800060000040000"  # RTA_PRIORITY
    "0800040004000000"  # RTA_OIF
)
# The near end of a tunnel: 10.8.0.2 peer 10.8.0.1/32 dev tun0.
TUNNEL_ADDRESS = bytes.fromhex(
    "0220800007000000"  # IPv4, /32, permanent, index 7
    "080001000a080001"  # IFA_ADDRESS: the far end
    "080002000a080002"  # IFA_LOCAL
    "0800080080000000"  # IFA_FLAGS
)
ZONED_ADDRESS = bytes.fromhex("0a4080fd0200000014000100fe80" + "00" * 13 + "07")
DEPRECATED_ADDRESS = bytes.fromhex(
    "0a400000020000001400010020010db8" + "00" * 11 + "090800080020000000"
)
DUPLICATE_ADDRESS = DEPRECATED_ADDRESS[:-4] + bytes.fromhex("08000000")
BRIDGE = bytes.fromhex(
    "0000010003000000"
    "4310010000000000"  # Ethernet, index 3; up, running
    "0800030062723000"  # IFLA_IFNAME br0
    "10801200"
    "0a00010062726964"
    "67650000"  # IFLA_LINKINFO, marked as nested
)


def test_recorded_answers_are_read():
    assert read_route(6, memoryview(ROUTE_IPV6)[16:]) == KernelRoute("fe80::1", 4)
    assert read_route(6, memoryview(ROUTE_IPV6)[16:28]) == KernelRoute("")
    assert read_address(memoryview(TUNNEL_ADDRESS)) == KernelAddress(7, "10.8.0.2", 32, False)
    assert read_address(memoryview(ZONED_ADDRESS)) is None
    deprecated = read_address(memoryview(DEPRECATED_ADDRESS))
    assert deprecated == KernelAddress(2, "2001:db8::9", 64, True)
    assert read_address(memoryview(DUPLICATE_ADDRESS)) is None
    assert read_link(memoryview(BRIDGE)) == KernelLink("br0", True, True, False, True)


@given(st.binary(max_size=120))
def test_whatever_the_answer_is_reading_it_ends(answer):
    for data in (answer, ROUTE_IPV6 + answer, ROUTE_IPV6[:28] + answer):
        for _, _, body in messages(memoryview(data)):
            for version in (4, 6):
                assert isinstance(read_route(version, body), KernelRoute | None)
            assert isinstance(read_address(body), KernelAddress | None)
            assert isinstance(read_link(body), KernelLink | None)


@on_linux
def test_the_kernel_tells_of_the_loopback():
    with RouteKernel() as kernel:
        (loopback,) = (each for each in kernel.addresses() if each.ip == "127.0.0.1")
        link = kernel.link(loopback.index)

        assert loopback.prefix_length == 8
        assert link == KernelLink("lo", True, True, False, False)
        assert kernel.link(0x7FFFFFF0) is None
        assert kernel.route(4, "127.0.0.1") == KernelRoute("", loopback.index)
        assert kernel.route(4, "192.0.2.1", "127.0.0.1", loopback.index) is None


@on_linux
@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.EOPNOTSUPP])
def test_a_refusal_is_no_empty_answer(code, monkeypatch):
    refusal = (-code).to_bytes(4, sys.byteorder, signed=True) + bytes(16)
    monkeypatch.setattr(rtnetlink, "messages", lambda _: [(2, 1, memoryview(refusal))])

    with RouteKernel() as kernel, pytest.raises(OSError) as caught:
        kernel.addresses()
    assert caught.value.errno == code


def test_other_systems_have_nobody_to_ask(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(OSError):
        RouteKernel()


@on_linux
def test_a_sandbox_without_netlink_is_an_os_error(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(rtnetlink.socket, "socket", refuse)

    with pytest.raises(OSError):
        RouteKernel()
