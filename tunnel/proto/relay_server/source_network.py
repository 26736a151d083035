"""The network a packet came from, as rate limits count it: /24 of IPv4, /64 of IPv6.

A household or a cloud customer usually holds that much, so one sender cannot pass for many.
"""

from ipaddress import IPv6Address, ip_address

# Chosen: the smallest blocks that are commonly routed or handed out.
IPV4_PREFIX_BYTES = 3
IPV6_PREFIX_BYTES = 8


def plain_address(address: str) -> str:
    """Return an address without its zone, an IPv4-mapped one as IPv4; raises `ValueError`."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def source_network(address: str) -> bytes:
    """Return the leading bytes (3 or 8) of the network of a plain address."""
    packed = ip_address(address).packed
    return packed[: IPV4_PREFIX_BYTES if len(packed) == 4 else IPV6_PREFIX_BYTES]


def is_loopback(address: str) -> bool:
    """Tell whether a plain address belongs only to this machine."""
    return ip_address(address).is_loopback


def is_unspecified(address: str) -> bool:
    """Tell whether a plain address means every address of a machine."""
    return ip_address(address).is_unspecified
