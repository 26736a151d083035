# Invariant: only what was sealed opens, once, as it was; anything else gives None and changes nothing.
from collections.abc import Iterator

from fuzzing import Feed, chunk

from tunnel.crypto.aead import AEGIS_256, CHACHA20_POLY1305
from tunnel.crypto.packets import (
    BurstBuffer,
    OpenedBulk,
    OpenedGeneral,
    PacketOpener,
    PacketSealer,
)

KEY = bytes(range(32))
MAX_STEPS = 100
SLOTS, PAYLOAD = 8, 64
FORGED, SEALED, BULK, CHANGED, FORGED_BURST, BURST = range(6)


class Scene:
    """A sealer, the opener of the same key, and every number that was ever opened."""

    def __init__(self, choice: int) -> None:
        self.aead = AEGIS_256 if choice & 1 else CHACHA20_POLY1305
        self.sealer = PacketSealer(self.aead, KEY, 7)
        self.opener = PacketOpener(self.aead, KEY)
        self.burst = BurstBuffer(PAYLOAD, self.aead.tag_size, SLOTS)
        self.seen: set[tuple[int, int]] = set()

    def play(self, feed: Feed) -> None:
        for _ in range(MAX_STEPS):
            if not feed:
                return
            kind, path = feed.uint(1) % 6, feed.uint(1) % 80
            self.sealer._next_number[path] = self.number(path, feed.uint(1), feed)
            self.step(kind, path, feed)

    def number(self, path: int, choice: int, feed: Feed) -> int:
        following = self.sealer._next_number.get(path, 0)
        if choice < 200:
            return following
        return max(0, following - feed.uint(2)) if choice < 230 else feed.uint(7)

    def step(self, kind: int, path: int, feed: Feed) -> None:
        if kind == FORGED:
            self.refused(feed.chunk())
        elif kind == SEALED:
            frames = feed.chunk()
            number, packet = self.sealer.seal_general(path, frames)
            opened = self.opened(packet, path, number)
            assert opened is None or (isinstance(opened, OpenedGeneral) and opened.frames == frames)
        elif kind == BULK:
            data = feed.chunk()
            number, packet = self.sealer.seal_bulk(path, 5, 8, data)
            opened = self.opened(packet, path, number)
            assert opened is None or (isinstance(opened, OpenedBulk) and opened.data == data)
        elif kind == CHANGED:
            _, packet = self.sealer.seal_general(path, feed.chunk())
            packet[feed.uint(2) % len(packet)] ^= feed.uint(1) or 1
            self.refused(bytes(packet))
        elif kind == FORGED_BURST:
            data = feed.chunk()[: len(self.burst.data)]
            self.burst.data[: len(data)] = data
            state = self.state()
            assert list(self.opener.open_burst(self.burst, len(data))) == []
            assert self.state() == state
        else:
            self.open_burst(path, 1 + feed.uint(1) % SLOTS, feed.uint(2), feed.uint(1))

    def refused(self, packet: bytes) -> None:
        state = self.state()
        assert self.opener.open(memoryview(packet)) is None
        assert self.state() == state

    def opened(
        self, packet: bytearray, path: int, number: int
    ) -> OpenedGeneral | OpenedBulk | None:
        is_repeat = (path, number) in self.seen
        opened = self.opener.open(memoryview(packet))
        if opened is not None:
            self.opener.mark(opened)
            assert not is_repeat
            self.seen.add((path, number))
        state = self.state()
        assert self.opener.open(memoryview(packet)) is None
        assert self.state() == state
        return opened

    def open_burst(self, path: int, count: int, place: int, change: int) -> None:
        data = bytes(range(256)) * 2
        first, _ = self.sealer.seal_burst(
            self.burst, path, 5, 8, memoryview(bytearray(data[: count * PAYLOAD]))
        )
        size = self.burst.datagram_size
        self.burst.data[place % (count * size)] ^= change
        changed = place % (count * size) // size if change else None
        found = []
        for packet in self.opener.open_burst(self.burst, count * size):
            self.opener.mark(packet)
            found += [
                (packet.path, packet.first + index, bytes(packet.data[index * PAYLOAD :][:PAYLOAD]))
                for index in range(packet.count)
            ]
        for found_path, number, piece in found:
            assert found_path == path
            assert number != changed or change == 0 or number - first != changed
            assert piece == data[(number - first) * PAYLOAD :][:PAYLOAD]
            assert (path, number) not in self.seen
            self.seen.add((path, number))
        assert changed is None or first + changed not in [number for _, number, _ in found]

    def state(self) -> object:
        windows = {path: (w.highest, w._seen) for path, w in self.opener._windows.items()}
        return windows, self.opener.newest_phase, bytes(self.opener._closed)


def run(data: bytes) -> None:
    feed = Feed(data)
    Scene(feed.uint(1)).play(feed)


def seeds() -> Iterator[bytes]:
    packet = bytes(PacketSealer(CHACHA20_POLY1305, bytes(32), 7).seal_general(0, b"frames")[1])
    for aead in (b"\0", b"\1"):
        yield (
            aead + bytes((FORGED, 0, 0)) + chunk(packet) + bytes((SEALED, 0, 0)) + chunk(b"frames")
        )
        yield aead + bytes((BULK, 3, 0)) + chunk(bytes(64)) + bytes((CHANGED, 3, 0)) + chunk(b"x")
        yield (
            aead
            + bytes((FORGED_BURST, 0, 0))
            + chunk(bytes(300))
            + bytes((BURST, 1, 0, 7, 0, 0, 0))
        )
        yield aead + bytes((BURST, 1, 0, 7, 50, 0, 1, BURST, 1, 0, 7, 0, 0, 0))
        yield aead + b"".join(bytes((SEALED, path, 0)) + chunk(b"x") for path in range(70))
