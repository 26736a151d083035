"""Both ends of a login at a DERP relay, by hand: for tests of the client machine and its drivers."""

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.units import Instant
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, ServerInfo, ServerKey

CLIENT = KeyPair.from_secret(b"\x11" * 32)
SERVER = KeyPair.from_secret(b"\x22" * 32)
START = Instant(1000.0)
PING = derp.encode_frame(FrameType.PING, b"\x33" * 8)


def entropy(size):
    return b"\x33" * size


def hear(client, now, data):
    """Deliver bytes the way a driver does, so that the silence ends."""
    room = client.writable()
    room[: len(data)] = data
    return list(client.received(Instant(now), len(data)))


def greeting(key=SERVER.public):
    return derp.encode_server_key(ServerKey(key))


def acceptance(message=b'{"version":2}', nonce=b"\x44" * 24):
    sealed = box.seal(SERVER, CLIENT.public, nonce, message)
    return derp.encode_server_info(ServerInfo(nonce, sealed))
