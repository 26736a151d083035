"""Candidates: which addresses of a peer may be probed, how many, and in which order.

A peer may be hostile within its capability: it must not aim our probes at others.  So addresses are
checked, their number is bounded in all and for each foreign network, and overlay addresses, which
often lead back into another tunnel, come last.  Source: design, section 8; RFC 8445 for the kinds.
"""

from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tunnel.wire.frames import MAX_CANDIDATES, Candidate

Address = IPv4Address | IPv6Address

# Chosen (design, section 8).
MAX_PER_NETWORK = 4  # for each /24 or /64 that is not the peer's own
OVERLAY_NETWORKS = (ip_network("100.64.0.0/10"), ip_network("fd7a:115c:a1e0::/48"))


class CandidateKind(IntEnum):
    """How a side came to know an address of its own."""

    HOST = 1  # of an interface
    REFLEXIVE = 2  # as a STUN server or the peer saw it
    MAPPED = 3  # a port mapper gave it


def is_probeable(candidate: Candidate, allows_loopback: bool) -> bool:
    """Tell whether an address may be probed at all."""
    try:
        address = ip_address(candidate.ip)
    except ValueError:
        return False
    if not 0 < candidate.port < 65536 or address.is_multicast or address.is_unspecified:
        return False
    if address.is_loopback:
        return allows_loopback
    is_broadcast = isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF
    return not (is_broadcast or (isinstance(address, IPv6Address) and address.is_link_local))


def is_overlay(ip: str) -> bool:
    """Tell whether an address belongs to a well-known overlay network."""
    address = ip_address(ip)
    return any(address in network for network in OVERLAY_NETWORKS)


def network_of(ip: str) -> str:
    """Return the /24 or /64 an address belongs to."""
    address = ip_address(ip)
    prefix = 24 if isinstance(address, IPv4Address) else 64
    return str(ip_network((address, prefix), strict=False))


def choose_candidates(
    offered: Iterable[Candidate], allows_loopback: bool, limit: int = MAX_CANDIDATES
) -> list[Candidate]:
    """Return which of a peer's candidates are probed, in order, each address once.

    Private networks count as the peer's own; of any other network MAX_PER_NETWORK addresses.
    """
    chosen: dict[tuple[str, int], Candidate] = {}
    used: Counter[str] = Counter()
    for candidate in offered:
        key = (candidate.ip, candidate.port)
        if key in chosen or not is_probeable(candidate, allows_loopback):
            continue
        network = network_of(candidate.ip)
        if not ip_address(candidate.ip).is_private and used[network] >= MAX_PER_NETWORK:
            continue
        used[network] += 1
        chosen[key] = candidate
    ranked = sorted(chosen.values(), key=lambda candidate: is_overlay(candidate.ip))
    return ranked[:limit]
