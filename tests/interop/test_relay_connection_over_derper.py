"""The library's relay connection and STUN codec against Tailscale's derper, without any command."""

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gevent.event import Event
from interop_servers import (
    REGION_ID,
    RelayServer,
    derper_on_port,
    derper_server,
    free_tcp_port,
    write_derp_map,
)
from interop_support import LOOPBACK

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import RelayRefused
from tunnel.net.pins import public_key_pin
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.tasks import TaskGroup
from tunnel.wire.derp import GoneReason
from tunnel.wire.derpmap import RelayRegion, decode_derp_map, parse_relay_url
from tunnel.wire.stun import decode_binding_response, encode_binding_request

pytestmark = [pytest.mark.interop, pytest.mark.net, pytest.mark.timeout(1800)]

WAIT_S = 20.0
PACKET_SIZES_BYTES = (0, 1, 1200, 32768, 65536)
BURST = 24  # what design §7 has in flight: below the 32 slots of a DERP server's queue
BURST_PACKET_BYTES = 60 << 10
DISCO_SHAPED = bytes.fromhex("5453f09f92ac") + bytes(56)
# Nobody listens on this loopback port, and an admission service that is away admits nobody.
ADMIT_NOBODY = ("-verify-client-url", "http://127.0.0.1:1/", "-verify-client-url-fail-open=false")


class Client:
    """One relay connection and everything that it reported."""

    def __init__(self, region: RelayRegion, tasks: TaskGroup) -> None:
        self.packets: list[tuple[bytes, bytes]] = []
        self.gone: list[tuple[bytes, GoneReason]] = []
        self._reported = Event()
        keys = KeyPair.from_secret(os.urandom(32))
        self.key = DerpKey(keys.public)
        self.connection = RelayConnection(region, keys, self, DialOptions(), tasks)
        self.connection.start()

    def relay_packet(self, relay: RelayConnection, source: DerpKey, packet: memoryview) -> None:
        self.packets.append((bytes(source), bytes(packet)))
        self._reported.set()

    def relay_read_done(self, relay: RelayConnection) -> None:
        """Nothing is put off until the end of a read."""

    def relay_peer_gone(self, relay: RelayConnection, key: DerpKey, reason: GoneReason) -> None:
        self.gone.append((bytes(key), reason))
        self._reported.set()

    def relay_changed(self, relay: RelayConnection) -> None:
        self._reported.set()

    def relay_has_room(self, relay: RelayConnection) -> None:
        self._reported.set()

    def send(self, to: bytes, packet: bytes) -> None:
        self.connection.send(DerpKey(to), (packet,), is_control=False)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a report makes the condition true."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            self._reported.clear()
            assert self._reported.wait(deadline - time.monotonic()), self.connection.last_error

    def wait_connected(self) -> None:
        self.wait(lambda: self.connection.state is RelayState.CONNECTED)


def connected_pair(region: RelayRegion, tasks: TaskGroup) -> tuple[Client, Client]:
    alice, bob = Client(region, tasks), Client(region, tasks)
    alice.wait_connected()
    bob.wait_connected()
    return alice, bob


def mapped_region(map_path: Path) -> RelayRegion:
    return decode_derp_map(map_path.read_bytes()).regions[REGION_ID]


def test_packets_of_every_size_arrive_unchanged_both_ways(derper: RelayServer) -> None:
    sent = [os.urandom(size) for size in PACKET_SIZES_BYTES]

    with TaskGroup("test") as tasks:
        alice, bob = connected_pair(mapped_region(derper.map_path), tasks)
        for source, destination in ((alice, bob), (bob, alice)):
            for packet in sent:
                source.send(destination.key, packet)
        alice.wait(lambda: len(alice.packets) == len(sent))
        bob.wait(lambda: len(bob.packets) == len(sent))

    assert bob.packets == [(alice.key, packet) for packet in sent]
    assert alice.packets == [(bob.key, packet) for packet in sent]
    assert alice.connection.is_loopback


def test_derper_keeps_a_burst_of_as_many_frames_as_a_link_has_in_flight(
    derper: RelayServer,
) -> None:
    sent = [os.urandom(BURST_PACKET_BYTES) for _ in range(BURST)]

    with TaskGroup("test") as tasks:
        alice, bob = connected_pair(mapped_region(derper.map_path), tasks)
        for packet in sent:
            alice.send(bob.key, packet)
        bob.wait(lambda: len(bob.packets) == BURST)

    assert [packet for _, packet in bob.packets] == sent
    assert alice.connection.dropped_packets == 0


def test_a_disco_shaped_packet_to_an_unknown_key_brings_not_here(derper: RelayServer) -> None:
    absent = os.urandom(32)

    with TaskGroup("test") as tasks:
        alice, _ = connected_pair(mapped_region(derper.map_path), tasks)
        alice.send(absent, DISCO_SHAPED)
        alice.wait(lambda: bool(alice.gone))

    assert alice.gone == [(absent, GoneReason.NOT_HERE)]


def test_who_heard_from_a_key_is_told_when_it_leaves(derper: RelayServer) -> None:
    with TaskGroup("test") as tasks:
        alice, bob = connected_pair(mapped_region(derper.map_path), tasks)
        bob.send(alice.key, b"hello")
        alice.wait(lambda: bool(alice.packets))
        bob.connection.close()
        alice.wait(lambda: bool(alice.gone))

    assert alice.gone == [(bob.key, GoneReason.DISCONNECTED)]


def test_derpers_certificate_can_be_pinned_in_a_relay_url(derper_tls: RelayServer) -> None:
    pem = ssl.get_server_certificate((LOOPBACK, derper_tls.port))
    leaf = ssl.PEM_cert_to_DER_cert(pem)
    pins = [public_key_pin(leaf)[:16], public_key_pin(leaf), hashlib.sha256(leaf).digest()]

    for pin in pins:
        with TaskGroup("test") as tasks:
            region = parse_relay_url(f"{derper_tls.url}#sha256:{pin.hex()}")
            alice, _ = connected_pair(region, tasks)

            assert alice.connection.leaf_pin == public_key_pin(leaf)[:16]


def test_a_derper_with_another_certificate_than_pinned_is_refused(
    derper_tls: RelayServer, tmp_path: Path
) -> None:
    other = write_derp_map(tmp_path / "map.json", derper_tls.port, derper_tls.stun_port, "0" * 64)

    with TaskGroup("test") as tasks:
        alice = Client(mapped_region(other), tasks)
        alice.wait(lambda: alice.connection.last_error is not None)

        assert isinstance(alice.connection.last_error, RelayRefused)
        assert "has a certificate that does not match its pin" in str(alice.connection.last_error)


def test_a_derper_that_admits_nobody_refuses_our_key(derper_program: Path, tmp_path: Path) -> None:
    with (
        derper_server(derper_program, tmp_path, tls=False, flags=ADMIT_NOBODY) as derper,
        TaskGroup("test") as tasks,
    ):
        alice = Client(mapped_region(derper.map_path), tasks)
        alice.wait(lambda: alice.connection.last_error is not None)

        assert isinstance(alice.connection.last_error, RelayRefused)
        assert "refused our key" in str(alice.connection.last_error)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_connection_comes_back_after_derper_restarts(
    derper_program: Path, tmp_path: Path, tls: bool
) -> None:
    port = free_tcp_port()

    with TaskGroup("test") as tasks:
        with derper_on_port(derper_program, tmp_path, port, tls=tls) as derper:
            alice, bob = connected_pair(mapped_region(derper.map_path), tasks)
        alice.wait(lambda: alice.connection.state is RelayState.DOWN)
        bob.wait(lambda: bob.connection.state is RelayState.DOWN)
        with derper_on_port(derper_program, tmp_path, port, tls=tls):
            alice.wait_connected()
            bob.wait_connected()
            alice.send(bob.key, b"again")
            bob.wait(lambda: bool(bob.packets))

    assert bob.packets == [(alice.key, b"again")]


def test_derpers_stun_server_answers_our_binding_request(derper: RelayServer) -> None:
    transaction_id = os.urandom(12)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lane:
        lane.bind((LOOPBACK, 0))
        lane.settimeout(WAIT_S)
        lane.sendto(encode_binding_request(transaction_id), (LOOPBACK, derper.stun_port))
        response = decode_binding_response(lane.recv(2048))
        own_port = lane.getsockname()[1]

    assert response.transaction_id == transaction_id
    assert (response.address, response.port) == (LOOPBACK, own_port)
