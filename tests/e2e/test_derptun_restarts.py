"""What befalls a tunnel: either side killed, the relay restarted, silence; a row of a table each.

Afterwards a new connection through the same `open`, which nobody touched, works within ten seconds;
what was under way when nothing was restarted goes on, exact.
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from desk import Desk
from shared_port import line_server
from support.processes import await_true, free_port, record_figure
from tunnels import Tunnel

from tunnel.units import MIB

pytestmark = pytest.mark.e2e

RETURN_S = 10.0  # asserted at three times that
CONNECTION_S = 14.0


@pytest.fixture
def tunnel(desk: Desk) -> Tunnel:
    return Tunnel(desk)


@pytest.fixture
def target(desk: Desk) -> Iterator[int]:
    yield line_server(desk)


def works(port: int) -> bool:
    """Tell whether a new connection carries a line there and back."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=CONNECTION_S) as sock:
            sock.sendall(b"echo\nhello")
            return sock.recv(5) == b"hello"
    except OSError:
        return False


def check_back(port: int, what: str) -> None:
    """See that a new connection works soon, and record how soon."""
    began_at = time.monotonic()
    await_true(lambda: works(port), f"a connection works after {what}", 3 * RETURN_S)
    took_s = time.monotonic() - began_at
    record_figure(f"derptun: a new connection after {what}", f"{took_s:.1f} s", f"{RETURN_S:.0f} s")


class Row:
    """What a row of the table may use."""

    def __init__(self, tunnel: Tunnel, target: int) -> None:
        self.tunnel, self.target = tunnel, target
        self.client = tunnel.client()
        self.serve = tunnel.serve(target)
        self.open, self.port = tunnel.open(self.client)
        assert works(self.port)

    def kill_server(self) -> None:
        self.serve.send_signal(signal.SIGKILL)
        self.serve.wait()

    def start_server(self, *words: str) -> None:
        self.serve = self.tunnel.serve(self.target, *words, name="serve again")

    def kill_client(self) -> None:
        self.open.send_signal(signal.SIGKILL)
        self.open.wait()

    def start_client(self) -> None:
        self.open, self.port = self.tunnel.open(self.client, name="open again")


def client_killed(row: Row) -> None:
    row.kill_client()
    row.start_client()


def server_killed(row: Row) -> None:
    row.kill_server()
    row.start_server()


def server_killed_while_clients_come(row: Row) -> None:
    row.kill_server()
    assert not works(row.port)
    row.start_server()


def server_moved(row: Row) -> None:
    """The same token from another port and by the relay alone, as on another machine."""
    row.kill_server()
    row.start_server("--force-relay", "--max-clients", "9")


def server_ended_and_back(row: Row) -> None:
    row.serve.send_signal(signal.SIGTERM)
    row.serve.ends_with(0)
    row.open.await_line("^the tunnel is down: the server has ended its link")
    row.start_server()


ROWS: list[Callable[[Row], None]] = [
    client_killed,
    server_killed,
    server_killed_while_clients_come,
    server_moved,
    server_ended_and_back,
]


@pytest.mark.parametrize("befalls", ROWS, ids=lambda row: row.__name__)
def test_a_tunnel_is_back_after(
    tunnel: Tunnel, target: int, befalls: Callable[[Row], None]
) -> None:
    row = Row(tunnel, target)

    befalls(row)

    check_back(row.port, befalls.__name__.replace("_", " "))


def test_a_tunnel_is_back_after_both_were_killed_and_the_client_came_first(
    tunnel: Tunnel, target: int
) -> None:
    row = Row(tunnel, target)
    row.kill_server()
    row.kill_client()
    row.open, row.port = tunnel.open(row.client, name="open first", is_ready=False)
    row.open.await_line("^waiting for server [0-9a-f]{16} to answer")
    row.start_server()

    check_back(row.port, "both were killed")


def test_a_relay_that_is_restarted_costs_no_connection(desk: Desk, target: int) -> None:
    relay, url = desk.relay()
    tunnel = Tunnel(desk, url)
    client = tunnel.client()
    tunnel.serve(target, "--force-relay")
    _, port = tunnel.open(client)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as held:
        held.sendall(b"echo\na")
        assert held.recv(1) == b"a"
        relay.send_signal(signal.SIGKILL)
        relay.wait()
        desk.relay(url.removeprefix("http://"))
        check_back(port, "the relay was restarted")
        held.sendall(b"b")
        assert held.recv(1) == b"b"


def test_a_region_that_is_lost_is_no_lost_tunnel(desk: Desk, target: int, tmp_path: Path) -> None:
    relays = [desk.relay() for _ in range(3)]
    nodes = {}
    for number, (_, url) in enumerate(relays, 1):
        with urllib.request.urlopen(f"{url}/derpmap", timeout=10) as answer:
            (region,) = json.load(answer)["Regions"].values()
        nodes[str(number)] = {**region, "RegionID": number, "RegionCode": f"r{number}"}
        for node in region["Nodes"]:
            node["RegionID"] = number
    map_file = tmp_path / "map.json"
    map_file.write_text(json.dumps({"Regions": nodes}))
    tunnel = Tunnel(desk)
    tunnel.derptun(
        "token", "server", "--derp-map", str(map_file), "--region", "1,2,3",
        "--output", str(tunnel.server), "--overwrite",
    )  # fmt: skip
    shown = tunnel.derptun("token", "show", "--token-file", str(tunnel.server))
    assert all(url in shown.stderr for _, url in relays)
    client = tunnel.client()
    tunnel.serve(target, "--force-relay")
    _, port = tunnel.open(client)
    assert works(port)

    relays[0][0].send_signal(signal.SIGKILL)
    relays[0][0].wait()

    check_back(port, "a region was lost")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("who", ["server", "client"])
def test_what_is_under_way_lives_through_silence_exact(
    tunnel: Tunnel, target: int, who: str, is_full: bool
) -> None:
    """A process that is stopped is as silent as a network that is away: longer than a share lives."""
    silent_s = 180.0 if is_full else 20.0
    row = Row(tunnel, target)
    size = 200 * MIB
    stopped = row.serve if who == "server" else row.open
    with socket.create_connection(("127.0.0.1", row.port), timeout=60) as sock:
        sock.sendall(b"give %d\n" % size)
        digest, count = hashlib.sha256(), 0
        while count < size:
            if count > size // 4 and silent_s:
                stopped.send_signal(signal.SIGSTOP)
                time.sleep(silent_s)
                stopped.send_signal(signal.SIGCONT)
                silent_s = 0.0
            data = sock.recv(1 << 20)
            assert data, f"the connection ended after {count} bytes"
            digest.update(data)
            count += len(data)
    block = bytes(range(256)) * 1024
    expected = hashlib.sha256()
    for start in range(0, size, len(block)):
        expected.update(block[: size - start])
    assert digest.digest() == expected.digest()
    check_back(row.port, f"silence of the {who}")


def test_a_reset_is_a_reset_and_a_refused_target_is_no_clean_end(
    tunnel: Tunnel, target: int
) -> None:
    row = Row(tunnel, target)
    other = Tunnel(tunnel.desk, name="refusing")
    other.serve(free_port(), name="serve refusing")
    client = other.client("other")
    _, port = other.open(client, name="open refusing")
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    with sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    process = other.connect(client)
    process.ends_with(1)
    assert process.stdout == b""
    assert row.serve.is_running


def test_two_servers_of_one_token_are_told_and_the_second_ends(tunnel: Tunnel, target: int) -> None:
    row = Row(tunnel, target)

    second = tunnel.serve(target, name="second", is_ready=False)

    second.ends_with(1, "another `derptun serve` has this token.*--replace")
    row.serve.await_line("^warning: another `derptun serve` was started with this token")
    assert works(row.port)
    third = tunnel.serve(target, "--replace", name="third")
    row.serve.ends_with(1, "another `derptun serve` with this token took over")
    check_back(row.port, "another server took over")
    assert third.is_running


def test_ten_clients_with_twenty_connections_each_and_one_revoked(
    tunnel: Tunnel, target: int
) -> None:
    tunnel.serve(target)
    clients = [tunnel.client(f"client{number}") for number in range(10)]
    opens = [tunnel.open(client, name=f"open {client.stem}") for client in clients]
    with contextlib.ExitStack() as stack:
        held = []
        for _, port in opens:
            socks = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                for _ in range(20)
            ]
            for sock in socks:
                sock.sendall(b"echo\na")
                assert sock.recv(1) == b"a"
            held.append(socks)

        began_at = time.monotonic()
        tunnel.derptun("token", "revoke", "--token-file", str(tunnel.server), str(clients[3]))
        for sock in held[3]:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        took_s = time.monotonic() - began_at
        opens[3][0].ends_with(1, "the token was revoked")

        record_figure("derptun: links of a revoked token are over after", f"{took_s:.1f} s", "5 s")
        assert took_s < 3 * 5
        for number, socks in enumerate(held):
            for sock in socks if number != 3 else ():
                sock.sendall(b"b")
                assert sock.recv(1) == b"b"


def test_status_tells_of_every_tunnel_of_this_user_and_of_no_other(
    tunnel: Tunnel, target: int
) -> None:
    assert "no tunnel of yours runs" in tunnel.derptun("status").stderr
    row = Row(tunnel, target)

    found = json.loads(tunnel.derptun("status", "--json").stdout)["tunnels"]

    by_command = {each["command"]: each for each in found}
    assert set(by_command) == {"serve", "open"}
    served, opened = by_command["serve"], by_command["open"]
    assert served["pid"] == row.serve.pid
    (link,) = served["links"]
    assert (link["token"], link["id"]) == ("client", tunnel.id_of(row.client))
    assert link["sent"] > 0
    assert link["received"] > 0
    assert opened["server"] == served["server"]
    assert len(opened["links"]) == 1
    lines = tunnel.derptun("status").stderr
    assert f"serve 127.0.0.1:{target} as server {served['server']}" in lines
    assert f"client client {tunnel.id_of(row.client)}: " in lines
    sockets = list(tunnel.desk.folder.glob("derphole/derptun-*.sock"))
    assert len(sockets) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in sockets)
    row.kill_server()
    assert len(json.loads(tunnel.derptun("status", "--json").stdout)["tunnels"]) == 1
    row.open.send_signal(signal.SIGINT)
    row.open.ends_with(0)
    assert not list(tunnel.desk.folder.glob("derphole/derptun-*.sock"))
    assert os.path.isdir(tunnel.desk.folder / "derphole")


def test_without_a_token_a_tunnel_is_made_for_one_run(desk: Desk, target: int) -> None:
    process = desk.derptun(
        "serve", "serve", "--tcp", f"127.0.0.1:{target}", "--relay", desk.relay_url,
        "--register", "once",
    )  # fmt: skip
    token = process.await_line(r"^(dtcli1_\S+)$")[1]
    port = free_port()
    opened = desk.derptun("open", "open", token, "--listen", f"127.0.0.1:{port}")
    opened.await_line("^listening on ")
    assert works(port)
    by_name = desk.derptun("named", "open", "--service", "once", "--listen", "127.0.0.1:0")
    by_name.await_line("^listening on ")


def test_connect_says_what_it_waits_for_and_ends_in_time(tunnel: Tunnel) -> None:
    client = tunnel.client()
    began_at = time.monotonic()
    process = tunnel.connect(client, "--timeout", "4")

    process.await_line(r"^waiting for server [0-9a-f]{16} to answer \(2 s of at most 4 s\)")
    waited_s = time.monotonic() - began_at
    process.ends_with(1, r"server [0-9a-f]{16} to answer.*check that `derptun serve` runs")

    assert process.stdout == b""
    record_figure("derptun: connect says what it waits for after", f"{waited_s:.1f} s", "2 s")
    assert waited_s < 3 * 2.0
    assert time.monotonic() - began_at < 3 * 4


def test_requests_by_signal_read_again_and_reconnect_and_end_nothing(
    tunnel: Tunnel, target: int
) -> None:
    row = Row(tunnel, target)
    for number in (signal.SIGUSR1, signal.SIGHUP):  # no terminal controls them
        row.serve.send_signal(number)
        row.open.send_signal(number)
        check_back(row.port, f"{number.name} to both")
    row.open.await_line("^the tunnel is down: this side was told to reconnect")
    assert row.serve.is_running
    assert row.open.is_running
