"""The streams of a link: ids, turns, control frames, what is forgotten."""

import pytest

from tunnel.errors import MisuseError, ProtocolViolation
from tunnel.proto.recovery.sent import StreamRange
from tunnel.proto.streams.credit import FIRST_USE, FLOOR
from tunnel.proto.streams.receive_stream import MAX_GAPS_OF_LINK
from tunnel.proto.streams.table import (
    MAX_PEER_STREAMS,
    StreamOpened,
    StreamOver,
    StreamReadable,
    Streams,
    StreamWritable,
)
from tunnel.units import Instant
from tunnel.wire.frames import MAX_OFFSET, Credit, Reset, Stop

NOW = Instant(0)
RTT = 0.1


def events(streams):
    out = []
    while (event := streams.next_event()) is not None:
        out.append(event)
    return out


def due(streams):
    out = []
    while (frame := streams.next_due()) is not None:
        out.append(frame)
    return out


def receive(streams, stream, offset, data, is_end=False):
    return streams.receive_data(NOW, stream, offset, data, is_end, RTT)


def test_the_claimer_opens_even_ids_and_the_issuer_odd_ones():
    claimer, issuer = Streams(is_issuer=False), Streams(is_issuer=True)

    assert [claimer.open(), claimer.open()] == [0, 2]
    assert [issuer.open(), issuer.open()] == [1, 3]


def test_an_id_opens_itself_and_every_lower_one_of_its_side():
    streams = Streams(is_issuer=True)

    receive(streams, 4, 0, b"x")

    assert events(streams) == [StreamOpened(0), StreamOpened(2), StreamOpened(4), StreamReadable(4)]
    assert all(streams.is_known(stream) for stream in (0, 2, 4))
    assert streams.sending(0) is not None
    assert streams.receiving(6) is None
    assert streams.sending(6) is None


def test_a_stream_of_ours_that_was_never_opened_is_a_violation():
    with pytest.raises(ProtocolViolation):
        receive(Streams(is_issuer=True), 1, 0, b"x")


def test_more_streams_than_the_limit_are_a_violation():
    streams = Streams(is_issuer=True)
    receive(streams, 2 * MAX_PEER_STREAMS - 2, 0, b"")

    with pytest.raises(ProtocolViolation, match="too many"):
        receive(streams, 2 * MAX_PEER_STREAMS, 0, b"")


def test_offsets_out_of_range_are_a_violation():
    with pytest.raises(ProtocolViolation):
        receive(Streams(is_issuer=True), 0, MAX_OFFSET, b"x")


def test_events_are_told_once_until_taken():
    streams = Streams(is_issuer=True)
    for offset in range(5):
        receive(streams, 0, offset, b"x")

    assert events(streams) == [StreamOpened(0), StreamReadable(0)]
    assert events(streams) == []


def test_reading_gives_credit_once():
    streams = Streams(is_issuer=True)
    receive(streams, 0, 0, bytes(FIRST_USE))

    assert b"".join(streams.read(NOW, 0, FIRST_USE - 1, RTT)) == bytes(FIRST_USE - 1)
    assert due(streams) == []
    streams.read(NOW, 0, 1, RTT)

    (credit,) = due(streams)
    assert isinstance(credit, Credit)
    assert credit.limit > FLOOR


def test_streams_take_turns():
    streams = Streams(is_issuer=False)
    ids = [streams.open() for _ in range(3)]
    for stream in ids:
        streams.write(stream, bytes(100))
    order = []
    while (sender := streams.next_sender()) is not None:
        sender.take(50)
        order.append(sender.stream)
        streams.took_turn()

    assert order == [0, 2, 4, 0, 2, 4]


def test_a_stream_without_credit_loses_its_turn_until_there_is_some():
    streams = Streams(is_issuer=False)
    stream = streams.open()
    streams.write(stream, bytes(FLOOR + 1))
    streams.next_sender().take(FLOOR)
    streams.took_turn()
    assert streams.next_sender() is None

    streams.receive_frame(Credit(stream, FLOOR, 0))
    assert streams.next_sender() is None
    streams.receive_frame(Credit(stream, FLOOR + 1, 0))
    assert streams.next_sender().sendable() == (FLOOR, 1)


def test_a_stream_is_forgotten_when_both_halves_are_over():
    streams = Streams(is_issuer=False)
    stream = streams.open()
    streams.end(stream)
    streams.next_sender().take(0)
    streams.acked([StreamRange(stream, 0, 0, is_end=True)])
    assert streams.is_known(stream)

    receive(streams, stream, 0, b"", is_end=True)

    assert not streams.is_known(stream)
    assert StreamWritable(stream) in events(streams)
    assert receive(streams, stream, 0, b"late")
    streams.receive_frame(Stop(stream, 1))
    streams.receive_frame(Credit(stream, 1 << 20, 0))
    streams.acked([StreamRange(stream, 0, 1)])
    streams.lost([StreamRange(stream, 0, 1)], [Credit(stream, 5, 0)])
    assert due(streams) == []
    with pytest.raises(MisuseError):
        streams.write(stream, b"x")


def test_a_reset_is_told_with_what_was_sent_and_again_when_lost():
    streams = Streams(is_issuer=False)
    stream = streams.open()
    streams.write(stream, bytes(100))
    streams.next_sender().take(60)

    streams.reset(stream, 7)
    streams.reset(stream, 8)

    assert due(streams) == [Reset(stream, 60, 7)]
    streams.lost([StreamRange(stream, 0, 60)], [Reset(stream, 60, 7)])
    assert due(streams) == [Reset(stream, 60, 7)]
    assert streams.next_sender() is None


def test_a_stop_makes_the_writer_reset():
    reader, writer = Streams(is_issuer=True), Streams(is_issuer=False)
    stream = writer.open()
    writer.write(stream, b"abc")
    receive(reader, stream, 0, b"abc")
    reader.stop(stream, 18)
    reader.stop(stream, 18)
    (stop,) = due(reader)
    assert stop == Stop(stream, 18)
    reader.lost([], [stop])
    assert due(reader) == [stop]

    writer.receive_frame(stop)
    writer.receive_frame(stop)

    (reset,) = due(writer)
    assert reset == Reset(stream, 0, 18)
    assert writer.sending(stream).stop_code == 18
    assert StreamWritable(stream) in events(writer)
    reader.receive_frame(Reset(stream, 3, 18))
    reader.receive_frame(Reset(stream, 3, 18))
    assert StreamReadable(stream) in events(reader)


def test_a_stream_that_was_read_to_its_end_cannot_be_stopped():
    streams = Streams(is_issuer=True)
    receive(streams, 0, 0, b"", is_end=True)

    streams.stop(0, 1)

    assert due(streams) == []


def test_bytes_for_a_stopped_stream_go_on_getting_credit():
    streams = Streams(is_issuer=True)
    receive(streams, 0, 0, b"x")
    streams.stop(0, 1)
    due(streams)

    receive(streams, 0, 1, bytes(FLOOR - 1))

    assert any(isinstance(frame, Credit) for frame in due(streams))


def test_lost_credit_is_told_again_with_its_newest_value():
    streams = Streams(is_issuer=True)
    receive(streams, 0, 0, bytes(FIRST_USE))
    streams.read(NOW, 0, FIRST_USE, RTT)
    (credit,) = due(streams)

    streams.lost([], [Credit(0, 1, 0)])

    assert due(streams) == [credit]
    receive(streams, 0, FIRST_USE, b"", is_end=True)
    streams.lost([], [credit])
    assert due(streams) == []


def test_a_segment_that_is_not_stored_is_not_to_be_acked():
    streams = Streams(is_issuer=True)
    stored = [receive(streams, 0, 2 * i + 1, b"x") for i in range(2000)]

    assert stored.count(False) == 2000 - 1024


def test_all_streams_together_have_a_bounded_number_of_gaps_and_none_is_blocked():
    streams = Streams(is_issuer=True)
    for stream in range(0, 80, 2):
        for i in range(1, 1000):
            receive(streams, stream, 2 * i, b"x")
    assert streams._gaps.held == MAX_GAPS_OF_LINK
    last = 78
    assert not receive(streams, last, 2, b"x")

    for stream in range(0, 80, 2):
        assert receive(streams, stream, 0, bytes(1990))
        streams.read(NOW, stream, 1 << 20, RTT)
    assert streams._gaps.held < 200
    assert receive(streams, last, 4000, b"x")
    for stream in range(0, 80, 2):
        streams.stop(stream, 1)

    assert streams._gaps.held == 0


def test_a_writer_that_waits_for_room_is_told_once_when_its_bytes_are_sent():
    streams = Streams(is_issuer=False)
    stream = streams.open()
    streams.write(stream, bytes(10_000))
    streams.sending(stream).awaited_room = 4_000

    told = []
    for _ in range(5):
        streams.next_sender().take(2_000)
        streams.took_turn()
        event = streams.next_event()
        told.append(event)

    assert told == [None, None, StreamWritable(stream), None, None]


def test_the_end_of_a_stream_is_told_once_both_halves_are_over():
    streams = Streams(is_issuer=False)
    stream = streams.open()
    streams.reset(stream, 1)
    assert streams.next_event() is None

    streams.receive_frame(Reset(stream, 0, 1))

    events = [streams.next_event() for _ in range(3)]
    assert events == [StreamReadable(stream), StreamOver(stream), None]
    assert not streams.is_known(stream)
