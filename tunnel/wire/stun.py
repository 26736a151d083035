"""STUN binding requests and responses: the subset that Tailscale's DERP servers speak.

    0         2         4            8                 20
    +---------+---------+------------+-----------------+-- - -
    | type    | length  | 21 12 a4 42| transaction id  | attributes: type u16, size u16, value,
    +---------+---------+------------+-----------------+ zeros up to a multiple of 4

Integers are big-endian.  A request as Tailscale sends it carries SOFTWARE "tailnode" and ends with
FINGERPRINT; a plain RFC 8489 request may carry nothing at all.  A response carries one
XOR-MAPPED-ADDRESS.  Sources: RFC 8489 sections 5, 14; tailscale net/stun/stun.go.  This module
knows neither servers nor what an address is used for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from zlib import crc32

from tunnel.errors import BadMagic, DecodeError, Truncated
from tunnel.wire.reader import Reader

# Fixed by the protocol.
HEADER_SIZE = 20
TRANSACTION_ID_SIZE = 12
MAGIC_COOKIE = bytes.fromhex("2112a442")
BINDING_REQUEST = 0x0001
BINDING_RESPONSE = 0x0101
ATTRIBUTE_HEADER_SIZE = 4
MAPPED_ADDRESS = 0x0001
XOR_MAPPED_ADDRESS = 0x0020
XOR_MAPPED_ADDRESS_OLD = 0x8020  # a draft's number, still seen in the wild
SOFTWARE = 0x8022
FINGERPRINT = 0x8028
FIRST_OPTIONAL_ATTRIBUTE = 0x8000  # below it, who does not know an attribute must not go on
FINGERPRINT_MASK = 0x5354554E  # "STUN"
FINGERPRINT_SIZE = 4
FAMILY_IPV4 = 1
FAMILY_IPV6 = 2
ADDRESS_SIZE_BY_FAMILY = {FAMILY_IPV4: 4, FAMILY_IPV6: 16}
TAILSCALE_SOFTWARE = b"tailnode"


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """A question for one's own address; `is_tailscale`: with Tailscale's mark and fingerprint."""

    transaction_id: bytes
    is_tailscale: bool


@dataclass(frozen=True, slots=True)
class BindingResponse:
    """The address and port (0 to 65535) that a request came from, as the server saw them."""

    transaction_id: bytes
    address: str
    port: int


def is_stun(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether a datagram wears the STUN header, whatever its type."""
    return len(data) >= HEADER_SIZE and data[0] & 0xC0 == 0 and data[4:8] == MAGIC_COOKIE


def encode_binding_request(transaction_id: bytes) -> bytes:
    """Return the 40 bytes that a Tailscale client sends; `transaction_id` is 12 bytes."""
    software = _encode_attribute(SOFTWARE, TAILSCALE_SOFTWARE)
    # The fingerprint covers the length field, which already counts the fingerprint.
    size = len(software) + ATTRIBUTE_HEADER_SIZE + FINGERPRINT_SIZE
    covered = _encode_header(BINDING_REQUEST, size, transaction_id) + software
    return covered + _encode_attribute(FINGERPRINT, _fingerprint(covered))


def decode_binding_request(data: bytes | bytearray | memoryview) -> BindingRequest:
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
    for kind, value in _attributes(reader):
        if is_fingerprinted:
            raise DecodeError("a STUN request goes on behind its fingerprint")
        if kind < FIRST_OPTIONAL_ATTRIBUTE:
            raise DecodeError(f"a STUN request asks for attribute {kind:#06x}")
        if kind == SOFTWARE:
            is_tailnode = value == TAILSCALE_SOFTWARE
        elif kind == FINGERPRINT:
            covered = view[: len(view) - ATTRIBUTE_HEADER_SIZE - FINGERPRINT_SIZE]
            if value != _fingerprint(covered):
                raise DecodeError("a STUN request's fingerprint is wrong")
            is_fingerprinted = True
    return BindingRequest(transaction_id, is_tailnode and is_fingerprinted)


def encode_binding_response(transaction_id: bytes, address: str, port: int) -> bytes:
    """Return the 32 (IPv4) or 44 (IPv6) bytes that answer a request.

    Args:
        transaction_id: the request's.
        address: the source of the request; an IPv4-mapped IPv6 address is answered as IPv4.
        port: 0 to 65535.
    """
    packed = _unmapped(ip_address(address)).packed
    family = FAMILY_IPV4 if len(packed) == 4 else FAMILY_IPV6
    mask = MAGIC_COOKIE + transaction_id
    value = bytes((0, family)) + _xor(port.to_bytes(2, "big"), mask) + _xor(packed, mask)
    attribute = _encode_attribute(XOR_MAPPED_ADDRESS, value)
    return _encode_header(BINDING_RESPONSE, len(attribute), transaction_id) + attribute


def decode_binding_response(data: bytes | bytearray | memoryview) -> BindingResponse:
    """Read a response of any STUN server; raises `DecodeError`.

    Bytes behind the stated length are ignored; a XOR-MAPPED-ADDRESS wins over the MAPPED-ADDRESS
    of old servers; an IPv4-mapped IPv6 address is given as IPv4.
    """
    reader = Reader(data)
    transaction_id, size = _decode_header(reader, BINDING_RESPONSE)
    mask = MAGIC_COOKIE + transaction_id
    plain: tuple[str, int] | None = None
    for kind, value in _attributes(Reader(reader.view(size))):
        if kind in (XOR_MAPPED_ADDRESS, XOR_MAPPED_ADDRESS_OLD):
            return BindingResponse(transaction_id, *_decode_address(value, mask))
        if kind == MAPPED_ADDRESS:
            plain = _decode_address(value, bytes(len(mask)))
    if plain is None:
        raise DecodeError("a STUN response carries no address")
    return BindingResponse(transaction_id, *plain)


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


def _decode_address(value: memoryview, mask: bytes) -> tuple[str, int]:
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
