# Invariant: nothing that arrives raises out of a claimer, and only its issuer can link or refuse it.
from collections.abc import Iterator
from hashlib import blake2b

from fuzzing import Feed, chunk
from hostile import check_events, check_held, note

from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import PacketSealer
from tunnel.proto.link.parameters import Feature
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity, ClaimState
from tunnel.proto.meeting.handshake import IncomingClaim, Meeting, other_version
from tunnel.units import Instant, WallTime
from tunnel.wire import frames as wire
from tunnel.wire.handshake import (
    DECISION_SIZE,
    Claim,
    DecisionPayload,
    decode_message,
    is_handshake,
)

CPU_S = 1.0
ALLOCATION = 64 << 20
MAX_STEPS = 60
KINDS = 9
WALL = WallTime(0)
FORGED, DECISION, CHANGED, SEALED, STRANGER, WAIT, RELAY, GONE, OTHER_VERSION = range(KINDS)
STATIC = KeyPair.from_secret(bytes(range(32)))
ISSUER = KeyPair.from_secret(bytes(range(1, 33)))
OURS = KeyPair.from_secret(bytes(range(2, 34)))
MEETING = Meeting(NoiseKey(STATIC.public), DerpKey(ISSUER.public), DerpKey(OURS.public))
HEADER, SECRET = b"fuzzed grant".ljust(64, b"\0"), b"s" * 16


class Scene:
    """A claimer, and an issuer that answers as the input wants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._drawn = 0
        identity = ClaimerIdentity(MEETING, lambda _: HEADER, SECRET, b"i" * 16, Feature(0), 3)
        self.claimer = Claimer(
            Instant(self.now), identity, [0, 1], self.entropy, lambda _: False, note
        )
        for relay in (0, 1):
            self.claimer.handle_relay_up(Instant(self.now), relay)
        self._claim: bytes | None = None
        self._sealer: PacketSealer | None = None
        self._is_answered = False

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return blake2b(self._drawn.to_bytes(8, "little"), digest_size=size).digest()

    def play(self, feed: Feed) -> None:
        self._check()
        for _ in range(MAX_STEPS):
            if not feed:
                return
            self._step(feed.uint(1) % KINDS, feed)
            self._check()

    def _step(self, kind: int, feed: Feed) -> None:
        now = Instant(self.now)
        if kind == FORGED:
            self._deliver(feed.chunk())
        elif kind in (DECISION, CHANGED, OTHER_VERSION) and self._claim is not None:
            self._decide(feed, kind)
        elif kind == SEALED and self._sealer is not None:
            self._deliver(bytes(self._sealer.seal_general(0, feed.chunk()[:60000])[1]))
        elif kind == STRANGER:
            self.claimer.handle_packet(now, WALL, 0, DerpKey(bytes(32)), memoryview(feed.chunk()))
        elif kind == WAIT:
            self.now += feed.uint(2) / 100
        elif kind == RELAY:
            choice = feed.uint(1)
            is_up = choice & 2
            change = self.claimer.handle_relay_up if is_up else self.claimer.handle_relay_down
            change(now, choice & 1)
        elif kind == GONE:
            self.claimer.handle_peer_gone(now, feed.uint(1) & 1, DerpKey(ISSUER.public))

    def _decide(self, feed: Feed, kind: int) -> None:
        claim = decode_message(self._claim or b"")
        assert isinstance(claim, Claim)
        if kind == OTHER_VERSION:
            self._is_answered = True
            self._deliver(other_version(SECRET, claim, feed.chunk()))
            return
        incoming = IncomingClaim(STATIC, MEETING, HEADER, SECRET, claim)
        payload = DecisionPayload(feed.uint(1), feed.uint(1), feed.uint(1), bool(feed.uint(1) & 1),
                                  feed.uint(4), feed.uint(4), feed.uint(8))  # fmt: skip
        message, root = incoming.decide(payload, KeyPair.from_secret(self.entropy(32)))
        packet = bytearray(message)
        if kind == CHANGED:
            packet[feed.uint(1) % DECISION_SIZE] ^= feed.uint(1) or 1
        else:
            self._is_answered = True
            aead = AeadId(payload.aead % 2)
            if self.claimer.state is ClaimState.CLAIMING:
                self._sealer, _ = packet_keys(root, aead, True, incoming.payload.link_index)
        self._deliver(bytes(packet))

    def _deliver(self, packet: bytes) -> None:
        self.claimer.handle_packet(
            Instant(self.now), WALL, 0, DerpKey(ISSUER.public), memoryview(packet)
        )

    def _check(self) -> None:
        claimer, now = self.claimer, Instant(self.now)
        for _ in range(6):
            while packets := claimer.packets_to_send(now):
                for packet in packets:
                    if is_handshake(packet.data):
                        self._claim = bytes(packet.data)
            due = claimer.next_timeout()
            if due is None or due > self.now:
                break
            claimer.handle_timeout(now)
        else:
            raise AssertionError(f"a timer stays due: {due} at {self.now}")
        while claimer.next_event() is not None:
            pass
        assert self._is_answered or claimer.state is ClaimState.CLAIMING
        if claimer.link is not None:
            check_held(claimer.link)
            check_events(claimer.link)


def run(data: bytes) -> None:
    Scene().play(Feed(data))


def decision(kind: int, verdict: int, aead: int) -> bytes:
    return bytes((kind, verdict, aead, 24, 0)) + bytes(4) + b"\7\0\0\0" + bytes(8)


def seeds() -> Iterator[bytes]:
    ping = bytes((SEALED,)) + chunk(wire.encode(wire.Ping()))
    data = bytes((SEALED,)) + chunk(wire.encode(wire.StreamData(1, 0, b"hello", False)))
    wait = bytes((WAIT, 0x90, 1))
    yield decision(DECISION, 0, 1) + ping + data
    yield decision(DECISION, 0, 0) + ping + bytes((RELAY, 0)) + bytes((RELAY, 2)) + data
    yield decision(DECISION, 1, 0)
    yield bytes((OTHER_VERSION,)) + chunk(b"fuzzed 2.0")
    yield decision(DECISION, 0, 9) + wait + decision(DECISION, 0, 1) + wait + wait
    yield decision(CHANGED, 0, 0) + bytes((50, 1)) + bytes((GONE, 0, GONE, 1))
    yield bytes((FORGED,)) + chunk(bytes(120)) + bytes((STRANGER,)) + chunk(bytes(40))
