"""PathWords: what `--verbose` says of the way to a direct path, and of the path once there is one.

seen        where a STUN server, or the other side, sees us
router      the port that the router gave, or why it gave none
offered     where each side may be reached, by how it knows
answered    the first probe that came back
relayed     why there is no direct path yet: every 10 s, after two minutes every 5 minutes
direct      size of datagrams, rate, round trip, loss: at promotion, at changes, at the end
"""

from collections import defaultdict
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import gevent

from derphole.rendezvous.receipt_paths import NOT_IN_TIME, reason_relayed
from derphole.status import PathDetail, Report, size_text
from tunnel.addresses import host_and_port
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import (
    AddressLearned,
    Candidate,
    CandidateKind,
    DirectFigures,
    Endpoint,
    EndpointEvent,
    Link,
    LinkOver,
    LinkTold,
    PathAnswered,
    PathChanged,
    PeerOffered,
    PortNews,
)
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant, Seconds

# Chosen.
LOOK_S: Seconds = 10.0
SELDOM_AFTER_S: Seconds = 120.0
SELDOM_S: Seconds = 300.0
MAX_PLACES_TOLD = 64  # of each side: whoever is there may offer other addresses all the time
CHANGE_RATIO = 2.0  # of rate or round trip that is worth a line
LOSS_STEP = 0.02  # the same for loss
KINDS = {
    CandidateKind.HOST: "of its interfaces",
    CandidateKind.REFLEXIVE: "as seen from outside",
    CandidateKind.MAPPED: "forwarded by its router",
}


class _Told:
    """What was said of one link, and when more is to be said.

    Args:
        now: since when it has no direct path, for all that is known.
    """

    def __init__(self, now: Instant) -> None:
        self.relayed_from = now
        self.again_at = now
        self.places: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        self.has_answer = False
        self.figures: DirectFigures | None = None


class PathWords:
    """Says what happens to the paths of the links that it is told of.

    Args:
        report: takes what is said.
        endpoint: asked for what is known.
        is_forced: whether this side keeps to the relay; then there is nothing to say.
    """

    def __init__(self, report: Report, endpoint: Endpoint, *, is_forced: bool) -> None:
        self._report = report
        self._endpoint = endpoint
        self._is_forced = is_forced
        self._told: WeakKeyDictionary[Link, _Told] = WeakKeyDictionary()
        self._is_looking = False
        self._tasks = TaskGroup("path words", on_failure=endpoint.fail)

    def begin(self, link: Link) -> None:
        """Speak of a link from now on."""
        if not self._is_forced and link not in self._told:
            self._told[link] = _Told(monotonic())
            self._tell_offers(link)
            if not self._is_looking:
                self._is_looking = True
                self._tasks.spawn("look", self._look)

    def take(self, event: EndpointEvent) -> None:
        """Say what an event means for paths."""
        match event:
            case AddressLearned(_, ip, port, seen_by):
                by = seen_by or "the other side"
                self._say("seen", f"seen from outside as {host_and_port(ip, port)} (by {by})")
            case PortNews():
                self._say("router", router_sentence(event))
            case LinkTold(link, PeerOffered()) if link in self._told:
                self._tell_offers(link)
            case LinkTold(link, PathAnswered(endpoint, rtt_s)) if link in self._told:
                if not self._told[link].has_answer:
                    self._told[link].has_answer = True
                    by = endpoint.address
                    self._say("answered", f"first probe answered: {by} in {milliseconds(rtt_s)}")
            case LinkTold(link, PathChanged(direct)) if link in self._told:
                self._told[link].figures = None
                if direct is not None:
                    self._tell_figures(link)
            case LinkOver(link) if link in self._told:
                self.end(link)
            case _:
                return
        for link in list(self._told):
            self._tell_offers(link)

    def end(self, link: Link) -> None:
        """Say how the direct path was, if the link used one at the end; nothing after that."""
        if self._told.pop(link, None) is not None:
            figures = self._endpoint.direct_figures(link)
            if figures is not None:
                self._say("direct", f"at the end: {figures_sentence(figures)}")

    def close(self) -> None:
        """Say nothing any more."""
        self._tasks.kill()

    # -- inside -----------------------------------------------------------------------------

    def _say(self, topic: str, text: str) -> None:
        self._report(PathDetail(topic, text))

    def _look(self) -> None:
        """Look at all links at once, or each would wake the process up."""
        while self._told:
            gevent.sleep(LOOK_S)
            now = monotonic()
            for link, told in list(self._told.items()):
                if link.end is None:
                    self._look_at(link, told, now)
        self._is_looking = False

    def _look_at(self, link: Link, told: _Told, now: Instant) -> None:
        if link.direct_path is not None:
            told.relayed_from = told.again_at = now
            self._tell_changes(link)
        elif now >= told.again_at:
            for_s = now - told.relayed_from
            told.again_at = Instant(now + (0.0 if for_s < SELDOM_AFTER_S else SELDOM_S))
            self._say("relayed", f"no direct path after {for_s:.0f} s: {self._reason(link)}")

    def _reason(self, link: Link) -> str:
        ours, theirs = self._endpoint.candidates(link)
        facts = self._endpoint.path_facts(link)
        return reason_not_yet(reason_relayed(facts, self._is_forced), ours, theirs)

    def _tell_offers(self, link: Link) -> None:
        """Tell what each side offers, if an address is among it that was not told of yet."""
        told = self._told[link]
        ours, theirs = self._endpoint.candidates(link)
        for side, offered in (("this side", ours), ("the other side", theirs)):
            places = {(candidate.ip, candidate.port) for candidate in offered}
            if places <= told.places[side] or len(told.places[side]) >= MAX_PLACES_TOLD:
                continue
            told.places[side] |= places
            self._say("offered", f"{side} can be reached at {offers_text(offered)}")

    def _tell_figures(self, link: Link) -> None:
        figures = self._told[link].figures = self._endpoint.direct_figures(link)
        if figures is not None:
            self._say("direct", f"direct path: {figures_sentence(figures)}")

    def _tell_changes(self, link: Link) -> None:
        before, now = self._told[link].figures, self._endpoint.direct_figures(link)
        if now is not None and (before is None or is_worth_a_line(before, now)):
            self._tell_figures(link)


def router_sentence(news: PortNews) -> str:
    """Return what a router said when it was asked for a port."""
    mapping = news.mapping
    if mapping is not None:
        place = host_and_port(mapping.external_ip, mapping.external_port)
        use = "" if mapping.is_public else ", which is behind another NAT"
        return f"the router forwards UDP port {place} by {mapping.protocol.value}{use}"
    reasons = ", ".join(f"{name}: {words}" for name, words in news.reasons.items())
    return f"the router forwards no port ({reasons or 'it was not asked'})"


def offers_text(offered: Iterable[Candidate]) -> str:
    """Return addresses in groups, by how the side that offers them knows them."""
    kinds = {int(kind): words for kind, words in KINDS.items()}
    groups: dict[str, list[str]] = {}
    for candidate in offered:
        kind = kinds.get(candidate.kind, "of another kind")
        groups.setdefault(kind, []).append(host_and_port(candidate.ip, candidate.port))
    texts = (f"{len(places)} {kind} ({', '.join(places)})" for kind, places in groups.items())
    return "; ".join(texts)


def reason_not_yet(
    reason: str | None, ours: tuple[Candidate, ...], theirs: tuple[Candidate, ...]
) -> str:
    """Return why there is no direct path so far, by what is known."""
    if not theirs:
        return "the other side has not told where it may be reached"
    if not ours:
        return "this machine has no address to be reached at"
    count = len(theirs)
    unanswered = f"none of its {count} addresses answers" if count > 1 else "its address is silent"
    known = (reason or NOT_IN_TIME).removeprefix(NOT_IN_TIME).removeprefix("; ")
    return f"{unanswered}; {known}" if known else unanswered


def figures_sentence(figures: DirectFigures) -> str:
    """Return how a direct path is."""
    parts = [f"{figures.address}, datagrams of up to {figures.datagram_size} bytes"]
    if figures.rate is not None:
        parts.append(f"{size_text(round(figures.rate))}/s")
    if figures.rtt_s is not None:
        parts.append(f"round trip {milliseconds(figures.rtt_s)}")
    if figures.loss is not None:
        parts.append(f"{100 * figures.loss:.1f} % lost")
    return ", ".join(parts)


def is_worth_a_line(before: DirectFigures, now: DirectFigures) -> bool:
    """Tell whether a direct path is clearly another than it was."""
    if (before.address, before.datagram_size) != (now.address, now.datagram_size):
        return True
    pairs = ((before.rate, now.rate), (before.rtt_s, now.rtt_s))
    return any(_differ(*pair) for pair in pairs) or (
        abs((now.loss or 0.0) - (before.loss or 0.0)) >= LOSS_STEP
    )


def _differ(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return before is not now
    low, high = sorted((before, now))
    return high > CHANGE_RATIO * low


def milliseconds(duration_s: Seconds) -> str:
    """Return a round-trip time for people."""
    return f"{1000 * duration_s:.1f} ms"
