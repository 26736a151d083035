"""`derphole netcheck` behind real NATs says what the lab's own tables say of them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from lab_servers import PortMapper, start_coturn
from lab_transfers import Stage
from nat_kinds import BEHAVIOUR, NatKind
from natlab_support import require_program
from support.processes import PROGRAM, Process, clean_environment, record_figure
from topology import Family, Topology

LIMIT_S = 5.0
START_S = 1.0  # of the interpreter, on a busy machine
KINDS = [kind for kind in NatKind if kind is not NatKind.UDP_BLOCKED]
# miniupnpd maps nothing behind a WAN address for documentation; this one looks like a real one.
REAL_LOOKING = "5.5.5"


@dataclass(frozen=True, slots=True)
class Checked:
    """What one run ended with."""

    exit_code: int
    report: dict[str, Any]
    story: str


@pytest.fixture
def checks(lab: Lab, tmp_path: Path) -> Iterator["Checks"]:
    checks = Checks(lab, tmp_path)
    try:
        yield checks
    finally:
        checks.close()


class Checks:
    """Runs netcheck on host a; `close` ends what runs."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self._folder = folder
        self._processes: list[Process] = []

    def run(self, *options: str) -> Checked:
        process = self.start("--json", *options)
        code = process.wait()
        report = json.loads(process.stdout)
        return Checked(code, report, f"{process.story}\n{json.dumps(report, indent=1)}")

    def start(self, *options: str) -> Process:
        command = self.lab.a.command([PROGRAM, "netcheck", *options])
        process = Process("netcheck", command, self._folder, clean_environment(self._folder))
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.stop()


def with_coturn(lab: Lab, stage: Stage) -> None:
    """Have the relay serve DERP alone, beside coturn on both public addresses."""
    require_program("turnserver")
    stage.start_relay(stun_port=None)
    start_coturn(lab)


@pytest.fixture
def bare_stage(lab: Lab, tmp_path: Path) -> Iterator[Stage]:
    """A stage without a relay yet."""
    stage = Stage(lab, tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("topology", [Topology(nat_a=kind) for kind in KINDS], ids=KINDS)
def test_mapping_and_filtering_of_each_kind_of_nat(lab: Lab, bare_stage: Stage, checks: Checks):
    with_coturn(lab, bare_stage)
    kind = lab.topology.nat_a
    behaviour = BEHAVIOUR[kind]
    assert behaviour is not None

    checked = checks.run("--relay", bare_stage.url)

    nat = checked.report["ipv4"]
    assert checked.exit_code == 0, checked.story
    assert nat["udp"], checked.story
    assert nat["mapping"] == behaviour.mapping.value, checked.story
    assert nat["filtering"] == behaviour.filtering.value, checked.story
    assert nat["port_preserving"] is behaviour.keeps_port, checked.story
    assert nat["translated"] is (kind is not NatKind.NONE), checked.story
    limited = kind is NatKind.SYMMETRIC
    assert checked.report["verdict"] == ("direct-limited" if limited else "direct-friendly")
    where = lab.a.address if kind is NatKind.NONE else lab.router("a").public_address
    assert checked.report["udp"]["public_endpoints"][0].startswith(f"{where}:"), checked.story


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (Topology(nat_a=NatKind.PORT_RESTRICTED, hairpin=True), True),
        (Topology(nat_a=NatKind.PORT_RESTRICTED), False),
    ],
    ids=["hairpin", "no hairpin"],
)
def test_hairpin_is_seen(lab: Lab, bare_stage: Stage, checks: Checks, expected: bool):
    with_coturn(lab, bare_stage)

    checked = checks.run("--relay", bare_stage.url)

    assert checked.report["ipv4"]["hairpin"] is expected, checked.story


def map_of_two(lab: Lab, stage: Stage, folder: Path) -> tuple[list[Process], str]:
    """Start a relay on both addresses of the internet, and return them with their map's path."""
    relays = [stage.start_relay(address) for address in lab.public_addresses]
    nodes = [
        {"Name": f"{n}a", "RegionID": n, "HostName": address, "DERPPort": 3340, "PlainHTTP": True}
        for n, address in enumerate(lab.public_addresses, 1)
    ]
    regions = {
        str(node["RegionID"]): {"RegionID": node["RegionID"], "RegionCode": "r", "Nodes": [node]}
        for node in nodes
    }
    derp_map = folder / "map.json"
    derp_map.write_text(json.dumps({"Regions": regions}))
    return relays, str(derp_map)


@pytest.mark.parametrize("topology", [Topology(nat_a=NatKind.SYMMETRIC)], ids=["symmetric"])
def test_two_relays_of_a_map_tell_a_symmetric_nat(
    lab: Lab, bare_stage: Stage, checks: Checks, tmp_path: Path
):
    relays, derp_map = map_of_two(lab, bare_stage, tmp_path)

    checked = checks.run("--derp-map", derp_map)

    assert all(relay.is_running for relay in relays)
    assert checked.exit_code == 0, checked.story
    assert checked.report["ipv4"]["mapping"] == "destination-dependent", checked.story
    assert checked.report["ipv4"]["filtering"] == "unknown", checked.story
    assert checked.report["verdict"] == "direct-limited"
    assert [relay["reachable"] for relay in checked.report["relays"]] == [True, True]


@pytest.mark.parametrize("topology", [Topology(nat_a=NatKind.UDP_BLOCKED)], ids=["udp-blocked"])
def test_blocked_udp_is_told_and_the_relay_is_reached(
    lab: Lab, bare_stage: Stage, checks: Checks, tmp_path: Path
):
    _, derp_map = map_of_two(lab, bare_stage, tmp_path)

    process = checks.start("--derp-map", derp_map)

    assert process.wait() == 0, process.story
    report = process.stderr
    assert "Network check: relay-only-likely\n" in report, report
    assert "\n  Outbound UDP: no\n" in report, report
    assert "UDP seems to be blocked" in report
    assert re.search(r"\n  r: [0-9.]+ ms by HTTP, connected in", report), report


@pytest.mark.parametrize("topology", [Topology(nat_a=NatKind.UDP_BLOCKED)], ids=["udp-blocked"])
def test_the_silence_of_a_single_stun_server_is_not_called_blocking(stage: Stage, checks: Checks):
    checked = checks.run("--relay", stage.url)

    assert checked.exit_code == 0, checked.story
    assert checked.report["verdict"] == "unknown", checked.story
    assert checked.report["udp"]["outbound"] is None
    assert "What would tell: " in checked.report["recommendation"]


@pytest.mark.parametrize("topology", [Topology(family=Family.IPV6)], ids=["ipv6"])
def test_an_ipv6_network_is_told(lab: Lab, stage: Stage, checks: Checks):
    checked = checks.run("--relay", stage.url)

    assert checked.exit_code == 0, checked.story
    assert checked.report["ipv4"] is None
    assert checked.report["ipv6"]["udp"], checked.story
    assert checked.report["ipv6"]["translated"] is False
    assert checked.report["verdict"] == "direct-limited"
    assert "only over IPv6" in checked.report["recommendation"]
    assert checked.report["candidates"]["lan"] == [lab.a.address6]


@pytest.mark.parametrize("topology", [Topology(family=Family.DUAL)], ids=["dual"])
@pytest.mark.parametrize("has_route", [True, False], ids=["route", "no route"])
def test_ipv6_counts_where_there_is_a_way(
    lab: Lab, stage: Stage, checks: Checks, tmp_path: Path, has_route: bool
):
    stage.start_relay(lab.public.address6)
    if not has_route:
        lab.a.run("ip", "-6", "route", "del", "default")
    node = {"Name": "1a", "RegionID": 1, "HostName": "relay.test", "IPv4": lab.public.address4}
    node |= {"IPv6": lab.public.address6, "DERPPort": 3340, "PlainHTTP": True}
    derp_map = tmp_path / "map.json"
    derp_map.write_text(json.dumps({"Regions": {"1": {"RegionID": 1, "Nodes": [node]}}}))

    checked = checks.run("--derp-map", str(derp_map))

    assert checked.exit_code == 0, checked.story
    assert checked.report["ipv4"]["udp"], checked.story
    if has_route:
        assert checked.report["ipv6"]["udp"], checked.story
        assert checked.report["ipv6"]["translated"] is False
    else:
        assert checked.report["ipv6"] is None, checked.story


@pytest.mark.parametrize(
    "topology", [Topology(nat_a=NatKind.SYMMETRIC, public4=REAL_LOOKING)], ids=["symmetric"]
)
def test_a_router_that_maps_ports_is_found_and_keeps_no_mapping(
    lab: Lab, bare_stage: Stage, checks: Checks
):
    require_program("miniupnpd")
    with_coturn(lab, bare_stage)
    mapper = PortMapper(lab, "a")

    checked = checks.run("--relay", bare_stage.url)

    found = {each["protocol"]: each for each in checked.report["port_mapping"]}
    assert set(found) == {"PCP", "NAT-PMP", "UPnP"}
    assert all(each["found"] and each["works"] for each in found.values()), checked.story
    assert {each["external_ip"] for each in found.values()} == {lab.router("a").public_address}
    assert mapper.mappings() == []
    assert checked.report["ipv4"]["mapping"] == "address-and-port-dependent", checked.story
    assert checked.report["verdict"] == "direct-friendly", checked.story
    assert "the router maps ports by" in checked.report["recommendation"]
    mapper.stop()


@pytest.mark.parametrize(
    "topology", [Topology(nat_a=NatKind.SYMMETRIC, public4=REAL_LOOKING)], ids=["symmetric"]
)
def test_a_router_with_upnp_alone_is_told_by_name(lab: Lab, stage: Stage, checks: Checks):
    require_program("miniupnpd")
    mapper = PortMapper(lab, "a", pmp=False)

    checked = checks.run("--relay", stage.url)

    found = {each["protocol"]: each["found"] for each in checked.report["port_mapping"]}
    assert found == {"PCP": False, "NAT-PMP": False, "UPnP": True}, checked.story
    assert mapper.mappings() == []
    mapper.stop()


@pytest.mark.parametrize("topology", [Topology()], ids=["documentation"])
def test_a_router_that_refuses_is_told_with_its_reason(lab: Lab, stage: Stage, checks: Checks):
    require_program("miniupnpd")
    mapper = PortMapper(lab, "a")

    checked = checks.run("--relay", stage.url)

    found = checked.report["port_mapping"]
    assert any(each["found"] for each in found), checked.story
    assert not any(each["works"] for each in found), checked.story
    assert all(each["error"] for each in found), checked.story
    mapper.stop()


@pytest.mark.parametrize("topology", [Topology()], ids=["port-restricted"])
def test_a_dead_network_is_told_within_the_limit(lab: Lab, stage: Stage, checks: Checks):
    with lab.cut("a"):
        process = checks.start("--relay", stage.url)

        assert process.wait(LIMIT_S * 3) == 1, process.story
    assert "Network check: no-relay" in process.lines, process.story
    assert any(line.startswith("waiting for answers of relays") for line in process.lines)
    assert any(line.startswith("no relay could be used: ") for line in process.lines)


@pytest.mark.parametrize("topology", [Topology()], ids=["port-restricted"])
def test_the_time_is_bounded_in_a_dead_network(lab: Lab, stage: Stage, checks: Checks):
    with lab.cut("a"):
        checked = checks.run("--relay", stage.url, "--timeout", "2")

    seconds = checked.report["seconds"]
    record_figure("netcheck --timeout 2 in a dead network", f"{seconds:.1f} s", "2 s")
    assert checked.exit_code == 1
    assert seconds < 3 * 2
