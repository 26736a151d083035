"""Whole transfers with a hostile node on the direct path, and sometimes a hostile relay, too.

Never a wrong byte, never a false success, never unbounded state; no data where no challenge was
answered; direct again soon after it stops.  A failure names its seed;
`HOSTILE_SEED=4711 pytest tests/sim/test_hostile_udp.py` runs that one alone.
"""

from dataclasses import dataclass
from functools import cache

import pytest
from bounds import check_host
from conversation import Outcome, Receiver, Sender
from hostile_relay import HostileRelay, Recording, record
from hostile_udp import OWN_IP, TRICKS, HostileNode, Witness
from inside import direct_paths
from seeds import check_all, chosen
from udp_network import HOST_PORT, UdpNetwork, nat_of
from world import Host, World, patterned

from tunnel.crypto.keys import KeyPair
from tunnel.crypto.packets import MAX_RECEIVE_PATHS

RUNS, CUT_RUNS = 2000, 60
FOUND = (187,)  # seeds whose runs have failed: tried at every size
ISSUER_KEYS = KeyPair.from_secret(b"\x11" * 32), KeyPair.from_secret(b"\x22" * 32)
CLAIMER_KEY = KeyPair.from_secret(b"\x33" * 32)
NATS = (
    ("none", "none"),
    ("none", "port-restricted"),
    ("full-cone", "full-cone"),
    ("restricted", "symmetric"),
    ("port-restricted", "port-restricted"),
)
SECONDS = 60.0
AGAIN_S = 5.0
SHARE_CHECKED = 0.25  # of the runs; in the others it was over, or not yet direct, too soon


@cache
def earlier_relayed() -> list[Recording]:
    return [record(seed, ISSUER_KEYS, CLAIMER_KEY) for seed in range(1_000_000, 1_000_002)]


@cache
def earlier_datagrams() -> list[bytes]:
    """What two earlier links of the same hosts sent by UDP."""
    datagrams = []
    for seed in (2_000_000, 2_000_001):
        world = World(seed, issuer_keys=ISSUER_KEYS)
        network = UdpNetwork(world)
        receiver, sender = begin_transfer(world, network, ("none", "none"), 60_000, 60.0)
        world.drive(lambda: receiver.is_over and sender.is_over)  # noqa: B023
        datagrams += [data for _, _, data in network.seen]
    assert len(datagrams) > 50
    return datagrams


@dataclass
class Run:
    """One transfer under attack."""

    world: World
    network: UdpNetwork
    node: HostileNode
    receiver: Receiver
    sender: Sender
    payload: bytes
    again_s: float | None = None  # how soon it was direct again, where that can be said

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.receiver.host, self.sender.host

    @property
    def outcome(self) -> "RunOutcome":
        """What is kept of a run: thousands of worlds would fill a machine."""
        return RunOutcome(frozenset(self.node.tricks), self.again_s)

    @property
    def is_over(self) -> bool:
        return self.receiver.is_over and self.sender.is_over

    @property
    def has_ended(self) -> bool:
        """Whether one of them is over: then there is nobody to be direct with."""
        return self.receiver.is_over or self.sender.is_over

    @property
    def is_direct(self) -> bool:
        """Whether both sides use a direct path, to an address that the other one really has."""
        return all(self._has_direct(us, them) for us, them in (self.hosts, self.hosts[::-1]))

    def _has_direct(self, us: Host, them: Host) -> bool:
        path = us.link.direct_path if us.link is not None else None
        port = self.network.ports[them]
        ips = port.ips if port.nat is None else [port.nat.ip]
        return path is not None and path.ip in ips


@dataclass(frozen=True)
class RunOutcome:
    """What was tried in a run, and how soon it was direct again, where that can be said."""

    tricks: frozenset[str]
    again_s: float | None


def begin_transfer(
    world: World, network: UdpNetwork, kinds: tuple[str, str], size: int, patience: float
) -> tuple[Receiver, Sender]:
    issuer = world.issuer(give_up_after_s=patience, delay=0.005)
    claimer = world.claimer(key=CLAIMER_KEY, give_up_after_s=patience, delay=0.005)
    for number, (host, kind) in enumerate(zip((issuer, claimer), kinds, strict=True), 1):
        ip = f"203.0.113.{number}" if kind == "none" else f"10.0.{number}.2"
        network.attach(host, ip, nat=nat_of(kind, f"203.0.113.{number}0"), delay=0.005, rate=1e5)
    for wire in (*world.wires(issuer), *world.wires(claimer)):
        wire.rate = 1e5
    return Receiver(issuer), Sender(claimer, patterned(size, world.seed))


def begin(seed: int) -> Run:
    world = World(seed, issuer_keys=ISSUER_KEYS)
    rng, network = world.rng, UdpNetwork(world)
    kinds = rng.choice(NATS)
    size = rng.choice((0, 100, 60_000, 200_000, 400_000, 400_000, 600_000))
    receiver, sender = begin_transfer(world, network, kinds[:: rng.choice((1, -1))], size, 60.0)
    Witness(network)
    node = HostileNode(network, earlier_datagrams())
    return Run(world, network, node, receiver, sender, patterned(size, seed))


def check_bytes(run: Run) -> None:
    written = bytes(run.receiver.written)
    assert run.payload.startswith(written), "a wrong byte"
    if Outcome.SUCCEEDED in (run.receiver.outcome, run.sender.outcome):
        assert written == run.payload, "success without all the bytes"
    if run.sender.outcome is Outcome.SUCCEEDED:
        assert run.receiver.outcome is Outcome.SUCCEEDED, "a false success of the sender"


def open_nats(run: Run) -> None:
    """Let the node's packets in, as an attacker beside the real peer would get them in."""
    for port in run.network.ports.values():
        if port.nat is not None and run.world.rng.random() < 0.5:
            port.nat.filtering = nat_of("full-cone", "").filtering
            for external in port.nat.inside:
                port.nat.opened_at[external,] = float("inf")


def check_run(seed: int) -> Run:
    run = begin(seed)
    world, node = run.world, run.node
    waits = world.rng.random() < 0.7  # for the direct path, before it does harm
    if waits:
        ends_at = world.now + 3
        world.at(ends_at, lambda: None)
        world.drive(lambda: run.is_direct or run.is_over or world.now >= ends_at)
    was_direct = run.is_direct
    attack_s = world.rng.choice((0.3, 1.0, 2.5, 5.0))
    open_nats(run)
    if world.rng.random() < 0.3:
        HostileRelay(world, earlier_relayed(), world.now + attack_s)
    node.start()

    world.run_for(attack_s)
    check_bytes(run)
    for host in run.hosts:
        check_host(host, has_direct=True)
    node.stop()

    stopped_at = world.now
    if was_direct and not run.has_ended:
        world.drive(lambda: run.is_direct or run.has_ended, seconds=AGAIN_S)
        run.again_s = world.now - stopped_at if run.is_direct else None
    world.drive(lambda: run.is_over, seconds=SECONDS)
    check_bytes(run)
    assert run.sender.outcome is Outcome.SUCCEEDED, f"no success: {run.sender.cause}"
    for host in run.hosts:
        check_host(host, has_direct=True)
    return run


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_hostile_node_on_the_path_deceives_diverts_or_stops_a_transfer(is_full):
    only = chosen()
    seeds = [*range(RUNS if is_full else CUT_RUNS), *FOUND] if only is None else [only]

    runs = check_all(lambda seed: check_run(seed).outcome, seeds, __name__)

    if only is None:
        assert {name for run in runs for name in run.tricks} == set(TRICKS)
        checked = [run.again_s for run in runs if run.again_s is not None]
        assert len(checked) >= SHARE_CHECKED * len(runs)


@pytest.mark.slow
@pytest.mark.alongside("computes")
def test_a_path_in_use_outlives_all_the_addresses_that_packets_were_passed_on_from():
    """Each costs both sides a path id, and the other side keeps the windows of 64 ids."""
    world = World(7, issuer_keys=ISSUER_KEYS)
    network = UdpNetwork(world)
    receiver, sender = begin_transfer(world, network, ("none", "none"), 2_500_000, 60.0)
    hosts = receiver.host, sender.host
    for host in hosts:
        for wire in (*network.wires(host), *world.wires(host)):
            wire.rate = 3e4
    world.drive(lambda: receiver.host.link and receiver.host.link.direct_path)
    paths = [direct_paths(host.link).active for host in hosts]

    def pass_on(datagram):
        """Have 1 in 5 arrive from an address that nobody knows, too, and first."""
        source, remote, data = datagram
        made = ((OWN_IP, world.rng.randrange(1024, 65536)), remote, data)
        return [made, datagram] if world.rng.random() < 0.2 else [datagram]

    def bring(source, remote, data):
        """Take what goes to such an address on to the other host."""
        other = next(h for h in hosts if network.ports[h].ips[0] != source[0])
        address = network.ports[other].ips[0], HOST_PORT
        network.arrive((OWN_IP, world.rng.randrange(1024, 65536)), address, data)

    network.tamper, network.stray = pass_on, bring
    world.run_for(75)
    network.tamper, network.stray = None, lambda *_: None
    assert not receiver.is_over

    assert min(direct_paths(host.link)._next_id for host in hosts) > MAX_RECEIVE_PATHS + 2
    world.run_for(AGAIN_S)
    assert [direct_paths(host.link).active for host in hosts] == paths
    world.drive(lambda: receiver.is_over and sender.is_over)
    assert receiver.outcome is sender.outcome is Outcome.SUCCEEDED
