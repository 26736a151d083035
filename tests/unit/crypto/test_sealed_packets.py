"""Sealed packets: the exact bytes, bursts, replays, phases and paths."""

import pytest
from nacl import bindings

from tunnel.crypto.aead import AEGIS_256, CHACHA20_POLY1305
from tunnel.crypto.packets import (
    FEW,
    MAX_BURST,
    MAX_RECEIVE_PATHS,
    BurstBuffer,
    OpenedBulk,
    OpenedGeneral,
    PacketOpener,
    PacketSealer,
)
from tunnel.wire import packet as layout

KEY = bytes(range(32))
AEADS = [CHACHA20_POLY1305, AEGIS_256]
each_aead = pytest.mark.parametrize("aead", AEADS, ids=lambda aead: aead.id.name)


def pair(aead=CHACHA20_POLY1305, index=7):
    return PacketSealer(aead, KEY, index), PacketOpener(aead, KEY)


def take(opener, data):
    """Open a packet and mark it, as a link does that takes it."""
    opened = opener.open(data)
    if opened is not None:
        opener.mark(opened)
    return opened


def take_burst(opener, burst, size):
    """Open what a burst holds and mark each before the next."""
    taken = []
    for opened in opener.open_burst(burst, size):
        opener.mark(opened)
        taken.append(opened)
    return taken


def burst_of(sealer, count, payload=64, slots=MAX_BURST, path=1, stream=4, offset=0, aead=None):
    """Return a burst and the data it carries."""
    burst = BurstBuffer(payload, sealer.tag_size, slots)
    data = bytes(i % 251 for i in range(count * payload))
    first, sealed = sealer.seal_burst(burst, path, stream, offset, memoryview(data))
    assert sealed == count
    return burst, data, first


def test_a_general_packet_is_its_header_and_the_rfc_8439_seal_of_its_frames():
    sealer, opener = pair()

    number, data = sealer.seal_general(0, b"\x01")

    header = layout.encode_general_header(0, 0, 7, 0)
    expected = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(b"\x01", header, bytes(12), KEY)
    assert (number, bytes(data)) == (0, header + expected)
    assert take(opener, memoryview(data)) == OpenedGeneral(0, 0, bytearray(b"\x01"))


def test_the_nonce_is_path_and_number_little_endian():
    sealer, _ = pair()
    for _ in range(258):
        _, data = sealer.seal_bulk(0x0102, 4, 0, b"12345678")

    header = layout.encode_bulk_header(0, 0x0102, 7, 257, 4, 0)
    nonce = bytes.fromhex("02010000 0101000000000000")
    expected = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(b"12345678", header, nonce, KEY)
    assert bytes(data) == header + expected


@each_aead
def test_bulk_packets_open_with_their_stream_and_offset(aead):
    sealer, opener = pair(aead)
    number, data = sealer.seal_bulk(0, 6, 4096, b"x" * 800)

    opened = take(opener, memoryview(data))

    assert opened == OpenedBulk(0, number, 1, 6, 4096, memoryview(b"x" * 800))


@each_aead
def test_a_burst_is_the_same_bytes_as_single_packets(aead):
    sealer, _ = pair(aead)
    burst, data, first = burst_of(sealer, 45, payload=1352 // 8 * 8, offset=8000)
    single, _ = pair(aead)

    for i in range(45):
        size = burst.payload_size
        part = data[i * size : (i + 1) * size]
        _, packet = single.seal_bulk(1, 4, 8000 + i * size, part)
        start = i * burst.datagram_size
        assert burst.data[start : start + burst.datagram_size] == packet
    assert first == 0


@each_aead
def test_a_burst_opens_as_one_run(aead):
    sealer, opener = pair(aead)
    burst, data, first = burst_of(sealer, 45)

    (run,) = take_burst(opener, burst, 45 * burst.datagram_size)

    assert (run.first, run.count, run.stream, run.offset) == (first, 45, 4, 0)
    assert bytes(run.data) == data


def test_a_burst_opens_in_pieces_when_one_datagram_is_forged():
    sealer, opener = pair()
    burst, data, _ = burst_of(sealer, 8)
    burst.data[3 * burst.datagram_size + 40] ^= 1

    opened = take_burst(opener, burst, 8 * burst.datagram_size)

    assert [packet.first for packet in opened] == [0, 1, 2, 4, 5, 6, 7]
    assert b"".join(bytes(packet.data) for packet in opened) == data[:192] + data[256:]


def test_a_burst_that_starts_in_the_middle_opens_in_pieces_as_far_as_it_is_fresh():
    sealer, opener = pair()
    burst, _, _ = burst_of(sealer, 4)
    assert take(opener, memoryview(burst.data)[: burst.datagram_size])

    opened = take_burst(opener, burst, 4 * burst.datagram_size)

    assert [packet.first for packet in opened] == [1, 2, 3]


def test_a_burst_opens_as_its_runs_where_streams_take_turns():
    sealer, opener = pair()
    burst = BurstBuffer(64, sealer.tag_size, 6)
    turns = [(4, 0), (4, 64), (6, 0), (6, 64), (6, 128), (4, 128)]
    for i, (stream, offset) in enumerate(turns):
        _, packet = sealer.seal_bulk(1, stream, offset, bytes([i]) * 64)
        burst.data[i * burst.datagram_size : (i + 1) * burst.datagram_size] = packet

    opened = take_burst(opener, burst, 6 * burst.datagram_size)

    assert [(p.first, p.count, p.stream, p.offset) for p in opened] == [
        (0, 2, 4, 0), (2, 3, 6, 0), (5, 1, 4, 128),
    ]  # fmt: skip
    assert bytes(opened[1].data) == bytes([2]) * 64 + bytes([3]) * 64 + bytes([4]) * 64


def test_a_burst_with_a_shorter_last_datagram_opens_as_a_run_and_the_last():
    sealer, opener = pair()
    burst, data, _ = burst_of(sealer, 2)
    _, last = sealer.seal_general(1, b"\x01")
    end = 2 * burst.datagram_size
    burst.data[end : end + len(last)] = last

    opened = take_burst(opener, burst, end + len(last))

    assert [type(packet) for packet in opened] == [OpenedBulk, OpenedGeneral]
    assert (opened[0].count, bytes(opened[0].data)) == (2, data)


@pytest.mark.parametrize("word", range(4))
def test_a_burst_whose_headers_are_not_one_run_opens_in_pieces(word):
    """Each header word decides: key, path and index; number; stream; offset."""
    sealer, opener = pair()
    streams = {2: [4, 6]}.get(word, [4, 4])
    offsets = {3: [0, 640]}.get(word, [0, 64])
    paths = {0: [1, 2]}.get(word, [1, 1])
    burst = BurstBuffer(64, sealer.tag_size, 2)
    for i in range(2):
        if word == 1 and i:
            sealer.seal_general(1, b"")
        _, packet = sealer.seal_bulk(paths[i], streams[i], offsets[i], bytes(64))
        burst.data[i * burst.datagram_size : (i + 1) * burst.datagram_size] = packet

    opened = take_burst(opener, burst, 2 * burst.datagram_size)

    assert [(p.path, p.stream, p.offset, p.count) for p in opened] == [
        (paths[i], streams[i], offsets[i], 1) for i in range(2)
    ]


def test_a_burst_of_general_packets_opens_in_pieces():
    sealer, opener = pair()
    burst = BurstBuffer(64, sealer.tag_size, 2)
    for i in range(2):
        _, packet = sealer.seal_general(1, bytes(80))
        burst.data[i * burst.datagram_size : (i + 1) * burst.datagram_size] = packet

    opened = take_burst(opener, burst, 2 * burst.datagram_size)

    assert [type(packet) for packet in opened] == [OpenedGeneral, OpenedGeneral]


def test_an_empty_burst_opens_to_nothing():
    sealer, opener = pair()
    burst = BurstBuffer(64, sealer.tag_size, 2)

    assert take_burst(opener, burst, 0) == []
    assert take_burst(opener, burst, burst.datagram_size) == []


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 20])
@pytest.mark.parametrize("before", [0, 1, 2, 19, 20, 21, (1 << 32) - 7])
def test_a_burst_may_cross_2_to_the_32(count, before):
    """The high half of a number stands in a word of its own in the nonce."""
    first = (1 << 32) - before
    burst = BurstBuffer(64, 16, count)
    burst.store_nonces(0x0102, first, count)

    for i in range(count):
        nonce = bytes(burst.nonces[32 * i : 32 * i + 12])
        assert nonce == b"\x02\x01\0\0" + (first + i).to_bytes(8, "little")


def test_the_memory_of_a_burst_must_hold_it():
    with pytest.raises(ValueError, match="the memory of a burst is too small"):
        BurstBuffer(64, 16, 4, bytearray(4 * (64 + 16)))


@pytest.mark.parametrize(("payload", "slots"), [(63, 4), (64, 0), (64, MAX_BURST + 1)])
def test_an_impossible_burst_is_refused(payload, slots):
    with pytest.raises(ValueError, match="a burst of aligned payloads"):
        BurstBuffer(payload, 16, slots)


def test_a_packet_opens_once():
    sealer, opener = pair()
    _, data = sealer.seal_general(0, b"\x01")

    assert take(opener, memoryview(data)) is not None
    assert take(opener, memoryview(data)) is None


def test_what_is_not_marked_opens_again():
    sealer, opener = pair()
    _, data = sealer.seal_general(0, b"\x01")
    burst, _, _ = burst_of(sealer, 4)

    assert opener.open(memoryview(data)) == opener.open(memoryview(data))
    assert len(list(opener.open_burst(burst, 4 * burst.datagram_size))) == 1
    assert len(take_burst(opener, burst, 4 * burst.datagram_size)) == 1
    assert take_burst(opener, burst, 4 * burst.datagram_size) == []


def test_packets_open_in_any_order():
    sealer, opener = pair()
    packets = [sealer.seal_general(0, b"\x01")[1] for _ in range(10)]

    for data in reversed(packets):
        assert take(opener, memoryview(data)) is not None


@each_aead
@pytest.mark.parametrize("size", [0, 1, 15, 16, 31])
def test_short_datagrams_are_dropped(aead, size):
    _, opener = pair(aead)

    for kind in (layout.GENERAL, layout.BULK, 0):
        assert take(opener, memoryview(bytes([kind]) * 1 + bytes(size))) is None
    assert take(opener, memoryview(bytes([layout.BULK]) + bytes(aead.tag_size + 15))) is None


def test_a_packet_of_another_key_or_phase_or_type_is_dropped():
    sealer, opener = pair()
    stranger = PacketSealer(CHACHA20_POLY1305, b"x" * 32, 7)
    _, data = sealer.seal_general(0, b"\x01")

    assert take(opener, memoryview(stranger.seal_general(0, b"\x01")[1])) is None
    assert take(opener, memoryview(b"\x83" + data[1:])) is None
    assert take(opener, memoryview(data[:1] + b"\x01" + data[2:])) is None
    assert take(opener, memoryview(data)) is not None


def test_key_phases_follow_each_other_and_numbers_go_on():
    sealer, opener = pair()
    sealer.seal_general(0, b"")
    _, late = sealer.seal_general(0, b"late")
    sealer.start_phase(b"2" * 32)
    number, data = sealer.seal_general(0, b"new")
    assert number == 2
    assert take(opener, memoryview(data)) is None

    opener.add_phase(1, b"2" * 32)
    assert take(opener, memoryview(data)) is not None
    assert opener.newest_phase == 1

    assert take(opener, memoryview(late)) is not None
    assert opener.newest_phase == 1
    opener.drop_phase(0)
    assert take(opener, memoryview(pair()[0].seal_general(0, b"old")[1])) is None


def test_phases_wrap_around():
    sealer, opener = pair()
    for i in range(1, 300):
        sealer.start_phase(bytes([i % 256]) * 32)
        opener.drop_phase((i - 2) % 256)
        opener.add_phase(i % 256, bytes([i % 256]) * 32)
        assert take(opener, memoryview(sealer.seal_general(0, b"")[1])) is not None
    assert opener.newest_phase == 299 % 256


def test_each_path_has_its_own_numbers_and_window():
    sealer, opener = pair()

    for path in (0, 1, 2, 0):
        assert take(opener, memoryview(sealer.seal_general(path, b"")[1])) is not None
    assert sealer.seal_general(0, b"")[0] == 2
    assert sealer.seal_general(2, b"")[0] == 1


def test_the_oldest_direct_path_is_forgotten_and_never_opens_again():
    sealer, opener = pair()
    relay = sealer.seal_general(0, b"relay")[1]
    oldest = sealer.seal_general(1, b"oldest")[1]
    newer = sealer.seal_general(2, b"newer")[1]
    assert take(opener, memoryview(relay)) is not None
    assert take(opener, memoryview(oldest)) is not None

    for path in range(2, MAX_RECEIVE_PATHS + 1):
        assert take(opener, memoryview(sealer.seal_general(path, b"")[1])) is not None

    assert take(opener, memoryview(oldest)) is None
    assert take(opener, memoryview(sealer.seal_general(1, b"")[1])) is None
    assert take(opener, memoryview(newer)) is not None
    assert take(opener, memoryview(relay)) is None
    assert take(opener, memoryview(sealer.seal_general(0, b"")[1])) is not None


def test_a_path_in_use_stays_open_however_many_others_come():
    sealer, opener = pair()

    for path in range(2, 5 * MAX_RECEIVE_PATHS):
        assert take(opener, memoryview(sealer.seal_general(1, b"")[1])) is not None
        assert take(opener, memoryview(sealer.seal_general(path, b"")[1])) is not None

    assert take(opener, memoryview(sealer.seal_general(1, b"")[1])) is not None
    assert take(opener, memoryview(sealer.seal_general(2, b"")[1])) is None
    assert len(opener._windows) <= MAX_RECEIVE_PATHS


def test_a_forgotten_path_does_not_open_in_a_burst_either():
    sealer, opener = pair()
    take(opener, memoryview(sealer.seal_general(1, b"")[1]))
    burst, _, _ = burst_of(sealer, 4, path=1)
    for path in range(2, MAX_RECEIVE_PATHS + 3):
        take(opener, memoryview(sealer.seal_general(path, b"")[1]))

    assert take_burst(opener, burst, 4 * burst.datagram_size) == []


def test_numbers_that_are_used_up_end_in_an_error_and_never_in_a_repeat():
    sealer, _ = pair()
    sealer._next_number[0] = layout.MAX_NUMBER - 1
    assert sealer.seal_general(0, b"")[0] == layout.MAX_NUMBER - 1

    with pytest.raises(OverflowError):
        sealer.seal_general(0, b"")


@each_aead
@pytest.mark.parametrize("is_bulk", [False, True], ids=["general", "bulk"])
@pytest.mark.parametrize("number", [layout.MAX_NUMBER, layout.MAX_NUMBER + 1, (1 << 64) - 1])
def test_a_single_packet_beyond_the_last_number_does_not_open(aead, number, is_bulk):
    """Nor does the highest number of 8 bytes: nothing above it could ever be fresh again."""
    sealer, opener = pair(aead)
    header = (
        layout.encode_bulk_header(0, 1, 7, number, 4, 0)
        if is_bulk
        else layout.encode_general_header(0, 1, 7, number)
    )

    assert take(opener, memoryview(sealer._seal(header, 1, number, bytes(64)))) is None
    assert not opener._windows


@each_aead
def test_the_last_number_opens_as_a_single_packet_and_at_the_end_of_a_burst(aead):
    sealer, opener = pair(aead)
    sealer._next_number[1] = layout.MAX_NUMBER - 1
    number, data = sealer.seal_general(1, b"\x01")
    assert number == layout.MAX_NUMBER - 1
    assert take(opener, memoryview(data)) is not None

    sealer, opener = pair(aead)
    sealer._next_number[1] = layout.MAX_NUMBER - 4
    burst, _, _ = burst_of(sealer, 4)
    (run,) = take_burst(opener, burst, 4 * burst.datagram_size)
    assert run.first + run.count == layout.MAX_NUMBER


def test_a_burst_that_would_pass_the_last_number_is_not_sealed():
    sealer, _ = pair()
    sealer._next_number[1] = layout.MAX_NUMBER - 3

    with pytest.raises(OverflowError):
        burst_of(sealer, 4)
    assert sealer.seal_general(1, b"")[0] == layout.MAX_NUMBER - 3
