"""Measuring regions with real datagrams, and by HTTP where UDP is dead."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest
from fake_relays import FakeConnection, running
from gevent import socket

from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.relay_client.regions import measure_regions
from tunnel.proto.relay_client.regions import choose_regions
from tunnel.wire.derpmap import RelayMap, RelayNode, RelayRegion
from tunnel.wire.stun import decode_binding_request, encode_binding_response

pytestmark = pytest.mark.net

PLAIN = DialOptions()


@contextmanager
def stun_server(
    delay_s: float = 0.0, host: str = "127.0.0.1", mute_first: int = 0
) -> Iterator[int]:
    """Answer binding requests after `delay_s`, but not the first `mute_first` of them."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))

    def serve() -> None:
        seen = 0
        while True:
            data, source = sock.recvfrom(2048)
            seen += 1
            if seen <= mute_first:
                continue
            request = decode_binding_request(data)
            answer = encode_binding_response(request.transaction_id, source[0], source[1])
            gevent.spawn_later(delay_s, sock.sendto, b"not stun", source)
            gevent.spawn_later(delay_s, sock.sendto, answer, source)

    server = gevent.spawn(serve)
    try:
        yield sock.getsockname()[1]
    finally:
        server.kill()
        sock.close()


def region(region_id: int, stun_port: int, host: str = "127.0.0.1", derp_port: int = 1):
    node = RelayNode(
        f"{region_id}a", region_id, host, stun_port=stun_port, derp_port=derp_port, use_tls=False
    )
    return RelayRegion(region_id, f"r{region_id}", f"Region {region_id}", (node,))


def map_of(*regions: RelayRegion) -> RelayMap:
    return RelayMap({each.id: each for each in regions})


def test_the_nearest_regions_come_first():
    with stun_server(0.12) as far, stun_server() as near, stun_server(0.06) as middle:
        relay_map = map_of(region(1, far), region(2, near), region(3, middle))
        latencies = measure_regions(relay_map, os.urandom, 2.0, PLAIN)

    assert choose_regions(latencies) == [2, 3, 1]


def test_a_lost_probe_is_made_up_by_the_next():
    with stun_server(mute_first=1) as port:
        latencies = measure_regions(map_of(region(1, port)), os.urandom, 2.0, PLAIN)

    assert [entry.region_id for entry in latencies] == [1]
    assert latencies[0].latency_s < 0.1


def test_regions_over_ipv6_are_measured_too():
    with stun_server(host="::1") as port:
        relay_map = map_of(region(1, port, host="::1"))
        latencies = measure_regions(relay_map, os.urandom, 2.0, PLAIN)

    assert [entry.region_id for entry in latencies] == [1]


def test_a_silent_region_does_not_hold_the_others_up():
    with (
        stun_server() as first,
        stun_server() as second,
        stun_server() as third,
        stun_server(mute_first=9) as silent,
        gevent.Timeout(1.0),
    ):
        ports = (first, second, third, silent)
        relay_map = map_of(*(region(number + 1, port) for number, port in enumerate(ports)))
        latencies = measure_regions(relay_map, os.urandom, 5.0, PLAIN)

    assert {entry.region_id for entry in latencies} == {1, 2, 3}


def test_where_udp_is_dead_http_is_timed():
    seen = []

    def latency_check(connection: FakeConnection) -> None:
        seen.append(connection.read_request())
        connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def broken(connection: FakeConnection) -> None:
        connection.read_request()
        connection.socket.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    with (
        stun_server(mute_first=99) as silent,
        running(latency_check) as good,
        running(broken) as bad,
    ):
        relay_map = map_of(
            region(1, silent, derp_port=good.port), region(2, silent, derp_port=bad.port)
        )
        latencies = measure_regions(relay_map, os.urandom, 0.6, PLAIN)

    assert [entry.region_id for entry in latencies] == [1]
    assert seen[0].startswith(b"GET /derp/latency-check HTTP/1.1\r\n")


def test_nothing_that_answers_gives_no_latency_within_the_budget():
    with stun_server(mute_first=99) as silent, gevent.Timeout(2.0):
        latencies = measure_regions(map_of(region(1, silent)), os.urandom, 0.2, PLAIN)

    assert latencies == []


def test_a_map_without_regions_measures_nothing():
    assert measure_regions(map_of(), os.urandom, 1.0, PLAIN) == []
