"""What the embedded relay holds for one client until its connection takes it.

    greeting, server info, keep-alive, pong, peer-gone      control: small, always first
    packets that look like disco                            32 packets, oldest dropped
    all other packets                                       32 packets, oldest dropped

Two packet queues, so that the small messages by which peers meet are not displaced by bulk data.
Each queue has a bound in packets and one in bytes, and all outboxes of a relay share a byte budget.
When that is used up, those pay who use most of it: the oldest packets of the fullest outboxes go,
and an outbox that holds little loses nothing.
Source: tailscale derp/derpserver/derpserver.go (perClientSendQueueDepth and sendPkt).
"""

import heapq
from collections import deque

from tunnel.units import KIB, MIB, ByteCount
from tunnel.wire import derp

# Fixed by the protocol: what peers' flow control counts on.
QUEUE_PACKETS = 32
# Chosen: 32 of the largest frames that our own links send (60 KiB and a header) fit.
QUEUE_BYTES = 2 * MIB
# Chosen: with what else a relay needs it stays below 300 MB; 1024 clients at their floor fit.
TOTAL_QUEUED_BYTES = 160 * MIB
# Chosen: two of the largest frames; what waits up to this size is never dropped for others.
FLOOR_BYTES = 128 * KIB
# Chosen: so much of the budget is freed at a time that looking for the fullest is rare.
SHED_SHARE = 1 / 128
# Chosen: peer-gone is a hint, so a client that reads nothing may lose the oldest ones.
MAX_CONTROL_FRAMES = 256
# Chosen: enough for one system call to be worth it, little enough to keep the drops at the queues.
OUTPUT_BYTES = 256 * KIB
# Chosen: the same for each of a crowd, since what is being written cannot be dropped any more.
CROWDED_OUTPUT_BYTES = 64 * KIB


class PacketQueue:
    """Whole frames in order; when a bound is reached the oldest go.

    Attributes:
        size: bytes of all frames.
    """

    __slots__ = ("_byte_limit", "_frames", "_packet_limit", "size")

    def __init__(self, packet_limit: int, byte_limit: ByteCount) -> None:
        self._packet_limit = packet_limit
        self._byte_limit = byte_limit
        self._frames: deque[bytes] = deque()
        self.size: ByteCount = 0

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: bytes) -> int:
        """Append a frame; return how many older ones were dropped."""
        size = len(frame)
        dropped = 0
        while self._frames and (
            len(self._frames) >= self._packet_limit or self.size + size > self._byte_limit
        ):
            self.pop()
            dropped += 1
        self._frames.append(frame)
        self.size += size
        return dropped

    def pop(self) -> bytes:
        """Take the oldest frame; the queue must not be empty."""
        frame = self._frames.popleft()
        self.size -= len(frame)
        return frame

    def clear(self) -> None:
        """Forget every frame."""
        self._frames.clear()
        self.size = 0


class QueueBudget:
    """The bytes that all outboxes of one relay hold, and may hold.

    Above the limit there can only be what `FLOOR_BYTES` grants to each outbox, and what connections
    are writing.

    Args:
        limit: bytes in all.
        floor: bytes of one outbox that no other one displaces.

    Attributes:
        used: bytes held now, those under way to a socket included; outboxes keep it.
        shed_above: more is too much.
    """

    def __init__(
        self, limit: ByteCount = TOTAL_QUEUED_BYTES, floor: ByteCount = FLOOR_BYTES
    ) -> None:
        self._limit = limit
        self._floor = floor
        self.shed_above = limit
        self._outboxes: set[Outbox] = set()
        self.used: ByteCount = 0

    def join(self, outbox: "Outbox") -> None:
        """Count an outbox in."""
        self._outboxes.add(outbox)

    def leave(self, outbox: "Outbox") -> None:
        """Forget an outbox, which is empty."""
        self._outboxes.discard(outbox)

    @property
    def output_bytes(self) -> ByteCount:
        """What a connection takes to write at a time."""
        return OUTPUT_BYTES if 2 * self.used <= self._limit else CROWDED_OUTPUT_BYTES

    def shed(self) -> int:
        """Drop the oldest packets of the fullest outboxes; return how many.

        To be called when `used` is above `shed_above`; afterwards it is somewhat below the limit.
        """
        spare = int(self._limit * SHED_SHARE)
        fullest = [
            (-outbox.queued, number, outbox)
            for number, outbox in enumerate(self._outboxes)
            if outbox.queued > self._floor
        ]
        heapq.heapify(fullest)
        dropped = 0
        while fullest and self.used > self._limit - spare:
            _, number, outbox = fullest[0]
            self.used -= outbox.drop_oldest()
            dropped += 1
            if outbox.queued > self._floor:
                heapq.heapreplace(fullest, (-outbox.queued, number, outbox))
            else:
                heapq.heappop(fullest)
        # With nothing left to drop, look again only when somewhat more has come.
        self.shed_above = max(self._limit, self.used + spare)
        return dropped


class Outbox:
    """Everything that waits for one client's connection.

    Args:
        packet_limit: packets in each of the two queues.
        byte_limit: bytes in each of the two queues.
        budget: shared by all outboxes of the relay.
    """

    __slots__ = ("_budget", "_control", "_disco", "_other", "_pong", "_taken")

    def __init__(self, packet_limit: int, byte_limit: ByteCount, budget: QueueBudget) -> None:
        self._control: deque[bytes] = deque(maxlen=MAX_CONTROL_FRAMES)
        self._pong: bytes | None = None
        self._disco = PacketQueue(packet_limit, byte_limit)
        self._other = PacketQueue(packet_limit, byte_limit)
        self._taken: ByteCount = 0  # of packets, by the last `take`: they are being written
        self._budget = budget
        budget.join(self)

    @property
    def queued(self) -> ByteCount:
        """Bytes of the packets that wait."""
        return self._disco.size + self._other.size

    def push_control(self, frame: bytes) -> None:
        """Queue a control frame; of more than `MAX_CONTROL_FRAMES` the oldest go."""
        self._control.append(frame)

    def offer_pong(self, payload: bytes) -> bool:
        """Keep the answer to a ping; False: the one slot is taken, the ping stays unanswered."""
        if self._pong is not None:
            return False
        self._pong = derp.encode_frame(derp.FrameType.PONG, payload)
        return True

    def push_packet(self, frame: bytes, *, looks_like_disco: bool) -> int:
        """Queue a RECV_PACKET frame; return how many packets were dropped, here or elsewhere."""
        queue = self._disco if looks_like_disco else self._other
        budget = self._budget
        before = queue.size
        dropped = queue.push(frame)
        budget.used += queue.size - before
        return dropped + budget.shed() if budget.used > budget.shed_above else dropped

    def drop_oldest(self) -> ByteCount:
        """Drop the oldest packet of the fuller queue, which must hold one; return its size."""
        queue = self._disco if self._disco.size > self._other.size else self._other
        return len(queue.pop())

    def take(self, limit: ByteCount | None = None) -> list[bytes]:
        """Take what to write next: control, disco, then the rest; empty when nothing waits.

        Packets are taken until there are `limit` bytes (None: as the budget says); one always is.
        Whenever both queues hold packets, one of each at least is taken, so neither can starve the
        other.  What was taken before is written by now, and counts no more.
        """
        frames = list(self._control)
        self._control.clear()
        if self._pong is not None:
            frames.append(self._pong)
            self._pong = None
        room = (limit or self._budget.output_bytes) - sum(map(len, frames))
        before = self.queued
        for queue in (self._disco, self._other):
            is_first = True
            while queue and (room > 0 or is_first):
                frame = queue.pop()
                frames.append(frame)
                room -= len(frame)
                is_first = False
        self._budget.used -= self._taken
        self._taken = before - self.queued
        return frames

    def clear(self) -> None:
        """Forget everything, give the bytes back to the budget and leave it."""
        self._budget.used -= self.queued + self._taken
        self._taken = 0
        self._control.clear()
        self._pong = None
        self._disco.clear()
        self._other.clear()
        self._budget.leave(self)
