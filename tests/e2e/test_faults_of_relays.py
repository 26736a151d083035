"""Relays that die, hang and never come back: the transfer goes on by itself and is exact."""

import json
import re
import signal
from pathlib import Path

import pytest
from desk import Desk, token_of
from faults import (
    MIB,
    RELAYED,
    SLACK_S,
    STALL,
    FileTransfer,
    Stopwatch,
    start_relay,
)
from support.processes import Process, await_true, free_port, record_figure

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS = 5
CUT_SIZE, FULL_SIZE = 48 * MIB, 500 * MIB
CUT_RATE, FULL_RATE = "16M", "40M"  # so that every kill lands inside the transfer
RECOVERY_S = 30.0
CUT_BLACK_HOLE_S, FULL_BLACK_HOLE_S = 8.0, 20.0
REGIONS = (1, 2, 3)
PATH_LINE = r"^path=relay via=relay r(\d) \("


@pytest.mark.timeout(900)
def test_a_relay_that_is_killed_five_times_loses_nothing(desk: Desk, is_full: bool) -> None:
    size, rate = (FULL_SIZE, FULL_RATE) if is_full else (CUT_SIZE, CUT_RATE)
    relay, address = start_relay(desk, "127.0.0.1:0", "--rate", rate)
    transfer = FileTransfer(desk, size, "--relay", f"http://{address}")
    transfer.send()

    recoveries_s = []
    for kill in range(1, KILLS + 1):
        transfer.await_written(size * kill // (KILLS + 1), 300.0)
        relay.send_signal(signal.SIGKILL)
        assert relay.wait() == -signal.SIGKILL
        relay, _ = start_relay(desk, address, "--rate", rate)
        clock, had = Stopwatch(), transfer.written
        assert had < size
        transfer.await_written(had + 1, RECOVERY_S)
        recoveries_s.append(clock.seconds)

    transfer.ends_well(300.0)
    figures = ", ".join(f"{seconds:.2f}" for seconds in recoveries_s)
    what = f"bytes flow again after a relay's restart ({size // MIB} MiB, 5 kills)"
    record_figure(what, f"{figures} s", f"{RECOVERY_S:.0f} s")


@pytest.mark.timeout(300)
def test_a_relay_that_is_a_black_hole_for_a_while_loses_nothing(desk: Desk, is_full: bool) -> None:
    relay, address = start_relay(desk, "127.0.0.1:0", "--rate", CUT_RATE)
    transfer = FileTransfer(desk, CUT_SIZE, "--relay", f"http://{address}")
    pipe = transfer.send()
    transfer.await_written(CUT_SIZE // 3)

    relay.send_signal(signal.SIGSTOP)
    hole, hole_s = Stopwatch(), FULL_BLACK_HOLE_S if is_full else CUT_BLACK_HOLE_S
    pipe.await_line(STALL, 5.0 + SLACK_S)
    await_true(lambda: hole.seconds >= hole_s, "the black hole has lasted", hole_s + SLACK_S)
    assert pipe.is_running
    assert transfer.listen.is_running
    relay.send_signal(signal.SIGCONT)
    clock, had = Stopwatch(), transfer.written
    transfer.await_written(had + 1, RECOVERY_S)
    recovery_s = clock.seconds

    pipe.await_line(r"^the other side is back after \d+ s$")
    transfer.ends_well()
    what = f"bytes flow again after a relay's black hole of {hole_s:.0f} s"
    record_figure(what, f"{recovery_s:.2f} s", f"{RECOVERY_S:.0f} s")


class PublicMap:
    """Three relays of a map that both sides take for the public one: its cached copy.

    The map cannot be fetched: the proxy for it is a port where nobody listens.  Relays on the
    loopback are never asked for through a proxy.
    """

    def __init__(self, desk: Desk) -> None:
        self.relays: dict[int, Process] = {}
        regions = {}
        for number in REGIONS:
            relay, address = start_relay(desk, "127.0.0.1:0", "--rate", CUT_RATE)
            self.relays[number] = relay
            regions[str(number)] = {
                "RegionID": number, "RegionCode": f"r{number}", "RegionName": f"Region {number}",
                "Nodes": [{
                    "Name": f"{number}a", "RegionID": number, "HostName": "127.0.0.1",
                    "IPv4": "127.0.0.1", "IPv6": "none", "PlainHTTP": True,
                    "DERPPort": int(address.rpartition(":")[2]), "STUNPort": -1,
                }],
            }  # fmt: skip
        cache = desk.folder / "cache" / "derphole" / "derpmap.json"
        cache.parent.mkdir(parents=True)
        cache.write_text(json.dumps({"Regions": regions}))
        self.variables = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}"}

    def kill(self, number: int) -> None:
        """End a region's relay for good."""
        self.relays[number].send_signal(signal.SIGKILL)
        assert self.relays[number].wait() == -signal.SIGKILL

    def region_of(self, process: Process) -> int:
        """The region that the process says it uses."""
        return int(process.await_line(PATH_LINE).group(1))


@pytest.fixture
def public_map(desk: Desk) -> PublicMap:
    return PublicMap(desk)


def send_over(desk: Desk, public_map: PublicMap, size: int, trace: Path) -> FileTransfer:
    """Start a transfer over the regions of the map."""
    transfer = FileTransfer(desk, size, "--trace", str(trace), variables=public_map.variables)
    transfer.listen.await_line("using the copy saved on")
    return transfer


def test_a_region_that_goes_for_good_in_a_transfer_is_left_for_the_next_hint(
    desk: Desk, public_map: PublicMap, tmp_path: Path
) -> None:
    transfer = send_over(desk, public_map, CUT_SIZE, tmp_path / "trace")
    transfer.send(variables=public_map.variables)
    used = public_map.region_of(transfer.listen)
    assert public_map.region_of(transfer.pipe) == used
    transfer.await_written(CUT_SIZE // 3)

    public_map.kill(used)
    clock, had = Stopwatch(), transfer.written
    transfer.await_written(had + 4 * MIB, RECOVERY_S)
    recovery_s = clock.seconds

    transfer.ends_well()
    what = "the next hint carries the bytes after a region is gone for good (4 MiB more)"
    record_figure(what, f"{recovery_s:.2f} s", f"{RECOVERY_S:.0f} s")
    for process in (transfer.listen, transfer.pipe):
        assert not any(f"by relay r{used} " in line for line in process.lines), process.story
        refusals = [line for line in process.lines if re.search("^relay trouble: .*refused", line)]
        assert len(refusals) <= 1, process.story  # tried again all the time, and told once


def test_two_regions_that_go_one_after_the_other_leave_the_third(
    desk: Desk, public_map: PublicMap, tmp_path: Path
) -> None:
    transfer = send_over(desk, public_map, CUT_SIZE, tmp_path / "trace")
    transfer.send(variables=public_map.variables)
    used = public_map.region_of(transfer.listen)
    transfer.await_written(CUT_SIZE // 4)

    public_map.kill(used)
    transfer.await_written(transfer.written + 4 * MIB, RECOVERY_S)
    rest = [number for number in REGIONS if number != used]
    public_map.kill(rest[0])
    transfer.await_written(transfer.written + 4 * MIB, RECOVERY_S)

    transfer.ends_well()


def test_a_region_that_goes_before_the_claim_is_passed_over(
    desk: Desk, public_map: PublicMap, tmp_path: Path
) -> None:
    transfer = send_over(desk, public_map, MIB, tmp_path / "trace")
    token_of(transfer.listen)
    first = int(transfer.listen.await_line(r"connected to relay 127\.0\.0\.1:(\d+)").group(1))
    used = next(
        number
        for number, relay in public_map.relays.items()
        if relay.await_line(r"^relay ready: http://127\.0\.0\.1:(\d+)").group(1) == str(first)
    )

    public_map.kill(used)
    clock = Stopwatch()
    transfer.send(variables=public_map.variables)

    transfer.ends_well()
    what = "pipe of 1 MiB when the first region is gone before the claim"
    record_figure(what, f"{clock.seconds:.2f} s", f"{RECOVERY_S:.0f} s")
    assert public_map.region_of(transfer.pipe) != used


def test_a_region_that_is_away_from_the_start_is_never_needed(
    desk: Desk, public_map: PublicMap, tmp_path: Path
) -> None:
    public_map.kill(1)
    transfer = send_over(desk, public_map, MIB, tmp_path / "trace")

    transfer.send(variables=public_map.variables)

    transfer.ends_well()
    assert public_map.region_of(transfer.pipe) != 1


def test_a_map_of_one_s_own_has_its_first_region_away_from_the_start(
    desk: Desk, tmp_path: Path
) -> None:
    # Such a map's token carries one node: the one that the issuer reached.
    relay, address = start_relay(desk)
    nodes = {
        "1": {"HostName": "127.0.0.1", "DERPPort": free_port(), "Name": "1a"},
        "2": {"HostName": "127.0.0.1", "DERPPort": int(address.rpartition(":")[2]), "Name": "2a"},
    }
    regions = {
        number: {
            "RegionID": int(number), "RegionCode": f"r{number}", "RegionName": f"Region {number}",
            "Nodes": [{**node, "STUNPort": -1, "PlainHTTP": True, "RegionID": int(number)}],
        }
        for number, node in nodes.items()
    }  # fmt: skip
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"Regions": regions}))
    listen = desk.derphole("listen", "listen", RELAYED, "--derp-map", file)

    pipe = desk.pipe(token_of(listen), RELAYED, "--derp-map", str(file), stdin=b"by the second")

    pipe.ends_with(0, "^sent 13B")
    listen.ends_with(0, "^received 13B")
    assert listen.stdout == b"by the second"
    assert relay.is_running
