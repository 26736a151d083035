"""DERP v2 frames: one type byte, a four-byte big-endian payload length, the payload.

    +------+-------------------+----------------------+
    | type | length (u32, BE)  | payload              |
    +------+-------------------+----------------------+

Layouts of the payloads are beside `FrameType`.  Source: tailscale derp/derp.go.  This module
knows bytes only: who may send which frame when is `tunnel.proto.relay_client.derp_client` and
`derp_relay`.
"""

from collections.abc import Iterator
from enum import IntEnum

from tunnel.errors import BadMagic, DecodeError, Truncated
from tunnel.units import KEY_SIZE, Buffer
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
MAGIC = bytes.fromhex("44455250f09f9491")  # "DERP" and U+1F511
PROTOCOL_VERSION = 2
NONCE_SIZE = 24
HEADER_SIZE = 5
MAX_PACKET_SIZE = 64 << 10  # derp.go MaxPacketSize: only the packet, without its 32-byte key
MAX_SEND_PAYLOAD = KEY_SIZE + MAX_PACKET_SIZE
MAX_CLIENT_INFO = 256 << 10
PING_SIZE = 8
MAX_PING_PAYLOAD = 1000

# Chosen: the Go client refuses frames over 1 MiB (derp_client.go); no frame of today comes near.
MAX_CLIENT_FRAME = 1 << 20
# Chosen: several of the largest frames fit, so one read can always complete a frame.
SPLITTER_BUFFER_SIZE = 256 << 10
# Chosen: a login and every small frame fit; who sends more gets a larger buffer.
FIRST_BUFFER_SIZE = 1 << 10
# Chosen: a buffer that was filled at once is the largest after four reads.
GROWTH = 4
# Chosen: so many reads in a row that a smaller buffer could have held make it smaller.
SMALL_READS = 64


class FrameType(IntEnum):
    """Frame types; the payload follows each name."""

    SERVER_KEY = 0x01  # 8 B magic, 32 B server key, further bytes ignored
    CLIENT_INFO = 0x02  # 32 B client key, 24 B nonce, box of JSON
    SERVER_INFO = 0x03  # 24 B nonce, box of JSON
    SEND_PACKET = 0x04  # 32 B destination key, packet
    RECV_PACKET = 0x05  # 32 B source key, packet
    KEEP_ALIVE = 0x06  # empty
    NOTE_PREFERRED = 0x07  # 1 B: 0 or 1
    PEER_GONE = 0x08  # 32 B key, 1 B reason (absent from old servers: disconnected)
    PEER_PRESENT = 0x09  # mesh only
    FORWARD_PACKET = 0x0A  # mesh only
    WATCH_CONNS = 0x10  # mesh only
    CLOSE_PEER = 0x11  # mesh only
    PING = 0x12  # 8 B, further bytes ignored
    PONG = 0x13  # 8 B: the payload of the ping
    HEALTH = 0x14  # UTF-8 text, empty when healthy again
    RESTARTING = 0x15  # 2 x u32 BE milliseconds: reconnect in, try for


class GoneReason(IntEnum):
    """Why a PEER_GONE was sent."""

    DISCONNECTED = 0x00
    NOT_HERE = 0x01


@frozen
class ServerKey:
    """The server's greeting: its public key (32 bytes)."""

    key: bytes


@frozen
class ClientInfo:
    """A client's login: its public key, the nonce and the sealed JSON."""

    key: bytes
    nonce: bytes
    sealed: bytes


@frozen
class ServerInfo:
    """The server's acceptance: nonce and sealed JSON."""

    nonce: bytes
    sealed: bytes


@frozen
class PeerGone:
    """A key the relay does not serve (any more).  Unknown reasons read as DISCONNECTED."""

    key: bytes
    reason: GoneReason


@frozen
class Restarting:
    """The server restarts: reconnect after `reconnect_in_s`, give up after `try_for_s`."""

    reconnect_in_s: float
    try_for_s: float


def encode_header(frame_type: int, payload_size: int) -> bytes:
    """Return the five header bytes of a frame with `payload_size` bytes of payload."""
    return bytes((frame_type,)) + payload_size.to_bytes(4, "big")


def encode_frame(frame_type: int, *payload: Buffer) -> bytes:
    """Return one whole frame; the payload parts are joined."""
    return b"".join((encode_header(frame_type, sum(map(len, payload))), *payload))


def encode_server_key(value: ServerKey) -> bytes:
    """Return a SERVER_KEY frame."""
    return encode_frame(FrameType.SERVER_KEY, MAGIC, value.key)


def decode_server_key(payload: memoryview | bytes) -> ServerKey:
    """Read a SERVER_KEY payload; raises `DecodeError`."""
    reader = Reader(payload)
    if reader.bytes(len(MAGIC)) != MAGIC:
        raise BadMagic("the greeting is not that of a DERP server")
    return ServerKey(reader.bytes(KEY_SIZE))


def encode_client_info(value: ClientInfo) -> bytes:
    """Return a CLIENT_INFO frame."""
    return encode_frame(FrameType.CLIENT_INFO, value.key, value.nonce, value.sealed)


def decode_client_info(payload: memoryview | bytes) -> ClientInfo:
    """Read a CLIENT_INFO payload of 56 to `MAX_CLIENT_INFO` bytes; raises `DecodeError`."""
    if len(payload) > MAX_CLIENT_INFO:
        raise DecodeError("client info is too long")
    reader = Reader(payload)
    return ClientInfo(reader.bytes(KEY_SIZE), reader.bytes(NONCE_SIZE), bytes(reader.rest()))


def encode_server_info(value: ServerInfo) -> bytes:
    """Return a SERVER_INFO frame."""
    return encode_frame(FrameType.SERVER_INFO, value.nonce, value.sealed)


def decode_server_info(payload: memoryview | bytes) -> ServerInfo:
    """Read a SERVER_INFO payload; raises `DecodeError`."""
    reader = Reader(payload)
    return ServerInfo(reader.bytes(NONCE_SIZE), bytes(reader.rest()))


def encode_peer_gone(value: PeerGone) -> bytes:
    """Return a PEER_GONE frame."""
    return encode_frame(FrameType.PEER_GONE, value.key, bytes((value.reason,)))


def decode_peer_gone(payload: memoryview | bytes) -> PeerGone:
    """Read a PEER_GONE payload with or without its reason; raises `DecodeError`."""
    reader = Reader(payload)
    key = reader.bytes(KEY_SIZE)
    reason = reader.uint(1) if reader.remaining else GoneReason.DISCONNECTED
    is_not_here = reason == GoneReason.NOT_HERE
    return PeerGone(key, GoneReason.NOT_HERE if is_not_here else GoneReason.DISCONNECTED)


def decode_restarting(payload: memoryview | bytes) -> Restarting:
    """Read a RESTARTING payload; raises `DecodeError`."""
    reader = Reader(payload)
    return Restarting(reader.uint_be(4) / 1000, reader.uint_be(4) / 1000)


def packet_header(frame_type: int, key: bytes, packet_size: int) -> bytes:
    """Return the 37 bytes that go before a packet in a SEND_PACKET or RECV_PACKET frame."""
    return encode_header(frame_type, KEY_SIZE + packet_size) + key


def split_packet(payload: memoryview) -> tuple[bytes, memoryview]:
    """Split a SEND_PACKET or RECV_PACKET payload into key and packet; raises `DecodeError`."""
    if len(payload) < KEY_SIZE:
        raise Truncated("a packet frame is shorter than its key")
    return bytes(payload[:KEY_SIZE]), payload[KEY_SIZE:]


class FrameSplitter:
    """Cuts a TCP byte stream into frames without copying payloads.

    A reader receives into `writable()`, reports with `wrote()` and walks `frames()`.  The views
    that `frames()` yields are valid until the next call of `writable()` or `feed()`.  The buffer
    begins small, grows with what arrives in one read and shrinks again.

    Args:
        max_payload: the largest payload accepted; a longer one raises `DecodeError`.

    Attributes:
        max_payload: may be changed between frames.
    """

    def __init__(self, max_payload: int = MAX_CLIENT_FRAME) -> None:
        self.max_payload = max_payload
        self._buffer = bytearray(FIRST_BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._is_filled = False
        self._small_reads = 0

    @property
    def capacity(self) -> int:
        """Bytes that the buffer holds of this machine's memory."""
        return len(self._buffer)

    def writable(self) -> memoryview:
        """Return room for at least one byte, and more the more came before."""
        if self._start == self._end:
            self._start = self._end = 0
            if self._small_reads >= SMALL_READS and len(self._buffer) > FIRST_BUFFER_SIZE:
                self._resize(max(len(self._buffer) // GROWTH, FIRST_BUFFER_SIZE))
        size = len(self._buffer)
        if self._is_filled and size < (largest := max(SPLITTER_BUFFER_SIZE, self._frame_size())):
            self._resize(min(GROWTH * size, largest))
        elif self._start and (
            self._end == size or self._start + (self._frame_size() or HEADER_SIZE) > size
        ):
            self._move_to_front()
        return self._view[self._end :]

    def wrote(self, size: int) -> None:
        """Note that `size` bytes were written into `writable()`."""
        self._end += size
        self._is_filled = self._end == len(self._buffer)
        self._small_reads = 0 if GROWTH * size > len(self._buffer) else self._small_reads + 1

    def feed(self, data: Buffer) -> None:
        """Append bytes that arrived elsewhere (the rest of an HTTP upgrade, or a test)."""
        view = memoryview(data)
        if self._end - self._start + len(view) > len(self._buffer):
            self._resize(self._end - self._start + len(view))
        while len(view):
            room = self.writable()
            size = min(len(room), len(view))
            room[:size] = view[:size]
            self.wrote(size)
            view = view[size:]

    def trim(self) -> None:
        """Give memory back: nothing has come for a while."""
        self._resize(max(FIRST_BUFFER_SIZE, self._end - self._start))

    def frames(self) -> Iterator[tuple[int, memoryview]]:
        """Yield (type, payload) of every complete frame; raises `DecodeError` on a long one."""
        while (size := self._frame_size()) and self._end - self._start >= size:
            start = self._start
            self._start = start + size
            yield self._buffer[start], self._view[start + HEADER_SIZE : start + size]

    def _frame_size(self) -> int:
        """Return the whole size of the frame at the front, or 0 while its header is incomplete."""
        if self._end - self._start < HEADER_SIZE:
            return 0
        length = int.from_bytes(self._view[self._start + 1 : self._start + HEADER_SIZE], "big")
        if length > self.max_payload:
            raise DecodeError(f"a frame of {length} bytes is over the limit of {self.max_payload}")
        return HEADER_SIZE + length

    def _move_to_front(self) -> None:
        pending = bytes(self._view[self._start : self._end])
        self._view[: len(pending)] = pending
        self._start, self._end = 0, len(pending)

    def _resize(self, size: int) -> None:
        """Move what is there into another buffer, since views of the old one may still be held."""
        pending = self._view[self._start : self._end]
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._view[: len(pending)] = pending
        self._start, self._end = 0, len(pending)
        self._is_filled = self._end == size
        self._small_reads = 0
