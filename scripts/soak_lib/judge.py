"""Judges an episode: what came, when, what was said and how it ended, against what was possible.

The recovery is the longest time in which a way was open and both programs ran, and not a byte
moved: from a heal to the next byte, or from the loss of one way to the first byte by the other.  A
flow that other bytes of the link overtake counts by itself.

Nobody may be silent: who hears nothing and gets nothing for some seconds says `stalled`, takes it
back with `resumed`, and says neither while bytes come.  Pure: must not know processes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from soak_lib.plan import HOSTS, Episode
from soak_lib.ways import Network, Route, Span, longest_common_s

# The issues' texts: 5 s after a single fault.  Traffic follows a direct path within 1.5 s.
SINGLE_LIMIT_S = 5.0
AFTER_DIRECT_LIMIT_S = 1.5
# Chosen: a second fault may meet a retry of the first in its longest pause
# (`tunnel.proto.relay_client.backoff`: about 4 s after 15 s of failures) and have it fail again,
# before the next one a pause later.
CROSSED_LIMIT_S = 8.0
# Chosen: a stall is told after 5 s (`tunnel.proto.link.liveness`), a ping and its loss may come
# before.
STALL_S = 5.0
STALL_WORD_LIMIT_S = 7.5
# Chosen: bytes that came so shortly before `stalled` make a lie of it.
TRUE_STALL_S = 3.0
# A machine that is late by so much itself is late once in each of the programs on the way.
LATENESS_FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes of one connection in one direction.

    Args:
        name: for messages.
        to: the host that they come to.
        arrivals: when some came, in order; the last entry may be when everything had ended.
        is_buffered: whether they may have waited for a slow reader after they had come.
    """

    name: str
    to: str
    arrivals: Sequence[float]
    is_buffered: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """An event that a program told of: its name, and when."""

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an episode.

    Args:
        network: what was open when.
        flows: what came when.
        words: what the program on each host said.
        troubles: what was found wrong already, as sentences: exit codes, bytes, tracebacks.
        lateness_s: how late this machine woke a sleeper, at the worst.
    """

    network: Network
    flows: Sequence[Flow]
    words: Mapping[str, Sequence[Word]]
    troubles: Sequence[str]
    lateness_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it.

    Args:
        recovery_s: see the module docstring.
        after_direct_s: the longest time from a sender's direct path to the next byte; 0 if none.
        violations: what was not as it must be.
    """

    recovery_s: float
    after_direct_s: float
    violations: tuple[str, ...]


def judge(episode: Episode, seen: Seen) -> Verdict:
    """Return what came of an episode."""
    slack_s = LATENESS_FACTOR * seen.lateness_s
    limit_s = (CROSSED_LIMIT_S if episode.is_crossed else SINGLE_LIMIT_S) + slack_s
    found = list(seen.troubles)
    recoveries = [(recovery_s(flow, seen.network), flow) for flow in seen.flows]
    after_directs = [(after_direct_s(flow, seen.network), flow) for flow in seen.flows]
    found += [
        f"{flow.name}: a way was open for {stood_s:.2f} s and no byte moved"
        for stood_s, flow in recoveries
        if stood_s > limit_s
    ]
    found += [
        f"{flow.name}: its direct path was taken {stood_s:.2f} s before the next byte"
        for stood_s, flow in after_directs
        if stood_s > AFTER_DIRECT_LIMIT_S + slack_s
    ]
    for host in HOSTS:
        found += _word_violations(host, seen, slack_s)
    worst_s = max((stood_s for stood_s, _ in recoveries), default=0.0)
    worst_direct_s = max((stood_s for stood_s, _ in after_directs), default=0.0)
    return Verdict(worst_s, worst_direct_s, tuple(found))


def recovery_s(flow: Flow, network: Network) -> float:
    """Return the longest time in which a way was open and no byte of a flow came."""
    spans = [span for route in Route for span in network.open_spans(route)]
    return max((longest_common_s(spans, gap) for gap in gaps(flow, network)), default=0.0)


def after_direct_s(flow: Flow, network: Network) -> float:
    """Return the longest time from the sender's word of a direct path to the next byte."""
    [sender] = [host for host in HOSTS if host != flow.to]
    spans = network.open_spans(Route.UDP)
    waits = []
    for at in network.directs[sender]:
        following = [arrival for arrival in flow.arrivals if arrival >= at]
        inside = [span for span in spans if span[0] <= at <= span[1]]
        if following and inside and at >= network.start:
            waits.append(min(following[0], inside[0][1]) - at)
    return max(waits, default=0.0)


def gaps(flow: Flow, network: Network) -> Iterator[Span]:
    """Yield the times between two arrivals, and those at both ends, that a fault may have made."""
    inside = [at for at in flow.arrivals if network.start < at < network.end]
    yield from pairwise((network.start, *inside, network.end))


def _word_violations(host: str, seen: Seen, slack_s: float) -> Iterator[str]:
    """Yield a sentence for each word that a program owed, and for each that was not true."""
    words = seen.words[host]
    linked_at = min((word.at for word in words if word.name == "path"), default=seen.network.end)
    stalls = [word.at for word in words if word.name == "stalled"]
    backs = [word.at for word in words if word.name == "resumed"]
    waits = [word.at for word in words if word.name == "waiting"]
    for start, end in _silences(host, seen):
        by = start + STALL_WORD_LIMIT_S + slack_s
        told = [at for at in stalls if not any(at < back <= start for back in backs)]
        told += waits if start < linked_at else []  # said once for the whole wait
        if by < end and not any(at <= by for at in told):
            yield f"{host} heard and got nothing for {end - start:.1f} s and did not say so"
    if len(backs) < len(stalls):
        yield f"{host} stalled {len(stalls)} times and was back {len(backs)} times by its own words"
    flows = [flow for flow in seen.flows if flow.to == host and not flow.is_buffered]
    mine = [at for flow in flows for at in flow.arrivals]
    for at in stalls:
        since_s = at - max((came for came in mine if came < at), default=0.0)
        if since_s < TRUE_STALL_S - slack_s:
            yield f"{host} said that it stalled {since_s:.2f} s after a byte came"


def _silences(host: str, seen: Seen) -> Iterator[Span]:
    """Yield when a program ran, nothing could reach it, and no byte moved on the link."""
    arrivals = sorted(at for flow in seen.flows for at in flow.arrivals)
    network = seen.network
    inside = [at for at in arrivals if network.start < at < network.end]
    quiet = list(pairwise((network.start, *inside, network.end)))
    for start, end in network.deaf_spans(host):
        for since, until in quiet:
            silence = (max(start, since), min(end, until))
            if silence[1] - silence[0] > STALL_S:
                yield silence
