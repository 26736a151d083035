"""Addresses as text: an IPv6 literal is in brackets wherever a port or a path may follow."""

from ipaddress import ip_address


def bracketed(host: str) -> str:
    """Write a host as in a URL or before a port."""
    return f"[{host}]" if ":" in host else host


def host_and_port(host: str, port: int) -> str:
    """Write a host and a port as people do."""
    return f"{bracketed(host)}:{port}"


def without_zone(host: str) -> str:
    """Return an address without the name of an interface of this machine; names as they are."""
    return host.partition("%")[0]


def unquoted_zone(host: str) -> str:
    """Return an address as programs take it; in a URL RFC 6874 has a zone begin with %25."""
    ip, percent, zone = host.partition("%")
    return f"{ip}{percent}{zone.removeprefix('25') or zone}"


def is_link_local(host: str) -> bool:
    """Tell whether a host is an IPv6 address of one link, which needs a zone: fe80::1%eth0."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.version == 6 and address.is_link_local
