"""The parts of netcheck on real loopback sockets: STUN servers, relays, a router, a sign-in page."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest
from fake_gateway_server import LOOPBACK, serving
from fake_relays import FakeConnection, make_certificate, running
from gevent import socket
from support.fake_gateway import FakeGateway

from tunnel.crypto.keys import KeyPair
from tunnel.errors import RelayFault
from tunnel.net.ifaces import Gateway
from tunnel.net.netcheck import check_mappers, check_nat, check_relay, look_for_page
from tunnel.net.pins import public_key_pin
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.relay_client.proxy import ProxySettings
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer
from tunnel.proto.netcheck.checks import SignInPage
from tunnel.proto.netcheck.nat_behaviour import WAITS_S, Filtering, Mapping
from tunnel.proto.portmap.mapping import MappingProtocol, Reason
from tunnel.wire import stun
from tunnel.wire.derpmap import RelayNode, RelayRegion
from tunnel.wire.stun import Change

pytestmark = pytest.mark.net

KEYS = KeyPair.from_secret(b"\x31" * 32)
BUDGET_S = 5.0
PATIENCE_S = 10.0
OPTIONS = DialOptions(proxy=ProxySettings())
ADDRESSES = ("127.0.0.1", "127.0.0.2")
ROUTER = Gateway(LOOPBACK, "lo", LOOPBACK)


def node(host=LOOPBACK, stun_port=3478, derp_port=1, **fields):
    return RelayNode("1a", 1, host, stun_port=stun_port, derp_port=derp_port, **fields)


def region(derp_port, host=LOOPBACK):
    return RelayRegion(1, "r1", "", (node(host, derp_port=derp_port, use_tls=False),))


@contextmanager
def stun_server(*, is_silent: bool = False) -> Iterator[int]:
    """Run an RFC 5780 server on two loopback addresses with two ports each; yields the first."""
    socks = {}
    ports: list[int] = []
    for turn in range(2):
        for ip in ADDRESSES:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((ip, ports[turn] if len(ports) > turn else 0))
            if len(ports) == turn:
                ports.append(sock.getsockname()[1])
            socks[ip, ports[turn]] = sock

    def serve(ip: str, port: int) -> None:
        while True:
            data, source = socks[ip, port].recvfrom(2048)
            if is_silent:
                continue
            request = stun.decode_binding_request(data)
            other_ip = ADDRESSES[1 - ADDRESSES.index(ip)]
            other = (other_ip, ports[1 - ports.index(port)])
            origin = (
                other[0] if request.change & Change.ADDRESS else ip,
                other[1] if request.change & Change.PORT else port,
            )
            answer = stun.encode_binding_response(request.transaction_id, *source, origin, other)
            socks[origin].sendto(b"junk", source)
            socks[origin].sendto(answer, source)

    greenlets = [gevent.spawn(serve, *endpoint) for endpoint in socks]
    try:
        yield ports[0]
    finally:
        gevent.killall(greenlets)
        for sock in socks.values():
            sock.close()


def nat_of(*nodes, budget_s=BUDGET_S, is_ipv6=False, addresses=("127.0.0.1", "::1")):
    return check_nat(nodes, addresses, os.urandom, budget_s, is_ipv6=is_ipv6)


# --- NAT -------------------------------------------------------------------------------------


def test_a_machine_without_nat_and_firewall_is_seen_as_such():
    with stun_server() as port, gevent.Timeout(PATIENCE_S):
        found = nat_of(node(stun_port=port))

    assert found is not None
    assert found.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert found.filtering is Filtering.ENDPOINT_INDEPENDENT
    assert found.is_translated is False
    assert found.keeps_port
    assert found.public == ((LOOPBACK, found.local_port),)


def test_silent_servers_cost_two_seconds_and_no_more():
    with stun_server(is_silent=True) as port:
        started_at = time.monotonic()
        found = nat_of(node(stun_port=port))
        took_s = time.monotonic() - started_at

    assert found is not None
    assert not found.is_udp_working
    assert sum(WAITS_S) <= took_s < 3 * sum(WAITS_S)


def test_the_budget_ends_it():
    with stun_server(is_silent=True) as port:
        started_at = time.monotonic()
        found = nat_of(node(stun_port=port), budget_s=0.2)

    assert found is not None
    assert time.monotonic() - started_at < 3 * 0.2


def test_a_family_that_no_server_or_this_machine_lacks_is_left_out():
    with stun_server() as port:
        assert nat_of(node(stun_port=port), is_ipv6=True) is None
        assert nat_of(node(stun_port=port), addresses=()) is None
    assert nat_of() is None
    assert nat_of(node(stun_port=-1)) is None
    assert nat_of(node("no-such-name.invalid"), budget_s=2.0) is None


# --- relays ----------------------------------------------------------------------------------


@contextmanager
def embedded_relay() -> Iterator[RelayServer]:
    server = RelayServer((LOOPBACK, 0), KEYS, None, None, RelayLimits(), "")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_a_relay_that_takes_us_is_reached():
    with embedded_relay() as server:
        found = check_relay(region(server.node.derp_port), KEYS, OPTIONS, BUDGET_S)

    assert found.error is None
    assert found.connected_after_s is not None
    assert found.node is not None


def test_a_relay_that_lets_us_in_and_refuses_the_login_is_not_reached():
    def refuse(connection: FakeConnection) -> None:
        connection.upgrade()
        connection.greet()
        connection.read_login()

    with running(refuse) as relay:
        found = check_relay(region(relay.port), KEYS, OPTIONS, BUDGET_S)

    assert found.connected_after_s is None
    assert found.error is not None
    assert found.error.startswith(f"relay {LOOPBACK}:{relay.port} ")


def test_a_closed_port_is_told_in_a_sentence():
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        found = check_relay(region(sock.getsockname()[1]), KEYS, OPTIONS, BUDGET_S)

    assert found.connected_after_s is None
    assert "nothing listens there" in str(found.error)


def mute(connection: FakeConnection) -> None:
    """Read until the other side hangs up."""
    while connection.socket.recv(4096):
        pass


def test_a_silent_relay_is_given_up_in_time():
    with running(mute) as relay:
        started_at = time.monotonic()
        found = check_relay(region(relay.port), KEYS, OPTIONS, 0.3)

    assert time.monotonic() - started_at < 3 * 0.3
    assert found.error == (
        f"relay {LOOPBACK}:{relay.port} did not answer within 0.3 s (waiting for its answer to HTTP)"
    )


def test_a_region_without_relays_is_told():
    found = check_relay(RelayRegion(1, "r1", "Empty", ()), KEYS, OPTIONS, BUDGET_S)

    assert found.node is None
    assert found.error == "relay region Empty has no relay"


def test_each_fault_of_a_relay_is_told_by_its_word(tmp_path):
    def refuse(connection: FakeConnection) -> None:
        connection.upgrade()
        connection.greet()
        connection.read_login()

    def answer(text: bytes):
        def serve(connection: FakeConnection) -> None:
            connection.read_request()
            connection.socket.sendall(b"HTTP/1.1 " + text + b"\r\nContent-Length: 0\r\n\r\n")

        return serve

    moved = b"301 Moved Permanently\r\nLocation: https://relay.test/derp"
    certificate = make_certificate(tmp_path, alt="IP:127.0.0.1")
    with (
        running(refuse) as refusing,
        running(answer(b"404 Not Found")) as web,
        running(answer(moved)) as old,
        running(answer(b"503 Service Unavailable")) as full,
        running(refuse, certificate=certificate) as distrusted,
        running(mute) as silent,
        socket.socket() as closed,
    ):
        closed.bind((LOOPBACK, 0))
        nodes = {
            RelayFault.KEY_REFUSED: refusing.node(),
            RelayFault.NOT_DERP: web.node(),
            RelayFault.REDIRECTED: old.node(),
            RelayFault.BROKEN: full.node(),
            RelayFault.CERTIFICATE: distrusted.node(),
            RelayFault.UNREACHABLE: silent.node(),
            RelayFault.UNKNOWN_NAME: RelayNode("x", 900, "a..b"),
        }
        found = {
            fault: check_relay(RelayRegion(900, "own", "", (node,)), KEYS, OPTIONS, 2.0)
            for fault, node in nodes.items()
        }

    assert {fault: each.fault for fault, each in found.items()} == {f: f for f in nodes}
    assert found[RelayFault.REDIRECTED].redirected_to == "https://relay.test/derp"
    pin = public_key_pin(certificate.der).hex()
    url = f"https://127.0.0.1:{distrusted.port}#sha256:{pin}"
    assert url in str(found[RelayFault.CERTIFICATE].error)


# --- sign-in pages ---------------------------------------------------------------------------


def plain_node(port):
    return node(derp_port=port, use_tls=False)


def test_a_relay_is_no_sign_in_page():
    with embedded_relay() as server:
        assert look_for_page(plain_node(server.node.derp_port), OPTIONS, BUDGET_S) is None


@pytest.mark.parametrize(
    ("status", "page"),
    [
        (b"302 Found", SignInPage("http://login.test/")),
        (b"511 Network Authentication Required", SignInPage(None)),
        (b"200 OK", None),  # at another port than 80 that is a web server
        (b"404 Not Found", None),  # Headscale
        (b"500 Internal Server Error", None),
    ],
)
def test_what_answers_otherwise_may_be_one(status, page):
    def portal(connection: FakeConnection) -> None:
        assert connection.read_request().startswith(b"GET /generate_204 HTTP/1.1\r\n")
        head = b"HTTP/1.1 " + status + b"\r\nLocation: http://login.test/\r\n"
        connection.socket.sendall(head + b"Content-Length: 0\r\n\r\n")

    with running(portal) as server:
        found = look_for_page(plain_node(server.port), OPTIONS, BUDGET_S)

    assert found == page


def test_silence_junk_tls_alone_and_a_proxy_tell_nothing():
    def junk(connection: FakeConnection) -> None:
        connection.read_request()
        connection.socket.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    proxied = DialOptions(proxy=ProxySettings("", "http://127.0.0.1:9", ""))
    with running(mute) as silent, running(junk) as other:
        assert look_for_page(plain_node(silent.port), OPTIONS, 0.2) is None
        assert look_for_page(plain_node(other.port), OPTIONS, BUDGET_S) is None
        assert look_for_page(node(derp_port=other.port), OPTIONS, BUDGET_S) is None
        assert look_for_page(plain_node(other.port), proxied, BUDGET_S) is None


# --- port mappers ----------------------------------------------------------------------------


def test_each_protocol_of_a_router_is_found_and_nothing_stays_mapped():
    with serving() as server, gevent.Timeout(PATIENCE_S):
        found = check_mappers(ROUTER, os.urandom, BUDGET_S, server.ports)

        assert server.gateway.table == {}
    assert [each.protocol for each in found] == list(MappingProtocol)
    assert all(each.is_found and each.failure is None for each in found)
    assert {each.mapping.external_ip for each in found if each.mapping} == {"5.5.5.10"}


def test_a_router_with_one_protocol_is_told_by_its_name():
    with serving(FakeGateway(has_pcp=False, has_upnp=False)) as server:
        found = check_mappers(ROUTER, os.urandom, BUDGET_S, server.ports)

    assert [each.is_found for each in found] == [
        each is MappingProtocol.NAT_PMP for each in MappingProtocol
    ]
    assert {each.failure.reason for each in found if each.failure} == {Reason.SILENT}


def test_a_refusal_is_found_and_told_with_its_reason():
    with serving(FakeGateway(has_pcp=False, has_upnp=False, natpmp_result=2)) as server:
        found = check_mappers(ROUTER, os.urandom, BUDGET_S, server.ports)

    [natpmp] = [each for each in found if each.protocol is MappingProtocol.NAT_PMP]
    assert natpmp.is_found
    assert natpmp.mapping is None
    assert natpmp.failure is not None
    assert natpmp.failure.reason is Reason.NOT_ALLOWED


def test_a_router_without_any_is_given_up_within_the_budget():
    gateway = FakeGateway(has_pcp=False, has_natpmp=False, has_upnp=False)
    with serving(gateway) as server:
        started_at = time.monotonic()
        found = check_mappers(ROUTER, os.urandom, 2.0, server.ports)

    assert time.monotonic() - started_at < 3 * 2.0
    assert not any(each.is_found for each in found)


def test_a_check_that_is_killed_gives_its_mappings_back():
    with serving(FakeGateway(is_http_silent=True)) as server, gevent.Timeout(PATIENCE_S):
        check = gevent.spawn(check_mappers, ROUTER, os.urandom, BUDGET_S, server.ports)
        while not server.gateway.table:
            gevent.sleep(0.001)
        check.kill()

        assert server.gateway.table == {}


def test_an_ipv6_router_is_asked_by_pcp_alone():
    with serving(host="::1") as server:
        found = check_mappers(Gateway("::1", "lo", "::1"), os.urandom, BUDGET_S, server.ports)

    assert [each.protocol for each in found] == [MappingProtocol.PCP]
    assert found[0].is_found
