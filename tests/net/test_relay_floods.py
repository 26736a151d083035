"""Crowds of strangers at a relay process: what they cost it, and a pair that has no part in it.

Strangers and the pair come from different networks of the loopback, as senders on the internet
would.  Times have three times as long as they should, since other programs run beside; the figures
go to .build/figures.jsonl.
"""

import ssl
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from itertools import pairwise

import gevent
import pytest
from gevent import socket
from raw_derp_client import FAST_START, PATIENCE_S, UPGRADE, RawClient
from relay_process import TLS_OPTIONS, relay_process, seconds_of_a_new_pair
from support.processes import record_figure

from tunnel.proto.relay_server.connection_caps import MAX_WAIT_S
from tunnel.wire.derp import HEADER_SIZE, FrameType, packet_header

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8 and /proc of Linux"),
]

INNOCENT = "127.0.2.1"
STRANGE_NETWORKS = [f"127.0.{number}.1" for number in range(10, 30)]
PAIR_S = 0.5
LOADED = 3
CROWD = 1000
CROWD_RATE = 500  # so many a second come from twenty networks without being refused
BULK = 60 << 10
SLOW_READERS = 140
PACKET_EVERY_S = 0.02


def is_within(what, figure, limit, unit):
    """Record a figure, and tell whether it is within its limit; of times, three times as much."""
    record_figure(what, f"{figure:.2f} {unit}", f"{limit:g} {unit}")
    print(f"{what}: {figure:.2f} {unit} of {limit:g} {unit}")
    return figure <= limit * (LOADED if unit == "s" else 1)


def client_hello():
    """What a TLS client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    said = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="relay.test").do_handshake()
    return said.read()


@contextmanager
def crowd(relay, count, first_bytes=b"", slow_bytes=b""):
    """Connections of strangers that begin with some bytes and send others one a second."""
    found = []
    for number in range(count):
        sock = socket.socket()
        sock.bind((STRANGE_NETWORKS[number % len(STRANGE_NETWORKS)], 0))
        sock.connect(relay.address)
        sock.sendall(first_bytes)
        found.append(sock)
        gevent.sleep(1 / CROWD_RATE)
    trickle = gevent.spawn(send_slowly, found, slow_bytes)
    try:
        relay.await_connections(min(count, relay.most_connections))
        yield
    finally:
        trickle.kill()
        for sock in found:
            sock.close()


def send_slowly(socks, data):
    for byte in data:
        for sock in socks:
            with suppress(OSError):
                sock.sendall(bytes((byte,)))
        gevent.sleep(1.0)


class SlowReader:
    """A client that takes at most 100 KB a second of what is sent to it."""

    def __init__(self, relay, number):
        source = STRANGE_NETWORKS[number % len(STRANGE_NETWORKS)]
        self.client = RawClient(relay.address, source=source, receive_buffer=8192).connect()

    def run(self):
        while self.client.sock.recv(10_000):
            gevent.sleep(0.1)


def flood(client, readers):
    """Send packets as large as those of our links to each reader in turn."""
    packets = [
        packet_header(FrameType.SEND_PACKET, reader.client.public, BULK) + bytes(BULK)
        for reader in readers
    ]
    while True:
        for packet in packets:
            client.sock.sendall(packet)
            gevent.sleep(0)


def talk(alice, bob):
    while True:
        alice.send_packet(bob, bytes(BULK))
        gevent.sleep(PACKET_EVERY_S)


def test_slow_readers_cost_a_pair_with_empty_queues_nothing(tmp_path):
    with relay_process(tmp_path) as relay:
        alice, bob = (RawClient(relay.address, source=INNOCENT).connect() for _ in range(2))
        readers = [SlowReader(relay, number) for number in range(SLOW_READERS)]
        flooders = [RawClient(relay.address, source="127.0.30.1").connect() for _ in range(2)]
        tasks = [gevent.spawn(reader.run) for reader in readers]
        tasks += [gevent.spawn(flood, client, readers) for client in flooders]
        tasks.append(gevent.spawn(talk, alice, bob))
        arrivals, memory_mb = [time.monotonic()], [relay.memory_mb]
        while arrivals[-1] - arrivals[0] < 10.0:
            bob.packet()
            arrivals.append(time.monotonic())
            memory_mb.append(relay.memory_mb)
        alive = sum(not task.dead for task in tasks)
        gevent.killall(tasks)

    # They filled what there is, and are still there.
    assert max(memory_mb) > 150
    assert alive == len(tasks)
    assert is_within("largest gap of a pair beside slow readers", gap(arrivals), PAIR_S, "s")
    assert is_within("relay with 140 slow readers", max(memory_mb), 300, "MB")


def gap(times):
    """The longest time between two."""
    return max(later - earlier for earlier, later in pairwise(times))


PART_OF_A_LOGIN = bytes((FrameType.CLIENT_INFO,)) + (1000).to_bytes(4, "big") + bytes(900)
assert len(PART_OF_A_LOGIN) == HEADER_SIZE + 900

# What strangers say at once, and then a byte a second.
CROWDS = {
    "upgraded, no login": (False, UPGRADE, b""),
    "logins that stop": (False, FAST_START + PART_OF_A_LOGIN, b""),
    "slow logins": (False, FAST_START, PART_OF_A_LOGIN),
    "slow heads": (False, b"", UPGRADE),
    "half a ClientHello": (True, client_hello()[:100], b""),
    "TLS handshakes that stop": (True, client_hello(), b""),
}


@pytest.mark.parametrize("kind", CROWDS)
def test_a_crowd_that_finishes_nothing_costs_little_and_leaves_nothing(tmp_path, kind):
    is_tls, first_bytes, slow_bytes = CROWDS[kind]
    with relay_process(tmp_path, *(TLS_OPTIONS if is_tls else ())) as relay:
        seconds_of_a_new_pair(relay, INNOCENT, tls=is_tls)
        start = relay.memory_mb
        with crowd(relay, CROWD, first_bytes, slow_bytes):
            seconds = max(seconds_of_a_new_pair(relay, INNOCENT, tls=is_tls) for _ in range(3))
            # Those who had to wait their turn are served by and by.
            held = relay.most_memory_mb(MAX_WAIT_S)
        relay.memory_at_most(start + 12, PATIENCE_S)

    assert is_within(f"a new pair beside {CROWD}: {kind}", seconds, PAIR_S, "s")
    assert is_within(f"relay with {CROWD}: {kind}", held, 105 if is_tls else 48, "MB")


@pytest.mark.parametrize("kind", ["slow heads", "upgraded, no login", "half a ClientHello"])
def test_a_crowd_that_fills_the_relay_keeps_out_its_own_kind_only(tmp_path, kind):
    is_tls, first_bytes, slow_bytes = CROWDS[kind]
    options = TLS_OPTIONS if is_tls else ()
    with (
        relay_process(tmp_path, *options, max_clients=50) as relay,
        crowd(relay, 400, first_bytes, slow_bytes),
    ):
        seconds = max(seconds_of_a_new_pair(relay, INNOCENT, tls=is_tls) for _ in range(3))

    assert is_within(f"a new pair at a relay full of: {kind}", seconds, PAIR_S, "s")


CONNECTOR = """
import socket, struct, sys, threading, time
def run(source):
    while True:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.bind((source, 0))
            sock.connect(("127.0.0.1", int(sys.argv[1])))
            sock.settimeout(0.05)
            if sys.argv[2] == "stay":
                try:
                    sock.recv(1)
                except OSError:
                    pass
for source in sys.argv[3:]:
    threading.Thread(target=run, args=(source,), daemon=True).start()
time.sleep(3)
print("looping", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ending", ["leave", "stay"])
@pytest.mark.parametrize("networks", [1, 4])
def test_four_looping_connectors_keep_nobody_waiting(tmp_path, networks, ending):
    sources = [STRANGE_NETWORKS[number % networks] for number in range(4)]
    with relay_process(tmp_path) as relay:
        words = [sys.executable, "-c", CONNECTOR, str(relay.address[1]), ending, *sources]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as connectors:
            assert connectors.stdout.readline() == b"looping\n"
            seconds = [seconds_of_a_new_pair(relay, INNOCENT) for _ in range(3)]
            connectors.kill()

    what = f"a new pair beside four looping connectors of {networks} networks that {ending}"
    assert is_within(what, max(seconds), PAIR_S, "s")
