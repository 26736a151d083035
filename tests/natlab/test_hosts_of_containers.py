"""Two hosts on one network, each with dozens of networks of containers, find each other directly.

Every container network has the same addresses on both hosts, and sorts before that of the wire.
"""

import re

import pytest
from lab import Lab
from lab_transfers import Stage
from nat_kinds import NatKind
from topology import Topology

NETWORKS = 41
PAYLOAD = bytes(range(256)) * 256
DIRECT_EVENT = r'"event": "path".*"direct": true'
LIMIT_S = 15.0
LINES = {
    "seen": r"seen from outside as \S+ \(by ",
    "offered": r"the other side can be reached at .*of its interfaces",
    "answered": r"first probe answered: \S+ in [0-9.]+ ms",
    "direct": r"direct path: \S+, datagrams of up to \d+ bytes",
    "end": r"at the end: \S+, datagrams of up to \d+ bytes, .*round trip [0-9.]+ ms, [0-9.]+ % lost",
}


def add_networks(lab: Lab) -> None:
    for host in (lab.a, lab.b):
        lines = []
        for number in range(NETWORKS):
            name = f"br-{number}"
            lines += [
                f"link add {name} type bridge",
                f"link add {name}-p type veth peer name {name}-c",
                f"link set {name}-p master {name}",
                f"link set {name}-c up",
                f"link set {name}-p up",
                f"addr add 10.0.0.{4 * number + 1}/30 dev {name}",
                f"link set {name} up",
            ]
        host.ip(*lines)


@pytest.mark.parametrize("topology", [Topology(same_lan=True)])
@pytest.mark.parametrize("has_default", [True, False])
def test_the_network_that_both_are_in_is_found_among_many(
    lab: Lab, stage: Stage, has_default: bool
):
    add_networks(lab)
    if not has_default:  # the wire between them is not the way out of one of them
        gateway = lab.topology.site("a").lan4
        public = f"{lab.topology.public4}.0/24"
        lab.a.ip("route del default", f"route add {public} via {gateway}")

    transfer = stage.transfer(PAYLOAD, is_open=True)
    transfer.pipe.await_line(DIRECT_EVENT, LIMIT_S)
    transfer.pipe.end_input()

    assert transfer.finish().is_exact


@pytest.mark.parametrize("topology", [Topology()])
def test_verbose_tells_the_way_to_a_direct_path_and_how_it_is(lab: Lab, stage: Stage):
    listen = stage.run("listen", lab.a, "listen", "--verbose", "--relay", stage.url)
    token = listen.await_line(r"^(dhp1_\S+)$").group(1)
    pipe = stage.run("pipe", lab.b, "pipe", "--verbose", token, stdin=-1)
    pipe.feed(PAYLOAD)
    pipe.await_line("connected-direct", LIMIT_S)
    pipe.end_input()
    pipe.ends_with(0)
    listen.ends_with(0)

    for side in (listen, pipe):
        missing = [name for name, line in LINES.items() if not re.search(line, side.stderr)]
        assert missing == [], side.story


@pytest.mark.parametrize("topology", [Topology(nat_a=NatKind.SYMMETRIC, nat_b=NatKind.SYMMETRIC)])
def test_verbose_tells_why_there_is_no_direct_path_yet(lab: Lab, stage: Stage):
    listen = stage.run("listen", lab.a, "listen", "--verbose", "--relay", stage.url)
    token = listen.await_line(r"^(dhp1_\S+)$").group(1)
    pipe = stage.run("pipe", lab.b, "pipe", "--verbose", token, stdin=-1)

    for side in (listen, pipe):
        line = side.await_line(r"no direct path after (\d+) s: (.*)", 30.0)
        assert 9 <= int(line.group(1)) <= 15
        assert re.match(r"none of its \d+ addresses answers", line.group(2))
        side.await_line(r"the router forwards no port \(", 30.0)
    pipe.end_input()
    pipe.ends_with(0)
