"""serve and open in one process, over the embedded relay: many clients, restarts, ends of tokens."""

import os
from contextlib import contextmanager, suppress

import gevent
import pytest
from gevent import socket
from net.sides import (
    WAIT_S,
    Side,
    Told,
    ask,
    connect,
    echo,
    is_reset,
    relay_server,
    serving,
)
from support.processes import record_figure

from derphole.config import NetworkOptions, RelayAddress
from derphole.derptun import serve as serve_module
from derphole.derptun.connect import Connect
from derphole.derptun.minting import minted
from derphole.derptun.opening import TunnelOpening
from derphole.derptun.serve import Serve, ServeOptions
from derphole.derptun.statuses import EndNears, Serving, TunnelDown, TunnelUp
from derphole.derptun.watched_files import WatchedFiles
from derphole.edges.stdio import ByteSink, ByteSource
from derphole.errors import (
    ClaimRefused,
    ConnectionLost,
    ReplacedServer,
    RevocationsUnusable,
    ServedElsewhere,
    ServerExpired,
    TokenExpired,
)
from derphole.forwarding.bind import bound
from derphole.forwarding.endpoints import parse_bind, parse_target
from derphole.forwarding.statuses import ClientJoined, ClientLeft, Departure
from derphole.status import Caution, Listening, State, StateChanged
from derphole.token.hints import OwnRelay
from derphole.token.text import ServerToken, token_text
from tunnel.net.clock import monotonic, wall

DAY = 86400
RETURN_S = 10.0  # asserted at three times that


@pytest.fixture(autouse=True)
def _bounded():
    with gevent.Timeout(50):
        yield


@pytest.fixture
def relay():
    relay = relay_server(0)
    yield relay
    relay.stop()


@pytest.fixture
def options(relay):
    address = RelayAddress("127.0.0.1", relay.node.derp_port, tls=False)
    return NetworkOptions(relay=address, force_relay=True)


@pytest.fixture
def server(options):
    hints = OwnRelay("127.0.0.1", options.relay.port, 0, tls=False)
    return ServerToken(os.urandom(32), int(wall()) + 100 * DAY, hints)


def is_linked(status):
    return status.word is State.CONNECTED_RELAY


def client_of(server, name="", life_s=50 * DAY):
    return minted(server, os.urandom(8), int(wall() + life_s), name)


def serve(options, server, target, *, token_file=None, revoked=None, **wanted):
    told = Told()
    files = WatchedFiles(server, token_file, revoked, told)
    command = Serve(options, server, ServeOptions(target, **wanted), files, told)
    side = Side(command.run, told)
    side.command = command
    return side


def opened(options, token, wait_s=10.0):
    told = Told()
    listener = bound(parse_bind("127.0.0.1:0"))
    sock = listener.__enter__()
    command = TunnelOpening(options, token, sock, told, wait_s)

    def run():
        try:
            command.run()
        finally:
            listener.__exit__(None, None, None)

    side = Side(run, told)
    side.command = command
    side.port = sock.getsockname()[1]
    return side


@contextmanager
def ending(*sides):
    """End what still runs of the sides, and of those that are added meanwhile."""
    all_of_them = list(sides)
    try:
        yield all_of_them
    finally:
        for side in reversed(all_of_them):
            if not side.greenlet.dead:
                side.interrupt()


@contextmanager
def tunnel(options, server, **wanted):
    """Yield a server of an echo with one client, and what ends more sides."""
    with serving(echo) as target:
        served = serve(options, server, target, **wanted)
        with ending(served) as sides:
            served.told.wait(Serving)
            client = opened(options, client_of(server, "first"))
            sides.append(client)
            client.told.wait(StateChanged, is_linked)
            yield served, client, sides


# -- clients ---------------------------------------------------------------------------------------


def test_several_clients_and_several_links_of_one_token_do_not_disturb_each_other(options, server):
    token = client_of(server, "shared")
    with tunnel(options, server) as (served, first, sides):
        sides += [
            opened(options, token),
            opened(options, token),
            opened(options, client_of(server)),
        ]
        held = connect(first.port)
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        for side in sides[2:]:
            side.told.wait(StateChanged, is_linked)
            assert ask(side.port, b"x" * 100_000) == b"x" * 100_000
        sides[2].interrupt()
        sides[3].told.wait(StateChanged, is_linked)

        assert ask(sides[3].port, b"y") == b"y"
        held.sendall(b"b")
        assert held.recv(1) == b"b"
        names = [joined.token.split()[0] for joined in served.told.of(ClientJoined)]
        assert sorted(names)[-3:] == ["first", "shared", "shared"]
        left = served.told.wait(ClientLeft)
        assert left.departure is Departure.LEFT
        assert left.token == f"shared {token.grant.id.hex()}"


def test_a_server_that_is_full_takes_a_client_once_there_is_room(options, server, monkeypatch):
    monkeypatch.setattr("derphole.derptun.opening.FIRST_PAUSE_S", 0.2)
    with tunnel(options, server, max_clients=1) as (_, first, sides):
        second = opened(options, client_of(server))
        sides.append(second)
        down = second.told.wait(TunnelDown)
        assert down.reason == "the server has as many clients as it takes"
        first.interrupt()
        second.told.wait(StateChanged, is_linked)

        assert ask(second.port, b"room") == b"room"


def test_a_client_that_comes_before_its_server_waits_for_it(options, server):
    client = opened(options, client_of(server), wait_s=0.5)
    with ending(client) as sides, serving(echo) as target:
        client.told.wait(Listening)
        early = connect(client.port)
        assert is_reset(early)
        sides.append(serve(options, server, target))
        client.told.wait(StateChanged, is_linked)

        assert ask(client.port, b"late") == b"late"


# -- restarts --------------------------------------------------------------------------------------


def asked_of(client):
    try:
        return ask(client.port, b"after")
    except ConnectionRefusedError:
        raise AssertionError(f"{client.error!r} {client.told.statuses}") from None


def kill(side):
    """End a server as kill -9 does: nobody is told, and its relay connection is gone."""
    rendezvous = side.command._rendezvous
    for relay in rendezvous._endpoint._pump.relays:
        relay.close(0.0)
    with suppress(Exception):
        rendezvous._endpoint._machine.places.by_index.clear()
    side.greenlet.kill(block=True, timeout=WAIT_S)


def test_a_server_that_was_started_again_is_found_by_the_clients_that_run(options, server):
    with tunnel(options, server) as (served, client, sides), serving(echo) as other:
        held = connect(client.port)
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        kill(served)
        again = serve(options, server, other)
        sides.append(again)
        again.told.wait(Serving)
        began_at = monotonic()
        answer = b""
        while answer != b"after" and monotonic() - began_at < 3 * RETURN_S:
            assert not client.greenlet.dead, repr(client.error)
            with suppress(ConnectionResetError):  # made before the old link was known to be over
                answer = asked_of(client)

        assert answer == b"after"
        record_figure(
            "a new connection through open after a restart of serve",
            f"{monotonic() - began_at:.1f} s",
            f"{RETURN_S:.0f} s",
        )
        assert is_reset(held)
        down = client.told.wait(TunnelDown)
        assert down.reason.startswith(("the server holds the link no more", "the server has left"))
        client.told.wait(TunnelUp)


def test_a_server_that_ends_and_comes_back_is_waited_for(options, server):
    with tunnel(options, server) as (served, client, sides), serving(echo) as other:
        served.interrupt()
        client.told.wait(TunnelDown)
        sides.append(serve(options, server, other))
        client.told.wait(TunnelUp)

        assert ask(client.port, b"again") == b"again"
        assert not client.greenlet.dead


def test_a_client_that_is_told_to_reconnects(options, server):
    with tunnel(options, server) as (served, client, _):
        client.command.reconnect()
        client.told.wait(TunnelUp)

        assert ask(client.port, b"new") == b"new"
        left = served.told.wait(ClientLeft)
        assert left.departure is Departure.RECONNECTING


# -- two servers with one token --------------------------------------------------------------------


def test_a_second_server_with_the_same_token_is_refused_and_named_on_both(options, server):
    with tunnel(options, server) as (served, client, _), serving(echo) as other:
        second = serve(options, server, other)

        assert isinstance(second.wait(), ServedElsewhere)
        warning = served.told.wait(Caution, lambda told: "another `derptun serve`" in told.text)
        assert "it ends while this one answers" in warning.text
        assert ask(client.port, b"still here") == b"still here"


def test_a_server_that_replaces_another_ends_it_and_gets_its_clients(options, server):
    with tunnel(options, server) as (served, client, sides), serving(echo) as other:
        second = serve(options, server, other, replaces=True)
        sides.append(second)

        assert isinstance(served.wait(), ReplacedServer)
        second.told.wait(ClientJoined)
        client.told.wait(TunnelUp)
        assert ask(client.port, b"moved") == b"moved"


def test_of_two_servers_that_begin_at_the_same_moment_one_at_most_goes_on(options, server):
    with serving(echo) as target:
        both = [serve(options, server, target) for _ in range(2)]
        with ending(*both):
            deadline = monotonic() + WAIT_S
            while not any(side.greenlet.dead for side in both):
                assert monotonic() < deadline, "both go on"
                gevent.sleep(0.05)
            assert any(isinstance(side.error, ServedElsewhere) for side in both)


# -- ends of tokens --------------------------------------------------------------------------------


def test_a_revoked_token_s_links_end_within_seconds_and_no_other_one_s(
    options, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(serve_module, "LOOK_S", 0.2)
    revoked = tmp_path / "revoked"
    token = client_of(server, "lost")
    with tunnel(options, server, revoked=str(revoked)) as (served, first, sides):
        lost = opened(options, token)
        sides.append(lost)
        lost.told.wait(StateChanged, is_linked)
        held, other = connect(lost.port), connect(first.port)
        for sock in (held, other):
            sock.sendall(b"a")
            assert sock.recv(1) == b"a"

        revoked.write_text(f"{token.grant.id.hex()}  # lost\n")
        error = lost.wait()

        assert isinstance(error, ClaimRefused)
        assert "revoked" in str(error)
        assert is_reset(held)
        other.sendall(b"b")
        assert other.recv(1) == b"b"
        left = served.told.wait(ClientLeft)
        assert left.departure is Departure.REVOKED
        assert left.token == f"lost {token.grant.id.hex()}"
        assert isinstance(opened(options, token).wait(), ClaimRefused)


def test_what_was_revoked_stays_so_while_the_file_is_damaged_or_away(
    options, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(serve_module, "LOOK_S", 0.1)
    revoked, token = tmp_path / "revoked", client_of(server, "lost")
    revoked.write_text(token.grant.id.hex())
    with tunnel(options, server, revoked=str(revoked)) as (served, _, __):
        for change in (lambda: revoked.write_text("nonsense\n"), revoked.unlink):
            change()
            served.told.wait(Caution, lambda told: "is not used as it is now" in told.text)
            served.told.statuses.clear()
            assert isinstance(opened(options, token).wait(), ClaimRefused)
        revoked.write_text("# nobody\n")
        served.command.look()
        deadline = monotonic() + WAIT_S
        while served.command._gate.revoked:
            assert monotonic() < deadline
            gevent.sleep(0.05)

    revoked.write_text("nonsense\n")
    with pytest.raises(RevocationsUnusable, match="line 1 does not begin with the id"):
        serve(options, server, parse_target("9"), revoked=str(revoked))


def test_links_end_when_their_token_expires_which_was_announced_on_both_sides(
    options, server, monkeypatch
):
    monkeypatch.setattr(serve_module, "LOOK_S", 0.1)
    with tunnel(options, server) as (served, first, sides):
        short = opened(options, client_of(server, "short", life_s=3))
        sides.append(short)
        short.told.wait(StateChanged, is_linked)
        held = connect(short.port)
        held.sendall(b"a")
        assert held.recv(1) == b"a"

        assert isinstance(short.wait(), TokenExpired)
        assert is_reset(held)
        assert short.told.wait(EndNears).whose == "this client token"
        assert served.told.wait(EndNears).whose == "the client token short"
        assert served.told.wait(ClientLeft).departure is Departure.EXPIRED
        assert ask(first.port, b"goes on") == b"goes on"


def test_a_server_whose_token_expires_ends_and_so_do_its_clients(options, server, monkeypatch):
    monkeypatch.setattr(serve_module, "LOOK_S", 0.1)
    short = ServerToken(server.seed, int(wall()) + 3, server.hints)
    with serving(echo) as target:
        served = serve(options, short, target)
        served.told.wait(Serving)
        client = opened(options, minted(short, os.urandom(8), short.expires_at, ""))
        client.told.wait(StateChanged, is_linked)

        assert isinstance(served.wait(), ServerExpired)
        assert isinstance(client.wait(), TokenExpired | ClaimRefused)
        assert isinstance(serve(options, short, target).wait(), ServerExpired)


def test_a_renewed_token_is_read_while_it_is_served(options, server, tmp_path, monkeypatch):
    monkeypatch.setattr(serve_module, "LOOK_S", 0.1)
    short = ServerToken(server.seed, int(wall()) + 4, server.hints)
    path = tmp_path / "server.dts"
    path.write_text(token_text(short))
    with tunnel(options, short, token_file=str(path)) as (served, _, sides):
        path.write_text(token_text(server))
        client = opened(options, client_of(server))
        sides.append(client)
        client.told.wait(StateChanged, is_linked)
        gevent.sleep(max(0.0, short.expires_at + 0.5 - wall()))

        assert not served.greenlet.dead
        assert ask(client.port, b"renewed") == b"renewed"

        path.write_text(token_text(ServerToken(os.urandom(32), server.expires_at, server.hints)))
        warning = served.told.wait(Caution, lambda told: "another server" in told.text)
        assert "takes a new start" in warning.text
        assert not served.greenlet.dead


# -- one connection by standard input and output ---------------------------------------------------


@contextmanager
def connected(options, token):
    """Yield the side of a `connect`, what goes in, and what comes out."""
    in_end, feed = os.pipe()
    drain, out_end = os.pipe()
    told, has_begun = Told(), gevent.event.Event()
    source, sink = ByteSource(in_end), ByteSink(out_end)

    def close_sink():
        nonlocal out_end
        sink.close()
        os.close(out_end)
        out_end = -1

    command = Connect(options, token, source, sink, told, close_sink)
    side = Side(lambda: command.run(has_begun.set), told)
    try:
        yield side, feed, drain
    finally:
        if not side.greenlet.dead:
            side.interrupt()
        source.close()
        for fd in (in_end, drain, out_end):
            if fd >= 0:
                os.close(fd)


def drained(fd):
    data = b""
    while chunk := gevent.get_hub().threadpool.apply(os.read, (fd, 65536)):
        data += chunk
    return data


def test_one_connection_is_copied_both_ways_and_its_ends_are_kept(options, server):
    with tunnel(options, server), connected(options, client_of(server)) as (side, feed, drain):
        os.write(feed, b"through the tunnel")
        os.close(feed)

        assert drained(drain) == b"through the tunnel"
        assert side.wait() is None


def test_a_server_that_ends_the_connection_ends_connect_though_its_input_is_open(options, server):
    def greet(sock):
        sock.sendall(b"bye")
        sock.close()

    with serving(greet) as target:
        served = serve(options, server, target)
        with ending(served), connected(options, client_of(server)) as (side, feed, drain):
            assert drained(drain) == b"bye"
            began_at = monotonic()
            assert side.wait() is None
            assert monotonic() - began_at < 3 * 2
            os.close(feed)


def test_a_target_that_refuses_is_told_and_is_no_clean_end(options, server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        served = serve(options, server, parse_target(str(taken.getsockname()[1])))
        with ending(served), connected(options, client_of(server)) as (side, feed, _):
            error = side.wait()
            os.close(feed)

    assert isinstance(error, ConnectionLost)
    assert "the target refused the connection" in str(error)


def test_a_server_that_was_started_again_ends_the_connection_with_its_reason(options, server):
    with (
        tunnel(options, server) as (served, _, sides),
        serving(echo) as other,
        connected(options, client_of(server)) as (side, feed, drain),
    ):
        os.write(feed, b"a")
        assert gevent.get_hub().threadpool.apply(os.read, (drain, 1)) == b"a"
        kill(served)
        sides.append(serve(options, server, other))
        os.write(feed, b"b")
        error = side.wait()
        os.close(feed)

    assert isinstance(error, ConnectionLost)
    assert "the server" in str(error)


def test_the_control_stream_is_the_first_one_however_soon_connections_come(options, server):
    """A connection that runs just when there is a link would else be taken for the control stream."""
    with serving(echo) as target:
        client = opened(options, client_of(server))
        use = client.command._use

        def used(link, tasks, board):
            use(link, tasks, board)
            # What a connection does that was about to look for a link at this very moment.
            assert link.open_stream().id > 0

        client.command._use = used
        with ending(client) as sides:
            sides.append(serve(options, server, target))
            client.told.wait(StateChanged, is_linked)

            assert ask(client.port, b"first") == b"first"
            assert not client.greenlet.dead
