"""Attacker: one who sits on the path in the lab's internet, sees every packet, and sends its own.

    host a -- ra --- wire a --- [ public: sees all frames, is 203.0.113.66 ] --- wire b --- rb -- host b

It can copy, forge and flood, from its own address or under the name of another.  It takes nothing
away: that is what wires and their blocks are for.
"""

import random
import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

from lab import Lab

# Fixed by Linux and by RFC 791 and 768.
ETH_P_ALL, ETH_P_IP = 3, 0x0800
IPPROTO_RAW = 255
IPV4_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")
# Chosen.
LAST_OCTET = 66
SEED = 66
BUFFER_SIZE = 16 << 20
CAPTURE_LIMIT_S = 20.0
BATCH = 50  # packets of a flood that leave together
BATCH_PAUSE_S = 0.01
HEADER_SIZE = 16  # what junk copies of a real packet, so that it is not dropped at first sight
MAX_JUNK = 1400


@dataclass(frozen=True, slots=True)
class Captured:
    """A UDP datagram as it crossed the internet."""

    source: tuple[str, int]
    to: tuple[str, int]
    data: bytes


class Attacker:
    """See the module docstring; a context manager."""

    def __init__(self, lab: Lab) -> None:
        self.address = f"{lab.topology.public4}.{LAST_OCTET}"
        self._lab = lab
        self._rng = random.Random(SEED)
        lab.public.ip(f"addr add {self.address}/24 dev br0")
        self._own = lab.public.udp_socket(self.address)
        with lab.public.entered():
            self._sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_RAW)
            self._sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_SIZE)

    def __enter__(self) -> "Attacker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in (self._own, self._sniffer, self._raw):
            each.close()

    # -- seeing -------------------------------------------------------------------------------

    def capture(self, each_way: int) -> tuple[list[Captured], list[Captured]]:
        """Return that many of the next datagrams between the homes: those of a, those of b."""
        with self._lab.public.entered():
            self._sniffer.bind(("porta", ETH_P_ALL))
        homes = [self._lab.router(site).public_address for site in ("a", "b")]
        found: tuple[list[Captured], list[Captured]] = ([], [])
        deadline = time.monotonic() + CAPTURE_LIMIT_S
        while min(map(len, found)) < each_way:
            assert time.monotonic() < deadline, f"only {list(map(len, found))} datagrams were seen"
            if not select.select([self._sniffer], [], [], 1.0)[0]:
                continue
            frame, (_, protocol, *_) = self._sniffer.recvfrom(1 << 16)
            packet = _parse(frame) if protocol == ETH_P_IP else None
            if packet is None or {packet.source[0], packet.to[0]} != set(homes):
                continue
            side = found[homes.index(packet.source[0])]
            if len(side) < each_way:
                side.append(packet)
        return found

    # -- sending ------------------------------------------------------------------------------

    def resend(self, packets: Iterable[Captured]) -> None:
        """Send copies to where they went, from the attacker's own address."""
        for batch in _batches(packets):
            for packet in batch:
                self._own.sendto(packet.data, packet.to)

    def impersonate(self, packets: Iterable[Captured]) -> None:
        """Send datagrams under the address of their source."""
        for batch in _batches(packets):
            for packet in batch:
                self._raw.sendto(_datagram(packet), (packet.to[0], 0))

    def forged(self, real: Captured, count: int) -> list[Captured]:
        """Return packets that begin like a real one, each with a part of it changed."""
        made = []
        for _ in range(count):
            data = bytearray(real.data)
            for _ in range(self._rng.randrange(1, 4)):
                data[self._rng.randrange(len(data))] ^= 1 + self._rng.randrange(255)
            if self._rng.random() < 0.5:  # a probe is short
                del data[HEADER_SIZE + self._rng.randrange(64) :]
            made.append(Captured(real.source, real.to, bytes(data)))
        return made

    def flood(self, targets: list[Captured], duration_s: float) -> int:
        """Send junk to where packets went, half of it under their header; returns how many."""
        count, until = 0, time.monotonic() + duration_s
        while time.monotonic() < until:
            junk = [self._junk(self._rng.choice(targets)) for _ in range(BATCH)]
            self.resend(junk[::2])
            self.impersonate(junk[1::2])
            count += len(junk)
        return count

    def _junk(self, like: Captured) -> Captured:
        head = like.data[:HEADER_SIZE] if self._rng.random() < 0.5 else b""
        body = self._rng.randbytes(self._rng.randrange(1, MAX_JUNK - HEADER_SIZE))
        return Captured(like.source, like.to, head + body)


def _batches(packets: Iterable[Captured]) -> Iterable[list[Captured]]:
    """Yield the packets at a bounded rate: what is to be tested is not the machine's speed."""
    rest = list(packets)
    for start in range(0, len(rest), BATCH):
        yield rest[start : start + BATCH]
        time.sleep(BATCH_PAUSE_S)


def _parse(frame: bytes) -> Captured | None:
    """Read an IPv4 packet; None if it is no whole UDP datagram."""
    if len(frame) < IPV4_HEADER.size + UDP_HEADER.size or frame[0] >> 4 != 4:
        return None
    start = 4 * (frame[0] & 15)
    if frame[9] != socket.IPPROTO_UDP:
        return None
    source_port, port, size, _ = UDP_HEADER.unpack_from(frame, start)
    source, to = socket.inet_ntoa(frame[12:16]), socket.inet_ntoa(frame[16:20])
    data = frame[start + UDP_HEADER.size : start + size]
    return Captured((source, source_port), (to, port), data)


def _datagram(packet: Captured) -> bytes:
    """Return a whole IPv4 packet; the kernel fills in its checksum, and UDP's may be left out."""
    size = UDP_HEADER.size + len(packet.data)
    addresses = [socket.inet_aton(packet.source[0]), socket.inet_aton(packet.to[0])]
    head = IPV4_HEADER.pack(0x45, 0, 20 + size, 0, 0, 64, socket.IPPROTO_UDP, 0, *addresses)
    return head + UDP_HEADER.pack(packet.source[1], packet.to[1], size, 0) + packet.data
