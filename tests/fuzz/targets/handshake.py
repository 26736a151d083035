# Invariant: a handshake message or payload encodes to what was read, or reading is a DecodeError.
from collections.abc import Iterator

from fuzzing import Feed

from tunnel.errors import DecodeError
from tunnel.wire import handshake as wire

CLAIM = wire.Claim(wire.VERSION, bytes(32), bytes(80), bytes(16), bytes(80))
DECISION = wire.Decision(wire.VERSION, bytes(32), bytes(80))
CLAIM_PAYLOAD = wire.ClaimPayload(1, bytes(range(16)), 7, 3, 24)
DECISION_PAYLOAD = wire.DecisionPayload(0, 1, 24, True, 1, 9, 1_900_000_000_000)
WORDS = (wire.MAGIC, wire.MAGIC + b"\1\1", wire.MAGIC + b"\2\1")


def run(data: bytes) -> None:
    feed = Feed(data)
    choice, body = feed.uint(1) % 3, feed.rest()
    try:
        if choice == 0:
            message = wire.decode_message(body)
            is_claim = isinstance(message, wire.Claim)
            again = wire.encode_claim(message) if is_claim else wire.encode_decision(message)
            assert again == body
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
    yield b"\1" + wire.encode_claim_payload(CLAIM_PAYLOAD)
    yield b"\2" + wire.encode_decision_payload(DECISION_PAYLOAD)
