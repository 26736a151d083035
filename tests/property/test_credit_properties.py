"""Credit between two ends, whatever the network does to the frames that tell of it."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel.proto.streams.credit import FLOOR, IDLE_S, MAX_WINDOW, POOL
from tunnel.proto.streams.table import Streams
from tunnel.units import Instant
from tunnel.wire.frames import Recall, Return

RTT = 0.05
CHUNK = 1 << 20
ZEROS = bytes(CHUNK)


class TwoEnds:
    """A sender and a receiver of many streams; frames are lost, repeated and reordered."""

    def __init__(self, seed, count):
        self.rng = random.Random(seed)
        self.sender, self.receiver = Streams(is_issuer=False), Streams(is_issuer=True)
        self.ids = [self.sender.open() for _ in range(count)]
        self.written = dict.fromkeys(self.ids, 0)
        self.flying = []
        self.kinds = set()
        self.now = Instant(0.0)

    def step(self, busy):
        """Let a twentieth of a second pass in which the streams of `busy` have much to say."""
        self.now = Instant(self.now + RTT)
        for stream in busy:
            send = self.sender.sending(stream)
            while send.unsent < MAX_WINDOW:
                self.sender.write(stream, ZEROS)
                self.written[stream] += CHUNK
        self.carry_data()
        for end in (self.receiver, self.sender):
            while (frame := end.next_due()) is not None:
                self.kinds.add(type(frame))
                self.flying.append((end, frame))
        self.rng.shuffle(self.flying)
        keep = []
        for origin, frame in self.flying:
            self.carry(origin, frame, keep)
        self.flying = keep
        self.check_bounds()

    def carry_data(self):
        while (send := self.sender.next_sender()) is not None:
            offset, data, is_end = send.take(CHUNK)
            self.sender.took_turn()
            stored = self.receiver.receive_data(self.now, send.stream, offset, data, is_end, RTT)
            assert stored
            send.acked(offset, offset + len(data), is_end)
        for stream in self.ids:
            receive = self.receiver.receiving(stream)
            if receive is not None and receive.readable and self.rng.random() < 0.9:
                self.receiver.read(self.now, stream, MAX_WINDOW, RTT)

    def carry(self, origin, frame, keep):
        luck = self.rng.random()
        if luck < 0.2:
            origin.lost([], [frame])
        elif luck < 0.5:
            keep.append((origin, frame))  # late
        else:
            other = self.receiver if origin is self.sender else self.sender
            other.receive_frame(frame)
            if luck < 0.7:
                keep.append((origin, frame))  # it comes once more

    def check_bounds(self):
        windows = []
        for stream in self.ids:
            receive = self.receiver.receiving(stream)
            if receive is not None:
                assert self.sender.sending(stream).sent_size <= receive.limit
                windows.append(receive.limit - receive.read_offset)
        assert sum(windows) <= POOL + FLOOR * len(windows)
        assert max(windows, default=0) <= MAX_WINDOW


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_order_of_credit_frames_breaks_the_rules_or_starves_a_stream(is_full, seed):
    ends = TwoEnds(seed, count=6)
    for turn in range(4 if is_full else 2):
        busy = ends.ids[turn : turn + 2]
        for _ in range(int(3 * IDLE_S / RTT)):
            ends.step(busy)
    for _ in range(200):
        ends.step([])
        if all(not ends.sender.sending(i).buffered for i in ends.ids):
            break

    assert {Recall, Return} <= ends.kinds
    for stream in ends.ids:
        ends.receiver.read(ends.now, stream, 1 << 40, RTT)
        assert ends.receiver.receiving(stream).read_offset == ends.written[stream]
