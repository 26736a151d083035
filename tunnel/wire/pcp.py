"""PCP messages: the MAP request for a UDP port, and the responses of a server.

    request     02 | opcode | 0000 | lifetime u32 | client address 16 | body           60 bytes
    response    02 | opcode + 80 | 00 | result u8 | lifetime u32 | epoch u32 | 12 zeros | body
    MAP body    nonce 12 | protocol u8 | 000000 | internal port u16 | external port u16
                | external address 16

Integers are big-endian, IPv4 addresses are ::ffff:a.b.c.d.  The nonce proves, when a mapping
is renewed or deleted (lifetime 0), that it is ours.  In a refusal the lifetime says how long it
stays that way, and the body repeats the request's or is missing.  UDP, port 5351 of the gateway.
Source: RFC 6887 sections 7 and 11.  This module knows neither when to ask nor whether an answer was
asked for.
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from tunnel.errors import DecodeError, UnknownVersion
from tunnel.units import Buffer
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
VERSION = 2
OPCODE_ANNOUNCE = 0
OPCODE_MAP = 1
RESPONSE_BIT = 0x80
PROTOCOL_UDP = 17
NONCE_SIZE = 12
ADDRESS_SIZE = 16
MAP_BODY_SIZE = 36
MAX_SIZE = 1100
_RESERVED_SIZE = 12


class Result(IntEnum):
    """The result codes of RFC 6887 section 7.4; others may come."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPPORTED_OPCODE = 4
    UNSUPPORTED_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPPORTED_PROTOCOL = 9
    USER_EXCEEDED_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@frozen
class MapBody:
    """What a MAP message is about.

    Args:
        nonce: 12 bytes, kept for the life of the mapping.
        protocol: the IP protocol number.
        internal_port: ours.
        external_port: the one suggested or granted; 0 for any.
        external_ip: the address suggested or granted; unspecified for any.
    """

    nonce: bytes
    protocol: int
    internal_port: int
    external_port: int
    external_ip: str


@frozen
class Response:
    """A server's answer.

    Args:
        opcode: of the request, 0 to 127.
        result: see `Result`.
        lifetime_s: of the mapping, or of the refusal.
        epoch_s: counts since the server's mapping table was empty.
        mapping: the body of a MAP response, None where there is none.
    """

    opcode: int
    result: int
    lifetime_s: int
    epoch_s: int
    mapping: MapBody | None


def encode_map_request(client_ip: str, mapping: MapBody, lifetime_s: int) -> bytes:
    """Return the request for a mapping.

    Args:
        client_ip: our address, which must be the source of the datagram.
        mapping: what to map.
        lifetime_s: 0 deletes the mapping.
    """
    head = bytes((VERSION, OPCODE_MAP, 0, 0)) + lifetime_s.to_bytes(4, "big")
    ports = mapping.internal_port.to_bytes(2, "big") + mapping.external_port.to_bytes(2, "big")
    body = mapping.nonce + bytes((mapping.protocol, 0, 0, 0)) + ports
    return head + _packed(client_ip) + body + _packed(mapping.external_ip)


def decode_response(data: Buffer) -> Response:
    """Read a response; options behind the body are ignored; raises `DecodeError`."""
    if len(data) > MAX_SIZE:
        raise DecodeError(f"a PCP response is longer than {MAX_SIZE} bytes")
    reader = Reader(data)
    if (version := reader.uint_be(1)) != VERSION:
        raise UnknownVersion(f"a port mapping response of version {version}")
    opcode = reader.uint_be(1)
    if not opcode & RESPONSE_BIT:
        raise DecodeError("a PCP request where a response was awaited")
    opcode &= ~RESPONSE_BIT
    reader.view(1)
    result = reader.uint_be(1)
    lifetime_s = reader.uint_be(4)
    epoch_s = reader.uint_be(4)
    reader.view(_RESERVED_SIZE)
    has_body = result == Result.SUCCESS or reader.remaining >= MAP_BODY_SIZE
    mapping = _decode_map_body(reader) if opcode == OPCODE_MAP and has_body else None
    return Response(opcode, result, lifetime_s, epoch_s, mapping)


def _decode_map_body(reader: Reader) -> MapBody:
    nonce = reader.bytes(NONCE_SIZE)
    protocol = reader.uint_be(1)
    reader.view(3)
    internal_port = reader.uint_be(2)
    external_port = reader.uint_be(2)
    external_ip = _unpacked(reader.bytes(ADDRESS_SIZE))
    return MapBody(nonce, protocol, internal_port, external_port, external_ip)


def _packed(address: str) -> bytes:
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return bytes(10) + b"\xff\xff" + parsed.packed
    return parsed.packed


def _unpacked(packed: bytes) -> str:
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
