"""A hostile holder of the token: it claims as often as it likes and says whatever it likes.

It is made of the library's own parts, so that every packet of it is authentic.  It stands beside
the simulated network: what it says is there at once, and what the issuer sends it is kept.
"""

from world import HEADER, SECRET, World

from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import OpenedGeneral, PacketOpener, PacketSealer
from tunnel.proto.machine import RelayEndpoint, Transmit
from tunnel.proto.meeting.handshake import Meeting, OutgoingClaim
from tunnel.wire import frames as wire
from tunnel.wire.handshake import ClaimPayload, decode_message, is_handshake


class Holder:
    """One claim of it, and the link that may come of it.

    Args:
        world: whose first host is the issuer.
        key: its DERP key; a fresh one unless given.

    Attributes:
        answers: the frames that came back.
        index: by which the issuer knows its link.
    """

    def __init__(self, world: World, key: KeyPair | None = None) -> None:
        self.world = world
        self.issuer = world.hosts[0]
        self.key = key or KeyPair.from_secret(world.rng.randbytes(32))
        self.answers: list[wire.Frame] = []
        meeting = Meeting(
            NoiseKey(world._static.public),
            DerpKey(world._issuer_derp.public),
            DerpKey(self.key.public),
        )
        payload = ClaimPayload(0, world.rng.randbytes(16), 7, 3, 24)
        ephemeral = KeyPair.from_secret(world.rng.randbytes(32))
        self._claimed = OutgoingClaim(meeting, HEADER, SECRET, payload, ephemeral)
        self.index = 0
        self._keys: tuple[PacketSealer, PacketOpener] | None = None
        _listeners(world)[self.key.public] = self
        self.issuer.receive(0, self.key.public, self._claimed.message)
        world.settle()

    @property
    def is_accepted(self) -> bool:
        """Whether its claim was answered, and with yes."""
        return self._keys is not None

    def leave(self) -> None:
        """Hear nothing any more."""
        _listeners(self.world).pop(self.key.public, None)

    def hear(self, data: bytes) -> None:
        """Take what the issuer sent us."""
        if is_handshake(data):
            decision, root = self._claimed.read_decision(decode_message(memoryview(data)))
            self.index = decision.link_index
            self._keys = packet_keys(root, AeadId(decision.aead), False, decision.link_index)
            return
        assert self._keys is not None
        opened = self._keys[1].open(memoryview(data))
        if isinstance(opened, OpenedGeneral):
            self._keys[1].mark(opened)
            self.answers += wire.decode_frames(opened.frames)

    def acked(self) -> set[int]:
        """Return the numbers of ours that the issuer has acknowledged."""
        acks = [frame for frame in self.answers if isinstance(frame, wire.Ack)]
        ranges = [each for ack in acks for each in ack.ranges]
        return {number for first, last in ranges for number in range(first, last + 1)}

    def all(self, kind: type) -> list[wire.Frame]:
        """Return what came back of one kind."""
        return [frame for frame in self.answers if isinstance(frame, kind)]

    def say(self, *frames: wire.Frame) -> int:
        """Send frames in one packet; returns its number."""
        assert self._keys is not None
        number, packet = self._keys[0].seal_general(0, b"".join(map(wire.encode, frames)))
        self.issuer.receive(0, self.key.public, bytes(packet))
        self.world.settle()
        return number

    def bulk(self, stream: int, offset: int, data: bytes) -> int:
        """Send bytes of a stream in a packet of their own; returns its number."""
        assert self._keys is not None
        number, packet = self._keys[0].seal_bulk(0, stream, offset, data)
        self.issuer.receive(0, self.key.public, bytes(packet))
        return number


def _listeners(world: World) -> dict[bytes, Holder]:
    """Return who of the holders has which key; what the issuer sends to one is heard at once."""
    watch = world.watch
    if not isinstance(watch, _Watch):
        watch = world.watch = _Watch()
    return watch.listeners


class _Watch:
    def __init__(self) -> None:
        self.listeners: dict[bytes, Holder] = {}

    def __call__(self, host: object, packet: Transmit) -> None:
        del host
        holder = self.listeners.get(packet.to.key) if isinstance(packet.to, RelayEndpoint) else None
        if holder is not None:
            holder.hear(bytes(packet.data))
