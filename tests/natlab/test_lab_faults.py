"""Faults do what they say, and come and go at any time."""

import json
import subprocess
from pathlib import Path

import pytest
from lab import Lab
from natlab_support import (
    can_ping,
    connects,
    drain,
    received,
    require_program,
    round_trip_ms,
    tcp_listener,
    tcp_socket,
)
from topology import Family, Topology
from wires import UDP, Impairment, Way

HERE = Path(__file__).parent
COUNT = 1000
SILENCE_S = 0.3
FAMILIES = ["ipv4", "ipv6"]


def send_numbered(lab: Lab, count: int = COUNT) -> list[int]:
    """Send numbered datagrams from a to the internet and return those that came."""
    with (
        lab.a.udp_socket() as udp,
        lab.public.udp_socket(lab.public_addresses[0], 9000) as server,
    ):
        found = []
        for number in range(count):
            udp.sendto(number.to_bytes(4, "big"), (lab.public_addresses[0], 9000))
            if number % 50 == 49:  # what the socket's buffer holds
                found += drain(server, 0)
        found += drain(server)
    return [int.from_bytes(data, "big") for data in found]


@pytest.mark.parametrize("topology", [Topology(), Topology(family=Family.IPV6)], ids=FAMILIES)
def test_a_cut_ends_all_traffic_and_no_link_goes_down(lab: Lab):
    address = lab.public_addresses[0]
    with lab.cut("a"):
        assert not can_ping(lab.a, address, SILENCE_S)
        assert "LOWER_UP" in lab.a.run("ip", "link", "show", "dev", "eth0")
        assert "LOWER_UP" in lab.router("a").run("ip", "link", "show", "dev", "wan")
        assert can_ping(lab.b, address)

    assert can_ping(lab.a, address)


def test_a_tcp_connection_outlives_a_cut(lab: Lab):
    with tcp_listener(lab.public, lab.public_addresses[0]) as listener, tcp_socket(lab.a) as client:
        client.connect(listener.getsockname())
        server = listener.accept()[0]
        with server:
            server.settimeout(10)
            with lab.cut("a"):
                client.sendall(b"sent into the void")
            assert server.recv(100) == b"sent into the void"


def test_one_way_loss_stops_one_way_alone(lab: Lab):
    address = lab.public_addresses[0]
    with lab.a.udp_socket() as udp, lab.public.udp_socket(address, 9000) as server:
        udp.sendto(b"first", (address, 9000))
        first = received(server)
        assert first is not None

        with lab.cut("a", Way.DOWN):
            udp.sendto(b"up", (address, 9000))
            assert received(server) is not None
            server.sendto(b"lost", first[1])
            assert drain(udp, SILENCE_S) == []
        with lab.cut("a", Way.UP):
            udp.sendto(b"lost", (address, 9000))
            assert drain(server, SILENCE_S) == []
            server.sendto(b"down", first[1])
            assert received(udp) is not None


def test_blocked_udp_leaves_tcp_alone(lab: Lab):
    address = lab.public_addresses[0]
    with tcp_listener(lab.public, address) as listener, lab.block_udp("a"):
        assert send_numbered(lab, 10) == []
        assert connects(lab.a, address, listener.getsockname()[1])

    assert send_numbered(lab, 10) == list(range(10))


def test_overlapping_blocks_end_one_by_one(lab: Lab):
    address = lab.public_addresses[0]
    first, second = lab.cut("a"), lab.cut("a")

    first.lift()
    first.lift()
    assert not can_ping(lab.a, address, SILENCE_S)
    second.lift()
    assert can_ping(lab.a, address)


def test_every_nth_packet_is_dropped(lab: Lab):
    lab.wire("a").impair(Impairment(drop_every=50, match=UDP), Way.UP)

    found = send_numbered(lab)

    assert len(found) == COUNT - COUNT // 50
    assert lab.wire("a").counts(Way.UP)["lost"].packets == COUNT // 50


def test_random_loss_is_near_its_share(lab: Lab):
    lab.wire("a").impair(Impairment(loss_percent=10), Way.UP)

    lost = COUNT - len(send_numbered(lab))

    # Five standard deviations of a binomial distribution with p = 0.1 are 47.
    assert 50 < lost < 150


def test_duplicates_come_twice_and_nothing_is_missing(lab: Lab):
    lab.wire("a").impair(Impairment(duplicate_percent=100), Way.UP)

    found = send_numbered(lab, 100)

    assert sorted(found) == sorted([*range(100), *range(100)])


@pytest.mark.parametrize("topology", [Topology(), Topology(family=Family.IPV6)], ids=FAMILIES)
def test_delay_comes_and_goes(lab: Lab):
    address = lab.public_addresses[0]
    assert round_trip_ms(lab.a, address) < 10

    lab.wire("a").impair(Impairment(delay_ms=30))
    assert 60 <= round_trip_ms(lab.a, address) < 80
    lab.wire("a").impair(Impairment(delay_ms=30), Way.UP)
    lab.wire("a").impair(Impairment(), Way.DOWN)
    assert 30 <= round_trip_ms(lab.a, address) < 50

    lab.wire("a").impair(Impairment())
    assert round_trip_ms(lab.a, address) < 10


def test_reordering_loses_nothing(lab: Lab):
    impairment = Impairment(delay_ms=1, reorder_percent=10, reorder_ms=20)
    lab.wire("a").impair(impairment, Way.UP)

    found = send_numbered(lab, 200)

    assert sorted(found) == list(range(200))
    assert found != sorted(found)


def test_a_rate_holds(lab: Lab):
    require_program("iperf3")
    lab.wire("a").impair(Impairment(rate="20mbit"))
    address = lab.public_addresses[0]
    server = lab.public.start(
        ["iperf3", "-s", "-1", "-B", address, "--forceflush"], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    while b"listening" not in server.stdout.readline():
        assert server.poll() is None

    result = json.loads(lab.a.run("iperf3", "-c", address, "-t", "1", "-J"))

    assert 12e6 < result["end"]["sum_received"]["bits_per_second"] < 22e6


def test_a_black_hole_swallows_large_packets_alone(lab: Lab):
    address = lab.public_addresses[0]
    with (
        lab.a.udp_socket() as udp,
        lab.public.udp_socket(address, 9000) as server,
        lab.wire("a").block("meta length > 1300", Way.UP),
    ):
        for size in (1400, 1200):
            udp.sendto(bytes(size), (address, 9000))
        assert [len(data) for data in drain(server)] == [1200]


def test_counters_tell_udp_from_tcp_and_live_through_changes(lab: Lab):
    address = lab.public_addresses[0]
    wire = lab.wire("a")
    send_numbered(lab, 10)
    with tcp_listener(lab.public, address) as listener:
        assert connects(lab.a, address, listener.getsockname()[1])
    with lab.block_udp("a"):
        send_numbered(lab, 5)

    counts = wire.counts(Way.UP)

    assert counts["udp"].packets == 10
    assert counts["udp"].size_bytes == 10 * (4 + 8 + 20)
    assert counts["blocked"].packets == 5
    assert counts["tcp"].packets >= 3
    assert counts["passed"].packets >= 13
