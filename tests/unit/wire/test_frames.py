"""Frames of general packets: golden rows both ways, and what is refused."""

import pytest

from tunnel.errors import DecodeError, Truncated
from tunnel.wire import frames
from tunnel.wire.frames import (
    Ack,
    Answer,
    Candidate,
    Candidates,
    Challenge,
    Close,
    Credit,
    Datagram,
    Ping,
    Recall,
    ReceiveBuffer,
    Rekey,
    RekeyAnswer,
    Reset,
    Return,
    Stop,
    StreamData,
    decode_frames,
    encode,
)

IPV4 = "00000000000000000000ffff01020304"
IPV6 = "20010db8000000000000000000000001"
KEY = bytes(range(32))

GOLDEN = [
    ("ping", Ping(), "01"),
    ("ack of one", Ack(0, 24, 1000, ((7, 7),)),
     "02 0000 18 00 e8030000 0700000000000000 01000000"),
    ("ack with gaps", Ack(3, 0, 0, ((8, 9), (4, 6), (0, 1))),
     "02 0300 00 02 00000000 0900000000000000 02000000 01000000 03000000 02000000 02000000"),
    ("challenge", Challenge(b"12345678"), "03 3132333435363738"),
    ("answer over IPv4", Answer(b"12345678", "1.2.3.4", 443), f"04 3132333435363738 {IPV4} bb01"),
    ("candidates", Candidates((Candidate(1, "1.2.3.4", 1), Candidate(2, "2001:db8::1", 65535))),
     f"05 02 01 {IPV4} 0100 02 {IPV6} ffff"),
    ("no candidates", Candidates(()), "05 00"),
    ("receive buffer", ReceiveBuffer(4 << 20), "06 00004000"),
    ("stream", StreamData(2, 4096, b"hi", False),
     "08 0200000000000000 0010000000000000 00 0200 6869"),
    ("end of a stream", StreamData(3, 5, b"", True),
     "08 0300000000000000 0500000000000000 01 0000"),
    ("reset", Reset(1, 9, 7), "09 0100000000000000 0900000000000000 07000000"),
    ("stop", Stop(1, 7), "0a 0100000000000000 07000000"),
    ("credit", Credit(1, 65536, 2), "0b 0100000000000000 0000010000000000 02000000"),
    ("recall", Recall(1, 65536, 3), "0c 0100000000000000 0000010000000000 03000000"),
    ("return", Return(1, 65536, 3), "0d 0100000000000000 0000010000000000 03000000"),
    ("re-key", Rekey(KEY), "10" + KEY.hex()),
    ("answer to a re-key", RekeyAnswer(KEY), "11" + KEY.hex()),
    (
        "datagram",
        Datagram(4, 7, 0, 3, b"abc"),
        "12 0400000000000000 07000000 0000 0300 0300 616263",
    ),
    ("empty datagram", Datagram(4, 7, 0, 0, b""), "12 0400000000000000 07000000 0000 0000 0000"),
    (
        "last piece",
        Datagram(4, 7, 512, 513, b"z"),
        "12 0400000000000000 07000000 0002 0102 0100 7a",
    ),
    ("close", Close(16, "done é"), "13 1000 07 646f6e6520c3a9"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "data"), [row[1:] for row in GOLDEN], ids=[row[0] for row in GOLDEN]
)
def test_frames_are_these_bytes_both_ways(frame, data):
    packed = bytes.fromhex(data)

    assert encode(frame) == packed
    assert decode_frames(packed) == [frame]


def test_a_packet_carries_all_frames_with_padding_between():
    packed = b"\0\0".join(bytes.fromhex(row[2]) for row in GOLDEN) + b"\0"

    assert decode_frames(packed) == [row[1] for row in GOLDEN]


def test_nothing_but_padding_is_no_frame():
    assert decode_frames(bytes(1100)) == []


@pytest.mark.parametrize("row", GOLDEN, ids=[row[0] for row in GOLDEN])
def test_a_cut_frame_is_refused(row):
    packed = bytes.fromhex(row[2])

    for size in range(1, len(packed)):
        with pytest.raises(Truncated):
            decode_frames(packed[:size])


@pytest.mark.parametrize("kind", [7, *range(14, 16), *range(20, 256)])
def test_unknown_types_cannot_be_skipped(kind):
    with pytest.raises(DecodeError, match="unknown frame type"):
        decode_frames(bytes((0, kind)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("02 0000 18 00 00000000 0700000000000000 00000000", "empty or below zero"),
        ("02 0000 18 00 00000000 0700000000000000 09000000", "empty or below zero"),
        ("02 0000 18 41 00000000 0700000000000000 01000000", "too many ack ranges"),
        ("02 0000 18 01 00000000 0700000000000000 01000000 00000000 01000000", "touch"),
        ("02 0000 18 01 00000000 0200000000000000 01000000 02000000 01000000", "below zero"),
        ("05 21", "too many candidates"),
        ("08 0200000000000000 ffffffffffffff3f 00 0100 61", "out of range"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused(data, words):
    with pytest.raises(DecodeError, match=words):
        decode_frames(bytes.fromhex(data))


def test_the_oldest_ranges_of_an_ack_are_left_out_first():
    ranges = tuple((2 * i, 2 * i) for i in range(100, 0, -1))

    (ack,) = decode_frames(encode(Ack(0, 0, 0, ranges)))

    assert ack.ranges == ranges[: frames.MAX_ACK_RANGES + 1]


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        (((0, 1 << 33),), (((1 << 33) - 0xFFFFFFFE, 1 << 33),)),
        (((1 << 40, 1 << 40), (0, 0)), ((1 << 40, 1 << 40),)),
        (((1 << 33, 1 << 33), (0, (1 << 33) - 2)),
         ((1 << 33, 1 << 33), ((1 << 33) - 2 - 0xFFFFFFFE, (1 << 33) - 2))),
    ],
    ids=["a long run", "a wide gap", "a long run below"],
)  # fmt: skip
def test_an_ack_tells_what_its_fields_can_hold_of_ranges_that_are_too_wide(ranges, told):
    """A peer chooses the numbers of its packets, so no numbers may break our answer to it."""
    (ack,) = decode_frames(encode(Ack(0, 0, 0, ranges)))

    assert ack.ranges == told


def test_a_long_close_text_is_cut_between_characters():
    (close,) = decode_frames(encode(Close(1, "x" + "é" * 200)))

    assert close.text == "x" + "é" * 99
    assert len(close.text.encode()) <= frames.MAX_CLOSE_TEXT


def test_a_close_text_that_is_no_utf_8_is_still_shown():
    (close,) = decode_frames(bytes.fromhex("13 0100 02 ff41"))

    assert close == Close(1, "�A")


def test_stream_data_shares_the_memory_of_its_packet():
    packet = bytearray(encode(StreamData(0, 0, b"abc", False)))
    (frame,) = decode_frames(packet)

    packet[-3:] = b"xyz"

    assert bytes(frame.data) == b"xyz"
