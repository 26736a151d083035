"""Packing: builds the sealed packets of one link, and notes each as sent on its path.

    frames       --> a general packet: control, acknowledgements, small writes, datagrams, probes
    stream bytes --> a bulk packet, or a burst of equal datagrams in memory that is used again

What goes out, when and by which path is the `Sender`'s matter.  Source: design, section 6;
docs/protocol.md, section "Packets".
"""

from collections import deque

from tunnel.crypto.packets import BurstBuffer, PacketSealer
from tunnel.proto.datagrams.outgoing import OutgoingDatagrams
from tunnel.proto.link.liveness import Liveness
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.path import Path
from tunnel.proto.machine import RelayEndpoint, Transmit
from tunnel.proto.rate.pacer import MAX_BURST_BYTES, MAX_PACED_BURST
from tunnel.proto.recovery.sent import SentRecord, StreamRange
from tunnel.proto.streams.send_stream import SendStream
from tunnel.proto.streams.table import Streams
from tunnel.units import ByteCount, Instant
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

# Chosen: bursts that may wait to be handed to the kernel; each has memory of its own, 64 KB.
BURSTS_AT_ONCE = 4


class Packer:
    """Builds packets; see the module docstring.

    Args:
        sealer: seals what goes out.
        streams: where stream bytes come from.
        datagrams: where datagrams come from.
        liveness: told of every packet that is sent.
        counters: counted up here.
    """

    def __init__(
        self,
        sealer: PacketSealer,
        streams: Streams,
        datagrams: OutgoingDatagrams,
        liveness: Liveness,
        counters: LinkCounters,
    ) -> None:
        self._sealer = sealer
        self._streams = streams
        self._datagrams = datagrams
        self._liveness = liveness
        self._counters = counters
        self._bursts: deque[BurstBuffer] = deque()  # the one unused for longest first

    def capacity(self, path: Path) -> ByteCount:
        """Return how many stream bytes the largest packet of a path carries."""
        return layout.bulk_capacity(path.packet_size, self._sealer.tag_size)

    def general_capacity(self, path: Path) -> ByteCount:
        """Return how many bytes of frames the largest packet of a path carries."""
        return layout.general_capacity(path.packet_size, self._sealer.tag_size)

    def filled(self, frames: bytes | bytearray, size: ByteCount) -> bytes | bytearray:
        """Return frames that fill a datagram of `size`, which an answer then proves to pass.

        Size 0 leaves them as they are.
        """
        return frames.ljust(layout.general_capacity(size, self._sealer.tag_size), wire.PADDING)

    def let_go(self) -> None:
        """Give the memory of bursts back."""
        self._bursts.clear()

    # -- general packets --------------------------------------------------------------------

    def control(
        self,
        now: Instant,
        path: Path,
        packed: bytes | bytearray,
        frames: list[wire.Frame],
        *,
        is_ack_eliciting: bool,
        is_awaited: bool,
    ) -> Transmit:
        """Pack control; `frames` are those in `packed` that are sent again when lost.

        What is not `is_awaited`, as a ping on a path beside the one in use, may stay unanswered
        without the other side being silent.
        """
        record, packet = self._general(now, path, packed, is_ack_eliciting, frames=frames)
        record.is_control = True
        self._sent(now, path, record, is_awaited=is_awaited)
        return Transmit(packet, path.endpoint, is_control=True)

    def wide_ping(
        self, now: Instant, path: Path, to: RelayEndpoint, *, is_awaited: bool
    ) -> Transmit:
        """Pack a ping on path 0 that goes by another relay than the one in use."""
        record, packet = self._general(now, path, wire.encode(wire.Ping()), is_ack_eliciting=True)
        record.is_control = True
        self._sent(now, path, record, is_awaited=is_awaited)
        return Transmit(packet, to, is_control=True)

    def tail_ping(self, now: Instant, path: Path, *, is_awaited: bool) -> Transmit:
        """Pack a ping that overtakes nothing: once it is answered, what went before has arrived.

        Or it was lost.
        """
        record, packet = self._general(now, path, wire.encode(wire.Ping()), is_ack_eliciting=True)
        self._sent(now, path, record, is_awaited=is_awaited)
        return Transmit(packet, path.endpoint, is_control=False)

    def small_writes(
        self,
        now: Instant,
        path: Path,
        packed: bytearray,
        ranges: list[StreamRange],
        frames: list[wire.Frame],
    ) -> Transmit:
        """Pack STREAM frames, with control and acknowledgements behind them."""
        record, packet = self._general(now, path, packed, True, ranges, frames)
        self._sent(now, path, record)
        return Transmit(packet, path.endpoint, is_control=False)

    def datagrams(self, now: Instant, path: Path, packed: bytearray) -> Transmit:
        """Pack DATAGRAM frames, with acknowledgements behind them; none of it is sent again."""
        record, packet = self._general(now, path, packed, is_ack_eliciting=True)
        self._sent(now, path, record, is_ping=False)
        return Transmit(packet, path.endpoint, is_control=False)

    def probe(
        self, now: Instant, path: Path, packed: bytes | bytearray
    ) -> tuple[SentRecord, Transmit]:
        """Pack a probe; its loss is no sign of congestion, so it does not count as in flight.

        Nobody has to acknowledge it, but its number must be known when a later ack covers it.
        """
        record, packet = self._general(now, path, packed, is_ack_eliciting=False)
        path.ledger.sent(record)
        return record, Transmit(packet, path.endpoint, is_control=True)

    def close(self, now: Instant, path: Path, close: wire.Close) -> Transmit:
        """Pack the end of the link; it never overtakes data in the socket."""
        _, packet = self._sealer.seal_general(path.id, wire.encode(close))
        self._liveness.sent(now, is_ack_eliciting=False)
        return Transmit(packet, path.endpoint, is_control=False)

    def _general(
        self,
        now: Instant,
        path: Path,
        packed: bytes | bytearray,
        is_ack_eliciting: bool,
        ranges: list[StreamRange] | None = None,
        frames: list[wire.Frame] | None = None,
    ) -> tuple[SentRecord, bytearray]:
        number, packet = self._sealer.seal_general(path.id, packed)
        record = SentRecord(
            number, 1, now, len(packet), is_ack_eliciting, ranges or [], frames or []
        )
        return record, packet

    # -- bulk packets -----------------------------------------------------------------------

    def bulk(self, now: Instant, path: Path, stream: SendStream, size: ByteCount) -> Transmit:
        """Pack up to `size` of a stream's next bytes, a multiple of 8, into one packet."""
        offset, data, is_end = stream.take(size)
        stop = offset + len(data)
        self._took(stream, stop, is_end)
        number, packet = self._sealer.seal_bulk(path.id, stream.stream, offset, data)
        ranges = [StreamRange(stream.stream, offset, stop)]
        self._sent(now, path, SentRecord(number, 1, now, len(packet), True, ranges))
        return Transmit(packet, path.endpoint, is_control=False)

    def burst(
        self, now: Instant, path: Path, stream: SendStream, size: ByteCount, count: int
    ) -> Transmit:
        """Pack a stream's next bytes into `count` equal datagrams of `size` bytes each.

        The memory is used again BURSTS_AT_ONCE bursts later.
        """
        burst = self._next_buffer(path, size)
        offset, data, is_end = stream.take(count * size)
        stop = offset + len(data)
        self._took(stream, stop, is_end)
        first, count = self._sealer.seal_burst(
            burst, path.id, stream.stream, offset, memoryview(data)
        )
        datagram = burst.datagram_size
        ranges = [StreamRange(stream.stream, offset, stop)]
        self._sent(now, path, SentRecord(first, count, now, datagram, True, ranges, [], size))
        view = memoryview(burst.data)[: count * datagram]
        return Transmit(view, path.endpoint, is_control=False, segment_size=datagram)

    def _next_buffer(self, path: Path, size: ByteCount) -> BurstBuffer:
        bursts = self._bursts
        if bursts and bursts[0].payload_size != size:
            bursts.clear()  # what still waits in them keeps them alive
        if len(bursts) < BURSTS_AT_ONCE:
            most = min(MAX_PACED_BURST, MAX_BURST_BYTES // path.packet_size)
            burst = BurstBuffer(size, self._sealer.tag_size, most)
        else:
            burst = bursts.popleft()
        bursts.append(burst)
        return burst

    def _took(self, stream: SendStream, stop: int, is_end: bool) -> None:
        """Note that the stream had its turn."""
        self._streams.took_turn()
        if is_end:  # a bulk packet carries bytes alone: the end follows in a frame
            stream.lost(stop, stop, is_end=True)

    def _sent(
        self,
        now: Instant,
        path: Path,
        record: SentRecord,
        *,
        is_awaited: bool = True,
        is_ping: bool = True,
    ) -> None:
        """Note a record; one with nothing in it that is sent again is a ping, or datagrams."""
        if is_ping and record.is_ack_eliciting and not (record.ranges or record.frames):
            path.ledger.sent_ping(record)
        else:
            path.ledger.sent(record)
        if record.is_ack_eliciting:
            has_more = self._datagrams.are_waiting or self._streams.next_sender() is not None
            path.on_sent(now, record, has_more)
        self._liveness.sent(now, record.is_ack_eliciting and is_awaited)
        self._counters.sent(path.id, record.count * record.size)
