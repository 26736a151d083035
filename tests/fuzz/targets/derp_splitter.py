# Invariant: however a byte stream is cut, it gives the frames that are in it, or one DecodeError.
from collections.abc import Iterator

from fuzzing import Feed

from tunnel.errors import DecodeError
from tunnel.wire import derp

LIMIT = 1 << 12  # a small one, so that short inputs reach it
SIZES = (1, 2, 3, 5, 37, 1000, 1 << 20)


def frames_of(stream: bytes) -> list[tuple[int, bytes]]:
    """Cut a stream the slow and obvious way; raises `DecodeError` where the splitter must."""
    found = []
    while len(stream) >= 5:
        size = int.from_bytes(stream[1:5], "big")
        if size > LIMIT:
            raise DecodeError("too long")
        if len(stream) < 5 + size:
            break
        found.append((stream[0], stream[5 : 5 + size]))
        stream = stream[5 + size :]
    return found


def outcome(pieces: list[bytes], walks_each: bool) -> list[tuple[int, bytes]] | None:
    splitter = derp.FrameSplitter(LIMIT)
    found: list[tuple[int, bytes]] = []
    try:
        for piece in pieces:
            splitter.feed(piece)
            if walks_each:
                found += [(kind, bytes(payload)) for kind, payload in splitter.frames()]
        found += [(kind, bytes(payload)) for kind, payload in splitter.frames()]
    except DecodeError:
        return None
    return found


def run(data: bytes) -> None:
    feed = Feed(data)
    size, walks_each = SIZES[feed.uint(1) % len(SIZES)], feed.uint(1) % 2 == 0
    stream = feed.rest()
    if len(stream) // size > 2000:
        size = len(stream) // 2000
    try:
        wanted = frames_of(stream)
    except DecodeError:
        wanted = None
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert outcome(pieces, walks_each) == wanted


def seeds() -> Iterator[bytes]:
    packet = derp.encode_frame(derp.FrameType.SEND_PACKET, bytes(32), b"packet")
    ping = derp.encode_frame(derp.FrameType.PING, b"12345678")
    yield bytes((0, 0)) + ping + packet
    yield bytes((3, 1)) + packet * 8 + ping[:7]
    yield bytes((6, 0)) + derp.encode_frame(derp.FrameType.HEALTH, bytes(LIMIT)) + ping
    yield bytes((4, 0)) + ping + derp.encode_header(4, LIMIT + 1)
