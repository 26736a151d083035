"""Sender: what goes out on a link, and on which of its paths.

    every ack by the path its packets came on, by the relay when that one is doubtful
    control frames, pings and stream bytes by the active path: a direct one, or the relay
    challenges and answers by the path they are about

A packet's content is sent again, under a new number, when the packet counts as lost or its path is
doubted; packets themselves are never repeated.  This module knows no keys beyond the sealer and
nothing of what the other side says but acknowledgements.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tunnel.crypto.packets import MAX_RECEIVE_PATHS, BurstBuffer, PacketSealer
from tunnel.errors import ProtocolViolation
from tunnel.proto.acks import AckState
from tunnel.proto.congestion import RelayController
from tunnel.proto.direct_path import DirectPath, PathState
from tunnel.proto.link_events import LinkCounters, Trace
from tunnel.proto.liveness import Liveness
from tunnel.proto.loss import SentLedger, SentRecord, StreamRange
from tunnel.proto.machine import RelayEndpoint, Transmit
from tunnel.proto.pacer import MAX_BURST, MAX_BURST_BYTES
from tunnel.proto.packet_size import BASE_DATAGRAM
from tunnel.proto.paths import PathTable
from tunnel.proto.send_stream import SendStream
from tunnel.proto.streams import Streams
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

# Fixed by the protocol.
MAX_CONTROL_SIZE = 1136  # frames of one control packet: what 1200 bytes carry with any AEAD
# Chosen.
BULK_MINIMUM = 1024  # fewer stream bytes than this go as a general packet
OFFER_AGAIN_S: Seconds = 240.0  # shy of the life of a candidate at the other side
WIDE_PROBES = 2  # probes unanswered on the relay before they go out over every relay


@dataclass(slots=True)
class RelayPath:
    """Path 0, by whichever relay connection is in use.

    Args:
        endpoint: the relay connection and the peer's key.
        controller: keeps to the frames that the peer granted.
        heard_at: when this relay last delivered an authentic packet.
    """

    endpoint: RelayEndpoint
    controller: RelayController
    heard_at: Instant
    ledger: SentLedger
    id: int = layout.RELAY_PATH


SendPath = RelayPath | DirectPath


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
        self._relays_up = relays_up
        self._sealer = sealer
        self._streams = streams
        self._liveness = liveness
        self._counters = counters
        self._trace = trace
        self._acks: dict[int, AckState] = {}
        self._ack_returns: dict[int, SendPath] = {}
        self._pings: dict[int, SendPath] = {}
        self._wide_ping_is_due = False
        self._burst: BurstBuffer | None = None
        self._frames_due: deque[wire.Frame] = deque()  # of the link itself, sent until acked
        self._offer: wire.Candidates | None = None  # the newest
        self._offer_at: Instant | None = None  # when it is told again; None: at once

    # -- queries and commands -----------------------------------------------------------------

    @property
    def active(self) -> SendPath:
        """The path that data takes."""
        return self.paths.active or self.relay

    @property
    def in_flight(self) -> int:
        """Ack-eliciting packets in flight on all paths."""
        return sum(path.ledger.in_flight_packets for path in self._all())

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
        self._pings.pop(path.id, None)
        for record in path.ledger.all_lost():
            self._requeue(record)

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
        self._ack_returns.pop(oldest, None)

    def acked(self, now: Instant, arrived_at: Instant, ack: wire.Ack) -> None:
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
        newly = path.ledger.acked(now, ack, now - arrived_at)
        for record in newly:
            self._streams.acked(record.ranges)
        if isinstance(path, DirectPath):
            path.search.on_acked(newly)
            if path.search.handle_ack(now, ack.ranges):
                self._use_size(path)
        if newly:
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
        for path in self._all():
            loss_at, probe_at = path.ledger.loss_deadline(), path.ledger.probe_deadline()
            if loss_at is not None and now >= loss_at:
                self._detect_losses(now, path)
            if probe_at is not None and now >= probe_at:
                path.ledger.probed(now)
                self._trace("path.probed", {"path": path.id, "count": path.ledger.probe_count})
                self.ping(path)
                # The probe brings the oldest content along (RFC 9002, section 6.2.4): at the end
                # of a conversation a ping alone would cost one more round trip for each loss.
                oldest = path.ledger.oldest
                if oldest is not None:
                    self._requeue(oldest)
                if path is self.relay and path.ledger.probe_count >= WIDE_PROBES:
                    self._wide_ping_is_due = True
        for doubted in self.paths.handle_timeout(now):
            self.give_up_in_flight(doubted)
            if doubted is self.paths.active:
                # What they send by the relay may not reach us before we send something there.
                self.ping(self.relay)

    # -- what goes out ------------------------------------------------------------------------

    def packets_to_send(self, now: Instant, limit: int) -> list[Transmit]:
        """Return what may go out now, control first."""
        self._offer_again(now)
        packets = self._probes(now)
        packets += self._size_probes(now)
        packets += self._wide_pings(now)
        # Sending data makes no control due, so control is asked for once and not at each packet.
        while len(packets) < limit and (packet := self._next_control(now)) is not None:
            packets.append(packet)
        while len(packets) < limit and (packet := self._next_data(now)) is not None:
            packets.append(packet)
            if packet.segment_size:
                break  # the memory of a burst is used again for the next one
        return packets

    def close_packets(self, now: Instant, close: wire.Close) -> list[Transmit]:
        """Return a close for the active path, and for the relay when that is another one."""
        packets = []
        for path in {path.id: path for path in (self.active, self.relay)}.values():
            _, packet = self._sealer.seal_general(path.id, wire.encode(close))
            # Not control: a close never overtakes data in the socket.
            packets.append(Transmit(packet, path.endpoint, is_control=False))
        self._liveness.sent(now, is_ack_eliciting=False)
        return packets

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
                packed = self._padded(packed, BASE_DATAGRAM)
            number, packet = self._sealer.seal_general(path.id, packed)
            # Nobody acknowledges it, but its number must be known when a later ack covers it.
            path.ledger.sent(SentRecord(number, 1, now, len(packet), is_ack_eliciting=False))
            packets.append(Transmit(packet, path.endpoint, is_control=True))
        return packets

    def _padded(self, packed: bytes | bytearray, size: ByteCount) -> bytes | bytearray:
        """Return frames that fill a datagram of `size`: an answer then says that such pass."""
        return packed.ljust(layout.general_capacity(size, self._sealer.tag_size), wire.PADDING)

    def _size_probes(self, now: Instant) -> list[Transmit]:
        """Build a padded ping that finds out whether the path in use takes larger datagrams."""
        path = self.paths.active
        size = path.search.probe_to_send(now) if path is not None else None
        if path is None or size is None:
            return []
        frames = self._padded(wire.encode(wire.Ping()), size)
        number, packet = self._sealer.seal_general(path.id, frames)
        # Not in flight: that it is lost says nothing of the path but how large its datagrams are.
        path.ledger.sent(SentRecord(number, 1, now, len(packet), is_ack_eliciting=False))
        path.search.probed(now, number, path.answer_limit_s)
        self._liveness.sent(now, is_ack_eliciting=False)
        self._counters.sent(path.id, len(packet))
        return [Transmit(packet, path.endpoint, is_control=True)]

    def _wide_pings(self, now: Instant) -> list[Transmit]:
        """Build a ping for every relay that is up but the one in use."""
        if not self._wide_ping_is_due:
            return []
        self._wide_ping_is_due = False
        pings = []
        key = self.relay.endpoint.key
        for relay in sorted(self._relays_up - {self.relay.endpoint.relay}):
            number, packet = self._sealer.seal_general(layout.RELAY_PATH, wire.encode(wire.Ping()))
            record = SentRecord(number, 1, now, len(packet), is_ack_eliciting=True)
            self._sent(now, self.relay, record)
            pings.append(Transmit(packet, RelayEndpoint(relay, key), is_control=True))
        return pings

    def _may_send(self, now: Instant, path: SendPath) -> bool:
        ledger = path.ledger
        return path.controller.may_send(now, ledger.in_flight_packets, ledger.in_flight_bytes)

    def _return_path(self, path_id: int) -> SendPath:
        """Return the path by which acknowledgements of the peer's path go."""
        path = self._ack_returns[path_id]
        if isinstance(path, DirectPath) and path.state is not PathState.CONFIRMED:
            return self.relay
        return path

    def _next_control(self, now: Instant) -> Transmit | None:
        """Build one packet of acknowledgements, pings and control frames, if any is due."""
        active = self.active
        has_frames = (self._frames_due or self._streams.has_due) and self._may_send(now, active)
        if has_frames:
            path = active
        elif self._pings:
            path = next(iter(self._pings.values()))
        else:
            due = (self._return_path(i) for i, acks in self._acks.items() if acks.is_due(now))
            found = next(due, None)
            if found is None:
                return None
            path = found
        packed = bytearray()
        frames = self._take_frames(packed) if has_frames else []
        is_ack_eliciting = bool(frames)
        asks = self._pings.pop(path.id, None) is not None
        if asks:
            is_ack_eliciting = True
            packed += wire.encode(wire.Ping())
        self._add_acks(now, path, packed, MAX_CONTROL_SIZE)
        is_filled = asks and isinstance(path, DirectPath)
        content = self._padded(packed, BASE_DATAGRAM) if is_filled else packed
        number, packet = self._sealer.seal_general(path.id, content)
        record = SentRecord(number, 1, now, len(packet), is_ack_eliciting, frames=frames)
        self._sent(now, path, record)
        return Transmit(packet, path.endpoint, is_control=True)

    def _take_frames(self, packed: bytearray) -> list[wire.Frame]:
        """Take control frames as long as an acknowledgement still fits behind them."""
        frames: list[wire.Frame] = []
        while True:
            due = self._frames_due
            frame = due.popleft() if due else self._streams.next_due()
            if frame is None:
                return frames
            encoded = wire.encode(frame)
            if frames and len(packed) + len(encoded) > MAX_CONTROL_SIZE - wire.MAX_ACK_SIZE:
                due.appendleft(frame)
                return frames
            frames.append(frame)
            packed += encoded

    def _add_acks(self, now: Instant, path: SendPath, packed: bytearray, room: int) -> None:
        """Add what is waiting to be acknowledged and goes by `path`, up to `room` bytes in all."""
        for path_id, acks in self._acks.items():
            if len(packed) + wire.MAX_ACK_SIZE > room:
                return
            if acks.is_waiting and self._return_path(path_id) is path:
                packed += wire.encode_ack(acks.take(now, self.our_grant))

    def _next_data(self, now: Instant) -> Transmit | None:
        """Build one packet of stream bytes, if there are any and the path has room."""
        stream = self._streams.next_sender()
        path = self.active
        if stream is None or not self._may_send(now, path):
            return None
        size = layout.bulk_capacity(path.controller.packet_size(), self._sealer.tag_size)
        _, available = stream.sendable()
        if available < BULK_MINIMUM:
            return self._next_small_data(now, path, size)
        if isinstance(path, DirectPath):
            room = path.controller.sendable_packets(now, path.ledger.in_flight_bytes)
            count = min(room, available // size)
            if count > 1:
                return self._next_burst(now, path, stream, size, count)
        offset, data, is_end = stream.take(min(size, available // 8 * 8))
        self._streams.took_turn()
        if is_end:  # a bulk packet carries bytes alone: the end follows in a frame
            stream.lost(offset + len(data), offset + len(data), is_end=True)
        number, packet = self._sealer.seal_bulk(path.id, stream.stream, offset, data)
        ranges = [StreamRange(stream.stream, offset, offset + len(data))]
        record = SentRecord(number, 1, now, len(packet), True, ranges)
        self._sent(now, path, record)
        return Transmit(packet, path.endpoint, is_control=False)

    def _next_burst(
        self, now: Instant, path: DirectPath, stream: SendStream, size: int, count: int
    ) -> Transmit:
        """Build `count` equal datagrams of one stream's next bytes."""
        burst = self._burst
        if burst is None or burst.payload_size != size:
            most = min(MAX_BURST, MAX_BURST_BYTES // path.controller.packet_size())
            burst = self._burst = BurstBuffer(size, self._sealer.tag_size, most)
        offset, data, is_end = stream.take(count * size)
        self._streams.took_turn()
        stop = offset + len(data)
        if is_end:
            stream.lost(stop, stop, is_end=True)
        first, count = self._sealer.seal_burst(
            burst, path.id, stream.stream, offset, memoryview(data)
        )
        datagram = burst.datagram_size
        ranges = [StreamRange(stream.stream, offset, stop)]
        self._sent(now, path, SentRecord(first, count, now, datagram, True, ranges, unit=size))
        view = memoryview(burst.data)[: count * datagram]
        return Transmit(view, path.endpoint, is_control=False, segment_size=datagram)

    def _next_small_data(self, now: Instant, path: SendPath, size: int) -> Transmit | None:
        """Join what several streams have into one general packet."""
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
        self._add_acks(now, path, packed, size)
        number, packet = self._sealer.seal_general(path.id, packed)
        record = SentRecord(number, 1, now, len(packet), True, ranges)
        self._sent(now, path, record)
        return Transmit(packet, path.endpoint, is_control=False)

    def _sent(self, now: Instant, path: SendPath, record: SentRecord) -> None:
        path.ledger.sent(record)
        if record.is_ack_eliciting and isinstance(path, DirectPath):  # the relay is not paced
            path.controller.on_sent(now, record, self._streams.next_sender() is not None)
        self._liveness.sent(now, record.is_ack_eliciting)
        self._counters.sent(path.id, record.count * record.size)
