"""What waits to be sent as datagrams on a link, and what is not worth sending any more.

    send --> waits --> packed: whole, or in pieces that fill their packets --> sent
               +                  +--no room for the rest for MAX_AGE_S-----> dropped
               +--no room for MAX_WAIT_S, or MAX_WAITING_BYTES behind it----> dropped, oldest first

Nothing is sent again, and nothing is reported to who sent it: that is what a datagram is.  While
streams have something to send too, they get the turn for one byte of STREAM_SHARE at least, so
that a flood of datagrams stops no stream.  Sans-IO: the clock is an argument.
"""

from collections import deque
from dataclasses import dataclass

from tunnel.errors import MisuseError
from tunnel.units import MIB, ByteCount, Instant, Seconds
from tunnel.wire.frames import (
    DATAGRAM_HEADER_SIZE,
    MAX_DATAGRAM,
    MIN_PIECE,
    Datagram,
    encode_datagram,
)

# Fixed by the protocol.
MAX_WAIT_S: Seconds = 0.05  # older is worth less than what comes behind it
MAX_AGE_S: Seconds = 1.0  # the other side gives up what came of one after this
# Chosen: 50 ms of a gigabit are 6 MiB, and nobody needs a queue for more than is sent in that time.
MAX_WAITING_BYTES: ByteCount = 4 * MIB
BYTES_OF_EACH = 128  # what one costs beside its bytes, so that empty ones are bounded too
STREAM_SHARE = 4  # of so many bytes one is a stream's
MAX_LEAD: ByteCount = 64_000  # how far datagrams may get ahead of that: a burst
_NUMBERS = 1 << 32


@dataclass(slots=True)
class _Waiting:
    """A datagram, and how much of it has been packed."""

    flow: int
    data: bytes
    since: Instant
    packed: ByteCount = 0
    number: int = 0


class OutgoingDatagrams:
    """The queue of one link.

    Attributes:
        sent: datagrams that were packed to their ends.
        dropped: datagrams that were not.
    """

    def __init__(self) -> None:
        self.sent = self.dropped = 0
        self._waiting: deque[_Waiting] = deque()
        self._bytes: ByteCount = 0
        self._next_number = 0
        self._lead = 0.0  # bytes by which datagrams are ahead of the streams

    @property
    def are_waiting(self) -> bool:
        """Whether there are datagrams, be they too old or not."""
        return bool(self._waiting)

    def send(self, now: Instant, flow: int, data: bytes) -> None:
        """Have a datagram sent, perhaps; raises `MisuseError` for one over `MAX_DATAGRAM` bytes."""
        if len(data) > MAX_DATAGRAM:
            raise MisuseError(f"a datagram of {len(data)} bytes")
        self._waiting.append(_Waiting(flow, data, now))
        self._bytes += len(data) + BYTES_OF_EACH
        self._drop_old(now)
        while self._bytes > MAX_WAITING_BYTES:
            self._drop()

    def clear(self) -> None:
        """Drop everything: the link is over."""
        while self._waiting:
            self._drop()

    def has_turn(self, now: Instant, *, do_streams_wait: bool) -> bool:
        """Tell whether a datagram goes next, also before stream bytes that wait."""
        self._drop_old(now)
        if not do_streams_wait:
            self._lead = 0.0
        return bool(self._waiting) and self._lead < MAX_LEAD

    def stream_sent(self, size: ByteCount) -> None:
        """Note that stream bytes had their turn."""
        self._lead = max(0.0, self._lead - size * (STREAM_SHARE - 1))

    def pack(self, packed: bytearray, room: ByteCount) -> None:
        """Add DATAGRAM frames to a packet that holds `room` bytes of frames.

        One that fits into a packet of its own is never cut.
        """
        begin = len(packed)
        while self._waiting:
            first = self._waiting[0]
            left = len(first.data) - first.packed
            space = room - len(packed) - DATAGRAM_HEADER_SIZE
            if left > space and (
                packed and not first.packed and left + DATAGRAM_HEADER_SIZE <= room
            ):
                break
            if left > space and space < MIN_PIECE:
                break
            size = min(left, space)
            if not first.packed:
                first.number, self._next_number = self._next_number, self._next_number + 1
                self._next_number %= _NUMBERS
            data = first.data[first.packed : first.packed + size]
            frame = Datagram(first.flow, first.number, first.packed, len(first.data), data)
            packed += encode_datagram(frame)
            first.packed += size
            if size < left:
                break
            self._waiting.popleft()
            self._bytes -= len(first.data) + BYTES_OF_EACH
            self.sent += 1
        self._lead += len(packed) - begin

    def _drop_old(self, now: Instant) -> None:
        while self._waiting:
            first = self._waiting[0]
            if now - first.since <= (MAX_AGE_S if first.packed else MAX_WAIT_S):
                return
            self._drop()

    def _drop(self) -> None:
        self._bytes -= len(self._waiting.popleft().data) + BYTES_OF_EACH
        self.dropped += 1
