"""DERP frames: golden rows both ways, and the splitter."""

import pytest
from support.restarting import encode_restarting

from tunnel.errors import BadMagic, DecodeError, Truncated
from tunnel.wire import derp
from tunnel.wire.derp import (
    ClientInfo,
    FrameSplitter,
    FrameType,
    GoneReason,
    PeerGone,
    Restarting,
    ServerInfo,
    ServerKey,
)

KEY = bytes(range(32))
NONCE = bytes(range(100, 124))

GOLDEN = [
    (ServerKey(KEY), derp.encode_server_key, derp.decode_server_key,
     "01 00000028 44455250f09f9491" + KEY.hex()),
    (ClientInfo(KEY, NONCE, b"box"), derp.encode_client_info, derp.decode_client_info,
     "02 0000003b" + KEY.hex() + NONCE.hex() + "626f78"),
    (ServerInfo(NONCE, b"box"), derp.encode_server_info, derp.decode_server_info,
     "03 0000001b" + NONCE.hex() + "626f78"),
    (PeerGone(KEY, GoneReason.NOT_HERE), derp.encode_peer_gone, derp.decode_peer_gone,
     "08 00000021" + KEY.hex() + "01"),
    (Restarting(1.5, 60.0), encode_restarting, derp.decode_restarting,
     "15 00000008 000005dc 0000ea60"),
]  # fmt: skip


@pytest.mark.parametrize("row", GOLDEN, ids=[type(row[0]).__name__ for row in GOLDEN])
def test_frames_are_these_bytes_both_ways(row):
    value, encode, decode, data = row
    packed = bytes.fromhex(data)

    assert encode(value) == packed
    assert decode(packed[derp.HEADER_SIZE :]) == value


@pytest.mark.parametrize("row", GOLDEN, ids=[type(row[0]).__name__ for row in GOLDEN])
def test_a_payload_without_its_fixed_fields_is_refused(row):
    with pytest.raises(Truncated):
        row[2](b"DERP")


def test_a_greeting_without_the_magic_is_no_derp_server():
    with pytest.raises(BadMagic):
        derp.decode_server_key(bytes(40))


def test_a_client_info_over_its_limit_is_refused():
    with pytest.raises(DecodeError, match="too long"):
        derp.decode_client_info(bytes(derp.MAX_CLIENT_INFO + 1))


def test_an_old_server_s_peer_gone_has_no_reason_and_an_unknown_one_is_a_disconnect():
    assert derp.decode_peer_gone(KEY) == PeerGone(KEY, GoneReason.DISCONNECTED)
    assert derp.decode_peer_gone(KEY + b"\x77") == PeerGone(KEY, GoneReason.DISCONNECTED)


def test_a_packet_is_its_header_its_key_and_its_bytes():
    header = derp.packet_header(FrameType.SEND_PACKET, KEY, 3)

    assert header == bytes.fromhex("04 00000023") + KEY
    key, packet = derp.split_packet(memoryview(KEY + b"abc"))
    assert (key, bytes(packet)) == (KEY, b"abc")


def test_a_packet_shorter_than_its_key_is_refused():
    with pytest.raises(Truncated):
        derp.split_packet(memoryview(KEY[:-1]))


def collect(splitter):
    return [(kind, bytes(payload)) for kind, payload in splitter.frames()]


def test_frames_come_out_whole_wherever_the_stream_is_cut():
    stream = (
        derp.encode_frame(4, b"a" * 10) + derp.encode_frame(6) + derp.encode_frame(5, b"b", b"c")
    )
    for cut in range(len(stream) + 1):
        splitter = FrameSplitter()
        splitter.feed(stream[:cut])
        frames = collect(splitter)
        splitter.feed(stream[cut:])
        frames += collect(splitter)
        assert frames == [(4, b"a" * 10), (6, b""), (5, b"bc")]


def test_a_frame_larger_than_the_buffer_makes_it_grow():
    payload = bytes(range(256)) * 4000
    stream = derp.encode_frame(5, payload)
    splitter = FrameSplitter()
    for start in range(0, len(stream), 100_000):
        splitter.feed(stream[start : start + 100_000])

    assert collect(splitter) == [(5, payload)]


def test_many_frames_fed_at_once_are_all_kept():
    frame = derp.encode_frame(5, b"x" * 1000)
    count = 2 * derp.SPLITTER_BUFFER_SIZE // len(frame)
    splitter = FrameSplitter()

    splitter.feed(frame * count)

    assert len(collect(splitter)) == count


def test_a_reader_that_fills_what_is_writable_gets_every_frame():
    stream = b"".join(derp.encode_frame(5, bytes([i]) * (i * 300)) for i in range(200))
    splitter, frames, position = FrameSplitter(), [], 0
    while position < len(stream):
        room = splitter.writable()
        size = min(len(room), 4096, len(stream) - position)
        room[:size] = stream[position : position + size]
        splitter.wrote(size)
        position += size
        frames += collect(splitter)

    assert frames == [(5, bytes([i]) * (i * 300)) for i in range(200)]


def receive(splitter, stream, largest_read=1 << 20):
    """Have a reader receive a stream; return the frames, and the capacity after every read."""
    frames, capacities, position = [], [], 0
    while position < len(stream):
        room = splitter.writable()
        size = min(len(room), largest_read, len(stream) - position)
        assert size
        room[:size] = stream[position : position + size]
        splitter.wrote(size)
        position += size
        frames += collect(splitter)
        capacities.append(splitter.capacity)
    return frames, capacities


def test_small_frames_need_a_small_buffer():
    splitter = FrameSplitter()
    pings = derp.encode_frame(0x12, b"12345678")

    assert receive(splitter, pings * 1000, len(pings))[1] == [derp.FIRST_BUFFER_SIZE] * 1000


def test_what_is_only_announced_takes_no_memory():
    splitter = FrameSplitter()

    receive(splitter, derp.encode_header(4, derp.MAX_SEND_PAYLOAD) + bytes(500))
    splitter.writable()

    assert splitter.capacity == derp.FIRST_BUFFER_SIZE


def test_a_fast_sender_gets_the_largest_buffer_after_a_few_reads():
    stream = derp.encode_frame(5, bytes(61440)) * 20

    frames, capacities = receive(FrameSplitter(), stream)

    assert frames == [(5, bytes(61440))] * 20
    assert capacities[:5] == [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10]
    assert max(capacities) == derp.SPLITTER_BUFFER_SIZE


def test_a_buffer_shrinks_when_little_comes_for_long():
    splitter = FrameSplitter()
    receive(splitter, derp.encode_frame(5, bytes(61440)) * 20)
    pings = derp.encode_frame(0x12, b"12345678") * (4 * derp.SMALL_READS + 4)

    frames, capacities = receive(splitter, pings, 13)

    assert len(frames) == 4 * derp.SMALL_READS + 4
    assert capacities[derp.SMALL_READS - 2] == derp.SPLITTER_BUFFER_SIZE
    assert capacities[-1] == derp.FIRST_BUFFER_SIZE


@pytest.mark.parametrize("rest", [0, 3, 50_000])
def test_a_buffer_that_is_trimmed_keeps_what_has_begun(rest):
    splitter = FrameSplitter()
    frame = derp.encode_frame(5, b"x" * 61440)
    receive(splitter, frame * 20 + frame[:rest])

    splitter.trim()

    assert splitter.capacity == max(derp.FIRST_BUFFER_SIZE, rest)
    assert receive(splitter, frame[rest:])[0] == [(5, b"x" * 61440)]


def test_a_frame_over_the_limit_is_refused_from_its_header_alone():
    splitter = FrameSplitter(max_payload=100)
    splitter.feed(derp.encode_header(5, 101))

    with pytest.raises(DecodeError, match="over the limit"):
        collect(splitter)
