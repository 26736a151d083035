"""`derphole relay` as a process: its ready line, its sentences, its exit codes."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tunnel.wire import stun
from tunnel.wire.derpmap import decode_derp_map

pytestmark = pytest.mark.e2e

VECTORS = Path(__file__).parent.parent / "vectors"
CERT, KEY = VECTORS / "relay_cert.pem", VECTORS / "relay_key.pem"
PATIENCE_S = 20
UPGRADE = b"GET /derp HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
ANY_PORTS = ("--listen", "127.0.0.1:0", "--stun-port", "0")


def command(*arguments):
    return [sys.executable, "-m", "derphole", "relay", *map(str, arguments)]


@contextmanager
def running(*arguments):
    """Run the command up to its end by SIGTERM, which must be exit code 0."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        process.stderr.close()


def failing(*arguments):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def get(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE_S) as response:
        return response.read()


def test_one_ready_line_tells_where_the_relay_and_stun_are():
    with running(*ANY_PORTS) as process:
        line = process.stderr.readline()
        ready = re.fullmatch(
            r"relay ready: (http://127\.0\.0\.1:\d+)\?stun=(\d+) \(STUN on 127\.0\.0\.1:\2\)\n",
            line,
        )
        assert ready, line

        assert get(f"{ready[1]}/healthz") == b"ok"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.sendto(stun.encode_binding_request(bytes(12)), ("127.0.0.1", int(ready[2])))
            assert stun.decode_binding_response(client.recv(1500)).address == "127.0.0.1"


def test_the_ready_event_leads_to_the_map_and_shows_the_same_node():
    with running(*ANY_PORTS, "--json") as process:
        event = json.loads(process.stderr.readline())

        assert event["event"] == "relay-ready"
        (region,) = decode_derp_map(get(event["derp_map_url"])).regions.values()
        shown = json.dumps({"Regions": {"900": {"Nodes": [event["node"]]}}}).encode()
        assert decode_derp_map(shown).regions[900].nodes == region.nodes
        ports = (event["node"]["DERPPort"], event["node"]["STUNPort"])
        assert event["url"] == "http://127.0.0.1:{}?stun={}".format(*ports)
        assert event["stun"].endswith(str(event["node"]["STUNPort"]))


def test_a_tls_relay_prints_the_pin_of_its_key():
    with running(*ANY_PORTS, "--tls-cert", CERT, "--tls-key", KEY) as process:
        line = process.stderr.readline()

    assert re.search(
        r" https://127\.0\.0\.1:\d+\?stun=\d+#sha256:"
        r"1068f86c3ebf642cbde8f64db3f0fd2aa5bee042dba324cc729be54c588f22c6 ",
        line,
    )


def test_a_public_url_is_what_everybody_is_told():
    options = ("--stun-port", "off", "--public-url", "https://relay.example/derp", "--json")
    with running("--listen", "127.0.0.1:0", *options) as process:
        caution, event = (json.loads(process.stderr.readline()) for _ in range(2))

    assert re.search(
        r"listens on 127\.0\.0\.1:[1-9]\d+ and is reached at https://relay\.example: anyone",
        caution["message"],
    )
    assert (event["url"], event["derp_map_url"]) == (
        "https://relay.example",
        "https://relay.example/derpmap",
    )
    assert (event["node"]["HostName"], event["node"].get("PlainHTTP")) == ("relay.example", None)


def test_a_public_url_of_a_tls_relay_has_the_pin_unless_a_proxy_is_there():
    options = (*ANY_PORTS[:2], "--stun-port", "off", "--tls-cert", CERT, "--tls-key", KEY)
    lines = []
    for proxy in ((), ("--behind-proxy",)):
        with running(*options, "--public-url", "https://relay.example:8443", *proxy) as process:
            lines.append([process.stderr.readline() for _ in range(2)][1])

    assert re.search(r" https://relay\.example:8443#sha256:1068f86c[0-9a-f]{56} ", lines[0])
    assert " https://relay.example:8443 " in lines[1]


def test_sigint_ends_it_with_0_and_without_a_word():
    with running(*ANY_PORTS) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGINT)

        assert process.wait(PATIENCE_S) == 0
        assert process.stderr.read() == ""


def test_a_key_file_keeps_the_key_over_restarts(tmp_path):
    heads = []
    for _ in range(2):
        with running(*ANY_PORTS, "--key-file", tmp_path / "relay.json", "-q") as process:
            port = int(re.search(r":(\d+)\?", process.stderr.readline())[1])
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
                client.sendall(UPGRADE)
                heads.append(re.search(rb"Derp-Public-Key: (\w{64})", client.recv(4096))[1])

    assert heads[0] == heads[1]


@pytest.mark.parametrize("trouble", ["option", "certificate", "address"])
def test_no_key_file_is_written_by_a_relay_that_cannot_run(tmp_path, trouble):
    path = tmp_path / "relay.json"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = {
            "option": (*ANY_PORTS, "--rate", "fast"),
            "certificate": (*ANY_PORTS, "--tls-cert", "absent.pem", "--tls-key", "absent.key"),
            "address": ("--listen", address, "--stun-port", "off"),
        }[trouble]

        ended = failing(*arguments, "--key-file", path)

    assert ended.returncode in (1, 2)
    assert not path.exists()
    assert "relay key" not in ended.stderr


def test_a_key_file_that_cannot_be_written_ends_the_relay(tmp_path):
    ended = failing(*ANY_PORTS, "--key-file", tmp_path / "absent" / "relay.json")

    assert ended.returncode == 1
    assert "cannot be written" in ended.stderr
    assert "relay ready" not in ended.stderr


def test_a_taken_address_is_exit_code_1_and_a_sentence_with_a_next_step():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        ended = failing("--listen", address, "--stun-port", "off")

    assert ended.returncode == 1
    assert address in ended.stderr
    assert "--listen" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_taken_stun_port_that_was_named_is_exit_code_1():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        ended = failing("--listen", "127.0.0.1:0", "--stun-port", port)

    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "--stun-port off" in ended.stderr


def test_a_taken_default_stun_port_is_a_warning():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        with suppress(OSError):  # somebody has it already, which serves as well
            taken.bind(("127.0.0.1", 3478))
        with running("--listen", "127.0.0.1:0") as process:
            lines = process.stderr.readline() + process.stderr.readline()

    assert "warning: the relay runs without STUN" in lines
    assert re.search(r"relay ready: http://127\.0\.0\.1:\d+ \(no STUN\)", lines)


def test_listening_beyond_this_machine_is_announced():
    with running("--listen", ":0", "--stun-port", "off") as process:
        lines = process.stderr.readline() + process.stderr.readline()

    assert "anyone who can connect to it" in lines


@pytest.mark.parametrize(
    "arguments",
    [("--listen", "nowhere"), ("--tls-cert", "a.pem"), ("--rate", "fast"), ("--max-clients", "0")],
)
def test_wrong_options_are_exit_code_2_with_the_usage_line(arguments):
    ended = failing(*arguments)

    assert ended.returncode == 2
    assert "\nusage: derphole relay [options]\n" in ended.stderr
    assert ended.stdout == ""


def test_an_absent_certificate_is_exit_code_1():
    ended = failing(*ANY_PORTS, "--tls-cert", "absent.pem", "--tls-key", "absent.key")

    assert ended.returncode == 1
    assert "absent.pem cannot be read" in ended.stderr
