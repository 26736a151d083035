"""DerpClient: one connection to a DERP server, after the HTTP upgrade; a machine without I/O.

    AWAITS_GREETING --SERVER_KEY, we send CLIENT_INFO--> AWAITS_ACCEPTANCE
                                                             | SERVER_INFO
                                                             v
                                                         CONNECTED

A driver receives into `writable()`, walks `received()` to its end, writes `frames_to_send()` and
calls `handle_timeout` at `next_timeout()`.  A TCP stream cannot resynchronise, so whatever ends the
connection is raised: as `RelayError` whose text continues a sentence that begins with the relay's
name.  Source: tailscale derp/derp_client.go; docs/protocol.md, section "Relay".  This module does
not know how the stream was dialled, and it does not queue packets: see `send_backlog`.
"""

import json
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple, NoReturn

from tunnel.crypto import box
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import (
    DecodeError,
    PeerError,
    RelayKeyRefused,
    RelayLate,
    RelayNotDerp,
    RelayRefused,
    RelaySilent,
    RelayUnreachable,
)
from tunnel.proto.machine import Clockwork
from tunnel.proto.token_bucket import Allowance
from tunnel.units import KEY_SIZE, Instant, Seconds
from tunnel.values import frozen
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, PeerGone, Restarting

# Fixed by the protocol.
LOGIN_MESSAGE = b'{"version":2,"CanAckPings":true}'

# Chosen.
MAX_HEALTH_LENGTH = 200


@frozen
class ClientTiming:
    """How long a relay may be silent.

    Args:
        silence_limit_s: dead, whatever is awaited; servers send a keepalive every 60 to 65 s, and
            the Go client has the same limit.
        idle_ping_s: a silent relay gets a ping; keeps NATs and proxies that forget after 30 s.
        idle_ping_spread_s: at most that much later, the same for one connection's life.
        awaited_silence_s: with data outstanding, silent that long, and we ask.
        answer_limit_s: asked, and silent that long again: dead.
    """

    silence_limit_s: Seconds = 120.0
    idle_ping_s: Seconds = 25.0
    idle_ping_spread_s: Seconds = 5.0
    awaited_silence_s: Seconds = 5.0
    answer_limit_s: Seconds = 5.0


DEFAULT_TIMING = ClientTiming()


class ClientState(Enum):
    """How far the login has come."""

    AWAITS_GREETING = "awaits-greeting"
    AWAITS_ACCEPTANCE = "awaits-acceptance"
    CONNECTED = "connected"


class PacketArrived(NamedTuple):
    """A packet; the view is valid until the next `writable`.  A tuple, since it is the hot path."""

    source: DerpKey
    packet: memoryview


@frozen
class Connected:
    """The server accepted our key; `limit` is what it lets us send, in bytes, if it said so.

    The Go client drops what is above the limit; a driver of ours waits instead.
    """

    limit: Allowance | None


@frozen
class HealthChanged:
    """The server says that something is wrong with it, or "" when all is well again."""

    text: str


ClientEvent = PacketArrived | Connected | PeerGone | Restarting | HealthChanged


class DerpClient(Clockwork):
    """Logs in to a DERP server and keeps the connection alive.

    Args:
        keys: our DERP node key.
        entropy: returns that many random bytes.
        now: when the upgrade was done.
        login_deadline: when the server must have accepted us.
        timing: how long it may be silent then.
    """

    def __init__(
        self,
        keys: KeyPair,
        entropy: Callable[[int], bytes],
        now: Instant,
        login_deadline: Instant,
        timing: ClientTiming = DEFAULT_TIMING,
    ) -> None:
        self.state = ClientState.AWAITS_GREETING
        self._keys = keys
        self._entropy = entropy
        self._splitter = derp.FrameSplitter()
        self._outbox: list[bytes] = []
        self._server_key = b""
        self._timing = timing
        self._started_at = now
        self._login_deadline = login_deadline
        self._idle_ping_s = timing.idle_ping_s + timing.idle_ping_spread_s * entropy(1)[0] / 255
        self._heard_at = now
        self._pinged_at = now
        self._awaited_since: Instant | None = None
        self._asked_at: Instant | None = None  # a ping whose silence means death

    # -- bytes in ---------------------------------------------------------------------------

    def writable(self) -> memoryview:
        """Return room to receive into."""
        return self._splitter.writable()

    def feed(self, data: bytes) -> None:
        """Append bytes that came along with the HTTP head; `received(now, 0)` looks at them."""
        self._splitter.feed(data)

    def received(self, now: Instant, size: int) -> Iterator[ClientEvent]:
        """Yield what `size` more bytes in `writable()` hold; walk it to its end.

        Raises:
            RelayRefused: the other end is no DERP server, or it breaks the protocol.
        """
        self._splitter.wrote(size)
        if size:
            self._heard_at = now
            self._asked_at = None
        try:
            for kind, payload in self._splitter.frames():
                if kind == FrameType.RECV_PACKET and self.state is ClientState.CONNECTED:
                    source, packet = derp.split_packet(payload)
                    yield PacketArrived(DerpKey(source), packet)
                elif (event := self._handle_frame(kind, payload)) is not None:
                    yield event
        except PeerError as error:
            if self.state is ClientState.CONNECTED:
                raise RelayRefused(f"broke the DERP protocol: {error}") from error
            raise RelayNotDerp(f"does not speak DERP: {error}") from error

    def handle_eof(self) -> NoReturn:
        """Say what the end of the stream means; always raises `RelayError`."""
        match self.state:
            case ClientState.AWAITS_GREETING:
                raise RelayUnreachable("closed the connection before its DERP greeting")
            case ClientState.AWAITS_ACCEPTANCE:
                raise RelayKeyRefused(
                    "refused our key: it closed the connection when we logged in, as relays do "
                    "that serve only clients their operator admits (derper's -verify-clients, "
                    "Headscale's verify_clients); have that switched off, or use another relay"
                )
            case ClientState.CONNECTED:
                raise RelayUnreachable("closed the connection")

    # -- commands ---------------------------------------------------------------------------

    def set_awaited(self, now: Instant, *, is_awaited: bool) -> None:
        """Say whether data is outstanding, which makes silence suspicious."""
        if not is_awaited:
            self._awaited_since = None
        elif self._awaited_since is None:
            self._awaited_since = now

    def demand_answer(self, now: Instant) -> None:
        """Ping now and give up unless something arrives: the network has changed."""
        if self.state is ClientState.CONNECTED and self._asked_at is None:
            self._ask(now)

    # -- time -------------------------------------------------------------------------------

    def next_timeout(self) -> Instant:
        """Return when `handle_timeout` is due; it moves whenever bytes arrive."""
        if self.state is not ClientState.CONNECTED:
            return self._login_deadline
        timing = self._timing
        due = min(
            self._heard_at + timing.silence_limit_s,
            max(self._heard_at, self._pinged_at) + self._idle_ping_s,
        )
        if self._asked_at is not None:
            due = min(due, self._asked_at + timing.answer_limit_s)
        elif self._awaited_since is not None:
            due = min(due, max(self._heard_at, self._awaited_since) + timing.awaited_silence_s)
        return Instant(due)

    def handle_timeout(self, now: Instant) -> None:
        """Ping what has been silent; raises `RelaySilent` for what has been for too long."""
        if self.state is not ClientState.CONNECTED:
            self._check_login(now)
            return
        limit_s, asked_at = self._timing.answer_limit_s, self._asked_at
        is_unanswered = asked_at is not None and now >= asked_at + limit_s
        if is_unanswered or now >= self._heard_at + self._timing.silence_limit_s:
            raise RelaySilent(f"has been silent for {now - self._heard_at:.0f} s")
        if self._is_suspicious(now):
            self._ask(now)
        if now >= max(self._heard_at, self._pinged_at) + self._idle_ping_s:
            self._ping(now)

    # -- frames out -------------------------------------------------------------------------

    def frames_to_send(self) -> list[bytes]:
        """Return the login, pings and pongs due now; they go before any packet."""
        frames, self._outbox = self._outbox, []
        return frames

    # -- inner steps ------------------------------------------------------------------------

    def _handle_frame(self, kind: int, payload: memoryview) -> ClientEvent | None:
        match self.state:
            case ClientState.AWAITS_GREETING:
                self._handle_greeting(kind, payload)
                return None
            case ClientState.AWAITS_ACCEPTANCE:
                return self._handle_acceptance(kind, payload)
            case ClientState.CONNECTED:
                return self._handle_established(kind, payload)

    def _handle_greeting(self, kind: int, payload: memoryview) -> None:
        if kind != FrameType.SERVER_KEY:
            raise DecodeError(f"it greets with a frame of type {kind:#04x}")
        self._server_key = derp.decode_server_key(payload).key
        nonce = self._entropy(derp.NONCE_SIZE)
        sealed = box.seal(self._keys, self._server_key, nonce, LOGIN_MESSAGE)
        login = derp.ClientInfo(self._keys.public, nonce, sealed)
        self._outbox.append(derp.encode_client_info(login))
        self.state = ClientState.AWAITS_ACCEPTANCE

    def _handle_acceptance(self, kind: int, payload: memoryview) -> Connected | None:
        if kind != FrameType.SERVER_INFO:
            self._answer_ping(kind, payload)
            return None
        info = derp.decode_server_info(payload)
        message = box.open_box(self._keys, self._server_key, info.nonce, info.sealed)
        limit = _send_limit(message)
        self.state = ClientState.CONNECTED
        return Connected(limit)

    def _handle_established(self, kind: int, payload: memoryview) -> ClientEvent | None:
        # Absent: KEEP_ALIVE, which only has to arrive, and PONG, for any frame proves life.
        # Unknown types are for newer clients than us.
        match kind:
            case FrameType.PEER_GONE if len(payload) >= KEY_SIZE:
                return derp.decode_peer_gone(payload)
            case FrameType.RESTARTING if len(payload) >= 8:
                return derp.decode_restarting(payload)
            case FrameType.HEALTH:
                text = bytes(payload[:MAX_HEALTH_LENGTH]).decode("utf-8", "replace")
                return HealthChanged("".join(c if c.isprintable() else "?" for c in text))
            case _:
                self._answer_ping(kind, payload)
                return None

    def _answer_ping(self, kind: int, payload: memoryview) -> None:
        if kind == FrameType.PING and len(payload) >= derp.PING_SIZE:
            self._outbox.append(derp.encode_frame(FrameType.PONG, payload[: derp.PING_SIZE]))

    def _check_login(self, now: Instant) -> None:
        if now < self._login_deadline:
            return
        waited = f"{now - self._started_at:.2g} s"
        if self.state is ClientState.AWAITS_GREETING:
            raise RelayLate(f"accepted the upgrade and sent no DERP greeting in {waited}")
        raise RelayLate(f"did not answer our login in {waited}")

    def _is_suspicious(self, now: Instant) -> bool:
        if self._awaited_since is None or self._asked_at is not None:
            return False
        return now >= max(self._heard_at, self._awaited_since) + self._timing.awaited_silence_s

    def _ask(self, now: Instant) -> None:
        self._asked_at = now
        self._ping(now)

    def _ping(self, now: Instant) -> None:
        self._pinged_at = now
        self._outbox.append(derp.encode_frame(FrameType.PING, self._entropy(derp.PING_SIZE)))


def _send_limit(message: bytes) -> Allowance | None:
    """Read the rate limit in a ServerInfo; raises `DecodeError` if it is no JSON object."""
    try:
        document = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise DecodeError("its login answer is not JSON") from error
    if not isinstance(document, dict):
        raise DecodeError("its login answer is not a JSON object")
    members = {str(name).lower(): value for name, value in document.items()}
    rate = members.get("tokenbucketbytespersecond")
    burst = members.get("tokenbucketbytesburst")
    if type(rate) is int and type(burst) is int and rate > 0 and burst > 0:
        return Allowance(rate, burst)
    return None
