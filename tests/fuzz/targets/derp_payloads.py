# Invariant: a DERP payload is a value that encodes to what was read, or a DecodeError.
from collections.abc import Callable, Iterator

from fuzzing import Feed
from support.restarting import encode_restarting

from tunnel.errors import DecodeError
from tunnel.wire import derp

PAIRS: tuple[tuple[Callable, Callable, bool], ...] = (  # decode, encode, whether trailing bytes go
    (derp.decode_server_key, derp.encode_server_key, True),
    (derp.decode_client_info, derp.encode_client_info, False),
    (derp.decode_server_info, derp.encode_server_info, False),
    (derp.decode_restarting, encode_restarting, True),
)


def run(data: bytes) -> None:
    feed = Feed(data)
    choice, payload = feed.uint(1) % (len(PAIRS) + 2), feed.rest()
    try:
        if choice == len(PAIRS):
            gone = derp.decode_peer_gone(payload)
            assert derp.decode_peer_gone(derp.encode_peer_gone(gone)[5:]) == gone
        elif choice == len(PAIRS) + 1:
            key, packet = derp.split_packet(memoryview(payload))
            assert derp.packet_header(4, key, len(packet))[5:] + packet == payload
        else:
            decode, encode, is_prefix = PAIRS[choice]
            again = encode(decode(payload))[5:]
            assert payload.startswith(again) if is_prefix else payload == again
    except DecodeError:
        return


def seeds() -> Iterator[bytes]:
    yield b"\0" + derp.encode_server_key(derp.ServerKey(bytes(32)))[5:]
    yield b"\1" + derp.encode_client_info(derp.ClientInfo(bytes(32), bytes(24), b"sealed"))[5:]
    yield b"\2" + derp.encode_server_info(derp.ServerInfo(bytes(24), b"sealed"))[5:]
    yield b"\3" + encode_restarting(derp.Restarting(1.5, 30))[5:]
    yield b"\4" + derp.encode_peer_gone(derp.PeerGone(bytes(32), derp.GoneReason.NOT_HERE))[5:]
    yield b"\4" + bytes(32)
    yield b"\5" + bytes(32) + b"packet"
