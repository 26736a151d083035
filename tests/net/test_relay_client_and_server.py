"""Our relay client through our embedded relay: plain and with TLS, map and STUN included."""

import os
from contextlib import contextmanager

import gevent
import pytest
from fake_relays import WAIT_S, Recorder, make_certificate

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.net.pins import public_key_pin
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.relay_client.proxy import ProxySettings
from tunnel.net.relay_client.regions import measure_regions
from tunnel.net.relay_client.relay_map import load_relay_map
from tunnel.net.relay_server.certificate import load_certificate
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer
from tunnel.net.tasks import TaskGroup
from tunnel.wire.derp import GoneReason
from tunnel.wire.derpmap import RelayRegion

pytestmark = pytest.mark.net

DISCO_MAGIC = bytes.fromhex("5453f09f92ac")


@contextmanager
def embedded_relay(certificate=None, host="127.0.0.1"):
    tls, cert_name = None, ""
    if certificate is not None:
        tls = load_certificate(certificate.cert_file, certificate.key_file).context
        cert_name = "sha256:" + public_key_pin(certificate.der).hex()
    keys = KeyPair.from_secret(b"\x22" * 32)
    server = RelayServer((host, 0), keys, (host, 0), tls, RelayLimits(), cert_name)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Client:
    """A relay connection with its recorder."""

    def __init__(self, server: RelayServer, secret: int, tasks: TaskGroup) -> None:
        self.keys = KeyPair.from_secret(bytes([secret]) * 32)
        self.key = DerpKey(self.keys.public)
        self.recorder = Recorder()
        region = RelayRegion(900, "own", "own", (server.node,))
        options = DialOptions()
        self.relay = RelayConnection(region, self.keys, self.recorder, options, tasks)
        self.relay.start()
        self.recorder.wait_connected(self.relay)


@pytest.fixture(params=["plain", "tls", "ipv6"])
def server(request, tmp_path):
    certificate = None
    if request.param == "tls":
        certificate = make_certificate(tmp_path)
    with embedded_relay(certificate, "::1" if request.param == "ipv6" else "127.0.0.1") as relay:
        yield relay


@pytest.fixture
def tasks():
    with TaskGroup("test") as group:
        yield group


def test_two_clients_exchange_packets_of_every_size(server, tasks):
    ann, bob = Client(server, 1, tasks), Client(server, 2, tasks)

    for size in (0, 1, 1200, 60 << 10, 64 << 10):
        ann.relay.send(bob.key, [b"a" * size], is_control=False)
        bob.recorder.wait_until(lambda: bob.recorder.packets)
        assert bob.recorder.packets.pop() == (ann.key, b"a" * size)
        bob.relay.send(ann.key, [b"b" * size], is_control=True)
        ann.recorder.wait_until(lambda: ann.recorder.packets)
        assert ann.recorder.packets.pop() == (bob.key, b"b" * size)


def test_a_small_disco_packet_to_nobody_brings_peer_gone(server, tasks):
    ann = Client(server, 1, tasks)
    nobody = DerpKey(b"\x77" * 32)

    ann.relay.send(nobody, [DISCO_MAGIC, bytes(60)], is_control=True)
    ann.recorder.wait_until(lambda: ann.recorder.gone)

    assert ann.recorder.gone == [(nobody, GoneReason.NOT_HERE)]


def test_a_client_that_leaves_is_missed_by_who_heard_from_it(server, tasks):
    ann, bob = Client(server, 1, tasks), Client(server, 2, tasks)
    ann.relay.send(bob.key, [b"hello"], is_control=False)
    bob.recorder.wait_until(lambda: bob.recorder.packets)

    ann.relay.close()
    bob.recorder.wait_until(lambda: bob.recorder.gone)

    assert bob.recorder.gone == [(ann.key, GoneReason.DISCONNECTED)]


def test_a_demand_for_a_sign_of_life_is_met(server, tasks):
    ann = Client(server, 1, tasks)
    reads = ann.recorder.reads

    ann.relay.check_alive()
    with gevent.Timeout(WAIT_S):
        while ann.recorder.reads == reads:
            gevent.sleep(0.001)

    assert ann.relay.state is RelayState.CONNECTED


def test_the_relays_own_map_leads_back_to_it(tasks, tmp_path):
    with embedded_relay() as server:
        host, port = server.address
        loaded = load_relay_map(f"http://{host}:{port}/derpmap", None, ProxySettings())

        (region,) = loaded.map.regions.values()
        assert region.nodes == (server.node,)
        latencies = measure_regions(loaded.map, os.urandom, 2.0, ProxySettings())
        assert [entry.region_id for entry in latencies] == [region.id]


def test_a_relay_that_comes_back_is_found_again(tasks):
    with embedded_relay() as first:
        ann = Client(first, 1, tasks)
        port = first.address[1]
    ann.recorder.wait_until(lambda: ann.relay.state is RelayState.DOWN)

    keys = KeyPair.from_secret(b"\x22" * 32)
    second = RelayServer(("127.0.0.1", port), keys, None, None, RelayLimits())
    second.start()
    try:
        ann.recorder.wait_connected(ann.relay)
    finally:
        second.stop()
