"""A relay and who meets at it by codes, without sockets: seeded, with a clock of its own.

The relay does what a DERP server does: it vouches for the source, of two connections with one key
it serves the one that spoke last, and says NotHere of keys that nobody is connected with.
"""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from derphole.token.code import drawn_code
from derphole.token.typed_code import parse_code
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import DecodeError
from tunnel.proto.code.code_claimer import CodeAnswered, CodeClaimer, CodeFailed
from tunnel.proto.code.code_issuer import CodeRedeemed, Way, WrongProof
from tunnel.proto.code.code_series import (
    CodeDead,
    CodeReady,
    CodeSeries,
    Enter,
    Leave,
    LookAlive,
    NoCode,
)
from tunnel.proto.code.terms import CodeTerms
from tunnel.units import Instant, WallTime
from tunnel.wire.code import decode_code_message

LATENCY_S = 0.02
REGION = 12


class Connection:
    """One connection to the relay.

    Args:
        relay: the relay.
        keys: whom it logs in as.
        on_packet: takes source and bytes.
        on_gone: takes a key that is not here.
    """

    def __init__(
        self,
        relay: "Relay",
        keys: KeyPair,
        on_packet: Callable[[DerpKey, bytes], None],
        on_gone: Callable[[DerpKey], None] = lambda key: None,
    ) -> None:
        self.relay = relay
        self.key = DerpKey(keys.public)
        self.on_packet = on_packet
        self.on_gone = on_gone
        self.is_open = True
        relay.connections.append(self)

    def send(self, to: DerpKey, data: bytes) -> None:
        if self.is_open:
            self.relay.take(self, to, bytes(data))

    def close(self) -> None:
        self.is_open = False
        if self in self.relay.connections:
            self.relay.connections.remove(self)


class Relay:
    """The relay, and the clock of this world.

    Attributes:
        seen: (source, destination, bytes) of every packet: what its operator sees.
        tampering: returns what becomes of a packet, a list of (source, destination, bytes).
    """

    def __init__(self, seed: int) -> None:
        self.now = Instant(0.0)
        self.rng = random.Random(seed)
        self.connections: list[Connection] = []
        self.seen: list[tuple[DerpKey, DerpKey, bytes]] = []
        self.seen_at: list[Instant] = []
        self.is_frozen = False  # whether nothing passes, and nobody is told
        self.tampering: Callable[[DerpKey, DerpKey, bytes], list[tuple[DerpKey, DerpKey, bytes]]]
        self.tampering = lambda source, to, data: [(source, to, data)]
        self._queue: list[tuple[Instant, int, Callable[[], None]]] = []
        self._numbers = count()
        self._clocks: list[tuple[Callable[[], Instant | None], Callable[[], None]]] = []

    def entropy(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heappush(self._queue, (Instant(self.now + delay_s), next(self._numbers), do))

    def add_clock(self, due_at: Callable[[], Instant | None], do: Callable[[], None]) -> None:
        """Have a machine called when it is due."""
        self._clocks.append((due_at, do))

    def take(self, connection: Connection, to: DerpKey, data: bytes) -> None:
        """Take a packet of a connection."""
        self.connections.remove(connection)  # whoever spoke last is served
        self.connections.append(connection)
        self.seen.append((connection.key, to, data))
        self.seen_at.append(self.now)
        if self.is_frozen:
            return
        for source, target, packet in self.tampering(connection.key, to, data):
            self.after(
                LATENCY_S, lambda s=source, t=target, p=packet: self._pass(connection, s, t, p)
            )

    def _pass(self, origin: Connection, source: DerpKey, to: DerpKey, data: bytes) -> None:
        target = next((each for each in reversed(self.connections) if each.key == to), None)
        if target is None:
            if origin.is_open:
                origin.on_gone(to)
        else:
            target.on_packet(source, data)

    def run(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """Let time pass."""
        end = Instant(self.now + seconds)
        while not until():
            times = [self._queue[0][0]] if self._queue else []
            times += [at for due_at, _ in self._clocks if (at := due_at()) is not None]
            if not times or min(times) > end:
                self.now = end
                return
            self.now = max(self.now, min(times))
            while self._queue and self._queue[0][0] <= self.now:
                heappop(self._queue)[2]()
            for due_at, do in self._clocks:
                at = due_at()
                if at is not None and at <= self.now:
                    do()


class IssuerSide:
    """A command that shows codes.

    Attributes:
        ready: the codes that were shown, as text.
        wrong: how often a wrong proof was announced.
        dead, none, redeemed: what was announced.
    """

    def __init__(
        self,
        relay: Relay,
        words: int = 2,
        text: bytes = b"dhp1_the-token",
        draw=None,
        life_s: float = 3600.0,
    ) -> None:
        self.relay = relay
        self.keys = KeyPair.from_secret(relay.entropy(32))
        self.ready: list[str] = []
        self.wrong: list[WrongProof] = []
        self.dead: list[CodeDead] = []
        self.none: list[NoCode] = []
        self.redeemed: list[DerpKey] = []
        self.meeting: Connection | None = None
        self.looks = 0
        self._generation = 0
        self.home = Connection(relay, self.keys, lambda source, data: None, self._gone)
        make = draw or (lambda: drawn_code(REGION, words, relay.entropy))
        self.series = CodeSeries(
            relay.now,
            lambda: make().terms,
            text,
            DerpKey(self.keys.public),
            relay.entropy,
            Instant(relay.now + life_s),
        )
        relay.add_clock(self.series.next_timeout, self._due)
        self.work()

    @property
    def code(self) -> str | None:
        """The code that is shown and good."""
        dead = {terms.place for each in self.dead for terms in (each.terms,)}
        good = [
            each
            for each in self.ready
            if each.split("-")[1].encode() not in {place.split(b"-")[1] for place in dead}
        ]
        return good[-1] if good else None

    def rest(self) -> None:
        self.series.rest()
        self.work()

    def resume(self) -> None:
        self.series.resume(self.relay.now)
        self.work()

    def work(self) -> None:
        """Send what is to be sent, and take what happened."""
        while True:
            for packet in self.series.packets_to_send():
                by = self.home if packet.way is Way.HOME else self.meeting
                if by is not None:
                    by.send(packet.to, packet.data)
            event = self.series.next_event()
            if event is None:
                return
            self._take(event)

    def _take(self, event: object) -> None:
        match event:
            case Enter(keys):
                self._enter(keys)
            case LookAlive():
                self.looks += 1
                if self.relay.is_frozen:  # neither pong comes within 5 s
                    self.relay.after(5.0, self._both_died)
            case Leave():
                self._generation += 1
                if self.meeting is not None:
                    self.meeting.close()
                    self.meeting = None
            case CodeReady(terms):
                self.ready.append(shown_text(terms))
            case WrongProof():
                self.wrong.append(event)
            case CodeDead():
                self.dead.append(event)
            case NoCode():
                self.none.append(event)
            case CodeRedeemed(claimer):
                self.redeemed.append(claimer)

    def _enter(self, keys: KeyPair) -> None:
        """Log in, unless it is left meanwhile, as soon as the relay can be reached."""
        generation = self._generation

        def enter() -> None:
            if generation != self._generation:
                return
            if self.relay.is_frozen or not self.home.is_open:
                self.relay.after(1.0, enter)
            else:
                self._entered(keys)

        self.relay.after(3 * LATENCY_S, enter)

    def cut_home(self, seconds: float) -> None:
        """Have the connection at home break, and come back."""
        self.home.close()
        self.series.handle_home(self.relay.now, is_up=False)
        self.work()
        self.relay.after(seconds, self._home_back)

    def cut_both(self, seconds: float) -> None:
        """Have the relay restart."""
        self.cut_home(seconds)
        if self.meeting is not None:
            self.cut_meeting(seconds + 0.3)

    def _home_back(self) -> None:
        if self.relay.is_frozen:
            self.relay.after(1.0, self._home_back)
            return
        self.home.is_open = True
        self.relay.connections.append(self.home)
        self.series.handle_home(self.relay.now, is_up=True)
        self.work()

    def _both_died(self) -> None:
        if self.home.is_open and self.relay.is_frozen:
            self.cut_both(1.0)

    def _entered(self, keys: KeyPair) -> None:
        self.meeting = Connection(self.relay, keys, self._packet)
        self.series.handle_meeting(self.relay.now, is_up=True)
        self.work()

    def cut_meeting(self, seconds: float) -> None:
        """Have the meeting's connection break, and come back."""
        assert self.meeting is not None
        meeting, current = self.meeting, self.series.current
        meeting.close()
        self.series.handle_meeting(self.relay.now, is_up=False)
        self.work()

        def back() -> None:
            if self.relay.is_frozen:
                self.relay.after(1.0, back)
            elif self.meeting is meeting and self.series.current is current:
                meeting.is_open = True
                self.relay.connections.append(meeting)
                self.series.handle_meeting(self.relay.now, is_up=True)
                self.work()

        self.relay.after(seconds, back)

    def _packet(self, source: DerpKey, data: bytes) -> None:
        self.series.handle_packet(self.relay.now, source, data)
        self.work()

    def _gone(self, key: DerpKey) -> None:
        self.series.handle_not_here(self.relay.now, key)
        self.work()

    def _due(self) -> None:
        self.series.handle_timeout(self.relay.now)
        self.work()


class ClaimerSide:
    """A command that was given a code."""

    def __init__(self, relay: Relay, code, entropy=None) -> None:
        self.relay = relay
        draw = entropy or relay.entropy
        keys = KeyPair.from_secret(draw(32))
        self.key = DerpKey(keys.public)
        self.answered: bytes | None = None
        self.failed: CodeFailed | None = None
        self.machine = CodeClaimer(parse_code(code).terms, self.key, draw)
        self.connection = Connection(relay, keys, self._packet, self._gone)
        relay.add_clock(self.machine.next_timeout, self._due)
        self.machine.handle_relay_up(relay.now, 0)
        self.work()

    @property
    def is_over(self) -> bool:
        return self.answered is not None or self.failed is not None

    def work(self) -> None:
        now = self.relay.now
        while packets := self.machine.packets_to_send(now):
            for packet in packets:
                self.connection.send(packet.to.key, bytes(packet.data))
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, CodeAnswered):
                self.answered = event.text
            else:
                self.failed = event

    def _packet(self, source: DerpKey, data: bytes) -> None:
        self.machine.handle_packet(
            self.relay.now, WallTime(0.0), 0, source, memoryview(bytes(data))
        )
        self.work()

    def _gone(self, key: DerpKey) -> None:
        self.machine.handle_peer_gone(self.relay.now, 0, key)
        self.work()

    def _due(self) -> None:
        self.machine.handle_timeout(self.relay.now)
        self.work()


def shown_text(terms: CodeTerms) -> str:
    return f"{terms.place.decode()}-{terms.words.decode()}"


def kind_of(data: bytes) -> str:
    """Return the name of a message, for tests that look at what passes."""
    try:
        return type(decode_code_message(data)).__name__
    except DecodeError:
        return "other"
