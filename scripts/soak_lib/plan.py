"""What a soak does, as data: an episode is a conversation in a lab, and the faults it must outlive.

    kind             while it lasts                                         who
    relay killed     SIGKILL; a new relay comes at the same address         the relay
    relay frozen     SIGSTOP, until SIGCONT                                 the relay
    relay swallows   TCP packets to it, from it, or both are lost           the relay
    UDP gone         UDP packets are lost, one way or both                  the network of a or b
    TCP gone         TCP packets are lost, one way or both                  the network of a or b
    address away     the host has no address                                a or b
    address changed  none: another address at once                          a or b
    MTU lowered      large UDP packets are lost in silence, or the
                     interface takes no large packets                       a or b
    peer stopped     SIGSTOP, until SIGCONT                                 the program on a or b

Everything follows from a seed and a number, so that each episode can be played again alone.  Pure:
must not know labs, processes or clocks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nat_kinds import NatKind, can_go_direct

# Chosen.  A link is given up after 60 s in which nothing is heard: two faults together stay well
# below that, with what the link may take to recover.
LENGTHS_S = ((0.3, 1.5), (2.0, 6.0), (7.0, 14.0))  # a blip; noticed; longer than any first retry
FIRST_FAULT_S = 2.5  # a fault comes so long after the traffic, at the latest
CROSSED_SHARE = 0.6
# Of those where there are two routes: how often one fault takes the relay and the other UDP.
BOTH_ROUTES_SHARE = 0.5
# A crossed fault begins so long before or after the first heals.
CROSSING_S = 0.4
# From one restart of a relay's process to its next fault; a relay that is not there cannot freeze.
RELAY_GAP_S = 0.5
BRIEF_SHARE = 0.2
RELAYED_SHARE = 0.35
SHARE_SHARE = 0.4
RATES_MBIT = (6, 12, 24)
PACES = (0, 0, 200_000, 600_000)  # bytes a second; 0: as fast as it goes
MTU_LIMITS = (1240, 1300, 1400)  # our datagrams have at least 1228 bytes on the wire
SIZES = (1, 1 << 10, 60 << 10, 300 << 10, 2 << 20, 6 << 20)  # a size lies between two of them
MAX_CONNECTIONS = 4
NATS = (
    (NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED),
    (NatKind.NONE, NatKind.PORT_RESTRICTED),
    (NatKind.REMAPPED, NatKind.FULL_CONE),
    (NatKind.SYMMETRIC, NatKind.RESTRICTED),
    (NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED),
)
HOSTS = ("a", "b")
BOTH_WAYS = ("up", "down")


class FaultKind(StrEnum):
    """What goes wrong."""

    RELAY_KILLED = "relay killed"
    RELAY_FROZEN = "relay frozen"
    RELAY_SWALLOWS = "relay swallows"
    UDP_GONE = "UDP gone"
    TCP_GONE = "TCP gone"
    ADDRESS_AWAY = "address away"
    ADDRESS_CHANGED = "address changed"
    MTU_LOWERED = "MTU lowered"
    PEER_STOPPED = "peer stopped"


OF_THE_RELAY = (FaultKind.RELAY_KILLED, FaultKind.RELAY_FROZEN, FaultKind.RELAY_SWALLOWS)
OF_ADDRESSES = (FaultKind.ADDRESS_AWAY, FaultKind.ADDRESS_CHANGED)
OF_UDP = (FaultKind.UDP_GONE, FaultKind.MTU_LOWERED)
WITH_WAYS = (FaultKind.RELAY_SWALLOWS, FaultKind.UDP_GONE, FaultKind.TCP_GONE)


class Talk(StrEnum):
    """Which commands talk."""

    PIPE = "pipe"
    SHARE = "share"


class ConnectionKind(StrEnum):
    """What a TCP connection through `share` and `open` does."""

    UPLOAD = "upload"  # the client sends, and half-closes at the end
    DOWNLOAD = "download"  # the client half-closes at once, then the server sends
    BOTH = "both"  # both send as they can
    ECHO = "echo"  # a question, its echo, the next question
    IDLE = "idle"  # one question at the beginning, one at the end


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        kind: what goes wrong.
        at_s: when it begins, from when the traffic flows (from the start for a brief episode).
        length_s: until it heals; 0 for what happens at once.
        side: host "a" or "b"; empty for the relay.
        ways: the ways on which packets are lost, "up" being away from the hosts.
        mtu: the largest UDP packet that gets through; 0 for the largest that the interface takes.
    """

    kind: FaultKind
    at_s: float
    length_s: float
    side: str = ""
    ways: tuple[str, ...] = BOTH_WAYS
    mtu: int = 0

    @property
    def until_s(self) -> float:
        """When it heals."""
        return self.at_s + self.length_s

    def __str__(self) -> str:
        where = [self.side] if self.side else []
        where += [self.ways[0]] if len(self.ways) == 1 else []
        if self.kind is FaultKind.MTU_LOWERED:
            where.append(f"{self.mtu} bytes" if self.mtu else "interface")
        place = f" ({', '.join(where)})" if where else ""
        words = f"{self.kind}{place} at {self.at_s:.1f} s"
        return f"{words} for {self.length_s:.1f} s" if self.length_s else words


@dataclass(frozen=True, slots=True)
class Episode:
    """One conversation and its faults.

    Args:
        seed, number: what it was made from.
        talk: the commands.
        nats: what the routers of a and b do.
        is_relayed: whether both sides run with `--force-relay`.
        issuer: the host that makes the token: `listen` or `share`.
        is_brief: whether the faults count from the claimer's start, and the input ends at its size
            whatever happens; otherwise it goes on until everything has healed.
        size: bytes of a pipe, at least.
        rate_mbit: of host a's network.
        write_pace, read_pace: how fast a pipe is fed and emptied, bytes a second; 0 for no limit.
        connections: what a share carries.
        faults: in the order in which they begin.
    """

    seed: int
    number: int
    talk: Talk
    nats: tuple[NatKind, NatKind]
    is_relayed: bool
    issuer: str
    is_brief: bool
    size: int
    rate_mbit: int
    write_pace: int
    read_pace: int
    connections: tuple[ConnectionKind, ...]
    faults: tuple[Fault, ...]

    @property
    def claimer(self) -> str:
        """The host of the other command."""
        return HOSTS[1 - HOSTS.index(self.issuer)]

    @property
    def can_be_direct(self) -> bool:
        """Whether there is a direct path in this network."""
        return not self.is_relayed and can_go_direct(*self.nats)

    @property
    def is_crossed(self) -> bool:
        """Whether it has more than one fault."""
        return len(self.faults) > 1

    @property
    def again(self) -> str:
        """The command that plays it again."""
        return f"scripts/soak --seed {self.seed} --episode {self.number}"

    def __str__(self) -> str:
        commands = {Talk.PIPE: ("listen", "pipe"), Talk.SHARE: ("share", "open")}[self.talk]
        who = f"{commands[0]} on {self.issuer}, {commands[1]} on {self.claimer}"
        path = "relayed" if self.is_relayed else f"{self.nats[0]} to {self.nats[1]}"
        if self.talk is Talk.SHARE:
            what = ", ".join(self.connections)
        else:
            paces = [("fed", self.write_pace), ("read", self.read_pace)]
            what = f"{self.size} bytes" + "".join(
                f", {how} at {pace // 1000} kB/s" for how, pace in paces if pace
            )
        brief = ", from the start" if self.is_brief else ""
        faults = "; ".join(map(str, self.faults))
        return f"{who}, {path}, {self.rate_mbit} Mbit/s, {what}{brief}: {faults}"


def make_episode(seed: int, number: int) -> Episode:
    """Return the episode of a seed with this number, always the same one."""
    rng = random.Random(f"{seed}/{number}")
    talk = Talk.SHARE if rng.random() < SHARE_SHARE else Talk.PIPE
    is_brief = talk is Talk.PIPE and rng.random() < BRIEF_SHARE
    is_relayed = rng.random() < RELAYED_SHARE
    return Episode(
        seed,
        number,
        talk,
        rng.choice(NATS),
        is_relayed,
        rng.choice(HOSTS),
        is_brief,
        _size(rng),
        rng.choice(RATES_MBIT),
        rng.choice(PACES),
        rng.choice(PACES),
        _connections(rng),
        make_faults(rng, is_relayed=is_relayed),
    )


def make_faults(rng: random.Random, *, is_relayed: bool) -> tuple[Fault, ...]:
    """Return one fault, or two of which the second begins about when the first heals."""
    kinds = [kind for kind in FaultKind if not (is_relayed and kind in OF_UDP)]
    if rng.random() >= CROSSED_SHARE:
        return (_fault(rng, rng.uniform(0.0, FIRST_FAULT_S), kinds),)
    pools = [kinds, kinds]
    if not is_relayed and rng.random() < BOTH_ROUTES_SHARE:
        pools = [[*OF_THE_RELAY, FaultKind.TCP_GONE], [FaultKind.UDP_GONE]]
        rng.shuffle(pools)
    first = _fault(rng, rng.uniform(0.0, FIRST_FAULT_S), pools[0])
    at_s = max(0.0, first.until_s + rng.uniform(-CROSSING_S, CROSSING_S))
    second = _fault(rng, at_s, [kind for kind in pools[1] if can_cross(first, kind)])
    if second.kind in OF_ADDRESSES and first.kind in OF_ADDRESSES:
        second = _elsewhere(second, first.side)
    if first.kind is FaultKind.RELAY_KILLED and second.kind is FaultKind.RELAY_FROZEN:
        second = _later(second, first.until_s + RELAY_GAP_S)
    return tuple(sorted((first, second), key=lambda fault: fault.at_s))


def can_cross(first: Fault, kind: FaultKind) -> bool:
    """Tell whether a fault of this kind says something more than the first does."""
    return kind is not first.kind or kind in (*OF_ADDRESSES, FaultKind.PEER_STOPPED)


def _fault(rng: random.Random, at_s: float, kinds: Sequence[FaultKind]) -> Fault:
    kind = rng.choice(list(kinds))
    length_s = 0.0 if kind is FaultKind.ADDRESS_CHANGED else rng.uniform(*rng.choice(LENGTHS_S))
    side = "" if kind in OF_THE_RELAY else rng.choice(HOSTS)
    ways = rng.choice((BOTH_WAYS, BOTH_WAYS, ("up",), ("down",)))
    mtu = rng.choice((0, *MTU_LIMITS))
    return Fault(
        kind,
        round(at_s, 2),
        round(length_s, 2),
        side,
        ways if kind in WITH_WAYS else BOTH_WAYS,
        mtu if kind is FaultKind.MTU_LOWERED else 0,
    )


def _elsewhere(fault: Fault, side: str) -> Fault:
    other = HOSTS[1 - HOSTS.index(side)]
    return Fault(fault.kind, fault.at_s, fault.length_s, other, fault.ways, fault.mtu)


def _later(fault: Fault, at_s: float) -> Fault:
    return Fault(fault.kind, round(at_s, 2), fault.length_s, fault.side, fault.ways, fault.mtu)


def _size(rng: random.Random) -> int:
    band = rng.randrange(len(SIZES) - 1)
    return rng.randint(SIZES[band], SIZES[band + 1])


def _connections(rng: random.Random) -> tuple[ConnectionKind, ...]:
    """Return some kinds, of which at least one keeps bytes moving."""
    moving = [kind for kind in ConnectionKind if kind is not ConnectionKind.IDLE]
    rest = rng.choices(list(ConnectionKind), k=rng.randrange(MAX_CONNECTIONS))
    return (rng.choice(moving), *rest)
