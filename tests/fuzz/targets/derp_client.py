# Invariant: bytes of a relay become events, or end the connection with a RelayError fit for a person.
from collections.abc import Iterator

from fuzzing import Feed, chunk

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.errors import RelayError
from tunnel.proto.relay_client.derp_client import ClientState, Connected, DerpClient, HealthChanged
from tunnel.units import Instant
from tunnel.wire import derp
from tunnel.wire.derp import FrameType

ALLOCATION = 16 << 20
MAX_STEPS = 200
OURS = KeyPair.from_secret(b"\x11" * 32)
SERVER = KeyPair.from_secret(b"\x22" * 32)
BYTES, FRAME, GREET, ACCEPT, TICK, AWAIT = range(6)


def run(data: bytes) -> None:
    feed, now = Feed(data), 1000.0
    client = DerpClient(OURS, bytes, Instant(now), Instant(now + 10))
    for _ in range(MAX_STEPS):
        if not feed:
            return
        kind = feed.uint(1) % 6
        try:
            if kind == TICK:
                now += feed.uint(2) / 100
                client.handle_timeout(Instant(now))
                assert client.next_timeout() > now
            elif kind == AWAIT:
                client.set_awaited(Instant(now), is_awaited=bool(feed.uint(1) & 1))
                client.demand_answer(Instant(now))
            else:
                receive(client, Instant(now), said(kind, feed))
        except RelayError as error:
            assert str(error).isprintable()
            return
        frames = client.frames_to_send()
        assert len(frames) <= 1 + len(data) // derp.HEADER_SIZE


def said(kind: int, feed: Feed) -> bytes:
    """Return what the relay says."""
    if kind == BYTES:
        return feed.chunk()
    if kind == FRAME:
        return derp.encode_frame(feed.uint(1), feed.chunk())
    if kind == GREET:
        return derp.encode_server_key(derp.ServerKey(SERVER.public))
    sealed = box.seal(SERVER, OURS.public, bytes(24), feed.chunk())
    return derp.encode_server_info(derp.ServerInfo(bytes(24), sealed))


def receive(client: DerpClient, now: Instant, data: bytes) -> None:
    while data:
        room = client.writable()
        assert len(room)
        size = min(len(room), len(data))
        room[:size] = data[:size]
        data = data[size:]
        for event in client.received(now, size):
            if isinstance(event, HealthChanged):
                assert event.text.isprintable()
            elif isinstance(event, Connected) and event.limit is not None:
                assert event.limit.rate > 0
                assert event.limit.burst > 0
            assert client.state is ClientState.CONNECTED


def seeds() -> Iterator[bytes]:
    limit = b'{"version":2,"TokenBucketBytesPerSecond":1000,"TokenBucketBytesBurst":2000}'
    up = bytes((GREET, ACCEPT)) + chunk(limit)
    yield up + bytes((FRAME, FrameType.RECV_PACKET)) + chunk(bytes(40)) + bytes((TICK, 0, 8))
    yield up + bytes((AWAIT, 1, TICK, 0, 2, FRAME, FrameType.PING)) + chunk(b"12345678")
    yield bytes((GREET, ACCEPT)) + chunk(b"[]")
    yield bytes((BYTES,)) + chunk(b"HTTP/1.1 400 Bad Request\r\n")
    for kind in FrameType:
        yield up + bytes((FRAME, kind)) + chunk(bytes(41))
