"""A relay on a host with several addresses: STUN, its ready line, who shares one address."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL

import pytest
from lab import Lab
from namespaces import Namespace
from natlab_support import received, tcp_socket
from support.processes import PROGRAM, Process, clean_environment
from topology import PUBLIC6, Family, Topology

from tunnel.wire import stun

PORT = 3340
STUN_PORT = 3478
UPGRADE = b"GET /derp HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command in a namespace; it ends with the test."""
    with ExitStack() as stack:

        def start(where: Namespace, *arguments: str) -> Process:
            command = where.command([PROGRAM, *arguments])
            environment = clean_environment(tmp_path)
            process = Process(arguments[0], command, tmp_path, environment, stdout=DEVNULL)
            stack.callback(process.stop)
            return process

        yield start


@pytest.mark.parametrize("topology", [Topology(family=Family.DUAL)])
def test_stun_is_answered_from_the_address_that_was_asked(lab: Lab, start: Start):
    start(lab.public, "relay", "--listen", f":{PORT}").await_line("relay ready")
    addresses = [*lab.public_addresses, f"{PUBLIC6}::1", f"{PUBLIC6}::2"]
    answers = {}
    for address in addresses:
        with lab.a.udp_socket(lab.a.address6 if ":" in address else lab.a.address4) as client:
            client.sendto(stun.encode_binding_request(bytes(12)), (address, STUN_PORT))
            # Who connected its socket, or sits behind a NAT that filters, sees no other source.
            _, answers[address] = received(client) or (b"", None)

    assert answers == {address: (address, STUN_PORT) for address in addresses}


def test_without_a_default_route_a_bridge_of_containers_comes_last(lab: Lab, start: Start):
    lab.take_addresses("a")
    lab.a.ip(
        "link add docker0 type bridge",
        "addr add 172.17.0.1/16 dev docker0",
        "link set dev docker0 up",
        "link add eth1 type veth peer name far1",
        "link set dev far1 up",
        "addr add 192.168.7.2/24 dev eth1",
        "addr add 192.168.7.3/24 dev eth1",
        "link set dev eth1 up",
    )

    relay = start(lab.a, "relay", "--json", "--listen", f":{PORT}")
    event = json.loads(relay.await_line(r'.*"event": "relay-ready".*').group())

    assert event["url"] == f"http://192.168.7.2:{PORT}"
    assert event["other_urls"] == [f"http://{ip}:{PORT}" for ip in ("192.168.7.3", "172.17.0.1")]
    assert event["node"]["IPv4"] == "192.168.7.2"
    assert f"is also at http://192.168.7.3:{PORT}, http://172.17.0.1:{PORT}" in relay.stderr


def test_both_sides_are_told_that_one_address_has_enough_connections(lab: Lab, start: Start):
    options = ("--listen", f"{lab.public.address}:{PORT}", "--max-per-address", "2")
    relay = start(lab.public, "relay", *options)
    url = relay.await_line(r"relay ready: (http\S+)").group(1)
    with ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(tcp_socket(lab.a))
            client.connect((lab.public.address, PORT))
            client.sendall(UPGRADE)
            assert client.recv(4096).startswith(b"HTTP/1.1 101 ")

        check = start(lab.a, "netcheck", "--relay", url)

        check.await_line(
            r"does not accept us now: it answered HTTP 429 Too Many Requests \(your address has 2 "
            r"connections here, as many as one may have; the relay's --max-per-address allows more\)"
        )
    relay.await_line(
        rf"^warning: refused a connection from {lab.router('a').public_address}: one address may "
        r"have 2; --max-per-address allows more \(a reverse proxy needs --behind-proxy\)"
    )
