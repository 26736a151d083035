"""Messages of a conversation, on its control stream: the first stream of a link.

    message   type u8 | size u16 LE | body
    0x01 FIN          size u64 LE, digest 16     the sender has sent everything
    0x02 CONFIRM      size u64 LE, digest 16     the receiver has written everything
    0x03 CONFIRM_ACK                             the sender knows
    0x04 RESUMPTION   secret 16                  with it the claimer may come back after a loss
    0x05 TOTAL        size u64 LE                how much there is to send, as far as is known
    0x10 ...          of a transfer: `derphole.speech.transfer_messages`
    0x20 ...          of access by ssh: `derphole.speech.access_messages`

What else a conversation moves runs on streams of their own, bare.  Unknown types are skipped, so
that later versions can say more.  Pure.  Source: docs/protocol.md, section "Conversations".
"""

from derphole.speech.access_messages import (
    ACCESS,
    ACCESS_KEY,
    Access,
    AccessKey,
    decode_access,
    decode_access_key,
    encode_access,
)
from derphole.speech.transfer_messages import TransferMessage, decode_body, encode_body
from tunnel.errors import DecodeError
from tunnel.values import frozen, frozen_secret
from tunnel.wire.reader import Reader

# Fixed by the protocol.
HEADER_SIZE = 3
DIGEST_SIZE = 16
MAX_BODY = 4096
RESUMPTION_SECRET_SIZE = 16
_FIN, _CONFIRM, _CONFIRM_ACK, _RESUMPTION, _TOTAL = 1, 2, 3, 4, 5

Buffer = bytes | bytearray | memoryview


@frozen
class Fin:
    """Everything was sent: how much, and its XXH3-128."""

    size: int
    digest: bytes


@frozen
class Confirm:
    """Everything was written: how much, and its XXH3-128."""

    size: int
    digest: bytes


@frozen
class ConfirmAck:
    """The sender knows that everything was written."""


@frozen_secret
class Resumption:
    """What the claimer's process may claim with when this link is lost, also after expiry."""

    secret: bytes

    def __repr__(self) -> str:
        return "<Resumption>"


@frozen
class Total:
    """How much the sender expects to send; only FIN says how much it was."""

    size: int


Message = Fin | Confirm | ConfirmAck | Resumption | Total | TransferMessage | AccessKey | Access


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    match message:
        case Fin(size, digest):
            kind, body = _FIN, size.to_bytes(8, "little") + digest
        case Confirm(size, digest):
            kind, body = _CONFIRM, size.to_bytes(8, "little") + digest
        case ConfirmAck():
            kind, body = _CONFIRM_ACK, b""
        case Resumption(secret):
            kind, body = _RESUMPTION, secret
        case Total(size):
            kind, body = _TOTAL, size.to_bytes(8, "little")
        case AccessKey() | Access():
            kind, body = encode_access(message)
        case _:
            kind, body = encode_body(message)
    return bytes((kind,)) + len(body).to_bytes(2, "little") + body


class MessageReader:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: Buffer) -> None:
        """Append bytes of the stream."""
        self._pending += data

    def next_message(self) -> Message | None:
        """Return the next whole message of a known type, or None; raises `DecodeError`."""
        while len(self._pending) >= HEADER_SIZE:
            kind, size = self._pending[0], int.from_bytes(self._pending[1:3], "little")
            if size > MAX_BODY:
                raise DecodeError("a message is too long")
            end = HEADER_SIZE + size
            if len(self._pending) < end:
                return None
            body = bytes(self._pending[HEADER_SIZE:end])
            del self._pending[:end]
            message = _decode(kind, body)
            if message is not None:
                return message
        return None


def _decode(kind: int, body: bytes) -> Message | None:
    reader = Reader(body)
    if kind == _FIN:
        return Fin(reader.uint(8), reader.bytes(DIGEST_SIZE))
    if kind == _CONFIRM:
        return Confirm(reader.uint(8), reader.bytes(DIGEST_SIZE))
    if kind == _RESUMPTION:
        return Resumption(reader.bytes(RESUMPTION_SECRET_SIZE))
    if kind == _TOTAL:
        return Total(reader.uint(8))
    if kind == ACCESS_KEY:
        return decode_access_key(reader)
    if kind == ACCESS:
        return decode_access(reader)
    return ConfirmAck() if kind == _CONFIRM_ACK else decode_body(kind, body)
