"""share and open behind NATs: a download that is one TCP connection outlives what paths go through.

     host a                    the internet                     host b
     server ◄──TCP── share ~~ NAT ~~ relay ~~ NAT ~~ open ◄──TCP── client
                       └~~~~~~~~ direct, or --force-relay ~~~~~~┘

The client never connects again: a lost connection would end it, and the server, with an error.
"""

import time

import pytest
from lab import Lab
from lab_transfers import Stage
from live_transfer import LiveTransfer
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
from wires import Impairment

MIB = 1 << 20
EARLY = MIB
SETTLED = MIB
OUTAGE_S = 20.0
# What a relayed link may take to come back after its network did: as long as a transfer's.
HEAL_LIMIT_S = 30.0
RELAYED = ("--force-relay",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the network from either side under --full, from that of `open` alone otherwise."""
    if "side" in metafunc.fixturenames:
        metafunc.parametrize("side", ["b", "a"] if metafunc.config.getoption("--full") else ["b"])


@pytest.fixture
def size(is_full: bool) -> int:
    """Bytes of a download, at least."""
    return 200 * MIB if is_full else 6 * MIB


@pytest.fixture(params=[(), RELAYED], ids=["direct", "relayed"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What both commands are told about paths."""
    options: tuple[str, ...] = request.param
    return options


@pytest.fixture
def path(options: tuple[str, ...]) -> str:
    """The path, in words."""
    return "relayed" if options else "direct"


@pytest.fixture
def download(
    lab: Lab, stage: Stage, size: int, is_full: bool, options: tuple[str, ...]
) -> LiveTransfer:
    """A download that has begun, and is direct unless it is kept on the relay."""
    lab.wire("a").impair(Impairment(rate="48mbit" if is_full else "24mbit", queue_ms=100))
    download = stage.live_download(size, options=options)
    if not options:
        download.await_direct(time.monotonic(), FIRST_DIRECT_LIMIT_S)
    download.await_more(EARLY, FIRST_DIRECT_LIMIT_S)
    return download


def assert_ends_exactly(download: LiveTransfer) -> None:
    """Wait for the end of the download; both commands go on, and end with 0 when asked to."""
    assert_exact(download.finish(END_LIMIT_S))
    for command in (download.receiver, download.sender):
        command.stop()
        command.ends_with(0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [()], ids=["direct"])
def test_a_promotion_in_the_middle_leaves_a_download_exact(lab, download):
    cut_at = time.monotonic()
    with lab.block_udp("a"):
        download.await_relayed(LENIENCE * TRAFFIC_LIMIT_S)
        download.await_more(SETTLED, LENIENCE * TRAFFIC_LIMIT_S)
        pause_s = download.progress.longest_pause_s(cut_at, time.monotonic())
    healed_at = time.monotonic()
    again_s = download.await_direct(healed_at, LENIENCE * DIRECT_LIMIT_S)
    download.await_more(SETTLED, DIRECT_LIMIT_S)

    assert_ends_exactly(download)
    promotions = [event for event in download.trace("share", "path.active") if event["path"] != 0]
    assert len(promotions) == 2
    assert_pause("share, direct path cut: traffic again", pause_s, TRAFFIC_LIMIT_S)
    assert_pause("share, direct path healed: direct again", again_s, DIRECT_LIMIT_S)


@pytest.mark.timeout(300)
def test_a_relay_that_is_started_again_leaves_a_download_exact(stage, download, path):
    killed_at = time.monotonic()
    stage.relay.send_signal(9)
    stage.relay.wait()
    stage.start_relay()
    away_s = time.monotonic() - killed_at
    download.await_more(3 * SETTLED, LENIENCE * NETWORK_LIMIT_S)
    pause_s = download.progress.longest_pause_s(killed_at, time.monotonic())

    assert_ends_exactly(download)
    what = f"share, {path}, relay killed and back after {away_s:.1f} s: traffic again"
    assert_pause(what, max(0.0, pause_s - away_s), NETWORK_LIMIT_S)


@pytest.mark.timeout(300)
@pytest.mark.alongside("waits")
def test_a_network_that_is_away_for_20_s_leaves_a_download_exact(lab, download, path, side):
    stalled = r'"event": "stalled"'
    with lab.cut(side):
        away_until = time.monotonic() + OUTAGE_S
        download.sender.await_line(stalled, OUTAGE_S)
        wait_until(away_until)
    healed_at = time.monotonic()
    download.await_more(SETTLED, HEAL_LIMIT_S)
    again_s = download.progress.longest_pause_s(healed_at, time.monotonic())

    assert_ends_exactly(download)
    whose = {"a": "share", "b": "open"}[side]
    what = f"share, {path}, network of {whose} away for 20 s: traffic again after it is back"
    assert_pause(what, again_s, HEAL_LIMIT_S / LENIENCE)


@pytest.mark.timeout(300)
def test_a_share_whose_machine_moves_to_another_address_leaves_a_download_exact(
    lab, download, path
):
    moved_at = time.monotonic()
    lab.move("a", 77)

    download.await_more(3 * SETTLED, LENIENCE * NETWORK_LIMIT_S)
    pause_s = download.progress.longest_pause_s(moved_at, time.monotonic())

    assert_ends_exactly(download)
    assert_pause(f"share, {path}, its machine moved: traffic again", pause_s, NETWORK_LIMIT_S)
