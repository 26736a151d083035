"""Round trips of up to 3 s to the relay: everything works, slowly, and says so."""

import json
import re
import sys

import pytest
from lab import Lab
from lab_transfers import CLIENT, SERVER, TOKEN_EVENT
from natlab_support import can_ping
from support.processes import PROGRAM
from wires import Impairment

SLOW_S = 0.75  # from here on the programs say so
PAYLOAD = bytes(range(256)) * 64
# Seconds to the relay and back.
SHORT = [pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.8, 2.0)]
ROUND_TRIPS = [*SHORT[:2], 1.2, SHORT[2], 3.0]
SLOWNESS = r"answers slowly: a round trip takes"


def delay(lab: Lab, round_trip_s: float) -> None:
    """Make both wires long; the neighbours know each other already, as they do elsewhere."""
    for site in ("a", "b"):
        assert can_ping(lab.host(site), lab.public_addresses[0])
        lab.wire(site).impair(Impairment(delay_ms=1000 * round_trip_s / 2))


def limit_s(round_trip_s: float) -> float:
    """Return how long a conversation may take: 40 round trips, and a start."""
    return 15.0 + 40 * round_trip_s


@pytest.mark.timeout(240)
@pytest.mark.alongside("waits")
@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS)
def test_bytes_are_piped_and_the_relay_is_said_to_be_slow(lab, stage, round_trip_s):
    delay(lab, round_trip_s)
    listen = stage.run("listen", lab.b, "listen", "--json", "--force-relay", "--relay", stage.url)
    token = listen.await_line(TOKEN_EVENT, limit_s(round_trip_s)).group(1)
    pipe = stage.run("pipe", lab.a, "pipe", "--json", token, stdin=PAYLOAD)

    pipe.ends_with(0, timeout_s=limit_s(round_trip_s))
    listen.ends_with(0, timeout_s=limit_s(round_trip_s))

    assert listen.stdout == PAYLOAD
    for side in (listen, pipe):
        assert bool(re.search(SLOWNESS, side.stderr)) is (round_trip_s > SLOW_S), side.story
        assert "stalled" not in side.stderr, side.story
        assert "warning" not in side.stderr, side.story


@pytest.mark.timeout(240)
@pytest.mark.alongside("waits")
@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS)
def test_a_connection_is_shared(lab, stage, round_trip_s):
    delay(lab, round_trip_s)
    python = [sys.executable, "-u", "-c"]
    server = stage.start("server", lab.a, [*python, SERVER], stdin=PAYLOAD)
    port = server.await_line(r"^(\d+)$").group(1)
    common = ["--json", "--force-relay"]
    share = stage.run("share", lab.a, "share", *common, "--relay", stage.url, port)
    token = share.await_line(TOKEN_EVENT, limit_s(round_trip_s)).group(1)
    opened = stage.run("open", lab.b, "open", *common, token)
    bound = opened.await_line(r'"address": "127\.0\.0\.1:(\d+)"', limit_s(round_trip_s)).group(1)
    client = stage.start("client", lab.b, [*python, CLIENT, bound])

    client.ends_with(0, timeout_s=limit_s(round_trip_s))

    assert client.stdout == PAYLOAD


@pytest.mark.timeout(120)
@pytest.mark.alongside("waits")
@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS)
def test_netcheck_agrees(lab, stage, round_trip_s):
    delay(lab, round_trip_s)
    netcheck = stage.start("netcheck", lab.a, [PROGRAM, "netcheck", "--json", "--relay", stage.url])

    code = netcheck.wait(60.0)

    report = json.loads(netcheck.stdout)
    assert (code, report["udp"]["outbound"]) == (0, True), netcheck.story
    assert report["relays"][0]["latency_ms"] >= 1000 * round_trip_s
    assert ("slow" in report["recommendation"]) is (round_trip_s > SLOW_S)
