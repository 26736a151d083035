# Invariant: a handshake message or payload encodes to what was read, or reading is a DecodeError.
from collections.abc import Iterator

from fuzzing import Feed

from tunnel.errors import DecodeError
from tunnel.wire import handshake as wire

CLAIM = wire.Claim(wire.VERSION, bytes(32), bytes(80), bytes(16), bytes(80))
DECISION = wire.Decision(wire.VERSION, bytes(32), bytes(80))
LATER_CLAIM = wire.Claim(wire.VERSION + 1, bytes(32), bytes(80), bytes(16), bytes(300))
ANSWER = wire.OtherVersion(wire.VERSION + 1, bytes(80))
CLAIM_PAYLOAD = wire.ClaimPayload(1, bytes(range(16)), 7, 3, 24, 1, 1, b"fuzzed 1.0")
DECISION_PAYLOAD = wire.DecisionPayload(0, 1, 24, True, 1, 9, 1_900_000_000_000, 2, b"fuzzed 1.0")
HEADS = (b"\1\1", b"\1\2", b"\2\1", b"\3\1")
WORDS = (wire.MAGIC, *(wire.MAGIC + head for head in HEADS))
ENCODERS = {
    wire.Claim: wire.encode_claim,
    wire.Decision: wire.encode_decision,
    wire.OtherVersion: wire.encode_other_version,
}


def run(data: bytes) -> None:
    feed = Feed(data)
    choice, body = feed.uint(1) % 3, feed.rest()
    try:
        if choice == 0:
            message = wire.decode_message(body)
            assert ENCODERS[type(message)](message) == body
            assert wire.is_handshake(body)
        elif choice == 1:
            claim = wire.decode_claim_payload(body)
            assert wire.decode_claim_payload(wire.encode_claim_payload(claim)) == claim
        else:
            decision = wire.decode_decision_payload(body)
            assert wire.decode_decision_payload(wire.encode_decision_payload(decision)) == decision
    except DecodeError:
        return


def seeds() -> Iterator[bytes]:
    yield b"\0" + wire.encode_claim(CLAIM)
    yield b"\0" + wire.encode_decision(DECISION)
    yield b"\0" + wire.encode_claim(LATER_CLAIM)
    yield b"\0" + wire.encode_other_version(ANSWER)
    yield b"\1" + wire.encode_claim_payload(CLAIM_PAYLOAD)
    yield b"\2" + wire.encode_decision_payload(DECISION_PAYLOAD)
