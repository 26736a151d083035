"""Link and Stream: the blocking handles a user of the library holds.

Both wrap machines: a greenlet that calls here changes the machine, wakes the pump and waits until
an event says that its wish may have come true.  Waiting ends with an error when the link does.
"""

from collections import deque
from collections.abc import Callable

from gevent.event import Event

from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent, StreamReset
from tunnel.net.clock import monotonic
from tunnel.proto.datagrams.incoming import DatagramArrived
from tunnel.proto.link.events import (
    AddressSeen,
    LinkClosed,
    LinkEvent,
    LinkGivenUp,
    LinkResumed,
    LinkStalled,
    PathAnswered,
    PathChanged,
    PeerOffered,
)
from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import Trace, UdpEndpoint
from tunnel.proto.streams.receive_stream import ReceiveState, ReceiveStream
from tunnel.proto.streams.send_stream import SendState, SendStream
from tunnel.proto.streams.table import (
    StreamOpened,
    StreamOver,
    StreamReadable,
    StreamWritable,
)
from tunnel.units import Buffer, ByteCount, Instant, Seconds

# Chosen: a write this short on a link where nothing is under way does not wait for the pump; on a
# busy one it is joined with others.
PROMPT_SIZE = 16 << 10

LinkNews = LinkStalled | LinkResumed | PathChanged | AddressSeen | PeerOffered | PathAnswered


class Stream:
    """One reliable ordered two-way byte stream, and the datagrams of a flow of the same id.

    Attributes:
        on_datagram: called with each datagram of the flow, where both sides have datagrams; it may
            not wait.  Until it is set they are dropped.

    Args:
        link: the link it belongs to.
        sending: the machine's sending half.
        receiving: the machine's receiving half.
    """

    def __init__(self, link: "Link", sending: SendStream, receiving: ReceiveStream) -> None:
        self.id = sending.stream
        self._link = link
        self._sending = sending
        self._receiving = receiving
        self.on_datagram: Callable[[bytes], None] | None = None
        self._may_read = Event()
        self._may_write = Event()
        self._stop_code: int | None = None  # we want no more bytes

    def write(self, data: Buffer) -> None:
        """Send `data` (kept: it must not change any more), then wait while too much is kept.

        How much that is depends on what the process keeps for all its streams together.

        Raises `StreamReset` if the other side stopped reading, `LinkEnded`.
        """
        self._check_writable()
        machine = self._link.machine
        machine.streams.write(self.id, data)
        if not machine.has_unanswered and len(data) <= PROMPT_SIZE:
            self._link.flush()
        self._link.wake()
        self._wait_stored()

    def send_datagram(self, data: bytes) -> None:
        """Send a datagram, of 65507 bytes at most; it arrives once or never, and waits for nothing.

        Raises `MisuseError` where the sides did not agree on datagrams, `LinkEnded`.
        """
        self._check_writable()
        self._link.machine.send_datagram(monotonic(), self.id, data)
        self._link.wake()

    def end(self) -> None:
        """Send a clean end behind everything written."""
        streams = self._link.machine.streams
        if self._sending.state is SendState.OPEN and streams.is_known(self.id):
            streams.end(self.id)
            self._link.wake()

    def reset(self, code: int) -> None:
        """Give up sending: the other side sees a reset, never a clean end."""
        if self._link.machine.streams.is_known(self.id):
            self._link.machine.streams.reset(self.id, code)
            self._link.wake()
        self.tell_writable()

    def stop(self, code: int) -> None:
        """Want no more bytes: the other side's writes fail, and so does every read here."""
        self._stop_code = code
        self.tell_readable()
        if self._link.machine.streams.is_known(self.id):
            self._link.machine.streams.stop(self.id, code)
            self._link.wake()

    def read(self, size: ByteCount = 1 << 20) -> list[Buffer]:
        """Return up to `size` bytes as soon as there are any; an empty list is the clean end.

        Raises `StreamReset` if either side gave up, `LinkEnded`.
        """
        receiving = self._receiving
        self._wait(self._may_read, self._has_news_to_read)
        if self._stop_code is not None:
            raise StreamReset(self._stop_code)
        if receiving.state is ReceiveState.RESET:
            raise StreamReset(receiving.reset_code or 0)
        if not receiving.readable:
            return []
        machine = self._link.machine
        if not machine.streams.is_known(self.id):  # it came before the end of the link
            return receiving.read(size)
        chunks = machine.read(monotonic(), self.id, size)
        if machine.streams.has_due:  # credit, which lets the other side go on
            self._link.wake()
        return chunks

    def _has_news_to_read(self) -> bool:
        receiving = self._receiving
        is_over = receiving.state is ReceiveState.RESET or receiving.is_at_end
        return bool(receiving.readable) or is_over or self._stop_code is not None

    def wait_room(self, most: ByteCount) -> ByteCount:
        """Wait until no more than half of `most` bytes wait to be sent; returns how many more may.

        Bytes that are on their way do not count for that, but they do for what all streams of the
        process may keep until it is acknowledged.  Raises `StreamReset` if either side gave up,
        `LinkEnded`.
        """
        sending = self._sending
        while True:
            if sending.unsent > most // 2:
                sending.awaited_room = most // 2
                self._wait(
                    self._may_write,
                    lambda: sending.awaited_room is None or sending.state is SendState.RESET,
                )
            self._check_writable()
            room = min(most - sending.unsent, sending.room)
            if room > 0:
                return room
            self._wait_stored()

    def _wait_stored(self) -> None:
        """Wait while more is kept than may be, until it is half as much; our own acks end that."""
        sending = self._sending
        if sending.room <= 0:
            self._wait(
                self._may_write,
                lambda: sending.has_much_room or sending.state is SendState.RESET,
            )
            self._check_writable()

    @property
    def is_held_back(self) -> bool:
        """Whether bytes wait since the other side takes no more of this stream just now."""
        return self._sending.is_held_back()

    def wait_acknowledged(self, timeout_s: Seconds | None = None) -> bool:
        """Wait until the other side has stored everything written, and its end if there is one.

        Returns False after `timeout_s`; raises `StreamReset`, `LinkEnded`.
        """
        sending = self._sending
        has_all = self._wait(
            self._may_write,
            lambda: not sending.buffered and sending.state is not SendState.ENDED,
            timeout_s,
        )
        if sending.state is SendState.RESET:
            raise StreamReset(sending.stop_code or 0)
        return has_all

    @property
    def sizes(self) -> dict[str, object]:
        """Bytes sent and received so far."""
        return {"sent": self._sending.sent_size, "received": self._receiving.highest}

    @property
    def stored(self) -> ByteCount:
        """Bytes from the first one on that the other side has stored, as far as is known."""
        return self._sending.stored

    def tell_readable(self) -> None:
        """Wake a reader; called by the link."""
        self._may_read.set()

    def tell_writable(self) -> None:
        """Wake a writer; called by the link."""
        self._may_write.set()

    def _check_writable(self) -> None:
        self._link.check_open()
        if self._sending.state is SendState.RESET:
            raise StreamReset(self._sending.stop_code or 0)

    def _wait(
        self, event: Event, is_true: Callable[[], object], timeout_s: Seconds | None = None
    ) -> bool:
        """Wait until `is_true`; returns False after `timeout_s`; raises `LinkEnded`."""
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while not is_true():
            if self._link.end is not None:
                raise self._link.end
            event.clear()
            left_s = None if deadline is None else deadline - monotonic()
            if left_s is not None and left_s <= 0:
                return False
            event.wait(left_s)
        return True


class Link:
    """The authenticated, encrypted association with one peer.

    Args:
        machine: the link's machine, for the drivers of this package alone.
        wake: makes the pump run the machine soon.
        flush: makes it send what is due at once; must not block.
        on_news: told of stalls, of their ends, and of paths; must not block.
        trace: takes (event name, values); see `tunnel.proto.link`.
    """

    def __init__(
        self,
        machine: PeerLink,
        wake: Callable[[], None],
        flush: Callable[[], None],
        on_news: Callable[["Link", LinkNews], None],
        trace: Trace,
    ) -> None:
        self.machine = machine
        self.wake = wake
        self.flush = flush
        self.end: LinkEnded | None = None
        self._on_news = on_news
        self._trace = trace
        self._streams: dict[int, Stream] = {}
        self._opened: deque[Stream] = deque()
        self._refusal: int | None = None  # the code for streams that nobody wants
        self._has_opened = Event()
        self._has_ended = Event()
        self._is_heard = Event()
        self._is_heard.set()
        self._is_stalled = Event()

    @property
    def relay(self) -> int:
        """The number of the relay connection in use, or to fall back to."""
        return self.machine.relay

    @property
    def direct_path(self) -> UdpEndpoint | None:
        """The direct path that data takes now, None for the relay."""
        return self.machine.direct_path

    @property
    def promotions(self) -> int:
        """How often data moved from the relay to a direct path."""
        return self.machine.promotions

    @property
    def counters(self) -> LinkCounters:
        """What the link did so far."""
        return self.machine.counters

    @property
    def last_heard(self) -> Instant | None:
        """When the last authentic packet came."""
        return self.machine.last_heard

    @property
    def is_silent(self) -> bool:
        """Whether the other side has left something unanswered for seconds."""
        return bool(self._is_stalled.is_set())

    def open_stream(self) -> Stream:
        """Open a stream; the other side learns of it at once.  Raises `LinkEnded`."""
        self.check_open()
        stream = self._hold(self.machine.streams.open())
        self.wake()
        return stream

    def accept_stream(self) -> Stream:
        """Wait for a stream that the other side opens; raises `LinkEnded`."""
        while not self._opened:
            if self.end is not None:
                raise self.end
            self._has_opened.clear()
            self._has_opened.wait()
        return self._opened.popleft()

    def refuse_streams(self, code: int) -> None:
        """Give up whatever the other side has opened that nobody took, and whatever it opens."""
        self._refusal = code
        while self._opened:
            self._refuse(self._opened.popleft(), code)

    def _refuse(self, stream: Stream, code: int) -> None:
        stream.reset(code)
        stream.stop(code)

    def check_open(self) -> None:
        """Raise the end of the link, if there is one."""
        if self.end is None and self.machine.is_closed:
            self.dispatch()  # the pump would tell us a moment later
        if self.end is not None:
            raise self.end

    def close(self, code: int, text: str) -> None:
        """End the link and tell the other side why; does not wait for anything."""
        self.machine.close(monotonic(), code, text)
        self.dispatch()
        self.wake()

    def wait_ended(self, timeout_s: Seconds | None = None) -> LinkEnded | None:
        """Wait until the link has ended; returns why, or None after `timeout_s`."""
        self._has_ended.wait(timeout_s)
        return self.end

    def wait_heard(self, timeout_s: Seconds | None = None) -> bool:
        """Wait while the other side is silent although something is unanswered.

        Returns whether it is heard; False after `timeout_s`, and when the link is over.
        """
        self._is_heard.wait(timeout_s)
        return self.end is None and self._is_heard.is_set()

    def wait_stalled(self, timeout_s: Seconds | None = None) -> bool:
        """Wait until the other side is silent; returns False after `timeout_s` or at the end."""
        self._is_stalled.wait(timeout_s)
        return self.end is None and self._is_stalled.is_set()

    def dispatch(self) -> None:
        """Turn the machine's events into wake-ups; called by the pump."""
        while (event := self.machine.next_event()) is not None:
            self._dispatch(event)

    def _dispatch(self, event: LinkEvent) -> None:
        match event:
            case StreamOpened(stream):
                if self.machine.streams.is_known(stream):
                    self._take(self._hold(stream))
            case StreamReadable(stream):
                held = self._streams.get(stream)
                if held is not None:
                    held.tell_readable()
            case StreamWritable(stream):
                held = self._streams.get(stream)
                if held is not None:
                    held.tell_writable()
            case DatagramArrived(flow, data):
                held = self._streams.get(flow)
                if held is not None and held.on_datagram is not None:
                    held.on_datagram(data)
            case StreamOver(stream):
                self._forget(stream)
            case LinkStalled() | LinkResumed():
                self._note_silence(event)
                self._on_news(self, event)
            case PathChanged() | PathAnswered() | AddressSeen() | PeerOffered():
                self._on_news(self, event)
            case LinkClosed(code, text, is_by_peer):
                self._finish(PeerClosed(code, text) if is_by_peer else ClosedHere(code))
            case LinkGivenUp(silent_s):
                self._finish(PeerSilent(silent_s))

    def _take(self, stream: Stream) -> None:
        """Keep a stream for who accepts it, or give it up."""
        if self._refusal is not None:
            self._refuse(stream, self._refusal)
            return
        self._opened.append(stream)
        self._has_opened.set()

    def _hold(self, stream: int) -> Stream:
        sending = self.machine.streams.sending(stream)
        receiving = self.machine.streams.receiving(stream)
        if sending is None or receiving is None:
            raise ClosedHere(0)
        held = self._streams[stream] = Stream(self, sending, receiving)
        is_ours = stream % 2 == self.machine.parameters.is_issuer
        self._trace("stream.opened", {"stream": stream, "side": "ours" if is_ours else "peer"})
        return held

    def _forget(self, stream: int) -> None:
        """Let go of a stream that the machine has forgotten; its reader may still wait."""
        held = self._streams.pop(stream, None)
        if held is None:
            return
        if held in self._opened:  # given up by the other side before anybody took it
            self._opened.remove(held)
        self._trace("stream.ended", {"stream": stream, **held.sizes})
        held.tell_readable()
        held.tell_writable()

    def _note_silence(self, event: LinkEvent) -> None:
        if isinstance(event, LinkStalled):
            self._is_heard.clear()
            self._is_stalled.set()
        elif isinstance(event, LinkResumed):
            self._is_stalled.clear()
            self._is_heard.set()

    def _finish(self, end: LinkEnded) -> None:
        self.end = end
        for stream in self._streams.values():
            stream.tell_readable()
            stream.tell_writable()
        self._has_opened.set()
        self._has_ended.set()
        self._is_heard.set()
        self._is_stalled.set()
