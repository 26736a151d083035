"""Messages of a conversation, byte for byte, in any pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derphole.speech.messages import (
    MAX_BODY,
    Confirm,
    ConfirmAck,
    Fin,
    MessageReader,
    Resumption,
    encode,
)
from tunnel.errors import DecodeError

DIGEST = bytes(range(16))
GOLDEN = [
    (Fin(0x1122, DIGEST), "01 1800 2211000000000000" + DIGEST.hex()),
    (Confirm((1 << 64) - 1, DIGEST), "02 1800 ffffffffffffffff" + DIGEST.hex()),
    (ConfirmAck(), "03 0000"),
    (Resumption(DIGEST[::-1]), "04 1000" + DIGEST[::-1].hex()),
]


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
