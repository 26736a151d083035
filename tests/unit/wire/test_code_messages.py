"""The messages of codes: their bytes, and what is refused."""

import pytest

from tunnel.errors import DecodeError
from tunnel.wire.code import (
    HELLO_SIZE,
    SIZES,
    SMALLEST_SIZE,
    Answer,
    CodeKind,
    Hello,
    Probe,
    Proof,
    Share,
    Wrong,
    decode_code_message,
    encode_code_message,
)
from tunnel.wire.disco import MAGIC
from tunnel.wire.handshake import Kind

SESSION = bytes(range(16))
MESSAGES = [
    Hello(SESSION, b"\1" * 32),
    Share(SESSION, b"\2" * 32),
    Proof(SESSION, b"\3" * 64),
    Answer(SESSION, b"\4" * 64, b"\5" * 528),
    Wrong(SESSION),
    Probe(SESSION),
]
EACH = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)


@EACH
def test_a_message_is_read_as_it_was_written(message):
    data = encode_code_message(message)
    assert decode_code_message(data) == message
    assert decode_code_message(memoryview(data)) == message
    assert len(data) == SIZES[CodeKind(data[6])] >= SMALLEST_SIZE


@EACH
def test_another_size_is_refused(message):
    data = encode_code_message(message)
    for size in {0, 5, 6, 7, 8, 23, 24, len(data) - 1}:
        with pytest.raises(DecodeError):
            decode_code_message(data[:size])
    with pytest.raises(DecodeError):
        decode_code_message(data + b"\0")


@pytest.mark.parametrize(
    "message", [each for each in MESSAGES if not isinstance(each, Proof | Answer)]
)
def test_padding_is_zero(message):
    data = bytearray(encode_code_message(message))
    data[-1] = 1
    with pytest.raises(DecodeError):
        decode_code_message(bytes(data))


@EACH
def test_another_version_magic_or_kind_is_refused(message):
    data = encode_code_message(message)
    for place, value in ((0, 0), (6, 0), (6, 1), (6, 3), (6, 10), (6, 255), (7, 0), (7, 2)):
        changed = bytearray(data)
        changed[place] = value
        with pytest.raises(DecodeError):
            decode_code_message(bytes(changed))


def test_no_answer_is_as_large_as_what_asks_for_it():
    answers = [kind for kind in CodeKind if kind is not CodeKind.HELLO]
    assert all(SIZES[kind] < HELLO_SIZE for kind in answers)


def test_kinds_are_not_those_of_claims():
    assert not {int(kind) for kind in CodeKind} & {int(kind) for kind in Kind}
    assert all(encode_code_message(message).startswith(MAGIC) for message in MESSAGES)
