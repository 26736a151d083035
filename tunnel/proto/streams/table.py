"""All streams of a link: who opened them, what is due on them, whose turn it is to send.

Stream ids count up by two: even ones are opened by the claimer, odd ones by the issuer.  An id
opens itself and every lower one of its side.  A stream whose two halves are over is forgotten;
late frames for it say nothing.  This module knows no packets, paths or keys.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass

from tunnel.errors import MisuseError, ProtocolViolation
from tunnel.proto.budget import Account, Budget
from tunnel.proto.recovery.sent import StreamRange
from tunnel.proto.streams.credit import FLOOR, POOL, CreditPool
from tunnel.proto.streams.receive_stream import MAX_GAPS_OF_LINK, ReceiveState, ReceiveStream
from tunnel.proto.streams.send_stream import HELD_OF_LINK, SendState, SendStream
from tunnel.units import Buffer, Instant, Seconds
from tunnel.values import frozen
from tunnel.wire.frames import MAX_OFFSET, Credit, Frame, Recall, Reset, Return, Stop

# Chosen: forwarding allows 1024 connections by default; more streams than this is abuse.
MAX_PEER_STREAMS = 4096
# A few control frames of each.  Streams that are over may still have theirs due, so a peer that
# opens streams, gives them up and acknowledges nothing is stopped here.
MAX_DUE = 3 * MAX_PEER_STREAMS


@frozen
class StreamOpened:
    """The other side opened a stream."""

    stream: int


@frozen
class StreamReadable:
    """Bytes, the end or a reset can be read now."""

    stream: int


@frozen
class StreamWritable:
    """There may be room for a writer, or no use for one: look at the stream again.

    Bytes were acknowledged, or sent for the first time while their writer waited for that, or the
    other side stopped reading.
    """

    stream: int


@frozen
class StreamOver:
    """Both halves of a stream are over; it is forgotten here."""

    stream: int


StreamEvent = StreamOpened | StreamReadable | StreamWritable | StreamOver


@dataclass(slots=True)
class _Stream:
    send: SendStream
    receive: ReceiveStream


class Memory:
    """What the streams of all links of a process share.

    Attributes:
        credit: what the other sides may send beyond the floors of their streams.
        gaps: holes in what came, and in what was acknowledged.
        held: what we have written and they have not acknowledged.
    """

    def __init__(self) -> None:
        self.credit = Budget(POOL)
        self.gaps = Budget(MAX_GAPS_OF_LINK)
        self.held = Budget(HELD_OF_LINK)


class Streams:
    """The streams of one link.

    Args:
        is_issuer: which half of the stream ids is ours.
        memory: shared with the other links of the process; its own by default.
    """

    def __init__(self, is_issuer: bool, memory: Memory | None = None) -> None:
        memory = memory or Memory()
        self._streams: dict[int, _Stream] = {}
        self._next_ours = 1 if is_issuer else 0
        self._next_theirs = 0 if is_issuer else 1
        self._pool = CreditPool(Account(memory.credit))
        self._gaps = Account(memory.gaps)
        self._held = Account(memory.held)
        self._due: OrderedDict[tuple[int, str], Frame] = OrderedDict()
        self._turns: deque[int] = deque()  # streams that may have something to send
        self._has_turn: set[int] = set()
        self._events: OrderedDict[StreamEvent, None] = OrderedDict()  # each once until it is told

    # -- commands ---------------------------------------------------------------------------

    def open(self) -> int:
        """Open a stream; the other side learns of it at once, also if nothing is written."""
        stream = self._next_ours
        self._next_ours += 2
        self._add(stream)
        self._give_turn(stream)
        return stream

    def write(self, stream: int, data: Buffer) -> None:
        """Append `data` (kept, so it must not change) to what is sent."""
        self._get(stream).send.write(data)
        self._give_turn(stream)

    def end(self, stream: int) -> None:
        """Send a clean end behind what was written."""
        self._get(stream).send.end()
        self._give_turn(stream)

    def reset(self, stream: int, code: int) -> None:
        """Give up sending; the other side sees a reset and never a clean end."""
        send = self._get(stream).send
        if send.state not in (SendState.DONE, SendState.RESET):
            self._due[stream, "reset"] = Reset(stream, send.sent_size, code)
            send.reset()
            self._settle(stream)

    def stop(self, stream: int, code: int) -> None:
        """Ask the other side to stop sending; what comes is dropped."""
        receive = self._get(stream).receive
        if receive.state not in (ReceiveState.DONE, ReceiveState.RESET):
            receive.stop()
            self._due[stream, "stop"] = Stop(stream, code)
            self._settle(stream)

    def forget_all(self) -> None:
        """Let go of everything: the link is over.

        Whoever holds the half of a stream can still read what came in order.
        """
        for stream, entry in self._streams.items():
            entry.send.forget_chunks()
            entry.receive.forget_later()
            self._pool.release(stream)
        for kept in (self._streams, self._due, self._turns, self._has_turn):
            kept.clear()

    def read(self, now: Instant, stream: int, size: int, rtt_s: Seconds) -> list[Buffer]:
        """Take up to `size` bytes that arrived; may make credit due."""
        receive = self._get(stream).receive
        taken = receive.read(size)
        self._renew(now, receive, rtt_s)
        self._settle(stream)
        return taken

    # -- queries ----------------------------------------------------------------------------

    def is_known(self, stream: int) -> bool:
        """Tell whether `stream` is still held."""
        return stream in self._streams

    def sending(self, stream: int) -> SendStream | None:
        """Return the sending half, or None once the stream is over."""
        entry = self._streams.get(stream)
        return entry.send if entry else None

    def receiving(self, stream: int) -> ReceiveStream | None:
        """Return the receiving half, or None once the stream is over."""
        entry = self._streams.get(stream)
        return entry.receive if entry else None

    @property
    def has_waiting(self) -> bool:
        """Whether bytes wait that were written and are not acknowledged."""
        return self._held.held > 0

    def next_event(self) -> StreamEvent | None:
        """Return what happened next, or None."""
        return self._events.popitem(last=False)[0] if self._events else None

    # -- what comes in ----------------------------------------------------------------------

    def receive_data(
        self, now: Instant, stream: int, offset: int, data: Buffer, is_end: bool, rtt_s: Seconds
    ) -> bool:
        """Store bytes; returns False if they must not be acknowledged.

        Raises `ProtocolViolation`.
        """
        if offset + len(data) > MAX_OFFSET:
            raise ProtocolViolation("a stream offset is out of range")
        entry = self._meet(stream)
        if entry is None:
            return True
        receive = entry.receive
        if not receive.receive(offset, data, is_end):
            return False
        if receive.is_stopped:
            self._renew(now, receive, rtt_s)
        if receive.readable or receive.state is not ReceiveState.OPEN:
            self._tell(StreamReadable(stream))
        self._settle(stream)
        return True

    def receive_frame(self, frame: Reset | Stop | Credit | Recall | Return) -> None:
        """Take a frame about one stream; raises `ProtocolViolation`."""
        entry = self._meet(frame.stream)
        if entry is None:
            return
        match frame:
            case Credit(stream, limit, recalls):
                if entry.send.raise_limit(limit, recalls):
                    self._give_turn(stream)
            case Recall(stream, limit, recalls):
                if entry.send.return_limit(limit, recalls):
                    self._due[stream, "return"] = Return(stream, entry.send.limit, recalls)
                    self._give_turn(stream)
            case Return():
                self._pool.handle_return(frame)
            case Reset(stream, final_size, code):
                entry.receive.receive_reset(final_size, code)
                self._tell(StreamReadable(stream))
            case Stop(stream, code):
                self._take_stop(entry.send, code)
        self._settle(frame.stream)

    def _take_stop(self, send: SendStream, code: int) -> None:
        if send.state not in (SendState.DONE, SendState.RESET):
            send.stop_code = code
            self._due[send.stream, "reset"] = Reset(send.stream, send.sent_size, code)
            send.reset()
            self._tell(StreamWritable(send.stream))

    # -- what goes out ----------------------------------------------------------------------

    def next_due(self) -> Frame | None:
        """Take the next control frame."""
        return self._due.popitem(last=False)[1] if self._due else None

    @property
    def has_due(self) -> bool:
        """Whether control frames wait."""
        return bool(self._due)

    def next_sender(self) -> SendStream | None:
        """Return the stream whose turn it is; call `took_turn` when it has sent."""
        while self._turns:
            stream = self._turns[0]
            entry = self._streams.get(stream)
            if entry is not None and entry.send.has_something_to_send:
                return entry.send
            self._turns.popleft()
            self._has_turn.discard(stream)
        return None

    def took_turn(self) -> None:
        """Move on to the next stream, and wake a writer that waited for this one to send."""
        entry = self._streams.get(self._turns[0])
        if entry is not None and entry.send.has_awaited_room():
            self._tell(StreamWritable(self._turns[0]))
        self._turns.rotate(-1)

    def acked(self, ranges: list[StreamRange]) -> bool:
        """Note stream ranges that are stored at the other side; tells whether they moved one on."""
        has_moved = False
        for part in ranges:
            entry = self._streams.get(part.stream)
            if entry is not None:
                before = entry.send.buffered
                entry.send.acked(part.start, part.stop, part.is_end)
                has_moved |= entry.send.buffered < before
                self._tell(StreamWritable(part.stream))
                self._settle(part.stream)
        return has_moved

    def lost(self, ranges: list[StreamRange], frames: list[Frame]) -> None:
        """Send again what packets that did not arrive had carried, where it still matters."""
        for part in ranges:
            entry = self._streams.get(part.stream)
            if entry is not None:
                entry.send.lost(part.start, part.stop, part.is_end)
                self._give_turn(part.stream)
        for frame in frames:
            self._repeat(frame)

    def _repeat(self, frame: Frame) -> None:
        """Have a lost control frame sent again, if it still says something."""
        match frame:
            case Credit(stream):
                entry = self._streams.get(stream)
                if entry is not None and entry.receive.state is ReceiveState.OPEN:
                    self._due[stream, "credit"] = self._pool.repeat_credit(entry.receive)
            case Recall(stream):
                if self._pool.is_outstanding(frame):
                    self._due[stream, "recall"] = frame
            case Return(stream):
                self._due.setdefault((stream, "return"), frame)
            case Reset(stream):
                self._due[stream, "reset"] = frame
            case Stop(stream):
                self._due[stream, "stop"] = frame

    # -- inside -----------------------------------------------------------------------------

    def _get(self, stream: int) -> _Stream:
        entry = self._streams.get(stream)
        if entry is None:
            raise MisuseError(f"stream {stream} is over")
        return entry

    def _add(self, stream: int) -> _Stream:
        entry = _Stream(
            SendStream(stream, FLOOR, self._held, self._gaps),
            ReceiveStream(stream, FLOOR, self._gaps),
        )
        self._streams[stream] = entry
        return entry

    def _meet(self, stream: int) -> _Stream | None:
        """Return the stream a frame speaks of, opening it if that is what the frame does."""
        entry = self._streams.get(stream)
        if entry is not None:
            return entry
        if stream % 2 == self._next_ours % 2:
            if stream >= self._next_ours:
                raise ProtocolViolation("a frame of a stream that was never opened")
            return None
        while self._next_theirs <= stream:
            if len(self._streams) >= MAX_PEER_STREAMS or len(self._due) >= MAX_DUE:
                raise ProtocolViolation("too many streams")
            opened = self._next_theirs
            self._next_theirs += 2
            entry = self._add(opened)
            # Our half needs no opening frame: the opener knows the stream.
            entry.send.forget_opening()
            self._tell(StreamOpened(opened))
        return entry

    def _tell(self, event: StreamEvent) -> None:
        self._events[event] = None

    def _renew(self, now: Instant, receive: ReceiveStream, rtt_s: Seconds) -> None:
        for frame in self._pool.renew(now, receive, rtt_s):
            kind = "credit" if isinstance(frame, Credit) else "recall"
            self._due[frame.stream, kind] = frame

    def _give_turn(self, stream: int) -> None:
        if stream not in self._has_turn:
            self._has_turn.add(stream)
            self._turns.append(stream)

    def _settle(self, stream: int) -> None:
        entry = self._streams.get(stream)
        if entry is None:
            return
        has_sent = entry.send.state in (SendState.DONE, SendState.RESET)
        has_read = entry.receive.state in (ReceiveState.DONE, ReceiveState.RESET)
        if has_read:
            self._pool.release(stream)
            self._due.pop((stream, "credit"), None)
            self._due.pop((stream, "recall"), None)
        if has_sent and has_read:
            del self._streams[stream]
            self._tell(StreamOver(stream))
