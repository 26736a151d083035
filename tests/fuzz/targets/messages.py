# Invariant: however a control stream is cut, its messages are the same, or end in one DecodeError.
from collections.abc import Iterator

from fuzzing import Feed

from derphole.speech.messages import (
    MAX_BODY,
    Confirm,
    ConfirmAck,
    Fin,
    Message,
    MessageReader,
    Resumption,
    encode,
)
from derphole.speech.transfer_messages import (
    Answer,
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
)
from tunnel.errors import DecodeError

SIZES = (1, 3, 7, 100, 1 << 20)
HEADER_SIZE = 3
CPU_S = (
    0.3  # 21,000 empty messages take 0.05 s on a slow machine; what grew as their square, minutes
)


def outcome(stream: bytes, size: int) -> tuple[list[Message], bool]:
    reader, found = MessageReader(), []
    try:
        for start in range(0, len(stream), size):
            reader.feed(stream[start : start + size])
            while (message := reader.next_message()) is not None:
                found.append(message)
    except DecodeError:
        return found, True
    assert len(reader._pending) < HEADER_SIZE + MAX_BODY
    return found, False


def cost(data: bytes) -> None:
    outcome(data, max(1, len(data)))


def run(data: bytes) -> None:
    feed = Feed(data)
    size, stream = SIZES[feed.uint(1) % len(SIZES)], feed.rest()
    size = max(size, len(stream) // 2000)
    whole = outcome(stream, max(1, len(stream)))
    assert outcome(stream, size) == whole
    for message in whole[0]:
        reader = MessageReader()
        reader.feed(encode(message))
        assert reader.next_message() == message


def seeds() -> Iterator[bytes]:
    unknown = bytes((9, 2, 0)) + b"??"
    yield b"\0" + encode(Fin(7, bytes(16))) + unknown + encode(ConfirmAck())
    yield b"\1" + encode(Confirm(1 << 40, bytes(range(16))))
    yield b"\2" + encode(Resumption(bytes(range(16)))) + bytes((4, 1, 0, 7))
    yield b"\4" + encode(ConfirmAck()) + bytes((1, 0, 255))
    key = bytes(range(16))
    yield (
        b"\2" + encode(Offer(Kind.FILE, key, b"name", 1, 1 << 40, 0o644, -5)) + encode(Totals(1, 2))
    )
    yield b"\3" + encode(Answer(Verdict.DECLINED, Reason.EXISTS, "why")) + encode(HaveEnd())
    yield b"\4" + encode(HaveParts((Part(key, 7),))) + encode(HaveEntries((key, key[::-1])))
    yield b"\1" + encode(Start(Origin.HELD)) + encode(Pieces((key,))) + encode(Progress(1 << 40))
