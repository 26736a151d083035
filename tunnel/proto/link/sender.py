"""Sender: what goes out on a link now, and by which of its paths.

    every ack by the path its packets came on, and by others: `tunnel.proto.link.ack_routes`
    control, pings, datagrams and stream bytes by the active path: a direct one, or the relay
    challenges and answers by the path they are about

How packets are built: `tunnel.proto.link.packing`; what becomes of them:
`tunnel.proto.link.resending`.  This module knows no keys, and nothing about what comes in.
"""

from tunnel.proto.datagrams.outgoing import OutgoingDatagrams
from tunnel.proto.link.ack_routes import AckRoutes
from tunnel.proto.link.control_queue import ControlQueue
from tunnel.proto.link.liveness import Liveness
from tunnel.proto.link.packing import BURSTS_AT_ONCE, Packer
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.path import Path, Paths
from tunnel.proto.machine import RelayEndpoint, Transmit
from tunnel.proto.paths.direct_path import PathState
from tunnel.proto.paths.packet_size import BASE_DATAGRAM
from tunnel.proto.recovery.sent import StreamRange
from tunnel.proto.streams.table import Streams
from tunnel.units import Instant
from tunnel.wire import frames as wire

# Fixed by the protocol.
MAX_CONTROL_SIZE = 1136  # frames of one control packet: what 1200 bytes carry with any AEAD
# Chosen.
BULK_MINIMUM = 1024  # fewer stream bytes than this go as a general packet


class Sender:
    """Everything on its way out of one link.

    Args:
        paths: by which it goes.
        packer: builds the packets.
        control: what is to be said beside stream bytes.
        acks: what is to be acknowledged.
        streams: where stream bytes come from.
        datagrams: where datagrams come from.
        liveness: told of probes of sizes; the packer tells it of the rest.
        counters: counted up here.
    """

    def __init__(
        self,
        paths: Paths,
        packer: Packer,
        control: ControlQueue,
        acks: AckRoutes,
        streams: Streams,
        datagrams: OutgoingDatagrams,
        liveness: Liveness,
        counters: LinkCounters,
    ) -> None:
        self._paths = paths
        self._packer = packer
        self._control = control
        self._acks = acks
        self._streams = streams
        self._datagrams = datagrams
        self._liveness = liveness
        self._counters = counters

    # -- time -------------------------------------------------------------------------------

    def deadlines(self) -> list[Instant | None]:
        """Return when there is something to send that waits for its time, pacing aside."""
        times = self._acks.deadlines()
        times.append(self._control.offer_at)
        if self._paths.direct.active is not None:
            times.append(self._paths.direct.active.search.next_timeout())
        return times

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets the next data go, if data waits for that."""
        if self._streams.next_sender() is None and not self._datagrams.are_waiting:
            return None
        return self._paths.active.next_send_at(now)

    # -- what goes out ----------------------------------------------------------------------

    def packets_to_send(self, now: Instant, limit: int) -> list[Transmit]:
        """Return what may go out now, control first; ask again until it returns none."""
        self._acks.follow_active()
        if self._control.offer_again(now):
            self._paths.direct.probe_again(now)  # the other side probes us as well, once told
        packets = self._probes(now)
        packets += self._size_probes(now)
        packets += self._relay_pings(now)
        packets += self._next_datagrams(now, limit - len(packets))
        if self._has_small_data(now):
            packets.append(self._next_small_data(now, self._paths.active, carries_control=True))
            self._datagrams.stream_sent(len(packets[-1].data))
        # Sending data makes no control due, so control is asked for once and not at each packet.
        while len(packets) < limit and (packet := self._next_control(now)) is not None:
            packets.append(packet)
        bursts_left = BURSTS_AT_ONCE
        while bursts_left and len(packets) < limit:
            packet = self._next_data(now)
            if packet is None:
                break
            packets.append(packet)
            self._datagrams.stream_sent(len(packet.data))
            if packet.segment_size:
                bursts_left -= 1
        return packets

    def close_packets(self, now: Instant, close: wire.Close) -> list[Transmit]:
        """Return a close for the active path, and for the relay when that is another one."""
        paths = {path.id: path for path in (self._paths.active, self._paths.relay)}
        return [self._packer.close(now, path, close) for path in paths.values()]

    # -- probes -----------------------------------------------------------------------------

    def _probes(self, now: Instant) -> list[Transmit]:
        packets = []
        for path, frames in self._paths.direct.probes_to_send(now):
            packed: bytes | bytearray = b"".join(map(wire.encode, frames))
            if path.state is PathState.DOUBTFUL:  # it comes back only if it carries data
                packed = self._packer.filled(packed, BASE_DATAGRAM)
            packets.append(self._packer.probe(now, path, packed)[1])
        return packets

    def _size_probes(self, now: Instant) -> list[Transmit]:
        """Build a padded ping that finds out whether the path in use takes larger datagrams."""
        path = self._paths.direct.active
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
        control, relay = self._control, self._paths.relay
        is_awaited = self._paths.active is relay
        if control.is_tail_ping_due:
            control.is_tail_ping_due = False
            packets.append(self._packer.tail_ping(now, relay, is_awaited=is_awaited))
        if control.is_wide_ping_due:
            control.is_wide_ping_due = False
            for each in sorted(relay.relays_up - {relay.endpoint.relay}):
                to = RelayEndpoint(each, relay.endpoint.key)
                packets.append(self._packer.wide_ping(now, relay, to, is_awaited=is_awaited))
        return packets

    # -- control ----------------------------------------------------------------------------

    def _next_control(self, now: Instant) -> Transmit | None:
        """Build one packet of acknowledgements, pings and control frames, if any is due."""
        control, active = self._control, self._paths.active
        has_frames = control.has_frames and active.room(now) > 0
        path = active if has_frames else control.next_pinged() or self._acks.next_path(now)
        if path is None:
            return None
        packed = bytearray()
        frames = (
            control.take_frames(packed, MAX_CONTROL_SIZE - wire.MAX_ACK_SIZE) if has_frames else []
        )
        asks = control.take_ping(path)
        if asks:
            packed += wire.encode(wire.Ping())
        self._acks.add_to(packed, now, path, MAX_CONTROL_SIZE)
        content = self._packer.filled(packed, path.ping_size) if asks else packed
        return self._packer.control(
            now,
            path,
            content,
            frames,
            is_ack_eliciting=asks or bool(frames),
            is_awaited=path is active,
        )

    # -- datagrams --------------------------------------------------------------------------

    def _next_datagrams(self, now: Instant, limit: int) -> list[Transmit]:
        """Build packets of datagrams, as long as it is their turn and the path has room."""
        packets: list[Transmit] = []
        datagrams, path = self._datagrams, self._paths.active
        if not datagrams.are_waiting:
            return packets
        do_streams_wait = self._streams.next_sender() is not None
        while len(packets) < limit and datagrams.has_turn(now, do_streams_wait=do_streams_wait):
            if not path.room(now):
                break
            packed = bytearray()
            size = self._packer.general_capacity(path)
            datagrams.pack(packed, size)
            self._acks.add_to(packed, now, path, size)
            packets.append(self._packer.datagrams(now, path, packed))
        return packets

    # -- stream bytes -----------------------------------------------------------------------

    def _next_data(self, now: Instant) -> Transmit | None:
        """Build a packet or a burst of stream bytes, if there are any and the path has room."""
        stream = self._streams.next_sender()
        if stream is None:
            return None
        path = self._paths.active
        room = path.room(now)
        if not room:
            return None
        _, available = stream.sendable()
        if available < BULK_MINIMUM:
            return self._next_small_data(now, path, carries_control=False)
        size = self._packer.capacity(path)
        count = min(room, available // size)
        if count > 1:
            return self._packer.burst(now, path, stream, size, count)
        return self._packer.bulk(now, path, stream, min(size, available // 8 * 8))

    def _has_small_data(self, now: Instant) -> bool:
        """Tell whether a small write goes out now, and can take control along."""
        path, stream = self._paths.active, self._streams.next_sender()
        if stream is None or not path.joins_control:
            return False
        return stream.sendable()[1] < BULK_MINIMUM and path.room(now) > 0

    def _next_small_data(self, now: Instant, path: Path, *, carries_control: bool) -> Transmit:
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
        frames: list[wire.Frame] = []
        if carries_control:
            frames = self._control.take_frames(packed, size - wire.MAX_ACK_SIZE)
        self._acks.add_to(packed, now, path, size)
        return self._packer.small_writes(now, path, packed, ranges, frames)
