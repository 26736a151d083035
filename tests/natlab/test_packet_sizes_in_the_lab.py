"""Datagram sizes on links that say nothing of what they swallow: found, left again, found anew."""

import json
import os
from pathlib import Path

import pytest
from lab import Lab
from lab_transfers import DIRECT_EVENT, Stage, Transfer
from support.processes import await_true, record_figure
from wires import Impairment

MIB = 1 << 20
SLOW = Impairment(rate="24mbit", queue_ms=100)
END_LIMIT_S = 90.0
FIND_LIMIT_S = 10.0


class TracedTransfer:
    """A transfer from a to b, and what its sender traces of datagram sizes."""

    def __init__(self, stage: Stage, folder: Path, payload: bytes) -> None:
        self._trace = folder / "pipe.trace"
        self.transfer: Transfer = stage.transfer(
            payload, sender_options=("--trace", str(self._trace))
        )

    @property
    def sizes(self) -> list[int]:
        """Every datagram size that the sender went over to."""
        lines = self._trace.read_text().splitlines() if self._trace.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [event["bytes"] for event in events if event["event"] == "path.packet_size"]

    def await_size(self, size: int) -> None:
        await_true(
            lambda: bool(self.sizes) and self.sizes[-1] == size,
            f"datagrams have {size} bytes (so far: {self.sizes})",
            FIND_LIMIT_S,
        )


@pytest.fixture
def start(stage: Stage, tmp_path: Path, lab: Lab):
    def start_when_direct(payload: bytes) -> TracedTransfer:
        lab.wire("a").impair(SLOW)
        traced = TracedTransfer(stage, tmp_path, payload)
        traced.transfer.pipe.await_line(DIRECT_EVENT, 10.0)
        return traced

    return start_when_direct


@pytest.mark.timeout(180)
def test_a_router_that_swallows_what_is_over_1400_bytes_slows_nothing(lab: Lab, start):
    with lab.swallow_udp("a", over=1400):
        traced = start(os.urandom(8 * MIB))
        traced.await_size(1368)

        outcome = traced.transfer.finish(END_LIMIT_S)

    assert outcome.is_exact
    assert outcome.path == "direct"
    assert max(traced.sizes) == 1368
    record_figure("datagrams over a router with an MTU of 1400", "1368 bytes", "1372 bytes")


@pytest.mark.timeout(180)
def test_an_mtu_that_falls_in_mid_transfer_costs_a_moment_and_no_byte(lab: Lab, start):
    traced = start(os.urandom(24 * MIB))
    traced.await_size(1472)
    traced.transfer.await_received(2 * MIB)

    with lab.swallow_udp("a", over=1400):
        traced.await_size(1368)
        received = traced.transfer.received_size
        traced.transfer.await_received(received + MIB)
        outcome = traced.transfer.finish(END_LIMIT_S)

    assert outcome.is_exact
    assert outcome.path == "direct"
    assert 1200 in traced.sizes
    directs = [event for event in traced.transfer.pipe.events if event.get("event") == "path"]
    assert [event["direct"] for event in directs[-1:]] == [True]


@pytest.mark.timeout(180)
def test_jumbo_frames_are_used_where_every_link_has_them(lab: Lab, start):
    lab.set_mtu(9000)
    traced = start(os.urandom(16 * MIB))
    traced.await_size(8864)

    outcome = traced.transfer.finish(END_LIMIT_S)

    assert outcome.is_exact
    assert traced.sizes[-1] == 8864
    record_figure("datagrams over jumbo frames of 9000 bytes", "8864 bytes", "8972 bytes")
