"""Receive credit: how far the other side may send on each stream, out of one pool for the link.

The pool is the link's part of what the process has for all its links (`tunnel.proto.budget`).

Every stream owns a floor that is always covered, and nothing is sent for one that stays well within
it.  A stream whose reader keeps up, and whose window
is used up within two round trips, gets twice as much (at least the first step) while the pool
lasts.  Once a stream wants more than is left, the pool is contested for a while:

    idle windows are recalled        RECALL --> the sender keeps what it has used --> RETURN
    windows above an equal share     shrink as they are read, since no new credit is given

A window has three amounts, in bytes:

    held     what may still come, or waits to be read   reading takes; CREDIT adds, RETURN takes
    size     what `held` is to be filled up to          twice as much with use; less when contested
    lease    what it takes of the pool                  the larger of the two

Memory is bounded by the process's budget + floor x streams: what was granted counts until it was
read or returned.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile

from tunnel.errors import ProtocolViolation
from tunnel.proto.budget import Account, Budget
from tunnel.proto.streams.receive_stream import ReceiveState, ReceiveStream
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire.frames import Credit, Recall, Return

# Fixed by the protocol: what a stream may send before any CREDIT arrives.
FLOOR = 16 << 10
# Chosen (design: 32 MiB for a single link, 16 MiB for one stream).
POOL = 32 << 20
MAX_WINDOW = 16 << 20
# Chosen: the first step of a stream that has the pool to itself; a relay's first flight.
FIRST_WINDOW = 512 << 10
# Chosen: until a stream has brought so much it may be a question and its answer, and needs no more.
FIRST_USE = 4 << 10
# Chosen: a stream that took nothing for so long (and two round trips) is idle.
IDLE_S: Seconds = 1.0
# Chosen: how long windows are kept to an equal share after one could not grow.
CONTESTED_S: Seconds = 1.0


@dataclass(slots=True)
class _Window:
    stream: ReceiveStream
    granted_at: Instant
    used_at: Instant
    size: ByteCount = FLOOR  # how far the limit is to be ahead of the reader
    lease: ByteCount = FLOOR  # how far it may be ahead: more than `size` while that shrinks
    recalls: int = 0  # how often credit was recalled and returned
    is_recalled: bool = False  # a RECALL is unanswered


class CreditPool:
    """Hands out receive windows, and takes them back.

    Args:
        account: counts what is handed out beyond the floors; one of its own by default.
    """

    def __init__(self, account: Account | None = None) -> None:
        self._windows: OrderedDict[int, _Window] = OrderedDict()  # least recently used first
        self._account = account or Account(Budget(POOL))
        self._contested_until = Instant(0.0)
        self._share: ByteCount = MAX_WINDOW  # while contested

    def renew(
        self, now: Instant, stream: ReceiveStream, rtt_s: Seconds
    ) -> tuple[Credit | Recall, ...]:
        """Return what is due now that bytes of `stream` were read: credit for it, recalls."""
        if stream.state is not ReceiveState.OPEN:
            return ()
        window = self._windows.get(stream.stream)
        is_first = window is None
        if window is None:
            if stream.limit - stream.read_offset > FLOOR - FIRST_USE:
                return ()
            window = self._windows[stream.stream] = _Window(stream, now, now)
        window.used_at = now
        self._windows.move_to_end(stream.stream)
        held = stream.limit - stream.read_offset
        self._set_lease(window, max(window.size, held))
        if window.is_recalled or (held > window.size // 2 and not is_first):
            return ()
        due = self._resize(now, window, rtt_s, is_first=is_first)
        window.granted_at = now
        limit = stream.read_offset + window.size
        if limit <= stream.limit:
            return due
        stream.limit = limit
        self._set_lease(window, window.size)
        return (Credit(stream.stream, limit, window.recalls), *due)

    def _resize(
        self, now: Instant, window: _Window, rtt_s: Seconds, *, is_first: bool
    ) -> tuple[Recall, ...]:
        """Let a window grow, or shrink towards its share; returns recalls that this calls for."""
        ceiling = self._share if now < self._contested_until else MAX_WINDOW
        if window.size > ceiling:
            window.size = max(ceiling, window.size // 2)
            return ()
        if not is_first and now - window.granted_at >= 2 * rtt_s:
            return ()
        wanted = min(ceiling, max(FIRST_WINDOW, 2 * window.size))
        free = self._account.room
        due = self._contest(now, rtt_s) if wanted - window.lease > free else ()
        window.size = max(window.size, min(wanted, window.lease + free))
        return due

    def repeat_credit(self, stream: ReceiveStream) -> Credit:
        """Return a lost CREDIT with today's values."""
        window = self._windows.get(stream.stream)
        return Credit(stream.stream, stream.limit, window.recalls if window else 0)

    def is_outstanding(self, recall: Recall) -> bool:
        """Tell whether a RECALL is unanswered, so that it must be repeated when lost."""
        window = self._windows.get(recall.stream)
        return window is not None and window.is_recalled

    def handle_return(self, frame: Return) -> None:
        """Take credit back; raises `ProtocolViolation`."""
        window = self._windows.get(frame.stream)
        if window is None or frame.recalls <= window.recalls:
            return
        stream = window.stream
        if not window.is_recalled or frame.recalls != window.recalls + 1:
            raise ProtocolViolation("credit is returned that nobody recalled")
        if not stream.highest <= frame.limit <= stream.limit:
            raise ProtocolViolation("more or less credit is returned than there is")
        window.recalls, window.is_recalled = frame.recalls, False
        stream.limit = frame.limit
        window.size = FLOOR
        self._set_lease(window, max(FLOOR, stream.limit - stream.read_offset))

    def release(self, stream: int) -> None:
        """Give back the window of a stream that is over."""
        window = self._windows.pop(stream, None)
        if window is not None:
            self._account.take(FLOOR - window.lease)

    def _set_lease(self, window: _Window, size: ByteCount) -> None:
        self._account.take(size - window.lease)
        window.lease = size

    def _contest(self, now: Instant, rtt_s: Seconds) -> tuple[Recall, ...]:
        """Keep windows to an equal share for a while, and recall those that lie idle."""
        if now < self._contested_until:
            return ()
        self._contested_until = Instant(now + CONTESTED_S)
        idle_since = now - max(IDLE_S, 2 * rtt_s)
        idle = list(takewhile(lambda w: w.used_at < idle_since, self._windows.values()))
        pool = self._account.held + self._account.room
        share = pool // (len(self._windows) - len(idle))
        self._share = min(MAX_WINDOW, max(FLOOR, share))
        recalls = []
        for window in idle:
            stream = window.stream
            limit = stream.read_offset + FLOOR
            is_empty = stream.highest == stream.read_offset
            if is_empty and stream.limit > limit and not window.is_recalled:
                window.is_recalled = True
                recalls.append(Recall(stream.stream, limit, window.recalls + 1))
        return tuple(recalls)
