"""Relay and UDP fail across each other: one begins to fail about when the other one heals.

    UDP    ====X--------========X-----====     X fails, = works
    relay  =========X-----------=======X--     killed, frozen, swallowing, late

What is on its way by the one that fails must go on by the one that works.  A failure names its
seed; `HOSTILE_SEED=4711 pytest tests/sim/test_crossed_faults.py` runs it alone.
"""

from collections.abc import Callable

import pytest
from direct_world import drive_to_direct, world_of
from inside import relay_path
from seeds import check_all, chosen
from udp_network import UdpNetwork
from world import Host, World, patterned

from tunnel.proto.link.events import LinkStalled
from tunnel.proto.link.liveness import STALL_S
from tunnel.units import KIB, MIB

RUNS, CUT_RUNS = 1000, 12
KINDS = ("none", "full-cone", "restricted", "port-restricted")
MOVES_IN_S = 1.5  # the next byte of a stream, from when its sender is direct and UDP works
PAUSES_FOR_S = 3.0  # later: what a relay brings late after all may be sent twice meanwhile
ENDS_IN_S = 30.0  # after the last fault, beyond what the bytes need at half the rate
UDP_RATE, RELAY_RATE = 1e5, 1e5  # bytes a second of every wire
SIZE = 640 * KIB
SMALL = 2000  # bytes: a ping passes where a frame of stream bytes does not
Undo = Callable[[], None]


# -- faults -------------------------------------------------------------------------------------


def kill_relay(world: World) -> Undo:
    world.relay.stop()
    return world.relay.start


def freeze_relay(world: World) -> Undo:
    """Have everything wait in the relay, until it goes on."""
    held: list[tuple[bytes, bytes, bytes]] = []

    def hold(*packet: bytes) -> list[tuple[bytes, bytes, bytes]]:
        held.append(packet)
        return []

    def thaw() -> None:
        world.relay.tamper = None
        for packet in held:
            world.relay.route(*packet)

    world.relay.tamper = hold
    return thaw


def swallow(world: World) -> Undo:
    """Lose what a side, or each, sends by the relay; or only what is larger than a ping."""
    sources = world.rng.choice(([0], [1], [0, 1]))
    keys = {world.hosts[number].key.public for number in sources}
    passes = world.rng.choice((0, 0, SMALL))

    def tamper(source: bytes, to: bytes, data: bytes) -> list[tuple[bytes, bytes, bytes]]:
        is_lost = source in keys and len(data) > passes
        return [] if is_lost else [(source, to, data)]

    world.relay.tamper = tamper
    return lambda: setattr(world.relay, "tamper", None)


def delay_relay(world: World) -> Undo:
    wires = [wire for host in world.hosts for wire in world.wires(host)]
    return _delay(wires, world.rng.choice((0.3, 1.0, 4.0)))


def cut_udp(world: World, network: UdpNetwork) -> Undo:
    host = world.rng.choice(world.hosts)
    network.cut(host)
    return lambda: network.cut(host, is_cut=False)


def cut_udp_one_way(world: World, network: UdpNetwork) -> Undo:
    wire = world.rng.choice(network.wires(world.rng.choice(world.hosts)))
    wire.is_cut = True
    return lambda: setattr(wire, "is_cut", False)


def block_udp(world: World, network: UdpNetwork) -> Undo:
    port = network.ports[world.rng.choice(world.hosts)]
    port.is_blocked = True
    return lambda: setattr(port, "is_blocked", False)


def delay_udp(world: World, network: UdpNetwork) -> Undo:
    wires = [wire for host in world.hosts for wire in network.wires(host)]
    return _delay(wires, world.rng.choice((1.0, 4.0)))


def _delay(wires, seconds: float) -> Undo:
    before = [wire.delay for wire in wires]
    for wire in wires:
        wire.delay += seconds

    def undo() -> None:
        for wire, delay in zip(wires, before, strict=True):
            wire.delay, wire.last_arrival = delay, 0.0  # what was late may be overtaken

    return undo


RELAY_FAULTS = (kill_relay, freeze_relay, swallow, delay_relay)
UDP_FAULTS = (cut_udp, cut_udp_one_way, block_udp, delay_udp)


# -- a run --------------------------------------------------------------------------------------


class Crossing:
    """A transfer both ways, its faults, and an eye on every pause.

    Attributes:
        longest_s: the longest time from when a sender was direct again to the next byte.
    """

    def __init__(self, seed: int) -> None:
        rng = World(seed).rng
        kinds = rng.choice(KINDS), rng.choice(KINDS)
        delay = rng.choice((0.005, 0.02, 0.05, 0.1))
        self.world, self.network, *self.hosts = world_of(*kinds, seed, rate=UDP_RATE, delay=delay)
        for host in self.hosts:
            for wire in self.world.wires(host):
                wire.rate = RELAY_RATE
        drive_to_direct(self.world, *self.hosts)
        issuer, claimer = self.hosts
        self.payloads = [patterned(SIZE, seed), patterned(SIZE, seed + 1)]
        self.streams = [issuer.send_all(self.payloads[0]), claimer.send_all(self.payloads[1])]
        self.longest_s = 0.0
        self._works_since: float | None = self.world.now  # UDP
        self._direct_since: list[float | None] = [None, None]
        self._moved_at: list[float] = [0.0, 0.0]
        self._moved_to = [0, 0]
        self._may_pause_s = [MOVES_IN_S, MOVES_IN_S]

    def run_until(self, end: float) -> None:
        """Let time pass, and look after every step."""
        self.world.at(end, lambda: None)
        while self.world.now < end and self.world.step():
            self._look()

    def break_udp(self) -> Undo:
        undo = self.world.rng.choice(UDP_FAULTS)(self.world, self.network)
        self._works_since = None

        def mend() -> None:
            undo()
            self._works_since = self.world.now

        return mend

    def break_relay(self) -> Undo:
        return self.world.rng.choice(RELAY_FAULTS)(self.world)

    def finish(self) -> None:
        """See that all arrives soon."""
        missing = max(SIZE - self.received(number) for number in (0, 1))
        end = self.world.now + missing / (UDP_RATE / 2) + ENDS_IN_S
        while not self.is_complete and self.world.now < end and self.world.step():
            self._look()
        assert self.is_complete, f"{missing} bytes missing"
        for number, payload in enumerate(self.payloads):
            peer = self.hosts[1 - number]
            assert peer.received[self.streams[number]] == payload
            assert not peer.is_over

    @property
    def is_complete(self) -> bool:
        return all(self.received(number) == SIZE for number in (0, 1))

    def received(self, number: int) -> int:
        """Bytes of a host's stream that the other side has read."""
        return len(self.hosts[1 - number].received.get(self.streams[number], b""))

    def _look(self) -> None:
        for number, host in enumerate(self.hosts):
            self._look_at(number, host)

    def _look_at(self, number: int, host: Host) -> None:
        now, works_since, received = self.world.now, self._works_since, self.received(number)
        is_told, where = host.has(LinkStalled), f"host {number} at {now:.3f}"
        host.events.clear()
        if host.link.direct_path is None:
            self._direct_since[number] = None
            return
        since = self._direct_since[number]
        if since is None or received > self._moved_to[number] or received == SIZE:
            self._may_pause_s[number] = MOVES_IN_S if since is None else PAUSES_FOR_S
            since = self._direct_since[number] = now if since is None else since
            self._moved_at[number], self._moved_to[number] = now, received
        if works_since is None or since < works_since:
            return  # it was taken before UDP failed: how soon that is noticed is another matter
        pause_s = now - self._moved_at[number]
        assert pause_s <= self._may_pause_s[number], where
        if self._may_pause_s[number] == MOVES_IN_S:
            self.longest_s = max(self.longest_s, pause_s)
        assert not is_told or now - since <= STALL_S, f"{where}: a stall is told"


def check_run(seed: int) -> float:
    """Run one transfer through its faults; returns the longest pause while UDP worked."""
    crossing = Crossing(seed)
    world, rng = crossing.world, crossing.world.rng
    fails_at = world.now + rng.uniform(0.2, 2.0)
    for _ in range(rng.randrange(1, 4)):
        heals_at = fails_at + rng.uniform(0.2, 8.0)
        begins_at = heals_at + rng.uniform(-1.0, 0.5)
        if rng.random() < 0.3:
            begins_at = rng.uniform(fails_at - 1.0, heals_at)
        ends_at = max(begins_at, heals_at) + rng.uniform(0.5, 20.0)
        times = sorted([(fails_at, 0), (heals_at, 1), (begins_at, 2), (ends_at, 3)])
        undo: list[Undo] = [lambda: None] * 4
        for time, what in times:
            crossing.run_until(time)
            if what == 0:
                undo[1] = crossing.break_udp()
            elif what == 2:
                undo[3] = crossing.break_relay()
            else:
                undo[what]()
        fails_at = max(world.now, ends_at + rng.uniform(-0.5, 0.5))
    crossing.finish()
    return crossing.longest_s


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.alongside("computes")
def test_what_is_in_flight_by_the_one_that_fails_goes_on_by_the_one_that_works(is_full):
    only = chosen()
    seeds = range(RUNS if is_full else CUT_RUNS) if only is None else [only]

    longest = check_all(check_run, seeds, "test_crossed_faults")

    print(f"longest pause while direct and UDP works: {max(longest):.2f} s")


# -- one at a time --------------------------------------------------------------------------------


def relayed_then_direct(
    size: int, relay_delay: float = 0.02, **wire: float
) -> tuple[World, UdpNetwork, Host, Host, int]:
    """Return a world in which the claimer sends by the relay, until somebody mends UDP."""
    world, network, issuer, claimer = world_of(delay=relay_delay, **wire)
    for host in (issuer, claimer):
        for each in network.wires(host):
            each.delay = 0.02
    drive_to_direct(world, issuer, claimer)
    network.cut(claimer)
    claimer.send_all(b"so that somebody notices")
    world.run_for(4)
    assert claimer.link.direct_path is None
    return world, network, issuer, claimer, claimer.send_all(patterned(size))


@pytest.mark.parametrize("fault", [kill_relay, freeze_relay], ids=["killed", "frozen"])
def test_a_direct_path_beside_a_dead_relay_is_no_silence_and_asks_for_a_while_only(fault):
    world, network, issuer, claimer, stream = relayed_then_direct(100 * KIB)
    fault(world)
    network.cut(claimer, is_cut=False)
    drive_to_direct(world, issuer, claimer)
    world.drive(lambda: stream in issuer.ended, seconds=2.0)
    world.run_for(20)  # while the relay is asked
    by_relay = []
    world.watch = lambda host, packet: by_relay.append(packet)

    world.run_for(120)

    for host in (issuer, claimer):
        assert not host.has(LinkStalled)
        assert not host.is_over
        assert not host.link.is_awaiting
    assert by_relay == []


def test_a_frozen_relay_is_awaited_for_as_long_as_its_connection_may_be_found_dead():
    world, network, issuer, claimer, stream = relayed_then_direct(100 * KIB)
    freeze_relay(world)
    network.cut(claimer, is_cut=False)
    drive_to_direct(world, issuer, claimer)
    world.drive(lambda: stream in issuer.ended, seconds=2.0)

    for _ in range(10):
        world.run_for(1)
        assert claimer.link.is_awaiting


def test_what_a_slow_relay_delivers_is_not_sent_again_by_the_direct_path():
    # A round trip by the relay takes longer than it may be silent.
    size = 3 * MIB
    world, network, issuer, claimer, stream = relayed_then_direct(size, 0.3, rate=4e5)
    for host in (issuer, claimer):
        for wire in world.wires(host):
            wire.rate = 2e5
    world.run_for(8)
    counters, before = claimer.link.counters, claimer.link.counters.bytes_sent
    unsent = claimer.link.streams.sending(stream).unsent
    network.cut(claimer, is_cut=False)
    drive_to_direct(world, issuer, claimer)
    in_flight = relay_path(claimer.link).ledger.in_flight_bytes
    assert in_flight > 100 * KIB

    world.drive(lambda: stream in issuer.ended, seconds=30)

    assert issuer.received[stream] == patterned(size)
    assert counters.bytes_sent - before <= 1.05 * unsent + in_flight / 4


def test_what_was_late_on_a_relay_for_a_moment_is_not_sent_again_whole():
    # It was given up; its acknowledgements come while most of it still waits to be sent again.
    size = 600 * KIB
    world, network, issuer, claimer, stream = relayed_then_direct(size, rate=5e4)
    for host in (issuer, claimer):
        for wire in world.wires(host):
            wire.rate = 2e5
    world.run_for(0.5)
    thaw = freeze_relay(world)
    network.cut(claimer, is_cut=False)
    world.drive(lambda: bool(world.noted("path.left")), seconds=5.0)
    thaw()

    world.drive(lambda: stream in issuer.ended, seconds=30)

    assert issuer.received[stream] == patterned(size)
    assert claimer.link.counters.bytes_sent <= 1.5 * size


def test_what_a_relay_delivers_and_never_acknowledges_is_acknowledged_by_the_direct_path():
    size = 2 * MIB
    world, network, issuer, claimer, stream = relayed_then_direct(size, rate=1e6)
    for host in (issuer, claimer):
        for wire in world.wires(host):
            wire.rate = 1e6
    world.run_for(0.5)
    key = issuer.key.public
    world.relay.tamper = lambda source, *rest: [] if source == key else [(source, *rest)]
    acknowledged = size - claimer.link.streams.sending(stream).buffered
    world.run_for(1.0)
    delivered, before = len(issuer.received[stream]), claimer.link.counters.bytes_sent_direct
    assert delivered - acknowledged > 300 * KIB
    network.cut(claimer, is_cut=False)

    world.drive(lambda: claimer.link.streams.sending(stream).buffered == 0, seconds=20.0)

    assert issuer.received[stream] == patterned(size)
    sent = claimer.link.counters.bytes_sent_direct - before
    assert sent <= 1.1 * (size - delivered) + 128 * KIB  # two frames were probed again before
