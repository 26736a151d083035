"""What a reverse proxy tells of a request that it passes on, sans-IO.

    X-Forwarded-For     who asked it: the last entry is the proxy's own, those before it are
                        whatever the client sent along
    X-Forwarded-Proto   http or https, as the client speaks it
    X-Forwarded-Host    the Host field as the client sent it

Anybody can send these fields, so they count only where the operator said that there is a proxy, and
only from a peer that may be one: on this machine or in a private network.  Whoever else reaches
the relay beside its proxy speaks for itself alone.
"""

import re
from ipaddress import ip_address, ip_network

from tunnel.proto.relay_server.source_network import plain_address
from tunnel.values import frozen
from tunnel.wire.http_head import RequestHead

# RFC 1918, 3927, 4193, 4291, and what providers and clusters share (RFC 6598).
_PRIVATE = [
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "fe80::/10",
    )
]
# 192.0.2.1 or 2001:db8::1, as some proxies write it also with its port: 192.0.2.1:80, [::1]:80
_ENTRY = re.compile(
    r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)"
)


@frozen
class Forwarded:
    """What is known of the client behind a proxy; "" for what is not.

    Args:
        address: the client's, plain.
        scheme: "http" or "https".
        host: host and port as in a URL.
    """

    address: str = ""
    scheme: str = ""
    host: str = ""


NOT_FORWARDED = Forwarded()


def may_be_proxy(peer: str) -> bool:
    """Tell whether a plain address may be that of the relay's own proxy."""
    address = ip_address(peer)
    return address.is_loopback or any(address in network for network in _PRIVATE)


def forwarded(head: RequestHead, peer: str) -> Forwarded:
    """Return what a proxy at a plain address tells of a request; nothing if it cannot be one."""
    if not may_be_proxy(peer):
        return NOT_FORWARDED
    scheme = _last(head, "x-forwarded-proto").lower()
    return Forwarded(
        _address(_last(head, "x-forwarded-for")),
        scheme if scheme in ("http", "https") else "",
        _last(head, "x-forwarded-host"),
    )


def _last(head: RequestHead, name: str) -> str:
    return head.headers.get(name, "").rpartition(",")[2].strip(" \t")


def _address(entry: str) -> str:
    match = _ENTRY.fullmatch(entry)
    try:
        return plain_address(match[1] or match[2] or match[3]) if match else ""
    except ValueError:
        return ""
