"""Transfers through NATs over the relay: every pair of kinds, and faults in the middle of one.

Bytes are compared, so "exact" means what the sender read is what the receiver wrote.  A rate on
the wire makes a transfer last long enough for a fault to come in its middle.
"""

import os
import time
from pathlib import Path

import pytest
from grid import Expect, Grid
from lab import Lab
from lab_transfers import Stage, Transfer
from nat_kinds import NatKind
from support.processes import record_figure
from topology import CASES, Topology
from wires import Impairment, Way

MIB = 1 << 20
RELAY_ALONE = ("--force-relay",)
OUTAGE_S = 20.0
# What a link may take to come back over the relay after its network did: half a minute.
HEAL_LIMIT_S = 30.0
END_LIMIT_S = 60.0
SLOW = Impairment(rate="24mbit", queue_ms=100)
LONG_SIZE = 12 * MIB  # 4 s at that rate
FULL_LONG_SIZE = 48 * MIB
EARLY = 3 * MIB


@pytest.fixture
def long_size(is_full: bool) -> int:
    """Bytes of a transfer that a fault comes into."""
    return FULL_LONG_SIZE if is_full else LONG_SIZE


@pytest.fixture
def transfer(lab: Lab, stage: Stage, long_size: int) -> Transfer:
    """A transfer from a to b that has begun, at a slow rate, and is far from its end."""
    lab.wire("a").impair(SLOW)
    transfer = stage.transfer(os.urandom(long_size), options=RELAY_ALONE)
    transfer.await_received(EARLY)
    return transfer


def ends_exactly(transfer: Transfer) -> bool:
    """Wait for the end, and tell whether every byte came over the relay."""
    outcome = transfer.finish(END_LIMIT_S)
    assert outcome.path == "relay"
    return outcome.is_exact


# -- every kind of NAT -----------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_every_pair_of_nat_kinds_completes_on_the_relay(tmp_path: Path, is_full: bool):
    kinds = list(NatKind)
    pairs = [(one, other) for one in kinds for other in kinds]
    if not is_full:  # each kind once on each side
        pairs = [(kind, kinds[number - 1]) for number, kind in enumerate(kinds)]

    cells = list(Grid(Expect.RELAY, tmp_path).run_pairs(pairs))

    assert len(cells) == len(pairs)
    assert [cell.complaint for cell in cells if not cell.is_good] == []


@pytest.mark.parametrize(
    "name", ["shared carrier, no hairpin", "IPv6 alone", "dual stack, symmetric"]
)
def test_other_topologies_complete_on_the_relay(tmp_path: Path, name: str):
    cell = Grid(Expect.RELAY, tmp_path).run_topology(name, CASES[name])

    assert cell.is_good, cell.complaint


@pytest.mark.parametrize(
    "topology", [Topology(nat_a=NatKind.UDP_BLOCKED, nat_b=NatKind.UDP_BLOCKED)]
)
def test_hosts_without_udp_work_on_the_relay(lab: Lab, stage: Stage):
    payload = os.urandom(4 * MIB)

    outcome = stage.transfer(payload, options=RELAY_ALONE).finish()

    assert outcome.is_exact
    assert outcome.path == "relay"
    assert lab.wire("b").counts(Way.DOWN)["tcp"].size_bytes > len(payload)


def test_a_relay_without_stun_does_not_pass_for_blocked_udp(lab: Lab, tmp_path: Path):
    stage = Stage(lab, tmp_path)
    try:
        stage.start_relay(stun_port=None)
        lab.wire("a").impair(SLOW)  # long enough to learn that nobody answers

        outcome = stage.transfer(os.urandom(8 * MIB)).finish()
    finally:
        stage.close()

    assert outcome.is_exact, outcome.reason
    assert outcome.reason == (
        "no direct path was found in time; the relay's STUN server did not answer"
    )


# -- faults in the middle --------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the network from either side under --full, from the receiver alone otherwise."""
    if "side" in metafunc.fixturenames:
        metafunc.parametrize("side", ["b", "a"] if metafunc.config.getoption("--full") else ["b"])


@pytest.mark.timeout(120)
@pytest.mark.alongside("waits")
def test_a_network_that_is_away_for_20_s_stops_nothing_for_good(
    lab: Lab, stage: Stage, long_size: int, side: str
):
    lab.wire(side).impair(SLOW)
    transfer = stage.transfer(os.urandom(long_size), options=RELAY_ALONE)
    transfer.await_received(EARLY)

    with lab.cut(side):
        away_until = time.monotonic() + OUTAGE_S
        transfer.pipe.await_line(r'"event": "stalled"', OUTAGE_S)
        time.sleep(max(0.0, away_until - time.monotonic()))  # the outage has a length, no end
        received = transfer.received_size
    healed = time.monotonic()
    transfer.await_received(received + 1, HEAL_LIMIT_S)
    again_s = time.monotonic() - healed

    assert ends_exactly(transfer)
    what = f"traffic again after the network of the {'sender' if side == 'a' else 'receiver'}"
    record_figure(f"{what} was away for 20 s", f"{again_s:.1f} s", f"{HEAL_LIMIT_S:g} s")


@pytest.mark.timeout(120)
def test_a_host_that_moves_to_another_address_goes_on(lab: Lab, transfer: Transfer):
    received = transfer.received_size
    lab.move("a", 77)

    transfer.await_received(received + EARLY, HEAL_LIMIT_S)
    assert ends_exactly(transfer)


@pytest.mark.timeout(120)
def test_a_nat_that_moves_to_another_address_stops_nothing(lab: Lab, transfer: Transfer):
    lab.rebind("a")

    assert ends_exactly(transfer)


@pytest.mark.timeout(120)
@pytest.mark.alongside("waits")
def test_loss_in_one_direction_stops_nothing(lab: Lab, transfer: Transfer):
    with lab.cut("a", Way.DOWN):
        transfer.pipe.await_line(r'"event": "stalled"', HEAL_LIMIT_S)

    assert ends_exactly(transfer)


@pytest.mark.timeout(120)
def test_a_bad_link_costs_time_and_no_byte(lab: Lab, stage: Stage):
    lab.wire("a").impair(
        Impairment(loss_percent=1, duplicate_percent=2, delay_ms=10, jitter_ms=5, rate="50mbit")
    )

    assert ends_exactly(stage.transfer(os.urandom(2 * MIB), options=RELAY_ALONE))
