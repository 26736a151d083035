"""NAT-PMP messages: asking a gateway for its external address and for a UDP port.

    address request    00 00
    map UDP request    00 01 0000 | internal port u16 | suggested external port u16 | lifetime u32
    any response       00 | opcode + 80 | result u16 | epoch u32 | body
      address body     external IPv4 address, 4 bytes
      map UDP body     internal port u16 | external port u16 | lifetime u32

Integers are big-endian; a lifetime of 0 deletes.  A refusal may end behind the epoch.  UDP, port
5351 of the gateway.  Source: RFC 6886 section 3.  This module knows neither when to ask nor whether
an answer was asked for.
"""

from enum import IntEnum
from ipaddress import IPv4Address

from tunnel.errors import DecodeError, UnknownVersion
from tunnel.units import Buffer
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
VERSION = 0
OPCODE_ADDRESS = 0
OPCODE_MAP_UDP = 1
RESPONSE_BIT = 0x80
ADDRESS_SIZE = 4


class Result(IntEnum):
    """The result codes of RFC 6886 section 3.5; others may come."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@frozen
class AddressResponse:
    """The gateway's external address; `epoch_s` counts since its mapping table was empty."""

    epoch_s: int
    external_ip: str


@frozen
class MapResponse:
    """A mapping as granted; `lifetime_s` is 0 for one that was deleted."""

    epoch_s: int
    internal_port: int
    external_port: int
    lifetime_s: int


@frozen
class Refusal:
    """A request that failed; `result` is not 0."""

    epoch_s: int
    opcode: int
    result: int


Response = AddressResponse | MapResponse | Refusal


def encode_address_request() -> bytes:
    """Return the question for the external address."""
    return bytes((VERSION, OPCODE_ADDRESS))


def encode_map_request(internal_port: int, suggested_port: int, lifetime_s: int) -> bytes:
    """Return the request for a UDP mapping.

    Args:
        internal_port: ours, 1 to 65535.
        suggested_port: the external port we would like, 0 for any; 0 to delete.
        lifetime_s: 0 deletes the mapping.
    """
    head = bytes((VERSION, OPCODE_MAP_UDP, 0, 0))
    ports = internal_port.to_bytes(2, "big") + suggested_port.to_bytes(2, "big")
    return head + ports + lifetime_s.to_bytes(4, "big")


def decode_response(data: Buffer) -> Response:
    """Read a response; bytes behind it are ignored; raises `DecodeError`."""
    reader = Reader(data)
    if (version := reader.uint_be(1)) != VERSION:
        raise UnknownVersion(f"a port mapping response of version {version}")
    opcode = reader.uint_be(1)
    if not opcode & RESPONSE_BIT:
        raise DecodeError("a NAT-PMP request where a response was awaited")
    opcode &= ~RESPONSE_BIT
    result = reader.uint_be(2)
    epoch_s = reader.uint_be(4)
    if result != Result.SUCCESS:
        return Refusal(epoch_s, opcode, result)
    if opcode == OPCODE_ADDRESS:
        return AddressResponse(epoch_s, str(IPv4Address(reader.bytes(ADDRESS_SIZE))))
    if opcode == OPCODE_MAP_UDP:
        return MapResponse(epoch_s, reader.uint_be(2), reader.uint_be(2), reader.uint_be(4))
    raise DecodeError(f"a NAT-PMP response to opcode {opcode}, which is never sent")
