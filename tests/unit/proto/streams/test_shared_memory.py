"""All streams of a process: what they keep together, whatever their other sides do."""

import pytest

from tunnel.proto.streams.credit import FLOOR, POOL
from tunnel.proto.streams.receive_stream import MAX_GAPS, MAX_GAPS_OF_LINK
from tunnel.proto.streams.send_stream import HELD_FLOOR, HELD_OF_LINK, MOST_HELD
from tunnel.proto.streams.table import Memory, Streams
from tunnel.units import KIB, MIB, Instant
from tunnel.wire.frames import Credit

NOW, RTT = Instant(0.0), 0.1
BLOCK = bytes(64 * KIB)
GRANTED = 1 << 40
PINNED = 100  # the first bytes of each stream, which the other side never acknowledges


class Writer:
    """A link of ours whose application writes all it may, to a peer that grants everything.

    Args:
        memory: of the process.
        pins: whether the peer acknowledges all but the first bytes of each stream.
    """

    def __init__(self, memory, pins):
        self.streams = Streams(is_issuer=False, memory=memory)
        self.ids = []
        self.sent = {}
        self._pins = pins

    def open(self):
        stream = self.streams.open()
        self.ids.append(stream)
        self.sent[stream] = 0
        self.streams.receive_frame(Credit(stream, GRANTED, 0))
        return stream

    def write_all(self):
        """Write, send and have acknowledged, until no stream may write any more."""
        for stream in self.ids:
            sending = self.streams.sending(stream)
            while (room := sending.room) > 0 and self.sent[stream] < 4 * MOST_HELD:
                self.streams.write(stream, BLOCK[:room])
                self._carry(sending)

    def _carry(self, sending):
        while sending.unsent:
            offset, data, _ = sending.take(len(BLOCK))
            self.sent[sending.stream] += len(data)
            start = max(offset, PINNED) if self._pins else offset
            sending.acked(start, offset + len(data), is_end=False)

    @property
    def kept(self):
        return sum(self.streams.sending(stream).buffered for stream in self.ids)


def test_one_stream_alone_keeps_as_much_as_a_fast_path_needs():
    writer = Writer(Memory(), pins=True)
    writer.open()

    writer.write_all()

    assert writer.kept == MOST_HELD


@pytest.mark.parametrize("count", [8, 100, 1000])
def test_streams_whose_first_bytes_are_never_acknowledged_keep_a_bounded_amount(count):
    memory = Memory()
    writer = Writer(memory, pins=True)
    for _ in range(count):
        writer.open()
    for _ in range(5):
        writer.write_all()

    kept = [writer.streams.sending(stream).buffered for stream in writer.ids]
    assert memory.held.used == sum(kept) - count * HELD_FLOOR
    assert memory.held.used <= HELD_OF_LINK
    assert min(kept) >= HELD_FLOOR


def test_the_links_of_a_process_keep_a_bounded_amount_together():
    memory = Memory()
    writers = [Writer(memory, pins=True) for _ in range(20)]
    for writer in writers:
        for _ in range(50):
            writer.open()
    for _ in range(5):
        for writer in writers:
            writer.write_all()

    assert memory.held.used <= memory.held.size
    assert sum(writer.kept for writer in writers) <= memory.held.size + 20 * 50 * HELD_FLOOR


def test_an_honest_stream_beside_a_thousand_that_are_pinned_goes_on_and_has_room():
    memory = Memory()
    hostile, honest = Writer(memory, pins=True), Writer(memory, pins=False)
    for _ in range(1000):
        hostile.open()
    hostile.write_all()
    stream = honest.open()

    honest.write_all()
    assert honest.sent[stream] == 4 * MOST_HELD
    assert honest.streams.sending(stream).room >= MIB


def test_what_streams_kept_is_given_back_with_them_and_with_their_link():
    memory = Memory()
    writer = Writer(memory, pins=True)
    streams = [writer.open() for _ in range(10)]
    writer.write_all()

    for stream in streams[:3]:
        writer.streams.reset(stream, 1)
    for stream in streams[3:6]:
        sending = writer.streams.sending(stream)
        sending.acked(0, sending.size, is_end=False)
    kept = sum(writer.streams.sending(stream).buffered for stream in streams[6:])
    assert memory.held.used == kept - 4 * HELD_FLOOR > 0
    writer.streams.forget_all()

    assert memory.held.used == 0


def test_a_block_of_which_one_byte_is_not_acknowledged_counts_whole():
    memory = Memory()
    writer = Writer(memory, pins=False)
    stream = writer.open()
    writer.streams.write(stream, BLOCK)
    sending = writer.streams.sending(stream)
    sending.take(len(BLOCK))

    sending.acked(0, len(BLOCK) - 1, is_end=False)
    assert sending.buffered == 1
    assert memory.held.used == len(BLOCK) - HELD_FLOOR
    sending.acked(len(BLOCK) - 1, len(BLOCK), is_end=False)
    assert memory.held.used == 0


def test_acknowledgements_full_of_holes_cost_little_and_lose_nothing():
    """Every other byte is acknowledged: so many ranges would be kept as there are bytes."""
    memory = Memory()
    writer = Writer(memory, pins=False)
    sending = [writer.streams.sending(writer.open()) for _ in range(40)]
    for each in sending:
        writer.streams.write(each.stream, BLOCK[: 8 * KIB])
        each.take(8 * KIB)
        for offset in range(1, 8 * KIB, 2):
            each.acked(offset, offset + 1, is_end=False)

    assert max(len(each._acked) for each in sending) <= MAX_GAPS + 1
    assert sum(len(each._acked) for each in sending) <= MAX_GAPS_OF_LINK + len(sending)
    assert sum(len(each._lost) for each in sending) <= MAX_GAPS_OF_LINK + len(sending)
    for each in sending:  # what was not taken note of is sent again
        again = 0
        while each.has_something_to_send:
            offset, data, _ = each.take(8 * KIB)
            each.acked(offset, offset + len(data), is_end=False)
            again += len(data)
        assert again <= 8 * KIB
        for offset in range(0, 8 * KIB, 2):  # as it is found to be lost
            each.acked(offset, offset + 1, is_end=False)
        assert not each.has_something_to_send
        assert each.buffered == 0
    assert memory.gaps.used == 0


class Reader:
    """A link of ours whose application reads all that comes."""

    def __init__(self, memory):
        self.streams = Streams(is_issuer=True, memory=memory)

    def bring(self, stream, size, now):
        receiving = self.streams.receiving(stream)
        start = receiving.read_offset if receiving else 0
        self.streams.receive_data(Instant(now), stream, start, bytes(size), False, RTT)
        self.streams.read(Instant(now), stream, size, RTT)

    def grow(self, streams, rounds=12, start=0.0):
        """Use every window up, again and again within two round trips."""
        for turn in range(rounds):
            for stream in streams:
                receiving = self.streams.receiving(stream)
                left = receiving.limit - receiving.read_offset if receiving else FLOOR
                self.bring(stream, left, start + turn / 100)

    def granted(self):
        parts = self.streams._streams.values()
        return sum(part.receive.limit - part.receive.read_offset for part in parts)


def test_all_windows_of_all_links_of_a_process_stay_within_one_bound():
    memory = Memory()
    readers = [Reader(memory) for _ in range(10)]
    for turn in range(30):
        for reader in readers:
            reader.grow(range(0, 8, 2), rounds=1, start=turn / 100)

    granted = sum(reader.granted() for reader in readers)
    assert granted <= memory.credit.size + 10 * 4 * FLOOR
    assert memory.credit.size == POOL * 3 // 2


def test_a_link_that_holds_every_window_it_can_get_leaves_another_much():
    """It uses them and never gives one back, as a hostile one does."""
    memory = Memory()
    hostile, honest = Reader(memory), Reader(memory)
    hostile.grow(range(0, 64, 2))

    honest.grow([0])

    receiving = honest.streams.receiving(0)
    assert receiving.limit - receiving.read_offset >= 4 * MIB


def test_the_gaps_of_all_links_are_bounded_and_a_full_link_leaves_others_some():
    memory = Memory()
    readers = [Reader(memory) for _ in range(6)]
    for reader in readers[:5]:
        for stream in range(0, 64, 2):
            for i in range(1, 1000):
                reader.streams.receive_data(NOW, stream, 2 * i, b"x", False, RTT)
    assert memory.gaps.used <= memory.gaps.size == MAX_GAPS_OF_LINK * 3 // 2

    stored = [
        readers[5].streams.receive_data(NOW, 0, 2 * i, b"x", False, RTT) for i in range(1, 50)
    ]
    assert all(stored)


def test_gaps_and_windows_are_given_back_with_their_link():
    memory = Memory()
    reader = Reader(memory)
    reader.grow(range(0, 8, 2))
    behind = reader.streams.receiving(0).read_offset + 100
    reader.streams.receive_data(NOW, 0, behind, b"x", False, RTT)
    assert memory.gaps.used == 1
    assert memory.credit.used > MIB

    reader.streams.forget_all()

    assert memory.gaps.used == memory.credit.used == 0
