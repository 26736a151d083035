"""The kernel's tables of TCP sockets: which addresses and ports have a listener.

    /proc/net/tcp    sl   local_address   rem_address     st  ...
                      0:  0100007F:1F90   00000000:0000   0A  ...      127.0.0.1:8080 listens
    /proc/net/tcp6   the same with 32 digits for an address

The kernel prints an address as 32-bit words in the byte order of the machine, so on most machines
each group of eight digits is read backwards; a port is printed as people write it.  Source:
proc(5); Linux net/ipv4/tcp_ipv4.c.  Pure; `derphole.forwarding.presence` reads the tables.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from tunnel.errors import DecodeError
from tunnel.values import frozen

ByteOrder = Literal["little", "big"]
IpAddress = IPv4Address | IPv6Address

# Fixed by Linux.
LISTENING = "0A"  # TCP_LISTEN
FIRST_COLUMNS = ["sl", "local_address"]
_WORD_DIGITS = 8
_ADDRESS_SIZES = {8: 4, 32: 16}  # bytes of an address by its digits
_PORT_DIGITS = 4
_HEXADECIMAL = frozenset("0123456789ABCDEF")


@frozen
class Listener:
    """A TCP socket that waits for connections.

    Args:
        ip: where; an IPv4 address that an IPv6 socket has is given as the IPv4 address.
        port: 1 to 65535.
    """

    ip: IpAddress
    port: int

    def takes(self, ip: IpAddress, port: int) -> bool:
        """Tell whether it gets what is sent to an address of this machine.

        `::` counts as every address of both families: the tables do not say which sockets of IPv6
        leave IPv4 alone.
        """
        if port != self.port:
            return False
        if self.ip.is_unspecified:
            return self.ip.version == 6 or ip.version == 4
        return ip == self.ip


def decode_listeners(lines: Iterable[str], byte_order: ByteOrder) -> Iterator[Listener]:
    """Yield the listeners among the sockets of a table; raises `DecodeError`.

    Args:
        lines: of /proc/net/tcp or /proc/net/tcp6, with the head of the columns.
        byte_order: of the machine that printed them.
    """
    rows = (line.split(maxsplit=4) for line in lines)
    if next(rows, [])[:2] != FIRST_COLUMNS:
        raise DecodeError("the table of sockets has other columns")
    for fields in rows:
        if len(fields) < 4:
            raise DecodeError("a line of the table of sockets is too short")
        if fields[3] == LISTENING:
            yield _listener(fields[1], byte_order)


def plain_ip(ip: IpAddress) -> IpAddress:
    """Return the IPv4 address that is written as ::ffff:192.0.2.1, any other address as it is."""
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return ip if mapped is None else mapped


def _listener(text: str, byte_order: ByteOrder) -> Listener:
    address, _, port = text.partition(":")
    size = _ADDRESS_SIZES.get(len(address))
    if size is None or len(port) != _PORT_DIGITS or not _HEXADECIMAL.issuperset(address + port):
        raise DecodeError("the table of sockets has an address of unknown form")
    packed = b"".join(
        int(address[at : at + _WORD_DIGITS], 16).to_bytes(4, byte_order)
        for at in range(0, len(address), _WORD_DIGITS)
    )
    ip = IPv4Address(packed) if size == 4 else plain_ip(IPv6Address(packed))
    return Listener(ip, int(port, 16))
