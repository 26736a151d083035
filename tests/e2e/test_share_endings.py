"""How share and open end, are ended, and find each other again."""

import contextlib
import hashlib
import signal
import socket
import stat
import subprocess
import time

import pytest
from desk import Desk, token_of
from shared_port import (
    exchange,
    is_reset,
    line_server,
    opened_port,
    read_to_end,
    shared_port,
)
from support.processes import PROGRAM, free_port, record_figure
from tokens import session_text

from derphole.token.grant import Capability
from tunnel.units import MIB

pytestmark = pytest.mark.e2e

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FEW_FILES = 80
TOLD_S = 1.0  # within which the other side is told; asserted at three times that
each_signal = pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)


def held_connection(port: int) -> socket.socket:
    """A connection through the port that has carried a byte each way."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.sendall(b"echo\nx")
    assert sock.recv(1) == b"x"
    return sock


@each_signal
def test_a_signal_at_share_is_told_to_open_at_once(desk: Desk, signum: signal.Signals) -> None:
    link = shared_port(desk, line_server(desk))
    client = held_connection(link.port)

    began = time.monotonic()
    link.share.send_signal(signum)

    link.open.ends_with(
        1, rf"the other side has ended the share \(it was interrupted by {signum.name}\)"
    )
    took_s = time.monotonic() - began
    record_figure(f"open is told of {signum.name} at share", f"{took_s:.2f} s", f"<= {TOLD_S:g} s")
    assert took_s < 3 * TOLD_S
    link.share.ends_with(0)
    assert is_reset(client)
    assert not [line for line in link.share.lines if "interrupted" in line]


@each_signal
def test_a_signal_at_open_is_told_to_share_at_once(desk: Desk, signum: signal.Signals) -> None:
    link = shared_port(desk, line_server(desk))
    client = held_connection(link.port)

    began = time.monotonic()
    link.open.send_signal(signum)

    link.share.await_line(rf"^client 1 left: it was interrupted by {signum.name}$")
    took_s = time.monotonic() - began
    record_figure(f"share is told of {signum.name} at open", f"{took_s:.2f} s", f"<= {TOLD_S:g} s")
    assert took_s < 3 * TOLD_S
    link.open.ends_with(0)
    assert is_reset(client)
    assert link.share.is_running
    link.share.send_signal(signal.SIGHUP)
    link.share.ends_with(0)


@each_signal
def test_a_signal_while_nobody_has_come_yet_is_no_failure(
    desk: Desk, signum: signal.Signals
) -> None:
    share = desk.derphole("share", "share", "--relay", desk.relay_url, "1")
    token_of(share)
    token = session_text(Capability.SHARE, int(desk.relay_url.rpartition(":")[2]))
    opened = desk.derphole("open", "open", token)
    opened.await_line("^waiting for the other side to answer")

    for process in (share, opened):
        process.send_signal(signum)
        process.ends_with(0)


def test_a_port_that_is_used_fails_with_a_sentence_and_leaves_the_token_good(desk: Desk) -> None:
    share = desk.derphole("share", "share", "--relay", desk.relay_url, str(line_server(desk)))
    token = token_of(share)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = desk.derphole("open", "open", token, bind)
        failed.ends_with(
            1,
            rf"^cannot listen on {bind}: another program listens there \(the token "
            r"was not used\); stop that program, or choose another address .*$",
        )

    _, port = opened_port(desk, token, name="open again")

    assert exchange(port, b"still good") == b"still good"


def test_a_bind_for_everybody_is_warned_about(desk: Desk) -> None:
    port = free_port()
    token = session_text(Capability.SHARE, 9)

    opened = desk.derphole("open", "open", "--timeout", "0.5", token, f"0.0.0.0:{port}")

    opened.ends_with(1, rf"^warning: 0\.0\.0\.0:{port} can be reached from other machines")


def test_a_token_of_listen_is_refused_before_anything_is_bound(desk: Desk) -> None:
    opened = desk.derphole("open", "open", session_text(Capability.LISTEN, 9))

    opened.ends_with(1, "this token was printed by `derphole listen`")


def test_the_token_alone_goes_to_standard_output_where_that_is_asked_for(desk: Desk) -> None:
    target = str(line_server(desk))
    arguments = ("--print-token-only", "--relay", desk.relay_url, target)
    share = desk.derphole("share", "share", *arguments)
    token = share.await_output(100).decode().strip()

    _, port = opened_port(desk, token)

    assert exchange(port, b"hello") == b"hello"
    assert not [line for line in share.lines if "dhp1_" in line]


def test_a_token_file_and_a_unix_socket_do_as_well(desk: Desk) -> None:
    share = desk.derphole("share", "share", "--relay", desk.relay_url, str(line_server(desk)))
    path, bind = desk.folder / "token", desk.folder / "port.sock"
    path.write_text(token_of(share))
    path.chmod(0o600)

    opened = desk.derphole("open", "open", "--token-file", path, f"unix:{bind}")
    opened.await_line(rf"^listening on unix:{bind}$")

    assert stat.S_IMODE(bind.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(bind))
        client.sendall(b"echo\nhello")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"hello"
    opened.stop()
    opened.ends_with(0)
    assert not bind.exists()


def test_a_target_that_is_down_is_warned_about_at_once_and_named_for_each_connection(
    desk: Desk,
) -> None:
    target = free_port()
    link = shared_port(desk, target)

    link.share.await_line(
        rf"^warning: cannot connect to localhost:{target}: nothing seems to be listening"
    )
    with link.connect() as client:
        assert is_reset(client)

    link.open.await_line(
        "^warning: connections are reset: the target refused the connection, says the other side; "
        "trying again for each new connection$"
    )
    refused = (
        r"^connection 1 of .*: sent 0B, received 0B in .* s, the target refused the connection$"
    )
    link.open.await_line(refused)
    link.share.await_line(refused)
    link.stop()


def test_open_without_a_file_for_a_connection_says_that_clients_wait_and_goes_on(
    desk: Desk,
) -> None:
    share = desk.derphole("share", "share", "--relay", desk.relay_url, str(line_server(desk)))
    limited = f'ulimit -n {FEW_FILES} && exec "$@"'
    opened = desk.run("open", ["bash", "-c", limited, "-", PROGRAM, "open", token_of(share)])
    port = int(opened.await_line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1))

    with contextlib.ExitStack() as clients:
        for _ in range(FEW_FILES):
            clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        opened.await_line(
            r"^warning: new connections wait: this process has as many files open as it may "
            r"\(`ulimit -n`\); they go on when others have ended$"
        )

    assert exchange(port, b"when they have gone") == b"when they have gone"
    assert sum("new connections wait" in line for line in opened.lines) == 1


def test_json_tells_every_connection(desk: Desk) -> None:
    link_share = desk.derphole(
        "share", "share", "--json", "--relay", desk.relay_url, str(line_server(desk))
    )
    token = link_share.await_line(r'"token": "(dhp1_[A-Za-z0-9_-]+)"').group(1)
    opened = desk.derphole("open", "open", "--json", token)
    address = str(opened.await_line(r'"address": "127.0.0.1:(\d+)"').group(1))

    assert exchange(int(address), b"hello") == b"hello"

    opened.await_line('"event": "connection"')
    (event,) = [event for event in opened.events if event["event"] == "connection"]
    assert (event["connection"], event["sent"], event["received"]) == (1, 10, 5)
    assert (event["reason"], event["code"]) == ("done", None)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1])
def test_open_without_a_terminal_connects_anew_on_request_on_the_same_port(
    desk: Desk, signum: signal.Signals
) -> None:
    link = shared_port(desk, line_server(desk))
    client = held_connection(link.port)

    link.open.send_signal(signum)

    link.open.await_line("^connected again$")
    assert is_reset(client)
    assert exchange(link.port, b"the same port") == b"the same port"
    link.share.await_line("^client 1 is back$")
    link.stop()


def test_open_on_a_terminal_connects_anew_by_sigusr1_and_ends_with_its_terminal(
    desk: Desk,
) -> None:
    share = desk.derphole("share", "share", "--relay", desk.relay_url, str(line_server(desk)))
    opened = desk.derphole("open", "open", token_of(share), on_terminal=True)
    port = int(opened.await_line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1))

    opened.send_signal(signal.SIGUSR1)
    opened.await_line("^connected again$")
    assert exchange(port, b"the same port") == b"the same port"
    opened.close_terminal()

    assert opened.wait() == 0
    share.await_line(r"^client \d left: it was interrupted by SIGHUP")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_every_command_ends_with_its_terminal(desk: Desk) -> None:
    share = desk.derphole("share", "share", "--relay", desk.relay_url, "1", on_terminal=True)
    listen = desk.derphole("listen", "listen", "--relay", desk.relay_url, on_terminal=True)
    relay = desk.derphole("relay", "relay", "--listen", "127.0.0.1:0", on_terminal=True)
    port = int(desk.relay_url.rpartition(":")[2])
    pipe = desk.derphole(
        "pipe",
        "pipe",
        session_text(Capability.LISTEN, port),
        stdin=subprocess.PIPE,
        on_terminal=True,
    )
    share.await_line("^On the other machine, run:$")
    listen.await_line("^On the other machine, run:$")
    relay.await_line("^relay ready: ")
    pipe.await_line("^waiting for the listener to answer ")

    for process in (share, listen, relay, pipe):
        process.close_terminal()

    ends = {process.name: process.wait() for process in (share, listen, relay, pipe)}
    assert ends == {"share": 0, "listen": 129, "relay": 0, "pipe": 129}


@pytest.mark.parametrize("flags", [(), ("--force-relay",)], ids=["any path", "relay"])
def test_a_relay_that_is_started_again_in_a_download_leaves_it_exact(
    desk: Desk, flags: tuple[str, ...]
) -> None:
    port = free_port()
    relay, url = desk.relay(f"127.0.0.1:{port}")
    link = shared_port(desk, line_server(desk), *flags, relay_url=url)
    size = 6 * MIB
    with link.connect() as client:
        client.sendall(b"give %d\n" % size)
        digest, count = hashlib.sha256(), 0
        while count < size:
            chunk = client.recv(1 << 16)
            assert chunk
            if count < MIB <= count + len(chunk):
                relay.send_signal(signal.SIGKILL)
                relay.wait()
                desk.relay(f"127.0.0.1:{port}")
            digest.update(chunk)
            count += len(chunk)
        assert client.recv(1) == b""

    block = bytes(range(256)) * 1024
    assert digest.digest() == hashlib.sha256(block * (size // len(block))).digest()
    assert exchange(link.port, b"and it goes on") == b"and it goes on"


@pytest.mark.alongside("waits")
def test_an_outage_of_some_seconds_is_waited_out(desk: Desk) -> None:
    relay, url = desk.relay()
    link = shared_port(desk, line_server(desk), "--force-relay", relay_url=url)
    client = held_connection(link.port)

    relay.send_signal(signal.SIGSTOP)
    client.sendall(b"through the outage")
    link.open.await_line("^no answer from the other side for 5 s")
    late = held_later(link.port)
    relay.send_signal(signal.SIGCONT)

    assert client.recv(100) == b"through the outage"
    assert late() == b"late"
    link.stop()


def held_later(port: int):
    """Connect, and return what asks for the echo later."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.sendall(b"echo\nlate")
    sock.shutdown(socket.SHUT_WR)

    def ask() -> bytes:
        with sock:
            return read_to_end(sock)

    return ask


@pytest.mark.alongside("waits")
def test_a_connection_in_an_outage_is_refused_after_ten_seconds(desk: Desk) -> None:
    relay, url = desk.relay()
    link = shared_port(desk, line_server(desk), "--force-relay", relay_url=url)
    held = held_connection(link.port)
    relay.send_signal(signal.SIGSTOP)
    held.sendall(b"make it notice")

    began = time.monotonic()
    with link.connect() as client:  # made before the silence is noticed
        client.sendall(b"echo\n")
        assert is_reset(client)
    took_s = time.monotonic() - began

    record_figure("a connection in an outage is refused after", f"{took_s:.1f} s", "10 s")
    assert 9.0 < took_s < 30.0
    link.open.await_line("the link to the other side was lost$")
    relay.send_signal(signal.SIGCONT)
    assert held.recv(100) == b"make it notice"
    held.close()
    link.stop()


@pytest.mark.timeout(400)
@pytest.mark.alongside("waits")
def test_a_minute_of_silence_resets_connections_and_open_looks_for_the_share(desk: Desk) -> None:
    """Two pairs at once: one whose relay goes on later, one whose share was killed."""
    relay, url = desk.relay()
    away = shared_port(desk, line_server(desk), "--force-relay", relay_url=url)
    dead = shared_port(desk, line_server(desk), "--timeout=5")
    clients = [held_connection(link.port) for link in (away, dead)]

    relay.send_signal(signal.SIGSTOP)
    dead.share.send_signal(signal.SIGKILL)
    for link, client in zip((away, dead), clients, strict=True):
        client.sendall(b"anybody there?")
        link.open.await_line("^no answer from the other side for 5 s", timeout_s=30)
    for link, client in zip((away, dead), clients, strict=True):
        link.open.await_line("^the link to the other side ended; the port stays open", timeout_s=90)
        client.settimeout(60)
        assert is_reset(client)

    dead.open.ends_with(
        1, "timed out after .* waiting for the other side to come back", timeout_s=60
    )
    away.share.await_line("^client 1 has not answered for \\d\\d s", timeout_s=90)
    relay.send_signal(signal.SIGCONT)
    away.open.await_line("^connected again$", timeout_s=60)
    assert exchange(away.port, b"again") == b"again"
    away.share.await_line("^client 1 is back$")


@pytest.mark.alongside("waits")
def test_a_killed_open_leaves_its_place_to_the_next_after_two_seconds(desk: Desk) -> None:
    link = shared_port(desk, line_server(desk))
    held_connection(link.port).close()

    link.open.send_signal(signal.SIGKILL)
    link.open.wait()
    _, port = opened_port(desk, link.token, name="the next")

    assert exchange(port, b"next") == b"next"
    link.share.await_line("^client 1 stopped answering, and another one took its place$")


def test_two_machines_use_one_share_at_once(desk: Desk) -> None:
    link = shared_port(desk, line_server(desk), "--max-clients=2")
    second, port = opened_port(desk, link.token, name="second")
    third = desk.derphole("third", "open", link.token)

    third.ends_with(1, "^already in use")
    assert exchange(link.port, b"one") == b"one"
    assert exchange(port, b"two") == b"two"
    second.stop()
    link.stop()


def test_no_secret_of_share_and_open_is_said_or_traced(desk: Desk, relay_url: str) -> None:
    from test_secrets_of_processes import Watched

    watched = Watched(desk)
    share = watched.run("share", "share", "--verbose", "--relay", relay_url, str(line_server(desk)))
    token = watched.token(share)
    opened = watched.run("open", "open", "--verbose", token)
    port = int(opened.await_line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1))
    assert exchange(port, b"hello") == b"hello"
    opened.send_signal(signal.SIGHUP)
    opened.await_line("^connected again$")
    assert exchange(port, b"again") == b"again"

    opened.stop()
    share.stop()

    names = {name for name, _ in watched.recorded()}
    assert {"resume", "grant-secret", "parent-of-resume"} <= names
    assert "claim.again" in watched.words()
    watched.assert_silent()


def test_the_listening_address_is_shown_quietly_too(desk: Desk) -> None:
    share = desk.derphole("share", "share", "--quiet", "--relay", desk.relay_url, "1")
    opened = desk.derphole("open", "open", "--quiet", token_of(share))

    opened.await_line(r"^listening on 127\.0\.0\.1:\d+$")
    opened.stop()
    share.stop()

    assert len(opened.lines) == len(share.lines) == 1
