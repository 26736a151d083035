"""`derphole netcheck` as a process: both forms of the report, the exit codes, time, signals."""

import json
import re
import signal
import socket
import time
from pathlib import Path

import pytest
import tcp_servers
from desk import Desk
from support.processes import free_port, record_figure
from tcp_servers import TcpServer
from test_relay_trouble import make_certificate

pytestmark = pytest.mark.e2e

LIMIT_S = 5.0
SILENCE_S = 2.0


@pytest.fixture
def stun_relay(desk: Desk) -> str:
    """A relay of its own whose map has its STUN port; returns the URL of that map."""
    arguments = ("relay", "--json", "--listen", "127.0.0.1:0", "--stun-port", "0")
    relay = desk.derphole("stun relay", *arguments)
    return relay.await_line(r'"derp_map_url": "(http[^"]+)"').group(1)


def test_the_report_for_people_is_on_standard_error(desk: Desk, stun_relay: str):
    check = desk.derphole("netcheck", "netcheck", "--derp-map", stun_relay)

    assert check.wait() == 0, check.story
    assert check.stdout == b""
    assert "Network check: direct-friendly\nUDP:\n  Outbound UDP: yes\n" in check.stderr
    assert re.search(r"\nRelays:\n  \S.*: [0-9.]+ ms, connected in \d+ ms\n", check.stderr)
    assert "says nothing about the network outside" in check.stderr


def test_the_report_for_programs_is_one_object_on_standard_output(desk: Desk, stun_relay: str):
    check = desk.derphole("netcheck", "netcheck", "--json", "--derp-map", stun_relay)

    assert check.wait() == 0, check.story
    assert check.stdout.count(b"\n") == 1
    report = json.loads(check.stdout)
    assert report["verdict"] == "direct-friendly"
    assert report["ipv4"]["udp"]
    assert report["relay_reachable"]
    assert report["relays"][0]["latency_by"] == "stun"
    assert report["port_mapping"] is None
    assert [event["event"] for event in check.events] in ([], ["waiting"])


def test_quiet_leaves_the_exit_code(desk: Desk, stun_relay: str):
    check = desk.derphole("netcheck", "netcheck", "-q", "--derp-map", stun_relay)

    assert check.wait() == 0, check.story
    assert check.lines == []


def map_file(desk: Desk, derp_port: int, stun_port: int) -> str:
    """Write the map of one relay on loopback."""
    node = {"Name": "1a", "RegionID": 1, "HostName": "127.0.0.1", "PlainHTTP": True}
    node |= {"DERPPort": derp_port, "STUNPort": stun_port}
    path = desk.folder / "map.json"
    path.write_text(json.dumps({"Regions": {"1": {"RegionID": 1, "Nodes": [node]}}}))
    return str(path)


def test_a_relay_without_stun_is_reached_and_the_rest_doubted(desk: Desk):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        relay_port = int(desk.relay_url.rpartition(":")[2])
        derp_map = map_file(desk, relay_port, silent.getsockname()[1])
        options = ("--json", "--force-relay", "--derp-map", derp_map)
        check = desk.derphole("netcheck", "netcheck", *options)

        assert check.wait() == 0, check.story
    report = json.loads(check.stdout)
    assert report["relay_reachable"]
    assert report["relay_forced"]
    assert report["relays"][0]["latency_by"] == "http"
    assert report["verdict"] == "unknown"
    assert (report["udp"]["outbound"], report["udp"]["stun"]) == (None, False)
    assert report["ipv4"]["udp"] is None
    assert "UDP seems to be blocked" not in report["recommendation"]
    assert "either it is not running" in report["recommendation"]


def test_without_a_relay_the_report_comes_and_the_exit_code_is_1(desk: Desk):
    url = f"http://127.0.0.1:{free_port()}"
    check = desk.derphole("netcheck", "netcheck", "--json", "--relay", url)

    assert check.wait() == 1, check.story
    report = json.loads(check.stdout)
    assert report["verdict"] == "no-relay"
    assert "nothing listens there" in report["relays"][0]["error"]
    error = check.events[-1]
    assert (error["event"], error["code"], error["exit_code"]) == ("error", "relay", 1)
    assert str(error["message"]).startswith(f"no relay could be used: relay {url[7:]} ")


def test_without_a_map_the_report_comes_and_says_why(desk: Desk):
    absent = str(desk.folder / "absent.json")
    check = desk.derphole("netcheck", "netcheck", "--timeout", "1", "--derp-map", absent)

    check.ends_with(1, r"^Network check: no-", r"^no relay could be used: the report above says")
    assert re.search(r"^  the relay map .*absent\.json cannot be", check.story, re.MULTILINE)


def test_a_sign_in_page_is_told(desk: Desk, tmp_path: Path):
    page = tmp_path / "portal.py"
    page.write_text(
        "import http.server\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(302)\n"
        "        self.send_header('Location', 'http://login.test/')\n"
        "        self.end_headers()\n"
        "    def log_message(self, *args):\n"
        "        pass\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)\n"
        "import sys\n"
        "print('port', server.server_port, file=sys.stderr, flush=True)\n"
        "server.serve_forever()\n"
    )
    portal = desk.run("portal", ["python3", page])
    url = f"http://127.0.0.1:{portal.await_line(r'^port ([0-9]+)').group(1)}"

    check = desk.derphole("netcheck", "netcheck", "--json", "--relay", url)

    assert check.wait() == 1, check.story
    report = json.loads(check.stdout)
    assert (report["verdict"], report["captive_portal"]) == ("captive-portal", True)


@pytest.mark.parametrize(
    ("script", "word", "fault", "words"),
    [
        (tcp_servers.refuse_the_key, "relay-refused", "key-refused", "use a relay that admits"),
        (tcp_servers.serve_web_page, "not-a-relay", "not-derp", "check host and port"),
        (tcp_servers.say_nonsense, "not-a-relay", "not-derp", "check host and port"),
        (
            tcp_servers.redirect("https://127.0.0.1/derp"),
            "redirected",
            "redirected",
            "give the relay's new address with --relay",
        ),
    ],
)
def test_what_answers_in_a_relay_s_place_is_told_by_what_was_seen(
    desk: Desk, script: tcp_servers.Script, word: str, fault: str, words: str
):
    with TcpServer(script) as server:
        url = f"http://127.0.0.1:{server.port}"
        check = desk.derphole("netcheck", "netcheck", "--json", "--relay", url)
        assert check.wait() == 1, check.story

    report = json.loads(check.stdout)
    assert (report["verdict"], report["captive_portal"]) == (word, False)
    assert report["relays"][0]["fault"] == fault
    assert "port 443" not in report["recommendation"]
    assert words in str(check.events[-1]["message"])


def test_a_certificate_that_nobody_trusts_is_told_with_the_url_that_would_pin_it(desk: Desk):
    script = tcp_servers.serve_nobody_over_tls(make_certificate(desk.folder))
    with TcpServer(script) as server:
        url = f"https://127.0.0.1:{server.port}"
        check = desk.derphole("netcheck", "netcheck", "--relay", url)

        check.ends_with(1, "^Network check: relay-not-trusted$")
        assert len(re.findall(f"use --relay {url}#sha256:[0-9a-f]{{64}}", check.story)) == 1


def test_a_network_where_nothing_answers_is_told_within_5_s_and_never_in_silence(desk: Desk):
    # Connections are taken and never answered, and neither is a datagram.
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(64)
        udp.bind(("127.0.0.1", 0))
        derp_map = map_file(desk, tcp.getsockname()[1], udp.getsockname()[1])
        started_at = time.monotonic()
        check = desk.derphole("netcheck", "netcheck", "--json", "--derp-map", derp_map)
        check.await_line('"event": "waiting"', 3 * SILENCE_S)
        first_words_s = time.monotonic() - started_at
        assert check.wait() == 1, check.story
        took_s = time.monotonic() - started_at

    waits = [float(str(each["for_s"])) for each in check.events if each["event"] == "waiting"]
    record_figure("netcheck where nothing answers", f"{took_s:.1f} s", f"{LIMIT_S:g} s")
    assert first_words_s < 3 * SILENCE_S
    assert all(late - early < 3 * SILENCE_S for early, late in zip(waits, waits[1:], strict=False))
    assert took_s < 3 * LIMIT_S
    assert json.loads(check.stdout)["relays"][0]["error"].startswith("relay 127.0.0.1:")


def test_the_timeout_bounds_it(desk: Desk):
    check = desk.derphole(
        "netcheck", "netcheck", "--json", "--timeout", "0.5", "--relay", desk.relay_url
    )

    assert check.wait() == 0, check.story
    assert json.loads(check.stdout)["seconds"] < 3 * 0.5


def test_a_signal_ends_it(desk: Desk):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        check = desk.derphole("netcheck", "netcheck", "--timeout", "60", "--relay", url)
        check.await_line("^waiting for answers")
        check.send_signal(signal.SIGINT)

        check.ends_with(130, "^interrupted by SIGINT$")


def test_the_trace_tells_each_finding(desk: Desk, stun_relay: str, tmp_path: Path):
    trace = tmp_path / "trace.jsonl"
    options = ("--trace", str(trace), "--derp-map", stun_relay)
    check = desk.derphole("netcheck", "netcheck", *options)

    assert check.wait() == 0, check.story
    events = [json.loads(line)["event"] for line in trace.read_text().splitlines()]
    assert events[0] == "trace.started"
    assert {"netcheck.nat", "netcheck.relay"} < set(events)
    assert events[-1] == "netcheck.verdict"


def test_a_report_that_nobody_reads_ends_with_1(desk: Desk, stun_relay: str, tmp_path: Path):
    with Path("/dev/full").open("wb") as full:
        arguments = ("netcheck", "--json", "--derp-map", stun_relay)
        check = desk.derphole("netcheck", *arguments, stdout=full)

        assert check.wait() == 1, check.story
    assert check.events[-1]["code"] == "output-failed"
