"""Sealed packets: nothing repeats, nothing changed opens, and windows agree with a naive set."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel.crypto.aead import AEGIS_256, CHACHA20_POLY1305
from tunnel.crypto.packets import BurstBuffer, PacketOpener, PacketSealer
from tunnel.crypto.replay import WINDOW, ReplayWindow
from tunnel.wire import packet as layout

KEY = bytes(range(32))
AEADS = st.sampled_from([CHACHA20_POLY1305, AEGIS_256])


class NaiveWindow:
    """A set of every number ever marked."""

    def __init__(self):
        self.seen = set()

    @property
    def highest(self):
        return max(self.seen, default=-1)

    def is_fresh(self, number):
        return number not in self.seen and number > self.highest - WINDOW


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["near", "back", "jump"]), st.integers(0, 2 * WINDOW), st.integers(1, 64)
    ),
    max_size=60,
)


@given(STEPS)
def test_the_window_agrees_with_a_naive_set(steps):
    window, naive = ReplayWindow(), NaiveWindow()
    for kind, distance, count in steps:
        step = {"near": distance % 5, "back": -distance, "jump": distance}[kind]
        number = max(0, naive.highest + step)
        assert window.is_fresh(number) == naive.is_fresh(number)
        if window.is_fresh_run(number, count):
            assert all(naive.is_fresh(number + i) for i in range(count))
            window.mark_run(number, count)
            naive.seen.update(range(number, number + count))
        elif window.is_fresh(number):
            window.mark(number)
            naive.seen.add(number)
        assert window.highest == naive.highest
        for other in (number, number - 1, number + 1, number - WINDOW, number - WINDOW + 1):
            if other >= 0:
                assert window.is_fresh(other) == naive.is_fresh(other)


@settings(max_examples=25)
@given(AEADS, st.binary(max_size=40), st.booleans(), st.integers(0, 0xFFFF))
def test_every_flipped_bit_is_refused(aead, content, is_bulk, path):
    sealer, opener = PacketSealer(aead, KEY, 9), PacketOpener(aead, KEY)
    if is_bulk:
        _, packet = sealer.seal_bulk(path, 4, 64, content.ljust(40, b"x"))
    else:
        _, packet = sealer.seal_general(path, content)

    for bit in range(8 * len(packet)):
        packet[bit // 8] ^= 1 << bit % 8
        assert opener.open(memoryview(packet)) is None
        packet[bit // 8] ^= 1 << bit % 8
    assert opener.open(memoryview(packet)) is not None


@settings(max_examples=15)
@given(AEADS, st.integers(2, 5), st.integers(1, 6))
def test_every_flipped_bit_of_a_burst_costs_its_datagram_and_no_other(aead, count, words):
    sealer = PacketSealer(aead, KEY, 9)
    burst = BurstBuffer(8 * words, aead.tag_size, count)
    data = bytes(range(8 * words)) * count
    sealer.seal_burst(burst, 1, 4, 640, memoryview(data))
    size = burst.datagram_size
    whole = bytes(burst.data)
    for bit in range(0, 8 * len(whole), 7):
        burst.data[bit // 8] ^= 1 << bit % 8
        opened = list(PacketOpener(aead, KEY).open_burst(burst, len(whole)))
        hit = bit // 8 // size
        numbers = [packet.first + i for packet in opened for i in range(packet.count)]
        assert numbers == [i for i in range(count) if i != hit]
        assert all(packet.offset == 640 + packet.first * 8 * words for packet in opened)
        assert all(bytes(packet.data) == data[: 8 * words] * packet.count for packet in opened)
        burst.data[:] = whole


@given(
    AEADS,
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 4), st.booleans()),
        min_size=1,
        max_size=6,
    ),
)
def test_a_burst_opens_to_what_its_datagrams_open_to_one_by_one(aead, runs):
    """Each run: stream, packets left out before it, datagrams, whether its last one is forged."""
    sealer, packets, offsets = PacketSealer(aead, KEY, 9), [], {}
    for stream, skipped, length, is_forged in runs:
        for _ in range(skipped):
            sealer.seal_general(1, b"")
        for _ in range(length):
            offset = offsets.get(stream, 0)
            offsets[stream] = offset + 16
            _, packet = sealer.seal_bulk(1, stream, offset, bytes([len(packets)]) * 16)
            packets.append(packet)
        packets[-1][-1] ^= is_forged
    burst = BurstBuffer(16, aead.tag_size, len(packets))
    burst.data[:] = b"".join(packets)
    alone = [PacketOpener(aead, KEY).open(memoryview(packet)) for packet in packets]

    opened = PacketOpener(aead, KEY).open_burst(burst, len(burst.data))

    found = [
        (each.first + i, each.stream, each.offset + 16 * i, bytes(each.data[16 * i :][:16]))
        for each in opened
        for i in range(each.count)
    ]
    assert found == [
        (each.first, each.stream, each.offset, bytes(each.data)) for each in alone if each
    ]


@given(AEADS, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30))
def test_no_path_and_number_repeats_under_a_key(aead, calls):
    sealer, used = PacketSealer(aead, KEY, 9), set()
    burst = BurstBuffer(8, aead.tag_size, 4)
    for path, kind in calls:
        if kind == 0:
            first, count = sealer.seal_general(path, b"x")[0], 1
        elif kind == 1:
            first, count = sealer.seal_bulk(path, 0, 0, bytes(8))[0], 1
        else:
            first, count = sealer.seal_burst(burst, path, 0, 0, memoryview(bytes(8 * kind)))
        for number in range(first, first + count):
            assert (path, number) not in used
            used.add((path, number))


@given(
    AEADS,
    st.integers(1, 45),
    st.integers(1, 20),
    st.integers(0, (1 << 32) + 50),
    st.integers(0, (1 << 62) // 8),
    st.integers(0, 0xFFFF),
)
def test_a_burst_equals_single_packets_and_opens_to_its_data(
    aead, count, words, first, offset_words, path
):
    size, offset = 8 * words, 8 * offset_words
    data = bytes(i % 253 for i in range(count * size))
    bursting, single = PacketSealer(aead, KEY, 9), PacketSealer(aead, KEY, 9)
    bursting._next_number[path] = single._next_number[path] = first
    burst = BurstBuffer(size, aead.tag_size, 45)

    assert bursting.seal_burst(burst, path, 4, offset, memoryview(data)) == (first, count)

    packets = [
        single.seal_bulk(path, 4, offset + i * size, data[i * size : (i + 1) * size])[1]
        for i in range(count)
    ]
    end = count * burst.datagram_size
    assert bytes(burst.data[:end]) == b"".join(packets)
    (run,) = PacketOpener(aead, KEY).open_burst(burst, end)
    assert (run.path, run.first, run.count, run.offset) == (path, first, count, offset)
    assert bytes(run.data) == data


@given(AEADS, st.binary(max_size=100), st.sampled_from([b"", b"\x81\0\0\0", b"\x82\0\0\0"]))
def test_any_bytes_open_to_nothing(aead, data, head):
    assert PacketOpener(aead, KEY).open(memoryview(head + data)) is None


@given(AEADS, st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_in_a_burst_open_to_nothing(aead, data, size):
    burst = BurstBuffer(8, aead.tag_size, 8)
    burst.data[: len(data)] = data[: len(burst.data)]

    assert not list(PacketOpener(aead, KEY).open_burst(burst, min(size, len(burst.data))))


@pytest.mark.parametrize("kind", [layout.BULK, layout.GENERAL])
def test_both_types_are_told_apart_by_the_seal(kind):
    """The header is associated data: a general packet never opens as a bulk one."""
    sealer, opener = PacketSealer(CHACHA20_POLY1305, KEY, 9), PacketOpener(CHACHA20_POLY1305, KEY)
    _, packet = sealer.seal_general(0, bytes(64))
    if kind == layout.BULK:
        packet[0] = kind
        assert opener.open(memoryview(packet)) is None
    else:
        assert opener.open(memoryview(packet)) is not None
