"""Random faults of paths, of every kind and in every mixture: exact each time, and soon over.

A failure names its seed; `FAULT_SEED=4711 pytest tests/sim/test_path_faults.py` runs it alone.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from direct_world import world_of
from udp_network import UdpNetwork, nat_of
from world import Host, World, patterned

RUNS, CUT_RUNS = 500, 15
KINDS = ("none", "full-cone", "restricted", "port-restricted", "symmetric")
RATE = 1e5  # bytes a second of every wire
MOST_FAULTS = 10
ENDS_IN_S = 30.0  # after the last fault, beyond what the bytes need at half the rate
REPLAY = "FAULT_SEED=%s pytest tests/sim/test_path_faults.py"


@dataclass
class Scene:
    """A transfer both ways, and what may happen to the network below it.

    Attributes:
        mends: what undoes the faults that are still there.
        happened: the faults so far, for who reads a failure.
    """

    world: World
    network: UdpNetwork
    hosts: list[Host]
    streams: list[tuple[Host, int, bytes]]
    mends: list[Callable[[], None]] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    moves: int = 0

    @property
    def is_complete(self) -> bool:
        return all(stream in host.ended for host, stream, _ in self.streams)

    @property
    def missing(self) -> int:
        """Bytes that have not arrived, of the stream that lacks most."""
        return max(
            len(payload) - len(host.received.get(stream, b""))
            for host, stream, payload in self.streams
        )

    def strike(self) -> None:
        """Have one fault happen."""
        rng = self.world.rng
        name = rng.choice(sorted(FAULTS))
        host = rng.choice(self.hosts)
        self.happened.append(f"{self.world.now:.2f} {name} {self.hosts.index(host)}")
        FAULTS[name](self, host)

    def mend(self) -> None:
        """Undo all faults that can be undone."""
        while self.mends:
            self.mends.pop()()

    # -- faults -----------------------------------------------------------------------------

    def cut_direct(self, host: Host) -> None:
        self.network.cut(host)
        self.mends.append(lambda: self.network.cut(host, is_cut=False))

    def cut_one_way(self, host: Host) -> None:
        wire = self.world.rng.choice(self.network.wires(host))
        wire.is_cut = True
        self.mends.append(lambda: setattr(wire, "is_cut", False))

    def lose_one_way(self, host: Host) -> None:
        wire = self.world.rng.choice(self.network.wires(host))
        wire.loss = self.world.rng.choice((0.02, 0.2, 0.9))
        self.mends.append(lambda: setattr(wire, "loss", 0.0))

    def block_udp(self, host: Host) -> None:
        port = self.network.ports[host]
        port.is_blocked = True
        if self.world.rng.random() < 0.7:  # or it stays so for the rest
            self.mends.append(lambda: setattr(port, "is_blocked", False))

    def cut_relay(self, host: Host) -> None:
        self.world.cut(host)
        self.mends.append(lambda: self.world.cut(host, is_cut=False))

    def restart_relay(self, host: Host) -> None:
        del host
        self.world.relay.stop()
        self.mends.append(self.world.relay.start)

    def rebind_port(self, host: Host) -> None:
        nat = self.network.ports[host].nat
        if nat is not None:
            nat.rebind()

    def rebind_address(self, host: Host) -> None:
        nat = self.network.ports[host].nat
        if nat is not None:
            self.moves += 1
            nat.rebind(f"203.0.{113 + self.hosts.index(host)}.{100 + self.moves}")

    def move(self, host: Host) -> None:
        """Take a host to another network; it sees that when it looks at its interfaces."""
        rng, self.moves = self.world.rng, self.moves + 1
        kind, public = rng.choice(KINDS), f"198.18.{self.hosts.index(host)}.{self.moves}"
        ip = public if kind == "none" else f"10.{self.moves}.0.2"
        self.network.move(host, ip, nat=nat_of(kind, public))
        driver = self.network.drivers[host]
        self.world.at(self.world.now + 2 * rng.random(), driver.network_changed)

    def change_interfaces(self, host: Host) -> None:
        """Give a host one address more that leads nowhere, or take it away again."""
        port = self.network.ports[host]
        if len(port.ips) > 1:
            port.ips.pop()
        else:
            self.moves += 1
            port.ips.append(f"172.16.{self.moves}.1")
        self.network.drivers[host].network_changed()

    def delay(self, host: Host) -> None:
        for wire in self.network.wires(host):
            wire.delay = self.world.rng.choice((0.001, 0.05, 0.4))

    def shrink_mtu(self, host: Host) -> None:
        port = self.network.ports[host]
        port.mtu = self.world.rng.choice((628, 1178, 1228, 1308, 1428))
        self.mends.append(lambda: setattr(port, "mtu", 1500))

    def lose_lanes(self, host: Host) -> None:
        assert host.link is not None
        link, driver = host.link, self.network.drivers[host]
        driver.use_lanes(link, {})
        self.mends.append(lambda: driver.use_lanes(link))

    def sleep(self, host: Host) -> None:
        host.is_asleep = True
        began, stops = self.world.now, self.world.rng.random() < 0.5

        def wake() -> None:
            host.is_asleep = False
            host.lag += self.world.now - began if stops else 0.0
            self.network.drivers[host].network_changed()

        self.mends.append(wake)


FAULTS: dict[str, Callable[[Scene, Host], None]] = {
    name: getattr(Scene, name)
    for name in (
        "cut_direct", "cut_one_way", "lose_one_way", "block_udp", "cut_relay", "restart_relay",
        "rebind_port", "rebind_address", "move", "change_interfaces", "delay", "shrink_mtu",
        "lose_lanes", "sleep",
    )
}  # fmt: skip


def begin(seed: int) -> Scene:
    kinds = World(seed).rng
    kind_a, kind_b = kinds.choice(KINDS), kinds.choice(KINDS)
    world, network, issuer, claimer = world_of(kind_a, kind_b, seed, rate=RATE, delay=0.01)
    for wire in (*world.wires(issuer), *world.wires(claimer)):
        wire.rate = RATE
    payloads = [patterned(world.rng.randrange(1 << 20), n) for n in (1, 2)]
    streams = [
        (issuer, claimer.send_all(payloads[0]), payloads[0]),
        (claimer, issuer.send_all(payloads[1]), payloads[1]),
    ]
    return Scene(world, network, [issuer, claimer], streams)


def check_run(seed: int) -> float:
    """Run one transfer through its faults; returns how late it ended after the last one."""
    scene = begin(seed)
    world, rng = scene.world, scene.world.rng
    try:
        for _ in range(rng.randrange(1, MOST_FAULTS + 1)):
            world.run_for(rng.random())
            scene.strike()
            if rng.random() < 0.3:
                continue  # another one comes on top
            world.run_for(rng.choice((0.1, 1.0, 4.0, 20.0)) * rng.random())
            scene.mend()
        scene.mend()
        last, missing = world.now, scene.missing
        world.drive(lambda: scene.is_complete, seconds=200)
    except Exception as error:
        raise AssertionError(
            f"seed {seed}: {error!r}; after {scene.happened}; replay: {REPLAY % seed}"
        ) from error
    for host, stream, payload in scene.streams:
        assert host.received[stream] == payload, f"seed {seed}: {REPLAY % seed}"
        assert not host.is_over
    took_s = world.now - last
    over_s = took_s - missing / (RATE / 2)
    assert over_s <= ENDS_IN_S, f"{took_s} s for {missing} bytes; seed {seed}: {REPLAY % seed}"
    return over_s


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.alongside("computes")
def test_random_faults_of_paths_never_cost_a_byte_and_are_soon_over(is_full):
    only = os.environ.get("FAULT_SEED")
    seeds = range(int(only), int(only) + 1) if only else range(RUNS if is_full else CUT_RUNS)

    for seed in seeds:
        check_run(seed)
