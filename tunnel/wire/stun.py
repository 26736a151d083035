"""STUN binding requests and responses: what Tailscale's DERP servers speak, and what RFC 5780 adds.

    0         2         4            8                 20
    +---------+---------+------------+-----------------+-- - -
    | type    | length  | 21 12 a4 42| transaction id  | attributes: type u16, size u16, value,
    +---------+---------+------------+-----------------+ zeros up to a multiple of 4

Integers are big-endian.  A request as Tailscale sends it carries SOFTWARE "tailnode" and ends with
FINGERPRINT; a plain RFC 8489 request may carry nothing at all.  A response carries one
XOR-MAPPED-ADDRESS.

A server with two addresses and two ports tells the other pair in OTHER-ADDRESS, and sends its
answer from there when CHANGE-REQUEST (4 bytes: 4 = other address, 2 = other port) asks for it.

Sources: RFC 8489 sections 5, 14; RFC 5780 section 7; tailscale net/stun/stun.go.  This module knows
neither servers nor what an address is used for.
"""

from collections.abc import Iterator
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address, ip_address
from zlib import crc32

from tunnel.errors import BadMagic, DecodeError, Truncated
from tunnel.units import Buffer
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
HEADER_SIZE = 20
TRANSACTION_ID_SIZE = 12
MAGIC_COOKIE = bytes.fromhex("2112a442")
BINDING_REQUEST = 0x0001
BINDING_RESPONSE = 0x0101
BINDING_ERROR = 0x0111
ATTRIBUTE_HEADER_SIZE = 4
MAPPED_ADDRESS = 0x0001
CHANGE_REQUEST = 0x0003
ERROR_CODE = 0x0009
XOR_MAPPED_ADDRESS = 0x0020
XOR_MAPPED_ADDRESS_OLD = 0x8020  # a draft's number, still seen in the wild
SOFTWARE = 0x8022
FINGERPRINT = 0x8028
RESPONSE_ORIGIN = 0x802B
OTHER_ADDRESS = 0x802C
FIRST_OPTIONAL_ATTRIBUTE = 0x8000  # below it, who does not know an attribute must not go on
FINGERPRINT_MASK = 0x5354554E  # "STUN"
FINGERPRINT_SIZE = 4
FAMILY_IPV4 = 1
FAMILY_IPV6 = 2
ADDRESS_SIZE_BY_FAMILY = {FAMILY_IPV4: 4, FAMILY_IPV6: 16}
TAILSCALE_SOFTWARE = b"tailnode"
CHANGE_REQUEST_SIZE = 4
MIN_ERROR_CODE, MAX_ERROR_CODE = 300, 699

SocketAddress = tuple[str, int]  # an address in its usual form, and a port from 0 to 65535


class Change(IntFlag):
    """From where a server is asked to answer: another address, another port, both, or neither."""

    NOTHING = 0
    PORT = 2
    ADDRESS = 4


@frozen
class BindingRequest:
    """A question for one's own address.

    Args:
        transaction_id: 12 bytes.
        is_tailscale: it has Tailscale's mark and a fingerprint.
        change: from where the answer is wanted.
    """

    transaction_id: bytes
    is_tailscale: bool
    change: Change = Change.NOTHING


@frozen
class BindingResponse:
    """The address and port (0 to 65535) that a request came from, as the server saw them.

    Args:
        transaction_id: the request's.
        address: in its usual form.
        port: 0 to 65535.
        origin: where the server says that it answers from; None if it does not.
        other: its other address and port, for the questions of RFC 5780; None if it has none.
    """

    transaction_id: bytes
    address: str
    port: int
    origin: SocketAddress | None = None
    other: SocketAddress | None = None


@frozen
class BindingError:
    """A server's refusal; `code` is 300 to 699, such as 420 for an attribute it does not know."""

    transaction_id: bytes
    code: int


def is_stun(data: Buffer) -> bool:
    """Tell whether a datagram wears the STUN header, whatever its type."""
    return len(data) >= HEADER_SIZE and data[0] & 0xC0 == 0 and data[4:8] == MAGIC_COOKIE


def encode_binding_request(transaction_id: bytes, change: Change = Change.NOTHING) -> bytes:
    """Return the 40 bytes that a Tailscale client sends, or 48 with a change.

    Args:
        transaction_id: 12 bytes.
        change: from where the answer is wanted; only servers that told `other` know of it.
    """
    attributes = _encode_attribute(SOFTWARE, TAILSCALE_SOFTWARE)
    if change:
        value = change.to_bytes(CHANGE_REQUEST_SIZE, "big")
        attributes = _encode_attribute(CHANGE_REQUEST, value) + attributes
    # The fingerprint covers the length field, which already counts the fingerprint.
    size = len(attributes) + ATTRIBUTE_HEADER_SIZE + FINGERPRINT_SIZE
    covered = _encode_header(BINDING_REQUEST, size, transaction_id) + attributes
    return covered + _encode_attribute(FINGERPRINT, _fingerprint(covered))


def decode_binding_request(data: Buffer) -> BindingRequest:
    """Read a request in Tailscale's or in the plain RFC 8489 form; raises `DecodeError`.

    Refused are requests that carry an attribute one must understand (a server would have to answer
    with an error), and wrong fingerprints.
    """
    view = memoryview(data)
    reader = Reader(view)
    transaction_id, size = _decode_header(reader, BINDING_REQUEST)
    if size != reader.remaining:
        raise DecodeError("a STUN request's length is not that of its datagram")
    is_tailnode = is_fingerprinted = False
    change = Change.NOTHING
    for kind, value in _attributes(reader):
        if is_fingerprinted:
            raise DecodeError("a STUN request goes on behind its fingerprint")
        if kind == CHANGE_REQUEST:
            change = _decode_change(value)
        elif kind < FIRST_OPTIONAL_ATTRIBUTE:
            raise DecodeError(f"a STUN request asks for attribute {kind:#06x}")
        if kind == SOFTWARE:
            is_tailnode = value == TAILSCALE_SOFTWARE
        elif kind == FINGERPRINT:
            covered = view[: len(view) - ATTRIBUTE_HEADER_SIZE - FINGERPRINT_SIZE]
            if value != _fingerprint(covered):
                raise DecodeError("a STUN request's fingerprint is wrong")
            is_fingerprinted = True
    return BindingRequest(transaction_id, is_tailnode and is_fingerprinted, change)


def encode_binding_response(
    transaction_id: bytes,
    address: str,
    port: int,
    origin: SocketAddress | None = None,
    other: SocketAddress | None = None,
) -> bytes:
    """Return the 32 (IPv4) or 44 (IPv6) bytes that answer a request, and 12 or 24 for each option.

    Args:
        transaction_id: the request's.
        address: the source of the request; an IPv4-mapped IPv6 address is answered as IPv4.
        port: 0 to 65535.
        origin: where the answer is sent from; None leaves it out.
        other: the server's other address and port; None leaves it out.
    """
    mask = MAGIC_COOKIE + transaction_id
    attributes = _encode_attribute(XOR_MAPPED_ADDRESS, _encode_address(address, port, mask))
    for kind, endpoint in ((RESPONSE_ORIGIN, origin), (OTHER_ADDRESS, other)):
        if endpoint is not None:
            attributes += _encode_attribute(kind, _encode_address(*endpoint, bytes(len(mask))))
    return _encode_header(BINDING_RESPONSE, len(attributes), transaction_id) + attributes


def decode_binding_response(data: Buffer) -> BindingResponse:
    """Read a response of any STUN server; raises `DecodeError`.

    Bytes behind the stated length are ignored, and so are repeats of an attribute; a
    XOR-MAPPED-ADDRESS wins over the MAPPED-ADDRESS of old servers; an IPv4-mapped IPv6 address is
    given as IPv4.
    """
    reader = Reader(data)
    transaction_id, size = _decode_header(reader, BINDING_RESPONSE)
    mask = MAGIC_COOKIE + transaction_id
    plain = bytes(len(mask))
    mask_by_kind = {
        XOR_MAPPED_ADDRESS: mask,
        XOR_MAPPED_ADDRESS_OLD: mask,
        MAPPED_ADDRESS: plain,
        RESPONSE_ORIGIN: plain,
        OTHER_ADDRESS: plain,
    }
    found: dict[int, SocketAddress] = {}
    for kind, value in _attributes(Reader(reader.view(size))):
        if kind in mask_by_kind and kind not in found:
            found[kind] = _decode_address(value, mask_by_kind[kind])
    for kind in (XOR_MAPPED_ADDRESS, XOR_MAPPED_ADDRESS_OLD, MAPPED_ADDRESS):
        if kind in found:
            address, port = found[kind]
            origin, other = found.get(RESPONSE_ORIGIN), found.get(OTHER_ADDRESS)
            return BindingResponse(transaction_id, address, port, origin, other)
    raise DecodeError("a STUN response carries no address")


def decode_binding_error(data: Buffer) -> BindingError:
    """Read a server's refusal; raises `DecodeError`."""
    reader = Reader(data)
    transaction_id, size = _decode_header(reader, BINDING_ERROR)
    for kind, value in _attributes(Reader(reader.view(size))):
        if kind == ERROR_CODE:
            fields = Reader(value)
            fields.view(2)
            code = 100 * (fields.uint(1) & 0x07) + fields.uint(1)
            if not MIN_ERROR_CODE <= code <= MAX_ERROR_CODE:
                raise DecodeError(f"a STUN error has the code {code}")
            return BindingError(transaction_id, code)
    raise DecodeError("a STUN error carries no code")


def _encode_header(kind: int, size: int, transaction_id: bytes) -> bytes:
    return kind.to_bytes(2, "big") + size.to_bytes(2, "big") + MAGIC_COOKIE + transaction_id


def _encode_attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute; every value that this module sends is a multiple of 4 bytes."""
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def _decode_header(reader: Reader, wanted: int) -> tuple[bytes, int]:
    """Take the header; return the transaction id and the stated size of the attributes."""
    kind = reader.uint_be(2)
    size = reader.uint_be(2)
    if reader.view(len(MAGIC_COOKIE)) != MAGIC_COOKIE:
        raise BadMagic("a datagram without the STUN cookie")
    if kind != wanted:
        raise DecodeError(f"a STUN message of type {kind:#06x} where {wanted:#06x} was awaited")
    return reader.bytes(TRANSACTION_ID_SIZE), size


def _attributes(reader: Reader) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, value) up to the end; raises `Truncated` when an attribute or padding is cut."""
    while reader.remaining:
        kind = reader.uint_be(2)
        value = reader.view(reader.uint_be(2))
        reader.view(-len(value) % 4)
        yield kind, value


def _decode_change(value: memoryview) -> Change:
    if len(value) != CHANGE_REQUEST_SIZE:
        raise DecodeError("a CHANGE-REQUEST has not 4 bytes")
    # Other bits mean nothing to us, as in RFC 5780.
    return Change(int.from_bytes(value, "big") & (Change.ADDRESS | Change.PORT))


def _encode_address(address: str, port: int, mask: bytes) -> bytes:
    """Return the value of a (XOR-)MAPPED-ADDRESS; `mask` as in `_decode_address`."""
    packed = _unmapped(ip_address(address)).packed
    family = FAMILY_IPV4 if len(packed) == 4 else FAMILY_IPV6
    return bytes((0, family)) + _xor(port.to_bytes(2, "big"), mask) + _xor(packed, mask)


def _decode_address(value: memoryview, mask: bytes) -> SocketAddress:
    """Read a (XOR-)MAPPED-ADDRESS value; `mask` is 16 bytes, zeros for the plain form."""
    reader = Reader(value)
    reader.view(1)
    family = reader.uint(1)
    if family not in ADDRESS_SIZE_BY_FAMILY:
        raise DecodeError(f"an address of unknown family {family}")
    port = int.from_bytes(_xor(reader.bytes(2), mask), "big")
    if reader.remaining < ADDRESS_SIZE_BY_FAMILY[family]:
        raise Truncated("a STUN address is cut short")
    packed = _xor(reader.bytes(ADDRESS_SIZE_BY_FAMILY[family]), mask)
    return str(_unmapped(ip_address(packed))), port


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ other for byte, other in zip(data, mask, strict=False))


def _fingerprint(covered: bytes | memoryview) -> bytes:
    return (crc32(covered) ^ FINGERPRINT_MASK).to_bytes(FINGERPRINT_SIZE, "big")
