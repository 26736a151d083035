"""Messages by which one side lets the other in by ssh: a public key, and what became of it.

    0x20 KEY       the line of a public key                 from who wants to be let in
    0x21 ACCESS    verdict, text; user, port, hosts, host keys

Bodies only: `derphole.speech.messages` puts the header before them.  Pure.  Source:
docs/protocol.md, section "Conversations".
"""

from collections.abc import Sequence
from enum import IntEnum

from derphole.speech.transfer_messages import clipped
from tunnel.errors import DecodeError
from tunnel.units import ByteCount
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
MAX_KEY_LINE: ByteCount = 4000
MAX_TEXT: ByteCount = 512
MAX_HOSTS = 16
MAX_HOST: ByteCount = 255
MAX_HOST_KEYS = 8
MAX_ACCESS: ByteCount = 4096
ACCESS_KEY, ACCESS = 0x20, 0x21


class AccessVerdict(IntEnum):
    """What became of a key; numbers of later versions count as `FAILED`."""

    STORED = 1
    PRESENT = 2
    RESTRICTED = 3
    DECLINED = 4
    UNUSABLE = 5
    FAILED = 6


LETS_IN = (AccessVerdict.STORED, AccessVerdict.PRESENT)


@frozen
class AccessKey:
    """The line of a public key, at most 4000 bytes; not checked."""

    line: bytes


@frozen
class Access:
    """What became of the key, and how to get in.

    Args:
        verdict: what became of it.
        text: the same in words where it lets nobody in, at most 512 bytes.
        user: who to log in as, at most 255 bytes.
        port: of the server; 0 where nobody knows.
        hosts: names and addresses of the machine, each of at most 255 bytes.
        host_keys: lines of its public keys.

    Of hosts and host keys as many are sent as fit, and of those the hosts come first.
    """

    verdict: AccessVerdict
    text: str = ""
    user: str = ""
    port: int = 0
    hosts: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()


def encode_access(message: AccessKey | Access) -> tuple[int, bytes]:
    """Return type and body, of hosts and host keys those that fit.

    Raises `ValueError` for a long key.
    """
    if isinstance(message, AccessKey):
        if len(message.line) > MAX_KEY_LINE:
            raise ValueError(f"a key of {len(message.line)} bytes does not fit a message")
        return ACCESS_KEY, _sized(message.line)
    head = bytes((message.verdict,)) + message.port.to_bytes(2, "little")
    head += _sized(clipped(message.text, MAX_TEXT)) + _sized(clipped(message.user, MAX_HOST))
    hosts = [clipped(host, MAX_HOST) for host in message.hosts[:MAX_HOSTS]]
    head += _row(_fitting(hosts, MAX_ACCESS - len(head) - 2))
    keys = [line.encode() for line in message.host_keys[:MAX_HOST_KEYS]]
    keys = _fitting(keys, MAX_ACCESS - len(head) - 1)
    return ACCESS, head + _row(keys)


def decode_access_key(reader: Reader) -> AccessKey:
    """Return the message; raises `DecodeError`."""
    return AccessKey(_string(reader, MAX_KEY_LINE))


def decode_access(reader: Reader) -> Access:
    """Return the message; raises `DecodeError`."""
    number = reader.uint(1)
    known = number in AccessVerdict.__members__.values()
    verdict = AccessVerdict(number) if known else AccessVerdict.FAILED
    port = reader.uint(2)
    text, user = _text(reader, MAX_TEXT), _text(reader, MAX_HOST)
    hosts = tuple(_text(reader, MAX_HOST) for _ in range(_count(reader, MAX_HOSTS)))
    keys = tuple(_text(reader, MAX_ACCESS) for _ in range(_count(reader, MAX_HOST_KEYS)))
    return Access(verdict, text, user, port, hosts, keys)


# -- bytes ------------------------------------------------------------------------------------


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "little") + data


def _row(items: Sequence[bytes]) -> bytes:
    return bytes((len(items),)) + b"".join(map(_sized, items))


def _fitting(items: Sequence[bytes], room: ByteCount) -> list[bytes]:
    """Return the items that a row of this size, without its count, has room for."""
    kept = []
    for item in items:
        if 2 + len(item) <= room:
            kept.append(item)
            room -= 2 + len(item)
    return kept


def _string(reader: Reader, most: ByteCount) -> bytes:
    size = reader.uint(2)
    if size > most:
        raise DecodeError("a string is too long")
    return reader.bytes(size)


def _text(reader: Reader, most: ByteCount) -> str:
    return _string(reader, most).decode("utf-8", "replace")


def _count(reader: Reader, most: int) -> int:
    count = reader.uint(1)
    if count > most:
        raise DecodeError("a list is too long")
    return count
