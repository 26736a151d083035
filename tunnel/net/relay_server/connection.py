"""One connection to the embedded relay: TLS, the request head, then frames both ways.

    reader:  its turn -> handshake -> head -> page, or upgrade -> login -> frames into the machine
             (behind a proxy the head tells whose turn it is, and who it counts for)
    writer:  from the login on, frames out of the machine; sleeps until woken or its keep-alive

A stranger costs one greenlet and some KiB: the writer and large buffers come with the login.
Whatever goes wrong ends this connection only.  The machine never blocks, so no lock is needed; see
`tunnel.proto.relay_server.derp_relay` for what frames do and `tunnel.proto.relay_server.pages` for
the pages.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import gevent
from gevent import socket
from gevent.event import Event

from tunnel.addresses import host_and_port
from tunnel.errors import DecodeError, PeerError, TunnelError
from tunnel.net.clock import monotonic
from tunnel.net.deadlines import Deadlines
from tunnel.net.relay_server.door import Door
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.wait_limit import WaitLimit
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_server import pages
from tunnel.proto.relay_server.connection_caps import Admitted, Refusal
from tunnel.proto.relay_server.derp_relay import MAX_LOGIN, Client, Relay
from tunnel.proto.relay_server.forwarded import NOT_FORWARDED, forwarded
from tunnel.proto.relay_server.pages import Page, Site, Upgrade
from tunnel.units import KIB, MIB, Instant, Seconds
from tunnel.wire.derp import FIRST_BUFFER_SIZE, MAX_CLIENT_INFO, FrameSplitter
from tunnel.wire.http_head import RequestHead, head_size, parse_request_head

if TYPE_CHECKING:
    from ssl import SSLContext

# Chosen: half a queue, so a burst to one client meets its writer before it overflows.
FRAMES_PER_TURN = 16
HEAD_READ_SIZE = 4 * KIB
# Fixed by TLS: the first byte of a client's first record, which no HTTP request begins with.
TLS_HANDSHAKE = b"\x16"
# Chosen: with a rate limit, one read is about one largest frame, so that pauses stay short.
LIMITED_READ_SIZE = 64 * KIB
# Chosen: kept small in the kernel, so that control frames overtake data and drops stay ours.
UNSENT_BYTES = 1 * MIB
# Chosen: twice what derper uses; a peer that acknowledges nothing that long is gone.
UNACKNOWLEDGED_LIMIT_MS = 30_000
# Chosen: for a client to read an answer after which we close.
LINGER_S: Seconds = 1.0
LINGER_BYTES = 64 * KIB

_log = logging.getLogger(__name__)


class ConnectionEnded(TunnelError):
    """The connection ended, or ran into a deadline."""


class _Quiet(Exception):
    """Nothing came for so long that a large buffer is a waste."""


@dataclass(slots=True)
class SharedState:
    """What all connections of one server share, and how a machine's output finds its writer."""

    relay: Relay
    site: Site
    limits: RelayLimits
    tls: "SSLContext | None"
    door: Door
    wake_by_client: dict[Client, Event]

    def wake_writers(self) -> None:
        """Wake the writers of clients that got output; after every call into the machine."""
        for client in self.relay.take_woken():
            wake = self.wake_by_client.get(client)
            if wake is not None:
                wake.set()


class ClientConnection:
    """One accepted socket, which it owns.

    Args:
        board: shared by the server's connections.
        sock: connected.
        peer: the plain address and the port of who connected.
        admitted: its place.
        on_end: called once when everything of this connection is gone.
    """

    def __init__(
        self,
        board: SharedState,
        sock: socket.socket,
        peer: tuple[str, int],
        admitted: Admitted,
        on_end: Callable[[], None],
    ) -> None:
        self._board = board
        self._stream = sock
        self._peer = peer[0]
        self._name = name = host_and_port(*peer)
        self._admitted = admitted
        self._on_end = on_end
        self._tasks = TaskGroup(f"relay/{name}", on_failure=_note_bug)
        self._reader: gevent.Greenlet | None = None
        self._wake = Event()
        limit_s = board.limits.write_timeout_s
        self._stuck = WaitLimit(limit_s, ConnectionEnded, f"took nothing for {limit_s:g} s")
        self._quiet = WaitLimit(board.limits.quiet_s, _Quiet, "")
        self._is_client = False
        self._is_draining = False
        self._is_closing = False

    def start(self) -> None:
        """Serve in a greenlet of its own, when it is its turn."""
        self._reader = self._tasks.spawn("reader", self._run)
        # Not in a finally: a greenlet that is killed before it starts runs none.
        self._reader.rawlink(self._release)

    def drain(self) -> None:
        """End once what waits for this client is written; at once if it is not one (any more)."""
        self._is_draining = True
        if self._is_client and not self._is_closing:
            self._wake.set()
        else:
            self.kill(block=False)

    def kill(self, *, block: bool = True) -> None:
        """End now."""
        if self._reader is not None:
            self._reader.kill(block=block)

    def _run(self) -> None:
        try:
            _sleep_until(self._admitted.serve_at)
            self._serve()
        except (OSError, PeerError, ConnectionEnded) as error:
            _log.debug("connection of %s: %s", self._name, error)
        finally:
            self._is_closing = True
            self._tasks.kill()

    def _release(self, _: gevent.Greenlet) -> None:
        self._stream.close()
        self._stuck.close()
        self._quiet.close()
        self._on_end()

    def _serve(self) -> None:
        limits = self._board.limits
        _tune(self._stream)
        if self._board.tls is not None:
            with _deadline(limits.handshake_timeout_s, "no TLS handshake in time"):
                if self._stream.recv(1, socket.MSG_PEEK) not in (b"", TLS_HANDSHAKE):
                    self._answer(Page(400, "This relay speaks TLS: use https://.\n"))
                    return
                self._stream = self._board.tls.wrap_socket(
                    self._stream, server_side=True, do_handshake_on_connect=False
                )
                self._stream.do_handshake()
        with _deadline(limits.head_timeout_s, "no HTTP request in time"):
            head, rest = self._read_head()
        if head is None:
            self._answer(Page(400, "This is no HTTP/1.1 request.\n"))
            return
        answer = self._decide(head)
        if isinstance(answer, Page):
            self._answer(answer, with_body=head.method != "HEAD")
            return
        self._send([answer.head])
        self._serve_client(rest)

    def _decide(self, head: RequestHead) -> Page | Upgrade:
        """Return what a request gets, once it is its turn."""
        board = self._board
        told = forwarded(head, self._peer) if board.limits.is_behind_proxy else NOT_FORWARDED
        address = told.address or self._peer
        if address != self._peer:
            self._name = f"{address} by {self._name}"
        serve_at = board.door.meet(self._admitted, address)
        if isinstance(serve_at, Refusal):
            return pages.refusal_page(serve_at, board.limits.max_per_address)
        _sleep_until(serve_at)
        is_full = board.relay.is_full
        answer = pages.answer(head, board.site, is_full=is_full, forwarded=told)
        if isinstance(answer, Page) and answer.status == 503:
            board.door.turn_away(address)
        return answer

    def _read_head(self) -> tuple[RequestHead | None, bytes]:
        """Return the request head, None for a malformed one, and the bytes that followed it."""
        data = bytearray()
        try:
            while (size := head_size(data)) is None:
                data += self._received()
                if data.startswith(TLS_HANDSHAKE):
                    raise DecodeError("TLS, where none is spoken")
            return parse_request_head(bytes(data[:size])), bytes(data[size:])
        except DecodeError as error:
            _log.debug("connection of %s: %s", self._name, error)
            return None, b""

    def _received(self) -> bytes:
        data: bytes = self._stream.recv(HEAD_READ_SIZE)
        if not data:
            raise ConnectionEnded("closed before a whole HTTP request")
        return data

    def _answer(self, page: Page, *, with_body: bool = True) -> None:
        self._send([pages.encode_page(page, with_body=with_body)])
        self._linger()

    def _linger(self) -> None:
        """Let the client read our last bytes: closing with unread ones would reset them away."""
        self._stream.shutdown(socket.SHUT_WR)
        with gevent.Timeout(LINGER_S, False):
            left = LINGER_BYTES
            while left > 0 and (data := self._stream.recv(HEAD_READ_SIZE)):
                left -= len(data)

    def _serve_client(self, rest: bytes) -> None:
        board = self._board
        client = board.relay.open(monotonic())
        try:
            splitter = FrameSplitter(MAX_LOGIN)
            splitter.feed(rest)
            with _deadline(board.limits.login_timeout_s, "no login in time"):
                self._log_in(client, splitter)
            board.door.settle(self._admitted)
            board.wake_by_client[client] = self._wake
            self._is_client = True
            writer = self._tasks.spawn("writer", self._run_writer, client)
            try:
                self._run_reader(client, splitter)
            except PeerError:
                self._finish_writing(writer)
                raise
        finally:
            board.wake_by_client.pop(client, None)
            board.relay.close(client)
            board.wake_writers()

    def _log_in(self, client: Client, splitter: FrameSplitter) -> None:
        """Greet, and read up to the login; raises `PeerError` once the client can read why."""
        relay = self._board.relay
        self._send(relay.output_to_send(client))
        try:
            while client.key is None:
                frame = next(splitter.frames(), None)
                if frame is None:
                    self._receive(client, splitter)
                else:
                    relay.handle_frame(monotonic(), client, *frame)
        except PeerError:
            self._linger()
            raise

    def _finish_writing(self, writer: gevent.Greenlet) -> None:
        """Write what came before a frame that ends the connection: the login's answer, say."""
        self._is_closing = self._is_draining = True
        self._wake.set()
        writer.join(LINGER_S)
        if writer.dead:
            self._linger()

    def _run_reader(self, client: Client, splitter: FrameSplitter) -> None:
        splitter.max_payload = MAX_CLIENT_INFO
        self._handle_frames(client, splitter)
        while True:
            read_again_at = self._receive(client, splitter)
            self._handle_frames(client, splitter)
            pause = read_again_at - monotonic()
            if pause > 0:
                gevent.sleep(pause)

    def _receive(self, client: Client, splitter: FrameSplitter) -> Instant:
        """Read once; return when to read again."""
        room = splitter.writable()
        if client.bucket is not None:
            room = room[:LIMITED_READ_SIZE]
        if splitter.capacity == FIRST_BUFFER_SIZE:
            size = self._stream.recv_into(room)
        else:
            try:
                with self._quiet:
                    size = self._stream.recv_into(room)
            except _Quiet:
                splitter.trim()
                return monotonic()
        if not size:
            raise ConnectionEnded("closed by the client")
        splitter.wrote(size)
        return self._board.relay.handle_read(monotonic(), client, size)

    def _handle_frames(self, client: Client, splitter: FrameSplitter) -> None:
        board, now = self._board, monotonic()
        for number, (frame_type, payload) in enumerate(splitter.frames(), 1):
            board.relay.handle_frame(now, client, frame_type, payload)
            if number % FRAMES_PER_TURN == 0:
                board.wake_writers()
                gevent.sleep(0)
        board.wake_writers()
        # A fast sender always has bytes for us: let the writers run all the same.
        gevent.sleep(0)

    def _run_writer(self, client: Client) -> None:
        try:
            self._write_frames(client)
        except (OSError, ConnectionEnded) as error:
            _log.debug("connection of %s: %s", self._name, error)
        finally:
            # The reader cleans up, unless it is what ended us.
            if not self._is_closing and self._reader is not None:
                self._reader.kill(block=False)

    def _write_frames(self, client: Client) -> None:
        relay = self._board.relay
        deadlines, worked_at = Deadlines("a client of the relay"), Instant(-inf)
        while True:
            frames = relay.output_to_send(client)
            if frames:
                self._send(frames)
                continue
            if self._is_draining:
                return
            self._wake.clear()
            due = deadlines.come_back_at(relay.next_timeout(client), worked_at)
            self._wake.wait(None if due is None else max(0.0, due - monotonic()))
            worked_at = monotonic()
            relay.handle_timeout(worked_at, client)

    def _send(self, frames: list[bytes]) -> None:
        """Write everything, and empty the list; raises `ConnectionEnded` when stuck for long."""
        # TLS has no gathering write, and some systems have none at all.
        gathers = self._board.tls is None and hasattr(self._stream, "sendmsg")
        rest: list[bytes | memoryview] = list(frames) if gathers else [b"".join(frames)]
        frames.clear()  # what is written is held no longer than that
        while rest:
            with self._stuck:
                sent = self._stream.sendmsg(rest) if gathers else self._stream.send(rest[0])
            rest = _without(rest, sent)


def _note_bug(error: BaseException) -> None:
    _log.error("a relay connection failed", exc_info=error)


def _deadline(seconds: Seconds, text: str) -> gevent.Timeout:
    return gevent.Timeout(seconds, ConnectionEnded(text))


def _sleep_until(instant: Instant) -> None:
    gevent.sleep(max(0.0, instant - monotonic()))


def _without(parts: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """Return what is left of `parts` after their first `sent` bytes."""
    for index, part in enumerate(parts):
        if sent < len(part):
            return [memoryview(part)[sent:], *parts[index + 1 :]]
        sent -= len(part)
    return []


def _tune(sock: socket.socket) -> None:
    """Set what is there of the socket options that serve a relay."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_LIMIT_MS),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
