# Invariant: no authentic packet of a hostile peer raises out of a link or grows it beyond its bounds.
from collections.abc import Iterator

from fuzzing import Feed
from hostile import (
    ACK,
    BULK,
    CHURN,
    DRAIN,
    FORGED,
    IPS,
    LANES,
    PROOF,
    READ,
    RELAY,
    UDP,
    WAIT,
    WRITE,
    Scene,
    chunk,
    general,
    step,
)

from tunnel.crypto.keys import KeyPair
from tunnel.wire import frames as wire

CPU_S = 2.0
ALLOCATION = 64 << 20
KEY = KeyPair.from_secret(bytes(range(40, 72)))


def run(data: bytes) -> None:
    feed = Feed(data)
    Scene(is_issuer=bool(feed.uint(1) & 1)).play(feed)


def seeds() -> Iterator[bytes]:
    drain, wait = step(DRAIN), step(WAIT, b"\x64\0")
    theirs = {0: 1, 1: 0}  # the peer's first stream, by our role
    for role, stream in theirs.items():
        opening = general(wire.Ping(), wire.StreamData(stream, 0, b"hello", False))
        more = step(BULK, bytes((stream, 5, 0, 0)), chunk(bytes(4096)))
        read = step(READ, bytes((stream, 0, 8)))
        ack = step(ACK, bytes((24, 1, 0, 0, 0)))
        end = general(wire.StreamData(stream, 4101, b"", True), wire.Stop(stream, 1))
        yield bytes((role,)) + opening + more + read + drain + ack + end + read + drain
        write = step(WRITE, bytes((1, 0, 64))) + step(WRITE, bytes((1, 0, 64)))
        yield (
            bytes((role,))
            + write
            + drain
            + ack
            + wait
            + drain
            + general(wire.Credit(1 - stream, 1 << 20, 0))
        )
        yield (
            bytes((role,))
            + write
            + drain
            + wait * 70
            + step(RELAY, b"\0")
            + step(RELAY, b"\3")
            + drain
        )
        yield bytes((role,)) + general(wire.Reset(stream, 0, 1), wire.Stop(stream, 1)) + drain
        yield bytes((role,)) + step(FORGED, b"\0", chunk(bytes(60))) + general(wire.Close(1, "bye"))
        half_hours = step(WAIT, b"\xff\xff") * 6
        for key in (bytes(32), KEY.public):
            asked = general(wire.Rekey(key), wire.RekeyAnswer(key))
            yield bytes((role,)) + asked + drain + half_hours + asked + drain
            yield bytes((role,)) + half_hours + drain + general(wire.RekeyAnswer(key)) + drain
        yield bytes((role,)) + step(CHURN, b"\x10\0") + drain + ack
        yield bytes((role,)) + step(WRITE, b"\xff\0\0") + step(WRITE, b"\xc8\0\0") + drain + ack
        challenge = datagram(0, 0, 4000, wire.Challenge(bytes(8)))
        lanes, proof, offered = (
            step(LANES, b"\2"),
            step(PROOF, b"\0"),
            wire.Candidate(1, IPS[0], 4000),
        )
        direct = lanes + general(wire.Candidates((offered,))) + drain + challenge + proof + drain
        yield bytes((role,)) + direct + write + drain + wait + drain + wait * 4 + drain
        pings = b"".join(datagram(2, path, 5000 + path, wire.Ping()) + drain for path in range(9))
        yield bytes((role,)) + direct + pings + step(LANES, b"\0") + drain + lanes + wait + drain
        ack = datagram(0, 0, 4000, wire.Ack(1, 0, 0, ((0, 0),)))
        yield bytes((role,)) + direct + write + drain + ack + drain + datagram(0, 255, 4000) + drain


def datagram(ip: int, path: int, port: int, *frames: wire.Frame) -> bytes:
    """Write the step that sends frames by UDP."""
    place = bytes((ip, path)) + port.to_bytes(2, "little")
    return step(UDP, place, chunk(b"".join(map(wire.encode, frames))))
