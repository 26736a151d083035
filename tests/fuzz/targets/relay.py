# Invariant: a frame of a client is acted on or is a PeerError; queues and budget stay consistent.
from collections.abc import Iterator

from fuzzing import Feed, chunk

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.errors import PeerError
from tunnel.proto.relay_server.derp_relay import DISCO_MAGIC, MAX_HEARD_KEYS, Relay, RoutingLimits
from tunnel.units import Instant
from tunnel.wire import derp
from tunnel.wire.derp import FrameType

CPU_S = 0.5
ALLOCATION = 32 << 20
MAX_STEPS = 200
SERVER = KeyPair.from_secret(b"\x22" * 32)
KEYS = [KeyPair.from_secret(bytes((number,)) * 32) for number in (8, 24, 40)]
WORDS = (*(keys.public for keys in KEYS), DISCO_MAGIC + bytes(56), b'{"version":2}')
FRAME, LOG_IN, CLOSE, OUTPUT, TICK, READ = range(6)


class Scene:
    """A relay and up to three connections."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.relay = Relay(
            SERVER, RoutingLimits(max_clients=2, queue_packets=4, rate=1 << 20), bytes
        )
        self.clients = [self.relay.open(Instant(self.now)) for _ in KEYS]

    def play(self, feed: Feed) -> None:
        for _ in range(MAX_STEPS):
            if not feed:
                return
            kind, who = feed.uint(1) % 6, feed.uint(1) % len(KEYS)
            try:
                self._step(kind, who, feed)
            except PeerError:
                self._reopen(who)
            self._check()

    def _step(self, kind: int, who: int, feed: Feed) -> None:
        relay, client, now = self.relay, self.clients[who], Instant(self.now)
        if kind == FRAME:
            relay.handle_frame(now, client, feed.uint(1), memoryview(feed.chunk()))
        elif kind == LOG_IN:
            keys = KEYS[feed.uint(1) % len(KEYS)]
            sealed = box.seal(keys, SERVER.public, bytes(24), feed.chunk())
            login = memoryview(keys.public + bytes(24) + sealed)
            relay.handle_frame(now, client, FrameType.CLIENT_INFO, login)
        elif kind == CLOSE:
            self._reopen(who)
        elif kind == OUTPUT:
            for woken in relay.take_woken():
                while relay.output_to_send(woken):
                    pass
        elif kind == TICK:
            self.now += feed.uint(2) / 100
            relay.handle_timeout(Instant(self.now), client)
        else:
            assert relay.handle_read(now, client, feed.uint(3)) >= now

    def _reopen(self, who: int) -> None:
        self.relay.close(self.clients[who])
        self.clients[who] = self.relay.open(Instant(self.now))

    def _check(self) -> None:
        relay = self.relay
        logged_in = [client for client in self.clients if client.key is not None]
        assert relay.client_count == len(logged_in) <= 2
        queues = [q for c in self.clients for q in (c.outbox._disco, c.outbox._other)]
        held = sum(sum(map(len, queue._frames)) for queue in queues)
        assert relay._budget.used == held + sum(c.outbox._taken for c in self.clients)
        assert all(len(queue) <= 4 for queue in queues)
        assert all(len(client.heard_keys) <= MAX_HEARD_KEYS for client in self.clients)
        watchers = sum(map(len, relay._watchers_by_key.values()))
        assert watchers <= sum(len(client.heard_keys) for client in self.clients)


def run(data: bytes) -> None:
    Scene().play(Feed(data))


def seeds() -> Iterator[bytes]:
    login = [bytes((LOG_IN, who, who)) + chunk(b'{"version":2}') for who in range(3)]
    packet = bytes((FRAME, 0, FrameType.SEND_PACKET)) + chunk(KEYS[1].public + b"packet")
    disco = bytes((FRAME, 0, 4)) + chunk(KEYS[2].public + DISCO_MAGIC + bytes(56))
    ping = bytes((FRAME, 1, FrameType.PING)) + chunk(b"12345678")
    yield login[0] + login[1] + packet * 6 + bytes((OUTPUT, 0)) + ping + bytes((CLOSE, 0))
    yield login[0] + disco * 5 + bytes((TICK, 0, 0, 0x40)) + bytes((OUTPUT, 0))
    yield login[0] + login[1] + login[2] + bytes((READ, 0, 0, 0, 16))
    yield bytes((LOG_IN, 0, 0)) + chunk(b"[]") + login[0] + login[0]
    for kind in FrameType:
        yield login[0] + bytes((FRAME, 0, kind)) + chunk(derp.encode_frame(kind, bytes(33))[5:])
