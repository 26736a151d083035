"""A peer that holds the token and says whatever the input wants, and the checks of our side.

Everything it sends is authentic: what is tested is what an admitted peer can do to us.
"""

from fuzzing import Feed, chunk

from tunnel.crypto.aead import CHACHA20_POLY1305, AeadId
from tunnel.crypto.keys import DerpKey, Secret
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import MAX_RECEIVE_PATHS, OpenedGeneral, PacketSealer
from tunnel.proto.link.parameters import LinkParameters
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import Transmit, UdpEndpoint
from tunnel.proto.paths.table import MAX_PATHS
from tunnel.proto.streams.credit import FLOOR, POOL
from tunnel.proto.streams.send_stream import SendState
from tunnel.proto.streams.table import MAX_PEER_STREAMS
from tunnel.units import Instant
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

MAX_STEPS = 200
CHURN_PACKET = 1000
MAX_DATAGRAM = 1400
MAX_PACKETS = 4000  # that one input may make us send
MANY = 6000  # one exact number, since an input that has it takes long
MAX_CHURN = 14_000  # streams that the peer opens and gives up at once
COUNTED = 128  # streams
MAX_OURS = 64  # streams that the application opens
ROOT_KEY = bytes(range(32))
GENERAL, BULK, FORGED, WAIT, READ, WRITE, DRAIN, RELAY, ACK, JUMP, LANES, UDP, PROOF = range(13)
# Where the peer's datagrams come from: addresses that may be probed, and ones that may not.
IPS = (
    "45.10.20.5",
    "45.10.20.6",
    "10.0.0.7",
    "100.64.0.8",
    "2a01:db8::9",
    "127.0.0.1",
    "224.0.0.1",
)
LANE_SETS: tuple[dict[int, bool], ...] = ({}, {0: False}, {0: False, 1: True}, {1: True})
CHURN = 255  # a step that costs much, so few values mean it


def step(kind: int, *parts: bytes) -> bytes:
    """Write one step of a script that `Scene.play` reads."""
    return bytes((kind,)) + b"".join(parts)


def general(*frames: wire.Frame) -> bytes:
    """Write the step that sends frames."""
    return step(GENERAL, chunk(b"".join(map(wire.encode, frames))))


class Scene:
    """Our link, its application, and the hostile peer."""

    def __init__(self, is_issuer: bool) -> None:
        self.now = 1000.0
        self.relays_up = {0, 1}
        aead = AeadId.CHACHA20_POLY1305
        self.peer, self._reader = packet_keys(ROOT_KEY, aead, not is_issuer, 9)
        parameters = LinkParameters(
            is_issuer=is_issuer, peer_key=DerpKey(bytes(32)), root=Secret(ROOT_KEY), aead=aead,
            peer_index=7, features=0, relay=0, peer_grant=24, our_grant=24, is_polite=False,
        )  # fmt: skip
        self.link = PeerLink(Instant(self.now), parameters, self.relays_up, bytes, note)
        self._ours: list[int] = []
        self._sent = 0  # by the relay
        self._asked: dict[UdpEndpoint, bytes] = {}  # the newest challenge to each address
        self._churned = 0

    def play(self, feed: Feed) -> None:
        """Do what the input says, and check after every step."""
        for _ in range(MAX_STEPS):
            if not feed:
                break
            kind = feed.uint(1)
            self._step(kind if kind == CHURN else kind % (PROOF + 1), feed)
            self.check()
        check_held(self.link, is_last=True)

    def _step(self, kind: int, feed: Feed) -> None:
        link, now = self.link, Instant(self.now)
        if kind == GENERAL:
            send(link, now, self.peer, feed.chunk())
        elif kind == BULK:
            stream, offset = feed.uint(1), feed.uint(3)
            _, packet = self.peer.seal_bulk(
                0, stream, offset, feed.chunk()[: layout.MAX_RELAY_PACKET]
            )
            assert link.handle_packet(now, 0, memoryview(packet))
        elif kind == FORGED:
            assert not link.handle_packet(now, feed.uint(1) % 2, memoryview(feed.chunk()))
        elif kind == WAIT:
            self.now += feed.uint(2) / 100
        elif kind == READ:
            self._read(feed.uint(1), feed.uint(2))
        elif kind == WRITE:
            self._write(feed.uint(1), feed.uint(2))
        elif kind == DRAIN:
            self._drain()
        elif kind == RELAY:
            self._relay(feed.uint(1))
        elif kind == LANES:
            link.use_lanes(now, LANE_SETS[feed.uint(1) % len(LANE_SETS)], allows_loopback=False)
            link.offer_candidates((wire.Candidate(1, "192.168.1.2", 41000),))
        elif kind == UDP:
            self._datagram(feed.uint(1), feed.uint(1), feed.uint(2), feed.chunk())
        elif kind == PROOF:
            self._answer(feed.uint(1))
        elif kind == ACK and self._sent:
            ack = wire.Ack(0, feed.uint(1), feed.uint(4), ((0, self._sent - 1),))
            send(link, now, self.peer, wire.encode_ack(ack))
        elif kind == JUMP:
            numbers = self.peer._next_number
            numbers[0] = min(numbers.get(0, 0) + feed.uint(8) % (1 << 40), layout.MAX_NUMBER - 1000)
        elif kind == CHURN:
            count = feed.uint(2)
            count = count if count == MANY else count % 64
            self._churn(min(count, MAX_CHURN - self._churned))

    def _datagram(self, ip: int, path: int, port: int, frames: bytes) -> None:
        """Send frames by UDP, on a path of the peer's, from whatever address."""
        address = IPS[ip % len(IPS)]
        origin = UdpEndpoint(int(":" in address), address, port)
        numbers = 1 + path if path < 250 else 1 + path * 251  # the ids go up to 65535
        _, packet = self.peer.seal_general(min(numbers, 0xFFFF), frames[:MAX_DATAGRAM])
        self.link.handle_packet(Instant(self.now), origin, memoryview(packet))

    def _answer(self, choice: int) -> None:
        """Answer a challenge of ours, from the address it went to."""
        if self._asked:
            origin = list(self._asked)[choice % len(self._asked)]
            frames = wire.encode(wire.Answer(self._asked.pop(origin), "192.0.2.9", 9))
            _, packet = self.peer.seal_general(1 + choice % 4, frames)
            self.link.handle_packet(Instant(self.now), origin, memoryview(packet))

    def _drain(self) -> None:
        for packet in drain(self.link, Instant(self.now)):
            if not isinstance(packet.to, UdpEndpoint):
                self._sent += 1
                continue
            opened = None if packet.segment_size else self._reader.open(memoryview(packet.data))
            if isinstance(opened, OpenedGeneral):
                self._reader.mark(opened)
                for frame in wire.decode_frames(opened.frames):
                    if isinstance(frame, wire.Challenge):
                        self._asked[packet.to] = frame.token

    def _churn(self, count: int) -> None:
        """Have the peer open streams and give both halves up at once."""
        first = 1 - self.link.parameters.is_issuer + 2 * self._churned
        self._churned += count
        streams = range(first, first + 2 * count, 2)
        for start in range(0, count, CHURN_PACKET):
            part = streams[start : start + CHURN_PACKET]
            frames = b"".join(
                wire.encode(wire.Reset(n, 0, 0)) + wire.encode(wire.Stop(n, 0)) for n in part
            )
            send(self.link, Instant(self.now), self.peer, frames)
            check_events(self.link)

    def _relay(self, choice: int) -> None:
        relay, is_up = choice & 1, bool(choice & 2)
        if is_up:
            self.relays_up.add(relay)
            self.link.handle_relay_up(Instant(self.now), relay)
        else:
            self.relays_up.discard(relay)
            self.link.handle_relay_down(Instant(self.now), relay)

    def _read(self, stream: int, size: int) -> None:
        if self.link.streams.is_known(stream):
            taken = self.link.read(Instant(self.now), stream, size)
            assert sum(map(len, taken)) <= size

    def _write(self, choice: int, size: int) -> None:
        streams = self.link.streams
        if not self._ours or (choice < 32 and len(self._ours) < MAX_OURS):
            self._ours.append(streams.open())
        stream = choice if choice % 3 == 0 else self._ours[choice % len(self._ours)]
        sending = streams.sending(stream)
        if sending is None:
            return
        if choice >= 240:
            streams.reset(stream, 1)
        elif choice >= 225:
            streams.stop(stream, 2)
        elif choice >= 200:
            streams.end(stream)
        elif sending.state is SendState.OPEN:
            streams.write(stream, bytes(size))

    def check(self) -> None:
        """See that what we hold is bounded and that no timer is due for ever."""
        check_held(self.link)
        check_events(self.link)
        for _ in range(3):
            due = self.link.next_timeout()
            if due is None or due > self.now:
                return
            self.link.handle_timeout(Instant(self.now))
            self._drain()
        raise AssertionError(f"a timer stays due: {due} at {self.now}")


def note(name: str, values: dict[str, object]) -> None:
    """Take a trace event; its values are ones that JSON has."""
    assert name
    assert all(isinstance(value, str | int | float | bool) for value in values.values())


def send(link: PeerLink, now: Instant, peer: PacketSealer, frames: bytes) -> None:
    """Hand an authentic general packet to our link."""
    largest = layout.MAX_RELAY_PACKET - layout.GENERAL_HEADER_SIZE - CHACHA20_POLY1305.tag_size
    _, packet = peer.seal_general(0, frames[:largest])
    assert link.handle_packet(now, 0, memoryview(packet))


def drain(link: PeerLink, now: Instant) -> list[Transmit]:
    """Take everything our link sends now; it must come to an end."""
    sent: list[Transmit] = []
    while packets := link.packets_to_send(now):
        sent += packets
        assert len(sent) < MAX_PACKETS, "a link that never stops sending"
        assert all(len(packet.data) <= layout.MAX_RELAY_PACKET for packet in packets)
    return sent


def check_events(link: PeerLink) -> None:
    """Drain the events of a link; there are at most a few for each stream."""
    count = 0
    while link.next_event() is not None:
        count += 1
        assert count <= 4 * (MAX_PEER_STREAMS + MAX_OURS), "events without end"


def check_held(link: PeerLink, is_last: bool = False) -> None:
    """See that a link holds no more than its bounds."""
    streams = link.streams
    known = MAX_PEER_STREAMS + MAX_OURS
    assert len(streams._streams) <= known
    assert len(streams._due) <= 3 * known, "control frames without end"
    assert len(streams._turns) <= 2 * known
    assert len(link._acks) <= MAX_RECEIVE_PATHS
    assert len(link._opener._windows) <= MAX_RECEIVE_PATHS
    assert len(list(link._paths.direct)) <= MAX_PATHS
    assert len(link._paths.direct._candidates) <= wire.MAX_CANDIDATES
    assert all(
        len(acks._received) <= wire.MAX_ACK_RANGES + 1
        for acks in link._acks._state_by_path.values()
    )
    assert len(link._events) <= known
    assert len(link._control._frames) <= 8
    assert len(link._opener._key_by_phase) <= 2
    if len(streams._streams) > COUNTED and not is_last:
        return  # counting takes as long as there are streams
    held = sum(
        part.receive.highest - part.receive.read_offset for part in streams._streams.values()
    )
    assert held <= POOL + FLOOR * known
