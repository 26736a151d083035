"""Ports mapped by a real miniupnpd make a direct path where no hole can be punched.

    a behind a symmetric NAT, whose router maps ports      b behind a symmetric NAT

Each protocol is tried alone: the firewall of the router refuses what the others need.
"""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab
from lab_servers import IGD_HTTP_PORT, MAX_LEASE_S, PORT_MAP_PORT, SSDP_PORT, PortMapper
from lab_transfers import DIRECT_EVENT, Stage, Transfer
from nat_kinds import NatKind
from natlab_support import require_program
from support.processes import Process, await_true, record_figure
from topology import Topology

PAYLOAD = bytes(range(256)) * 1024
DIRECT_LIMIT_S = 10.0
END_LIMIT_S = 30.0
SHORT_LEASE_S = 10  # renewed at half of it
# miniupnpd maps nothing where the router's address is one for documentation.
BOTH_SYMMETRIC = Topology(nat_a=NatKind.SYMMETRIC, nat_b=NatKind.SYMMETRIC, public4="5.5.5")
# What the router drops from its LAN, so that one protocol is left.  PCP and NAT-PMP share a port and
# differ in the first byte, their version: 2 and 0.
VERSION = "@th,64,8"
NO_UPNP = f"udp dport {SSDP_PORT} drop; tcp dport {IGD_HTTP_PORT} drop;"
DROPPED = {
    "UPnP": f"udp dport {PORT_MAP_PORT} drop;",
    "NAT-PMP": f"{NO_UPNP} udp dport {PORT_MAP_PORT} {VERSION} 2 drop;",
    "PCP": f"{NO_UPNP} udp dport {PORT_MAP_PORT} {VERSION} 0 drop;",
}


@pytest.fixture
def topology() -> Topology:
    return BOTH_SYMMETRIC


@pytest.fixture
def lease_s() -> int:
    """The longest lease that the router grants."""
    return MAX_LEASE_S


@pytest.fixture
def router(lab: Lab, lease_s: int) -> Iterator[PortMapper]:
    require_program("miniupnpd")
    mapper = PortMapper(lab, "a", max_lease_s=lease_s)
    yield mapper
    mapper.stop()


def leave_alone(router: PortMapper, protocol: str) -> None:
    """Have the router hear one protocol from its LAN."""
    router.router.nft(
        "table ip one_protocol {\n chain input {\n  type filter hook input priority -5;\n"
        f'  iifname "lan" jump refused\n }}\n chain refused {{ {DROPPED[protocol]} }}\n}}\n'
    )


def events_of(trace: Path, name: str) -> list[dict[str, object]]:
    """Return the events of a trace by that name, so far."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    events = [json.loads(line) for line in lines]
    return [event for event in events if event["event"] == name]


def start_open(stage: Stage, trace: Path) -> Transfer:
    """Start a transfer that has said all it has to say but not that this is the end."""
    return stage.transfer(PAYLOAD, options=("--trace", str(trace)), is_open=True)


def direct_places(process: Process) -> list[str]:
    """Return where a side's direct paths led, as it told."""
    return [str(event["path"]) for event in process.events if event.get("direct")]


def mapped_place(lab: Lab, router: PortMapper) -> str:
    """Return the public address and port of the one mapping in force."""
    (rule,) = router.mappings()
    found = re.search(r"dport (\d+)", rule)
    assert found, rule
    return f"{lab.router('a').public_address}:{found[1]}"


@pytest.mark.parametrize("protocol", list(DROPPED))
def test_symmetric_nats_are_connected_by_one_protocol_alone(
    lab: Lab, router: PortMapper, stage: Stage, tmp_path: Path, protocol: str
):
    leave_alone(router, protocol)
    transfer = start_open(stage, tmp_path / "trace")

    transfer.listen.await_line(DIRECT_EVENT, DIRECT_LIMIT_S)
    transfer.pipe.await_line(DIRECT_EVENT, DIRECT_LIMIT_S)
    place = mapped_place(lab, router)
    transfer.pipe.end_input()
    outcome = transfer.finish(END_LIMIT_S)

    assert outcome.is_exact
    assert outcome.path == "direct"
    assert direct_places(transfer.listen)[-1] == f"direct {place}"
    (made,) = events_of(tmp_path / "trace", "mapping.made")
    assert (made["protocol"], made["is_public"]) == (protocol, True)
    record_figure(
        f"symmetric x symmetric, direct by {protocol}", f"{outcome.direct_after_s:.2f} s", "3 s"
    )
    assert router.mappings() == []


def test_without_a_mapping_symmetric_nats_stay_on_the_relay(stage: Stage, tmp_path: Path):
    transfer = start_open(stage, tmp_path / "trace")

    await_true(lambda: events_of(tmp_path / "trace", "mapping.none"), "every protocol was tried")
    transfer.pipe.end_input()
    outcome = transfer.finish(END_LIMIT_S)

    assert outcome.is_exact
    assert outcome.path == "relay"


@pytest.mark.parametrize("protocol", list(DROPPED))
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_mapping_back(
    router: PortMapper, stage: Stage, tmp_path: Path, protocol: str, number: signal.Signals
):
    leave_alone(router, protocol)
    transfer = start_open(stage, tmp_path / "trace")
    await_true(lambda: events_of(tmp_path / "trace", "mapping.made"), "a mapping was made")
    assert len(router.mappings()) == 1

    transfer.pipe.send_signal(number)

    assert transfer.pipe.wait(END_LIMIT_S) == 128 + number
    assert router.mappings() == []
    released = events_of(tmp_path / "trace", "mapping.released")
    assert released
    assert all(event["is_confirmed"] for event in released)


def test_a_router_that_died_delays_the_end_by_a_second_at_most(
    router: PortMapper, stage: Stage, tmp_path: Path
):
    transfer = start_open(stage, tmp_path / "trace")
    await_true(lambda: events_of(tmp_path / "trace", "mapping.made"), "a mapping was made")
    router.router.nft(
        "table ip dead {\n chain input {\n  type filter hook input priority -5;\n"
        '  iifname "lan" meta l4proto { tcp, udp } drop\n }\n}\n'
    )

    began = time.monotonic()
    transfer.pipe.send_signal(signal.SIGTERM)
    assert transfer.pipe.wait(END_LIMIT_S) == 128 + signal.SIGTERM
    took_s = time.monotonic() - began

    record_figure("end at SIGTERM with a dead router", f"{took_s:.2f} s", "1 s")
    assert took_s < 3 * 1.0


def test_the_relay_alone_asks_no_router(router: PortMapper, stage: Stage, tmp_path: Path):
    router.router.nft(
        "table ip watch {\n counter asked {\n }\n chain input {\n"
        "  type filter hook input priority -5;\n"
        f'  iifname "lan" udp dport {{ {PORT_MAP_PORT}, {SSDP_PORT} }} counter name asked\n }}\n}}\n'
    )

    outcome = stage.transfer(PAYLOAD, options=("--force-relay",)).finish(END_LIMIT_S)

    assert outcome.is_exact
    assert "packets 0 " in router.router.run("nft", "list", "counter", "ip", "watch", "asked")


@pytest.mark.parametrize("lease_s", [SHORT_LEASE_S])  # miniupnpd shortens those of PCP alone
@pytest.mark.alongside("waits")
def test_a_lease_is_renewed_and_one_that_the_router_forgot_is_made_again(
    router: PortMapper, stage: Stage, tmp_path: Path
):
    leave_alone(router, "PCP")
    trace = tmp_path / "trace"
    transfer = start_open(stage, trace)
    await_true(lambda: events_of(trace, "mapping.made"), "a mapping was made")
    (made,) = events_of(trace, "mapping.made")
    assert made["lifetime_s"] == SHORT_LEASE_S

    (first_end,) = router.leases_end()
    # Between a lease's old line and its new one miniupnpd's file may hold neither.
    await_true(lambda: max(router.leases_end(), default=0) > first_end, "the lease is renewed")
    assert len(events_of(trace, "mapping.made")) == 1

    router.stop()
    router.forget_mappings()
    router.start()  # it counts its seconds from 0 again, which tells that it has forgotten
    await_true(lambda: events_of(trace, "mapping.lost"), "the loss was noticed")
    await_true(lambda: len(events_of(trace, "mapping.made")) == 2, "it is mapped again")
    assert len(router.mappings()) == 1

    transfer.pipe.end_input()
    assert transfer.finish(END_LIMIT_S).is_exact
    assert router.mappings() == []
