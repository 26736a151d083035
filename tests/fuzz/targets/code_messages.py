# Invariant: a message of a code encodes to what was read, or reading is a DecodeError.
from collections.abc import Iterator

from fuzzing import Feed

from tunnel.errors import DecodeError
from tunnel.wire import code as wire
from tunnel.wire.disco import MAGIC

SESSION = bytes(range(16))
MESSAGES = (
    wire.Hello(SESSION, bytes(32)),
    wire.Share(SESSION, bytes(32)),
    wire.Proof(SESSION, bytes(64)),
    wire.Answer(SESSION, bytes(64), bytes(528)),
    wire.Wrong(SESSION),
    wire.Probe(SESSION),
)
WORDS = tuple(MAGIC + bytes((kind, 1)) for kind in wire.CodeKind)


def run(data: bytes) -> None:
    body = Feed(data).rest()
    try:
        message = wire.decode_code_message(body)
    except DecodeError:
        return
    assert wire.encode_code_message(message) == body
    assert len(body) >= wire.SMALLEST_SIZE


def seeds() -> Iterator[bytes]:
    yield from map(wire.encode_code_message, MESSAGES)
