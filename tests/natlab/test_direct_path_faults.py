"""Faults of direct paths in the middle of a transfer: every byte comes, and every pause is short.

A transfer goes on until its fault is over and the path is direct again, or is known not to come
back.
"""

import signal
import time

import pytest
from lab import Lab
from lab_transfers import Stage
from live_transfer import LiveTransfer
from nat_kinds import NatKind
from pauses import (
    DIRECT_LIMIT_S,
    END_LIMIT_S,
    FIRST_DIRECT_LIMIT_S,
    LENIENCE,
    NETWORK_LIMIT_S,
    TRAFFIC_LIMIT_S,
    assert_exact,
    assert_pause,
    wait_until,
)
from topology import Topology
from wires import Impairment, Way

MIB = 1 << 20
EARLY = MIB
SETTLED = MIB
CROSSED_LIMIT_S = 1.5  # from when both are direct again to the next bytes
SIDE_NAME = {"a": "sender", "b": "receiver"}
# test -> its arguments, its cases, and how many of them are run without --full
CASES = {
    "test_a_direct_path_that_is_cut_and_heals": (
        ("what", "ways"),
        [("both ways", ()), ("on the way back", (Way.DOWN,)), ("on the way there", (Way.UP,))],
        2,
    ),
    "test_a_nat_that_rebinds": (
        ("side", "topology"),
        [
            ("b", Topology()),
            ("a", Topology(nat_a=NatKind.REMAPPED)),
            ("a", Topology()),
            ("b", Topology(nat_a=NatKind.REMAPPED)),
        ],
        2,
    ),
    "test_a_host_that_moves_to_another_address": (("side",), [("b",), ("a",)], 1),
    "test_udp_that_heals_as_the_relay_fails": (
        ("what", "number"),
        [("frozen", signal.SIGSTOP), ("killed", signal.SIGKILL)],
        2,
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its cases, fewer of them without --full."""
    if (found := CASES.get(metafunc.function.__name__)) is not None:
        names, cases, count = found
        is_full = metafunc.config.getoption("--full")
        metafunc.parametrize(names, cases if is_full else cases[:count])


@pytest.fixture
def size(is_full: bool) -> int:
    """Bytes of a transfer, at least."""
    return 200 * MIB if is_full else 6 * MIB


@pytest.fixture
def outage_s(is_full: bool) -> float:
    """How long something is away; in the cut long enough to be noticed."""
    return 10.0 if is_full else 4.0


@pytest.fixture
def transfer(lab: Lab, stage: Stage, size: int, is_full: bool) -> LiveTransfer:
    """A transfer from a to b that has begun and is direct."""
    lab.wire("a").impair(Impairment(rate="48mbit" if is_full else "24mbit", queue_ms=100))
    transfer = stage.live_transfer(size)
    transfer.await_direct(time.monotonic(), FIRST_DIRECT_LIMIT_S)
    transfer.await_more(EARLY, FIRST_DIRECT_LIMIT_S)
    return transfer


@pytest.mark.timeout(300)
def test_a_direct_path_that_is_cut_and_heals(lab, transfer, outage_s, what, ways):
    cut_at = time.monotonic()
    with lab.block_udp("a", *ways):
        wait_until(cut_at + outage_s)
        pause_s = transfer.progress.longest_pause_s(cut_at, time.monotonic())
        transfer.await_relayed(DIRECT_LIMIT_S)
    healed_at = time.monotonic()
    again_s = transfer.await_direct(healed_at, LENIENCE * DIRECT_LIMIT_S)
    transfer.await_more(SETTLED, DIRECT_LIMIT_S)

    ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    assert_pause(f"direct path cut {what}: traffic again", pause_s, TRAFFIC_LIMIT_S)
    assert_pause(f"direct path cut {what}: direct again after it healed", again_s, DIRECT_LIMIT_S)
    assert ending.receipts[0]["promotions"] == 2
    assert int(str(ending.receipts[1]["bytes_relayed"])) > MIB


@pytest.mark.timeout(300)
def test_udp_that_is_blocked_for_the_rest(lab, transfer):
    cut_at = time.monotonic()
    with lab.block_udp("b"):
        transfer.await_relayed(LENIENCE * TRAFFIC_LIMIT_S)
        transfer.await_more(2 * SETTLED, LENIENCE * TRAFFIC_LIMIT_S)
        pause_s = transfer.progress.longest_pause_s(cut_at, time.monotonic())
        ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    assert_pause("UDP blocked for the rest: traffic again", pause_s, TRAFFIC_LIMIT_S)
    assert [receipt["reason_relayed"] for receipt in ending.receipts] == [
        "the direct path was lost"
    ] * 2


@pytest.mark.timeout(300)
def test_a_nat_that_rebinds(lab, transfer, side):
    rebound_at = time.monotonic()
    lab.rebind(side)

    transfer.await_relayed(LENIENCE * TRAFFIC_LIMIT_S)
    again_s = transfer.await_direct(rebound_at, LENIENCE * NETWORK_LIMIT_S)
    transfer.await_more(SETTLED, LENIENCE * NETWORK_LIMIT_S)
    pause_s = transfer.progress.longest_pause_s(rebound_at, time.monotonic())
    ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    what = f"NAT of the {SIDE_NAME[side]} rebound"
    what += " with other ports" if lab.router("a").kind is NatKind.REMAPPED else ""
    assert_pause(f"{what}: traffic again", pause_s, NETWORK_LIMIT_S)
    assert_pause(f"{what}: direct again", again_s, NETWORK_LIMIT_S)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("topology", [Topology(nat_b=NatKind.FULL_CONE)])
def test_a_nat_that_rebinds_before_a_peer_that_lets_anybody_in(lab, transfer):
    rebound_at = time.monotonic()
    lab.rebind("a")
    other = lab.router("a").public_address

    transfer.receiver.await_line(f'"path": "direct {other}:', LENIENCE * TRAFFIC_LIMIT_S)
    transfer.await_more(SETTLED, LENIENCE * TRAFFIC_LIMIT_S)
    pause_s = transfer.progress.longest_pause_s(rebound_at, time.monotonic())
    ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    what = "NAT of the sender rebound, which the receiver's lets in: traffic again"
    assert_pause(what, pause_s, TRAFFIC_LIMIT_S)


@pytest.mark.timeout(300)
def test_a_host_that_moves_to_another_address(lab, transfer, side):
    moved_at = time.monotonic()
    lab.move(side, 77)

    transfer.await_more(2 * SETTLED, LENIENCE * NETWORK_LIMIT_S)
    pause_s = transfer.progress.longest_pause_s(moved_at, time.monotonic())
    again_s = transfer.await_direct(moved_at, LENIENCE * NETWORK_LIMIT_S)
    ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    what = f"the {SIDE_NAME[side]} moved to another address"
    assert_pause(f"{what}: traffic again", pause_s, NETWORK_LIMIT_S)
    assert_pause(f"{what}: direct again", again_s, NETWORK_LIMIT_S)
    errors = transfer.trace("pipe" if side == "a" else "listen", "relay.error")
    assert any("an address this machine has no longer" in str(error) for error in errors)


@pytest.mark.timeout(300)
def test_a_relay_that_is_killed_while_the_path_is_direct(lab, stage, transfer):
    killed_at = time.monotonic()
    stage.relay.send_signal(9)
    stage.relay.wait()

    transfer.await_more(3 * SETTLED, LENIENCE * TRAFFIC_LIMIT_S)
    pause_s = transfer.progress.longest_pause_s(killed_at, time.monotonic())
    assert transfer.is_direct
    ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    assert_pause("relay killed while direct: longest pause", pause_s, TRAFFIC_LIMIT_S)


@pytest.mark.timeout(300)
def test_a_relay_that_is_killed_and_comes_back_while_relayed(lab, stage, size, is_full):
    lab.wire("a").impair(Impairment(rate="48mbit" if is_full else "24mbit", queue_ms=100))
    transfer = stage.live_transfer(size, options=("--force-relay",))
    transfer.await_more(EARLY, FIRST_DIRECT_LIMIT_S)

    killed_at = time.monotonic()
    stage.relay.send_signal(9)
    stage.relay.wait()
    stage.start_relay()
    ready_at = time.monotonic()
    transfer.await_more(SETTLED, LENIENCE * NETWORK_LIMIT_S)
    pause_s = transfer.progress.longest_pause_s(killed_at, time.monotonic())
    ending = transfer.finish(END_LIMIT_S)

    assert_exact(ending)
    away_s = ready_at - killed_at
    what = f"relay killed and back after {away_s:.1f} s while relayed: traffic again"
    assert_pause(what, max(0.0, pause_s - away_s), NETWORK_LIMIT_S)


@pytest.mark.timeout(300)
def test_udp_that_heals_as_the_relay_fails(lab, stage, transfer, what, number):
    with lab.block_udp("a"):
        transfer.await_relayed(LENIENCE * TRAFFIC_LIMIT_S)
        transfer.await_more(2 * SETTLED, LENIENCE * TRAFFIC_LIMIT_S)
        stage.relay.send_signal(number)
    healed_at = time.monotonic()
    try:
        again_s = transfer.await_direct(healed_at, LENIENCE * DIRECT_LIMIT_S)
        transfer.await_more(3 * SETTLED, END_LIMIT_S)
        pause_s = transfer.progress.longest_pause_s(healed_at + again_s, time.monotonic())
        ending = transfer.finish(END_LIMIT_S)
    finally:
        stage.relay.send_signal(signal.SIGCONT)

    assert_exact(ending)
    name = f"relay {what} as UDP heals"
    assert_pause(f"{name}: direct again", again_s, DIRECT_LIMIT_S)
    assert_pause(f"{name}: traffic again", pause_s, CROSSED_LIMIT_S)
