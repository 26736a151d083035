"""`send` and `receive` behind NATs: direct and relayed, through an outage, and on from a kill."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import Lab
from lab_transfers import DIRECT_EVENT, TOKEN_EVENT, Stage
from nat_kinds import NatKind
from support.processes import Process, await_true, record_figure
from topology import Topology
from wires import Impairment

MIB = 1 << 20
SIZE = 12 * MIB
SLOW = Impairment(rate="24mbit", queue_ms=100)  # 4 s for that
OUTAGE_S = 20.0
HEAL_LIMIT_S = 30.0
END_LIMIT_S = 60.0
NATS = Topology(nat_a=NatKind.PORT_RESTRICTED, nat_b=NatKind.PORT_RESTRICTED)
EACH_PATH = pytest.mark.parametrize("options", [(), ("--force-relay",)], ids=["direct", "relayed"])


@dataclass
class Goods:
    """A folder with a large file and small ones, and where it goes."""

    source: Path
    target: Path
    content: bytes

    @property
    def come(self) -> int:
        """How much of the large file is there, under whichever name."""
        parts = [self.target / "goods" / name for name in (".large.derphole-part", "large")]
        return max((part.stat().st_size for part in parts if part.exists()), default=0)

    def assert_arrived(self) -> None:
        copy = self.target / "goods"
        assert (copy / "large").read_bytes() == self.content
        assert sorted(os.listdir(copy)) == sorted(os.listdir(self.source))
        assert os.listdir(self.target) == ["goods"]


@pytest.fixture
def goods(tmp_path: Path) -> Goods:
    source, target = tmp_path / "goods", tmp_path / "there"
    source.mkdir()
    target.mkdir()
    content = os.urandom(SIZE)
    (source / "large").write_bytes(content)
    for number in range(50):
        (source / f"small {number}").write_bytes(bytes([number]) * number)
    return Goods(source, target, content)


def send(lab: Lab, stage: Stage, goods: Goods, *options: str) -> tuple[Process, str]:
    """Start a sender on host a; return it with its code."""
    words = ["--json", *options, "--relay", stage.url, goods.source]
    sender = stage.run("send", lab.a, "send", *words)
    return sender, sender.await_line(TOKEN_EVENT).group(1)


def receive(lab: Lab, stage: Stage, goods: Goods, code: str, name: str = "receive") -> Process:
    return stage.run(name, lab.b, "receive", "--json", "-o", goods.target, code)


def await_come(goods: Goods, size: int, limit_s: float = END_LIMIT_S) -> None:
    await_true(lambda: goods.come >= size, f"{size} bytes have come", limit_s)


@pytest.mark.parametrize("topology", [NATS])
@EACH_PATH
def test_a_folder_goes_through_nats(lab: Lab, stage: Stage, goods: Goods, options):
    lab.wire("a").impair(SLOW)
    sender, code = send(lab, stage, goods, *options)
    receiver = receive(lab, stage, goods, code)

    sender.ends_with(0, timeout_s=END_LIMIT_S)
    receiver.ends_with(0, timeout_s=END_LIMIT_S)

    goods.assert_arrived()
    is_direct = any(event.get("direct") for event in sender.events)
    assert is_direct is not bool(options)


@pytest.mark.timeout(180)
@pytest.mark.alongside("waits")
@pytest.mark.parametrize("topology", [NATS])
@EACH_PATH
def test_a_network_that_is_away_for_20_s_costs_no_byte(
    lab: Lab, stage: Stage, goods: Goods, options
):
    lab.wire("a").impair(SLOW)
    sender, code = send(lab, stage, goods, *options)
    receiver = receive(lab, stage, goods, code)
    if not options:
        receiver.await_line(DIRECT_EVENT)
    await_come(goods, 2 * MIB)

    with lab.cut("b"):
        away_until = time.monotonic() + OUTAGE_S
        sender.await_line(r'"event": "stalled"', OUTAGE_S)
        time.sleep(max(0.0, away_until - time.monotonic()))  # the outage has a length, no end
        come = goods.come
    healed = time.monotonic()
    await_come(goods, come + 1, HEAL_LIMIT_S)
    again_s = time.monotonic() - healed

    sender.ends_with(0, timeout_s=END_LIMIT_S)
    receiver.ends_with(0, timeout_s=END_LIMIT_S)
    goods.assert_arrived()
    path = "relayed" if options else "direct"
    what = f"send, {path}, network of the receiver away for 20 s: bytes again"
    record_figure(what, f"{again_s:.1f} s", f"{HEAL_LIMIT_S:g} s")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("topology", [NATS])
def test_a_receiver_that_is_killed_goes_on_over_another_relay_and_path(
    lab: Lab, stage: Stage, goods: Goods
):
    lab.wire("a").impair(SLOW)
    sender, code = send(lab, stage, goods)
    receiver = receive(lab, stage, goods, code)
    receiver.await_line(DIRECT_EVENT)
    await_come(goods, 4 * MIB)
    receiver.send_signal(signal.SIGKILL)
    receiver.wait()
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    come = goods.come
    stage.start_relay(lab.public_addresses[1])

    sender, code = send(lab, stage, goods, "--force-relay")
    receiver = receive(lab, stage, goods, code, "receive again")
    sender.ends_with(0, timeout_s=END_LIMIT_S)
    receiver.ends_with(0, timeout_s=END_LIMIT_S)

    goods.assert_arrived()
    (goes_on,) = (event for event in receiver.events if event["event"] == "goes-on")
    assert int(str(goes_on["bytes"])) >= 0.9 * come
