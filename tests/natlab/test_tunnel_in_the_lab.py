"""A tunnel of derptun behind NATs: one TCP connection outlives networks that are away for long.

     host a                    the internet                     host b
     server ◄──TCP── serve ~~ NAT ~~ relay ~~ NAT ~~ open ◄──TCP── client
                       └~~~~~~~~ direct, or --force-relay ~~~~~~┘

A share would have given its link up after a minute; the client here never connects again.
"""

import time

import pytest
from lab import Lab
from lab_transfers import Stage
from live_transfer import LiveTransfer
from pauses import (
    END_LIMIT_S,
    FIRST_DIRECT_LIMIT_S,
    LENIENCE,
    NETWORK_LIMIT_S,
    assert_exact,
    assert_pause,
    wait_until,
)
from wires import Impairment

MIB = 1 << 20
RELAYED = ("--force-relay",)
SETTLED = MIB
# What a relayed link may take to come back after its network did: as long as a transfer's.
HEAL_LIMIT_S = 30.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the network away for minutes, and from either side, under --full."""
    is_full = metafunc.config.getoption("--full")
    if "side" in metafunc.fixturenames:
        metafunc.parametrize("side", ["b", "a"] if is_full else ["b"])
    if "away_s" in metafunc.fixturenames:
        metafunc.parametrize("away_s", [5.0, 180.0] if is_full else [5.0, 70.0])


@pytest.fixture(params=[(), RELAYED], ids=["direct", "relayed"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What both commands are told about paths."""
    options: tuple[str, ...] = request.param
    return options


@pytest.fixture
def download(lab: Lab, stage: Stage, is_full: bool, options: tuple[str, ...]) -> LiveTransfer:
    """A download that has begun, and is direct unless it is kept on the relay."""
    lab.wire("a").impair(Impairment(rate="48mbit" if is_full else "24mbit", queue_ms=100))
    download = stage.live_tunnel((200 if is_full else 6) * MIB, options=options)
    if not options:
        download.await_direct(time.monotonic(), FIRST_DIRECT_LIMIT_S)
    download.await_more(MIB, FIRST_DIRECT_LIMIT_S)
    return download


def assert_ends_exactly(download: LiveTransfer) -> None:
    """Wait for the end of the download; both commands go on, and end with 0 when asked to."""
    assert_exact(download.finish(END_LIMIT_S))
    for command in (download.receiver, download.sender):
        command.stop()
        command.ends_with(0)


@pytest.mark.timeout(500)
@pytest.mark.alongside("waits")
def test_a_network_that_is_away_leaves_a_download_exact(
    lab: Lab, download: LiveTransfer, options: tuple[str, ...], side: str, away_s: float
) -> None:
    with lab.cut(side):
        wait_until(time.monotonic() + away_s)
    healed_at = time.monotonic()
    download.await_more(SETTLED, HEAL_LIMIT_S)
    again_s = download.progress.longest_pause_s(healed_at, time.monotonic())

    assert_ends_exactly(download)
    path = "relayed" if options else "direct"
    whose = {"a": "serve", "b": "open"}[side]
    what = f"derptun, {path}, network of {whose} away for {away_s:.0f} s: traffic again"
    assert_pause(what, again_s, HEAL_LIMIT_S / LENIENCE)


@pytest.mark.timeout(300)
def test_a_relay_that_is_started_again_leaves_a_download_exact(
    stage: Stage, download: LiveTransfer, options: tuple[str, ...]
) -> None:
    killed_at = time.monotonic()
    stage.relay.send_signal(9)
    stage.relay.wait()
    stage.start_relay()
    away_s = time.monotonic() - killed_at
    download.await_more(3 * SETTLED, LENIENCE * NETWORK_LIMIT_S)
    pause_s = download.progress.longest_pause_s(killed_at, time.monotonic())

    assert_ends_exactly(download)
    path = "relayed" if options else "direct"
    what = f"derptun, {path}, relay killed and back after {away_s:.1f} s: traffic again"
    assert_pause(what, max(0.0, pause_s - away_s), NETWORK_LIMIT_S)
