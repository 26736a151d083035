"""LinkTrace: what a trace says of one link; `derphole.trace` lists the names of the events."""

from tunnel.errors import ClosedHere, LinkEnded, PeerClosed
from tunnel.net.link import LinkNews
from tunnel.proto.link.events import LinkResumed, LinkStalled
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import Trace
from tunnel.units import Instant, Seconds

# Chosen: enough to see a queue build up, little enough for hours.
SAMPLE_S: Seconds = 1.0


class LinkTrace:
    """What the trace says of one link from its beginning to its end.

    Args:
        trace: takes (event name, values).
        number: of the link in this run, from 1.
        machine: the link.
    """

    def __init__(self, trace: Trace, number: int, machine: PeerLink) -> None:
        self._trace = trace
        self._number = number
        self._machine = machine
        self._sampled_at: Instant | None = None
        self._sampled_bytes = -1
        parameters = machine.parameters
        values = {"relay": machine.relay, "aead": parameters.aead.name}
        role = "issuer" if parameters.is_issuer else "claimer"
        trace("link.up", {"link": number, "role": role, **values})

    def sample(self, now: Instant) -> None:
        """Note how the link is, if a second has passed and something was sent or received."""
        if self._sampled_at is not None and now < self._sampled_at + SAMPLE_S:
            return
        counters = self._machine.counters
        if counters.bytes_sent + counters.bytes_received == self._sampled_bytes:
            return
        self._sampled_at = now
        self._sampled_bytes = counters.bytes_sent + counters.bytes_received
        minimum_s = self._machine.minimum_rtt_s
        values = {
            "relay": self._machine.relay,
            "rtt_ms": None if minimum_s is None else round(1000 * self._machine.rtt_s, 3),
            "minimum_rtt_ms": None if minimum_s is None else round(1000 * minimum_s, 3),
        }
        self._trace("link.sample", {"link": self._number, **values, **self._counters()})

    def news(self, news: LinkNews) -> None:
        """Note a stall or its end; the paths are noted by their table."""
        if not isinstance(news, LinkStalled | LinkResumed):
            return
        values: dict[str, object] = {"link": self._number, "silent_s": round(news.silent_s, 3)}
        if isinstance(news, LinkStalled):
            self._trace("link.stalled", {**values, "give_up_in_s": round(news.give_up_in_s, 3)})
        else:
            self._trace("link.resumed", values)

    def ended(self, end: LinkEnded) -> None:
        """Note which side ended the link, and with which code."""
        number: int | None
        match end:
            case PeerClosed(code=code):
                side, number = "peer", code
            case ClosedHere(code=code):
                side, number = "ours", code
            case _:
                side, number = "none", None
        values: dict[str, object] = {"link": self._number, "side": side, "code": number}
        self._trace("link.ended", {**values, **self._counters()})

    def left(self) -> None:
        """Note how the link was when the run ended without closing it."""
        self._trace("link.left", {"link": self._number, **self._counters()})

    def _counters(self) -> dict[str, object]:
        counters = self._machine.counters
        return {
            "packets_received": counters.packets_received,
            "packets_dropped": counters.packets_dropped,
            "packets_lost": counters.packets_lost,
            "bytes_sent": counters.bytes_sent,
            "bytes_sent_direct": counters.bytes_sent_direct,
            "bytes_received": counters.bytes_received,
            "bytes_received_direct": counters.bytes_received_direct,
            "relay_changes": counters.relay_changes,
            "stalls": counters.stalls,
        }
