"""The frames of general packets: one type byte each, then fixed little-endian fields.

    0x00 PADDING        nothing; a run of zero bytes
    0x01 PING           nothing
    0x02 ACK            path u16, relay grant u8, more ranges u8, delay u32 (microseconds),
                        largest u64, length u32, then for each further range gap u32, length u32
    0x03 CHALLENGE      token 8
    0x04 ANSWER         token 8, address of the challenge as seen: ip 16, port u16
    0x05 CANDIDATES     count u8, each kind u8, ip 16, port u16
    0x06 RECEIVE_BUFFER size u32
    0x08 STREAM         stream u64, offset u64, flags u8 (1: the stream ends here), size u16, bytes
    0x09 RESET          stream u64, final size u64, code u32
    0x0a STOP           stream u64, code u32
    0x0b CREDIT         stream u64, limit u64, recalls u32
    0x0c RECALL         stream u64, limit u64, recalls u32
    0x0d RETURN         stream u64, limit u64, recalls u32
    0x10 REKEY          ephemeral key 32
    0x11 REKEY_ANSWER   ephemeral key 32
    0x12 DATAGRAM       flow u64, number u32, offset u16, whole size u16, size u16, bytes
    0x13 CLOSE          code u16, size u8, UTF-8 text

Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.  Ack ranges go downwards: the first covers `length`
numbers that end at `largest`; `gap` (>= 1) numbers are missing before the next one, of `length`
(>= 1) numbers.  A datagram that does not fit its packet comes in several frames of one number, each
but the last of MIN_PIECE bytes at least.  An unknown type cannot be skipped and makes the packet
undecodable.
Layout: docs/protocol.md, section "Frames".
"""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from tunnel.errors import DecodeError
from tunnel.units import Buffer
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
# More frames than this cost their reader more time than any packet is worth; no sender of stream
# bytes comes near, since the smallest useful stream frame has 21 bytes.
MAX_FRAMES = 4096
MAX_ACK_RANGES = 64
MAX_CANDIDATES = 32
MAX_CLOSE_TEXT = 200
MAX_STREAM_FRAME = 0xFFFF
MAX_OFFSET = (1 << 62) - 1
TOKEN_SIZE = 8
STREAM_HEADER_SIZE = 20  # with the type byte
STREAM_ENDS = 1
MAX_DATAGRAM = 65507  # bytes that UDP over IPv4 carries at most
MIN_PIECE = 512  # of a datagram, but for the last one: so a datagram has 128 pieces at most

PADDING = b"\0"

_PADDING, _PING, _ACK, _CHALLENGE, _ANSWER, _CANDIDATES, _RECEIVE_BUFFER = range(7)
_STREAM, _RESET, _STOP, _CREDIT, _RECALL, _RETURN = range(8, 14)
_REKEY, _REKEY_ANSWER, _DATAGRAM, _CLOSE = range(0x10, 0x14)
_STREAM_HEADER = struct.Struct("<BQQBH")
_ACK_HEADER = struct.Struct("<BHBBIQI")
_ACK_RANGE = struct.Struct("<II")
_DATAGRAM_HEADER = struct.Struct("<BQIHHH")
DATAGRAM_HEADER_SIZE = _DATAGRAM_HEADER.size
_DATAGRAM_FIELDS = struct.Struct("<QIHHH")
_STREAM_FIELDS, _ACK_FIELDS = struct.Struct("<QQBH"), struct.Struct("<HBBIQI")  # type byte read
_MAX_U32 = MAX_RECEIVE_BUFFER = 0xFFFFFFFF
MAX_ACK_SIZE = _ACK_HEADER.size + MAX_ACK_RANGES * _ACK_RANGE.size


@frozen
class Ping:
    """Asks for an acknowledgement and nothing else."""


@frozen
class Ack:
    """Numbers of one of the receiver's paths that arrived.

    Args:
        path: the path id of the side that is being answered.
        relay_grant: ack-eliciting relay frames it may have in flight; 0 leaves it as it was.
        delay_us: microseconds between the arrival of the largest number and this frame.
        ranges: (first, last) inclusive, highest first, disjoint and not touching, 1 to 65.
    """

    path: int
    relay_grant: int
    delay_us: int
    ranges: tuple[tuple[int, int], ...]


@frozen
class Challenge:
    """Asks the other side to prove that it receives on this path."""

    token: bytes


@frozen
class Answer:
    """Answers a challenge and tells the address it came from."""

    token: bytes
    ip: str
    port: int


@frozen
class Candidate:
    """An address at which the sender may be reached."""

    kind: int
    ip: str
    port: int


@frozen
class Candidates:
    """Addresses to probe at once: DERP's call-me-maybe, inside the seal."""

    candidates: tuple[Candidate, ...]


@frozen
class ReceiveBuffer:
    """How many bytes of datagrams may wait for the sender of this frame, at each of its lanes."""

    size: int


@frozen
class StreamData:
    """Stream bytes; an empty one opens a stream or ends it."""

    stream: int
    offset: int
    data: memoryview | bytes | bytearray
    is_end: bool


@frozen
class Reset:
    """The sender will send no more of this stream and never ends it cleanly."""

    stream: int
    final_size: int
    code: int


@frozen
class Stop:
    """The receiver wants no more of this stream."""

    stream: int
    code: int


@frozen
class Credit:
    """The stream's sender may send up to offset `limit`; a lower one than before says nothing.

    Args:
        stream: the stream's id.
        limit: one past the last byte that may be sent.
        recalls: how often credit of this stream was recalled before.
    """

    stream: int
    limit: int
    recalls: int


@frozen
class Recall:
    """Asks the stream's sender to give back unused credit above `limit`.

    Args:
        stream: the stream's id.
        limit: what it may keep in any case.
        recalls: the count of recalls of this stream, this one included.
    """

    stream: int
    limit: int
    recalls: int


@frozen
class Return:
    """Answers a recall: the sender keeps to `limit` until it gets new credit."""

    stream: int
    limit: int
    recalls: int


@frozen
class Rekey:
    """The issuer starts the next key phase."""

    ephemeral: bytes


@frozen
class RekeyAnswer:
    """The claimer's half of the next key phase."""

    ephemeral: bytes


@frozen
class Datagram:
    """A datagram of a flow, or a piece of one.

    Args:
        flow: the stream that the flow belongs to.
        number: of the datagram; counts up, and begins again at 0 behind the largest.
        offset: where the bytes belong in it.
        whole: bytes of the whole datagram, 0 to `MAX_DATAGRAM`.
        data: the bytes.
    """

    flow: int
    number: int
    offset: int
    whole: int
    data: bytes


@frozen
class Close:
    """The sender has ended the link; nothing follows."""

    code: int
    text: str


Frame = (
    Ping | Ack | Challenge | Answer | Candidates | ReceiveBuffer | StreamData | Reset | Stop
    | Credit | Recall | Return | Rekey | RekeyAnswer | Datagram | Close
)  # fmt: skip


def _u(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def _encode_address(ip: str, port: int) -> bytes:
    packed = IPv6Address(ip if ":" in ip else f"::ffff:{ip}").packed
    return packed + _u(port, 2)


def _decode_address(reader: Reader) -> tuple[str, int]:
    address = IPv6Address(reader.bytes(16))
    mapped: IPv4Address | None = address.ipv4_mapped
    return str(mapped or address), reader.uint(2)


def encode_ack(ack: Ack) -> bytes:
    """Return an ACK frame; the oldest ranges and numbers that its fields cannot hold stay untold.

    The numbers are the other side's choice, so none of them may be too large for an answer.
    """
    first, largest = ack.ranges[0]
    first = max(first, largest - _MAX_U32 + 1)
    length = largest - first + 1
    further = []
    for start, last in ack.ranges[1 : MAX_ACK_RANGES + 1]:
        gap = first - last - 1
        if gap > _MAX_U32:
            break
        first = max(start, last - _MAX_U32 + 1)
        further.append(_ACK_RANGE.pack(gap, last - first + 1))
    head = _ACK_HEADER.pack(
        _ACK, ack.path, ack.relay_grant, len(further), ack.delay_us, largest, length
    )
    return head + b"".join(further)


def encode_stream(frame: StreamData) -> bytes:
    """Return a STREAM frame of at most MAX_STREAM_FRAME bytes of data."""
    flags = STREAM_ENDS if frame.is_end else 0
    header = _STREAM_HEADER.pack(_STREAM, frame.stream, frame.offset, flags, len(frame.data))
    return header + frame.data


def encode_datagram(frame: Datagram) -> bytes:
    """Return a DATAGRAM frame."""
    size = len(frame.data)
    header = _DATAGRAM_HEADER.pack(
        _DATAGRAM, frame.flow, frame.number, frame.offset, frame.whole, size
    )
    return header + frame.data


def encode(frame: Frame) -> bytes:
    """Return the bytes of one frame."""
    match frame:
        case StreamData():
            return encode_stream(frame)
        case Ack():
            return encode_ack(frame)
        case Ping():
            return bytes((_PING,))
        case Credit(stream, limit, recalls):
            return bytes((_CREDIT,)) + _u(stream, 8) + _u(limit, 8) + _u(recalls, 4)
        case Recall(stream, limit, recalls):
            return bytes((_RECALL,)) + _u(stream, 8) + _u(limit, 8) + _u(recalls, 4)
        case Return(stream, limit, recalls):
            return bytes((_RETURN,)) + _u(stream, 8) + _u(limit, 8) + _u(recalls, 4)
        case Challenge(token):
            return bytes((_CHALLENGE,)) + token
        case Answer(token, ip, port):
            return bytes((_ANSWER,)) + token + _encode_address(ip, port)
        case Candidates(candidates):
            entries = (_u(c.kind, 1) + _encode_address(c.ip, c.port) for c in candidates)
            return bytes((_CANDIDATES, len(candidates))) + b"".join(entries)
        case ReceiveBuffer(size):
            return bytes((_RECEIVE_BUFFER,)) + _u(size, 4)
        case Reset(stream, final_size, code):
            return bytes((_RESET,)) + _u(stream, 8) + _u(final_size, 8) + _u(code, 4)
        case Stop(stream, code):
            return bytes((_STOP,)) + _u(stream, 8) + _u(code, 4)
        case Rekey(ephemeral):
            return bytes((_REKEY,)) + ephemeral
        case RekeyAnswer(ephemeral):
            return bytes((_REKEY_ANSWER,)) + ephemeral
        case Datagram():
            return encode_datagram(frame)
        case Close(code, text):
            # Cut between characters.
            packed = text.encode(errors="replace")[:MAX_CLOSE_TEXT]
            packed_text = packed.decode(errors="ignore").encode()
            return bytes((_CLOSE,)) + _u(code, 2) + _u(len(packed_text), 1) + packed_text


def decode_frames(data: Buffer) -> list[Frame]:
    """Read all frames of a general packet; raises `DecodeError` unless every byte belongs to one.

    The data of StreamData shares the memory of `data`.
    """
    reader = Reader(data)
    frames: list[Frame] = []
    while reader.remaining:
        kind = reader.uint(1)
        if kind == _PADDING:
            reader.skip_zeros()
            continue
        if len(frames) == MAX_FRAMES:
            raise DecodeError(f"a packet of more than {MAX_FRAMES} frames")
        decoder = _DECODERS.get(kind)
        if decoder is None:
            raise DecodeError(f"unknown frame type {kind:#x}")
        frames.append(decoder(reader))
    return frames


def _decode_ack(reader: Reader) -> Ack:
    path, grant, more, delay_us, last, length = reader.fields(_ACK_FIELDS)
    if more > MAX_ACK_RANGES:
        raise DecodeError("too many ack ranges")
    ranges = []
    while True:
        first = last - length + 1
        if length < 1 or first < 0:
            raise DecodeError("an ack range is empty or below zero")
        ranges.append((first, last))
        if len(ranges) > more:
            return Ack(path, grant, delay_us, tuple(ranges))
        gap, length = reader.fields(_ACK_RANGE)
        if gap < 1:
            raise DecodeError("two ack ranges touch")
        last = first - gap - 1


def _decode_stream(reader: Reader) -> StreamData:
    stream, offset, flags, size = reader.fields(_STREAM_FIELDS)
    if offset + size > MAX_OFFSET:
        raise DecodeError("a stream offset is out of range")
    return StreamData(stream, offset, reader.view(size), bool(flags & STREAM_ENDS))


def _decode_candidates(reader: Reader) -> Candidates:
    count = reader.uint(1)
    if count > MAX_CANDIDATES:
        raise DecodeError("too many candidates")
    return Candidates(
        tuple(Candidate(reader.uint(1), *_decode_address(reader)) for _ in range(count))
    )


def _decode_datagram(reader: Reader) -> Datagram:
    flow, number, offset, whole, size = reader.fields(_DATAGRAM_FIELDS)
    end = offset + size
    is_piece = size >= MIN_PIECE or (size > 0 and end == whole)
    if whole > MAX_DATAGRAM or end > whole or not (is_piece or size == whole):
        raise DecodeError("a datagram, or a piece of one, of a size that none has")
    return Datagram(flow, number, offset, whole, reader.bytes(size))


def _decode_close(reader: Reader) -> Close:
    code, size = reader.uint(2), reader.uint(1)
    return Close(code, reader.bytes(size).decode("utf-8", "replace"))


_DECODERS: dict[int, Callable[[Reader], Frame]] = {
    _PING: lambda reader: Ping(),
    _ACK: _decode_ack,
    _CHALLENGE: lambda reader: Challenge(reader.bytes(TOKEN_SIZE)),
    _ANSWER: lambda reader: Answer(reader.bytes(TOKEN_SIZE), *_decode_address(reader)),
    _CANDIDATES: _decode_candidates,
    _RECEIVE_BUFFER: lambda reader: ReceiveBuffer(reader.uint(4)),
    _STREAM: _decode_stream,
    _RESET: lambda reader: Reset(reader.uint(8), reader.uint(8), reader.uint(4)),
    _STOP: lambda reader: Stop(reader.uint(8), reader.uint(4)),
    _CREDIT: lambda reader: Credit(reader.uint(8), reader.uint(8), reader.uint(4)),
    _RECALL: lambda reader: Recall(reader.uint(8), reader.uint(8), reader.uint(4)),
    _RETURN: lambda reader: Return(reader.uint(8), reader.uint(8), reader.uint(4)),
    _REKEY: lambda reader: Rekey(reader.bytes(32)),
    _REKEY_ANSWER: lambda reader: RekeyAnswer(reader.bytes(32)),
    _DATAGRAM: _decode_datagram,
    _CLOSE: _decode_close,
}
