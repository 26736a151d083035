"""The journal of a receiver: what a later run has to know to go on, in a file only appended to.

    header   magic 8 | version u16 LE | zeros 6 | checksum 8
    record   type u8 | size u16 LE | checksum 8 | body

    0x01 OFFER      the body of the message OFFER
    0x02 TOKEN      expires u32 LE, text        the newest counts
    0x03 BEGUN      an entry                    its partial file holds its first bytes
    0x04 FINISHED   an entry                    complete under its temporary or its final name
    an entry        type u8 | mode u16 | size u64 | mtime_ns i64 | path size u16 | path | target

A checksum is the XXH3-64 of the one before it, of type and size, and of the body: a record counts
only behind exactly those that it was written behind, so that what a crash left of an earlier
journal in the same blocks is not believed.  The first record that is cut, damaged or unreadable
ends the journal; it and everything behind it is cut off.  Types of later versions are passed over.

How much of a begun entry is held is not here: its partial file says it by its size, and what stands
in it is compared with the source before anything is confirmed.  FINISHED is written before the file
gets its final name, and who finds only the temporary one gives it the name.  Pure.
"""

from collections.abc import Iterator
from struct import Struct

from xxhash import xxh3_64_digest

from derphole.speech.transfer_messages import Offer, decode_body, encode_body
from derphole.transfer.entries import Entry, EntryType
from tunnel.errors import BadMagic, DecodeError, UnknownVersion
from tunnel.units import Buffer, ByteCount, WallTime
from tunnel.values import frozen, frozen_secret
from tunnel.wire.reader import Reader

# Fixed: what stands in files of earlier runs.
MAGIC = b"\x89derphj\n"
VERSION = 1
HEADER_SIZE = 24
_CHECKSUM_SIZE = 8
_SEALED = HEADER_SIZE - _CHECKSUM_SIZE
_RECORD_HEADER = 3 + _CHECKSUM_SIZE
_HEAD = Struct("<BH")  # type and size of a record
_ENTRY = Struct("<BHQqH")  # what is before the path of an entry
_OFFER, _TOKEN, _BEGUN, _FINISHED = 1, 2, 3, 4
_OFFER_MESSAGE = 0x10
# Chosen: a path and a link target of 4096 bytes each fit, and nothing larger is read.
MAX_RECORD: ByteCount = 9000
MAX_TOKEN: ByteCount = 1024


@frozen
class OfferKept:
    """What was offered when the journal was begun."""

    offer: Offer


@frozen_secret
class TokenKept:
    """What the receiver was started with.

    Args:
        text: the token or code, at most 1024 ASCII characters; a secret.
        expires_at: when it is good for nothing any more.
    """

    text: str
    expires_at: WallTime

    def __repr__(self) -> str:
        return "<TokenKept>"


@frozen
class Begun:
    """An entry whose first bytes are in its partial file."""

    entry: Entry


@frozen
class Finished:
    """An entry that is complete."""

    entry: Entry


Record = OfferKept | TokenKept | Begun | Finished


def _checksum(last: bytes, data: Buffer, body: bytes = b"") -> bytes:
    return xxh3_64_digest(b"".join((last, data, body)))


class JournalWriter:
    """Makes the bytes of a journal, to be appended one behind the other.

    Args:
        last: the last checksum of what is there; None for a new journal.
    """

    def __init__(self, last: bytes | None = None) -> None:
        self._last = last

    def begin(self) -> bytes:
        """Return the header of a new journal."""
        fixed = MAGIC + VERSION.to_bytes(2, "little") + bytes(_SEALED - len(MAGIC) - 2)
        self._last = _checksum(b"", fixed)
        return fixed + self._last

    def append(self, record: Record) -> bytes:
        """Return the bytes of the next record; raises `ValueError` for what is too large."""
        assert self._last is not None
        kind, body = _encode(record)
        if len(body) > MAX_RECORD:
            raise ValueError(f"a record of {len(body)} bytes")
        head = _HEAD.pack(kind, len(body))
        self._last = _checksum(self._last, head, body)
        return head + self._last + body


class JournalReader:
    """Reads a journal in pieces of any size.

    Attributes:
        valid_size: bytes up to the end of the last record that counts; cut the file there before
            anything is appended.
        is_damaged: whether something behind that does not count.
    """

    def __init__(self) -> None:
        self.valid_size: ByteCount = 0
        self.is_damaged = False
        self._pending = bytearray()
        self._last: bytes | None = None

    def feed(self, data: Buffer) -> Iterator[Record]:
        """Take the next bytes and yield the records in them.

        Raises `BadMagic` for a file that is no journal, and `UnknownVersion` for one of another
        version: neither is ours to change.
        """
        if self.is_damaged:
            return
        self._pending += data
        if self._last is None and not self._read_header():
            return
        while (record := self._next()) is not None:
            if not isinstance(record, _Unknown):
                yield record

    def writer(self) -> JournalWriter:
        """Return what appends behind the last record that counts, or begins a new journal."""
        return JournalWriter(self._last)

    def finish(self) -> None:
        """Take the end of the file: what is left over is a record that was cut."""
        self.is_damaged = self.is_damaged or bool(self._pending)

    def _read_header(self) -> bool:
        head = bytes(self._pending[:HEADER_SIZE])
        if not MAGIC.startswith(head[: len(MAGIC)]):
            raise BadMagic("this is no journal")
        if len(head) < HEADER_SIZE:
            return False
        fixed, checksum = head[:_SEALED], head[_SEALED:]
        if checksum != _checksum(b"", fixed):
            self.is_damaged = True
            return False
        version = int.from_bytes(head[len(MAGIC) : len(MAGIC) + 2], "little")
        if version != VERSION:
            raise UnknownVersion(f"a journal of version {version}")
        self._last = checksum
        self._advance(HEADER_SIZE)
        return True

    def _next(self) -> "Record | _Unknown | None":
        """Return the next record, None where there is none yet or none that counts."""
        pending = self._pending
        if len(pending) < _RECORD_HEADER:
            return None
        size = int.from_bytes(pending[1:3], "little")
        end = _RECORD_HEADER + size
        if size > MAX_RECORD:
            self.is_damaged = True
            return None
        if len(pending) < end:
            return None
        body = bytes(pending[_RECORD_HEADER:end])
        assert self._last is not None
        checksum = _checksum(self._last, pending[:3], body)
        if checksum != pending[3:_RECORD_HEADER]:
            self.is_damaged = True
            return None
        try:
            record = _decode(pending[0], body)
        except DecodeError:
            self.is_damaged = True
            return None
        self._last = checksum
        self._advance(end)
        return record

    def _advance(self, size: ByteCount) -> None:
        del self._pending[:size]
        self.valid_size += size


class _Unknown:
    """A record of a later version."""


class Replay:
    """What a journal comes to, without the finished entries, of which there may be a million.

    Attributes:
        offer: what was offered.
        token: what the receiver was started with last.
        begun: entries that were begun and not finished, by key, in the order of their beginning.
    """

    def __init__(self) -> None:
        self.offer: Offer | None = None
        self.token: TokenKept | None = None
        self.begun: dict[bytes, Entry] = {}

    def take(self, record: Record) -> None:
        """Take the next record."""
        match record:
            case OfferKept(offer):
                self.offer = offer
            case TokenKept():
                self.token = record
            case Begun(entry):
                self.begun[entry.key] = entry
            case Finished(entry):
                self.begun.pop(entry.key, None)

    def token_at(self, now: WallTime) -> TokenKept | None:
        """Return the token if it is still good."""
        return self.token if self.token is not None and now < self.token.expires_at else None


# -- bodies ---------------------------------------------------------------------------------


def _encode(record: Record) -> tuple[int, bytes]:
    match record:
        case OfferKept(offer):
            return _OFFER, encode_body(offer)[1]
        case TokenKept(text, expires_at):
            if len(text) > MAX_TOKEN:
                raise ValueError(f"a token of {len(text)} characters")
            return _TOKEN, int(expires_at).to_bytes(4, "little") + text.encode("ascii")
        case Begun(entry):
            return _BEGUN, _encode_entry(entry)
        case Finished(entry):
            return _FINISHED, _encode_entry(entry)


def _encode_entry(entry: Entry) -> bytes:
    path, kind, size, mtime_ns, mode, target = entry
    return _ENTRY.pack(kind, mode, size, mtime_ns, len(path)) + path + target


def _decode(kind: int, body: bytes) -> Record | _Unknown:
    reader = Reader(body)
    match kind:
        case 1:
            offer = decode_body(_OFFER_MESSAGE, body)
            assert isinstance(offer, Offer)
            return OfferKept(offer)
        case 2:
            expires_at = WallTime(reader.uint(4))
            return TokenKept(_ascii(reader.rest()), expires_at)
        case 3:
            return Begun(_decode_entry(reader))
        case 4:
            return Finished(_decode_entry(reader))
        case _:
            return _Unknown()


def _ascii(data: memoryview) -> str:
    if len(data) > MAX_TOKEN or not bytes(data).isascii():
        raise DecodeError("this is no token")
    return bytes(data).decode("ascii")


def _decode_entry(reader: Reader) -> Entry:
    kind, mode, size = reader.uint(1), reader.uint(2), reader.uint(8)
    if kind not in EntryType.__members__.values():
        raise DecodeError(f"an entry of type {kind}")
    mtime_ns = int.from_bytes(reader.view(8), "little", signed=True)
    path = reader.bytes(reader.uint(2))
    return Entry(path, EntryType(kind), size, mtime_ns, mode, bytes(reader.rest()))
