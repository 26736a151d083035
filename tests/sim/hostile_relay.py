"""A relay that wants to do harm: seeded mixtures of everything that one without keys can try.

Each trick takes a packet that passes and returns what goes on in its place; several work at once,
one behind the other.  What earlier worlds with the same issuer said is at hand as a `Recording`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from conversation import Receiver, Sender
from world import Host, Packet, World, patterned

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.keys import KeyPair
from tunnel.crypto.packets import PacketSealer
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout
from tunnel.wire.handshake import (
    CLAIM_SIZE,
    DECISION_SIZE,
    MAGIC,
    Decision,
    Kind,
    decode_message,
    encode_decision,
    is_handshake,
)

# What would end, cut, restart or confirm a transfer, if it were sealed with the right key.
FORGED_FRAMES = [
    wire.encode(frame)
    for frame in (
        wire.Close(16, "done"),
        wire.Close(3, "another process took over"),
        wire.StreamData(2, 0, b"forged bytes", is_end=True),
        wire.StreamData(0, 0, b"\x02\x18\0" + bytes(24), is_end=False),  # a CONFIRM
        wire.Reset(2, 0, 7),
        wire.Stop(2, 7),
        wire.Credit(2, 1 << 40, 0),
        wire.Recall(2, 1 << 14, 1),
        wire.Return(2, 1 << 14, 1),
        wire.Ack(0, 255, 0, ((0, 3),)),
        wire.Rekey(b"\x09" * 32),
        wire.RekeyAnswer(b"\x09" * 32),
    )
]
STRANGER = KeyPair.from_secret(b"\x66" * 32).public
MOST_COPIES = 8  # one packet becomes at most so many
MOST_HELD = 64


@dataclass
class Recording:
    """Packets of earlier worlds, by who sent them."""

    by_issuer: list[bytes] = field(default_factory=list)
    by_claimer: list[bytes] = field(default_factory=list)

    def add(self, is_by_issuer: bool, data: bytes) -> None:
        (self.by_issuer if is_by_issuer else self.by_claimer).append(data)


def record(seed: int, issuer_keys: tuple[KeyPair, KeyPair], claimer_key: KeyPair) -> Recording:
    """Return all that passed between two hosts in a whole conversation of an earlier world."""
    world = World(seed, issuer_keys=issuer_keys)
    recording = Recording()
    receiver = Receiver(world.issuer())
    sender = Sender(world.claimer(key=claimer_key), patterned(3000, seed))
    derp = issuer_keys[1].public

    def tamper(source: bytes, destination: bytes, data: bytes) -> list[Packet]:
        recording.add(source == derp, data)
        return [(source, destination, data)]

    world.relay.tamper = tamper
    world.drive(lambda: receiver.is_over and sender.is_over)
    return recording


class HostileRelay:
    """Tampers with what passes one relay.

    Args:
        world: whose first relay turns hostile.
        recordings: of earlier worlds with the same issuer.
        until: when it becomes honest.

    Attributes:
        tricks: the names of those in use.
    """

    def __init__(self, world: World, recordings: list[Recording], until: float) -> None:
        self.world = world
        self.until = until
        self._recordings = recordings
        self._rng = world.rng
        self._held: list[Packet] = []
        self._passed: list[Packet] = []
        names = sorted(TRICKS)
        self.tricks = sorted(self._rng.sample(names, self._rng.randint(1, 5)))
        strengths = [self._rng.choice((0.05, 0.2, 0.5, 0.9)) for _ in self.tricks]
        self._active = [
            (TRICKS[name], strength) for name, strength in zip(self.tricks, strengths, strict=True)
        ]
        world.relay.tamper = self.tamper
        world.at(until, self.stop)

    def tamper(self, *packet: bytes) -> list[Packet]:
        """Return what is routed in place of a packet."""
        whole: Packet = packet[0], packet[1], packet[2]
        self._passed.append(whole)
        del self._passed[: len(self._passed) - MOST_HELD]
        packets = [whole]
        for trick, strength in self._active:
            if self._rng.random() < strength:
                packets = [made for each in packets for made in trick(self, each)]
        return packets[:MOST_COPIES]

    def stop(self) -> None:
        """Become honest; what was held is let go."""
        self.world.relay.tamper = None
        for packet in self._held:
            self.world.relay.route(*packet)
        self._held.clear()

    # -- tricks -----------------------------------------------------------------------------

    def flip(self, packet: Packet) -> list[Packet]:
        source, destination, data = packet
        changed = bytearray(data)
        for _ in range(self._rng.choice((1, 1, 8)) if data else 0):
            bit = self._rng.randrange(8 * min(len(data), self._rng.choice((16, 40, 1 << 16))))
            changed[bit // 8] ^= 1 << bit % 8
        return [(source, destination, bytes(changed))]

    def cut(self, packet: Packet) -> list[Packet]:
        source, destination, data = packet
        return [(source, destination, data[: self._rng.randrange(len(data) + 1)])]

    def extend(self, packet: Packet) -> list[Packet]:
        source, destination, data = packet
        more = self._rng.choice((b"\0", data, self._rng.randbytes(33), bytes(4000)))
        return [(source, destination, data + more)]

    def drop(self, packet: Packet) -> list[Packet]:
        del packet
        return []

    def starve_one(self, packet: Packet) -> list[Packet]:
        """Drop what goes one way only, and always the same way for seconds."""
        is_to_issuer = packet[1] == self.world._issuer_derp.public
        return [] if is_to_issuer == (int(self.world.now / 2) % 2 == 0) else [packet]

    def drop_sealed(self, packet: Packet) -> list[Packet]:
        return [packet] if is_handshake(packet[2]) else []

    def delay(self, packet: Packet) -> list[Packet]:
        later = self.world.now + self._rng.choice((0.01, 0.3, 2.5, 12.0))
        self.world.at(later, lambda: self.world.relay.route(*packet))
        return []

    def repeat(self, packet: Packet) -> list[Packet]:
        return [packet] * self._rng.randint(2, 4)

    def hold(self, packet: Packet) -> list[Packet]:
        """Let packets go in another order."""
        self._held.append(packet)
        if len(self._held) < self._rng.randint(2, MOST_HELD):
            return []
        self._rng.shuffle(self._held)
        released, self._held = self._held[:MOST_COPIES], self._held[MOST_COPIES:]
        return released

    def repeat_old(self, packet: Packet) -> list[Packet]:
        return [packet, self._rng.choice(self._passed)]

    def reflect(self, packet: Packet) -> list[Packet]:
        source, destination, data = packet
        return [packet, (destination, source, data)]

    def rename(self, packet: Packet) -> list[Packet]:
        """Deliver under another host's name, or a stranger's."""
        source, destination, data = packet
        keys = [host.key.public for host in self.world.hosts] + [STRANGER]
        return [packet, (self._rng.choice(keys), destination, data)]

    def cross_over(self, packet: Packet) -> list[Packet]:
        """Deliver to another host, as if from whom that one listens to, also into its link."""
        source, destination, data = packet
        issuer = self.world._issuer_derp.public
        others = [host.key.public for host in self.world.hosts if host.key.public != issuer]
        other = self._rng.choice(others)
        if source == issuer:
            return [packet, (issuer, other, self._into_link_of(other, data, is_to_issuer=False))]
        return [packet, (other, destination, self._into_link_of(other, data, is_to_issuer=True))]

    def replay_earlier(self, packet: Packet) -> list[Packet]:
        """Replay an earlier session: claims, decisions, packets, also into this link's index."""
        source, destination, data = packet
        recording = self._rng.choice(self._recordings)
        is_by_issuer = source == self.world._issuer_derp.public
        old = self._rng.choice(recording.by_issuer if is_by_issuer else recording.by_claimer)
        if self._rng.random() < 0.5 and not is_handshake(old) and not is_handshake(data):
            old = old[:4] + data[4:8] + old[8:]
        first = [(source, destination, old)]
        return [*first, packet] if self._rng.random() < 0.5 else [packet, *first]

    def replace_handshake(self, packet: Packet) -> list[Packet]:
        """Put an earlier session's claim or decision in the place of this one's."""
        source, destination, data = packet
        if not is_handshake(data):
            return [packet]
        recording = self._rng.choice(self._recordings)
        old = recording.by_claimer if len(data) == CLAIM_SIZE else recording.by_issuer
        return [(source, destination, next(each for each in old if is_handshake(each)))]

    def forge_handshake(self, packet: Packet) -> list[Packet]:
        """Make up claims and decisions, from nothing or from parts of real ones."""
        source, destination, _ = packet
        kind, size = self._rng.choice(((Kind.CLAIM, CLAIM_SIZE), (Kind.DECISION, DECISION_SIZE)))
        made = MAGIC + bytes((kind, 1)) + self._rng.randbytes(size - 8)
        seen = [data for _, _, data in self._passed if is_handshake(data) and len(data) == size]
        if seen and self._rng.random() < 0.7:
            place = self._rng.choice((8, 40, 120))
            made = self._rng.choice(seen)[:place] + made[place:]
        elif kind is Kind.DECISION and seen:
            decision = decode_message(seen[0])
            assert isinstance(decision, Decision)
            made = encode_decision(Decision(1, bytes(32), decision.sealed_payload))
        return [packet, (source, destination, made)]

    def forge_packet(self, packet: Packet) -> list[Packet]:
        """Seal frames that would do harm with a key that is not the link's, or not at all."""
        source, destination, data = packet
        if is_handshake(data) or len(data) < layout.GENERAL_HEADER_SIZE:
            return [packet]
        _, phase, _, index, number = layout.decode_general_header(data)
        frames = self._rng.choice(FORGED_FRAMES)
        number = min(max(0, number + self._rng.choice((-1, 0, 1, 5000))), layout.MAX_NUMBER - 1)
        forms = self._rng.randrange(3)
        if forms == 0:
            header = layout.encode_general_header(phase, 0, index, number)
            made = header + frames + bytes(self._rng.choice((0, 16, 32)))
        elif forms == 1:
            sealer = PacketSealer(BY_ID[self._rng.choice(list(AeadId))], bytes(32), index)
            sealer._next_number[0] = number
            made = bytes(sealer.seal_general(0, frames)[1])
        else:
            made = layout.encode_bulk_header(phase, 0, index, number, 2, 0) + data[32:]
        return [packet, (source, destination, made)]

    def rewrite_header(self, packet: Packet) -> list[Packet]:
        """Change one field of a real packet: type, phase, path, index, number, stream, offset."""
        source, destination, data = packet
        if is_handshake(data) or len(data) < layout.BULK_HEADER_SIZE:
            return [packet]
        place, size = self._rng.choice(((0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (24, 8)))
        value = self._rng.choice((b"\0", b"\x81", b"\x82", b"\1", b"\xff"))[:1]
        made = data[:place] + value.ljust(size, b"\0") + data[place + size :]
        return [packet, (source, destination, made)]

    def lie_gone(self, packet: Packet) -> list[Packet]:
        """Say that hosts are gone who are not."""
        keys = [each.key.public for each in self.world.hosts] + [STRANGER]
        for host in self.world.hosts:
            host.peer_gone(self._rng.choice((0, 0, 1)), self._rng.choice(keys))
        return [packet]

    def hang_up(self, packet: Packet) -> list[Packet]:
        """Hang up on a host; it connects again after a moment."""
        host = self._rng.choice(self.world.hosts)
        self.world.relay.disconnect(host)
        self.world.at(self.world.now + self._rng.choice((0.05, 1.0, 4.0)), lambda: self._back(host))
        return [packet]

    def inject_garbage(self, packet: Packet) -> list[Packet]:
        source, destination, _ = packet
        first = self._rng.choice((b"", b"\x81", b"\x82", MAGIC))
        garbage = first + self._rng.randbytes(self._rng.choice((0, 1, 15, 16, 40, 300)))
        return [packet, (self._rng.choice((source, STRANGER)), destination, garbage)]

    # -- inside -----------------------------------------------------------------------------

    def _back(self, host: Host) -> None:
        if not host.is_asleep and host.key.public not in self.world.relay.ports:
            self.world.connect(host, 0)

    def _into_link_of(self, claimer: bytes, data: bytes, is_to_issuer: bool) -> bytes:
        """Put the index of another claimer's link into a packet's header."""
        for source, destination, seen in reversed(self._passed):
            if claimer == (source if is_to_issuer else destination) and not is_handshake(seen):
                return data if is_handshake(data) else data[:4] + seen[4:8] + data[8:]
        return data


TRICKS: dict[str, Callable[[HostileRelay, Packet], list[Packet]]] = {
    name: getattr(HostileRelay, name)
    for name in (
        "flip", "cut", "extend", "drop", "starve_one", "drop_sealed", "delay", "repeat", "hold",
        "repeat_old", "reflect", "rename", "cross_over", "replay_earlier", "replace_handshake",
        "forge_handshake", "forge_packet", "rewrite_header", "lie_gone", "hang_up",
        "inject_garbage",
    )
}  # fmt: skip
