# Invariant: decode_frames gives frames that encode and decode to themselves, or a DecodeError.
from collections.abc import Iterator
from contextlib import suppress

from tunnel.errors import DecodeError
from tunnel.wire import frames as wire


def cost(data: bytes) -> None:
    with suppress(DecodeError):
        wire.decode_frames(data)


def run(data: bytes) -> None:
    try:
        frames = wire.decode_frames(data)
    except DecodeError:
        return
    for frame in frames:
        packed = wire.encode(frame)
        (again,) = wire.decode_frames(packed)
        assert wire.encode(again) == packed
        if isinstance(frame, wire.Ack):
            assert 1 <= len(frame.ranges) <= wire.MAX_ACK_RANGES + 1
            edges = [edge for first, last in frame.ranges for edge in (last, first)]
            assert edges == sorted(edges, reverse=True)
            assert edges[-1] >= 0
            assert again == frame
        elif isinstance(frame, wire.Close):
            assert len(frame.text.encode()) <= 3 * 255
        else:
            assert again == frame


def all_frames() -> list[wire.Frame]:
    """One frame of every type."""
    return [
        wire.Ping(),
        wire.Ack(0, 24, 1000, ((90, 99), (50, 60), (0, 0))),
        wire.Challenge(b"12345678"),
        wire.Answer(b"12345678", "192.0.2.7", 4000),
        wire.Candidates((wire.Candidate(1, "2001:db8::7", 1), wire.Candidate(2, "10.0.0.1", 2))),
        wire.ReceiveBuffer(212_992),
        wire.StreamData(2, 4096, b"some bytes", True),
        wire.Reset(2, 4106, 7),
        wire.Stop(4, 8),
        wire.Credit(0, 1 << 20, 0),
        wire.Recall(0, 1 << 14, 1),
        wire.Return(0, 1 << 15, 1),
        wire.Rekey(bytes(range(32))),
        wire.RekeyAnswer(bytes(range(32))),
        wire.Datagram(4, 7, 0, 8, b"datagram"),
        wire.Datagram(6, 8, 1000, 1003, b"end"),
        wire.Close(3, "replaced"),
    ]


def seeds() -> Iterator[bytes]:
    for frame in all_frames():
        yield wire.encode(frame)
    yield bytes(8) + b"".join(map(wire.encode, all_frames()))
