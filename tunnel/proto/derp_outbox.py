"""What the embedded relay holds for one client until its connection takes it.

    greeting, server info, keep-alive, pong, peer-gone      control: small, always first
    packets that look like disco                            32 packets, oldest dropped
    all other packets                                       32 packets, oldest dropped

Two packet queues, so that the small messages by which peers meet are not displaced by bulk data.
Each queue has a bound in packets and one in bytes, and all outboxes of a relay share a byte budget.
Source: tailscale derp/derpserver/derpserver.go (perClientSendQueueDepth and sendPkt).
"""

from collections import deque
from dataclasses import dataclass

from tunnel.units import KIB, MIB, ByteCount
from tunnel.wire import derp

# Fixed by the protocol: what peers' flow control counts on.
QUEUE_PACKETS = 32
# Chosen: 32 of the largest frames that our own links send (60 KiB and a header) fit.
QUEUE_BYTES = 2 * MIB
# Chosen: with every queue of 60 clients full; real relays hold next to nothing.
TOTAL_QUEUED_BYTES = 256 * MIB
# Chosen: peer-gone is a hint, so a client that reads nothing may lose the oldest ones.
MAX_CONTROL_FRAMES = 256
# Chosen: enough for one system call to be worth it, little enough to keep the drops at the queues.
OUTPUT_BYTES = 256 * KIB


@dataclass(slots=True)
class QueueBudget:
    """The bytes that all outboxes of one relay hold, and may hold."""

    limit: ByteCount = TOTAL_QUEUED_BYTES
    used: ByteCount = 0


class PacketQueue:
    """Whole frames in order; when a bound is reached the oldest go."""

    __slots__ = ("_budget", "_byte_limit", "_bytes", "_frames", "_packet_limit")

    def __init__(self, packet_limit: int, byte_limit: ByteCount, budget: QueueBudget) -> None:
        self._packet_limit = packet_limit
        self._byte_limit = byte_limit
        self._budget = budget
        self._frames: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: bytes) -> int:
        """Append a frame; return how many frames were dropped, that one itself included."""
        size = len(frame)
        dropped = 0
        while self._frames and (
            len(self._frames) >= self._packet_limit
            or self._bytes + size > self._byte_limit
            or self._budget.used + size > self._budget.limit
        ):
            self.pop()
            dropped += 1
        if self._budget.used + size > self._budget.limit:
            return dropped + 1
        self._frames.append(frame)
        self._bytes += size
        self._budget.used += size
        return dropped

    def pop(self) -> bytes:
        """Take the oldest frame; the queue must not be empty."""
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        self._budget.used -= len(frame)
        return frame

    def clear(self) -> None:
        """Forget every frame."""
        self._budget.used -= self._bytes
        self._bytes = 0
        self._frames.clear()


class Outbox:
    """Everything that waits for one client's connection.

    Args:
        packet_limit: packets in each of the two queues.
        byte_limit: bytes in each of the two queues.
        budget: shared by all outboxes of the relay.
    """

    __slots__ = ("_control", "_disco", "_other", "_pong")

    def __init__(self, packet_limit: int, byte_limit: ByteCount, budget: QueueBudget) -> None:
        self._control: deque[bytes] = deque(maxlen=MAX_CONTROL_FRAMES)
        self._pong: bytes | None = None
        self._disco = PacketQueue(packet_limit, byte_limit, budget)
        self._other = PacketQueue(packet_limit, byte_limit, budget)

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
        """Queue a RECV_PACKET frame; return how many packets were dropped."""
        return (self._disco if looks_like_disco else self._other).push(frame)

    def take(self, limit: ByteCount = OUTPUT_BYTES) -> list[bytes]:
        """Take what to write next: control, disco, then the rest; empty when nothing waits.

        Packets are taken while they fit into `limit` bytes; one always is.  Whenever both queues
        hold packets, one of each at least is taken, so neither can starve the other.
        """
        frames = list(self._control)
        self._control.clear()
        if self._pong is not None:
            frames.append(self._pong)
            self._pong = None
        room = limit - sum(map(len, frames))
        for queue in (self._disco, self._other):
            is_first = True
            while queue and (room > 0 or is_first):
                frame = queue.pop()
                frames.append(frame)
                room -= len(frame)
                is_first = False
        return frames

    def clear(self) -> None:
        """Forget everything, and give the bytes back to the budget."""
        self._control.clear()
        self._pong = None
        self._disco.clear()
        self._other.clear()
