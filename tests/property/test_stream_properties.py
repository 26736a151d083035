"""RangeSet against a naive set; streams under any loss, duplication and order; bounded memory."""

import random
import sys
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel.errors import ProtocolViolation
from tunnel.proto.ranges import RangeSet
from tunnel.proto.streams.credit import FLOOR, MAX_WINDOW, POOL, CreditPool
from tunnel.proto.streams.receive_stream import MAX_GAPS, ReceiveState, ReceiveStream
from tunnel.proto.streams.send_stream import SendState, SendStream
from tunnel.units import Instant
from tunnel.wire.frames import Credit

SPANS = st.tuples(st.integers(0, 60), st.integers(-3, 25)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(st.tuples(st.booleans(), SPANS), max_size=40), SPANS)
def test_a_range_set_agrees_with_a_naive_set(steps, window):
    ranges, naive = RangeSet(), set()
    for is_addition, (start, stop) in steps:
        if is_addition:
            ranges.add(start, stop)
            naive.update(range(start, stop))
        else:
            ranges.remove(start, stop)
            naive.difference_update(range(start, stop))
        spans = list(ranges)
        assert {n for span in spans for n in range(*span)} == naive
        assert all(start < stop for start, stop in spans)
        assert all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))
        assert len(ranges) == len(spans)
        assert all((n in ranges) == (n in naive) for n in range(-1, 90))
    missing = {n for span in ranges.missing(*window) for n in range(*span)}
    assert missing == set(range(*window)) - naive
    if naive:
        assert ranges.first[0] == min(naive)
        assert ranges.last[1] == max(naive) + 1
        first = ranges.first
        ranges.forget_first()
        assert {n for span in ranges for n in range(*span)} == naive - set(range(*first))


@settings(max_examples=150)
@given(
    st.integers(0, 1 << 32),
    st.lists(st.binary(max_size=6000), max_size=12),
    st.floats(0, 0.6),
    st.floats(0, 0.3),
    st.booleans(),
)
def test_streams_deliver_exactly_under_any_loss_duplication_and_order(
    seed, writes, loss, duplicate, is_lazy
):
    rng = random.Random(seed)
    sending, receiving = SendStream(0, 700), ReceiveStream(0, 700)
    pending, flying, out = list(writes), [], bytearray()
    for _ in range(200_000):
        if pending and (not is_lazy or rng.random() < 0.2):
            sending.write(pending.pop(0))
        elif not pending:
            sending.end()
        if sending.has_something_to_send:
            offset, data, is_end = sending.take(rng.randrange(1, 900))
            assert offset + len(data) <= receiving.limit
            flying.append((offset, bytes(data), is_end))
        if flying and rng.random() < 0.7:
            offset, data, is_end = flying.pop(rng.randrange(len(flying)))
            if rng.random() < duplicate:
                flying.append((offset, data, is_end))
            if rng.random() < loss:
                sending.lost(offset, offset + len(data), is_end)
            elif receiving.receive(offset, data, is_end):
                sending.acked(offset, offset + len(data), is_end)
            else:
                sending.lost(offset, offset + len(data), is_end)
        if rng.random() < 0.5:
            out += b"".join(receiving.read(rng.randrange(1, 500)))
            receiving.limit = max(receiving.limit, receiving.read_offset + 700)
            sending.raise_limit(receiving.limit, 0)
        if sending.state is SendState.DONE and receiving.is_at_end and not flying:
            break
    assert bytes(out) == b"".join(writes)
    assert receiving.state is ReceiveState.DONE
    assert sending.buffered == 0


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 80)), max_size=60), st.data())
def test_any_segments_of_a_text_read_back_as_its_longest_known_start(segments, data):
    text = bytes(i % 251 for i in range(400))
    stream, known, out = ReceiveStream(0, 400), set(), b""
    for start, size in segments:
        assert stream.receive(start, text[start : start + size], False)
        known.update(range(start, start + size))
        if data.draw(st.booleans()):
            out += b"".join(stream.read(data.draw(st.integers(1, 100))))
    out += b"".join(stream.read(1000))

    reached = next(n for n in range(401) if n not in known)
    assert out == text[:reached]
    assert stream.highest == max(known, default=-1) + 1


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 100), st.booleans()), max_size=20))
def test_bytes_beyond_the_credit_are_never_stored(segments):
    stream = ReceiveStream(0, 256)
    for start, size, is_end in segments:
        try:
            stream.receive(start, bytes(size), is_end)
        except ProtocolViolation:
            continue
        assert start + size <= 256 or stream.state is ReceiveState.DONE
    assert stream.highest <= 256


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 1 << 20)), max_size=200))
def test_all_windows_together_stay_within_the_pool_and_the_floors(reads):
    pool, streams, now = CreditPool(), {}, 0.0
    for number, size in reads:
        stream = streams.setdefault(number, ReceiveStream(number, FLOOR))
        now += 0.01
        wanted = min(size, stream.limit - stream.read_offset)
        stream.receive(stream.read_offset, bytes(wanted), False)
        stream.read(wanted)
        for frame in pool.renew(Instant(now), stream, 0.1):
            assert frame == Credit(number, stream.limit, 0)
    open_windows = [stream.limit - stream.read_offset for stream in streams.values()]
    assert sum(open_windows) <= POOL + FLOOR * len(streams)
    assert max(open_windows, default=0) <= MAX_WINDOW


def memory_of(feed):
    """Return the bytes that `feed` leaves allocated."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = feed()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept is not None
    return size


def test_thirty_thousand_one_byte_segments_cost_about_their_bytes():
    def feed():
        stream = ReceiveStream(0, 1 << 20)
        for offset in range(30_000):
            assert stream.receive(offset, b"x", False)
        return stream

    assert memory_of(feed) < 150_000


def test_segments_cut_from_large_packets_cost_about_their_bytes():
    def feed():
        stream = ReceiveStream(0, 1 << 20)
        for offset in range(0, 500_000, 5_000):
            packet = memoryview(bytes(60_000))
            assert stream.receive(offset, packet[100:5_100], False)
        return stream

    assert memory_of(feed) < 700_000


def test_one_byte_segments_from_the_end_backwards_cost_about_their_bytes():
    def feed():
        stream = ReceiveStream(0, 1 << 20)
        for offset in range(10_000, 0, -1):
            assert stream.receive(offset, b"x", False)
        return stream

    assert memory_of(feed) < 200_000


def test_gaps_are_bounded_and_what_is_not_stored_is_said_so():
    def feed():
        stream = ReceiveStream(0, 1 << 20)
        stored = [stream.receive(2 * i + 1, b"x", False) for i in range(5_000)]
        assert sum(stored) == MAX_GAPS
        assert stream.receive(0, b"x", False)
        assert stream.readable == 2
        return stream

    assert memory_of(feed) < 1_000_000


def test_small_writes_that_wait_together_cost_about_their_bytes():
    def feed():
        sending = SendStream(0, 0)
        for _ in range(20_000):
            sending.write(b"x")
        return sending

    assert memory_of(feed) < 200_000
    assert sys.getsizeof(b"x") > 20
