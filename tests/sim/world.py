"""The simulated world: a clock, relays with DERP's queues, and hosts that run the real machines.

    host a --wire--> relay: two queues of 32 a destination, oldest dropped --wire--> host b

Nothing here waits: the clock jumps to the next arrival or deadline.  Every random choice comes from
one seeded generator, so a failure replays from its seed.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from inside import sealer_of

from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.proto.link.events import LinkClosed, LinkGivenUp
from tunnel.proto.link.parameters import NO_FEATURE, Feature
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import Transmit, UdpEndpoint
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity, LinkUp
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.issuer import Issuer, IssuerIdentity
from tunnel.proto.meeting.owner import Named, Refused
from tunnel.proto.meeting.places import LinkAdmitted
from tunnel.proto.streams.receive_stream import ReceiveStream
from tunnel.proto.streams.table import StreamOpened, StreamReadable
from tunnel.units import Instant, WallTime
from tunnel.wire.handshake import ACCEPTED, is_handshake
from tunnel.wire.packet import RELAY_PATH

E = TypeVar("E")
HEADER = b"simulated grant".ljust(64, b"\0")
SECRET = b"s" * 16
ROUNDING_S = 1e-6


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
    unsent: float | None = None  # bytes of data that control, too, has to wait for
    busy_until: float = 0.0
    last_arrival: float = 0.0

    def arrivals(self, now: float, size: int, is_control: bool = False) -> list[float]:
        """When copies of a packet sent now arrive; none if it is lost."""
        if self.is_cut or self.rng.random() < self.loss:
            return []
        took_s = size / self.rate if self.rate else 0.0
        start = max(now, self.busy_until)
        self.busy_until = start + took_s
        if is_control and self.unsent is not None and start > now + self.unsent / self.rate:
            # It overtakes what the process still holds; what the kernel has goes first.
            return [now + self.unsent / self.rate + took_s + self.delay]
        times = []
        for _ in range(2 if self.rng.random() < self.duplicate else 1):
            time = self.busy_until + self.delay + self.rng.random() * self.jitter
            if self.keeps_order:
                time = self.last_arrival = max(time, self.last_arrival)
            times.append(time)
        return times


@dataclass
class Port:
    """A host's connection to a relay: what waits for it there, and its two wires."""

    up: Wire
    down: Wire
    host: "Host"
    disco: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    data: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    is_draining: bool = False


Packet = tuple[bytes, bytes, bytes]  # source key, destination key, bytes


class Relay:
    """A DERP server: drops the oldest of more than 32 packets for one connection.

    Attributes:
        tamper: what a hostile relay makes of a packet; everything it returns is routed.
        keeps_seen: whether `seen` collects every packet, as a recording relay would.
        dropped: packets that found a full queue.
        longest: the longest data queue there was.
    """

    DEPTH = 32

    def __init__(self, world: "World", number: int = 0) -> None:
        self.world = world
        self.number = number
        self.ports: dict[bytes, Port] = {}
        self.dropped = 0
        self.longest = 0
        self.is_up = True
        self.tamper: Callable[[bytes, bytes, bytes], list[Packet]] | None = None
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
                self._tell_gone(sender, destination)
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
            self.world.at(at, lambda: port.host.receive(self.number, source, data))
        self.world.at(max(self.world.now, port.down.busy_until), lambda: self.drain(port))

    def stop(self) -> None:
        """Go away with everything that waited; connected hosts notice."""
        self.is_up = False
        for port in self.ports.values():
            port.disco.clear()
            port.data.clear()
            port.host.relay_down(self.number)

    def start(self) -> None:
        """Come back; hosts connect again at once."""
        self.is_up = True
        for port in self.ports.values():
            port.host.relay_up(self.number)

    def disconnect(self, host: "Host") -> None:
        """Lose one host's connection; whoever sent to it lately is told."""
        if self.ports.pop(host.key.public, None) is not None:
            host.relay_down(self.number)
        for port in self.ports.values():
            self._tell_gone(port, host.key.public)

    def _tell_gone(self, port: Port, key: bytes) -> None:
        for at in port.down.arrivals(self.world.now, 38):
            self.world.at(at, lambda: port.host.peer_gone(self.number, key))


@dataclass
class Inbox:
    """What arrived on one link; receiving halves are kept, as the link forgets finished streams."""

    receiving: dict[int, ReceiveStream] = field(default_factory=dict)
    received: dict[int, bytearray] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    events: list[object] = field(default_factory=list)


class Host:
    """Runs one machine over relays and does what an application would.

    Attributes:
        links: every link there ever was, the newest last.
        application: called whenever the machine has worked; tells whether it did anything.
        drive_paths: the same, for who keeps the direct paths: see `udp_network.Driver`.
        wakeups: instants at which something woke this host: a timer, a packet, a relay.
        lag: how far the monotonic clock is behind the world's: it stood still during sleep.
        wall_error: how far the wall clock is ahead of the world's.
        is_asleep: whether nothing runs here; what arrives is lost.
        lateness: how much too late a timer fires.
        reads: whether what arrives is read at once; `unread` names streams that are not.
    """

    def __init__(self, world: "World", key: KeyPair) -> None:
        self.world = world
        self.key = key
        self.events: list[object] = []
        self.links: list[PeerLink] = []
        self.inboxes: list[Inbox] = []
        self.reads = True
        self.unread: set[int] = set()
        self.machine: Issuer | Claimer | None = None
        self.send_udp: Callable[[UdpEndpoint, bytes], None] | None = None
        self.burst = ReceivedBurst()
        self.application: Callable[[], bool] = lambda: False
        self.drive_paths: Callable[[], bool] = lambda: False
        self.wakeups = 0
        self._woken_at: float | None = None
        self.lag = 0.0
        self.wall_error = 0.0
        self.is_asleep = False
        self.lateness: Callable[[], float] = lambda: 0.0
        self._timer: tuple[Instant, float] | None = None
        self._fires_at = 0.0

    @property
    def instant(self) -> Instant:
        """What the monotonic clock here says."""
        now = self.world.now - self.lag
        if self.lag and self._timer is not None and abs(now - self._timer[0]) < ROUNDING_S:
            return self._timer[0]  # what was asked for, not a rounding error before it
        return Instant(now)

    @property
    def wall(self) -> WallTime:
        """What the wall clock here says."""
        return WallTime(self.world.now + self.world.epoch + self.wall_error)

    @property
    def wakes_at(self) -> float | None:
        """When, in the world's time, the machine's timer is due."""
        if self.machine is None or self.is_asleep:
            return None
        times = (self.machine.next_timeout(), self.machine.next_pacing(self.instant))
        deadline = min((time for time in times if time is not None), default=None)
        if deadline is None:
            return None
        if self._timer != (deadline, self.lag):
            self._timer = (deadline, self.lag)
            self._fires_at = deadline + self.lag + self.lateness()
        return self._fires_at

    @property
    def link(self) -> PeerLink | None:
        """The newest link."""
        return self.links[-1] if self.links else None

    @property
    def received(self) -> dict[int, bytearray]:
        """What was read from each stream of the newest link."""
        return self.inboxes[-1].received if self.inboxes else {}

    @property
    def ended(self) -> set[int]:
        """Streams of the newest link that were read to their clean end."""
        return self.inboxes[-1].ended if self.inboxes else set()

    def has(self, kind: type) -> bool:
        """Whether an event of this kind happened."""
        return any(isinstance(event, kind) for event in self.events)

    def all(self, kind: type[E]) -> list[E]:
        """Return the events of this kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def is_over(self) -> bool:
        """Whether a link ended or the claim was refused."""
        return self.has(LinkClosed) or self.has(LinkGivenUp) or self.has(Refused)

    def woken(self) -> None:
        """Count that something woke this host; at one instant once."""
        if self._woken_at != self.world.now:
            self._woken_at = self.world.now
            self.wakeups += 1

    # -- what comes from relays -------------------------------------------------------------

    def receive(self, relay: int, source: bytes, data: bytes) -> None:
        """Take a packet from a relay."""
        now, view = self.instant, memoryview(data)
        if self.is_asleep:
            return
        self.woken()
        if self.machine is not None:
            self.machine.handle_packet(now, self.wall, relay, DerpKey(source), view)

    def receive_udp(self, source: tuple[str, int], data: bytes) -> None:
        """Take a datagram that came to our UDP socket: lane 0 speaks IPv4, lane 1 IPv6."""
        if self.machine is None or self.is_asleep:
            return
        self.woken()
        if data:  # a lane drops empty datagrams itself
            burst = self.burst
            burst.view[: len(data)] = data
            burst.set(len(data), len(data))
            lane = int(":" in source[0])
            self.machine.handle_datagrams(self.instant, UdpEndpoint(lane, *source), burst)

    def peer_gone(self, relay: int, key: bytes) -> None:
        """Take a relay's word that a key is not there."""
        if self.machine is not None:
            self.woken()
            self.machine.handle_peer_gone(self.instant, relay, DerpKey(key))

    def relay_down(self, relay: int) -> None:
        """Lose a relay connection."""
        if self.machine is not None:
            self.woken()
            self.machine.handle_relay_down(self.instant, relay)

    def relay_up(self, relay: int) -> None:
        """Have a relay connection, the first time or again."""
        if self.machine is not None:
            self.woken()
            self.machine.handle_relay_up(self.instant, relay)

    # -- the application --------------------------------------------------------------------

    def run(self) -> bool:
        """Let the machine do what is due; returns whether anything happened."""
        machine = self.machine
        if machine is None or self.is_asleep:
            return False
        wakes_at = self.wakes_at
        if wakes_at is not None and wakes_at <= self.world.now:
            self.woken()
            machine.handle_timeout(self.instant)
        has_worked = self._take_events()
        while packets := machine.packets_to_send(self.instant):
            has_worked = True
            for packet in packets:
                self._send(packet)
        has_worked |= self._take_events()
        has_driven = self.drive_paths()
        return self.application() or has_driven or has_worked

    def open(self) -> int:
        """Open a stream and return its id."""
        assert self.link is not None
        stream = self.link.streams.open()
        receiving = self.link.streams.receiving(stream)
        assert receiving is not None
        self.inboxes[-1].receiving[stream] = receiving
        return stream

    def send_all(self, data: bytes, stream: int | None = None) -> int:
        """Write `data` and the end to a stream, a new one unless named; returns its id."""
        assert self.link is not None
        stream = self.open() if stream is None else stream
        self.link.streams.write(stream, data)
        self.link.streams.end(stream)
        return stream

    def read_all(self, link: PeerLink, stream: int) -> None:
        """Read what a stream holds."""
        inbox = self.inboxes[self.links.index(link)]
        known = link.streams.receiving(stream)
        receiving = (
            inbox.receiving.setdefault(stream, known) if known else inbox.receiving.get(stream)
        )
        if receiving is None:
            return
        sink = inbox.received.setdefault(stream, bytearray())
        while receiving.readable:
            is_known = link.streams.is_known(stream)  # what came before a close is still read
            size = 1 << 20
            for chunk in (
                link.read(self.instant, stream, size) if is_known else receiving.read(size)
            ):
                sink += chunk
        if receiving.is_at_end:
            inbox.ended.add(stream)

    def _send(self, packet: Transmit) -> None:
        if isinstance(packet.to, UdpEndpoint):
            data = bytes(packet.data)
            size = packet.segment_size or len(data)
            for start in range(0, len(data) if self.send_udp is not None else 0, size):
                self.send_udp(packet.to, data[start : start + size])
            return
        relay = self.world.relays[packet.to.relay]
        port = relay.ports.get(self.key.public)
        if port is None or not relay.is_up:
            return
        data, destination = bytes(packet.data), packet.to.key
        self.world.watch(self, packet)
        for at in port.up.arrivals(self.world.now, len(data), packet.is_control):
            self.world.at(at, lambda: relay.accept(self.key.public, destination, data))

    def _take_events(self) -> bool:
        assert self.machine is not None
        count = len(self.events)
        has_read = False
        while (event := self.machine.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, LinkUp | LinkAdmitted):
                self.links.append(event.link)
                self.inboxes.append(Inbox())
        for link, inbox in zip(self.links, self.inboxes, strict=True):
            while (happened := link.next_event()) is not None:
                has_read = True
                self._take_link_event(link, inbox, happened)
        return has_read or len(self.events) > count

    def _take_link_event(self, link: PeerLink, inbox: Inbox, event: object) -> None:
        if not isinstance(event, StreamReadable):
            self.events.append(event)
            inbox.events.append(event)
        is_about_bytes = isinstance(event, StreamOpened | StreamReadable)
        if is_about_bytes and self.reads and event.stream not in self.unread:
            self.read_all(link, event.stream)


class Grants:
    """A gate that knows one grant, and more if a test adds them."""

    def __init__(self) -> None:
        self.answer: int = ACCEPTED
        self.secrets = {HEADER: SECRET}

    def named(self, header: bytes, ephemeral: bytes) -> Named | None:
        secret = self.secrets.get(header)
        return None if secret is None else Named(header[:32], secret)

    def verdict(self, header: bytes, instance: bytes | None, wall: WallTime) -> int:
        return self.answer


class World:
    """Hosts, relays between them and the clock.

    Attributes:
        issuer_keys: the issuer's Noise and DERP key pairs, where several worlds share them.
        trace: what the machines noted: (time, name, values).
        watch: called with every packet that a host hands to a relay.
    """

    def __init__(
        self,
        seed: int = 0,
        relays: int = 1,
        is_polite: bool = False,
        issuer_keys: tuple[KeyPair, KeyPair] | None = None,
        relay_kind: type[Relay] = Relay,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.epoch = 1_800_000_000.0
        self.is_polite = is_polite
        self.relays = [relay_kind(self, number) for number in range(relays)]
        self.hosts: list[Host] = []
        self.gate = Grants()
        self.trace: list[tuple[float, str, dict[str, object]]] = []
        self.watch: Callable[[Host, Transmit], None] = lambda host, packet: None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._static, self._issuer_derp = issuer_keys or (
            KeyPair.from_secret(self.rng.randbytes(32)),
            KeyPair.from_secret(self.rng.randbytes(32)),
        )

    @property
    def relay(self) -> Relay:
        """The first relay."""
        return self.relays[0]

    @property
    def instant(self) -> Instant:
        return Instant(self.now)

    def noted(self, name: str) -> list[dict[str, object]]:
        """Return the values of every trace event of this name."""
        return [values for _, event, values in self.trace if event == name]

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._sequence += 1
        heapq.heappush(self._queue, (max(time, self.now), self._sequence, action))

    def wire(self, **options: float) -> Wire:
        return Wire(self.rng, **options)

    def connect(self, host: Host, relay: int, **wire: float) -> None:
        """Connect a host to a relay."""
        port = Port(self.wire(**wire), self.wire(**wire), host)
        self.relays[relay].ports[host.key.public] = port
        host.relay_up(relay)

    def wires(self, host: Host) -> list[Wire]:
        """Return every wire of a host."""
        ports = [
            relay.ports[host.key.public] for relay in self.relays if host.key.public in relay.ports
        ]
        return [wire for port in ports for wire in (port.up, port.down)]

    def cut(self, host: Host, is_cut: bool = True) -> None:
        """Let nothing through from and to a host, or everything again; nobody is told."""
        for wire in self.wires(host):
            wire.is_cut = is_cut

    def issuer(
        self,
        places: int = 1,
        fast_aeads: int = 3,
        features: Feature = NO_FEATURE,
        on: tuple[int, ...] | None = None,
        give_up_after_s: float = 60.0,
        required: Feature = NO_FEATURE,
        **wire: float,
    ) -> Host:
        """Add the host that made the token, connected to the relays `on` (all of them)."""
        host = Host(self, self._issuer_derp)
        identity = IssuerIdentity(
            self._static,
            DerpKey(self._issuer_derp.public),
            features,
            fast_aeads,
            places,
            give_up_after_s,
            required,
            b"issuer 1.0",
        )
        host.machine = Issuer(
            identity, self.gate, self.rng.randbytes, lambda _: self.is_polite, self._note
        )
        return self._join(host, on, wire)

    def claimer(
        self,
        secret: bytes = SECRET,
        instance: bytes | None = None,
        fast_aeads: int = 3,
        features: Feature = NO_FEATURE,
        header: bytes = HEADER,
        key: KeyPair | None = None,
        give_up_after_s: float = 60.0,
        required: Feature = NO_FEATURE,
        renew_after_s: float | None = None,
        **wire: float,
    ) -> Host:
        """Add a host that uses the token, connected to every relay."""
        host = Host(self, key or KeyPair.from_secret(self.rng.randbytes(32)))
        meeting = Meeting(
            NoiseKey(self._static.public),
            DerpKey(self._issuer_derp.public),
            DerpKey(host.key.public),
        )
        identity = ClaimerIdentity(
            meeting,
            lambda _: header,
            secret,
            instance or self.rng.randbytes(16),
            features,
            fast_aeads,
            give_up_after_s,
            required,
            b"claimer 1.0",
            renew_after_s,
        )
        numbers = [relay.number for relay in self.relays]
        host.machine = Claimer(
            self.instant,
            identity,
            numbers,
            self.rng.randbytes,
            lambda _: self.is_polite,
            self._note,
        )
        return self._join(host, None, wire)

    def linked_pair(self, features: Feature = NO_FEATURE, **wire: float) -> tuple[Host, Host]:
        """Return (issuer, claimer) with a link that is up."""
        issuer = self.issuer(features=features, **wire)
        claimer = self.claimer(features=features, **wire)
        self.drive(lambda: issuer.link is not None and claimer.link is not None)
        return issuer, claimer

    def step(self) -> bool:
        """Jump to what comes next and let everybody work; returns False if nothing ever comes."""
        times = [time for host in self.hosts if (time := host.wakes_at) is not None]
        if self._queue:
            times.append(self._queue[0][0])
        if not times:
            return False
        self.now = max(self.now, min(times))
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        self.settle()
        return True

    def settle(self) -> None:
        """Let everybody work until nobody has anything to do now."""
        for _ in range(1000):
            has_worked = [host.run() for host in self.hosts]  # all of them, so no generator
            if not any(has_worked):
                self._check_deadlines()
                return
        raise AssertionError(f"hosts never rest (seed {self.seed})")

    def _check_deadlines(self) -> None:
        """See that no machine's timer is due when nobody has anything left to do.

        A driver would come back at once, find nothing to do, and spin until something else happens.
        """
        for number, host in enumerate(self.hosts):
            wakes_at = host.wakes_at
            if wakes_at is not None and wakes_at <= self.now:
                late_s = self.now - wakes_at
                raise AssertionError(
                    f"host {number} has a deadline that nobody moves, {late_s:g} s in the past "
                    f"(seed {self.seed}, now {self.now})"
                )

    def drive(
        self, until: Callable[[], bool], seconds: float = 600.0, steps: int = 400_000
    ) -> None:
        """Run until a condition holds; a world that does not get there fails with its seed."""
        deadline = self.now + seconds
        self.settle()
        for _ in range(steps):
            if until():
                return
            if self.now > deadline or not self.step():
                break
        if not until():
            raise AssertionError(f"not reached in {seconds} s (seed {self.seed}, now {self.now})")

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.at(end, lambda: None)
        self.settle()
        while self.now < end and self.step():
            pass

    def sleep(self, host: Host, seconds: float, does_clock_stop: bool = True) -> None:
        """Let a host sleep: nothing runs there, and its monotonic clock stands still or not."""
        host.is_asleep = True
        self.run_for(seconds)
        host.is_asleep = False
        host.lag += seconds if does_clock_stop else 0.0

    def _join(self, host: Host, on: tuple[int, ...] | None, wire: dict[str, float]) -> Host:
        self.hosts.append(host)
        for number in range(len(self.relays)) if on is None else on:
            self.connect(host, number, **wire)
        return host

    def _note(self, name: str, values: dict[str, object]) -> None:
        self.trace.append((self.now, name, values))


def forge(host: Host, frames: bytes, path: int = RELAY_PATH) -> bytes:
    """Return a packet with any frames, as a peer that breaks the rules would seal it."""
    assert host.link is not None
    return bytes(sealer_of(host.link).seal_general(path, frames)[1])


def forge_bulk(host: Host, stream: int, offset: int, data: bytes) -> bytes:
    """Return a packet of path 0 with any stream bytes, a multiple of 8, sealed in the same way."""
    assert host.link is not None
    return bytes(sealer_of(host.link).seal_bulk(RELAY_PATH, stream, offset, data)[1])


def patterned(size: int, seed: int = 1) -> bytes:
    """Return bytes that repeat nowhere in a way a mix-up could hide behind."""
    return random.Random(seed).randbytes(size)
