"""Wires: links whose loss, delay, rate and cuts may change at any time, unseen by both ends.

A wire is two interfaces in a namespace of its own, joined by nftables chains that forward every
frame from one to the other before any IP stack sees it:

    router, interface wan             namespace `wires`                     internet side
    ----------------------- <wire>r --- chain "up" ---> <wire>i --------------------------
                            <wire>r <-- chain "down" -- <wire>i

                                        with delay, each way:
               chain --> <wire>uq == <wire>up --> delay_line.py --> <wire>i

So nothing that happens on a wire is a link that goes down, an ICMP error or a forgotten connection.
A change is one nftables transaction; counters live through it.  Must not know NAT or addresses.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from namespaces import LabError, Namespace

# Chosen.
DELAY_LINE = Path(__file__).with_name("delay_line.py")
# Parts in a hundred thousand, so that percentages with three decimals count.
PARTS = 100_000
PARTS_PER_PERCENT = PARTS // 100
# Loss is for what hosts say; it spares ARP and its IPv6 sister, whose loss would be seconds.
ANY_PACKET = "meta protocol { ip, ip6 }"
SPARED = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
UDP = "meta l4proto udp"
COUNTERS = ("passed", "udp", "tcp", "lost", "blocked")


class Way(Enum):
    """A direction of a wire."""

    UP = "up"  # away from the host
    DOWN = "down"


BOTH_WAYS = (Way.UP, Way.DOWN)


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a wire does to traffic in one direction.

    Args:
        loss_percent: share of packets lost at random.
        drop_every: drop exactly each n-th packet; 0 for none.
        duplicate_percent: share of packets that come twice.
        delay_ms: time that each packet takes more.
        jitter_ms: up to so much more, at random; reorders what is sent closer together.
        reorder_percent: share of packets held `reorder_ms` longer.
        reorder_ms: see there.
        rate: as tc writes it, such as "50mbit"; None for no limit.
        queue_ms: how much of that rate waits before packets are dropped.
        burst: how much a line that was idle lets pass at once, as tc writes it.
        match: the nft expression that loss, drops and duplicates are limited to, such as `UDP`.
    """

    loss_percent: float = 0.0
    drop_every: int = 0
    duplicate_percent: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    reorder_percent: float = 0.0
    reorder_ms: float = 5.0
    rate: str | None = None
    queue_ms: int = 50
    burst: str = "32kb"
    match: str = ANY_PACKET

    @property
    def is_delaying(self) -> bool:
        """Whether packets are held back, for which the delay line must run."""
        return bool(self.delay_ms or self.jitter_ms or self.reorder_percent)


CLEAN = Impairment()


@dataclass(frozen=True, slots=True)
class Count:
    """Packets and bytes."""

    packets: int
    size_bytes: int


class Block:
    """Packets that a wire drops in silence, until `lift` or the end of a with statement."""

    def __init__(self, wire: "Wire", match: str, ways: tuple[Way, ...]) -> None:
        self.match = match
        self.ways = ways
        self._wire = wire

    def lift(self) -> None:
        """Let the packets pass again; a second call does nothing."""
        self._wire.remove_block(self)

    def __enter__(self) -> "Block":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lift()


class Wire:
    """One link; both its interfaces, `<name>r` and `<name>i`, are in the namespace already."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.name = name
        self._namespace = namespace
        self._impairments = dict.fromkeys(Way, CLEAN)
        self._blocks: list[Block] = []
        self._delay_line: subprocess.Popen[bytes] | None = None
        namespace.nft(self._skeleton())
        self._apply()

    # -- what a test changes ------------------------------------------------------------------

    def impair(self, impairment: Impairment, *ways: Way) -> None:
        """Replace the impairments of these directions, of both if none is named."""
        for way in ways or BOTH_WAYS:
            self._shape(way, impairment)
            self._impairments[way] = impairment
        if self._delay_line or any(each.is_delaying for each in self._impairments.values()):
            self._delay()
        self._apply()

    def block(self, match: str, *ways: Way) -> Block:
        """Drop what matches an nft expression; the empty text matches everything, ARP too."""
        block = Block(self, match, ways or BOTH_WAYS)
        self._blocks.append(block)
        self._apply()
        return block

    def remove_block(self, block: Block) -> None:
        """Let the packets of a block pass again."""
        if block in self._blocks:
            self._blocks.remove(block)
            self._apply()

    def counts(self, way: Way) -> dict[str, Count]:
        """Return what one direction has counted since the start.

        "passed" is everything that went on, "udp" and "tcp" the shares of it, "lost" what an
        impairment dropped and "blocked" what a block dropped.
        """
        table = f"wire_{self.name}"
        text = self._namespace.run("nft", "-j", "list", "counters", "table", "netdev", table)
        found = {}
        for entry in json.loads(text)["nftables"]:
            counter = entry.get("counter")
            if counter and counter["name"].startswith(f"{way.value}_"):
                name = counter["name"].removeprefix(f"{way.value}_")
                found[name] = Count(counter["packets"], counter["bytes"])
        return found

    # -- rules --------------------------------------------------------------------------------

    def _ends(self, way: Way) -> tuple[str, str]:
        """Return where frames of a direction come in and where they go out."""
        router, internet = f"{self.name}r", f"{self.name}i"
        return (router, internet) if way is Way.UP else (internet, router)

    def _queue(self, way: Way) -> tuple[str, str]:
        """Return both ends of the link that leads to the delay line."""
        stem = f"{self.name}{way.value[0]}"
        return f"{stem}q", f"{stem}p"

    def _skeleton(self) -> str:
        counters = "".join(
            f" counter {way.value}_{name} {{ }}\n" for way in Way for name in COUNTERS
        )
        chains = "".join(
            f" chain {way.value} {{\n  type filter hook ingress device"
            f' "{self._ends(way)[0]}" priority 0; policy drop;\n }}\n'
            for way in Way
        )
        return f"table netdev wire_{self.name} {{\n{counters}{chains}}}\n"

    def _apply(self) -> None:
        """Replace all rules in one transaction."""
        lines = []
        for way in Way:
            chain = f"netdev wire_{self.name} {way.value}"
            lines.append(f"flush chain {chain}")
            lines += [f"add rule {chain} {rule}" for rule in self._rules(way)]
        self._namespace.nft("\n".join(lines) + "\n")

    def _rules(self, way: Way) -> list[str]:
        now, name = self._impairments[way], way.value
        out = self._queue(way)[0] if self._delay_line else self._ends(way)[1]
        blocks = [block.match for block in self._blocks if way in block.ways]
        rules = [f"{match} counter name {name}_blocked drop".strip() for match in blocks]
        rules.append(f'{SPARED} fwd to "{out}"')
        lose = f"counter name {name}_lost drop"
        if now.loss_percent:
            rules.append(f"{now.match} {_chance(now.loss_percent)} {lose}")
        if now.drop_every:
            rules.append(f"{now.match} numgen inc mod {now.drop_every} 0 {lose}")
        if now.duplicate_percent:
            rules.append(f'{now.match} {_chance(now.duplicate_percent)} dup to "{out}"')
        rules += [f"meta l4proto {kind} counter name {name}_{kind}" for kind in ("udp", "tcp")]
        rules.append(f'counter name {name}_passed fwd to "{out}"')
        return rules

    # -- rate and delay -----------------------------------------------------------------------

    def _shape(self, way: Way, wanted: Impairment) -> None:
        now = self._impairments[way]
        shape = (wanted.rate, wanted.queue_ms, wanted.burst)
        if (now.rate, now.queue_ms, now.burst) == shape:
            return
        qdisc, device = ["tc", "qdisc"], ["dev", self._ends(way)[1], "root"]
        if wanted.rate is not None:
            limits = ["rate", wanted.rate, "burst", wanted.burst, "latency", f"{wanted.queue_ms}ms"]
            self._namespace.run(*qdisc, "replace", *device, "tbf", *limits)
        elif now.rate is not None:
            self._namespace.run(*qdisc, "del", *device)

    def _delay(self) -> None:
        """Tell the delay line its times; it starts at the first use and then stays."""
        if self._delay_line is None:
            self._delay_line = self._start_delay_line()
        line = self._delay_line
        settings = {way.value: self._hold(way) for way in Way}
        if line.stdin is None or line.stdout is None or line.poll() is not None:
            raise LabError(f"the delay line of wire {self.name} has ended")
        line.stdin.write(json.dumps(settings).encode() + b"\n")
        line.stdin.flush()
        if line.stdout.readline() != b"set\n":
            raise LabError(f"the delay line of wire {self.name} did not take {settings}")

    def _hold(self, way: Way) -> list[float]:
        now = self._impairments[way]
        reorder_ms = now.reorder_ms if now.reorder_percent else 0.0
        return [now.delay_ms, now.jitter_ms, now.reorder_percent, reorder_ms]

    def _start_delay_line(self) -> subprocess.Popen[bytes]:
        lines, arguments = [], []
        for way in Way:
            queue, taken = self._queue(way)
            lines.append(f"link add {queue} type veth peer name {taken}")
            lines += [f"link set dev {name} up" for name in (queue, taken)]
            arguments += [f"{way.value}={taken}={self._ends(way)[1]}"]
        self._namespace.ip(*lines)
        line = self._namespace.start(
            [sys.executable, "-I", DELAY_LINE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if line.stdout is None or line.stdout.readline() != b"ready\n":
            raise LabError(f"the delay line of wire {self.name} did not start")
        return line


def _chance(percent: float) -> str:
    """Return the condition that is true for a share of the packets."""
    if percent >= 100:
        return ""
    return f"numgen random mod {PARTS} < {round(percent * PARTS_PER_PERCENT)}"
