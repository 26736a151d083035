"""A bottleneck in simulated time: our sender and its rate controller over a modelled link.

    Sender --(instant)--> loss, policer, queue with tail drop --rate--> half RTT --> Receiver
       ^                                                                                |
       +---------- half RTT, ack loss, jitter without reordering <--- Ack --------------+

A burst is one event, so that a gigabit runs in about real time: its packets enter the queue one by
one, and what survives arrives as one batch with the last of them, as with GRO.  `TcpFlow` sends
like TCP (Reno or CUBIC) through the same queue.  Everything is a function of the seed.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tunnel.proto.rate.direct import DirectController
from tunnel.proto.rate.pacer import CATCH_UP_PACKETS, CATCH_UP_S
from tunnel.proto.recovery.acks import AckState
from tunnel.proto.recovery.loss import SentLedger
from tunnel.proto.recovery.sent import SentRecord, StreamRange
from tunnel.units import Instant
from tunnel.wire.frames import Ack

PACKET = 1200
ACK_RANGES = 8  # the newest; fewer than on the wire, for speed
BIN_S = 0.05  # width of the bins in which deliveries and queueing delays are kept


def mbit(value: float) -> float:
    """Bytes a second of so many Mbit/s."""
    return value * 1e6 / 8


class Clock:
    """The order of events."""

    def __init__(self) -> None:
        self.now = Instant(100.0)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), action))

    def run_until(self, end: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action = heapq.heappop(heap)  # type: ignore[assignment]  # floats
            action()
        self.now = Instant(end)


@dataclass
class Shape:
    """What a link is like; rates in bytes a second, times in seconds."""

    rate: float
    rtt: float
    queue: float  # bytes
    loss: float = 0.0
    ack_loss: float = 0.0
    jitter: float = 0.0
    overtaken: float = 0.0  # the share of bursts that later packets overtake ...
    overtaken_by: int = 0  # ... by so many packets
    policer: float | None = None
    policer_depth: float = 60_000.0


@dataclass
class Tally:
    """What arrived, bin by bin, and how long the queue was when it was entered."""

    began: float
    delivered: dict[int, int] = field(default_factory=dict)
    drops: dict[int, int] = field(default_factory=dict)
    entries: dict[int, int] = field(default_factory=dict)

    def bin(self, now: float) -> int:
        return int((now - self.began) / BIN_S + 1e-6)

    def rate(self, start: float, stop: float) -> float:
        """Bytes a second delivered in [start, stop), counted from the beginning."""
        bins = range(round(start / BIN_S), round(stop / BIN_S))
        return sum(self.delivered.get(index, 0) for index in bins) / (stop - start)

    def loss(self, start: float, stop: float) -> float:
        """The share of packets lost of those sent in [start, stop)."""
        bins = range(round(start / BIN_S), round(stop / BIN_S))
        lost = sum(self.drops.get(index, 0) for index in bins)
        return lost / max(1, sum(self.entries.get(index, 0) for index in bins))


class Bottleneck:
    """One queue that all flows share; the way back has no queue."""

    def __init__(self, clock: Clock, shape: Shape, seed: int = 1) -> None:
        self.clock = clock
        self.shape = shape
        self.random = random.Random(seed)
        self.backlog = 0.0
        self.delays: dict[int, float] = {}  # per bin, the longest queueing delay
        self._began = clock.now
        self._drained_at: float = clock.now
        self._tokens = shape.policer_depth
        self._last_arrival: dict[int, float] = {}

    def drain(self) -> None:
        """Bring the backlog to this instant; call before changing the rate."""
        elapsed = self.clock.now - self._drained_at
        self._drained_at = self.clock.now
        self.backlog = max(0.0, self.backlog - elapsed * self.shape.rate)
        if self.shape.policer is not None:
            grown = self._tokens + elapsed * self.shape.policer
            self._tokens = min(grown, self.shape.policer_depth)

    def set_rate(self, rate: float) -> None:
        self.drain()
        self.shape.rate = rate

    def send(self, flow: int, first: int, count: int, size: int, tally: Tally) -> "Batch | None":
        """Put packets in; return the numbers that will arrive and when, or None."""
        self.drain()
        shape, chance = self.shape, self.random.random
        index = tally.bin(self.clock.now)
        tally.entries[index] = tally.entries.get(index, 0) + count
        numbers = []
        for number in range(first, first + count):
            if shape.loss and chance() < shape.loss:
                continue
            if shape.policer is not None:
                if self._tokens < size:
                    continue
                self._tokens -= size
            if self.backlog + size > shape.queue + size:  # one packet is on the wire
                continue
            self.backlog += size
            numbers.append(number)
        if len(numbers) < count:
            tally.drops[index] = tally.drops.get(index, 0) + count - len(numbers)
        delay = self.backlog / shape.rate
        self.delays[index] = max(self.delays.get(index, 0.0), delay)
        if not numbers:
            return None
        arrival = self._ordered(flow, self.clock.now + delay + shape.rtt / 2 + self._jitter())
        if shape.overtaken and chance() < shape.overtaken:
            arrival += shape.overtaken_by * size / shape.rate  # alone: the next do not wait for it
        tally_index = tally.bin(arrival)
        tally.delivered[tally_index] = tally.delivered.get(tally_index, 0) + len(numbers) * size
        return Batch(arrival, ranges_of(numbers))

    def way_back(self, flow: int) -> float | None:
        """Return when an ack that leaves now arrives, or None if it is lost."""
        if self.shape.ack_loss and self.random.random() < self.shape.ack_loss:
            return None
        return self._ordered(~flow, self.clock.now + self.shape.rtt / 2 + self._jitter())

    def worst_delay(self, start: float, stop: float) -> float:
        """The longest queueing delay in [start, stop), counted from the beginning."""
        bins = range(round(start / BIN_S), round(stop / BIN_S))
        return max(self.delays.get(index, 0.0) for index in bins)

    def usual_delay(self, start: float, stop: float) -> float:
        """The median over bins of their longest queueing delay."""
        bins = range(round(start / BIN_S), round(stop / BIN_S))
        return sorted(self.delays.get(index, 0.0) for index in bins)[len(bins) // 2]

    def _jitter(self) -> float:
        return self.random.random() * self.shape.jitter / 2 if self.shape.jitter else 0.0

    def _ordered(self, way: int, when: float) -> float:
        when = max(when, self._last_arrival.get(way, 0.0))
        self._last_arrival[way] = when
        return when


@dataclass
class Batch:
    """Packets that arrive together."""

    arrival: float
    ranges: list[tuple[int, int]]  # first, last


def ranges_of(numbers: list[int]) -> list[tuple[int, int]]:
    """Join ascending numbers into inclusive ranges."""
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return [(numbers[0], numbers[-1])]
    ranges = []
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            ranges.append((first, last))
            first = number
        last = number
    ranges.append((first, last))
    return ranges


class Schedule:
    """A process on a busy machine: it runs for a while, then others do.

    Args:
        seed: of its random times.
        runs: shortest and longest time that it runs.
        waits: shortest and longest time that it does not.
    """

    def __init__(self, seed: int, runs: tuple[float, float], waits: tuple[float, float]) -> None:
        self._random = random.Random(seed)
        self._runs, self._waits = runs, waits
        self._stops_at = self._goes_on_at = 0.0

    def awake_at(self, when: float) -> float:
        """Return when the process does what is due at `when`; ask with rising times."""
        while when >= self._goes_on_at:
            self._stops_at = max(self._goes_on_at, 100.0) + self._random.uniform(*self._runs)
            self._goes_on_at = self._stops_at + self._random.uniform(*self._waits)
        return self._goes_on_at if when >= self._stops_at else when


class Flow:
    """Our sender and its receiver on a bottleneck.

    Args:
        start_after: seconds after now.
        late: how much later than asked a timer wakes the sender.
        has_supply: whether there is always something to send; else `supply` gives bytes.
        peer_buffer: what the other side tells of its receive buffer.
        is_one_by_one: whether every packet is a record of its own, as general packets are.
        sends_when, receives_when: when either process is scheduled; always unless given.
    """

    _ids = itertools.count()

    def __init__(
        self,
        link: Bottleneck,
        start_after: float = 0.0,
        late: float = 0.0,
        has_supply: bool = True,
        peer_buffer: int | None = None,
        is_one_by_one: bool = False,
        sends_when: Schedule | None = None,
        receives_when: Schedule | None = None,
    ) -> None:
        self._sends_when, self._receives_when = sends_when, receives_when
        self._socket: list[tuple[float, list[tuple[int, int]]]] = []  # what waits to be read
        self._waiting_acks: list[tuple[float, Ack]] = []
        self.overflows = 0  # packets that found the receiver's socket full
        self.is_one_by_one = is_one_by_one
        self.link, self.clock, self.late = link, link.clock, late
        self.id = next(self._ids)
        self.tally = Tally(link.clock.now)
        self.ledger = SentLedger(has_packet_threshold=True)
        self.waiting: float = float("inf") if has_supply else 0
        self.faults: list[str] = []
        self.lost = 0
        self._peer_buffer = peer_buffer
        self._next_number = 0
        self._acks = AckState(1)
        self._timer_at = float("inf")
        self._instant = (0.0, 0, 0.0)  # bytes that left at one instant, and how many might
        self.clock.at(self.clock.now + start_after, self._start)

    def _start(self) -> None:
        self.controller = DirectController(self.clock.now, PACKET, self._peer_buffer)
        self.wake()

    def supply(self, size: int) -> None:
        """Give the sender something to send."""
        self.waiting += size
        self.wake()

    def wake(self) -> None:
        """Send what may be sent now and arm the timer."""
        now, ledger, controller = self.clock.now, self.ledger, self.controller
        lost = ledger.lost(now)
        if lost:
            self._note_lost(lost)
        probe_at = ledger.probe_deadline()
        if probe_at is not None and now >= probe_at:
            ledger.probed(now)
            self._transmit(1, is_probe=True)
        while self.waiting > 0:
            count = controller.sendable_packets(now, ledger.in_flight_bytes)
            if not count:
                break
            if self.is_one_by_one:
                count = 1
            if self.waiting < count * PACKET:
                count = -(-int(self.waiting) // PACKET)
            self.waiting -= count * PACKET
            self._transmit(count)
        self._arm(now)

    def _arm(self, now: float) -> None:
        times = [self.ledger.loss_deadline(), self.ledger.probe_deadline()]
        if self.waiting > 0:
            times.append(self.controller.next_send_at(now, self.ledger.in_flight_bytes))
        due = [time for time in times if time is not None]
        when = min(due, default=float("inf"))
        if self.waiting > 0 and when < now - 0.002 - 1e-9:
            self.faults.append(f"a deadline {now - when:.6f} s in the past")
        when = max(when, now) + self.late
        if due and (when < self._timer_at - 1e-9 or self._timer_at <= now):
            self._timer_at = when
            self.clock.at(when, self._timer if self._sends_when is None else self._sleepy_timer)

    def _sleepy_timer(self) -> None:
        assert self._sends_when is not None
        self.clock.at(self._sends_when.awake_at(self.clock.now), self._timer)

    def _timer(self) -> None:
        if self.clock.now >= self._timer_at - 1e-9:
            self._timer_at = float("inf")
            self.wake()

    def _transmit(self, count: int, is_probe: bool = False) -> None:
        now, controller = self.clock.now, self.controller
        record = SentRecord(self._next_number, count, now, PACKET, is_ack_eliciting=True)
        if count > 1:  # a burst is cut by its stream bytes
            record.ranges, record.unit = [no_bytes(self._next_number, count)], 1
        if not is_probe:
            self._check_limits(count)
        self._next_number += count
        self.ledger.sent(record)
        controller.on_sent(now, record, self.waiting > 0, self.ledger.in_flight_bytes)
        batch = self.link.send(self.id, record.first, count, PACKET, self.tally)
        if batch is not None:
            self.clock.at(batch.arrival, lambda: self._arrive(batch.ranges))

    def _check_limits(self, count: int) -> None:
        now, controller = self.clock.now, self.controller
        size = count * PACKET
        if count > controller.pacer.burst_packets:
            self.faults.append(f"a burst of {count} packets")
        if self.ledger.in_flight_bytes + size > controller.window:
            self.faults.append(f"{self.ledger.in_flight_bytes + size} bytes in flight")
        at, before, limit = self._instant
        if at != now:
            before, limit = 0, 0.0
        late_packets = max(controller.pacer.burst_packets, CATCH_UP_PACKETS)
        limit = max(limit, controller.rate_limit * CATCH_UP_S, late_packets * PACKET)
        self._instant = (now, before + size, limit)
        if before + size > limit + PACKET and self._next_number > 10:
            self.faults.append(f"{before + size} bytes at one instant, limit {limit}")

    def _note_lost(self, lost: list[SentRecord]) -> None:
        self.lost += sum(record.count for record in lost)
        if self.waiting != float("inf"):
            self.waiting += sum(record.count * record.size for record in lost)
        self.controller.on_lost(lost, self.ledger.in_flight_bytes)

    def _arrive(self, ranges: list[tuple[int, int]]) -> None:
        if self._receives_when is None:
            self._read([(self.clock.now, ranges)])
            return
        if not self._socket:
            self.clock.at(self._receives_when.awake_at(self.clock.now), self._read_socket)
        self._socket.append((self.clock.now, ranges))
        held = sum(last - first + 1 for _, some in self._socket for first, last in some)
        if self._peer_buffer is not None and held * PACKET > self._peer_buffer:
            _, dropped = self._socket.pop()
            self.overflows += sum(last - first + 1 for first, last in dropped)

    def _read_socket(self) -> None:
        waiting, self._socket = self._socket, []
        self._read(waiting)

    def _read(self, arrived: list[tuple[float, list[tuple[int, int]]]]) -> None:
        now = self.clock.now
        for arrived_at, ranges in arrived:
            for first, last in ranges:
                count = last - first + 1
                self._acks.received(arrived_at, first, count, is_ack_eliciting=True)
        if self._acks.is_due(now):
            self._acknowledge()
        elif self._acks.deadline is not None:
            self.clock.at(self._acks.deadline, self._acknowledge_if_due)

    def _acknowledge_if_due(self) -> None:
        if self._acks.is_due(self.clock.now):
            self._acknowledge()

    def _acknowledge(self) -> None:
        whole = self._acks.take(self.clock.now, 0)
        ack = Ack(whole.path, 0, whole.delay_us, whole.ranges[:ACK_RANGES])
        arrival = self.link.way_back(self.id)
        if arrival is not None:
            self.clock.at(arrival, lambda: self._acknowledged(ack))

    def _acknowledged(self, ack: Ack) -> None:
        if self._sends_when is None:
            self._take(self.clock.now, ack)
            return
        if not self._waiting_acks:
            self.clock.at(self._sends_when.awake_at(self.clock.now), self._take_acks)
        self._waiting_acks.append((self.clock.now, ack))

    def _take_acks(self) -> None:
        waiting, self._waiting_acks = self._waiting_acks, []
        for arrived_at, ack in waiting:
            self._take(arrived_at, ack)

    def _take(self, arrived_at: float, ack: Ack) -> None:
        newly = self.ledger.acked(self.clock.now, ack, self.clock.now - arrived_at)
        if newly:
            ledger = self.ledger
            self.controller.on_acked(
                Instant(arrived_at), newly, ledger.peer_delay_s, ledger.in_flight_bytes
            )
        self.wake()


def no_bytes(first: int, count: int) -> StreamRange:
    return StreamRange(0, first, first + count)


class TcpFlow:
    """A sender like TCP's, good enough to compete: slow start, Reno or CUBIC, fast recovery.

    Every packet is acknowledged; three later ones make a packet lost; losses of one window halve
    (CUBIC: multiply by 0.7) once.  What is lost is sent again under new numbers.
    """

    def __init__(self, link: Bottleneck, is_cubic: bool = False, start_after: float = 0.0) -> None:
        self.link, self.clock = link, link.clock
        self.id = next(Flow._ids)
        self.tally = Tally(link.clock.now)
        self.window = 10.0
        self._threshold = float("inf")
        self._is_cubic = is_cubic
        self._next_number = 0
        self._unacked = 0  # everything below was acknowledged or called lost
        self._in_flight = 0
        self._recovery_ends = 0
        self._cubic_origin = 0.0
        self._cubic_peak = 0.0
        self._progress_at: float = link.clock.now
        self.clock.at(self.clock.now + start_after, self._fill)
        self.clock.at(self.clock.now + start_after + 1, self._watch)

    def _fill(self) -> None:
        while self._in_flight < int(self.window):
            batch = self.link.send(self.id, self._next_number, 1, PACKET, self.tally)
            self._next_number += 1
            self._in_flight += 1
            if batch is not None:
                arrival, number = batch.arrival + self.link.shape.rtt / 2, batch.ranges[0][0]
                self.clock.at(arrival, lambda number=number: self._acked(number))

    def _acked(self, number: int) -> None:
        self._progress_at = self.clock.now
        if number < self._unacked:
            return
        lost = number - self._unacked  # the queue keeps the order: what it skipped is gone
        self._in_flight -= lost + 1
        self._unacked = number + 1
        if lost and number >= self._recovery_ends:
            self._cut()
        elif number >= self._recovery_ends:
            self._grow()
        self._fill()

    def _grow(self) -> None:
        if self.window < self._threshold:
            self.window += 1
        elif not self._is_cubic:
            self.window += 1 / self.window
        else:
            elapsed = self.clock.now - self._cubic_origin
            root = (self._cubic_peak * 0.3 / 0.4) ** (1 / 3)
            target = 0.4 * (elapsed - root) ** 3 + self._cubic_peak
            self.window += max(1 / self.window, min(1.0, (target - self.window) / self.window))

    def _cut(self) -> None:
        self._cubic_peak, self._cubic_origin = self.window, self.clock.now
        self.window = max(2.0, self.window * (0.7 if self._is_cubic else 0.5))
        self._threshold = self.window
        self._recovery_ends = self._next_number

    def _watch(self) -> None:
        """Time out as TCP does when nothing came back for a second."""
        if self.clock.now - self._progress_at >= 1.0:
            self._unacked, self._in_flight = self._next_number, 0
            self._threshold, self.window = max(2.0, self.window / 2), 2.0
            self._progress_at = self.clock.now
            self._fill()
        self.clock.at(self.clock.now + 0.2, self._watch)
