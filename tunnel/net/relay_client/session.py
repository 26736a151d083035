"""RelaySession: one connection to a relay, from the upgrade to its end.

    reader    recv_into --> DerpClient --> packets and events to the owner
    writer    SendBacklog --> socket, control first; keeps to the rate the relay asked for
    timer     DerpClient.handle_timeout: pings, and the end of a silent connection; Outgoing: the
              end of one that is stuck on its way out

Three greenlets, since each can wait while the others must not; the reader is the caller of `run`.
Reading never waits for writing: a relay disconnects a client that does not read.
"""

from math import inf
from typing import NoReturn, Protocol

import gevent
from gevent import socket
from gevent.event import Event

from tunnel.crypto.keys import DerpKey
from tunnel.errors import RelayError, RelayUnreachable
from tunnel.net.clock import monotonic
from tunnel.net.deadlines import Deadlines
from tunnel.net.ifaces import has_address
from tunnel.net.relay_client.dial import RelayStream
from tunnel.net.relay_client.tls import send_close_notify
from tunnel.net.sockets import unacknowledged
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_client.derp_client import ClientEvent, Connected, DerpClient, PacketArrived
from tunnel.proto.relay_client.outgoing import Outgoing
from tunnel.proto.relay_client.send_backlog import SendBacklog
from tunnel.proto.token_bucket import TokenBucket
from tunnel.units import Buffer, ByteCount, Instant, Seconds

# Chosen.
HIGH_WATER_BYTES = 128 << 10  # above it senders should wait; what waits here control overtakes
LOW_WATER_BYTES = 64 << 10  # below it they are called back
PLAIN_BATCH_BYTES = 256 << 10  # one sendmsg; the kernel takes what it wants of it
TLS_BATCH_BYTES = 64 << 10  # one sendall, which control cannot overtake
# Other greenlets run after so many reads, or so much time: what a peer puts into its packets
# decides how long a read takes.
READS_PER_TURN = 8
TURN_S: Seconds = 0.005


class SessionOwner(Protocol):
    """Who gets what arrives."""

    def session_packet(self, source: DerpKey, packet: memoryview) -> None:
        """Take a packet; the view is valid during the call only."""

    def session_read_done(self) -> None:
        """Note that everything of one socket read was delivered."""

    def session_event(self, event: ClientEvent) -> None:
        """Take an event that is not a packet."""

    def session_has_room(self) -> None:
        """Note that the backlog fell below the low-water mark."""


class RelaySession:
    """Drives a `DerpClient` over a connected socket.

    Args:
        stream: the upgraded connection; closed when `run` ends.
        client: fresh.
        owner: called from the reader, `session_has_room` from the writer.
        tasks: the group that the writer and the timer belong to.
    """

    def __init__(
        self, stream: RelayStream, client: DerpClient, owner: SessionOwner, tasks: TaskGroup
    ) -> None:
        self._socket = stream.socket
        self._client = client
        self._owner = owner
        self._tasks = tasks
        self._backlog = SendBacklog()
        self._bucket: TokenBucket | None = None
        self._batch_bytes = TLS_BATCH_BYTES
        self._is_plain = type(stream.socket) is socket.socket and hasattr(socket.socket, "sendmsg")
        if self._is_plain:
            self._batch_bytes = PLAIN_BATCH_BYTES
        self._outgoing = Outgoing()
        self._has_work = Event()
        self._is_drained = Event()
        self._is_drained.set()
        self._is_over_high_water = False
        self._timer_moved = Event()
        self._timer_due = Instant(0.0)
        self._is_finished = Event()
        self._end: RelayError | None = None
        client.feed(stream.rest)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait in this process."""
        return self._backlog.size_bytes

    def run(self) -> NoReturn:
        """Serve the connection until it ends; always raises the `RelayError` that says why."""
        writer = self._tasks.spawn("relay writer", self._write)
        timer = self._tasks.spawn("relay timer", self._watch)
        try:
            self._read()
        except RelayError as error:
            self.end(error)
        finally:
            self._socket.close()
            gevent.killall([writer, timer])
            self._is_finished.set()
        assert self._end is not None
        raise self._end

    def end(self, error: RelayError) -> None:
        """End the session from any greenlet; the first reason counts."""
        if self._end is None:
            self._end = error
            self._socket.close()

    def send(self, parts: tuple[Buffer, ...], size: ByteCount, *, is_control: bool) -> bool:
        """Queue a frame of `size` bytes; returns False if it was dropped: too much waits."""
        is_queued = self._backlog.append(parts, size, is_control=is_control)
        if self._backlog.size_bytes >= HIGH_WATER_BYTES:
            self._is_over_high_water = True
        self._is_drained.clear()
        self._has_work.set()
        return is_queued

    def set_awaited(self, *, is_awaited: bool) -> None:
        """Say whether an answer is outstanding."""
        self._client.set_awaited(monotonic(), is_awaited=is_awaited)
        self._rearm()

    def demand_answer(self) -> None:
        """Ask the relay for a sign of life now."""
        self._client.demand_answer(monotonic())
        self._queue_control()
        self._rearm()

    @property
    def has_lost_address(self) -> bool:
        """Whether the address that the connection was made from is no longer this machine's."""
        try:
            ip, _, *more = self._socket.getsockname()
        except OSError:
            return False  # it is ending already
        return not has_address(str(ip).partition("%")[0], int(more[1]) if more else 0)

    def finish(self, timeout_s: Seconds) -> None:
        """Hand what is queued to the relay and let it close; waits at most `timeout_s`."""
        with gevent.Timeout(timeout_s, False):
            self._is_drained.wait()
            if self._end is not None:
                return
            try:
                send_close_notify(self._socket)
                # The base class: SSLSocket.shutdown would end reading as well.
                socket.socket.shutdown(self._socket, socket.SHUT_WR)
            except OSError:
                return  # the relay went first, and took what it took
            self._is_finished.wait()

    # -- reader -----------------------------------------------------------------------------

    def _read(self) -> None:
        self._deliver(0)
        reads, began_at = 0, monotonic()
        while self._end is None:
            try:
                size = self._socket.recv_into(self._client.writable())
            except ConnectionError:
                size = 0  # a reset says no more than an end
            except (OSError, ValueError) as error:  # ValueError: a TLS socket closed meanwhile
                raise self._end or RelayUnreachable(f"broke off: {error}") from error
            if not size:
                raise self._end or self._ending_at_eof()
            self._deliver(size)
            reads += 1
            if reads >= READS_PER_TURN or monotonic() >= began_at + TURN_S:
                gevent.sleep(0)
                reads, began_at = 0, monotonic()

    def _deliver(self, size: int) -> None:
        owner = self._owner
        for event in self._client.received(monotonic(), size):
            if type(event) is PacketArrived:
                owner.session_packet(event.source, event.packet)
            else:
                if isinstance(event, Connected):
                    self._apply_limit(event)
                owner.session_event(event)
            if self._end is not None:
                return
        self._queue_control()
        owner.session_read_done()

    def _ending_at_eof(self) -> RelayError:
        try:
            self._client.handle_eof()
        except RelayError as error:
            return error

    def _apply_limit(self, event: Connected) -> None:
        if event.limit is not None:
            self._bucket = TokenBucket(event.limit, monotonic())
            self._batch_bytes = min(self._batch_bytes, int(event.limit.burst))
        self._rearm()

    def _queue_control(self) -> None:
        for frame in self._client.frames_to_send():
            self.send((frame,), len(frame), is_control=True)

    # -- writer -----------------------------------------------------------------------------

    def _write(self) -> None:
        backlog = self._backlog
        try:
            while True:
                self._has_work.wait()
                batch = backlog.gather(self._batch_bytes)
                if not batch:
                    self._has_work.clear()
                    self._is_drained.set()
                    continue
                written = self._write_batch(batch)
                backlog.advance(written)
                self._outgoing.wrote(monotonic())
                self._rearm()
                self._call_back()
                self._pace(written)
        except (OSError, ValueError) as error:  # ValueError: a TLS socket closed meanwhile
            if not isinstance(error, ConnectionError):
                self.end(RelayUnreachable(f"broke off: {error}"))
            # A reset is left to the reader, who may still find the reason in what arrived.
        finally:
            self._is_drained.set()

    def _write_batch(self, batch: list[Buffer]) -> int:
        if self._is_plain:
            return int(self._socket.sendmsg(batch))
        joined = batch[0] if len(batch) == 1 else b"".join(batch)
        self._socket.sendall(joined)
        return len(joined)

    def _call_back(self) -> None:
        if self._is_over_high_water and self._backlog.size_bytes < LOW_WATER_BYTES:
            self._is_over_high_water = False
            self._owner.session_has_room()

    def _pace(self, written: int) -> None:
        if self._bucket is not None:
            now = monotonic()
            gevent.sleep(max(0.0, self._bucket.take(now, written) - now))

    # -- timer ------------------------------------------------------------------------------

    def _watch(self) -> None:
        deadlines, worked_at = Deadlines("a relay connection"), Instant(-inf)
        while self._end is None:
            self._timer_due = self._next_timeout()
            self._timer_moved.clear()
            come_back_at = deadlines.come_back_at(self._timer_due, worked_at) or worked_at
            if self._timer_moved.wait(max(0.0, come_back_at - monotonic())):
                continue
            worked_at = monotonic()
            try:
                self._client.handle_timeout(worked_at)
                look_at = self._outgoing.next_timeout()
                if look_at is not None and worked_at >= look_at:
                    self._outgoing.looked(worked_at, unacknowledged(self._socket))
            except RelayError as error:
                self.end(error)
            self._queue_control()

    def _next_timeout(self) -> Instant:
        look_at, due = self._outgoing.next_timeout(), self._client.next_timeout()
        return due if look_at is None else min(due, look_at)

    def _rearm(self) -> None:
        if self._next_timeout() < self._timer_due:
            self._timer_moved.set()
