"""Claim and decision as bytes."""

import pytest

from tunnel.errors import BadMagic, DecodeError, Truncated, UnknownVersion
from tunnel.wire.handshake import (
    CLAIM_SIZE,
    DECISION_SIZE,
    MAGIC,
    PAYLOAD_SIZE,
    VERSION,
    Claim,
    ClaimPayload,
    Decision,
    DecisionPayload,
    decode_claim_payload,
    decode_decision_payload,
    decode_message,
    encode_claim,
    encode_claim_payload,
    encode_decision,
    encode_decision_payload,
    is_handshake,
)

CLAIM = Claim(VERSION, b"e" * 32, b"h" * 80, b"m" * 16, b"p" * 80)
DECISION = Decision(VERSION, b"e" * 32, b"p" * 80)
CLAIM_BYTES = bytes.fromhex("5453f09f92ac 01 01") + b"e" * 32 + b"h" * 80 + b"m" * 16 + b"p" * 80
DECISION_BYTES = bytes.fromhex("5453f09f92ac 02 01") + b"e" * 32 + b"p" * 80


def test_a_claim_is_these_bytes_both_ways():
    assert encode_claim(CLAIM) == CLAIM_BYTES
    assert decode_message(CLAIM_BYTES) == CLAIM
    assert len(CLAIM_BYTES) == CLAIM_SIZE


def test_a_decision_is_these_bytes_both_ways():
    assert encode_decision(DECISION) == DECISION_BYTES
    assert decode_message(memoryview(DECISION_BYTES)) == DECISION
    assert len(DECISION_BYTES) == DECISION_SIZE


def test_both_are_disco_messages_to_a_relay():
    """A DERP server takes packets for disco that start so and have at least 62 bytes."""
    for data in (CLAIM_BYTES, DECISION_BYTES):
        assert is_handshake(data)
        assert data[:6] == MAGIC == b"TS\xf0\x9f\x92\xac"
        assert len(data) >= 62


def test_a_claim_payload_is_these_bytes_both_ways():
    payload = ClaimPayload(1, bytes(range(16)), 0xDEADBEEF, 3, 24)

    data = encode_claim_payload(payload)

    expected = "01000000 000102030405060708090a0b0c0d0e0f efbeadde 03 18"
    assert data == bytes.fromhex(expected).ljust(PAYLOAD_SIZE, b"\0")
    assert decode_claim_payload(data) == payload


def test_a_decision_payload_is_these_bytes_both_ways():
    payload = DecisionPayload(0, 1, 24, True, 1, 0xDEADBEEF, 0x0102030405060708)

    data = encode_decision_payload(payload)

    expected = "00 01 18 01 01000000 efbeadde 0807060504030201"
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
        (CLAIM_BYTES[:7] + b"\x02" + CLAIM_BYTES[8:], UnknownVersion),
        (CLAIM_BYTES[:6] + b"\x03" + CLAIM_BYTES[7:], DecodeError),
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
