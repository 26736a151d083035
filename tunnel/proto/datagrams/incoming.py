"""Datagrams that come in on a link: whole ones as they come, others once all pieces are there.

Pieces may come in any order and by any path.  A datagram of which one is lost is never completed:
it makes room after MAX_AGE_S, or for newer ones.  A packet is never taken twice and a piece never
sent twice, so pieces that overlap are a fault of the other side.  Sans-IO.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

from tunnel.errors import ProtocolViolation
from tunnel.proto.datagrams.outgoing import MAX_AGE_S
from tunnel.units import Instant
from tunnel.values import frozen
from tunnel.wire.frames import Datagram

# Chosen.
MAX_PARTIAL = 32  # datagrams of which pieces are missing: 2 MiB at most


@frozen
class DatagramArrived:
    """The other side sent a datagram.

    Args:
        flow: the stream that it belongs to.
        data: 0 to 65507 bytes.
    """

    flow: int
    data: bytes


@dataclass(slots=True)
class _Partial:
    """A datagram under way: where its pieces begin and end, rising."""

    flow: int
    data: bytearray
    since: Instant
    missing: int
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class IncomingDatagrams:
    """Puts the pieces of one link's datagrams together.

    Attributes:
        received: datagrams that are complete.
        incomplete: datagrams that were given up.
    """

    def __init__(self) -> None:
        self.received = self.incomplete = 0
        self._partials: dict[int, _Partial] = {}  # by number, the oldest first

    def take(self, now: Instant, frame: Datagram) -> DatagramArrived | None:
        """Take a frame; returns the datagram that it completes.

        Raises:
            ProtocolViolation: it contradicts a piece that came before.
        """
        if len(frame.data) == frame.whole:
            if frame.number in self._partials:
                raise ProtocolViolation("a datagram came whole and in pieces")
            self.received += 1
            return DatagramArrived(frame.flow, frame.data)
        partial = self._partials.get(frame.number)
        if partial is None:
            self._make_room(now)
            partial = _Partial(frame.flow, bytearray(frame.whole), now, frame.whole)
            self._partials[frame.number] = partial
        elif (partial.flow, len(partial.data)) != (frame.flow, frame.whole):
            raise ProtocolViolation("pieces of a datagram do not belong together")
        if not _placed(partial, frame):
            raise ProtocolViolation("pieces of a datagram overlap")
        if partial.missing:
            return None
        del self._partials[frame.number]
        self.received += 1
        return DatagramArrived(partial.flow, bytes(partial.data))

    def clear(self) -> None:
        """Forget what is not complete: the link is over."""
        self.incomplete += len(self._partials)
        self._partials.clear()

    def _make_room(self, now: Instant) -> None:
        for number, partial in list(self._partials.items()):
            if now - partial.since <= MAX_AGE_S and len(self._partials) < MAX_PARTIAL:
                return
            del self._partials[number]
            self.incomplete += 1


def _placed(partial: _Partial, frame: Datagram) -> bool:
    """Put a piece in its place; returns False if something is there."""
    begin, end = frame.offset, frame.offset + len(frame.data)
    place = bisect_left(partial.begins, begin)
    is_over_next = place < len(partial.begins) and partial.begins[place] < end
    if is_over_next or (place and partial.ends[place - 1] > begin):
        return False
    partial.begins.insert(place, begin)
    partial.ends.insert(place, end)
    partial.data[begin:end] = frame.data
    partial.missing -= len(frame.data)
    return True
