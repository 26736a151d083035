"""Resending: what one link has sent and nobody has answered, path by path, and what becomes of it.

    acknowledged               the streams go on, the path's rate and size are learned from it
    lost                       its content goes again, by the path that is active then
    silent                     for a probe timeout: the path is probed; for longer: it is doubted
    on a doubted path          all its content goes again, by another
    left behind                data takes another path, and this one moves no stream on: the same,
                               but what is acknowledged yet is not sent again

Content goes again under a new number; packets themselves are never repeated.  This module builds
no packet, and knows nothing of what the other side says but acknowledgements.
"""

from tunnel.errors import ProtocolViolation
from tunnel.proto.link.control_queue import ControlQueue
from tunnel.proto.link.liveness import Liveness
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.path import Path, Paths
from tunnel.proto.machine import Trace
from tunnel.proto.recovery.sent import SentRecord
from tunnel.proto.streams.table import Streams
from tunnel.units import Instant, Seconds
from tunnel.wire import frames as wire

# Chosen.
WIDE_PROBES = 2  # probes unanswered on the relay before they go out over every relay
# Chosen: a path that data takes no more, and that moved no stream on for so long, is left: what is
# in flight there goes by the one in use.  A relay that is only slow moves them on all the time.
LEFT_PATIENCE_S: Seconds = 0.6
# Chosen: a silent relay beside a direct path is asked for so long, not for ever: within 10 s its
# dead connection is found and made anew; the other side's may stay away.
SILENT_RELAY_S: Seconds = 15.0


class InFlight:
    """What is unanswered on the paths of one link.

    Args:
        paths: whose ledgers hold it.
        control: takes frames that were lost, and pings.
        streams: told what became of their bytes.
        liveness: told when nothing is unanswered any more.
        counters: counted up here.
        trace: see `PeerLink`.
    """

    def __init__(
        self,
        paths: Paths,
        control: ControlQueue,
        streams: Streams,
        liveness: Liveness,
        counters: LinkCounters,
        trace: Trace,
    ) -> None:
        self._paths = paths
        self._control = control
        self._streams = streams
        self._liveness = liveness
        self._counters = counters
        self._trace = trace

    @property
    def is_awaited(self) -> bool:
        """Whether something is in flight that the other side should have answered.

        A ping on a path beside the active one says nothing of the other side.
        """
        if self._paths.active.ledger.in_flight_packets:
            return True
        return any(path.ledger.has_content for path in self._paths)

    def forget_all(self) -> None:
        """Await nothing any more: the link is over."""
        for path in self._paths:
            path.ledger.forget_all()

    # -- acknowledged, lost, given up -------------------------------------------------------

    def acked(self, now: Instant, arrived_at: Instant, by: Path, ack: wire.Ack) -> None:
        """Take an acknowledgement that reached this machine earlier; raises `ProtocolViolation`."""
        path = self._paths.by_id(ack.path)
        if path is None:
            if not self._paths.direct.was_used(ack.path):
                raise ProtocolViolation("an acknowledgement of a path that was never used")
            return
        is_own = by.is_relay == path.is_relay
        newly = path.ledger.acked(now, ack, now - arrived_at, is_own=is_own)
        late = path.ledger.acked_late(ack)
        for record in (*newly, *late):
            if self._streams.acked(record.ranges):
                path.moved_at = now
        path.on_acked(now, arrived_at, ack, newly, is_own=is_own)
        if newly:
            self._detect_losses(now, path)

    def _detect_losses(self, now: Instant, path: Path) -> None:
        lost = path.ledger.lost(now)
        for record in lost:
            self._counters.packets_lost += record.count
            self._trace(
                "packet.lost", {"path": path.id, "number": record.first, "count": record.count}
            )
            self._send_again(record)
        if lost and path.on_lost(now, lost):
            self.give_up(path)

    def give_up(self, path: Path) -> None:
        """Send again, elsewhere or anew, what is in flight on a path; ask nothing there."""
        self._control.ask_no_more(path)
        for record in path.ledger.all_lost():
            self._send_again(record)

    def _send_again(self, record: SentRecord) -> None:
        self._streams.lost(record.ranges, record.frames)
        self._control.add_lost(record.frames)

    def _leave_at(self, path: Path) -> Instant | None:
        """Return when to wait no longer for what is in flight on a path beside the active one."""
        oldest, since = path.ledger.oldest, path.ledger.unanswered_since
        if oldest is None or since is None or path is self._paths.active:
            return None
        if path is self._paths.relay and not path.is_usable:
            return since
        if not path.ledger.has_content:
            return Instant(since + SILENT_RELAY_S)
        return Instant(max(oldest.sent_at, path.moved_at or oldest.sent_at) + LEFT_PATIENCE_S)

    def _leave(self, path: Path) -> None:
        """Send by the active path what is in flight on another, which moves no stream on."""
        ledger, has_content = path.ledger, path.ledger.has_content
        self._trace("path.left", {"path": path.id, "packets": ledger.in_flight_packets})
        self._control.ask_no_more(path)
        for record in ledger.give_up():
            self._send_again(record)
        if path.is_relay and path.is_usable and has_content:
            self._control.ping(path)  # so that a dead connection is found, and made anew
        if not self.is_awaited:
            self._liveness.all_answered()

    # -- time -------------------------------------------------------------------------------

    def deadlines(self) -> list[Instant | None]:
        """Return when `handle_timeout` has something to do: see the module docstring."""
        times = [self._paths.direct.next_timeout()]  # a challenge, a doubt, an end
        for path in self._paths:
            if path.ledger.in_flight_packets:
                times += [path.ledger.loss_deadline(), path.ledger.probe_deadline()]
                times.append(self._leave_at(path))
        return times

    def handle_timeout(self, now: Instant) -> None:
        """Call packets lost, probe, leave and doubt paths."""
        is_probing = self._paths.direct.has_probe_due(now)
        for path in self._paths:
            loss_at, probe_at = path.ledger.loss_deadline(), path.ledger.probe_deadline()
            early_s = path.ledger.may_probe_early_s if is_probing else 0.0
            if loss_at is not None and now >= loss_at:
                self._detect_losses(now, path)
            if probe_at is not None and now >= probe_at - early_s:
                path.ledger.probed(now)
                self._trace("path.probed", {"path": path.id, "count": path.ledger.probe_count})
                self._probe_tail(now, path)
            leave_at = self._leave_at(path)
            if leave_at is not None and now >= leave_at:
                self._leave(path)
        for doubted in self._paths.direct.handle_timeout(now):
            self.give_up(doubted)
            if doubted is self._paths.direct.active:
                # What they send by the relay may not reach us before we send something there.
                self._control.ping(self._paths.relay)

    def _probe_tail(self, now: Instant, path: Path) -> None:
        """Find out whether what is in flight has arrived.

        On a direct path the probe brings the oldest content along (RFC 9002, section 6.2.4): at the
        end of a conversation a ping alone would cost one more round trip for each loss.  Where the
        order is kept that content is late and hardly ever lost, and the answer to a ping behind it
        tells.
        """
        if not path.keeps_order:
            self._control.ping(path)
            oldest = path.ledger.oldest
            if oldest is not None:
                self._send_again(oldest)
            return
        self._control.is_tail_ping_due = True
        if path.ledger.probe_count >= WIDE_PROBES:
            self._control.is_wide_ping_due = True
            self._paths.direct.probe_along(now)
