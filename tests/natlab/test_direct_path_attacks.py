"""Attacks on direct paths in the middle of a transfer: nothing moves to the attacker, all arrives.

Both homes have NATs that let anybody in, so that every packet of the attacker reaches a program.
The relay may carry the transfer meanwhile; soon after the attack it is direct.
"""

import time
from collections.abc import Iterator

import pytest
from attacker import Attacker
from lab import Lab
from lab_transfers import Stage
from live_transfer import LiveTransfer
from nat_kinds import NatKind
from support.processes import record_figure
from topology import Topology
from wires import UDP, Impairment, Way

MIB = 1 << 20
OPEN = Topology(nat_a=NatKind.FULL_CONE, nat_b=NatKind.FULL_CONE)
RATE = "24mbit"
DIRECT_LIMIT_S = 5.0
LENIENCE = 3
START_LIMIT_S = 15.0
END_LIMIT_S = 120.0
LOSS_PERCENT = 3.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("topology", [OPEN])]


@pytest.fixture
def transfer(lab: Lab, stage: Stage, is_full: bool) -> LiveTransfer:
    """A transfer from a to b that has begun and is direct."""
    lab.wire("a").impair(Impairment(rate="48mbit" if is_full else RATE, queue_ms=100))
    transfer = stage.live_transfer(200 * MIB if is_full else 4 * MIB)
    transfer.await_direct(time.monotonic(), START_LIMIT_S)
    transfer.await_more(MIB, START_LIMIT_S)
    return transfer


@pytest.fixture
def attacker(lab: Lab) -> Iterator[Attacker]:
    with Attacker(lab) as attacker:
        yield attacker


def assert_withstood(
    transfer: LiveTransfer, attacker: Attacker, what: str, attacked_at: float
) -> None:
    """Assert that the transfer is direct again, ends exactly, and never took to the attacker."""
    over_at = time.monotonic()
    again_s = transfer.await_direct(over_at, LENIENCE * DIRECT_LIMIT_S)
    transfer.await_more(MIB, LENIENCE * DIRECT_LIMIT_S)
    pause_s = transfer.progress.longest_pause_s(attacked_at, time.monotonic())
    ending = transfer.finish(END_LIMIT_S)

    assert ending.is_exact, ending.story
    assert ending.codes == (0, 0), ending.story
    for name in ("pipe", "listen"):
        taken = transfer.trace(name, "path.confirmed", "path.active")
        assert len(taken) >= 2
        assert not [event for event in taken if attacker.address in str(event["to"])]
    record_figure(f"{what}: longest pause", f"{pause_s:.2f} s", "recorded")
    record_figure(f"{what}: direct again", f"{again_s:.2f} s", f"{DIRECT_LIMIT_S:g} s")


def dropped(transfer: LiveTransfer, name: str) -> int:
    """Packets that a program has not taken for authentic or new."""
    counts = transfer.trace(name, "link.sample", "link.ended", "link.left")
    return int(str(counts[-1]["packets_dropped"]))


def test_forged_probes_move_nothing(transfer, attacker, is_full):
    count = 5000 if is_full else 300
    by_a, by_b = attacker.capture(20)
    attacked_at = time.monotonic()
    for real in (by_a[-1], by_b[-1]):
        forged = attacker.forged(real, count)
        attacker.resend(forged)
        attacker.impersonate(forged)

    assert_withstood(transfer, attacker, "forged probes", attacked_at)
    for name in ("pipe", "listen"):
        assert dropped(transfer, name) >= count // 2  # the rest names no link
        assert not appeared(transfer, attacker, name)


def test_replayed_packets_move_nothing(lab, transfer, attacker, is_full):
    # What is lost behind the attacker is new to the receiver when the attacker sends it.
    lab.wire("b").impair(Impairment(loss_percent=LOSS_PERCENT, match=UDP), Way.DOWN)
    attacked_at = time.monotonic()
    for _ in range(20 if is_full else 3):
        by_a, by_b = attacker.capture(200)
        attacker.resend([*by_a, *by_b])
        attacker.impersonate([*by_a, *by_b])
    lab.wire("b").impair(Impairment(), Way.DOWN)

    assert_withstood(transfer, attacker, "replayed packets", attacked_at)
    assert appeared(transfer, attacker, "listen")
    for name in ("pipe", "listen"):
        assert dropped(transfer, name) >= 100


def test_a_flood_of_junk_moves_nothing(transfer, attacker, is_full):
    by_a, by_b = attacker.capture(5)
    attacked_at = time.monotonic()
    count = attacker.flood([*by_a, *by_b], 10.0 if is_full else 2.0)

    assert_withstood(transfer, attacker, f"a flood of {count} junk packets", attacked_at)
    for name in ("pipe", "listen"):
        assert dropped(transfer, name) >= count // 20
        assert not appeared(transfer, attacker, name)


def appeared(transfer: LiveTransfer, attacker: Attacker, name: str) -> bool:
    """Tell whether a program took a packet of the attacker for an authentic one."""
    events = transfer.trace(name, "path.appeared")
    return any(attacker.address in str(event["to"]) for event in events)
