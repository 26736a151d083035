"""PeerLink: the authenticated, encrypted association of two peers; a machine without I/O.

It opens what arrives, feeds the streams, acknowledges what is stored, seals what is due and says
when it must be called again.  Path 0 is the relay: the relay connection that delivers authenticated
packets carries what we send.  The issuer follows the claimer at once; the claimer leaves a relay
only when it is down or silent, or else the two could chase each other for ever.  While probes stay
unanswered they go out over every relay that is up, so the two meet again on any common one.

    OPEN --close()--> CLOSED    we ended it
     |  --CLOSE-----> CLOSED    they ended it
     +--silence-----> CLOSED    given up

A silent peer is no ending yet: after STALL_S of silence with something unanswered the owner is
told, and the link goes on if packets come again before `give_up_after_s`.
No unauthenticated byte changes anything here.  What a close code means belongs to the owner.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from tunnel.crypto.keys import Secret
from tunnel.crypto.packets import OpenedBulk, OpenedGeneral
from tunnel.errors import DecodeError, ProtocolViolation
from tunnel.proto.acks import AckState
from tunnel.proto.congestion import RelayController
from tunnel.proto.handshake import packet_keys
from tunnel.proto.link_events import (
    LinkClosed,
    LinkCounters,
    LinkEvent,
    LinkGivenUp,
    LinkParameters,
    LinkResumed,
    LinkStalled,
    Trace,
)
from tunnel.proto.loss import SentLedger, SentRecord, StreamRange
from tunnel.proto.machine import RelayEndpoint, Transmit
from tunnel.proto.rekey import Rekeying
from tunnel.proto.streams import Buffer, Streams
from tunnel.units import Instant, Seconds
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

# Fixed by the protocol.
PROTOCOL_VIOLATION = 1  # the only close code this library sends by itself
MAX_CONTROL_SIZE = 1100  # frames of one control packet, below any path's packet size
# Chosen.
BULK_MINIMUM = 1024  # fewer stream bytes than this go as a general packet
STALL_S = 5.0
KEEPALIVE_S = 30.0
KEEPALIVE_STAGGER_S = 5.0  # the issuer waits longer, so that one side's pings serve both
CLOSE_REPEAT_S = 0.25
RELAY_SILENCE_S = 1.0  # a claimer whose relay delivered nothing for this long follows the issuer
WIDE_PROBES = 2  # probes unanswered before they go out over every relay


class PeerLink:
    """One link; see the module docstring.

    Args:
        now: the instant of the handshake's end.
        parameters: what the handshake settled.
        relays_up: the relay connections that are up now; kept by the owner, read here.
        entropy: returns that many random bytes.
        trace: takes (event name, values) of what a person who looks for a fault wants to see.
    """

    def __init__(
        self,
        now: Instant,
        parameters: LinkParameters,
        relays_up: set[int],
        entropy: Callable[[int], bytes],
        trace: Trace,
    ) -> None:
        # The root lives in `_rekeying` alone, which forgets it at the first re-key.
        self.parameters = replace(parameters, root=Secret(b""))
        self.relay = parameters.relay
        self._relays_up = relays_up
        self._relay_heard_at = now
        self.our_grant = parameters.our_grant
        self.streams = Streams(parameters.is_issuer)
        self.counters = LinkCounters()
        self.is_closed = False
        self.last_heard: Instant | None = None
        self._created_at = now
        self._trace = trace
        root, aead, is_issuer = parameters.root, parameters.aead, parameters.is_issuer
        self._sealer, self._opener = packet_keys(root.value, aead, is_issuer, parameters.peer_index)
        self._rekeying = Rekeying(now, is_issuer, root, aead, self._sealer, self._opener, entropy)
        self._frames_due: deque[wire.Frame] = deque()  # of the link itself, sent until acked
        self._ledger = SentLedger(has_packet_threshold=False)
        self._controller = RelayController(parameters.peer_grant, parameters.is_polite)
        self._acks: dict[int, AckState] = {}
        self._ping_is_due = False
        self._wide_ping_is_due = False
        self._last_sent: Instant = now
        self._unanswered_since: Instant | None = None
        self._is_stalled = False
        self._close: wire.Close | None = None
        self._close_is_due_at: Instant | None = None
        self._events: deque[LinkEvent] = deque()

    # -- commands ---------------------------------------------------------------------------

    def ping(self) -> None:
        """Ask the other side for a sign of life."""
        self._ping_is_due = True

    def search(self) -> None:
        """Ask the other side for a sign of life over every relay that is up."""
        self._ping_is_due = self._wide_ping_is_due = True

    def close(self, now: Instant, code: int, text: str) -> None:
        """End the link and tell the other side why; what is in flight is not waited for."""
        if self.is_closed:
            return
        self._close = wire.Close(code, text)
        self._close_is_due_at = now
        self._finish(LinkClosed(code, "", is_by_peer=False))

    def read(self, now: Instant, stream: int, size: int) -> list[Buffer]:
        """Take up to `size` bytes of a stream."""
        return self.streams.read(now, stream, size, self.rtt_s)

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Start over on a relay connection that was made anew, if ours is that one or is down."""
        if relay == self.relay or self.relay not in self._relays_up:
            self._use_relay(now, relay)

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Go on over another relay that is up, if there is one."""
        if relay == self.relay and self._relays_up:
            self._use_relay(now, min(self._relays_up))
            self.search()

    def _use_relay(self, now: Instant, relay: int) -> None:
        """Send by another relay connection, or by one that was just made anew.

        Everything in flight is sent again and the path's model starts over: nothing is known of
        what a relay still held.
        """
        self.relay = relay
        self._relay_heard_at = now
        self.counters.relay_changes += 1
        self._trace("path.relay_changed", {"relay": relay})
        for record in self._ledger.all_lost():
            self._requeue(record)
        self._controller = RelayController(self._controller.grant, self._controller.is_polite)
        if not self.is_closed:
            self.ping()

    # -- queries ----------------------------------------------------------------------------

    @property
    def rtt_s(self) -> Seconds:
        """The smoothed round-trip time of the path in use."""
        return self._ledger.rtt.smoothed_s

    @property
    def minimum_rtt_s(self) -> Seconds | None:
        """The lowest round-trip time seen, or None before the first sample."""
        return self._ledger.rtt.minimum_s if self._ledger.rtt.has_sample else None

    @property
    def is_awaiting(self) -> bool:
        """Whether something we sent is unanswered."""
        return not self.is_closed and self._ledger.in_flight_packets > 0

    def next_event(self) -> LinkEvent | None:
        """Return what happened next, or None."""
        if self._events:
            return self._events.popleft()
        return self.streams.next_event()

    # -- what comes in ----------------------------------------------------------------------

    def handle_packet(self, now: Instant, relay: int, data: memoryview) -> bool:
        """Take a packet that arrived by `relay`; returns whether it was authentic and fresh."""
        opened = self._opener.open(data)
        if opened is None or opened.path != layout.RELAY_PATH:
            self.counters.packets_dropped += 1
            return False
        self.counters.packets_received += 1
        self.counters.bytes_received += len(data)
        self._rekeying.count(len(data))
        self._rekeying.handle_opened(now)
        self._heard(now, relay)
        if self.is_closed:
            self._repeat_close(now)
            return True
        try:
            self._accept(now, opened)
        except (ProtocolViolation, DecodeError) as error:
            self._trace("link.violation", {"reason": str(error)})
            self.close(now, PROTOCOL_VIOLATION, str(error))
        if not self._ledger.in_flight_packets:
            self._unanswered_since = None
        return True

    def _heard(self, now: Instant, relay: int) -> None:
        if self._is_stalled:
            self._is_stalled = False
            silent_s = now - (self.last_heard or self._created_at)
            self._events.append(LinkResumed(silent_s))
        self.last_heard = now
        if relay == self.relay:
            self._relay_heard_at = now
        elif not self.is_closed and self._may_follow(now):
            self._use_relay(now, relay)

    def _may_follow(self, now: Instant) -> bool:
        """Tell whether a packet by another relay moves us there; see the module docstring."""
        patience_s = max(RELAY_SILENCE_S, 2 * self._ledger.rtt.probe_timeout_s)
        is_silent = now >= self._relay_heard_at + patience_s
        return self.parameters.is_issuer or is_silent or self.relay not in self._relays_up

    def _accept(self, now: Instant, opened: OpenedGeneral | OpenedBulk) -> None:
        acks = self._acks.get(opened.path)
        if acks is None:
            acks = self._acks[opened.path] = AckState(opened.path)
        if isinstance(opened, OpenedBulk):
            if self.streams.receive_data(
                now, opened.stream, opened.offset, opened.data, is_end=False, rtt_s=self.rtt_s
            ):
                acks.received(now, opened.first, opened.count, is_ack_eliciting=True)
            return
        is_ack_eliciting, is_stored = False, True
        for frame in wire.decode_frames(opened.frames):
            is_ack_eliciting |= not isinstance(frame, wire.Ack | wire.Close)
            is_stored &= self._accept_frame(now, frame)
            if self.is_closed:
                return
        if is_stored:
            acks.received(now, opened.number, 1, is_ack_eliciting)

    def _accept_frame(self, now: Instant, frame: wire.Frame) -> bool:
        """Take one frame; returns False if its packet must not be acknowledged."""
        match frame:
            case wire.StreamData(stream, offset, data, is_end):
                return self.streams.receive_data(now, stream, offset, data, is_end, self.rtt_s)
            case wire.Ack():
                self._accept_ack(now, frame)
            case wire.Reset() | wire.Stop() | wire.Credit():
                self.streams.receive_frame(frame)
            case wire.Close(code, text):
                self._trace("link.closed_by_peer", {"code": code})
                self._finish(LinkClosed(code, text, is_by_peer=True))
            case wire.Rekey():
                answer = self._rekeying.handle_rekey(now, frame)
                if answer is not None:
                    self._trace("link.rekeyed", {"phase": self._rekeying.phase})
                    self._frames_due.append(answer)
            case wire.RekeyAnswer():
                self._rekeying.handle_answer(now, frame)
                self._trace("link.rekeyed", {"phase": self._rekeying.phase})
                self.ping()  # the claimer goes on at our first packet of the new phase
            case wire.Ping():
                pass  # the acknowledgement is the answer
            case _:
                raise ProtocolViolation("a frame that belongs to a feature not agreed on")
        return True

    def _accept_ack(self, now: Instant, ack: wire.Ack) -> None:
        if ack.path != layout.RELAY_PATH:
            raise ProtocolViolation("an acknowledgement of a path that was never used")
        if ack.relay_grant:
            self._controller.grant = ack.relay_grant
        newly = self._ledger.acked(now, ack)
        for record in newly:
            self.streams.acked(record.ranges)
        if newly:
            self._controller.on_acked(now, newly, self._ledger.rtt)
            self._detect_losses(now)

    def _detect_losses(self, now: Instant) -> None:
        lost = self._ledger.lost(now)
        for record in lost:
            self.counters.packets_lost += record.count
            self._trace("packet.lost", {"number": record.first, "count": record.count})
            self._requeue(record)
        if lost:
            self._controller.on_lost(now, lost)

    def _requeue(self, record: SentRecord) -> None:
        self.streams.lost(record.ranges, record.frames)
        for frame in record.frames:
            if isinstance(frame, wire.Rekey | wire.RekeyAnswer):
                self._frames_due.append(frame)

    # -- time -------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due."""
        if self.is_closed:
            return self._close_is_due_at
        times = [acks.deadline for acks in self._acks.values()]
        times += [self._ledger.loss_deadline(), self._ledger.probe_deadline()]
        times += [self._keepalive_at(), self._stall_at(), self._give_up_at()]
        times.append(self._rekeying.next_timeout())
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        if self.is_closed:
            return
        give_up_at, stall_at = self._give_up_at(), self._stall_at()
        if give_up_at is not None and now >= give_up_at:
            silent_s = now - self._silent_since()
            self._trace("link.given_up", {"silent_s": silent_s})
            self._finish(LinkGivenUp(silent_s))
            return
        if stall_at is not None and now >= stall_at:
            self._is_stalled = True
            self.counters.stalls += 1
            left_s = (give_up_at or now) - now
            self._events.append(LinkStalled(now - self._silent_since(), left_s))
        loss_at, probe_at = self._ledger.loss_deadline(), self._ledger.probe_deadline()
        if loss_at is not None and now >= loss_at:
            self._detect_losses(now)
        if probe_at is not None and now >= probe_at:
            self._ledger.probed(now)
            self.ping()
            self._wide_ping_is_due = self._ledger.probe_count >= WIDE_PROBES
        if now >= self._keepalive_at():
            self.ping()
        rekey = self._rekeying.handle_timeout(now)
        if rekey is not None:
            self._frames_due.append(rekey)

    def _silent_since(self) -> Instant:
        heard = self.last_heard if self.last_heard is not None else self._created_at
        return Instant(max(heard, self._unanswered_since or heard))

    def _stall_at(self) -> Instant | None:
        if self._unanswered_since is None or self._is_stalled:
            return None
        return Instant(self._silent_since() + STALL_S)

    def _give_up_at(self) -> Instant | None:
        if self._unanswered_since is None:
            return None
        heard = self.last_heard if self.last_heard is not None else self._created_at
        earliest = self._unanswered_since + STALL_S
        return Instant(max(heard + self.parameters.give_up_after_s, earliest))

    def _keepalive_at(self) -> Instant:
        stagger_s = KEEPALIVE_STAGGER_S if self.parameters.is_issuer else 0.0
        quiet_since = max(self._last_sent, self.last_heard or self._created_at)
        return Instant(quiet_since + KEEPALIVE_S + stagger_s)

    # -- what goes out ----------------------------------------------------------------------

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what may go out now, control first; ask again until it returns none."""
        if self.is_closed:
            return self._close_to_send(now)
        packets = self._wide_pings(now)
        while len(packets) < limit:
            packet = self._next_control(now) or self._next_data(now)
            if packet is None:
                break
            packets.append(packet)
        return packets

    def _wide_pings(self, now: Instant) -> list[Transmit]:
        """Build a ping for every relay that is up but the one in use."""
        if not self._wide_ping_is_due:
            return []
        self._wide_ping_is_due = False
        pings = []
        for relay in sorted(self._relays_up - {self.relay}):
            number, packet = self._sealer.seal_general(layout.RELAY_PATH, wire.encode(wire.Ping()))
            record = SentRecord(number, 1, now, len(packet), is_ack_eliciting=True)
            pings.append(self._sent(now, record, packet, is_control=True, relay=relay))
        return pings

    def _may_send(self, now: Instant) -> bool:
        ledger = self._ledger
        return self._controller.may_send(now, ledger.in_flight_packets, ledger.in_flight_bytes)

    def _next_control(self, now: Instant) -> Transmit | None:
        """Build one packet of acknowledgements, pings and stream control, if any is due."""
        packed = bytearray()
        frames: list[wire.Frame] = []
        is_ack_eliciting = False
        if self._ping_is_due:
            self._ping_is_due = False
            is_ack_eliciting = True
            packed += wire.encode(wire.Ping())
        may_send = self._may_send(now)
        while may_send and len(packed) < MAX_CONTROL_SIZE // 2:
            frame = self._frames_due.popleft() if self._frames_due else self.streams.next_due()
            if frame is None:
                break
            frames.append(frame)
            packed += wire.encode(frame)
            is_ack_eliciting = True
        for acks in self._acks.values():
            if acks.is_due(now) or (acks.is_waiting and packed):
                packed += wire.encode_ack(acks.take(now, self.our_grant))
        if not packed:
            return None
        number, packet = self._sealer.seal_general(layout.RELAY_PATH, packed)
        record = SentRecord(number, 1, now, len(packet), is_ack_eliciting, frames=frames)
        return self._sent(now, record, packet, is_control=True)

    def _next_data(self, now: Instant) -> Transmit | None:
        """Build one packet of stream bytes, if there are any and the window has room."""
        stream = self.streams.next_sender()
        if stream is None or not self._may_send(now):
            return None
        size = layout.bulk_capacity(self._controller.packet_size(), self._sealer.tag_size)
        _, available = stream.sendable()
        if available < BULK_MINIMUM:
            return self._next_small_data(now, size)
        offset, data, is_end = stream.take(min(size, available // 8 * 8))
        self.streams.took_turn()
        if is_end:  # a bulk packet carries bytes alone: the end follows in a frame
            stream.lost(offset + len(data), offset + len(data), is_end=True)
        number, packet = self._sealer.seal_bulk(layout.RELAY_PATH, stream.stream, offset, data)
        ranges = [StreamRange(stream.stream, offset, offset + len(data))]
        return self._sent(
            now, SentRecord(number, 1, now, len(packet), True, ranges), packet, is_control=False
        )

    def _next_small_data(self, now: Instant, size: int) -> Transmit | None:
        """Join what several streams have into one general packet."""
        packed = bytearray()
        ranges: list[StreamRange] = []
        room = size - wire.MAX_ACK_SIZE
        while len(packed) + wire.STREAM_HEADER_SIZE + BULK_MINIMUM <= room:
            stream = self.streams.next_sender()
            if stream is None or stream.sendable()[1] >= BULK_MINIMUM:
                break
            offset, data, is_end = stream.take(BULK_MINIMUM)
            self.streams.took_turn()
            packed += wire.encode_stream(wire.StreamData(stream.stream, offset, data, is_end))
            ranges.append(StreamRange(stream.stream, offset, offset + len(data), is_end))
        for acks in self._acks.values():
            if acks.is_waiting:
                packed += wire.encode_ack(acks.take(now, self.our_grant))
        number, packet = self._sealer.seal_general(layout.RELAY_PATH, packed)
        record = SentRecord(number, 1, now, len(packet), True, ranges)
        return self._sent(now, record, packet, is_control=False)

    def _sent(
        self,
        now: Instant,
        record: SentRecord,
        packet: bytearray,
        is_control: bool,
        relay: int | None = None,
    ) -> Transmit:
        self._ledger.sent(record)
        self._last_sent = now
        self.counters.bytes_sent += len(packet)
        self._rekeying.count(len(packet))
        if record.is_ack_eliciting and self._unanswered_since is None:
            self._unanswered_since = now
        return Transmit(packet, self._endpoint(relay), is_control)

    def _endpoint(self, relay: int | None = None) -> RelayEndpoint:
        number = self.relay if relay is None else relay
        return RelayEndpoint(number, self.parameters.peer_key)

    # -- ending -----------------------------------------------------------------------------

    def _finish(self, event: LinkEvent) -> None:
        self.is_closed = True
        self._is_stalled = False
        self._unanswered_since = None
        self._events.append(event)

    def _repeat_close(self, now: Instant) -> None:
        is_idle = self._close is not None and self._close_is_due_at is None
        if is_idle and now >= self._last_sent + CLOSE_REPEAT_S:
            self._close_is_due_at = now

    def _close_to_send(self, now: Instant) -> list[Transmit]:
        if self._close is None or self._close_is_due_at is None:
            return []
        self._close_is_due_at = None
        self._last_sent = now
        _, packet = self._sealer.seal_general(layout.RELAY_PATH, wire.encode(self._close))
        # Not control: a close never overtakes data in the socket.
        return [Transmit(packet, self._endpoint(), is_control=False)]
