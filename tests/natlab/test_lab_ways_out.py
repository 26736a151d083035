"""Hosts with more than one way out, and who tells them how they are seen from outside."""

import json
import sys
from pathlib import Path

import pytest
from grid import Expect, Grid
from lab import Lab
from lab_servers import start_coturn
from lab_transfers import DIRECT_EVENT, STUN_PORT, Stage, Transfer
from nat_kinds import NatKind
from natlab_support import require, require_program
from support.processes import await_true, record_figure
from topology import CASES, Topology

PAYLOAD = bytes(range(256)) * 256
DIRECT_LIMIT_S = 10.0
END_LIMIT_S = 30.0
FIRST_WITHOUT_UDP = Topology(nat_a=NatKind.UDP_BLOCKED, second_uplink="a")
LIST_UPLINKS = """
import json
from tunnel.net.udp.uplinks import look_around
names = ("interface", "ip", "gateway_ip", "is_default")
found = look_around().uplinks
print(json.dumps([{name: getattr(uplink, name) for name in names} for uplink in found]))
"""


def uplinks(lab: Lab) -> dict[str, dict[str, object]]:
    """Return the ways out that the product finds on host a, by interface and family."""
    said = lab.a.run(sys.executable, "-c", LIST_UPLINKS)
    return {
        f"{each['interface']} {'IPv6' if ':' in each['ip'] else 'IPv4'}": each
        for each in json.loads(said)
    }


def route_by_metric(lab: Lab) -> None:
    """Have both interfaces in one table, as on most computers: the better route takes everything."""
    lab.a.run("ip", "-4", "rule", "del", "from", lab.a.second_address4)
    gateway = lab.topology.site("a2").lan4
    lab.a.ip(f"route add default via {gateway} dev eth1 metric 500")


def open_transfer(stage: Stage, trace: Path) -> Transfer:
    return stage.transfer(PAYLOAD, options=("--trace", str(trace)), is_open=True)


def learned_from(trace: Path) -> set[str]:
    """Return who told a side that reads this trace how it is seen."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    events = [json.loads(line) for line in lines]
    return {event["from"] for event in events if event["event"] == "candidate.learned"}


@pytest.mark.parametrize("topology", [Topology(second_uplink="a")])
def test_every_way_out_is_found_with_its_router(lab: Lab):
    lab.a.ip(
        "link add containers type bridge",
        "addr add 172.17.0.1/16 dev containers",
        "link set dev containers up",
    )

    found = uplinks(lab)

    assert found == {
        "eth0 IPv4": {
            "interface": "eth0",
            "ip": lab.a.address4,
            "gateway_ip": lab.topology.site("a").lan4,
            "is_default": True,
        },
        "eth1 IPv4": {
            "interface": "eth1",
            "ip": lab.a.second_address4,
            "gateway_ip": lab.topology.site("a2").lan4,
            "is_default": False,
        },
    }
    route_by_metric(lab)
    assert uplinks(lab) == found
    lab.a.ip("link set dev eth1 down")
    assert uplinks(lab).keys() == {"eth0 IPv4"}


@pytest.mark.parametrize("topology", [Topology(second_uplink="a")])
def test_a_vpn_that_takes_everything_is_not_passed_by(lab: Lab):
    require(Path("/dev/net/tun").exists(), "needs /dev/net/tun")
    lab.a.ip(
        "tuntap add dev vpn mode tun",
        "addr add 10.8.0.2/24 dev vpn",
        "link set dev vpn up",
        "route add 0.0.0.0/1 dev vpn",
        "route add 128.0.0.0/1 dev vpn",
    )

    assert uplinks(lab).keys() == {"vpn IPv4"}


def test_a_first_interface_without_udp_is_passed_by_the_second(tmp_path: Path):
    name = "a has two interfaces, first without UDP"
    cell = Grid(Expect.THEORY, tmp_path).run_topology(name, CASES[name])

    assert cell.is_good, cell.complaint
    assert cell.outcome.path == "direct"
    record_figure(f"time to direct, {name}", f"{cell.outcome.direct_after_s:.2f} s", "1 s")


@pytest.mark.parametrize("topology", [FIRST_WITHOUT_UDP])
@pytest.mark.parametrize("sender", ["a", "b"])
def test_the_second_interface_is_used_although_no_rule_sends_its_address_there(
    lab: Lab, stage: Stage, sender: str
):
    route_by_metric(lab)

    transfer = stage.transfer(
        PAYLOAD, sender=sender, receiver="b" if sender == "a" else "a", is_open=True
    )
    transfer.pipe.await_line(DIRECT_EVENT, DIRECT_LIMIT_S)
    transfer.pipe.end_input()

    outcome = transfer.finish(END_LIMIT_S)
    assert outcome.is_exact
    assert outcome.path == "direct"


@pytest.mark.parametrize("topology", [FIRST_WITHOUT_UDP])
def test_an_interface_that_comes_later_is_taken_and_one_that_goes_is_left(
    lab: Lab, stage: Stage, tmp_path: Path
):
    lab.a.ip("link set dev eth1 down")
    transfer = open_transfer(stage, tmp_path / "trace")
    transfer.await_received(len(PAYLOAD))

    gateway = lab.topology.site("a2").lan4
    lab.a.ip("link set dev eth1 up", f"route add default via {gateway} dev eth1 table 2")
    transfer.pipe.await_line(DIRECT_EVENT, DIRECT_LIMIT_S)
    lab.a.ip("link set dev eth1 down")
    await_true(lambda: not last_path(transfer)["direct"], "the relay is used again", 10.0)
    transfer.pipe.end_input()

    assert transfer.finish(END_LIMIT_S).is_exact


def last_path(transfer: Transfer) -> dict[str, object]:
    """Return what the sender told last of its path."""
    return [event for event in transfer.pipe.events if event["event"] == "path"][-1]


@pytest.mark.parametrize("server", ["the relay", "coturn", "none"])
def test_a_stun_server_shows_both_sides_how_they_are_seen(lab: Lab, tmp_path: Path, server: str):
    stage = Stage(lab, tmp_path)
    try:
        stage.start_relay(stun_port=STUN_PORT if server == "the relay" else None)
        if server == "coturn":
            require_program("turnserver")
            start_coturn(lab)
        trace = tmp_path / "trace"
        transfer = open_transfer(stage, trace)
        if server == "none":
            transfer.await_received(len(PAYLOAD))
        else:
            transfer.pipe.await_line(DIRECT_EVENT, DIRECT_LIMIT_S)
        transfer.pipe.end_input()
        outcome = transfer.finish(END_LIMIT_S)
    finally:
        stage.close()

    assert outcome.is_exact
    servers = learned_from(trace) - {"peer"}
    assert servers == (
        set() if server == "none" else {f"{lab.public_addresses[0]} port {STUN_PORT}"}
    )
    assert (outcome.path == "direct") == (server != "none")
