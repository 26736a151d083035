"""The embedded relay's login, routing and queues, sans-IO.

    GREETED --ClientInfo--> LOGGED IN --close--> gone

The driver opens a `Client` per connection, feeds its frames, writes what `output_to_send` gives
and wakes the writers that `take_woken` names.  Semantics are those of Tailscale's server, so that
real DERP clients find what they know: per-client queues that drop the oldest packet, the last
writer of several connections with one key active, peer-gone as a hint.  Broken frames raise
`PeerError`: the connection cannot go on.  Source: tailscale derp/derpserver/derpserver.go;
knows neither sockets nor HTTP.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tunnel.crypto import box
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import DecodeError, ProtocolViolation
from tunnel.proto.relay_server.derp_outbox import QUEUE_BYTES, QUEUE_PACKETS, Outbox, QueueBudget
from tunnel.proto.token_bucket import Allowance, TokenBucket
from tunnel.units import KEY_SIZE, KIB, ByteCount, BytesPerSecond, Instant, Seconds
from tunnel.values import frozen
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, GoneReason

# Fixed by the protocol: what peers expect of a relay.
DISCO_MAGIC = bytes.fromhex("5453f09f92ac")  # disco/disco.go: "TS" and U+1F4AC
DISCO_MIN_SIZE = 62  # magic, a key, a nonce
KEEP_ALIVE_S: Seconds = 60.0  # clients give a silent relay up after 120 s
KEEP_ALIVE_JITTER = 1 / 12  # 5 s
NOT_HERE_ALLOWANCE = Allowance(rate=1.0, burst=3.0)  # per connection
# Chosen: our own links meet a handful of peers; what is forgotten costs one hint.
MAX_HEARD_KEYS = 256
# Chosen: forty times what clients send; Tailscale's server keeps 256 KiB for a stranger.
MAX_LOGIN: ByteCount = 8 * KIB
# Chosen: more than one largest frame, so that no frame waits for its own burst.
MIN_RATE_BURST: ByteCount = 64 * KIB + 1 * KIB

SERVER_INFO_JSON = b'{"version":2}'
MESH_FRAMES = frozenset((FrameType.WATCH_CONNS, FrameType.CLOSE_PEER, FrameType.FORWARD_PACKET))


@frozen
class RoutingLimits:
    """What one relay carries.

    Args:
        max_clients: connections that are logged in at once.
        queue_packets: packets held per client and queue; peers' flow control counts on 32.
        queue_bytes: bytes held per client and queue.
        rate: bytes a second taken from one client, None for no limit; reading is delayed.
        keep_alive_s: between keep-alives, plus up to a twelfth of it.
    """

    max_clients: int = 1024
    queue_packets: int = QUEUE_PACKETS
    queue_bytes: ByteCount = QUEUE_BYTES
    rate: BytesPerSecond | None = None
    keep_alive_s: Seconds = KEEP_ALIVE_S


@dataclass(slots=True)
class Counters:
    """What the relay has done since it was made."""

    forwarded: int = 0  # packets queued for their destination
    dropped_full: int = 0  # packets that a full queue lost
    dropped_absent: int = 0  # packets for a key that is not here


@dataclass(slots=True, eq=False)
class Client:
    """One connection; `key` is None until it has logged in.  Only `Relay` makes and changes it."""

    outbox: Outbox
    bucket: TokenBucket | None
    not_here: TokenBucket
    keep_alive_every_s: Seconds
    keep_alive_at: Instant
    key: DerpKey | None = None
    place: "Place | None" = None
    is_awake: bool = False  # named by take_woken, and not yet found empty by output_to_send
    heard_keys: dict[DerpKey, None] = field(default_factory=dict)  # in order of arrival


@dataclass(slots=True, eq=False)
class Place:
    """Where packets for one key go: its connections, the active one last; never empty."""

    key: DerpKey
    connections: list[Client]


class Relay:
    """Routes packets between the clients that are logged in.

    Args:
        keys: the relay's own key pair.
        limits: what it carries.
        entropy: returns that many random bytes.
    """

    def __init__(
        self, keys: KeyPair, limits: RoutingLimits, entropy: Callable[[int], bytes]
    ) -> None:
        self._keys = keys
        self._limits = limits
        self._entropy = entropy
        self._budget = QueueBudget()
        self._place_by_key: dict[DerpKey, Place] = {}
        self._watchers_by_key: dict[DerpKey, set[Client]] = {}
        self._client_count = 0
        self._woken: list[Client] = []
        self.counters = Counters()

    @property
    def public_key(self) -> bytes:
        """The relay's public key (32 bytes)."""
        return self._keys.public

    @property
    def client_count(self) -> int:
        """Connections that are logged in."""
        return self._client_count

    @property
    def is_full(self) -> bool:
        """Whether nobody else may log in."""
        return self._client_count >= self._limits.max_clients

    def open(self, now: Instant) -> Client:
        """Make a client for a new connection, its greeting queued."""
        rate = self._limits.rate
        jitter = int.from_bytes(self._entropy(2), "little") / (1 << 16)
        every_s = self._limits.keep_alive_s * (1 + jitter * KEEP_ALIVE_JITTER)
        client = Client(
            outbox=Outbox(self._limits.queue_packets, self._limits.queue_bytes, self._budget),
            bucket=TokenBucket(Allowance(rate, max(rate, MIN_RATE_BURST)), now) if rate else None,
            not_here=TokenBucket(NOT_HERE_ALLOWANCE, now),
            keep_alive_every_s=every_s,
            keep_alive_at=Instant(now + every_s),
        )
        self._send_control(client, derp.encode_server_key(derp.ServerKey(self._keys.public)))
        return client

    def close(self, client: Client) -> None:
        """Forget a connection, and tell those who heard from its key if it was the last one."""
        client.outbox.clear()
        for heard in client.heard_keys:
            self._unwatch(heard, client)
        client.heard_keys.clear()
        key, place = client.key, client.place
        if key is None or place is None:
            return
        client.place = None
        self._client_count -= 1
        place.connections.remove(client)
        if not place.connections:
            del self._place_by_key[key]
            self._announce_gone(key)

    def handle_frame(
        self, now: Instant, client: Client, frame_type: int, payload: memoryview
    ) -> None:
        """Act on one frame of a connection; raises `PeerError` when the connection must end."""
        place = client.place
        if place is None:
            self._log_in(client, frame_type, payload)
            return
        if place.connections[-1] is not client:
            # Several connections with one key: the last writer gets the packets.
            place.connections.remove(client)
            place.connections.append(client)
        if frame_type == FrameType.SEND_PACKET:
            self._route(now, client, place, payload)
        elif frame_type == FrameType.PING:
            self._answer_ping(client, payload)
        elif frame_type == FrameType.NOTE_PREFERRED and len(payload) != 1:
            raise ProtocolViolation("a note-preferred frame that is not one byte long")
        elif frame_type in MESH_FRAMES:
            raise ProtocolViolation("a frame that is reserved for meshed servers")
        # Everything else, unknown types too, is skipped, so that newer clients can be served.

    def handle_read(self, now: Instant, client: Client, size: ByteCount) -> Instant:
        """Account for `size` bytes read from a connection; return when to read again."""
        return now if client.bucket is None else client.bucket.take(now, size)

    def handle_timeout(self, now: Instant, client: Client) -> None:
        """Queue what is due by time: the keep-alive."""
        if client.key is not None and now >= client.keep_alive_at:
            client.keep_alive_at = Instant(now + client.keep_alive_every_s)
            self._send_control(client, derp.encode_frame(FrameType.KEEP_ALIVE))

    def next_timeout(self, client: Client) -> Instant | None:
        """Return when `handle_timeout` has something to do, None before the login."""
        return None if client.key is None else client.keep_alive_at

    def output_to_send(self, client: Client) -> list[bytes]:
        """Take the frames to write next; an empty list puts the client to sleep until woken."""
        frames = client.outbox.take()
        if not frames:
            client.is_awake = False
        return frames

    def take_woken(self) -> list[Client]:
        """Return the clients that were asleep and have output now, each once."""
        woken, self._woken = self._woken, []
        return woken

    def _log_in(self, client: Client, frame_type: int, payload: memoryview) -> None:
        if frame_type != FrameType.CLIENT_INFO:
            raise ProtocolViolation("the first frame is not a login")
        if len(payload) > MAX_LOGIN:
            raise ProtocolViolation(f"a login of {len(payload)} bytes")
        login = derp.decode_client_info(payload)
        key = DerpKey(login.key)
        _check_client_json(box.open_box(self._keys, key, login.nonce, login.sealed))
        if self.is_full:
            raise ProtocolViolation("this relay serves as many clients as it may")
        nonce = self._entropy(derp.NONCE_SIZE)
        sealed = box.seal(self._keys, key, nonce, SERVER_INFO_JSON)
        client.key = key
        client.place = self._place_by_key.setdefault(key, Place(key, []))
        client.place.connections.append(client)
        self._client_count += 1
        self._send_control(client, derp.encode_server_info(derp.ServerInfo(nonce, sealed)))

    def _route(self, now: Instant, client: Client, place: Place, payload: memoryview) -> None:
        if not KEY_SIZE <= len(payload) <= derp.MAX_SEND_PAYLOAD:
            raise ProtocolViolation(f"a packet frame of {len(payload)} bytes")
        key = DerpKey(bytes(payload[:KEY_SIZE]))
        packet = payload[KEY_SIZE:]
        looks_like_disco = len(packet) >= DISCO_MIN_SIZE and packet[:6] == DISCO_MAGIC
        destination = self._place_by_key.get(key)
        if destination is None:
            self.counters.dropped_absent += 1
            if looks_like_disco and client.not_here.try_take(now):
                gone = derp.PeerGone(key, GoneReason.NOT_HERE)
                self._send_control(client, derp.encode_peer_gone(gone))
            return
        receiver = destination.connections[-1]
        # The one copy of a packet: out of the receive buffer, behind its new header.
        header = derp.packet_header(FrameType.RECV_PACKET, place.key, len(packet))
        frame = b"".join((header, packet))
        dropped = receiver.outbox.push_packet(frame, looks_like_disco=looks_like_disco)
        self.counters.forwarded += 1
        self.counters.dropped_full += dropped
        if place.key not in receiver.heard_keys:
            self._watch(place.key, receiver)
        self._wake(receiver)

    def _answer_ping(self, client: Client, payload: memoryview) -> None:
        if not derp.PING_SIZE <= len(payload) <= derp.MAX_PING_PAYLOAD:
            raise ProtocolViolation(f"a ping of {len(payload)} bytes")
        if client.outbox.offer_pong(bytes(payload[: derp.PING_SIZE])):
            self._wake(client)

    def _watch(self, key: DerpKey, receiver: Client) -> None:
        """Remember that `receiver` heard from `key`."""
        if len(receiver.heard_keys) >= MAX_HEARD_KEYS:
            oldest = next(iter(receiver.heard_keys))
            del receiver.heard_keys[oldest]
            self._unwatch(oldest, receiver)
        receiver.heard_keys[key] = None
        self._watchers_by_key.setdefault(key, set()).add(receiver)

    def _unwatch(self, key: DerpKey, receiver: Client) -> None:
        watchers = self._watchers_by_key.get(key)
        if watchers is None:
            return
        watchers.discard(receiver)
        if not watchers:
            del self._watchers_by_key[key]

    def _announce_gone(self, key: DerpKey) -> None:
        # The key stays in heard_keys: upstream reports a departure once per connection and key.
        frame = derp.encode_peer_gone(derp.PeerGone(key, GoneReason.DISCONNECTED))
        for watcher in self._watchers_by_key.pop(key, ()):
            self._send_control(watcher, frame)

    def _send_control(self, client: Client, frame: bytes) -> None:
        client.outbox.push_control(frame)
        self._wake(client)

    def _wake(self, client: Client) -> None:
        if not client.is_awake:
            client.is_awake = True
            self._woken.append(client)


def _check_client_json(data: bytes) -> None:
    """Check the JSON of a login: an object whose version, if told, is a number."""
    try:
        info = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DecodeError("a login without valid JSON") from error
    if not isinstance(info, dict) or not isinstance(info.get("version", 0), int):
        raise DecodeError("a login whose JSON is not that of a DERP client")
