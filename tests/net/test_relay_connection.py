"""RelayConnection against relays that behave, misbehave and go away."""

import logging

import gevent
import pytest
from fake_relays import WAIT_S, FakeConnection, Recorder, make_certificate, running
from gevent.event import Event

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import MisuseError, RelayNotListening, RelayRefused, RelayUnreachable
from tunnel.net.clock import monotonic
from tunnel.net.pins import public_key_pin
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.relay_client.session import TURN_S
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_client.derp_client import ClientTiming
from tunnel.proto.relay_client.patience import DialLimits
from tunnel.wire.derp import FrameType, GoneReason
from tunnel.wire.derpmap import RelayNode, RelayRegion

pytestmark = pytest.mark.net

KEYS = KeyPair.from_secret(b"\x11" * 32)
PEER = DerpKey(b"\x55" * 32)
MAX_PACKETS_OF_READ = 4  # of 64 KiB each
QUICK = DialOptions(limits=DialLimits(1.0, 1.0))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def connect(recorder):
    """Return a function that starts a connection to a region; all are closed at the end."""
    with TaskGroup("test") as tasks:

        def start(region, options=QUICK):
            relay = RelayConnection(region, KEYS, recorder, options, tasks)
            relay.start()
            return relay

        yield start


def serve_and_echo(connection: FakeConnection) -> None:
    connection.log_in()
    connection.echo()


def refuse_key(connection: FakeConnection) -> None:
    connection.upgrade()
    connection.greet()
    connection.read_login()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_packets_go_there_and_back(connect, recorder, host):
    with running(serve_and_echo, host) as server:
        relay = connect(server.region())

        recorder.wait_connected(relay)
        relay.send(PEER, [b"he", bytearray(b"ll"), memoryview(b"o")], is_control=False)
        recorder.wait_until(lambda: recorder.packets)

        assert recorder.packets == [(PEER, b"hello")]
        assert recorder.states == [RelayState.CONNECTING, RelayState.CONNECTED]
        assert relay.is_loopback
        assert relay.leaf_pin is None
        assert relay.last_error is None
        assert relay.has_room


def test_a_connection_over_tls_with_the_pin_of_the_certificate(connect, recorder, tmp_path):
    certificate = make_certificate(tmp_path)
    with running(serve_and_echo, certificate=certificate) as server:
        relay = connect(server.region(cert_name=certificate.raw_pin))

        recorder.wait_connected(relay)
        payload = bytes(range(256)) * 256
        for _ in range(20):
            relay.send(PEER, [payload], is_control=False)
        recorder.wait_until(lambda: len(recorder.packets) == 20)

        assert {packet for _, packet in recorder.packets} == {payload}
        assert relay.leaf_pin == public_key_pin(certificate.der)[:16]


def test_a_close_tells_a_tls_relay_that_nothing_more_comes(connect, recorder, tmp_path):
    certificate, ends = make_certificate(tmp_path), []

    def note_the_end(connection: FakeConnection) -> None:
        connection.socket.suppress_ragged_eofs = False  # an end without close_notify is an error
        connection.log_in()
        try:
            connection.wait_for_end()
        except OSError as error:
            ends.append(error)

    with running(note_the_end, certificate=certificate) as server:
        relay = connect(server.region(cert_name=certificate.raw_pin))
        recorder.wait_connected(relay)
        relay.close(WAIT_S)
        with gevent.Timeout(WAIT_S):
            while not ends:
                gevent.sleep(0.005)

    assert [type(error) for error in ends] == [
        ConnectionResetError
    ]  # a clean end, as read_frame says


def test_megabytes_arrive_in_order_while_the_relay_talks_back(connect, recorder):
    with running(serve_and_echo) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)

        for number in range(300):
            if not relay.has_room:
                recorder.wait_until(lambda: relay.has_room)
            relay.send(PEER, [number.to_bytes(4, "big") * 15000], is_control=False)
        recorder.wait_until(lambda: len(recorder.packets) == 300)

        numbers = [int.from_bytes(packet[:4], "big") for _, packet in recorder.packets]
        assert numbers == list(range(300))
        assert relay.dropped_packets == 0
        assert recorder.room_calls > 0


def test_control_goes_before_data_that_waits(connect, recorder):
    go = Event()

    def stall_then_echo(connection: FakeConnection) -> None:
        connection.log_in()
        go.wait(WAIT_S)
        connection.echo()

    with running(stall_then_echo) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)

        for _ in range(60):
            relay.send(PEER, [b"d" * 60000], is_control=False)
        gevent.sleep(0.02)  # the kernel takes what it wants, the rest waits
        assert not relay.has_room
        relay.send(PEER, [b"control"], is_control=True)
        go.set()
        recorder.wait_until(lambda: len(recorder.packets) == 61)

        packets = [packet for _, packet in recorder.packets]
        assert packets.index(b"control") < 30


def test_a_relay_that_refuses_our_key_is_named_with_the_reason(connect, recorder):
    with running(refuse_key) as server:
        relay = connect(server.region())

        recorder.wait_until(lambda: relay.last_error is not None)

        assert isinstance(relay.last_error, RelayRefused)
        assert f"relay 127.0.0.1:{server.port} refused our key" in str(relay.last_error)
        recorder.wait_until(lambda: len(recorder.errors) > 2)  # it goes on trying
        assert server.connections > 1


def test_no_relay_at_the_address_is_lasting_until_one_has_been_there(connect, recorder):
    with running(serve_and_echo) as server:
        server.close()
        relay = connect(server.region())
        recorder.wait_until(lambda: relay.refused_since is not None)
        assert isinstance(relay.last_error, RelayNotListening)
        relay.close()

    with running(serve_and_echo) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)
        server.close()
        count = len(recorder.errors)
        recorder.wait_until(lambda: len(recorder.errors) > count + 4)
        assert isinstance(relay.last_error, RelayNotListening)
        assert relay.refused_since is None


def test_a_refusal_is_lasting_once_every_node_refuses_and_until_one_takes_us(connect, recorder):
    admits = Event()

    def admit_later(connection: FakeConnection) -> None:
        if not admits.is_set():
            refuse_key(connection)
        else:
            serve_and_echo(connection)

    def hang_up(connection: FakeConnection) -> None:
        connection.read_request()

    with running(admit_later) as first, running(refuse_key) as second, running(hang_up) as jammed:
        relay = connect(RelayRegion(900, "own", "own", (first.node(), jammed.node())))
        recorder.wait_until(lambda: len(recorder.errors) > 6)
        assert relay.refused_since is None  # who does not answer may yet take us
        relay.close()

        relay = connect(RelayRegion(900, "own", "own", (first.node(), second.node())))
        recorder.wait_until(lambda: relay.refused_since is not None)
        since, count = relay.refused_since, len(recorder.errors)
        recorder.wait_until(lambda: len(recorder.errors) > count + 4)
        assert relay.refused_since == since
        admits.set()
        recorder.wait_connected(relay)
        assert relay.refused_since is None


def test_a_relay_that_hangs_after_the_upgrade_is_given_up(connect, recorder):
    def hang(connection: FakeConnection) -> None:
        connection.upgrade()
        connection.wait_for_end()

    with running(hang) as server:
        relay = connect(server.region())

        recorder.wait_until(lambda: relay.last_error is not None)

        assert "accepted the upgrade and sent no DERP greeting" in str(relay.last_error)


def test_a_relay_that_hangs_before_the_upgrade_is_given_up(connect, recorder):
    with running(lambda connection: gevent.sleep(WAIT_S)) as server:
        relay = connect(server.region())

        recorder.wait_until(lambda: relay.last_error is not None)

        assert "did not complete the connection within 1 s" in str(relay.last_error)


def test_a_greeting_that_is_garbage_is_not_derp(connect, recorder):
    def greet_with_garbage(connection: FakeConnection) -> None:
        connection.upgrade()
        connection.socket.sendall(b"SSH-2.0-OpenSSH_9.6\r\n" * 4)
        connection.wait_for_end()

    with running(greet_with_garbage) as server:
        relay = connect(server.region())

        recorder.wait_until(lambda: relay.last_error is not None)

        assert isinstance(relay.last_error, RelayRefused)
        assert "does not speak DERP" in str(relay.last_error)


def test_the_second_node_serves_when_the_first_is_dead(connect, recorder):
    with running(serve_and_echo) as gone, running(serve_and_echo) as server:
        gone.close()
        stun_only = RelayNode("900s", 900, "192.0.2.1", stun_only=True)
        region = RelayRegion(900, "own", "own", (stun_only, gone.node(), server.node()))

        relay = connect(region)

        recorder.wait_connected(relay)
        assert relay.node == server.node()
        assert "the connection was refused" in recorder.errors[0]
        assert RelayState.DOWN not in recorder.states


def test_it_reconnects_when_the_relay_hangs_up(connect, recorder):
    def serve_one_packet(connection: FakeConnection) -> None:
        connection.log_in()
        connection.deliver(PEER, b"only one")

    with running(serve_one_packet) as server:
        relay = connect(server.region())

        recorder.wait_until(lambda: len(recorder.packets) >= 3)

        assert server.connections >= 3
        assert any("closed the connection" in error for error in recorder.errors)
        assert relay.node is not None


def test_a_failure_that_comes_again_and_again_is_logged_ever_less_often(connect, recorder, caplog):
    caplog.set_level(logging.INFO, logger=RelayConnection.__module__)
    with running(serve_and_echo) as server:
        region = server.region()
    connect(region)

    recorder.wait_until(lambda: len(recorder.errors) > 12)

    first, second, fourth = caplog.messages[:3]
    assert "the connection was refused" in first
    assert second == f"{first} (time 2)"
    assert fourth == f"{first} (time 4)"


def test_a_restarting_relay_is_left_alone_for_the_time_it_asked_for(connect, recorder):
    def restart_once(connection: FakeConnection) -> None:
        connection.log_in()
        if server.connections == 1:
            connection.send_frame(FrameType.RESTARTING, (150).to_bytes(4, "big"), bytes(4))
        connection.wait_for_end()

    with running(restart_once) as server:
        relay = connect(server.region())
        recorder.wait_until(lambda: relay.last_error is not None)
        started_at = gevent.get_hub().loop.now()

        assert "is restarting" in str(relay.last_error)
        recorder.wait_connected(relay)
        assert gevent.get_hub().loop.now() - started_at > 0.1


def test_peer_gone_and_health_reach_the_observer(connect, recorder):
    def report(connection: FakeConnection) -> None:
        connection.log_in()
        connection.send_frame(FrameType.PEER_GONE, PEER, b"\x01")
        connection.send_frame(FrameType.PEER_GONE, PEER)
        connection.send_frame(FrameType.HEALTH, b"two of a \x1bkind")
        connection.wait_for_end()

    with running(report) as server:
        relay = connect(server.region())

        recorder.wait_until(lambda: relay.health != "")

        assert recorder.gone == [(PEER, GoneReason.NOT_HERE), (PEER, GoneReason.DISCONNECTED)]
        assert relay.health == "two of a ?kind"


def test_a_ping_of_the_relay_is_answered_at_once(connect, recorder):
    pongs = []

    def ping(connection: FakeConnection) -> None:
        connection.log_in()
        connection.send_frame(FrameType.PING, b"12345678")
        pongs.append(connection.read_frame())
        connection.deliver(PEER, b"done")
        connection.wait_for_end()

    with running(ping) as server:
        connect(server.region())
        recorder.wait_until(lambda: recorder.packets)

        assert pongs == [(FrameType.PONG, b"12345678")]


def test_a_relay_that_sends_without_pause_lets_other_greenlets_run(connect, recorder):
    def flood(connection: FakeConnection) -> None:
        connection.log_in()
        while True:
            connection.deliver(PEER, b"f" * 65536)

    with running(flood) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)

        with gevent.Timeout(WAIT_S):
            for _ in range(20):
                gevent.sleep(0.001)
        relay.close()
        count = len(recorder.packets)
        gevent.sleep(0.02)

        assert len(recorder.packets) == count


def test_a_relay_whose_packets_take_long_lets_other_greenlets_run_after_each_read(
    connect, recorder, monkeypatch
):
    """What a peer puts into a packet decides how long it takes: thousands of frames are 30 ms."""
    packets, most = 0, 0

    def flood(connection: FakeConnection) -> None:
        connection.log_in()
        while True:
            connection.deliver(PEER, b"f" * 65536)

    def work(relay, source, packet):
        nonlocal packets
        packets += 1
        until = monotonic() + TURN_S
        while monotonic() < until:
            pass

    monkeypatch.setattr(recorder, "relay_packet", work)
    with running(flood) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)
        with gevent.Timeout(WAIT_S):
            while packets < 100:
                before = packets
                gevent.sleep(0)
                most = max(most, packets - before)
        relay.close()

    assert 1 <= most <= MAX_PACKETS_OF_READ


def test_packets_are_dropped_and_counted_while_not_connected(connect, recorder):
    with running(serve_and_echo) as server:
        server.close()
        relay = connect(server.region())

        relay.send(PEER, [b"lost"], is_control=False)

        assert relay.dropped_packets == 1
        assert not relay.has_room
        recorder.wait_until(lambda: RelayState.DOWN in recorder.states)
        assert RelayState.CONNECTED not in recorder.states


def test_a_packet_over_64_kib_is_a_bug_of_the_caller(connect):
    with running(serve_and_echo) as server:
        relay = connect(server.region())

        with pytest.raises(MisuseError):
            relay.send(PEER, [bytes(65537)], is_control=False)


def test_a_backlog_has_a_bound_even_if_the_relay_never_reads(connect, recorder):
    def stall(connection: FakeConnection) -> None:
        connection.log_in()
        gevent.sleep(WAIT_S)

    with running(stall) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)

        for _ in range(200):
            relay.send(PEER, [bytes(65536)], is_control=False)

        assert relay.dropped_packets > 100


def test_data_outstanding_and_a_silent_relay_bring_the_next_connection(connect, recorder):
    pings = []

    def go_silent_once(connection: FakeConnection) -> None:
        connection.log_in()
        if server.connections > 1:
            connection.echo()
        pings.append(connection.read_frame()[0])
        connection.read_frame()

    timing = ClientTiming(awaited_silence_s=0.1, answer_limit_s=0.1)
    with running(go_silent_once) as server:
        relay = connect(server.region(), DialOptions(timing=timing))
        recorder.wait_connected(relay)

        relay.is_awaited = True
        recorder.wait_until(lambda: RelayState.DOWN in recorder.states)
        relay.is_awaited = False

        assert pings == [FrameType.PING]
        assert "has been silent for" in recorder.errors[0]
        recorder.wait_until(lambda: relay.state is RelayState.CONNECTED)


def test_an_idle_relay_is_pinged_and_stays(connect, recorder):
    timing = ClientTiming(idle_ping_s=0.02, idle_ping_spread_s=0.02, silence_limit_s=0.5)
    pings = []

    def count_pings(connection: FakeConnection) -> None:
        connection.log_in()
        while True:
            kind, payload = connection.read_frame()
            pings.append(kind)
            connection.send_frame(FrameType.PONG, payload)
            if len(pings) == 5:
                connection.deliver(PEER, b"enough")

    with running(count_pings) as server:
        connect(server.region(), DialOptions(timing=timing))
        recorder.wait_until(lambda: recorder.packets)

        assert pings[:5] == [FrameType.PING] * 5
        assert server.connections == 1


@pytest.mark.parametrize("has_tls", [False, True])
def test_close_ends_a_connection_whose_relay_never_reads(recorder, tmp_path, has_tls):
    def stall(connection: FakeConnection) -> None:
        connection.log_in()
        gevent.sleep(WAIT_S)

    certificate = make_certificate(tmp_path) if has_tls else None
    with running(stall, certificate=certificate) as server, TaskGroup("test") as tasks:
        region = server.region(insecure_for_tests=True)
        relay = RelayConnection(region, KEYS, recorder, QUICK, tasks)
        relay.start()
        recorder.wait_connected(relay)
        for _ in range(70):
            relay.send(PEER, [bytes(60000)], is_control=False)
        gevent.sleep(0.02)  # until the writer waits for the socket
        assert not relay.has_room

        relay.close()

        with gevent.Timeout(1.0):
            tasks.join()


@pytest.mark.parametrize("has_tls", [False, True])
def test_close_lingers_until_the_relay_has_taken_what_was_queued(
    connect, recorder, tmp_path, has_tls
):
    taken = []
    closed = Event()

    def read_slowly(connection: FakeConnection) -> None:
        connection.log_in()
        try:
            while True:
                taken.append(connection.read_frame()[1][32:])
                gevent.sleep(0.001)
        finally:
            closed.set()

    certificate = make_certificate(tmp_path) if has_tls else None
    with running(read_slowly, certificate=certificate) as server:
        relay = connect(server.region(insecure_for_tests=True))
        recorder.wait_connected(relay)
        for number in range(50):
            relay.send(PEER, [bytes([number]) * 30000], is_control=False)

        relay.close(linger_s=WAIT_S)

        assert closed.wait(WAIT_S)
        assert taken == [bytes([number]) * 30000 for number in range(50)]
        assert relay.state is RelayState.DOWN


def test_a_close_that_lingers_is_the_end_of_it(connect, recorder):
    """The relay answers the goodbye by hanging up, which is no reason to come back."""
    logins = []

    def serve(connection: FakeConnection) -> None:
        connection.log_in()
        logins.append(connection)
        connection.echo()

    with running(serve) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)
        relay.send(PEER, [b"the last words"], is_control=True)
        relay.close(linger_s=WAIT_S)
        gevent.sleep(QUICK.limits.step_s)  # what is awaited is that time passes

        assert len(logins) == 1
        assert relay.state is RelayState.DOWN


def test_close_ends_every_greenlet(recorder):
    with running(serve_and_echo) as server, TaskGroup("test") as tasks:
        relay = RelayConnection(server.region(), KEYS, recorder, QUICK, tasks)
        relay.start()
        recorder.wait_connected(relay)

        relay.close()

        with gevent.Timeout(WAIT_S):
            tasks.join()


def test_close_ends_a_dial_that_hangs(recorder):
    with running(lambda connection: gevent.sleep(WAIT_S)) as server, TaskGroup("test") as tasks:
        options = DialOptions(limits=DialLimits(WAIT_S, WAIT_S))
        relay = RelayConnection(server.region(), KEYS, recorder, options, tasks)
        relay.start()
        with gevent.Timeout(WAIT_S):
            while server.connections == 0:
                gevent.sleep(0.001)

        relay.close()

        with gevent.Timeout(1.0):
            tasks.join()


def test_a_region_without_relays_says_so(connect, recorder):
    region = RelayRegion(7, "x", "Nowhere", (RelayNode("7a", 7, "192.0.2.1", stun_only=True),))

    relay = connect(region)
    recorder.wait_until(lambda: relay.last_error is not None)

    assert isinstance(relay.last_error, RelayUnreachable)
    assert "Nowhere has no relay" in str(relay.last_error)


def test_sending_keeps_to_the_rate_that_the_relay_asks_for(connect, recorder):
    limit = b'{"version":2,"TokenBucketBytesPerSecond":200000,"TokenBucketBytesBurst":20000}'

    def limited(connection: FakeConnection) -> None:
        connection.log_in(limit)
        connection.echo()

    with running(limited) as server:
        relay = connect(server.region())
        recorder.wait_connected(relay)
        started_at = gevent.get_hub().loop.now()

        for _ in range(6):
            relay.send(PEER, [bytes(10000)], is_control=False)
        recorder.wait_until(lambda: len(recorder.packets) == 6)

        # 60 kB less the burst of 20 kB at 200 kB/s; the last write's debt is not waited for.
        assert gevent.get_hub().loop.now() - started_at > 0.08


def test_check_alive_cuts_the_back_off_short(connect, recorder):
    with running(refuse_key) as server:
        relay = connect(server.region())
        recorder.wait_until(lambda: len(recorder.errors) > 8)
        server.script = serve_and_echo

        relay.check_alive()

        recorder.wait_connected(relay, limit_s=1.0)
