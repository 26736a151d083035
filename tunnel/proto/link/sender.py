"""Sender: what goes out on a link, and on which of its paths.

    every ack by the path its packets came on, by the active path when that one is doubtful;
        one that goes by the relay, by the direct path too if one is active; all once more by a path
        that becomes active, since those under way on the one before may be late or lost
    control frames, pings and stream bytes by the active path: a direct one, or the relay
    challenges and answers by the path they are about

A packet's content is sent again, under a new number, when the packet counts as lost, its path is
doubted, or the path moves nothing on and data no longer takes it; packets themselves are never
repeated.  How they are built: `tunnel.proto.link.packing`.  This module knows no keys, and nothing
about what the other side says but acknowledgements.
"""

from collections import deque
from collections.abc import Iterator

from tunnel.crypto.packets import MAX_RECEIVE_PATHS, PacketSealer
from tunnel.errors import ProtocolViolation
from tunnel.proto.link.liveness import Liveness
from tunnel.proto.link.packing import BURSTS_AT_ONCE, Packer
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.send_path import RelayPath, SendPath
from tunnel.proto.machine import RelayEndpoint, Trace, Transmit
from tunnel.proto.paths.direct_path import DirectPath, PathState
from tunnel.proto.paths.packet_size import BASE_DATAGRAM
from tunnel.proto.paths.table import PathTable
from tunnel.proto.rate.relay import RelayController
from tunnel.proto.recovery.acks import AckState
from tunnel.proto.recovery.sent import SentRecord, StreamRange
from tunnel.proto.streams.table import Streams
from tunnel.units import Instant, Seconds
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

# Fixed by the protocol.
MAX_CONTROL_SIZE = 1136  # frames of one control packet: what 1200 bytes carry with any AEAD
# Chosen.
BULK_MINIMUM = 1024  # fewer stream bytes than this go as a general packet
OFFER_AGAIN_S: Seconds = 240.0  # shy of the life of a candidate at the other side
WIDE_PROBES = 2  # probes unanswered on the relay before they go out over every relay
# Chosen: a path that data takes no more, and that moved no stream on for so long, is left: what is
# in flight there goes by the one in use.  A relay that is only slow moves them on all the time.
LEFT_PATIENCE_S: Seconds = 0.6
# Chosen: a silent relay beside a direct path is asked for so long, not for ever: within 10 s its
# dead connection is found and made anew; the other side's may stay away.
SILENT_RELAY_S: Seconds = 15.0


class Sender:
    """Everything on its way out of one link.

    Args:
        relay: path 0.
        paths: the direct paths; it stays empty where both sides keep to the relay.
        relays_up: the relay connections that are up now.
        sealer: seals what goes out.
        streams: where stream bytes and their control frames come from.
        liveness: told of every packet sent.
        counters: counted up here.
        trace: see `PeerLink`.
    """

    def __init__(
        self,
        relay: RelayPath,
        paths: PathTable,
        relays_up: set[int],
        sealer: PacketSealer,
        streams: Streams,
        liveness: Liveness,
        counters: LinkCounters,
        trace: Trace,
    ) -> None:
        self.relay = relay
        self.paths = paths
        self.our_grant = 0
        self.is_relay_full = False  # its connection takes no data now, only control
        self._relays_up = relays_up
        self._packer = Packer(sealer, streams, liveness, counters)
        self._streams = streams
        self._liveness = liveness
        self._counters = counters
        self._trace = trace
        self._acks: dict[int, AckState] = {}
        self._ack_returns: dict[int, SendPath] = {}
        self._acks_again: set[int] = set()  # to be told once more, by the active path
        self._acks_told_by: SendPath = relay  # the active path at that time
        self._pings: dict[int, SendPath] = {}
        self._wide_ping_is_due = self._tail_ping_is_due = False
        self._frames_due: deque[wire.Frame] = deque()  # of the link itself, sent until acked
        self._offer: wire.Candidates | None = None  # the newest
        self._offer_at: Instant | None = None  # when it is told again; None: at once

    # -- queries and commands -----------------------------------------------------------------

    @property
    def active(self) -> SendPath:
        """The path that data takes."""
        return self.paths.active or self.relay

    @property
    def has_in_flight(self) -> bool:
        """Whether something is in flight that the other side should have answered.

        A ping on a path beside the active one says nothing of the other side.
        """
        if self.active.ledger.in_flight_packets:
            return True
        return any(path.ledger.has_content for path in self._all())

    def _all(self) -> Iterator[SendPath]:
        yield self.relay
        yield from self.paths

    def ping(self, path: SendPath | None = None) -> None:
        """Have an acknowledgement asked for, by the active path unless told otherwise."""
        chosen = path or self.active
        self._pings[chosen.id] = chosen

    def search(self) -> None:
        """Ping over every relay that is up."""
        self.ping(self.relay)
        self._wide_ping_is_due = True

    def queue(self, frame: wire.Frame) -> None:
        """Send a frame of the link itself, again and again until it is acknowledged."""
        self._frames_due.append(frame)

    def offer(self, candidates: wire.Candidates) -> None:
        """Send where we may be reached, in place of what was to be told before; again and again."""
        self._offer, self._offer_at = candidates, None

    def use_relay(self, now: Instant, relay: int) -> None:
        """Send path 0 by another relay connection, or by one that was just made anew.

        Everything in flight there is sent again and the path's model starts over: nothing is known
        of what a relay still held.
        """
        path = self.relay
        path.endpoint = RelayEndpoint(relay, path.endpoint.key)
        path.heard_at = now
        self._counters.relay_changes += 1
        self._trace("path.relay_changed", {"relay": relay})
        self.give_up_in_flight(path)
        path.controller = RelayController(path.controller.grant, path.controller.is_polite)
        self.ping(path)

    def give_up_in_flight(self, path: SendPath) -> None:
        """Send again, elsewhere or anew, what is in flight on a path; ask nothing there."""
        self._ask_no_more(path)
        for record in path.ledger.all_lost():
            self._requeue(record)

    def _ask_no_more(self, path: SendPath) -> None:
        self._pings.pop(path.id, None)
        if path is self.relay:
            self._tail_ping_is_due = False

    def let_go(self) -> None:
        """Forget what was to be sent and what was: the link is over, and only says so."""
        for path in self._all():
            path.ledger.forget_all()
        self.paths.keep_active_only()
        self._packer.let_go()
        for kept in (self._acks, self._ack_returns, self._pings, self._frames_due):
            kept.clear()
        self._acks_again.clear()
        self._wide_ping_is_due = self._tail_ping_is_due = False
        self._offer = self._offer_at = None

    def _leave_at(self, path: SendPath) -> Instant | None:
        """Return when to wait no longer for what is in flight on a path beside the active one."""
        oldest, since = path.ledger.oldest, path.ledger.unanswered_since
        if oldest is None or since is None or path is self.active:
            return None
        if path is self.relay and not self._relays_up:
            return since
        if not path.ledger.has_content:
            return Instant(since + SILENT_RELAY_S)
        return Instant(max(oldest.sent_at, path.moved_at or oldest.sent_at) + LEFT_PATIENCE_S)

    def _leave(self, path: SendPath) -> None:
        """Send by the active path what is in flight on another, which moves no stream on."""
        ledger, has_content = path.ledger, path.ledger.has_content
        self._trace("path.left", {"path": path.id, "packets": ledger.in_flight_packets})
        self._ask_no_more(path)
        for record in ledger.give_up():
            self._requeue(record)
        if path is self.relay and has_content and self._relays_up:
            self.ping(path)  # so that a dead connection is found, and made anew
        if not self.has_in_flight:
            self._liveness.all_answered()

    # -- what the other side says of our packets, and we of theirs ----------------------------

    def arrived(
        self,
        arrived_at: Instant,
        by: SendPath,
        path_id: int,
        first: int,
        count: int,
        is_eliciting: bool,
    ) -> None:
        """Note packets of the peer's path `path_id` that came by `by` and are stored.

        `arrived_at` is when they reached this machine: how long they waited there is told as ours.
        """
        acks = self._acks.get(path_id)
        if acks is None:
            acks = self._acks[path_id] = AckState(path_id)
            if len(self._acks) > MAX_RECEIVE_PATHS:
                self._forget_oldest_acks()
        self._ack_returns.pop(path_id, None)
        self._ack_returns[path_id] = by  # the last one used comes last
        acks.received(arrived_at, first, count, is_eliciting)

    def _forget_oldest_acks(self) -> None:
        # The one unused for longest, as the opener does.
        oldest = next(path_id for path_id in self._ack_returns if path_id != layout.RELAY_PATH)
        del self._acks[oldest]
        self._acks_again.discard(oldest)
        self._ack_returns.pop(oldest, None)

    def acked(self, now: Instant, arrived_at: Instant, by: SendPath, ack: wire.Ack) -> None:
        """Take an acknowledgement that reached this machine earlier; raises `ProtocolViolation`."""
        path: SendPath | None = self.relay
        if ack.path != layout.RELAY_PATH:
            path = self.paths.by_id(ack.path)
            if path is None:
                if not self.paths.was_used(ack.path):
                    raise ProtocolViolation("an acknowledgement of a path that was never used")
                return
        elif ack.relay_grant:
            self.relay.controller.grant = ack.relay_grant
        assert path is not None
        is_own = isinstance(by, DirectPath) == isinstance(path, DirectPath)
        newly = path.ledger.acked(now, ack, now - arrived_at, is_own=is_own)
        late = path.ledger.acked_late(ack)
        for record in (*newly, *late):
            if self._streams.acked(record.ranges):
                path.moved_at = now
        if isinstance(path, DirectPath):
            path.search.on_acked(newly)
            if path.search.handle_ack(now, ack.ranges):
                self._use_size(path)
        if newly:
            if is_own or isinstance(path, DirectPath):  # that one counts what is in flight
                path.controller.on_acked(arrived_at, newly, path.ledger.peer_delay_s)
            self._detect_losses(now, path)

    def _use_size(self, path: DirectPath) -> None:
        path.controller.set_packet_size(path.search.size)
        self._trace("path.packet_size", {"path": path.id, "bytes": path.search.size})

    def _detect_losses(self, now: Instant, path: SendPath) -> None:
        lost = path.ledger.lost(now)
        for record in lost:
            self._counters.packets_lost += record.count
            self._trace(
                "packet.lost", {"path": path.id, "number": record.first, "count": record.count}
            )
            self._requeue(record)
        if not lost:
            return
        if isinstance(path, DirectPath) and path.search.on_lost(now, lost):
            # It swallows what was proved before: another network is below it now.
            self.give_up_in_flight(path)
            self.paths.restart_controller(now, path)
            self._trace("path.packet_size", {"path": path.id, "bytes": path.search.size})
            return
        path.controller.on_lost(now, lost)

    def _requeue(self, record: SentRecord) -> None:
        self._streams.lost(record.ranges, record.frames)
        for frame in record.frames:
            if isinstance(frame, wire.Rekey | wire.RekeyAnswer | wire.ReceiveBuffer):
                if frame not in self._frames_due:  # probes bring the oldest along again and again
                    self._frames_due.append(frame)
            elif frame is self._offer:  # an older one is worth nothing any more
                self._offer_at = None

    # -- time ---------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` or `packets_to_send` has something to do."""
        times = [acks.deadline for acks in self._acks.values()]
        for path in self._all():
            if path.ledger.in_flight_packets:
                times += [path.ledger.loss_deadline(), path.ledger.probe_deadline()]
                times.append(self._leave_at(path))
        times += [self.paths.next_timeout(), self._offer_at]
        if self.paths.active is not None:
            times.append(self.paths.active.search.next_timeout)
        return min((time for time in times if time is not None), default=None)

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets the next data go, if data waits for that."""
        if self._streams.next_sender() is None:
            return None
        return self.active.controller.next_send_at(now)

    def handle_timeout(self, now: Instant) -> None:
        """Call packets lost, probe, doubt paths."""
        is_probing = self.paths.has_probe_due(now)
        for path in self._all():
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
        for doubted in self.paths.handle_timeout(now):
            self.give_up_in_flight(doubted)
            if doubted is self.paths.active:
                # What they send by the relay may not reach us before we send something there.
                self.ping(self.relay)

    def _probe_tail(self, now: Instant, path: SendPath) -> None:
        """Find out whether what is in flight has arrived.

        On a direct path the probe brings the oldest content along (RFC 9002, section 6.2.4): at the
        end of a conversation a ping alone would cost one more round trip for each loss.  On the
        relay that content is late and hardly ever lost, and the answer to a ping behind it tells.
        """
        if isinstance(path, DirectPath):
            self.ping(path)
            oldest = path.ledger.oldest
            if oldest is not None:
                self._requeue(oldest)
            return
        self._tail_ping_is_due = True
        if path.ledger.probe_count >= WIDE_PROBES:
            self._wide_ping_is_due = True
            self.paths.probe_along(now)

    # -- what goes out ------------------------------------------------------------------------

    def packets_to_send(self, now: Instant, limit: int) -> list[Transmit]:
        """Return what may go out now, control first; ask again until it returns none."""
        if self.active is not self._acks_told_by:
            self._acks_told_by = self.active
            self._acks_again.update(self._acks)
        self._offer_again(now)
        packets = self._probes(now)
        packets += self._size_probes(now)
        packets += self._relay_pings(now)
        if self._has_small_data(now):
            packets.append(self._next_small_data(now, self.active, carries_control=True))
        # Sending data makes no control due, so control is asked for once and not at each packet.
        while len(packets) < limit and (packet := self._next_control(now)) is not None:
            packets.append(packet)
        bursts_left = BURSTS_AT_ONCE
        while bursts_left and len(packets) < limit:
            packet = self._next_data(now)
            if packet is None:
                break
            packets.append(packet)
            if packet.segment_size:
                bursts_left -= 1
        return packets

    def close_packets(self, now: Instant, close: wire.Close) -> list[Transmit]:
        """Return a close for the active path, and for the relay when that is another one."""
        paths = {path.id: path for path in (self.active, self.relay)}
        return [self._packer.close(now, path, close) for path in paths.values()]

    def _offer_again(self, now: Instant) -> None:
        """Tell our addresses if that is due, and probe the other side's as it does ours."""
        offer = self._offer
        if offer is None or (self._offer_at is not None and now < self._offer_at):
            return
        self._offer_at = Instant(now + OFFER_AGAIN_S)
        self._frames_due = deque(
            frame for frame in self._frames_due if not isinstance(frame, wire.Candidates)
        )
        self._frames_due.append(offer)
        self.paths.probe_again(now)

    def _probes(self, now: Instant) -> list[Transmit]:
        packets = []
        for path, frames in self.paths.probes_to_send(now):
            packed: bytes | bytearray = b"".join(map(wire.encode, frames))
            if path.state is PathState.DOUBTFUL:  # it comes back only if it carries data
                packed = self._packer.filled(packed, BASE_DATAGRAM)
            packets.append(self._packer.probe(now, path, packed)[1])
        return packets

    def _size_probes(self, now: Instant) -> list[Transmit]:
        """Build a padded ping that finds out whether the path in use takes larger datagrams."""
        path = self.paths.active
        size = path.search.probe_to_send(now) if path is not None else None
        if path is None or size is None:
            return []
        frames = self._packer.filled(wire.encode(wire.Ping()), size)
        record, packet = self._packer.probe(now, path, frames)
        path.search.probed(now, record.first, path.answer_limit_s)
        self._liveness.sent(now, is_ack_eliciting=False)
        self._counters.sent(path.id, record.size)
        return [packet]

    def _relay_pings(self, now: Instant) -> list[Transmit]:
        """Build a ping behind all data, and one for every relay that is up but not in use."""
        packets = []
        relay, is_awaited = self.relay, self.active is self.relay
        if self._tail_ping_is_due:
            self._tail_ping_is_due = False
            packets.append(self._packer.tail_ping(now, relay, is_awaited=is_awaited))
        if self._wide_ping_is_due:
            self._wide_ping_is_due = False
            for each in sorted(self._relays_up - {relay.endpoint.relay}):
                to = RelayEndpoint(each, relay.endpoint.key)
                packets.append(self._packer.wide_ping(now, relay, to, is_awaited=is_awaited))
        return packets

    def _may_send(self, now: Instant, path: SendPath) -> bool:
        if path is self.relay and self.is_relay_full:
            return False
        ledger = path.ledger
        return path.controller.may_send(now, ledger.in_flight_packets, ledger.in_flight_bytes)

    def _return_path(self, path_id: int) -> SendPath:
        """Return the path by which acknowledgements of the peer's path go."""
        path = self._ack_returns[path_id]
        if isinstance(path, DirectPath):
            is_usable = path.state is PathState.CONFIRMED
        else:
            is_usable = bool(self._relays_up)
        return path if is_usable else self.active

    def _next_control(self, now: Instant) -> Transmit | None:
        """Build one packet of acknowledgements, pings and control frames, if any is due."""
        active = self.active
        has_frames = (self._frames_due or self._streams.has_due) and self._may_send(now, active)
        if has_frames:
            path = active
        elif self._pings:
            path = next(iter(self._pings.values()))
        elif self._acks_again:
            path = active
        else:
            due = (self._return_path(i) for i, acks in self._acks.items() if acks.is_due(now))
            found = next(due, None)
            if found is None:
                return None
            path = found
        packed = bytearray()
        frames = (
            self._take_frames(packed, MAX_CONTROL_SIZE - wire.MAX_ACK_SIZE) if has_frames else []
        )
        is_ack_eliciting = bool(frames)
        asks = self._pings.pop(path.id, None) is not None
        if asks:
            is_ack_eliciting = True
            packed += wire.encode(wire.Ping())
        self._add_acks(now, path, packed, MAX_CONTROL_SIZE)
        is_filled = asks and isinstance(path, DirectPath)
        content = self._packer.filled(packed, BASE_DATAGRAM) if is_filled else packed
        return self._packer.control(
            now,
            path,
            content,
            frames,
            is_ack_eliciting=is_ack_eliciting,
            is_awaited=path is active,
        )

    def _take_frames(self, packed: bytearray, room: int) -> list[wire.Frame]:
        """Take control frames, up to `room` bytes in all; a first one in any case."""
        frames: list[wire.Frame] = []
        while True:
            due = self._frames_due
            frame = due.popleft() if due else self._streams.next_due()
            if frame is None:
                return frames
            encoded = wire.encode(frame)
            if packed and len(packed) + len(encoded) > room:
                due.appendleft(frame)
                return frames
            frames.append(frame)
            packed += encoded

    def _add_acks(self, now: Instant, path: SendPath, packed: bytearray, room: int) -> None:
        """Add what is waiting to be acknowledged and goes by `path`, up to `room` bytes in all."""
        active = self.active
        for path_id, acks in self._acks.items():
            if len(packed) + wire.MAX_ACK_SIZE > room:
                return
            is_first = acks.is_waiting and self._return_path(path_id) is path
            if is_first or (path is active and path_id in self._acks_again):
                packed += wire.encode_ack(acks.take(now, self.our_grant))
                self._acks_again.discard(path_id)
            if is_first and path is self.relay and path is not active:
                self._acks_again.add(path_id)

    def _next_data(self, now: Instant) -> Transmit | None:
        """Build a packet or a burst of stream bytes, if there are any and the path has room."""
        stream = self._streams.next_sender()
        if stream is None:
            return None
        path = self.active
        _, available = stream.sendable()
        if isinstance(path, DirectPath):
            room = path.controller.sendable_packets(now, path.ledger.in_flight_bytes)
        else:
            room = int(self._may_send(now, path))
        if not room:
            return None
        if available < BULK_MINIMUM:
            return self._next_small_data(now, path, carries_control=False)
        size = self._packer.capacity(path)
        if isinstance(path, DirectPath) and (count := min(room, available // size)) > 1:
            return self._packer.burst(now, path, stream, size, count)
        return self._packer.bulk(now, path, stream, min(size, available // 8 * 8))

    def _has_small_data(self, now: Instant) -> bool:
        """Tell whether a small write goes by a direct path now, and can take control along.

        On the relay control goes before data that waits there, in packets of its own.
        """
        path, stream = self.active, self._streams.next_sender()
        if stream is None or not isinstance(path, DirectPath):
            return False
        return stream.sendable()[1] < BULK_MINIMUM and self._may_send(now, path)

    def _next_small_data(self, now: Instant, path: SendPath, *, carries_control: bool) -> Transmit:
        """Join what several streams have into one general packet, and control if there is room."""
        size = self._packer.capacity(path)
        packed = bytearray()
        ranges: list[StreamRange] = []
        room = max(size - wire.MAX_ACK_SIZE, wire.STREAM_HEADER_SIZE + BULK_MINIMUM)
        while len(packed) + wire.STREAM_HEADER_SIZE + BULK_MINIMUM <= room:
            stream = self._streams.next_sender()
            if stream is None or stream.sendable()[1] >= BULK_MINIMUM:
                break
            offset, data, is_end = stream.take(BULK_MINIMUM)
            self._streams.took_turn()
            packed += wire.encode_stream(wire.StreamData(stream.stream, offset, data, is_end))
            ranges.append(StreamRange(stream.stream, offset, offset + len(data), is_end))
        frames = self._take_frames(packed, size - wire.MAX_ACK_SIZE) if carries_control else []
        self._add_acks(now, path, packed, size)
        return self._packer.small_writes(now, path, packed, ranges, frames)
