"""Tailscale's relay as it treats a slow client, in simulated time.

    queue of 32 packets --writer--> socket: `room` bytes --rate--> the client's machine

The writer gives each frame `WRITE_LIMIT_S`; Linux lets a writer that found no room go on when a
third of it is free.  A client whose frame is not taken whole in time is cut off, with everything
that was on its way to it, and dials again.  Seen of derper v1.102.5 and v1.104.7.
"""

from dataclasses import dataclass

from world import Host, Port, Relay, World

# Fixed by derper.
WRITE_LIMIT_S = 2.0
FRAME_OVERHEAD = 37  # type, length, source key
# By Linux: a writer goes on when so much of the socket's room is free.
WAKE_SHARE = 1 / 3
# TCP/IP headers beside 1448 bytes.
WIRE_SHARE = 1448 / 1514
# Chosen.
RECONNECT_S = 0.5


@dataclass
class Socket:
    """The relay's end of one client's connection.

    Args:
        rate: bytes a second that the client's line takes, headers included.
        room: how much the kernel holds, what the client has not acknowledged included.
        burst: how much a line that was idle carries at once, as a token bucket does.
        held: what waits now; below zero it is what may still leave at once.
    """

    rate: float
    room: float
    burst: float = 0.0
    held: float = 0.0
    looked_at: float = 0.0

    def write(self, now: float, size: float) -> tuple[float, float]:
        """Put a frame in; returns when the last byte is in, and when it has left the line."""
        rate = self.rate * WIRE_SHARE
        self.held = max(-self.burst, self.held - (now - self.looked_at) * rate)
        at = now
        while size > self.room - self.held:
            size -= self.room - self.held
            at += self.room * WAKE_SHARE / rate
            self.held = self.room * (1 - WAKE_SHARE)
        self.held += size
        self.looked_at = at
        return at, at + max(0.0, self.held) / rate


class Derper(Relay):
    """A relay whose clients may have slow lines.

    Attributes:
        sockets: those of clients with a slow line, by key; everybody else's line is a plain wire.
        cuts: clients that were cut off.
    """

    def __init__(self, world: World, number: int = 0) -> None:
        super().__init__(world, number)
        self.sockets: dict[bytes, Socket] = {}
        self.cuts = 0

    def slow_down(self, host: Host, rate: float, room: float, burst: float = 0.0) -> None:
        """Put a host behind a slow line, which has been idle."""
        socket = Socket(rate, room, burst, held=-burst, looked_at=self.world.now)
        self.sockets[host.key.public] = socket

    def drain(self, port: Port) -> None:
        """Write the next packet, if the client takes it in time."""
        socket = self.sockets.get(port.host.key.public)
        if socket is None:
            super().drain(port)
            return
        queue = port.disco or port.data
        if not queue or self.ports.get(port.host.key.public) is not port:
            port.is_draining = False
            return
        source, data = queue.popleft()
        written_at, gone_at = socket.write(self.world.now, len(data) + FRAME_OVERHEAD)
        if written_at > self.world.now + WRITE_LIMIT_S:
            self.world.at(self.world.now + WRITE_LIMIT_S, lambda: self._cut(port, socket))
            return
        self.world.at(gone_at + port.down.delay, lambda: self._deliver(port, source, data))
        self.world.at(written_at, lambda: self.drain(port))

    def _deliver(self, port: Port, source: bytes, data: bytes) -> None:
        if self.ports.get(port.host.key.public) is port:
            port.host.receive(self.number, source, data)

    def _cut(self, port: Port, socket: Socket) -> None:
        self.cuts += 1
        host = port.host
        socket.held, socket.looked_at = min(0.0, socket.held), self.world.now
        self.disconnect(host)
        again = Port(port.up, port.down, host)
        self.world.at(self.world.now + RECONNECT_S, lambda: self._reconnect(again))

    def _reconnect(self, port: Port) -> None:
        self.ports[port.host.key.public] = port
        port.host.relay_up(self.number)
