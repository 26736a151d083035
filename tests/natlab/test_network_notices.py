"""The kernel tells of every change of a network that matters, and of nothing while it rests."""

from collections.abc import Iterator

import pytest
from lab import Lab
from topology import Family, Topology

from tunnel.net.udp.route_notices import RouteNotices

pytestmark = pytest.mark.parametrize("topology", [Topology(family=Family.DUAL)])

LIMIT_S = 2.0
QUIET_S = 0.2
CHANGES = {
    "an address": "addr add 10.0.1.77/24 dev eth0",
    "an IPv6 address": "addr add 2001:db8:77::2/64 dev eth0",
    "a route": "route add 198.51.100.0/24 dev eth0",
    "an IPv6 route": "route add 2001:db8:78::/64 dev eth0",
    "a rule": "rule add from 10.0.1.2 table 77",
    "an IPv6 rule": "-6 rule add from 2001:db8:77::2 table 77",
    "an interface": "link add dummy7 type veth peer name dummy8",
    "an interface that goes down": "link set dev eth0 down",
}


@pytest.fixture
def notices(lab: Lab) -> Iterator[RouteNotices]:
    with lab.a.entered():
        notices = RouteNotices()
    while notices.wait(QUIET_S):  # what the lab's own making has left
        pass
    yield notices
    notices.close()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_network_is_told(lab: Lab, notices: RouteNotices, change: str):
    lab.a.run("ip", *change.split())

    assert notices.wait(LIMIT_S)


def test_more_notices_than_fit_into_the_socket_are_one(lab: Lab, notices: RouteNotices):
    lab.a.ip(*(f"route add 198.18.{n // 256}.{n % 256}/32 dev eth0" for n in range(4000)))

    assert notices.wait(LIMIT_S)
    while notices.take():
        pass
    lab.a.ip("addr add 10.0.1.77/24 dev eth0")
    assert notices.wait(LIMIT_S)
