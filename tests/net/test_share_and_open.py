"""share and open in one process, over the embedded relay: how connections begin, stall and end."""

import gc
import struct
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from net.sides import (
    WAIT_S,
    Side,
    Told,
    ask,
    connect,
    echo,
    is_reset,
    read_to_end,
    relay_server,
    serving,
)

from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import AlreadyInUse, BindFailed, NotAwaited, ShareEnded, TimedOut
from derphole.forwarding.bind import bound
from derphole.forwarding.dial import DIAL_S
from derphole.forwarding.endpoints import TcpEndpoint, parse_bind, parse_target
from derphole.forwarding.opening import CONNECTION_WAIT_S, Opening
from derphole.forwarding.share import ShareOptions, _Share, share
from derphole.forwarding.statuses import (
    ClientJoined,
    ClientLeft,
    ConnectionsReset,
    Departure,
    ForwardingEnded,
    Reconnected,
    Reconnecting,
    TargetUnreachable,
)
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.speech.control import Control
from derphole.speech.endings import Ending
from derphole.speech.messages import Resumption
from derphole.speech.resets import ResetCode
from derphole.speech.turns import Stage
from derphole.status import Caution, Listening, Notice, TokenIssued
from derphole.token.grant import Capability
from derphole.token.resumption import MAX_LOST
from derphole.token.text import parse_token
from tunnel.net.clock import monotonic, wall
from tunnel.net.tasks import TaskGroup
from tunnel.units import KIB, MIB

EARLY_S = 0.1  # a timer counts from when its loop last looked at the clock
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(autouse=True)
def _bounded():
    with gevent.Timeout(50):
        yield


@pytest.fixture
def server():
    relay = relay_server(0)
    yield relay
    relay.stop()


@pytest.fixture
def options(server):
    address = RelayAddress("127.0.0.1", server.node.derp_port, tls=False)
    # On the relay: what is tested here does not depend on the path.
    return NetworkOptions(relay=address, force_relay=True)


def test_clients_that_were_lost_are_remembered_as_far_as_they_may_come_back_and_no_further(options):
    """Whoever has the token can be lost four times a second, each time as another process."""
    wanted = ShareOptions(parse_target("9"))
    with IssuerRendezvous(options, lambda status: None, Capability.SHARE, None) as rendezvous:
        sharing = _Share(rendezvous, wanted, lambda status: None, TaskGroup("share"))
        resumptions = rendezvous.gate.resumptions
        clients = [bytes([number]) * 16 for number in range(200)]
        for number, client in enumerate(clients):
            sharing._numbers[client] = number
            sharing._lost_at[client] = monotonic()
            resumptions.hand_out(client)
            resumptions.part(client, may_come_back=True)

            assert not sharing._is_over()

        assert list(sharing._lost_at) == list(sharing._numbers) == clients[-MAX_LOST:]


def sharing(options, target, **wanted):
    told = Told()
    return Side(lambda: share(options, ShareOptions(target, **wanted), report=told), told)


def opening(options, token, wait_s=CONNECTION_WAIT_S):
    """Run `open`; its side has the port and the Opening."""
    told = Told()
    listener = bound(parse_bind("127.0.0.1:0"))
    sock = listener.__enter__()
    command = Opening(options, parse_token(token), sock, told, wait_s)

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
def pair(options, target, wait_s=CONNECTION_WAIT_S, **wanted):
    """Yield both sides, with the port open."""
    shared = sharing(options, target, **wanted)
    opened = None
    try:
        opened = opening(options, shared.told.wait(TokenIssued).text, wait_s)
        opened.told.wait(Listening)
        yield shared, opened
    finally:
        for side in (opened, shared):
            if side is not None and not side.greenlet.dead:
                side.interrupt()


# -- connections that go well ---------------------------------------------------------------


def test_bytes_go_both_ways_and_both_ends_are_clean(options):
    data = bytes(range(256)) * 8000
    with serving(echo) as target, pair(options, target) as (shared, opened):
        assert ask(opened.port, data) == data

        for side in (opened, shared):
            (ended,) = side.told.ended()
            assert (ended.sent, ended.received, ended.code) == (len(data), len(data), None)
            assert ended.reason == "done"


def test_a_server_that_speaks_first_is_heard(options):
    def greet(sock):
        sock.sendall(b"220 ready\r\n")
        assert sock.recv(100) == b"QUIT\r\n"
        sock.close()

    with serving(greet) as target, pair(options, target) as (_, opened):
        client = connect(opened.port)
        assert client.recv(100) == b"220 ready\r\n"
        client.sendall(b"QUIT\r\n")
        assert client.recv(100) == b""


def test_the_client_s_end_leaves_the_server_s_way_open(options):
    def count(sock):
        size = len(read_to_end(sock))
        sock.sendall(b"%d bytes" % size)
        sock.close()

    with serving(count) as target, pair(options, target) as (_, opened):
        assert ask(opened.port, b"x" * 300_000) == b"300000 bytes"


def test_the_server_s_end_leaves_the_client_s_way_open(options):
    got = []

    def farewell(sock):
        sock.sendall(b"nothing more from me")
        sock.shutdown(socket.SHUT_WR)
        got.append(read_to_end(sock))
        sock.close()

    with serving(farewell) as target, pair(options, target) as (shared, opened):
        client = connect(opened.port)
        assert read_to_end(client) == b"nothing more from me"
        client.sendall(b"but from me " * 1000)
        client.shutdown(socket.SHUT_WR)
        shared.told.ended()

    assert got == [b"but from me " * 1000]


def test_a_hundred_connections_at_once_keep_apart(options):
    with serving(echo) as target, pair(options, target) as (_, opened):
        asked = [gevent.spawn(ask, opened.port, b"%d " % n * 2000) for n in range(100)]
        gevent.joinall(asked, timeout=WAIT_S, raise_error=True)

        assert [greenlet.value for greenlet in asked] == [b"%d " % n * 2000 for n in range(100)]


def test_a_unix_socket_is_a_target_and_a_bind(options, tmp_path):
    path = str(tmp_path / "service.sock")
    with bound(parse_bind(f"unix:{path}")) as listener:
        served = gevent.spawn(lambda: echo(listener.accept()[0]))
        with pair(options, parse_target(f"unix:{path}")) as (shared, opened):
            assert ask(opened.port, b"through a file") == b"through a file"
            served.get(timeout=WAIT_S)
            assert not shared.told.of(TargetUnreachable)


def test_the_target_is_connected_to_by_clients_alone(options):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pair(options, TcpEndpoint(*listener.getsockname())) as (shared, opened):
            with connect(opened.port) as client:
                echo_of_one = gevent.spawn(lambda: echo(listener.accept()[0]))
                client.sendall(b"mine")
                assert client.recv(4) == b"mine"
            echo_of_one.get(timeout=WAIT_S)
            shared.told.ended()

            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()


def live_greenlets():
    """Return every greenlet of this process that has not ended; worker threads' are not gevent's."""
    found = [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet)]
    return {greenlet for greenlet in found if not greenlet.dead}


def test_connections_one_after_another_leave_no_greenlet_behind(options):
    count = 300
    with serving(echo) as target, pair(options, target) as (shared, opened):
        assert ask(opened.port, b"warm") == b"warm"
        before = live_greenlets()

        for number in range(count):
            assert ask(opened.port, b"%d" % number) == b"%d" % number

        for side in (opened, shared):
            side.told.ended(1 + count)
        with gevent.Timeout(WAIT_S, False):
            while live_greenlets() - before:
                gevent.sleep(0.05)
        left = live_greenlets() - before
        assert not left, Counter(greenlet.name for greenlet in left)


# -- connections that do not ----------------------------------------------------------------


def test_a_client_s_reset_is_the_server_s(options):
    resets = []
    has_ended = Event()

    def watch(sock):
        sock.sendall(b"hello")
        resets.append(is_reset(sock))
        has_ended.set()

    with serving(watch) as target, pair(options, target) as (shared, opened):
        client = connect(opened.port)
        assert client.recv(100) == b"hello"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.close()

        assert has_ended.wait(WAIT_S)
        assert shared.told.ended()[-1].code == ResetCode.ABORTED
        assert opened.told.ended()[-1].code == ResetCode.ABORTED

    assert resets[-1]


def test_a_server_s_reset_is_the_client_s(options):
    def slam(sock):
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        sock.close()

    with serving(slam) as target, pair(options, target) as (shared, opened):
        client = connect(opened.port)
        client.sendall(b"hello")

        assert is_reset(client)
        assert opened.told.ended()[0].code == ResetCode.ABORTED


def test_a_server_that_closes_at_once_is_a_clean_end(options):
    with serving(lambda sock: sock.close()) as target, pair(options, target) as (shared, opened):
        with connect(opened.port) as client:
            assert client.recv(100) == b""

        for side in (opened, shared):
            (ended,) = side.told.ended()
            assert (ended.number, ended.sent, ended.received, ended.code) == (1, 0, 0, None)
            assert ended.reason == "done"
        assert not shared.told.of(TargetUnreachable)


def test_a_target_that_is_down_is_named_at_once_and_for_each_connection(options):
    with serving(echo) as target:
        pass  # nothing listens there any more
    with pair(options, target) as (shared, opened):
        warning = shared.told.wait(TargetUnreachable)
        assert warning.target == str(target)
        assert warning.reason == "nothing seems to be listening there"

        for count in (1, 2):
            assert is_reset(connect(opened.port))
            assert opened.told.ended(count)[-1].reason == "the target refused the connection"
            assert shared.told.ended(count)[-1].code == ResetCode.REFUSED
        assert len(shared.told.of(TargetUnreachable)) == 1
        assert [each.reason for each in opened.told.of(ConnectionsReset)] == [
            "the target refused the connection, says the other side"
        ]


def test_a_target_that_comes_up_later_is_found(options):
    with serving(echo) as target:
        pass
    with pair(options, target) as (shared, opened):
        assert is_reset(connect(opened.port))
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((target.host, target.port))
        listener.listen(1)
        served = gevent.spawn(lambda: echo(listener.accept()[0]))

        assert ask(opened.port, b"hello") == b"hello"
        served.get(timeout=WAIT_S)
        listener.close()
        assert is_reset(connect(opened.port))  # down again, and told again
        opened.told.ended(3)
        assert len(opened.told.of(ConnectionsReset)) == 2


def test_a_target_whose_name_leads_nowhere_is_unreachable(options):
    with pair(options, parse_target("no-such-host.invalid:80")) as (_, opened):
        assert is_reset(connect(opened.port))
        assert opened.told.ended()[0].code == ResetCode.UNREACHABLE


def test_a_target_that_does_not_answer_is_given_up(options):
    limit_s = 1.0
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    queue = [gevent.spawn(connect, port) for _ in range(8)]  # more than it lets in
    gevent.sleep(0.1)
    target = TcpEndpoint("127.0.0.1", port)
    with pair(options, target, dial_s=limit_s) as (shared, opened):
        began_at = monotonic()
        client = connect(opened.port)
        with pytest.raises(ConnectionResetError):  # neither a byte nor an end before it
            client.recv(1)
        waited_s = monotonic() - began_at

        for side in (opened, shared):
            (ended,) = side.told.ended()
            assert (ended.number, ended.sent, ended.received) == (1, 0, 0)
            assert ended.code == ResetCode.TARGET_TIMED_OUT
            assert ended.reason == "the target did not answer in time"
            assert limit_s - EARLY_S < ended.seconds < DIAL_S
        assert limit_s - EARLY_S < waited_s < DIAL_S
        (warning,) = shared.told.of(TargetUnreachable)
        assert warning.target == str(target)
        assert warning.reason == "it did not answer within 1 s"
    gevent.killall(queue)
    listener.close()


def test_a_target_that_accepts_and_says_nothing_is_waited_for(options):
    limit_s = 1.0
    has_asked, may_answer = Event(), Event()

    def think(sock):
        assert sock.recv(100) == b"hello"
        has_asked.set()
        may_answer.wait()
        sock.sendall(b"at last")
        sock.close()

    with (
        serving(think) as target,
        pair(options, target, dial_s=limit_s) as (shared, opened),
        connect(opened.port) as client,
    ):
        client.sendall(b"hello")
        assert has_asked.wait(WAIT_S)
        client.settimeout(limit_s + 0.5)  # who has answered the dialling has no limit any more
        with pytest.raises(TimeoutError):
            client.recv(1)
        for side in (opened, shared):
            assert not side.told.of(ForwardingEnded)
        may_answer.set()
        client.settimeout(WAIT_S)
        assert read_to_end(client) == b"at last"
        client.close()

        for side, sizes in ((opened, (5, 7)), (shared, (7, 5))):
            (ended,) = side.told.ended()
            assert (ended.sent, ended.received, ended.code) == (*sizes, None)
            assert ended.reason == "done"
        assert not shared.told.of(TargetUnreachable)


def test_more_connections_than_wanted_are_refused_and_named(options):
    with serving(echo) as target, pair(options, target, max_connections=2) as (shared, opened):
        held = [connect(opened.port) for _ in range(2)]
        for client in held:
            client.sendall(b"x")
            assert client.recv(1) == b"x"

        third = connect(opened.port)
        assert is_reset(third)
        assert opened.told.ended()[0].reason == "too many connections"
        assert shared.told.ended()[0].number is None
        assert opened.told.of(ConnectionsReset) == [
            ConnectionsReset("too many connections, says the other side")
        ]
        assert shared.told.of(ConnectionsReset) == [
            ConnectionsReset("2 are open, as many as may be")
        ]

        held.pop().close()
        shared.told.ended(2)
        assert ask(opened.port, b"again") == b"again"


def test_a_client_that_never_reads_stalls_itself_alone(options):
    def flood(sock):
        with suppress(OSError):
            if sock.recv(1) == b"f":
                while True:
                    sock.sendall(bytes(64 * KIB))
            sock.sendall(b"y" * MIB)
        sock.close()

    with serving(flood) as target, pair(options, target) as (_, opened):
        stalled = connect(opened.port)
        stalled.sendall(b"f")
        assert stalled.recv(1)

        def fetch():
            with connect(opened.port) as client:
                client.sendall(b"a")
                return len(read_to_end(client))

        fetched = [gevent.spawn(fetch) for _ in range(10)]
        gevent.joinall(fetched, timeout=WAIT_S, raise_error=True)
        assert [greenlet.value for greenlet in fetched] == [MIB] * 10
        stalled.close()


# -- the link -------------------------------------------------------------------------------


def test_open_comes_back_and_keeps_its_port_also_after_the_token_has_expired(options):
    expires_at = wall() + 5.0
    with (
        serving(echo) as target,
        pair(options, target, expires_at=expires_at) as (shared, opened),
    ):
        client = connect(opened.port)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        while wall() < expires_at + 0.1:
            gevent.sleep(0.05)

        opened.command.reconnect()

        assert is_reset(client)  # streams are not carried over
        opened.told.wait(Reconnected)
        assert ask(opened.port, b"the same port") == b"the same port"
        shared.told.wait(ClientJoined, lambda status: (status.number, status.is_back) == (1, True))


@pytest.mark.parametrize(
    ("ending", "error"), [(Ending.INTERRUPTED, NotAwaited), (Ending.RECONNECTING, None)]
)
def test_after_expiry_only_one_that_did_not_leave_comes_back(options, ending, error):
    expires_at = wall() + 4.0
    with (
        serving(echo) as target,
        pair(options, target, expires_at=expires_at, max_clients=2) as (shared, _),
    ):
        token = parse_token(shared.told.wait(TokenIssued).text)
        with ClaimerRendezvous(options, lambda _: None, token) as visitor:
            link = visitor.claim("the share")
            secret = Control(link.open_stream(), Stage.OPEN_FIRST).receive().secret
            while wall() < expires_at + 0.1:
                gevent.sleep(0.05)
            link.close(ending, "as the test wants it")
            left = shared.told.wait(ClientLeft)
            assert (left.number, left.may_come_back) == (2, error is None)

            with pytest.raises(error) if error else nullcontext():
                visitor.resume(secret, "the share", WAIT_S)

            if error is None:
                shared.told.wait(
                    ClientJoined, lambda status: (status.number, status.is_back) == (2, True)
                )
            assert shared.told.of(Caution) + shared.told.of(TargetUnreachable) == []


def test_open_uses_the_token_once_more_where_it_is_not_awaited_any_more(options):
    opened = None
    with IssuerRendezvous(options, lambda _: None, Capability.SHARE, None) as issuer:
        try:
            opened = opening(options, issuer.issue())
            link = issuer.wait_link("open")
            secret = issuer.resumption_secret(link)
            Control(link.accept_stream(), Stage.SHARE).send(Resumption(secret))
            opened.told.wait(Listening)
            with gevent.Timeout(WAIT_S):
                while opened.command._secret != secret:
                    gevent.sleep(0.01)
            issuer.gate.resumptions.part(issuer.client_of(link), may_come_back=False)

            opened.command.reconnect()
            again = issuer.wait_link("open")

            opened.told.wait(Reconnected)
            assert issuer.client_of(again) != issuer.client_of(link)
        finally:
            if opened is not None:
                opened.interrupt()


def test_a_connection_made_while_the_link_is_away_waits_for_it(options, server):
    with serving(echo) as target, pair(options, target) as (shared, opened):
        port = server.node.derp_port
        server.stop()
        opened.command.reconnect()
        opened.told.wait(Reconnecting)
        asked = gevent.spawn(ask, opened.port, b"patience")
        gevent.sleep(0.2)
        assert not asked.dead
        again = relay_server(port)
        try:
            assert asked.get(timeout=WAIT_S) == b"patience"
        finally:
            opened.interrupt()
            shared.interrupt()
            again.stop()


def test_a_connection_made_while_the_link_is_away_is_refused_after_a_while(options, server):
    with serving(echo) as target, pair(options, target, wait_s=1.0) as (_, opened):
        server.stop()
        opened.command.reconnect()
        opened.told.wait(Reconnecting)
        began_at = monotonic()

        assert is_reset(connect(opened.port))

        assert 0.9 < monotonic() - began_at < 4.0
        assert opened.told.ended()[-1].code == ResetCode.NO_LINK


def test_the_end_of_the_share_is_told_at_once_and_local_clients_are_closed(options):
    with serving(echo) as target, pair(options, target) as (shared, opened):
        client = connect(opened.port)
        client.sendall(b"x")
        assert client.recv(1) == b"x"

        shared.interrupt()

        assert isinstance(opened.wait(), ShareEnded)
        assert "interrupted by SIGINT" in opened.error.sentence
        assert is_reset(client)
        with pytest.raises(ConnectionRefusedError):
            connect(opened.port)


def test_the_end_of_open_is_told_at_once_and_leaves_the_place_to_the_next(options):
    with serving(echo) as target:
        shared = sharing(options, target)
        token = shared.told.wait(TokenIssued).text
        for number in (1, 2):
            opened = opening(options, token)
            opened.told.wait(Listening)
            client = connect(opened.port)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            opened.interrupt()
            assert is_reset(client)
            shared.told.wait(
                ClientLeft,
                lambda s, n=number: (s.number, s.departure) == (n, Departure.LEFT),
            )
        shared.interrupt()


def test_a_share_whose_token_has_expired_ends_when_the_last_client_leaves(options):
    with serving(echo) as target:
        expires_at = wall() + 5.0
        shared = sharing(options, target, expires_at=expires_at)
        opened = opening(options, shared.told.wait(TokenIssued).text)
        opened.told.wait(Listening)
        while wall() < expires_at + 0.1:
            gevent.sleep(0.05)
        assert ask(opened.port, b"still here") == b"still here"

        opened.interrupt()

        assert shared.wait() is None
        assert "token has expired" in shared.told.of(Notice)[-1].text


def test_a_second_client_is_refused_and_with_two_places_it_is_not(options):
    with serving(echo) as target:
        for places in (1, 2):
            with pair(options, target, max_clients=places) as (shared, first):
                second = opening(options, shared.told.wait(TokenIssued).text)
                if places == 1:
                    assert isinstance(second.wait(), AlreadyInUse)
                else:
                    second.told.wait(Listening)
                    assert ask(second.port, b"two") == b"two"
                    second.interrupt()
                assert ask(first.port, b"one") == b"one"


def test_an_open_that_nobody_answers_any_more_says_so(options, server):
    quick = NetworkOptions(relay=options.relay, force_relay=True, timeout_s=2.0)
    with serving(echo) as target:
        shared = sharing(options, target)
        opened = opening(quick, shared.told.wait(TokenIssued).text)
        opened.told.wait(Listening)
        server.stop()
        opened.command.reconnect()

        assert isinstance(opened.wait(), TimedOut)
        assert "to come back" in opened.error.sentence
        shared.interrupt()


def test_a_port_in_use_fails_before_the_token_is_used(options):
    with serving(echo) as target:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        with (
            pytest.raises(BindFailed, match="the token was not used"),
            bound(TcpEndpoint("127.0.0.1", taken.getsockname()[1])),
        ):
            raise AssertionError("it was bound")
        taken.close()
        with pair(options, target) as (_, opened):
            assert ask(opened.port, b"still good") == b"still good"


def test_errors_of_a_socket_that_is_closed_already_change_nothing():
    from derphole.edges.tcp import close_with_reset

    one, other = socket.socketpair()
    other.close()
    one.close()
    close_with_reset(one)

    assert one.fileno() == -1
