"""The hot path alone: seal, open and parse bursts of 45 datagrams of 1400 bytes, both ends."""

import os
import time

from figure import Figure

from tunnel.crypto.aead import AEGIS_256, CHACHA20_POLY1305, Aead
from tunnel.crypto.packets import BurstBuffer, OpenedBulk, PacketOpener, PacketSealer
from tunnel.wire.packet import bulk_capacity

DATAGRAM_SIZE = 1400
BURST = 45


def run(rounds: int, is_quick: bool) -> list[Figure]:
    bursts = 50 if is_quick else 1000
    figures = []
    for aead, must in ((AEGIS_256, 4.0), (CHACHA20_POLY1305, None)):
        samples = [both_ends_us(aead, bursts) for _ in range(rounds)]
        what = f"seal + open + parse, {DATAGRAM_SIZE} B datagram, {aead.id.name}"
        figures.append(Figure(what, "us", samples, must=must, is_upper_bound=True))
    return figures


def both_ends_us(aead: Aead, bursts: int) -> float:
    """Return microseconds a datagram for the sender's and the receiver's work together."""
    key = os.urandom(32)
    sealer, opener = PacketSealer(aead, key, 7), PacketOpener(aead, key)
    size = bulk_capacity(DATAGRAM_SIZE, aead.tag_size)
    sent, received = (BurstBuffer(size, aead.tag_size, BURST) for _ in range(2))
    data = memoryview(os.urandom(size * BURST))
    busy = 0.0
    for burst in range(bursts):
        started = time.perf_counter()
        sealer.seal_burst(sent, 1, 2, burst * len(data), data)
        sealed = time.perf_counter()
        received.data[:] = sent.data  # the network
        arrived = time.perf_counter()
        (opened,) = opener.open_burst(received, len(received.data))
        opener.mark(opened)
        busy += time.perf_counter() - arrived + sealed - started
        assert isinstance(opened, OpenedBulk)
        assert opened.count == BURST
        assert opened.offset == burst * len(data)
    assert bytes(opened.data) == bytes(data)
    return busy / bursts / BURST * 1e6
