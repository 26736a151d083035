"""Messages of a transfer: what is offered, what of it is held, where to begin, how far it is.

    0x10 OFFER          kind, mode, source id, entries, size, mtime_ns, name
    0x11 TOTALS         entries, size, held entries, held size, is final, omitted   at any time
    0x12 ANSWER         verdict, reason, text
    0x13 HAVE_PARTS     (key, held)*       entries that were begun
    0x14 HAVE_ENTRIES   key*               entries that are finished
    0x15 HAVE_END
    0x16 START          origin
    0x17 PIECES         digest*            of what is held of begun entries, in their order
    0x18 PROGRESS       bytes stored
    0x19 RESULT         entries refused, entries skipped                     before CONFIRM
    0x1A HAVE_CHECKED   (key, digest)*     entries that are finished, and what stands there

Bodies only: `derphole.speech.messages` puts the header before them.  Pure.  Source:
docs/protocol.md, section "Conversations".
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum

from tunnel.errors import DecodeError
from tunnel.units import ByteCount
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
SOURCE_ID_SIZE = 16
KEY_SIZE = 16
PIECE_DIGEST_SIZE = 16
MAX_NAME: ByteCount = 255
MAX_ANSWER_TEXT: ByteCount = 512
NOT_KNOWN = (1 << 64) - 1  # a count that the sender does not know yet
MODE_BITS = 0o777
_PART_SIZE = KEY_SIZE + 8
# Chosen: lists that fill a message of 4096 bytes.
MAX_PARTS_AT_ONCE = 4094 // _PART_SIZE
MAX_KEYS_AT_ONCE = 4094 // KEY_SIZE
MAX_CHECKED_AT_ONCE = 4094 // (KEY_SIZE + PIECE_DIGEST_SIZE)


class Kind(IntEnum):
    """What is offered."""

    FILE = 1
    FOLDER = 2
    SEVERAL = 3
    TEXT = 4
    STREAM = 5


class Verdict(IntEnum):
    """What the receiver makes of an offer."""

    GO = 1
    LOOKED = 2
    DECLINED = 3


class Reason(IntEnum):
    """Why an offer was declined; numbers of later versions count as `OTHER`."""

    OTHER = 0
    BY_PERSON = 1
    EXISTS = 2
    NO_SPACE = 3
    CANNOT_WRITE = 4
    KIND = 5


class Origin(IntEnum):
    """Where the sender begins, or why it does so with the first byte; others count as `ANEW`."""

    HELD = 0
    ANEW = 1
    NOTHING_HELD = 2
    SOURCE_CHANGED = 3
    CANNOT_SEEK = 4


@frozen
class Offer:
    """What the sender has.

    Args:
        kind: what it is.
        source: the same for the same paths of the same user, 16 bytes; zeros where nothing of it
            can be held.
        name: of the file or folder, at most 255 bytes as the file system has it; not checked.
        entries: how many things it is, `NOT_KNOWN` before they are counted.
        size: of their contents in bytes, or `NOT_KNOWN`.
        mode: permission bits of a file.
        mtime_ns: of a file, nanoseconds since 1970.
    """

    kind: Kind
    source: bytes
    name: bytes
    entries: int = NOT_KNOWN
    size: int = NOT_KNOWN
    mode: int = 0
    mtime_ns: int = 0


@frozen
class Totals:
    """What the sender has counted so far.

    Args:
        entries: things found.
        size: bytes in them.
        held_entries: how many of them are not sent, since the receiver has them.
        held_size: bytes that are not sent, since the receiver has them.
        is_final: whether nothing more will be found.
        omitted: things that are not sent, since they cannot be read or be what travels.
    """

    entries: int
    size: ByteCount
    held_entries: int = 0
    held_size: ByteCount = 0
    is_final: bool = False
    omitted: int = 0


@frozen
class Answer:
    """What the receiver makes of the offer.

    Args:
        verdict: whether it wants it.
        reason: why not.
        text: the same in words, at most 512 bytes, UTF-8.
    """

    verdict: Verdict
    reason: Reason = Reason.OTHER
    text: str = ""


@frozen
class Part:
    """An entry that was begun: its key, and how many of its first bytes are held."""

    key: bytes
    held: ByteCount


@frozen
class HaveParts:
    """Entries that were begun, at least one."""

    parts: tuple[Part, ...]


@frozen
class HaveEntries:
    """Keys of entries that are finished, at least one."""

    keys: tuple[bytes, ...]


@frozen
class Checked:
    """A file that is finished: its key, and the digest of what stands there now."""

    key: bytes
    digest: bytes


@frozen
class HaveChecked:
    """Files that are finished, each to be compared by its content, at least one."""

    files: tuple[Checked, ...]


@frozen
class HaveEnd:
    """Everything that is held was told."""


@frozen
class Start:
    """The sender begins."""

    origin: Origin


@frozen
class Pieces:
    """Digests of the next pieces that are held, as they stand there now, at least one."""

    digests: tuple[bytes, ...]


@frozen
class Progress:
    """How many bytes of this link's data stream are stored."""

    stored: ByteCount


@frozen
class Result:
    """What became of the entries, where not all of them were made.

    Args:
        refused: entries that could not be made, or may not be.
        skipped: entries that were left as they are, as the person wanted.
    """

    refused: int
    skipped: int


TransferMessage = (
    Offer
    | Totals
    | Answer
    | HaveParts
    | HaveEntries
    | HaveChecked
    | HaveEnd
    | Start
    | Pieces
    | Progress
    | Result
)


def encode_body(message: TransferMessage) -> tuple[int, bytes]:
    """Return type and body of a message; raises `ValueError` where a field does not fit."""
    match message:
        case Offer():
            return 0x10, _encode_offer(message)
        case Totals(entries, size, held_entries, held_size, is_final, omitted):
            counts = b"".join(map(_u64, (entries, size, held_entries, held_size)))
            return 0x11, counts + bytes((is_final,)) + _u64(omitted)
        case Answer(verdict, reason, text):
            data = clipped(text, MAX_ANSWER_TEXT)
            return 0x12, bytes((verdict, reason)) + _u16(len(data)) + data
        case HaveParts(parts):
            return 0x13, _list([part.key + _u64(part.held) for part in parts], MAX_PARTS_AT_ONCE)
        case HaveEntries(keys):
            return 0x14, _list(keys, MAX_KEYS_AT_ONCE)
        case HaveEnd():
            return 0x15, b""
        case Start(origin):
            return 0x16, bytes((origin,))
        case Pieces(digests):
            return 0x17, _list(digests, MAX_KEYS_AT_ONCE)
        case Progress(stored):
            return 0x18, _u64(stored)
        case Result(refused, skipped):
            return 0x19, _u64(refused) + _u64(skipped)
        case HaveChecked(files):
            return 0x1A, _list([file.key + file.digest for file in files], MAX_CHECKED_AT_ONCE)


def decode_body(kind: int, body: bytes) -> TransferMessage | None:
    """Return the message of this type, None for an unknown type; raises `DecodeError`."""
    decode = _DECODERS.get(kind)
    return None if decode is None else decode(Reader(body))


def clipped(text: str, size: ByteCount) -> bytes:
    """Return text as UTF-8 of at most `size` bytes, cut between characters."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


# -- bytes ----------------------------------------------------------------------------------


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _list(items: Sequence[bytes], most: int) -> bytes:
    if not 0 < len(items) <= most:
        raise ValueError(f"a list of {len(items)} does not fit a message")
    return _u16(len(items)) + b"".join(items)


def _encode_offer(offer: Offer) -> bytes:
    if len(offer.name) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} bytes, not {len(offer.name)}")
    return b"".join(
        (
            bytes((offer.kind,)),
            _u16(offer.mode),
            offer.source,
            _u64(offer.entries),
            _u64(offer.size),
            offer.mtime_ns.to_bytes(8, "little", signed=True),
            _u16(len(offer.name)),
            offer.name,
        )
    )


def _decode_offer(reader: Reader) -> Offer:
    kind, mode = reader.uint(1), reader.uint(2)
    if kind not in Kind.__members__.values():
        raise DecodeError(f"what is offered is of kind {kind}, which is unknown")
    if mode & ~MODE_BITS:
        raise DecodeError("a mode with more than permission bits")
    source = reader.bytes(SOURCE_ID_SIZE)
    entries, size = reader.uint(8), reader.uint(8)
    mtime_ns = int.from_bytes(reader.view(8), "little", signed=True)
    name_size = reader.uint(2)
    if name_size > MAX_NAME:
        raise DecodeError("a name is too long")
    return Offer(Kind(kind), source, reader.bytes(name_size), entries, size, mode, mtime_ns)


def _decode_totals(reader: Reader) -> Totals:
    entries, size, held_entries, held_size = (reader.uint(8) for _ in range(4))
    is_final = reader.uint(1) != 0
    return Totals(entries, size, held_entries, held_size, is_final, reader.uint(8))


def _decode_answer(reader: Reader) -> Answer:
    verdict, reason, size = reader.uint(1), reader.uint(1), reader.uint(2)
    if verdict not in Verdict.__members__.values():
        raise DecodeError(f"an answer of kind {verdict}, which is unknown")
    if size > MAX_ANSWER_TEXT:
        raise DecodeError("the text of an answer is too long")
    known = Reason(reason) if reason in Reason.__members__.values() else Reason.OTHER
    text = reader.bytes(size).decode("utf-8", "ignore")
    return Answer(Verdict(verdict), known, text)


def _decode_start(reader: Reader) -> Start:
    origin = reader.uint(1)
    return Start(Origin(origin) if origin in Origin.__members__.values() else Origin.ANEW)


def _count(reader: Reader, item_size: int) -> int:
    count = reader.uint(2)
    if not count or count * item_size > reader.remaining:
        raise DecodeError("a list that is empty or cut short")
    return count


def _decode_parts(reader: Reader) -> HaveParts:
    count = _count(reader, _PART_SIZE)
    return HaveParts(tuple(Part(reader.bytes(KEY_SIZE), reader.uint(8)) for _ in range(count)))


def _decode_checked(reader: Reader) -> HaveChecked:
    count = _count(reader, KEY_SIZE + PIECE_DIGEST_SIZE)
    return HaveChecked(
        tuple(
            Checked(reader.bytes(KEY_SIZE), reader.bytes(PIECE_DIGEST_SIZE)) for _ in range(count)
        )
    )


def _items(reader: Reader, size: int) -> tuple[bytes, ...]:
    return tuple(reader.bytes(size) for _ in range(_count(reader, size)))


_DECODERS: Mapping[int, Callable[[Reader], TransferMessage]] = {
    0x10: _decode_offer,
    0x11: _decode_totals,
    0x12: _decode_answer,
    0x13: _decode_parts,
    0x14: lambda reader: HaveEntries(_items(reader, KEY_SIZE)),
    0x15: lambda _: HaveEnd(),
    0x16: _decode_start,
    0x17: lambda reader: Pieces(_items(reader, PIECE_DIGEST_SIZE)),
    0x18: lambda reader: Progress(reader.uint(8)),
    0x19: lambda reader: Result(reader.uint(8), reader.uint(8)),
    0x1A: _decode_checked,
}
