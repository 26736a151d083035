"""The simulated world: a clock, a relay with DERP's queues, and hosts that run the real machines.

    host a --wire--> relay: two queues of 32 a destination, oldest dropped --wire--> host b

Nothing here waits: the clock jumps to the next arrival or deadline.  Every random choice comes from
one seeded generator, so a failure replays from its seed.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.proto.claimer import Claimer, ClaimerIdentity, LinkUp, Refused
from tunnel.proto.handshake import Feature, Meeting
from tunnel.proto.issuer import Issuer, IssuerIdentity, LinkAdmitted
from tunnel.proto.link import LinkClosed, LinkGivenUp, PeerLink
from tunnel.proto.machine import Transmit
from tunnel.proto.streams import StreamOpened, StreamReadable
from tunnel.units import Instant, WallTime
from tunnel.wire.handshake import ACCEPTED, is_handshake

HEADER = b"simulated grant".ljust(64, b"\0")
SECRET = b"s" * 16


@dataclass
class Wire:
    """One direction of a simulated path.  Times in seconds, probabilities in [0, 1]."""

    rng: random.Random
    delay: float = 0.010
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    rate: float = 0.0  # bytes a second, 0 without a limit
    is_cut: bool = False
    keeps_order: bool = True
    busy_until: float = 0.0
    last_arrival: float = 0.0

    def arrivals(self, now: float, size: int) -> list[float]:
        """When copies of a packet sent now arrive; none if it is lost."""
        if self.is_cut or self.rng.random() < self.loss:
            return []
        start = max(now, self.busy_until)
        self.busy_until = start + (size / self.rate if self.rate else 0.0)
        times = []
        for _ in range(2 if self.rng.random() < self.duplicate else 1):
            time = self.busy_until + self.delay + self.rng.random() * self.jitter
            if self.keeps_order:
                time = self.last_arrival = max(time, self.last_arrival)
            times.append(time)
        return times


@dataclass
class Port:
    """A host's connection to the relay: what waits for it there, and its two wires."""

    up: Wire
    down: Wire
    host: "Host"
    disco: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    data: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    is_draining: bool = False


class Relay:
    """A DERP server: drops the oldest of more than 32 packets for one connection."""

    DEPTH = 32

    def __init__(self, world: "World") -> None:
        self.world = world
        self.ports: dict[bytes, Port] = {}
        self.dropped = 0
        self.longest = 0
        self.is_up = True
        self.tamper: Callable[[bytes, bytes, bytes], list[tuple[bytes, bytes, bytes]]] | None = None
        self.seen: list[bytes] = []
        self.keeps_seen = False

    def accept(self, source: bytes, destination: bytes, data: bytes) -> None:
        """Take a packet off a host's wire."""
        if not self.is_up:
            return
        if self.keeps_seen:
            self.seen.append(data)
        packets = [(source, destination, data)]
        if self.tamper is not None:
            packets = self.tamper(source, destination, data)
        for sender, receiver, packet in packets:
            self.route(sender, receiver, packet)

    def route(self, source: bytes, destination: bytes, data: bytes) -> None:
        """Queue a packet for its destination, or say that it is not here."""
        port = self.ports.get(destination)
        if port is None:
            sender = self.ports.get(source)
            if sender is not None and is_handshake(data):
                for at in sender.down.arrivals(self.world.now, 38):
                    self.world.at(at, lambda: sender.host.peer_gone(destination))
            return
        queue = port.disco if is_handshake(data) and len(data) >= 62 else port.data
        if len(queue) >= self.DEPTH:
            queue.popleft()
            self.dropped += 1
        queue.append((source, data))
        self.longest = max(self.longest, len(port.data))
        if not port.is_draining:
            port.is_draining = True
            self.world.at(self.world.now, lambda: self.drain(port))

    def drain(self, port: Port) -> None:
        """Send the next packet down a host's wire; the wire's rate is what fills the queue."""
        queue = port.disco or port.data
        if not queue or not self.is_up:
            port.is_draining = False
            return
        source, data = queue.popleft()
        for at in port.down.arrivals(self.world.now, len(data)):
            self.world.at(at, lambda: port.host.receive(source, data))
        self.world.at(max(self.world.now, port.down.busy_until), lambda: self.drain(port))


class Host:
    """Runs one machine against the relay and does what an application would."""

    def __init__(self, world: "World", key: KeyPair) -> None:
        self.world = world
        self.key = key
        self.events: list[object] = []
        self.received: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.reads = True
        self.link: PeerLink | None = None
        self.machine: Issuer | Claimer | None = None

    def receive(self, source: bytes, data: bytes) -> None:
        """Take a packet from the relay."""
        view = memoryview(data)
        if isinstance(self.machine, Issuer):
            wall = WallTime(self.world.now + self.world.epoch)
            self.machine.handle_packet(self.world.instant, wall, 0, DerpKey(source), view)
        elif self.machine is not None:
            self.machine.handle_packet(self.world.instant, 0, DerpKey(source), view)

    def peer_gone(self, key: bytes) -> None:
        """Take the relay's word that a key is not there."""
        if self.machine is not None:
            self.machine.handle_peer_gone(self.world.instant, 0, DerpKey(key))

    def run(self) -> bool:
        """Let the machine do what is due; returns whether anything happened."""
        machine = self.machine
        if machine is None:
            return False
        deadline = machine.next_timeout()
        if deadline is not None and deadline <= self.world.now:
            machine.handle_timeout(self.world.instant)
        has_worked = self._take_events()
        while packets := machine.packets_to_send(self.world.instant):
            has_worked = True
            for packet in packets:
                self._send(packet)
        return self._take_events() or has_worked

    def _send(self, packet: Transmit) -> None:
        port = self.world.relay.ports[self.key.public]
        data, destination = bytes(packet.data), packet.to.key
        for at in port.up.arrivals(self.world.now, len(data)):
            self.world.at(
                at, lambda: self.world.relay.accept(self.key.public, destination, data)
            )

    def _take_events(self) -> bool:
        has_events = False
        assert self.machine is not None
        while (event := self.machine.next_event()) is not None:
            has_events = True
            self.events.append(event)
            if isinstance(event, LinkUp | LinkAdmitted):
                self.link = event.link
        while self.link is not None and (happened := self.link.next_event()) is not None:
            has_events = True
            self._take_link_event(self.link, happened)
        return has_events

    def _take_link_event(self, link: PeerLink, event: object) -> None:
        if not isinstance(event, StreamReadable):
            self.events.append(event)
        if isinstance(event, StreamOpened | StreamReadable) and self.reads:
            self.read_all(link, event.stream)

    def read_all(self, link: PeerLink, stream: int) -> None:
        """Read what a stream holds."""
        receiving = link.streams.receiving(stream)
        if receiving is None:
            return
        sink = self.received.setdefault(stream, bytearray())
        while receiving.readable:
            for chunk in link.read(self.world.instant, stream, 1 << 20):
                sink += chunk
        if receiving.is_at_end:
            self.ended.add(stream)

    def has(self, kind: type) -> bool:
        """Whether an event of this kind happened."""
        return any(isinstance(event, kind) for event in self.events)

    @property
    def is_over(self) -> bool:
        """Whether the link ended or the claim was refused."""
        return self.has(LinkClosed) or self.has(LinkGivenUp) or self.has(Refused)


class OneGrantGate:
    """Admits whoever knows SECRET."""

    def __init__(self) -> None:
        self.answer = ACCEPTED

    def secret(self, header: bytes) -> bytes | None:
        return SECRET if header == HEADER else None

    def grant_id(self, header: bytes) -> bytes:
        return header[:8]

    def verdict(self, header: bytes, instance: bytes, wall: WallTime) -> int:
        return self.answer


class World:
    """Hosts, a relay between them and the clock."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.epoch = 1_800_000_000.0
        self.relay = Relay(self)
        self.hosts: list[Host] = []
        self.gate = OneGrantGate()
        self.trace: list[tuple[float, str, dict[str, object]]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._static = KeyPair.from_secret(self.rng.randbytes(32))
        self._issuer_derp = KeyPair.from_secret(self.rng.randbytes(32))

    @property
    def instant(self) -> Instant:
        return Instant(self.now)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._sequence += 1
        heapq.heappush(self._queue, (max(time, self.now), self._sequence, action))

    def wire(self, **options: float) -> Wire:
        return Wire(self.rng, **options)

    def _host(self, key: KeyPair, **options: float) -> Host:
        host = Host(self, key)
        self.hosts.append(host)
        self.relay.ports[key.public] = Port(self.wire(**options), self.wire(**options), host)
        return host

    def _note(self, name: str, values: dict[str, object]) -> None:
        self.trace.append((self.now, name, values))

    def issuer(self, places: int = 1, fast_aeads: int = 3, **wire: float) -> Host:
        """Add the host that made the token."""
        host = self._host(self._issuer_derp, **wire)
        identity = IssuerIdentity(
            self._static, DerpKey(self._issuer_derp.public), Feature(0), fast_aeads, places
        )
        host.machine = Issuer(identity, self.gate, self.rng.randbytes, lambda _: False, self._note)
        host.machine.handle_relay_up(self.instant, 0)
        return host

    def claimer(
        self, secret: bytes = SECRET, instance: bytes | None = None, fast_aeads: int = 3, **wire: float
    ) -> Host:
        """Add a host that uses the token."""
        host = self._host(KeyPair.from_secret(self.rng.randbytes(32)), **wire)
        meeting = Meeting(
            NoiseKey(self._static.public),
            DerpKey(self._issuer_derp.public),
            DerpKey(host.key.public),
        )
        identity = ClaimerIdentity(
            meeting, HEADER, secret, instance or self.rng.randbytes(16), Feature(0), fast_aeads
        )
        host.machine = Claimer(
            self.instant, identity, [0], self.rng.randbytes, lambda _: False, self._note
        )
        host.machine.handle_relay_up(self.instant, 0)
        return host

    def linked_pair(self, **wire: float) -> tuple[Host, Host]:
        """Return (issuer, claimer) with a link that is up."""
        issuer, claimer = self.issuer(**wire), self.claimer(**wire)
        self.drive(lambda: issuer.link is not None and claimer.link is not None)
        return issuer, claimer

    def step(self) -> bool:
        """Let everybody work, then jump to what comes next; returns False if nothing ever will."""
        for _ in range(1000):
            if not sum(host.run() for host in self.hosts):
                break
        else:
            raise AssertionError(f"hosts never rest (seed {self.seed})")
        deadlines = [host.machine.next_timeout() for host in self.hosts if host.machine]
        times = [deadline for deadline in deadlines if deadline is not None]
        if self._queue:
            times.append(Instant(self._queue[0][0]))
        if not times:
            return False
        self.now = max(self.now, min(times))
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        return True

    def drive(
        self, until: Callable[[], bool], seconds: float = 600.0, steps: int = 400_000
    ) -> None:
        """Run until a condition holds; a world that does not get there fails with its seed."""
        deadline = self.now + seconds
        for _ in range(steps):
            if until():
                return
            if self.now > deadline or not self.step():
                break
        if not until():
            raise AssertionError(f"not reached in {seconds} s (seed {self.seed}, now {self.now})")

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.at(self.now + seconds, lambda: None)
        end = self.now + seconds
        while self.now < end and self.step():
            pass


def patterned(size: int, seed: int = 1) -> bytes:
    """Return bytes that repeat nowhere in a way a mix-up could hide behind."""
    return random.Random(seed).randbytes(size)
