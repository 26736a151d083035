"""Servers that serve one connection, through `share` and `open`: the first real client has it."""

import json
import os
import select
import socket

import pytest
from desk import Desk, token_of
from shared_port import await_path, await_single_listener, opened_port, shared_port
from support.processes import Process, await_true, free_port
from support.programs import needs
from tokens import session_text

from derphole.token.grant import Capability
from tunnel.units import KIB, MIB

pytestmark = pytest.mark.e2e

NETCATS = ("nc.openbsd", "nc.traditional")
QUESTION = os.urandom(100 * KIB)
ANSWER = os.urandom(300 * KIB)


def has_waiting_connection(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 0)[0])


def ask(client: socket.socket) -> bytes:
    """Send the question, and read as much as the answer has."""
    client.sendall(QUESTION)
    answer = bytearray()
    while len(answer) < len(ANSWER) and (data := client.recv(64 * KIB)):
        answer += data
    return bytes(answer)


def assert_was_served(server: Process) -> None:
    """The one connection brought the question to its standard output, and ended it."""
    server.ends_with(0)
    assert server.stdout == QUESTION


@pytest.mark.parametrize("flags", [(), ("--force-relay",)], ids=["direct", "relay"])
@pytest.mark.parametrize("netcat", NETCATS)
def test_netcat_serves_the_first_client_whole(
    desk: Desk, netcat: str, flags: tuple[str, ...]
) -> None:
    needs(netcat)
    port = free_port()
    server = desk.run("netcat", [netcat, "-l", "-p", str(port)], stdin=ANSWER)
    await_single_listener(port)
    link = shared_port(desk, port, *flags)
    await_path(link, flags)

    with link.connect() as client:
        assert ask(client) == ANSWER

    assert_was_served(server)
    assert not [line for line in link.share.lines if line.startswith("warning:")]
    link.stop()


def test_netcat_at_a_socket_file_serves_the_first_client_whole(desk: Desk) -> None:
    needs("nc.openbsd")
    path = desk.folder / "netcat.sock"
    server = desk.run("netcat", ["nc.openbsd", "-l", "-U", path], stdin=ANSWER)
    await_true(path.exists, "netcat listens")
    link = shared_port(desk, f"unix:{path}")

    with link.connect() as client:
        assert ask(client) == ANSWER

    assert_was_served(server)
    assert not [line for line in link.share.lines if line.startswith("warning:")]
    link.stop()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_iperf3_that_serves_one_test_serves_the_first(
    desk: Desk, is_full: bool, direction: str
) -> None:
    needs("iperf3")
    port = free_port()
    server = desk.run("iperf3 server", ["iperf3", "-s", "-1", "-p", str(port)])
    await_single_listener(port)
    link = shared_port(desk, port)

    size = (256 if is_full else 8) * MIB
    way = ["-R"] if direction == "down" else []
    command = ["iperf3", "-c", "127.0.0.1", "-p", str(link.port), "-n", str(size), "-J", *way]
    client = desk.run("iperf3", command)
    client.ends_with(0)

    said = json.loads(client.stdout)
    assert "error" not in said
    assert said["end"]["sum_sent"]["bytes"] >= size
    server.ends_with(0)
    link.stop()


def test_no_connection_is_made_before_a_client_makes_one(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        link = shared_port(desk, target.getsockname()[1])
        assert not has_waiting_connection(target)

        with link.connect() as client:
            served, _ = target.accept()
            with served:
                served.sendall(b"hello")
                assert client.recv(5) == b"hello"

        link.share.await_line("^connection 1 of ")
        assert not has_waiting_connection(target)
        link.stop()


def test_a_server_that_starts_after_share_is_found_by_the_first_client(desk: Desk) -> None:
    needs("nc.openbsd")
    port = free_port()
    share = desk.derphole("share", "share", "--relay", desk.relay_url, str(port))
    token = token_of(share)
    share.await_line(rf"^warning: .*localhost:{port}\b.*: nothing seems to be listening")
    server = desk.run("netcat", ["nc.openbsd", "-l", "-p", str(port)], stdin=ANSWER)
    await_single_listener(port)
    _, opened = opened_port(desk, token)

    with socket.create_connection(("127.0.0.1", opened), timeout=30) as client:
        assert ask(client) == ANSWER

    assert_was_served(server)


def test_a_socket_file_that_is_in_use_stays_with_its_server(desk: Desk) -> None:
    """`open` may not listen there, and its look is not the one connection."""
    needs("nc.openbsd")
    path = desk.folder / "netcat.sock"
    server = desk.run("netcat", ["nc.openbsd", "-l", "-U", path], stdin=ANSWER)
    await_true(path.exists, "netcat listens")

    opened = desk.derphole("open", "open", session_text(Capability.SHARE, 9), f"unix:{path}")

    opened.ends_with(
        1,
        "another program listens there .the token was not used.; stop that program, or choose another path",
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        assert ask(client) == ANSWER
    assert_was_served(server)
