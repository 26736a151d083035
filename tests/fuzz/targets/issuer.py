# Invariant: nothing that arrives raises out of an issuer, takes a place it has not, or grows it.
from collections.abc import Iterator
from hashlib import blake2b

from fuzzing import Feed, chunk
from hostile import check_events, check_held, note

from derphole.token.admission import ClaimHeader, SessionGate, claim_header, encode_header
from derphole.token.grant import Capability, Grant, Mint
from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import PacketSealer
from tunnel.errors import AuthenticationFailed
from tunnel.proto.link.parameters import Feature
from tunnel.proto.meeting.handshake import Meeting, OutgoingClaim
from tunnel.proto.meeting.issuer import MAX_PENDING, MAX_RATED_GRANTS, Issuer, IssuerIdentity
from tunnel.proto.meeting.places import MAX_CLOSED, MAX_KNOCKING
from tunnel.units import Instant, WallTime
from tunnel.wire import frames as wire
from tunnel.wire.handshake import (
    ACCEPTED,
    CLAIM_SIZE,
    ClaimPayload,
    Decision,
    decode_message,
    is_handshake,
)

CPU_S = 1.0
ALLOCATION = 64 << 20
MAX_STEPS = 60
FORGED, CLAIM, RESUME, SEALED, REPEAT, WAIT, RELAY, GONE = range(8)
LOST, LEFT = b"a" * 16, b"b" * 16
GRANTS = Mint.from_seed(bytes(range(32)))
GRANT = Grant(b"\7" * 8, 1_900_003_600, Capability.LISTEN)
CLOCK = 1_900_000_000.0
CLAIMERS = [KeyPair.from_secret(bytes((number,)) * 32) for number in (3, 4, 5)]
WORDS = (encode_header(ClaimHeader(GRANT)),)
MAX_LINKS = MAX_PENDING + MAX_KNOCKING + MAX_CLOSED + 1


class Scene:
    """An issuer, and claimers that know its grants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._drawn = 0
        keys = GRANTS.keys
        self._noise = NoiseKey(keys.noise.public)
        self._derp = DerpKey(keys.derp.public)
        identity = IssuerIdentity(keys.noise, self._derp, Feature(0), 3)
        self.gate = SessionGate(keys, GRANT)
        self._handed = [self.gate.resumptions.hand_out(instance) for instance in (LOST, LEFT)]
        for instance in (LOST, LEFT):
            self.gate.resumptions.part(instance, may_come_back=instance == LOST)
        self.issuer = Issuer(identity, self.gate, self.entropy, lambda _: False, note)
        self.issuer.handle_relay_up(Instant(self.now), 0)
        self._claims: dict[int, OutgoingClaim] = {}
        self._sealers: dict[int, PacketSealer] = {}

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return blake2b(self._drawn.to_bytes(8, "little"), digest_size=size).digest()

    def play(self, feed: Feed) -> None:
        for _ in range(MAX_STEPS):
            if not feed:
                return
            kind, who = feed.uint(1) % 8, feed.uint(1) % len(CLAIMERS)
            self._step(kind, who, feed)
            self._check()

    def _step(self, kind: int, who: int, feed: Feed) -> None:
        if kind == FORGED:
            self._deliver(who, feed.chunk())
        elif kind in (CLAIM, RESUME):
            self._claim(who, feed, is_resuming=kind == RESUME)
        elif kind == SEALED and who in self._sealers:
            self._deliver(who, bytes(self._sealers[who].seal_general(0, feed.chunk()[:60000])[1]))
        elif kind == REPEAT and who in self._claims:
            packet = bytearray(self._claims[who].message)
            packet[feed.uint(1) % CLAIM_SIZE] ^= feed.uint(1)
            self._deliver(who, bytes(packet))
        elif kind == WAIT:
            self.now += feed.uint(2) / 100
        elif kind == RELAY:
            change = (
                self.issuer.handle_relay_up if feed.uint(1) & 1 else self.issuer.handle_relay_down
            )
            change(Instant(self.now), who % 2)
        elif kind == GONE:
            self.issuer.handle_peer_gone(Instant(self.now), who % 2, DerpKey(CLAIMERS[who].public))

    def _claim(self, who: int, feed: Feed, is_resuming: bool) -> None:
        """Send a claim whose MAC is good, if the header names anything."""
        header = feed.chunk()[:64].ljust(64, b"\0")
        payload = ClaimPayload(feed.uint(4), feed.take(16).ljust(16, b"\0"), feed.uint(4),
                               feed.uint(1), feed.uint(1))  # fmt: skip
        meeting = Meeting(self._noise, self._derp, DerpKey(CLAIMERS[who].public))
        ephemeral = KeyPair.from_secret(self.entropy(32))
        if is_resuming:
            header = claim_header(GRANT, self._handed[header[0] & 1])(ephemeral.public)
        named = self.gate.named(header, ephemeral.public)
        secret = named.secret if named is not None else bytes(16)
        self._claims[who] = claim = OutgoingClaim(meeting, header, secret, payload, ephemeral)
        self._deliver(who, claim.message)

    def _deliver(self, who: int, packet: bytes) -> None:
        wall = WallTime(CLOCK + self.now)
        source = DerpKey(CLAIMERS[who].public)
        self.issuer.handle_packet(Instant(self.now), wall, 0, source, memoryview(packet))

    def _take(self, key: bytes, packet: bytes) -> None:
        """Give a claimer what the issuer sent: it learns its keys from a decision."""
        who = [keys.public for keys in CLAIMERS].index(key)
        if not is_handshake(packet):
            return
        decision = decode_message(packet)
        assert isinstance(decision, Decision)
        try:
            payload, root = self._claims[who].read_decision(decision)
        except AuthenticationFailed:
            return  # of an earlier claim
        if payload.verdict == ACCEPTED:
            self._sealers[who], _ = packet_keys(
                root, AeadId(payload.aead), False, payload.link_index
            )

    def _check(self) -> None:
        issuer, now = self.issuer, Instant(self.now)
        for _ in range(4):
            while packets := issuer.packets_to_send(now):
                for packet in packets:
                    self._take(packet.to.key, bytes(packet.data))
            due = issuer.next_timeout()
            if due is None or due > self.now:
                break
            issuer.handle_timeout(now)
        else:
            raise AssertionError(f"a timer stays due: {due} at {self.now}")
        while issuer.next_event() is not None:
            pass
        assert len(issuer.links) <= 1
        assert len(issuer._pending) <= MAX_PENDING
        assert len(issuer.places.by_index) <= MAX_LINKS
        assert len(issuer._claims_of_grant) <= MAX_RATED_GRANTS
        for entry in issuer.places.by_index.values():
            check_held(entry.link)
            check_events(entry.link)


def run(data: bytes) -> None:
    Scene().play(Feed(data))


def claim(who: int, header: bytes, instance: bytes, kind: int = CLAIM) -> bytes:
    return bytes((kind, who)) + chunk(header) + bytes(4) + instance + b"\7\0\0\0\3\x18"


def seeds() -> Iterator[bytes]:
    header = encode_header(ClaimHeader(GRANT))
    expired = encode_header(ClaimHeader(Grant(b"\7" * 8, 1_800_000_000, Capability.LISTEN)))
    first, second = claim(0, header, b"a" * 16), claim(1, header, b"b" * 16)
    knock = [bytes((SEALED, who)) + chunk(wire.encode(wire.Ping())) for who in range(3)]
    wait = bytes((WAIT, 0, 0x2C, 1))
    data = wire.encode(wire.StreamData(0, 0, b"hello", False))
    yield first + knock[0] + bytes((SEALED, 0)) + chunk(data)
    yield first + knock[0] + second + knock[1] + wait + knock[1]
    yield first + knock[0] + claim(0, header, b"a" * 16) + knock[0]
    yield claim(0, expired, b"a" * 16) + claim(1, b"\0", b"a" * 16, RESUME) + knock[1]
    yield claim(1, b"\0", LOST, RESUME) + knock[1] + claim(2, b"\0", LOST, RESUME) + knock[2] + wait
    yield claim(1, b"\1", LEFT, RESUME)
    yield (
        first
        + bytes((REPEAT, 0, 0, 0))
        + bytes((REPEAT, 0, 130, 1))
        + bytes((GONE, 0, RELAY, 0, 0))
    )
    yield bytes((FORGED, 0)) + chunk(bytes(216)) + bytes((FORGED, 1)) + chunk(b"\x82" + bytes(40))
