"""Which relay regions to use: a plan of STUN probes, and the choice by what came back.

    each region: probes at 0, 100 and 200 ms, round robin over its nodes; the first answer counts
    done: all answered | 3 answered, and twice the slowest of them (at most 300 ms) went by | budget
    nothing at all after half the budget: UDP is dead, measure by HTTPS instead

Source: tailscale net/netcheck/netcheck.go.  This module knows neither sockets nor names: the driver
sends a probe to whatever addresses its node has.
"""

from collections import deque
from collections.abc import Callable, Iterable

from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import DerpKey
from tunnel.proto.machine import Timed
from tunnel.units import Instant, Seconds
from tunnel.values import frozen
from tunnel.wire.derpmap import STUN_OFF, RelayMap, RelayNode, RelayRegion

# Fixed by the protocol: both sides of a token that was minted without network must agree.
FALLBACK_LABEL = "relay region"
FALLBACK_RANK_SIZE = 16

# Chosen, as upstream.
PROBE_TIMES_S = (0.0, 0.1, 0.2)
ENOUGH_REGIONS = 3

# Chosen.
MAX_GRACE_S = 0.3
TRANSACTION_ID_SIZE = 12
MAX_MEASURED_REGIONS = 64  # a map is foreign data, and each region costs three datagrams


@frozen
class Probe:
    """A binding request to send to a node's STUN port now."""

    region_id: int
    node: RelayNode
    transaction_id: bytes


@frozen
class RegionLatency:
    """A region's round-trip time as one probe saw it."""

    region_id: int
    latency_s: Seconds


def measurable_regions(relay_map: RelayMap) -> list[RelayRegion]:
    """Return the regions one may meet in, by id."""
    usable = [region for region in relay_map.regions.values() if region.relay_nodes]
    allowed = [region for region in usable if not region.no_measure_no_home]
    return sorted(allowed, key=lambda region: region.id)[:MAX_MEASURED_REGIONS]


def choose_regions(latencies: Iterable[RegionLatency], count: int = 3) -> list[int]:
    """Return the ids of the nearest regions, the nearest first."""
    ranked = sorted(latencies, key=lambda entry: (entry.latency_s, entry.region_id))
    return list(dict.fromkeys(entry.region_id for entry in ranked))[:count]


def fallback_regions(relay_map: RelayMap, issuer_key: DerpKey, count: int = 3) -> list[int]:
    """Return the regions where an issuer is met whose token was minted without network.

    These are the regions of the map with the lowest BLAKE2b(region id, issuer's DERP key): the same
    for both sides if their maps agree, and spread over the map for different issuers.
    """

    def rank(region_id: int) -> bytes:
        encoded = region_id.to_bytes(4, "little")
        return derive(issuer_key, FALLBACK_LABEL, encoded, size=FALLBACK_RANK_SIZE)

    usable = [region.id for region in relay_map.regions.values() if region.relay_nodes]
    allowed = [id_ for id_ in usable if not relay_map.regions[id_].no_measure_no_home]
    return sorted(allowed or usable, key=rank)[:count]


class StunMeasurement(Timed):
    """Plans the probes of one measurement and collects the answers.

    Args:
        relay_map: the regions.
        entropy: returns that many random bytes.
        now: the beginning.
        budget_s: the longest it may take.
    """

    def __init__(
        self,
        relay_map: RelayMap,
        entropy: Callable[[int], bytes],
        now: Instant,
        budget_s: Seconds,
    ) -> None:
        self._started_at = now
        self._budget_s = budget_s
        self._grace_ends_at: Instant | None = None
        self._sent: dict[bytes, tuple[int, Instant]] = {}
        self._latency_by_region: dict[int, Seconds] = {}
        self._awaited: set[int] = set()
        plan: list[tuple[Instant, Probe]] = []
        for region in measurable_regions(relay_map):
            nodes = [node for node in region.nodes if node.stun_port != STUN_OFF]
            for turn, delay_s in enumerate(PROBE_TIMES_S if nodes else ()):
                node = nodes[turn % len(nodes)]
                probe = Probe(region.id, node, entropy(TRANSACTION_ID_SIZE))
                plan.append((Instant(now + delay_s), probe))
                self._awaited.add(region.id)
        self._plan = deque(sorted(plan, key=lambda entry: entry[0]))

    def probes_to_send(self, now: Instant) -> list[Probe]:
        """Return the probes due now; their round-trip time counts from `now`."""
        due: list[Probe] = []
        while self._plan and self._plan[0][0] <= now:
            _, probe = self._plan.popleft()
            if probe.region_id in self._awaited:
                self._sent[probe.transaction_id] = (probe.region_id, now)
                due.append(probe)
        return due

    def handle_response(self, now: Instant, transaction_id: bytes) -> None:
        """Note an answer; unknown and further ones are ignored."""
        region_id, sent_at = self._sent.get(transaction_id, (0, now))
        if region_id not in self._awaited:
            return
        self._awaited.remove(region_id)
        self._latency_by_region[region_id] = now - sent_at
        if len(self._latency_by_region) == ENOUGH_REGIONS:
            slowest_s = max(self._latency_by_region.values())
            self._grace_ends_at = Instant(now + min(MAX_GRACE_S, 2 * slowest_s))

    def is_finished(self, now: Instant) -> bool:
        """Tell whether waiting longer is pointless."""
        return not self._awaited or now >= self._deadline()

    def next_timeout(self) -> Instant:
        """Return when to look again, if no answer comes before."""
        deadline = self._deadline()
        return min(deadline, self._plan[0][0]) if self._plan else deadline

    def latencies(self) -> list[RegionLatency]:
        """Return what was measured; empty if UDP is dead."""
        return [RegionLatency(*entry) for entry in self._latency_by_region.items()]

    def _deadline(self) -> Instant:
        budget_s = self._budget_s if self._latency_by_region else self._budget_s / 2
        deadline = Instant(self._started_at + budget_s)
        return deadline if self._grace_ends_at is None else min(deadline, self._grace_ends_at)
