"""Messages of a conversation, byte for byte, in any pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derphole.speech.access_messages import (
    MAX_KEY_LINE,
    Access,
    AccessKey,
    AccessVerdict,
)
from derphole.speech.messages import (
    MAX_BODY,
    Confirm,
    ConfirmAck,
    Fin,
    MessageReader,
    Resumption,
    encode,
)
from derphole.speech.transfer_messages import (
    MAX_CHECKED_AT_ONCE,
    MAX_KEYS_AT_ONCE,
    MAX_NAME,
    MAX_PARTS_AT_ONCE,
    NOT_KNOWN,
    Answer,
    Checked,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Kind,
    Offer,
    Origin,
    Part,
    Pieces,
    Progress,
    Reason,
    Start,
    Totals,
    Verdict,
    clipped,
)
from tunnel.errors import DecodeError

DIGEST = bytes(range(16))
GOLDEN = [
    (Fin(0x1122, DIGEST), "01 1800 2211000000000000" + DIGEST.hex()),
    (Confirm((1 << 64) - 1, DIGEST), "02 1800 ffffffffffffffff" + DIGEST.hex()),
    (ConfirmAck(), "03 0000"),
    (Resumption(DIGEST[::-1]), "04 1000" + DIGEST[::-1].hex()),
    (
        Offer(Kind.FILE, DIGEST, b"a\xff", 1, 0x1122, 0o644, -1),
        f"10 2f00 01 a401 {DIGEST.hex()} 0100000000000000 2211000000000000 ffffffffffffffff 0200 61ff",
    ),
    (
        Offer(Kind.STREAM, bytes(16), b""),
        f"10 2d00 05 0000 {bytes(16).hex()} {'ff' * 16} {'00' * 8} 0000",
    ),
    (
        Totals(1, 2, 3, 4, is_final=True, omitted=5),
        "11 2900 0100000000000000 0200000000000000 0300000000000000 0400000000000000 01"
        "0500000000000000",
    ),
    (Answer(Verdict.GO), "12 0400 01 00 0000"),
    (Answer(Verdict.DECLINED, Reason.NO_SPACE, "\u00e9"), "12 0600 03 03 0200 c3a9"),
    (HaveParts((Part(DIGEST, 7),)), f"13 1a00 0100 {DIGEST.hex()} 0700000000000000"),
    (HaveEntries((DIGEST, DIGEST[::-1])), f"14 2200 0200 {DIGEST.hex()} {DIGEST[::-1].hex()}"),
    (
        HaveChecked((Checked(DIGEST, DIGEST[::-1]),)),
        f"1a 2200 0100 {DIGEST.hex()} {DIGEST[::-1].hex()}",
    ),
    (HaveEnd(), "15 0000"),
    (Start(Origin.SOURCE_CHANGED), "16 0100 03"),
    (Pieces((DIGEST,)), f"17 1200 0100 {DIGEST.hex()}"),
    (Progress(0x1122), "18 0800 2211000000000000"),
    (AccessKey(b"ssh-rsa A"), "20 0b00 0900 7373682d727361 20 41"),
    (
        Access(AccessVerdict.STORED, "é", "me", 22, ("h", "::1"), ("k",)),
        "21 1800 01 1600 0200 c3a9 0200 6d65 02 0100 68 0300 3a3a31 01 0100 6b",
    ),
]
IDS = st.binary(min_size=16, max_size=16)
U64 = st.integers(0, NOT_KNOWN)
ANY_MESSAGE = st.one_of(
    st.builds(Fin, U64, IDS),
    st.builds(Confirm, U64, IDS),
    st.builds(Resumption, IDS),
    st.builds(
        Offer,
        st.sampled_from(Kind),
        IDS,
        st.binary(max_size=MAX_NAME),
        U64,
        U64,
        st.integers(0, 0o777),
        st.integers(-(1 << 63), (1 << 63) - 1),
    ),
    st.builds(Totals, U64, U64, U64, U64, st.booleans(), U64),
    st.builds(Answer, st.sampled_from(Verdict), st.sampled_from(Reason), st.text(max_size=100)),
    st.lists(st.builds(Part, IDS, U64), min_size=1, max_size=9).map(lambda p: HaveParts(tuple(p))),
    st.lists(IDS, min_size=1, max_size=9).map(lambda keys: HaveEntries(tuple(keys))),
    st.lists(st.builds(Checked, IDS, IDS), min_size=1, max_size=9).map(
        lambda files: HaveChecked(tuple(files))
    ),
    st.lists(IDS, min_size=1, max_size=9).map(lambda digests: Pieces(tuple(digests))),
    st.builds(Start, st.sampled_from(Origin)),
    st.builds(Progress, U64),
    st.sampled_from([ConfirmAck(), HaveEnd()]),
    st.builds(AccessKey, st.binary(max_size=100)),
    st.builds(
        Access,
        st.sampled_from(AccessVerdict),
        st.text(max_size=50),
        st.text(max_size=50),
        st.integers(0, 65535),
        st.lists(st.text(max_size=9), max_size=16).map(tuple),
        st.lists(st.text(max_size=9), max_size=8).map(tuple),
    ),
)
OFFER_START = "10 2d00 {kind} {mode} " + "00" * 16 + "ff" * 16 + "00" * 8 + " {name_size}"


def read_all(reader):
    out = []
    while (message := reader.next_message()) is not None:
        out.append(message)
    return out


@pytest.mark.parametrize(("message", "data"), GOLDEN)
def test_messages_are_these_bytes_both_ways(message, data):
    reader = MessageReader()
    reader.feed(bytes.fromhex(data))

    assert encode(message) == bytes.fromhex(data)
    assert read_all(reader) == [message]


def test_messages_come_out_whole_one_byte_at_a_time():
    reader, out = MessageReader(), []
    for byte in b"".join(encode(message) for message, _ in GOLDEN):
        reader.feed(bytes((byte,)))
        out += read_all(reader)

    assert out == [message for message, _ in GOLDEN]


def test_types_of_later_versions_are_skipped():
    reader = MessageReader()
    reader.feed(b"\x63\x05\x00later" + encode(ConfirmAck()))

    assert read_all(reader) == [ConfirmAck()]


def test_a_message_over_the_limit_is_refused_from_its_header_alone():
    reader = MessageReader()
    reader.feed(b"\x63" + (MAX_BODY + 1).to_bytes(2, "little"))

    with pytest.raises(DecodeError, match="too long"):
        reader.next_message()


def test_a_body_without_its_fields_is_refused():
    reader = MessageReader()
    reader.feed(b"\x01\x04\x00abcd")

    with pytest.raises(DecodeError):
        reader.next_message()


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_any_bytes_are_messages_or_refused(chunks):
    reader = MessageReader()
    try:
        for chunk in chunks:
            reader.feed(chunk)
            read_all(reader)
    except DecodeError:
        return


@given(st.lists(ANY_MESSAGE, max_size=8), st.integers(1, 50))
def test_all_messages_are_read_as_they_were_said_however_they_are_cut(messages, size):
    reader, out = MessageReader(), []
    data = b"".join(map(encode, messages))
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        out += read_all(reader)

    assert out == messages


@given(st.text(max_size=600))
def test_a_sentence_is_cut_to_what_may_be_said_between_characters(text):
    reader = MessageReader()
    reader.feed(encode(Answer(Verdict.DECLINED, Reason.OTHER, text)))
    [answer] = read_all(reader)

    said = text.encode("utf-8", "replace").decode()
    assert said.startswith(answer.text)
    assert len(clipped(text, 512)) <= 512


@pytest.mark.parametrize(
    "data",
    [
        OFFER_START.format(kind="00", mode="0000", name_size="0000"),
        OFFER_START.format(kind="06", mode="0000", name_size="0000"),
        OFFER_START.format(kind="01", mode="0002", name_size="0000"),
        OFFER_START.format(kind="01", mode="0000", name_size="0001"),
        OFFER_START.format(kind="01", mode="0000", name_size="0100"),
        "12 0400 00 00 0000",
        "12 0400 04 00 0000",
        "12 0400 03 00 0102",
        "12 0400 03 00 0100",
        "13 0200 0000",
        "13 0200 0100",
        "14 0200 0000",
        "14 1200 0200" + "00" * 16,
        "17 0200 0000",
        "18 0700 00000000000000",
    ],
)
def test_what_makes_no_sense_is_refused(data):
    reader = MessageReader()
    reader.feed(bytes.fromhex(data))

    with pytest.raises(DecodeError):
        reader.next_message()


def test_numbers_of_later_versions_say_the_least():
    reader = MessageReader()
    reader.feed(bytes.fromhex("12 0400 03 63 0000" + "16 0100 63"))

    assert read_all(reader) == [Answer(Verdict.DECLINED, Reason.OTHER), Start(Origin.ANEW)]


@pytest.mark.parametrize(
    ("whole", "more"),
    [
        (HaveParts((Part(DIGEST, 1),) * MAX_PARTS_AT_ONCE), HaveParts((Part(DIGEST, 1),) * 171)),
        (HaveEntries((DIGEST,) * MAX_KEYS_AT_ONCE), HaveEntries((DIGEST,) * 256)),
        (
            HaveChecked((Checked(DIGEST, DIGEST),) * MAX_CHECKED_AT_ONCE),
            HaveChecked((Checked(DIGEST, DIGEST),) * 128),
        ),
        (Pieces((DIGEST,) * MAX_KEYS_AT_ONCE), Pieces(())),
        (AccessKey(b"k" * MAX_KEY_LINE), AccessKey(b"k" * (MAX_KEY_LINE + 1))),
        (
            Offer(Kind.FILE, DIGEST, b"n" * MAX_NAME),
            Offer(Kind.FILE, DIGEST, b"n" * (MAX_NAME + 1)),
        ),
    ],
)
def test_the_largest_messages_fit_and_larger_ones_are_not_made(whole, more):
    reader = MessageReader()
    reader.feed(encode(whole))

    assert read_all(reader) == [whole]
    with pytest.raises(ValueError):
        encode(more)


def test_of_hosts_and_host_keys_as_many_are_sent_as_a_message_holds():
    said = Access(
        AccessVerdict.STORED, "t" * 600, "u" * 300, 22, ("h" * 300,) * 20, ("k" * 99,) * 9
    )
    reader = MessageReader()
    reader.feed(encode(said))
    [read] = read_all(reader)

    assert (read.text, read.user) == ("t" * 512, "u" * 255)
    assert read.hosts == ("h" * 255,) * 12
    assert read.host_keys == ("k" * 99,) * 2
