"""Where a stream is cut changes nothing; any bytes give events or a RelayError."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.crypto import box
from tunnel.crypto.keys import KeyPair
from tunnel.errors import RelayError
from tunnel.proto.relay_client.derp_client import DerpClient, PacketArrived
from tunnel.units import Instant
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, ServerInfo, ServerKey

CLIENT = KeyPair.from_secret(b"\x11" * 32)
SERVER = KeyPair.from_secret(b"\x22" * 32)
NONCE = b"\x44" * 24
LOGIN = derp.encode_server_key(ServerKey(SERVER.public)) + derp.encode_server_info(
    ServerInfo(NONCE, box.seal(SERVER, CLIENT.public, NONCE, b'{"version":2}'))
)
FRAMES = st.lists(
    st.tuples(
        st.sampled_from([kind for kind in FrameType if kind != FrameType.RECV_PACKET] + [0x7F]),
        st.binary(max_size=50),
    )
    | st.tuples(st.just(FrameType.RECV_PACKET), st.binary(min_size=32, max_size=90)),
    max_size=8,
)


def run(pieces):
    client = DerpClient(CLIENT, lambda size: bytes(size), Instant(0.0), Instant(10.0))
    seen = []
    for piece in pieces:
        room = client.writable()
        room[: len(piece)] = piece
        for event in client.received(Instant(1.0), len(piece)):
            is_packet = isinstance(event, PacketArrived)
            seen.append((event.source, bytes(event.packet)) if is_packet else event)
        seen += client.frames_to_send()
    return [entry for entry in seen if not isinstance(entry, bytes)], [
        entry for entry in seen if isinstance(entry, bytes)
    ]


@given(FRAMES, st.lists(st.integers(0, 600), max_size=6))
def test_where_the_stream_is_cut_changes_nothing(frames, cuts):
    data = LOGIN + b"".join(derp.encode_frame(kind, payload) for kind, payload in frames)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in zip(places, places[1:], strict=False)]

    assert run(pieces) == run([data])


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_events_or_a_relay_error(data, is_logged_in):
    try:
        run([LOGIN, data] if is_logged_in else [data])
    except RelayError as error:
        assert str(error)
