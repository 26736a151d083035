"""Claim and decision as bytes."""

import pytest

from tunnel.errors import BadMagic, DecodeError, Truncated, UnknownVersion
from tunnel.wire.handshake import (
    CLAIM_SIZE,
    DECISION_SIZE,
    LARGEST_CLAIM,
    MAGIC,
    OTHER_VERSION_SIZE,
    PAYLOAD_SIZE,
    SMALLEST_CLAIM,
    VERSION,
    Claim,
    ClaimPayload,
    Decision,
    DecisionPayload,
    OtherVersion,
    decode_claim_payload,
    decode_decision_payload,
    decode_message,
    encode_claim,
    encode_claim_payload,
    encode_decision,
    encode_decision_payload,
    encode_other_version,
    is_handshake,
)

CLAIM = Claim(VERSION, b"e" * 32, b"h" * 80, b"m" * 16, b"p" * 80)
DECISION = Decision(VERSION, b"e" * 32, b"p" * 80)
CLAIM_BYTES = bytes.fromhex("5453f09f92ac 01 01") + b"e" * 32 + b"h" * 80 + b"m" * 16 + b"p" * 80
DECISION_BYTES = bytes.fromhex("5453f09f92ac 02 01") + b"e" * 32 + b"p" * 80

OTHER_VERSION = OtherVersion(9, b"p" * 80)
OTHER_VERSION_BYTES = bytes.fromhex("5453f09f92ac 03 09") + b"p" * 80


def test_a_claim_is_these_bytes_both_ways():
    assert encode_claim(CLAIM) == CLAIM_BYTES
    assert decode_message(CLAIM_BYTES) == CLAIM
    assert len(CLAIM_BYTES) == CLAIM_SIZE


def test_a_decision_is_these_bytes_both_ways():
    assert encode_decision(DECISION) == DECISION_BYTES
    assert decode_message(memoryview(DECISION_BYTES)) == DECISION
    assert len(DECISION_BYTES) == DECISION_SIZE


def test_the_answer_to_another_version_is_these_bytes_both_ways():
    assert encode_other_version(OTHER_VERSION) == OTHER_VERSION_BYTES
    assert decode_message(OTHER_VERSION_BYTES) == OTHER_VERSION
    assert len(OTHER_VERSION_BYTES) == OTHER_VERSION_SIZE < SMALLEST_CLAIM


@pytest.mark.parametrize("size", [SMALLEST_CLAIM, CLAIM_SIZE, CLAIM_SIZE + 1, LARGEST_CLAIM])
@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_claim_of_another_version_begins_as_ours_and_goes_on_as_it_likes(version, size):
    data = CLAIM_BYTES[:7] + bytes((version,)) + CLAIM_BYTES[8:136] + bytes(size - 136)

    claim = decode_message(data)

    assert claim == Claim(version, b"e" * 32, b"h" * 80, b"m" * 16, bytes(size - 136))
    assert encode_claim(claim) == data


def test_all_are_disco_messages_to_a_relay():
    """A DERP server takes packets for disco that start so and have at least 62 bytes."""
    for data in (CLAIM_BYTES, DECISION_BYTES, OTHER_VERSION_BYTES):
        assert is_handshake(data)
        assert data[:6] == MAGIC == b"TS\xf0\x9f\x92\xac"
        assert len(data) >= 62


def test_a_claim_payload_is_these_bytes_both_ways():
    payload = ClaimPayload(1, bytes(range(16)), 0xDEADBEEF, 3, 24, 5, 4, b"derphole 1.0")

    data = encode_claim_payload(payload)

    expected = "01000000 000102030405060708090a0b0c0d0e0f efbeadde 03 18 05000000 04000000"
    expected += b"derphole 1.0".hex()
    assert data == bytes.fromhex(expected).ljust(PAYLOAD_SIZE, b"\0")
    assert decode_claim_payload(data) == payload


def test_a_decision_payload_is_these_bytes_both_ways():
    clock = 0x0102030405060708
    payload = DecisionPayload(0, 1, 24, True, 1, 0xDEADBEEF, clock, 4, b"x" * 24)

    data = encode_decision_payload(payload)

    expected = "00 01 18 01 01000000 efbeadde 0807060504030201 04000000" + 24 * "78"
    assert data == bytes.fromhex(expected).ljust(PAYLOAD_SIZE, b"\0")
    assert decode_decision_payload(data) == payload


def test_bytes_behind_the_last_field_are_left_to_later_versions():
    data = encode_decision_payload(DecisionPayload(5, 0, 2, False, 0, 1, 2))

    assert decode_decision_payload(data[:-1] + b"\x07") == decode_decision_payload(data)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Truncated),
        (b"TS", Truncated),
        (b"X" + CLAIM_BYTES[1:], BadMagic),
        (CLAIM_BYTES[:7] + b"\x02" + CLAIM_BYTES[8 : SMALLEST_CLAIM - 1], UnknownVersion),
        (CLAIM_BYTES[:7] + b"\x02" + CLAIM_BYTES[8:].ljust(LARGEST_CLAIM, b"x"), UnknownVersion),
        (DECISION_BYTES[:7] + b"\x02" + DECISION_BYTES[8:], UnknownVersion),
        (CLAIM_BYTES[:6] + b"\x03" + CLAIM_BYTES[7:], DecodeError),
        (CLAIM_BYTES[:6] + b"\x04" + CLAIM_BYTES[7:], DecodeError),
        (OTHER_VERSION_BYTES[:-1], Truncated),
        (OTHER_VERSION_BYTES + b"\0", DecodeError),
        (CLAIM_BYTES[:-1], Truncated),
        (CLAIM_BYTES + b"\0", DecodeError),
        (DECISION_BYTES[:-1], Truncated),
        (DECISION_BYTES + b"\0", DecodeError),
    ],
)
def test_anything_else_is_refused(data, error):
    with pytest.raises(error):
        decode_message(data)


def test_sealed_packets_are_no_handshakes():
    assert not is_handshake(b"")
    assert not is_handshake(MAGIC[:5])
    assert not is_handshake(b"\x81" + bytes(100))
