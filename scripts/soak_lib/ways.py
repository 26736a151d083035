"""Which ways between two hosts were open when, from the faults that were really made.

    relay    both TCP connections pass, and the relay runs
    UDP      a direct path passes; as long as no direct path was found, and again after an address
             changed, it counts as closed until both sides told of one

A change that both ends outlive (another address, a smaller MTU) closes nothing for long, but
splits: what happened before it tells nothing about what came after.  Times are seconds of one
clock.  Pure: must not know what moved, or who said what.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from soak_lib.plan import HOSTS, OF_ADDRESSES, OF_THE_RELAY, Fault, FaultKind

Span = tuple[float, float]


class Route(StrEnum):
    """How packets may go."""

    RELAY = "relay"
    UDP = "UDP"


@dataclass(frozen=True, slots=True)
class Applied:
    """A fault that was made.

    Args:
        fault: which.
        began: when the first packet may have been lost.
        healed: when the last may have been; as `began` for what happens at once.
    """

    fault: Fault
    began: float
    healed: float


@dataclass(frozen=True, slots=True)
class Network:
    """What was open in an episode.

    Args:
        applied: the faults.
        start, end: the time that is looked at.
        is_direct_possible: whether UDP gets through in this network at all.
        directs: when each host told that its traffic takes a direct path.
    """

    applied: Sequence[Applied]
    start: float
    end: float
    is_direct_possible: bool
    directs: Mapping[str, Sequence[float]]

    def open_spans(self, route: Route) -> list[Span]:
        """Return when packets could go both ways by a route, between programs that both ran."""
        spans = [(self.start, self.end)]
        for each in self.applied:
            if blocked_ways(each.fault, route) or each.fault.kind is FaultKind.PEER_STOPPED:
                spans = without(spans, (each.began, each.healed))
            elif each.fault.kind is FaultKind.MTU_LOWERED:
                spans = without(spans, (each.began, each.began))
        if route is Route.UDP:
            for closed in self._unfound_spans():
                spans = without(spans, closed)
        return spans

    def deaf_spans(self, host: str) -> list[Span]:
        """Return when nothing could reach a program that ran itself."""
        deaf = [(self.start, self.end)]
        for route in Route:
            deaf = _common(deaf, self._silent_spans(route, host))
        deaf = _joined([*deaf, *self._stopped_spans(_other(host))])
        for stopped in self._stopped_spans(host):
            deaf = without(deaf, stopped)
        return deaf

    def _silent_spans(self, route: Route, host: str) -> list[Span]:
        """Return when nothing could come to a host by a route.

        Probes may, by a path that was not found yet: that time is not silent for certain.
        """
        if route is Route.UDP and not self.is_direct_possible:
            return [(self.start, self.end)]
        spans = [
            (each.began, each.healed)
            for each in self.applied
            if host in blocked_ways(each.fault, route)
        ]
        return _joined(spans)

    def _stopped_spans(self, host: str) -> list[Span]:
        return [
            (each.began, each.healed)
            for each in self.applied
            if each.fault.kind is FaultKind.PEER_STOPPED and each.fault.side == host
        ]

    def _unfound_spans(self) -> list[Span]:
        """Return when no direct path was known: from the start, and from each change of address."""
        if not self.is_direct_possible:
            return [(self.start, self.end)]
        changes = [each for each in self.applied if each.fault.kind in OF_ADDRESSES]
        starts = [self.start, *(at for each in changes for at in (each.began, each.healed))]
        return [(at, self._found_after(at)) for at in starts]

    def _found_after(self, at: float) -> float:
        """Return when both sides had told of a direct path again."""
        firsts = [
            min((t for t in self.directs[host] if t >= at), default=self.end) for host in HOSTS
        ]
        return max(at, *firsts)


def blocked_ways(fault: Fault, route: Route) -> set[str]:
    """Return the hosts that nothing reaches by a route while a fault lasts.

    TCP that passes one way only carries nothing for long.  What its open way still delivers depends
    on the kernel, so that way counts as neither silent nor, in `Network.open_spans`, as open.
    """
    if fault.kind in OF_ADDRESSES:
        return set(HOSTS)
    if fault.kind in OF_THE_RELAY:
        if route is Route.UDP:
            return set()
        return set(HOSTS)
    if (fault.kind, route) in ((FaultKind.UDP_GONE, Route.UDP), (FaultKind.TCP_GONE, Route.RELAY)):
        by_way = {"up": _other(fault.side), "down": fault.side}
        return {by_way[way] for way in fault.ways}
    return set()


def without(spans: Iterable[Span], hole: Span) -> list[Span]:
    """Return spans with a hole in them; a hole without length splits one."""
    left: list[Span] = []
    for start, end in spans:
        if hole[1] < start or hole[0] > end:
            left.append((start, end))
            continue
        left += [(start, hole[0])] if start < hole[0] else []
        left += [(hole[1], end)] if hole[1] < end else []
    return left


def longest_common_s(spans: Iterable[Span], window: Span) -> float:
    """Return the longest time that one of the spans shares with a window."""
    shared = [min(end, window[1]) - max(start, window[0]) for start, end in spans]
    return max(0.0, *shared) if shared else 0.0


def _common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    shared = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return [(start, end) for start, end in shared if start < end]


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return the same time as spans that neither overlap nor touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif start < end:
            joined.append((start, end))
    return joined


def _other(host: str) -> str:
    return HOSTS[1 - HOSTS.index(host)]
