r"""The blocks of a tar archive: ustar headers and the records of pax.

    block     512 bytes: name 100 | mode 8 | uid 8 | gid 8 | size 12 | mtime 12 | checksum 8 |
              type 1 | link target 100 | "ustar\0" "00" | user 32 | group 32 | device 8 + 8 |
              prefix 155 | 12
    device    means nothing for what is no device; here it holds the nanoseconds of the time, upper
              15 bits and lower 15: in a record they would cost every file 1024 bytes
    number    octal digits and NUL; one that does not fit is in a record
    name      bytes as they are; one that does not fit is in a record
    record    "LENGTH KEY=VALUE\n", LENGTH being that of the whole record

`tarfile` writes and reads the same at a twentieth of the speed, and so takes longer than all else
that is done for a small file; the tests compare with it.  Nothing here knows what may follow what.
Pure.
"""

import zlib
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import NamedTuple

from derphole.transfer.entries import NANOSECONDS
from tunnel.errors import DecodeError
from tunnel.units import Buffer, ByteCount

# Fixed by POSIX.
BLOCK: ByteCount = 512
NAME_SIZE, PREFIX_SIZE, LINK_SIZE = 100, 155, 100
MAX_OCTAL = 8**11 - 1  # of size and mtime
MAGIC = b"ustar\x0000"
PAX_TYPE, GLOBAL_TYPE = b"x", b"g"
# Chosen.
MAX_NUMBER = (1 << 63) - 1  # what a file system can have as size or time
MAX_DIGITS = 30  # of a time

_LAYOUT = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_FIELDS = Struct("100s7s17x11sx11sx6s2xc100s72x7sx7sx155s12x")  # without the ends of numbers
_CHECKSUM_AT, _KIND_AT, _MAGIC_AT = 148, 156, 257
_NO_ID = b"0000000\0"
_BLANK = b" " * 8
_REST_BITS, _REST_MASK = 15, (1 << 15) - 1  # of the nanoseconds
END = bytes(2 * BLOCK)  # of an archive


class Header(NamedTuple):
    """What a header block says; records may say otherwise.

    Attributes:
        name: prefix and name.
        kind: the type byte.
        mode: permissions and more.
        size: bytes that follow, without padding.
        mtime_ns: nanoseconds since 1970.
        target: of a link.
    """

    name: bytes
    kind: bytes
    mode: int
    size: int
    mtime_ns: int
    target: bytes


def padding(size: ByteCount) -> ByteCount:
    """Return how many bytes fill the last block."""
    return -size % BLOCK


def encode_header(
    name: bytes, kind: bytes, mode: int, size: int, mtime_ns: int, target: bytes = b""
) -> bytes:
    """Return one header block; what does not fit in a field must be in a record.

    Args:
        name: cut to what fits.
        kind: the type byte.
        mode: 0 to 0o777.
        size: written as 0 where it does not fit.
        mtime_ns: nanoseconds, written as 0 where they do not fit.
        target: cut to what fits.
    """
    prefix, name = split_name(name) or (b"", name[:NAME_SIZE])
    seconds, rest = divmod(mtime_ns if fits_time(mtime_ns) else 0, NANOSECONDS)
    block = _LAYOUT.pack(
        name,
        b"%07o\0" % mode,
        _NO_ID,
        _NO_ID,
        b"%011o\0" % (size if size <= MAX_OCTAL else 0),
        b"%011o\0" % seconds,
        _BLANK,
        kind,
        target[:LINK_SIZE],
        MAGIC,
        b"",
        b"",
        b"%07o\0" % (rest >> _REST_BITS),
        b"%07o\0" % (rest & _REST_MASK),
        prefix,
    )
    return b"%b%06o\0 %b" % (block[:_CHECKSUM_AT], checksum(block), block[_KIND_AT:])


def fits_time(mtime_ns: int) -> bool:
    """Tell whether a header can hold a time."""
    return 0 <= mtime_ns < (MAX_OCTAL + 1) * NANOSECONDS


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Return prefix and name as the fields hold them; None for a name that they cannot hold."""
    if len(name) <= NAME_SIZE:
        return b"", name
    at = name.find(b"/", len(name) - NAME_SIZE - 1, PREFIX_SIZE + 1)
    if at <= 0 or at == len(name) - 1:
        return None
    return name[:at], name[at + 1 :]


def checksum(block: bytes) -> int:
    """Return the sum of the bytes of a block; what a header tells has its own field blank.

    The lower half of Adler-32 is one more than the sum of the bytes modulo 65521, which 256 bytes
    cannot reach; Python itself takes ten times as long.
    """
    half = BLOCK // 2
    return (zlib.adler32(block[:half]) & 0xFFFF) + (zlib.adler32(block[half:]) & 0xFFFF) - 2


def decode_header(block: bytes) -> Header:
    """Read one header block, numbers as wide as `encode_header` writes them.

    Raises:
        DecodeError: it is not one.
    """
    if block[_MAGIC_AT : _MAGIC_AT + len(MAGIC)] != MAGIC:
        raise DecodeError("a header of the archive has no mark")
    name, mode, size, seconds, wanted, kind, target, high, low, prefix = _FIELDS.unpack(block)
    if not (mode + size + seconds + wanted + high + low).isdigit():
        # What `int` would take besides: signs, blanks, underscores.
        raise DecodeError("a header of the archive has a number that is none")
    its_own = sum(block[_CHECKSUM_AT:_KIND_AT]) - sum(_BLANK)
    try:
        if int(wanted, 8) != checksum(block) - its_own:
            raise DecodeError("a header of the archive has a wrong checksum")
        mtime_ns = int(seconds, 8) * NANOSECONDS + (int(high, 8) << _REST_BITS) + int(low, 8)
        numbers = int(mode, 8), int(size, 8), mtime_ns
    except ValueError:  # 8 or 9
        raise DecodeError("a header of the archive has a number that is none") from None
    name = name.partition(b"\0")[0]
    if prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    return Header(name, kind, *numbers, target.partition(b"\0")[0])


def encode_records(records: Mapping[bytes, bytes]) -> bytes:
    """Return a pax header with these records, and its padding; nothing for no records."""
    if not records:
        return b""
    body = b"".join(_record(key, value) for key, value in records.items())
    return _pax(PAX_TYPE, body)


def encode_global(records: Mapping[bytes, bytes]) -> bytes:
    """Return a pax header that is not about the next member."""
    return _pax(GLOBAL_TYPE, b"".join(_record(key, value) for key, value in records.items()))


def _pax(kind: bytes, body: bytes) -> bytes:
    head = encode_header(b"././@PaxHeader", kind, 0o644, len(body), 0)
    return head + body + bytes(padding(len(body)))


def _record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3
    length = size + len(str(size))
    if len(str(length)) != len(str(size)):  # its own digits made it one longer
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def decode_records(body: Buffer) -> dict[bytes, bytes]:
    """Read the records of a pax header; a later one wins; raises `DecodeError`."""
    return dict(_records(bytes(body)))


def _records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(body):
        blank = body.find(b" ", at, at + 8)
        digits = body[at:blank]
        if blank < 0 or not digits.isdigit():
            raise DecodeError("a record of the archive has no length")
        end = at + int(digits)
        key, sign, value = body[blank + 1 : end].partition(b"=")
        if end > len(body) or not key or not sign or not value.endswith(b"\n"):
            raise DecodeError("a record of the archive is not one")
        yield key, value[:-1]
        at = end


def encode_time(time_ns: int) -> bytes:
    """Return a time as decimal seconds."""
    seconds, rest = divmod(abs(time_ns), NANOSECONDS)
    sign = b"-" if time_ns < 0 else b""
    return b"%b%d.%09d" % (sign, seconds, rest) if rest else b"%b%d" % (sign, seconds)


def decode_time(text: bytes) -> int:
    """Return nanoseconds since 1970; raises `DecodeError`."""
    digits, _, fraction = text.removeprefix(b"-").partition(b".")
    if len(text) > MAX_DIGITS or not digits.isdigit() or not (fraction or b"0").isdigit():
        raise DecodeError("a time in the archive is none")
    time_ns = int(digits) * NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    if time_ns > MAX_NUMBER:
        raise DecodeError("a time in the archive is too far away")
    return -time_ns if text.startswith(b"-") else time_ns


def decode_number(text: bytes) -> int:
    """Return a count of bytes, 0 to `MAX_NUMBER`; raises `DecodeError`."""
    if not text.isdigit() or len(text) > len(str(MAX_NUMBER)) or int(text) > MAX_NUMBER:
        raise DecodeError("a number in the archive is none")
    return int(text)
