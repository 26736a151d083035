"""Round trips of up to 3 s to the relay: everything works, slowly, and says so."""

import json
import re
import sys
import time

import pytest
from lab import Lab
from lab_transfers import CLIENT, SERVER, TOKEN_EVENT
from natlab_support import can_ping
from support.processes import PROGRAM, record_figure
from wires import Impairment

SLOW_S = 0.75  # from here on the programs say so
PAYLOAD = bytes(range(256)) * 64
# Seconds to the relay and back.
SHORT = [pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.8, 2.0)]
ROUND_TRIPS = [*SHORT[:2], 1.2, SHORT[2], 3.0]
CODE_EVENT = r'"event": "code", .*"code": "([^"]+)"'
NEAR_S, CODE_LIMIT_S = 0.02, 0.35
ROUNDS, MOST_ROUNDS = 3, 12
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


@pytest.mark.timeout(240)
@pytest.mark.alongside("waits")
@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS)
def test_a_code_serves(lab, stage, round_trip_s):
    delay(lab, round_trip_s)
    where = ("--json", "--force-relay", "--relay", stage.url)
    listen = stage.run("listen", lab.b, "listen", *where)
    code = listen.await_line(CODE_EVENT, limit_s(round_trip_s)).group(1)
    pipe = stage.run("pipe", lab.a, "pipe", *where, code, stdin=PAYLOAD)

    pipe.ends_with(0, timeout_s=limit_s(round_trip_s))
    listen.ends_with(0, timeout_s=limit_s(round_trip_s))

    assert listen.stdout == PAYLOAD


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "pair", ["listen and pipe", "send and receive", "receive and send", "share and open"]
)
def test_a_code_costs_little_more_than_a_token(lab, stage, pair, is_full):
    """From the start of one side to the end of the other, at 20 ms to the relay and back."""
    delay(lab, NEAR_S)
    issue, use = pair.split(" and ")
    by_token, by_code = [], []
    while len(by_code) < ROUNDS or (
        min(by_code) - min(by_token) > CODE_LIMIT_S and len(by_code) < MOST_ROUNDS
    ):
        by_token.append(_times_s(lab, stage, issue, use, TOKEN_EVENT, "--no-code"))
        by_code.append(_times_s(lab, stage, issue, use, CODE_EVENT))
    more_s = min(by_code) - min(by_token)
    what = f"{pair} by code at {1000 * NEAR_S:.0f} ms: more than by token"
    record_figure(what, f"{more_s:.2f} s", f"{CODE_LIMIT_S} s")
    assert more_s <= CODE_LIMIT_S


def _times_s(lab, stage, issue: str, use: str, event: str, *words: str) -> float:
    """Return how long it takes from the start of one side until the other one is through."""
    began = time.monotonic()
    where = ("--json", "--force-relay", "--relay", stage.url)
    what = {"send": ("--text", "hello"), "receive": ("-o", "-"), "share": ("9",)}
    issuing = stage.run(issue, lab.b, issue, *where, *words, *what.get(issue, ()))
    given = issuing.await_line(event).group(1)
    how = {"receive": ("-o", "-"), "send": ("--text", "--to")}
    last = (given, "hello") if use == "send" else (given,)
    stdin = b"hello" if use == "pipe" else b""
    using = stage.run(use, lab.a, use, *where, *how.get(use, ()), *last, stdin=stdin)
    if use == "open":
        using.await_line('"event": "listening"')
        took_s = time.monotonic() - began
        using.stop()
        issuing.stop()
        return took_s
    using.ends_with(0)
    took_s = time.monotonic() - began
    issuing.ends_with(0)
    return took_s
