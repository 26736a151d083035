"""`--trace FILE`: one JSON object a line, with stable event names and never a secret.

    {"t": seconds since the start, "event": "path.relay_changed", ...}

    run      trace.started          unix_s, version, python, platform
             trace.left_out         of, count: more events of this kind came in the last second
             trace.cut              bytes: in all, cut out here to keep to --trace-size
             run.failed             error, code: why the command ends, as in --json
             crash                  time, traceback: a bug of ours
    netcheck netcheck.no_map        error: there is no relay map
             netcheck.nat           ipv6, udp, mapping, filtering, hairpin: one address family
             netcheck.mapper        protocol, found; reason: why it gave no port
             netcheck.relay         region, connected, error, fault: a login
             netcheck.verdict       verdict: the report's word
    relay    relay.state            region, state: connecting, connected or down
             relay.error            region, error
    claim    claim.sent             relay (claimer)
             claim.not_here         relay: it says that the issuer is not connected to it
             claim.answered         verdict: 0 accepted, else a reason (issuer)
             claim.refused          verdict (both sides)
             claim.renewal          relay (claimer of a tunnel)
             claim.dropped          reason: nothing was answered (issuer)
             claim.again            relay: the claimer's link is over, it comes back
             claim.unanswered_link  accepted, then nothing was heard; a new claim goes out
             decision               verdict (claimer)
             decision.dropped       reason
    place    place.knocked          holders: they are asked whether they live (issuer)
             place.replaced         is_same_instance: a link lost its place to a newer one
             place.refused          verdict: every holder answered
    link     link.up                link, role, relay, aead
             link.sample            link, relay, rtt_ms, minimum_rtt_ms, and the counters; once a
                                    second at most, and only if something was sent or received
             link.stalled           link, silent_s, give_up_in_s
             link.resumed           link, silent_s
             link.rekeyed           phase
             link.closed            code: we ended it
             link.violation         reason: the other side broke the protocol
             link.closed_by_peer    code
             link.given_up          silent_s
             link.ended             link, side: ours, peer or none; code, and the counters
             link.left              link, and the counters: still open when the run ended
    lane     lane.opened            lane, family, is_bound: to one interface
             lane.closed            lane: its interface or address is gone
             candidate.learned      lane, from: who saw it at a new address, a STUN server or peer
             mapping.made           lane, protocol, lifetime_s, is_public: by the router before us
             mapping.lost           lane, reason
             mapping.none           lane, reasons: by protocol; the router is asked again later
             mapping.released       lane, is_confirmed: given back
    path     path.relay_changed     relay: number of the relay connection used from now on
             path.appeared          path, to: packets come from a new address; it is challenged
             path.refused           ids_left: a new address pair finds no room, or no path id
             candidates.refused     count: addresses of the other side that are over the limits
             path.confirmed         path, rtt_s, from, to: a challenge was answered
             path.active            path, to: data takes it from now on; 0 is the relay
             path.doubtful          path: data or challenges on it went unanswered
             path.left              path, packets: in flight there; they go by the path in use
             path.probed            path, count: nothing was acknowledged for a probe timeout
             path.packet_size       path, bytes: its datagrams may be so large, or no larger, now
             packet.lost            path, number, count: called lost, its content goes out again
    stream   stream.opened          stream, side: ours or peer
             stream.ended           stream, sent, received: bytes; both halves are over

The machines hand over names and plain values; what they hand over is public by construction (no
keys, no stream bytes, no token text).  Names and keys are only ever added.  The file is made with
mode 0600, and kept within bounds by `derphole.trace_bounds`.
"""

import json
import platform
import sys
from contextlib import suppress
from pathlib import Path

from derphole import __version__
from derphole.config import TRACE_SIZE
from derphole.trace_bounds import BoundedFile, Thinning
from tunnel.net.clock import monotonic, wall
from tunnel.units import ByteCount, Seconds


class TraceFile:
    """Writes a trace; without a path it swallows everything.

    Args:
        path: of the file.
        size: how large it may grow.

    Raises `UsageError` if the file cannot be made.
    """

    def __init__(self, path: Path | None, size: ByteCount = TRACE_SIZE) -> None:
        self._file: BoundedFile | None = None
        self._started_at = monotonic()
        self._thinning = Thinning()
        if path is None:
            return
        self._file = BoundedFile(path, size, self._cut_line)
        program = {"version": __version__, "python": platform.python_version()}
        self("trace.started", {"unix_s": round(wall(), 3), **program, "platform": sys.platform})

    @property
    def is_on(self) -> bool:
        """Whether events are kept."""
        return self._file is not None

    def __call__(self, event: str, values: dict[str, object]) -> None:
        """Write one event, unless too many of its kind came in this second.

        A full disk ends the trace and nothing else.
        """
        if self._file is None:
            return
        now_s = monotonic() - self._started_at
        self._tell_left_out(now_s, self._thinning.turn(now_s))
        if self._thinning.admit(event):
            self._append({"t": round(now_s, 6), "event": event, **values})

    def close(self) -> None:
        """Write no more."""
        self._tell_left_out(monotonic() - self._started_at, self._thinning.take_left_out())
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                return  # what the disk did not take is lost; the trace is not a result

    def _tell_left_out(self, now_s: Seconds, counts: dict[str, int]) -> None:
        for kind, count in counts.items():
            self._append(
                {"t": round(now_s, 6), "event": "trace.left_out", "of": kind, "count": count}
            )

    def _cut_line(self, size: ByteCount) -> bytes:
        now_s = monotonic() - self._started_at
        return _line({"t": round(now_s, 6), "event": "trace.cut", "bytes": size})

    def _append(self, named: dict[str, object]) -> None:
        if self._file is None:
            return
        try:
            self._file.append(_line(named))
        except OSError:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()


def _line(named: dict[str, object]) -> bytes:
    return json.dumps(named, default=_named_by_type).encode() + b"\n"


def _named_by_type(value: object) -> str:
    """Stand in for a value that JSON has not: its bytes might be a secret."""
    return f"<{type(value).__name__}>"
