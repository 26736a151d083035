"""The embedded relay over real loopback sockets."""

import hashlib
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from gevent import socket
from gevent.ssl import PROTOCOL_TLS_CLIENT, SSLContext
from raw_derp_client import FAST_START, PATIENCE_S, UPGRADE, RawClient

from tunnel.crypto.keys import KeyPair
from tunnel.net.relay_server.certificate import CertificateUnusable, load_certificate
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer
from tunnel.net.relay_server.stun import StunServer
from tunnel.net.sockets import ListenFailed
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_server.connection_caps import AcceptRates, Refusal
from tunnel.proto.relay_server.derp_relay import DISCO_MAGIC, RoutingLimits
from tunnel.proto.token_bucket import Allowance
from tunnel.wire import stun
from tunnel.wire.derp import FrameType, encode_frame

pytestmark = pytest.mark.net

LOOPBACK = ("127.0.0.1", 0)
KEYS = KeyPair.from_secret(b"\x22" * 32)
VECTORS = Path(__file__).parent.parent / "vectors"
CERT, KEY = VECTORS / "relay_cert.pem", VECTORS / "relay_key.pem"


@contextmanager
def relay(listen=LOOPBACK, stun_at=None, tls=None, **limits):
    server = RelayServer(listen, KEYS, stun_at, tls, RelayLimits(**limits))
    server.start()
    try:
        yield server
    finally:
        with gevent.Timeout(PATIENCE_S):
            server.stop()


def until(condition):
    """Wait for a condition that other greenlets bring about."""
    with gevent.Timeout(PATIENCE_S):
        while not condition():
            gevent.sleep(0.001)


def request(server, text, sock=None):
    client = sock or socket.create_connection(server.address, PATIENCE_S)
    client.sendall(text)
    data = b""
    while chunk := client.recv(65536):
        data += chunk
    client.close()
    return data.partition(b"\r\n\r\n")[::2]


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")


def test_two_clients_exchange_packets():
    with relay() as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()

        alice.send_packet(bob, b"hello")
        bob.send_packet(alice, bytes(65536))

        assert bob.packet() == (alice.public, b"hello")
        assert alice.packet() == (bob.public, bytes(65536))
        assert server.clients == 2


def test_bulk_within_the_queue_arrives_whole_and_in_order():
    with relay() as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()
        blocks = [os.urandom(61440) for _ in range(8)]
        sent = hashlib.sha256()
        received = hashlib.sha256()

        for _ in range(4):
            for block in blocks * 3:
                alice.send_packet(bob, block)
                sent.update(block)
            for _ in blocks * 3:
                received.update(bob.packet()[1])

        assert received.digest() == sent.digest()


def test_a_login_pipelined_behind_a_fast_start_is_kept():
    with relay() as server:
        client = RawClient(server.address)

        client.sock.sendall(FAST_START + client.login(KEYS.public))

        assert client.frame()[0] == FrameType.SERVER_KEY
        assert client.frame()[0] == FrameType.SERVER_INFO


def test_a_login_pipelined_behind_an_ordinary_upgrade_is_kept():
    with relay() as server:
        client = RawClient(server.address)

        client.sock.sendall(UPGRADE + client.login(KEYS.public))

        assert b"Derp-Public-Key: " + KEYS.public.hex().encode() in client.head()
        assert client.frame()[0] == FrameType.SERVER_KEY
        assert client.frame()[0] == FrameType.SERVER_INFO


def test_a_session_sent_byte_by_byte_works():
    with relay() as server:
        client = RawClient(server.address)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        for byte in FAST_START + client.login(KEYS.public):
            client.sock.sendall(bytes((byte,)))
            gevent.sleep(0)

        assert client.frame()[0] == FrameType.SERVER_KEY
        assert client.frame()[0] == FrameType.SERVER_INFO


def test_a_head_that_does_not_end_is_dropped_after_its_deadline():
    with relay(head_timeout_s=0.05) as server:
        client = RawClient(server.address)
        client.sock.sendall(UPGRADE[:-2])

        assert client.rest() == b""
        until(lambda: server.connections == 0)


def test_an_upgrade_without_a_login_is_dropped_after_its_deadline():
    with relay(login_timeout_s=0.05) as server:
        client = RawClient(server.address)
        client.sock.sendall(FAST_START)

        assert client.is_ended()


def test_a_client_that_is_logged_in_may_stay_silent():
    with relay(login_timeout_s=0.05, head_timeout_s=0.05, write_timeout_s=0.05) as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()
        # A connection that never speaks meets the same deadlines, later.
        assert RawClient(server.address).rest() == b""

        alice.send_packet(bob, b"still here")

        assert bob.packet()[1] == b"still here"


def test_a_client_that_takes_nothing_is_dropped_and_the_sender_lives_on():
    with relay(write_timeout_s=0.2) as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()

        with gevent.Timeout(PATIENCE_S):
            while server.clients == 2:
                alice.send_packet(bob, bytes(65536))
                gevent.sleep(0)

        alice.send(FrameType.PING, b"12345678")
        assert alice.frame() == (FrameType.PONG, b"12345678")


def test_what_is_no_http_gets_a_400():
    with relay() as server:
        head, _ = request(server, b"\x16\x03\x01\x02\x00\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 400 ")


def test_a_head_beyond_its_bound_gets_a_400():
    with relay() as server:
        head, _ = request(server, b"GET / HTTP/1.1\r\nx: " + b"a" * 16384)

        assert head.startswith(b"HTTP/1.1 400 ")


def test_pages_are_served():
    with relay() as server:
        host, port = server.address
        _, healthy = request(server, b"GET /healthz HTTP/1.1\r\n\r\n")
        _, document = request(
            server, f"GET /derpmap HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        )
        missing, _ = request(server, b"GET /nothing HTTP/1.1\r\n\r\n")
        plain, _ = request(server, b"GET /derp HTTP/1.1\r\n\r\n")
        posted, _ = request(
            server, b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + bytes(9000)
        )

    (node,) = json.loads(document)["Regions"]["900"]["Nodes"]
    assert healthy == b"ok"
    assert (node["HostName"], node["DERPPort"], node["STUNPort"]) == (host, port, -1)
    assert b" 404 " in missing
    assert b" 426 " in plain
    assert b" 405 " in posted


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (UPGRADE.replace(b"GET", b"POST"), b"405"),
        (UPGRADE.replace(b"GET", b"HEAD"), b"405"),
        (UPGRADE.replace(b"1.1", b"1.0"), b"426"),
        (UPGRADE.replace(b"Connection: Upgrade\r\n", b""), b"426"),
        (UPGRADE[:-2] + b"Content-Length: 4\r\n\r\nbody", b"400"),
        (FAST_START.replace(b"GET", b"POST"), b"405"),
    ],
)
def test_only_a_proper_upgrade_becomes_frames(text, status):
    with relay() as server:
        head, body = request(server, text)

        assert head.startswith(b"HTTP/1.1 " + status + b" ")
        assert (body == b"") == text.startswith(b"HEAD")


def test_a_client_learns_that_its_peer_is_absent_and_that_it_left():
    with relay() as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()
        disco = DISCO_MAGIC + bytes(56)
        bob.send_packet(alice, b"x")
        alice.packet()

        bob.close()
        assert alice.frame() == (FrameType.PEER_GONE, bob.public + b"\x00")
        alice.send_packet(bob, disco)
        assert alice.frame() == (FrameType.PEER_GONE, bob.public + b"\x01")


def test_a_protocol_violation_ends_that_connection_alone():
    with relay() as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()

        bob.send(FrameType.WATCH_CONNS)

        assert bob.is_ended()
        alice.send(FrameType.PING, b"12345678")
        assert alice.frame()[0] == FrameType.PONG


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_client_that_pauses_amid_frames_loses_nothing_when_its_buffer_is_given_back(is_tls):
    tls = load_certificate(CERT, KEY).context if is_tls else None
    with relay(tls=tls, quiet_s=0.02) as server:
        alice, bob = (RawClient(server.address, tls=is_tls).connect() for _ in range(2))
        frame = encode_frame(FrameType.SEND_PACKET, bob.public, bytes(range(256)) * 240)

        for cut in (0, 3, 5000, 61000):
            alice.sock.sendall(frame * 4 + frame[:cut])
            gevent.sleep(0.1)
            alice.sock.sendall(frame[cut:])
            assert [bob.packet()[1] for _ in range(5)] == [bytes(range(256)) * 240] * 5


@pytest.mark.parametrize("is_tls", [False, True])
def test_what_came_before_a_violation_is_still_answered(is_tls):
    with relay(tls=load_certificate(CERT, KEY).context if is_tls else None) as server:
        client = RawClient(server.address, tls=is_tls)
        watch = encode_frame(FrameType.WATCH_CONNS)

        client.sock.sendall(FAST_START + client.login(KEYS.public) + watch * 100)

        assert client.frame()[0] == FrameType.SERVER_KEY
        assert client.frame()[0] == FrameType.SERVER_INFO
        assert client.is_ended()


def test_a_silent_client_gets_keep_alives():
    with relay(routing=RoutingLimits(keep_alive_s=0.02)) as server:
        client = RawClient(server.address).connect()

        assert [client.frame() for _ in range(3)] == [(FrameType.KEEP_ALIVE, b"")] * 3


def test_a_full_relay_answers_503_and_serves_again_when_one_left():
    with relay(routing=RoutingLimits(max_clients=1)) as server:
        client = RawClient(server.address).connect()
        head, _ = request(server, UPGRADE)
        assert b" 503 " in head

        client.close()
        until(lambda: server.clients == 0)
        RawClient(server.address).connect()


def test_the_rate_of_a_client_delays_its_packets_and_drops_none():
    rate = 1_000_000
    with relay(routing=RoutingLimits(rate=rate)) as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()
        sender = gevent.spawn(lambda: [alice.send_packet(bob, bytes(60_000)) for _ in range(25)])
        started = gevent.get_hub().loop.now()

        for _ in range(25):
            bob.packet()
        gevent.get_hub().loop.update_now()
        took = gevent.get_hub().loop.now() - started

        sender.get()
        # 1.5 MB, of which the first one passes as burst.
        assert took > 0.4


def test_many_clients_come_and_go_without_a_trace():
    with relay() as server:
        for _ in range(30):
            RawClient(server.address).connect().close()
        idle = [socket.create_connection(server.address) for _ in range(30)]
        until(lambda: server.connections == 30)

        for sock in idle:
            sock.close()

        until(lambda: server.connections == 0)
        assert server.clients == 0


def test_a_few_connections_above_a_networks_rate_wait_their_turn_and_are_served():
    one = Allowance(rate=20.0, burst=1.0)
    with relay(accept=AcceptRates(floor=one, network=one)) as server:
        started = time.monotonic()
        clients = [RawClient(server.address).connect() for _ in range(8)]

        assert server.clients == len(clients)
        # One at once of each allowance, and six at forty a second.
        assert time.monotonic() - started > 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8")
def test_who_would_wait_too_long_is_closed_and_another_network_is_served_at_once():
    one = Allowance(rate=0.1, burst=1.0)
    with relay(accept=AcceptRates(floor=one, network=one)) as server:
        for _ in range(2):
            RawClient(server.address, source="127.0.1.1").connect()

        assert RawClient(server.address, source="127.0.1.1").is_ended()
        RawClient(server.address, source="127.0.2.1").connect()


def upgrade(*fields):
    lines = (UPGRADE[:-4].decode(), *fields, "", "")
    return "\r\n".join(lines).encode()


def status_of(server, *fields):
    """The status that a client gets who stays connected."""
    client = RawClient(server.address)
    client.sock.sendall(upgrade(*fields))
    return int(client.head().split()[1]), client


def test_behind_a_proxy_each_of_its_clients_counts_for_itself():
    with relay(max_per_address=2, is_behind_proxy=True) as server:
        held = [status_of(server, "X-Forwarded-For: 9.9.9.9, 192.0.2.1") for _ in range(3)]
        others = [status_of(server, "X-Forwarded-For: 9.9.9.9, 192.0.2.2") for _ in range(2)]

        assert [status for status, _ in held] == [101, 101, 429]
        assert [status for status, _ in others] == [101, 101]
        held[0][1].close()
        until(lambda: server.connections == 3)
        assert status_of(server, "X-Forwarded-For: 192.0.2.1")[0] == 101


def test_nobody_borrows_another_address_without_a_proxy():
    with relay(max_per_address=1) as server:
        for _ in range(2):
            assert status_of(server, "X-Forwarded-For: 192.0.2.1")[0] == 101
        head, body = request(
            server, b"GET /derpmap HTTP/1.1\r\nHost: r\r\nX-Forwarded-Proto: https\r\n\r\n"
        )

        assert json.loads(body)["Regions"]["900"]["Nodes"][0]["PlainHTTP"]


def test_a_map_behind_a_proxy_with_tls_says_so():
    with relay(is_behind_proxy=True) as server:
        _, body = request(
            server,
            b"GET /derpmap HTTP/1.1\r\nHost: r.example\r\nX-Forwarded-Proto: https\r\n\r\n",
        )

    node = json.loads(body)["Regions"]["900"]["Nodes"][0]
    assert (node["HostName"], node.get("DERPPort"), node.get("PlainHTTP")) == (
        "r.example",
        None,
        None,
    )


def test_refusals_are_told_by_reason_and_thinned_out():
    told = []
    server = RelayServer(
        LOOPBACK,
        KEYS,
        None,
        None,
        RelayLimits(RoutingLimits(max_clients=1), max_per_address=1, is_behind_proxy=True),
        report=told.append,
    )
    server.start()
    try:
        only = RawClient(server.address).connect()
        for number in range(20):
            assert status_of(server, f"X-Forwarded-For: 192.0.2.{number}")[0] == 503
        only.close()
    finally:
        server.stop()

    assert [(each.reason, each.source, each.count) for each in told] == [
        (Refusal.CLIENTS, "192.0.2.0", 1),
        (Refusal.CLIENTS, "192.0.2.1", 1),
    ]


def test_stopping_writes_what_is_queued_and_ends_every_connection():
    server = RelayServer(LOOPBACK, KEYS, None, None, RelayLimits())
    server.start()
    waiter = gevent.spawn(server.wait)
    alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()
    idle = socket.create_connection(server.address, PATIENCE_S)
    alice.send_packet(bob, b"last words")
    until(lambda: server._relay.counters.forwarded == 1)

    server.stop()

    assert bob.packet()[1] == b"last words"
    assert alice.is_ended()
    assert idle.recv(1) == b""
    assert server.connections == 0
    waiter.get(timeout=PATIENCE_S)
    with pytest.raises(OSError):
        socket.create_connection(server.address, 1)


def test_stopping_twice_and_stopping_before_the_start_are_harmless():
    server = RelayServer(LOOPBACK, KEYS, LOOPBACK, None, RelayLimits())
    server.stop()

    with relay() as running:
        running.stop()


def test_a_connection_that_has_not_begun_when_the_server_stops_is_closed():
    server = RelayServer(LOOPBACK, KEYS, None, None, RelayLimits())
    server.start()
    client = socket.create_connection(server.address, PATIENCE_S)
    # No greenlet runs between the admission and the stop.
    accepted = server._listener.accept()
    server._admit(server._board, *accepted)

    server.stop()

    assert server.connections == 0
    assert client.recv(1) == b""


def test_a_taken_address_is_told_with_what_wanted_it():
    with relay(stun_at=LOOPBACK) as first:
        with pytest.raises(ListenFailed) as same, relay(listen=first.address):
            pass
        with pytest.raises(ListenFailed) as same_stun, relay(stun_at=first.stun_address):
            pass

    assert (same.value.purpose, same.value.is_taken) == ("relay", True)
    assert (same_stun.value.purpose, same_stun.value.is_taken) == ("STUN", True)
    assert str(first.address[1]) in str(same.value)


def test_stun_answers_beside_the_relay():
    with relay(stun_at=LOOPBACK) as server:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind(LOOPBACK)
        client.settimeout(PATIENCE_S)
        transaction = os.urandom(12)

        client.sendto(b"rubbish", server.stun_address)
        client.sendto(stun.encode_binding_request(transaction), server.stun_address)
        answer = stun.decode_binding_response(client.recv(1500))

        assert answer == stun.BindingResponse(transaction, *client.getsockname())


@pytest.mark.parametrize("listen", ["0.0.0.0", pytest.param("", marks=needs_ipv6)])
def test_stun_answers_from_the_address_that_it_was_asked_at(listen):
    with relay(stun_at=(listen, 0)) as server:
        for asked in ("127.0.0.2", "127.0.0.1"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind(LOOPBACK)
                client.settimeout(PATIENCE_S)

                client.sendto(
                    stun.encode_binding_request(bytes(12)), (asked, server.stun_address[1])
                )

                assert client.recvfrom(1500)[1] == (asked, server.stun_address[1])


@needs_ipv6
def test_where_the_system_does_not_tell_the_address_asked_each_has_a_stun_socket_of_its_own():
    server = StunServer(("", 0), asks_destination=False)
    with TaskGroup("stun") as tasks:
        server.start(tasks)
        port = server.address[1]
        for asked in ("127.0.0.1", "::1"):
            family = socket.AF_INET6 if ":" in asked else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE_S)

                client.sendto(stun.encode_binding_request(bytes(12)), (asked, port))

                assert client.recvfrom(1500)[1][:2] == (asked, port)
        tasks.kill()
    server.close()


@needs_ipv6
def test_an_ipv6_relay_serves_frames_and_stun():
    with relay(listen=("::1", 0), stun_at=("::1", 0)) as server:
        alice, bob = RawClient(server.address).connect(), RawClient(server.address).connect()
        alice.send_packet(bob, b"six")
        client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        client.settimeout(PATIENCE_S)
        client.sendto(stun.encode_binding_request(bytes(12)), server.stun_address)

        assert bob.packet()[1] == b"six"
        assert stun.decode_binding_response(client.recv(1500)).address == "::1"
        assert server.node.ipv6 == "::1"


@needs_ipv6
def test_one_socket_for_every_address_serves_both_families():
    with relay(listen=("", 0), stun_at=("", 0)) as server:
        port = server.address[1]
        alice, bob = RawClient(("127.0.0.1", port)).connect(), RawClient(("::1", port)).connect()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(PATIENCE_S)
        client.sendto(stun.encode_binding_request(bytes(12)), ("127.0.0.1", server.stun_address[1]))

        alice.send_packet(bob, b"across")
        assert bob.packet()[1] == b"across"
        assert stun.decode_binding_response(client.recv(1500)).address == "127.0.0.1"


def test_tls_clients_exchange_packets_with_plain_http_inside():
    certificate = load_certificate(CERT, KEY)
    with relay(tls=certificate.context) as server:
        alice = RawClient(server.address, tls=True).connect()
        bob = RawClient(server.address, tls=True).connect()

        alice.send_packet(bob, bytes(61440))
        bob.send_packet(alice, b"and back")

        assert bob.packet()[1] == bytes(61440)
        assert alice.packet()[1] == b"and back"
        assert alice.sock.selected_alpn_protocol() == "http/1.1"
        assert alice.sock.version() == "TLSv1.3"


def test_the_certificate_is_valid_for_clients_that_check_it():
    with relay(tls=load_certificate(CERT, KEY).context) as server:
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str(CERT))
        sock = socket.create_connection(server.address, PATIENCE_S)

        _, body = request(
            server,
            b"GET /healthz HTTP/1.1\r\n\r\n",
            context.wrap_socket(sock, server_hostname="relay.test"),
        )

        assert body == b"ok"


def test_a_tls_handshake_that_does_not_come_is_dropped_after_its_deadline():
    with relay(tls=load_certificate(CERT, KEY).context, handshake_timeout_s=0.05) as server:
        client = RawClient(server.address)

        assert client.rest() == b""


def test_plain_http_to_a_tls_relay_is_told_so_and_ends_that_connection_alone():
    with relay(tls=load_certificate(CERT, KEY).context) as server:
        client = RawClient(server.address)
        client.sock.sendall(UPGRADE)

        assert client.rest().startswith(b"HTTP/1.1 400 ")
        RawClient(server.address, tls=True).connect()


def test_the_pins_of_a_certificate_are_those_that_openssl_prints():
    certificate = load_certificate(CERT, KEY)

    # openssl x509 -noout -pubkey | openssl pkey -pubin -outform der | sha256sum
    assert certificate.key_pin.hex() == (
        "1068f86c3ebf642cbde8f64db3f0fd2aa5bee042dba324cc729be54c588f22c6"
    )
    # openssl x509 -outform der | sha256sum
    assert certificate.cert_name == (
        "sha256-raw:0a8c83ca692f2116ade94853be79c53241d9478dfd6b09de2ce1fe9b398df79b"
    )


def test_a_chain_is_not_pinned_in_the_map(tmp_path):
    chain = tmp_path / "chain.pem"
    chain.write_bytes(CERT.read_bytes() * 2)

    assert load_certificate(chain, KEY).cert_name == ""


def test_unusable_certificates_are_told_in_a_sentence(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")

    with pytest.raises(CertificateUnusable, match="contains no PEM certificate"):
        load_certificate(empty, KEY)
    with pytest.raises(CertificateUnusable, match="cannot be used together"):
        load_certificate(CERT, CERT)
    with pytest.raises(FileNotFoundError):
        load_certificate(CERT, tmp_path / "absent.pem")
