"""Sealing and opening packets: headers, nonces, keys and replay windows in one place.

A `PacketSealer` owns one counter per path, so no caller ever passes a number or a nonce and none
can be used twice under a key.  Nonce = path id (4 bytes) then number (8 bytes), little-endian,
zero-padded to the AEAD's 12 or 32 bytes.  Numbers go on counting across key phases.

The burst functions are the hot path of direct UDP: many equal datagrams in one buffer, whose
headers and nonces are strided stores and whose pointers are made once.  They know nothing about
loss, rate or streams.  Layout: docs/protocol.md, sections "Packets" and "Keys of a link".
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tunnel.crypto.aead import NULL, Aead, from_buffer, new_key
from tunnel.crypto.replay import ReplayWindow
from tunnel.units import Buffer
from tunnel.wire import packet as wire

# Chosen: 45 datagrams of 1400 bytes are the most one GSO call may carry (64000 bytes).
MAX_BURST = 64
# Chosen: paths of one peer whose replay windows are kept; the one unused for longest goes.
MAX_RECEIVE_PATHS = 64

# Chosen: so few headers are stored one by one; for more a strided store costs less.
FEW = 4

_NONCE = struct.Struct("<IQ")
_IS_LITTLE_ENDIAN = sys.byteorder == "little"
_LOW = 0xFFFFFFFF
_PATH_IDS = 1 << 16  # as many as the field of the header tells apart


@dataclass(slots=True)
class OpenedGeneral:
    """An authentic general packet."""

    path: int
    number: int
    frames: bytearray
    phase: int = 0


@dataclass(slots=True)
class OpenedBulk:
    """Authentic bulk packets with consecutive numbers (first .. first+count-1) and offsets."""

    path: int
    first: int
    count: int
    stream: int
    offset: int
    data: memoryview
    phase: int = 0


class BurstBuffer:
    """Memory for a burst of equal bulk datagrams, with every pointer made once.

    One store with a stride writes one field of all headers, or of all nonces:

        words          0      1      2      3      4 .. stride-1        stride ...
        (64 bits)   | type | number | stream | offset | payload, tag | type | number | ...
                    |phase |                                         : the next datagram
                    |path  |
                    |index |

        nonce_words    0      1      2      3 .. 7        8 ...
        (32 bits)   | path | number       | zeros      | path | number ...
                           | low  | high  |            : the next datagram's

    Args:
        payload_size: stream bytes a datagram, a multiple of 8.
        tag_size: of the AEAD.
        slots: datagrams at most, 1 to MAX_BURST.
        memory: what to lie over, such as a receive buffer; new memory unless given.  Its size is a
            multiple of 8 and holds all slots.
    """

    def __init__(
        self, payload_size: int, tag_size: int, slots: int, memory: bytearray | None = None
    ) -> None:
        if payload_size % wire.BULK_ALIGNMENT or not 1 <= slots <= MAX_BURST:
            raise ValueError("a burst of aligned payloads in 1 to 64 slots")
        self.payload_size = payload_size
        self.datagram_size = wire.BULK_HEADER_SIZE + payload_size + tag_size
        self.slots = slots
        self.data = bytearray(self.datagram_size * slots) if memory is None else memory
        if len(self.data) < self.datagram_size * slots:
            raise ValueError("the memory of a burst is too small")
        self.nonces = bytearray(32 * slots)
        self._memory = from_buffer(self.data)  # keeps both alive and unresizable
        self._nonce_memory = from_buffer(self.nonces)
        size = self.datagram_size
        base = from_buffer("unsigned char[]", self.data)
        nonce_base = from_buffer("unsigned char[]", self.nonces)
        self.headers = [base + i * size for i in range(slots)]
        self.bodies = [header + wire.BULK_HEADER_SIZE for header in self.headers]
        self.nonce_pointers = [nonce_base + 32 * i for i in range(slots)]
        self.words = memoryview(self.data).cast("Q")
        self.nonce_words = memoryview(self.nonces).cast("I")
        self.stride = size // 8

    def store_nonces(self, path: int, first: int, count: int) -> None:
        """Write the nonces of numbers first .. first+count-1 of `path`."""
        low, high = first & _LOW, first >> 32
        # A burst crosses 2^32 once in four billion packets.
        if count <= FEW or low + count > _LOW or not _IS_LITTLE_ENDIAN:
            for i in range(count):
                _NONCE.pack_into(self.nonces, 32 * i, path, first + i)
            return
        words, end = self.nonce_words, 8 * count
        words[0:end:8] = memoryview(array("I", (path,)) * count)
        words[1:end:8] = memoryview(array("I", range(low, low + count)))
        words[2:end:8] = memoryview(array("I", (high,)) * count)


class PacketSealer:
    """Seals one direction of a link.

    Args:
        aead: the AEAD both sides agreed on.
        key: the traffic key of phase 0.
        link_index: the receiver's index of this link.
    """

    def __init__(self, aead: Aead, key: bytes, link_index: int) -> None:
        self._aead = aead
        self._key: Any = new_key(key)
        self._phase = 0
        self._link_index = link_index
        self._next_number: dict[int, int] = {}
        self._padding = bytes(aead.nonce_size - _NONCE.size)

    @property
    def tag_size(self) -> int:
        """Bytes the seal adds."""
        return self._aead.tag_size

    def start_phase(self, key: bytes) -> None:
        """Seal with `key` from the next packet on, in the next key phase."""
        self._key = new_key(key)
        self._phase = (self._phase + 1) & 0xFF

    def seal_general(self, path: int, frames: bytes | bytearray) -> tuple[int, bytearray]:
        """Return number and packet of `frames`."""
        number = self._take_numbers(path, 1)
        header = wire.encode_general_header(self._phase, path, self._link_index, number)
        return number, self._seal(header, path, number, frames)

    def seal_bulk(self, path: int, stream: int, offset: int, data: Buffer) -> tuple[int, bytearray]:
        """Return number and packet of `data`, whose size is a multiple of 8."""
        number = self._take_numbers(path, 1)
        header = wire.encode_bulk_header(
            self._phase, path, self._link_index, number, stream, offset
        )
        return number, self._seal(header, path, number, data)

    def seal_burst(
        self, burst: BurstBuffer, path: int, stream: int, offset: int, data: memoryview
    ) -> tuple[int, int]:
        """Seal `data` into the front of `burst`; returns (first number, datagrams).

        The size of `data` is a whole number of `burst.payload_size`, at most `burst.slots` times.
        """
        size = burst.payload_size
        count = len(data) // size
        first = self._take_numbers(path, count)
        self._store_headers(burst, path, stream, offset, first, count)
        burst.store_nonces(path, first, count)
        seal, key = self._aead.seal, self._key
        memory = from_buffer("unsigned char[]", data)
        header_size = wire.BULK_HEADER_SIZE
        position = 0
        for body, header, nonce in zip(
            burst.bodies[:count], burst.headers, burst.nonce_pointers, strict=False
        ):
            seal(body, NULL, memory + position, size, header, header_size, NULL, nonce, key)
            position += size
        return first, count

    def _store_headers(
        self, burst: BurstBuffer, path: int, stream: int, offset: int, first: int, count: int
    ) -> None:
        size = burst.payload_size
        if count <= FEW or not _IS_LITTLE_ENDIAN:
            for i in range(count):
                wire.store_bulk_header(
                    burst.data, i * burst.datagram_size,
                    self._phase, path, self._link_index, first + i, stream, offset + i * size,
                )  # fmt: skip
            return
        word = wire.first_word(wire.BULK, self._phase, path, self._link_index)
        words, stride = burst.words, burst.stride
        end = count * stride
        words[0:end:stride] = memoryview(array("Q", (word,)) * count)
        words[1:end:stride] = memoryview(array("Q", range(first, first + count)))
        words[2:end:stride] = memoryview(array("Q", (stream,)) * count)
        words[3:end:stride] = memoryview(array("Q", range(offset, offset + count * size, size)))

    def _seal(self, header: bytes, path: int, number: int, data: Buffer) -> bytearray:
        aead = self._aead
        size, header_size = len(data), len(header)
        packet = bytearray(header_size + size + aead.tag_size)
        packet[:header_size] = header
        memory = from_buffer("unsigned char[]", packet)
        source = from_buffer("unsigned char[]", data)
        nonce = _NONCE.pack(path, number) + self._padding
        aead.seal(
            memory + header_size, NULL, source, size, header, header_size, NULL, nonce, self._key
        )
        return packet

    def _take_numbers(self, path: int, count: int) -> int:
        number = self._next_number.get(path, 0)
        if number + count > wire.MAX_NUMBER:
            raise OverflowError("the packet numbers of a path are used up")
        self._next_number[path] = number + count
        return number


class PacketOpener:
    """Opens one direction of a link: authenticates, and keeps the replay windows.

    Opening changes nothing.  Whoever takes a packet marks it, before another one is opened: what
    was authentic and came by a way that it may not come by can still come by its own.

    Args:
        aead: the AEAD both sides agreed on.
        key: the traffic key of phase 0.
    """

    def __init__(self, aead: Aead, key: bytes) -> None:
        self._aead = aead
        self._key_by_phase: dict[int, Any] = {0: new_key(key)}
        self._windows: dict[int, ReplayWindow] = {}
        self._padding = bytes(aead.nonce_size - _NONCE.size)
        self._closed = bytearray()  # a bit for each path that was forgotten, once there is one
        self.newest_phase = 0

    @property
    def tag_size(self) -> int:
        """Bytes the seal adds."""
        return self._aead.tag_size

    def add_phase(self, phase: int, key: bytes) -> None:
        """Accept packets of key phase `phase` (u8) too."""
        self._key_by_phase[phase] = new_key(key)

    def drop_phase(self, phase: int) -> None:
        """Accept packets of key phase `phase` no more."""
        self._key_by_phase.pop(phase, None)

    def open(self, data: memoryview) -> OpenedGeneral | OpenedBulk | None:
        """Return an authentic and fresh packet, or None; call `mark` if it is taken."""
        if len(data) < wire.GENERAL_HEADER_SIZE + self._aead.tag_size:
            return None
        kind, phase, path, _, number = wire.decode_general_header(data)
        header_size = wire.GENERAL_HEADER_SIZE if kind == wire.GENERAL else wire.BULK_HEADER_SIZE
        key = self._key_by_phase.get(phase)
        if key is None or kind not in (wire.GENERAL, wire.BULK) or not self._is_open(path):
            return None
        window = self._windows.get(path)
        if number >= wire.MAX_NUMBER or (window is not None and not window.is_fresh(number)):
            return None
        plaintext = self._open(data, header_size, path, number, key)
        if plaintext is None:
            return None
        if kind == wire.GENERAL:
            return OpenedGeneral(path, number, plaintext, phase)
        stream, offset = wire.decode_bulk_fields(data)
        return OpenedBulk(path, number, 1, stream, offset, memoryview(plaintext), phase)

    def open_burst(self, burst: BurstBuffer, size: int) -> Iterator[OpenedGeneral | OpenedBulk]:
        """Open the datagrams that fill the first `size` bytes of `burst`, all but the last equal.

        A run of one stream is decrypted straight into one buffer; a single one, and a run with as
        little as one forged datagram, is opened datagram by datagram.  Mark each before the next:
        the same datagram may be in there twice.
        """
        step = burst.datagram_size
        view = memoryview(burst.data)
        for start, stop in _runs(burst, size // step):
            run = self._open_run(burst, start, stop - start) if stop - start > 1 else None
            if run is not None:
                yield run
                continue
            for position in range(start * step, stop * step, step):
                packet = self.open(view[position : position + step])
                if packet is not None:
                    yield packet
        if size % step:
            packet = self.open(view[size - size % step : size])
            if packet is not None:
                yield packet

    def mark(self, opened: OpenedGeneral | OpenedBulk) -> None:
        """Note that a packet, or a run of them, was taken: none of its numbers opens again."""
        path, phase = opened.path, opened.phase
        if isinstance(opened, OpenedBulk):
            first, count = opened.first, opened.count
        else:
            first, count = opened.number, 1
        window = self._windows.pop(path, None) or ReplayWindow()
        self._windows[path] = window  # the last one used comes last
        if len(self._windows) > MAX_RECEIVE_PATHS:
            self._forget_a_path()
        if first > window.highest:
            window.mark_run(first, count)
        else:
            window.mark(first)
        self.newest_phase = phase if self._is_newer(phase) else self.newest_phase

    def _open_run(self, burst: BurstBuffer, start: int, count: int) -> OpenedBulk | None:
        """Open a run of `count` datagrams if it is fresh and authentic; else change nothing."""
        position = start * burst.stride
        word, first, stream, offset = burst.words[position : position + 4].tolist()
        kind, phase, path = word & 0xFF, word >> 8 & 0xFF, word >> 16 & 0xFFFF
        key = self._key_by_phase.get(phase)
        size = burst.payload_size
        is_possible = kind == wire.BULK and key is not None and self._is_open(path)
        if not is_possible or first + count > wire.MAX_NUMBER:
            return None
        window = self._windows.get(path)
        if window is not None and not window.is_fresh_run(first, count):
            return None
        burst.store_nonces(path, first, count)
        plaintext = bytearray(count * size)
        memory = from_buffer("unsigned char[]", plaintext)
        open_, sealed_size = self._aead.open, size + self._aead.tag_size
        header_size = wire.BULK_HEADER_SIZE
        failed = position = 0
        stop = start + count
        for body, header, nonce in zip(
            burst.bodies[start:stop], burst.headers[start:stop], burst.nonce_pointers, strict=False
        ):
            failed |= open_(
                memory + position, NULL, NULL, body, sealed_size, header, header_size, nonce, key
            )
            position += size
        if failed:
            return None
        return OpenedBulk(path, first, count, stream, offset, memoryview(plaintext), phase)

    def _open(
        self, data: memoryview, header_size: int, path: int, number: int, key: Any
    ) -> bytearray | None:
        aead = self._aead
        sealed_size = len(data) - header_size
        size = sealed_size - aead.tag_size
        if size < 0:
            return None
        plaintext = bytearray(size)
        memory = from_buffer("unsigned char[]", data)
        out = from_buffer("unsigned char[]", plaintext)
        nonce = _NONCE.pack(path, number) + self._padding
        code = aead.open(
            out, NULL, NULL, memory + header_size, sealed_size, memory, header_size, nonce, key
        )
        return plaintext if code == 0 else None

    def _is_newer(self, phase: int) -> bool:
        return 0 < (phase - self.newest_phase) & 0xFF < 0x80

    def _is_open(self, path: int) -> bool:
        return not self._closed or not self._closed[path >> 3] >> (path & 7) & 1

    def _forget_a_path(self) -> None:
        # The one unused for longest: the peer uses few at a time, and ids that others made it use
        # up must not cost those.  Packets could be replayed once the window is gone, so the path
        # never opens again; the peer uses no id for two paths.
        oldest = next(path for path in self._windows if path != wire.RELAY_PATH)
        del self._windows[oldest]
        if not self._closed:
            self._closed = bytearray(_PATH_IDS // 8)
        self._closed[oldest >> 3] |= 1 << (oldest & 7)


def _runs(burst: BurstBuffer, count: int) -> list[tuple[int, int]]:
    """Return (start, stop) of runs among `count` datagrams: one stream's bytes, one after another.

    Nothing of it is authenticated yet.
    """
    if count < 2 or not _IS_LITTLE_ENDIAN:
        return [(i, i + 1) for i in range(count)]
    end, stride, size = count * burst.stride, burst.stride, burst.payload_size
    kinds, numbers, streams, offsets = (
        burst.words[field:end:stride].tolist() for field in range(4)
    )
    first, offset = numbers[0], offsets[0]
    if (
        numbers == list(range(first, first + count))
        and offsets == list(range(offset, offset + count * size, size))
        and kinds == [kinds[0]] * count
        and streams == [streams[0]] * count
    ):
        return [(0, count)]
    cuts = [
        i
        for i in range(1, count)
        if numbers[i] != numbers[i - 1] + 1
        or offsets[i] != offsets[i - 1] + size
        or kinds[i] != kinds[i - 1]
        or streams[i] != streams[i - 1]
    ]
    return list(pairwise([0, *cuts, count]))


assert memoryview(b"\0" * 8).cast("Q").itemsize == 8  # the strided stores rely on it
assert array("I").itemsize == 4  # likewise
