"""Candidates: which addresses of a peer may be probed, how many, and in which order.

A peer may be hostile within its capability: it must not aim our probes at others.  So addresses are
checked, their number is bounded in all and for each foreign network, and overlay addresses, which
often lead back into another tunnel, come last.  Source: design, section 8; RFC 8445 for the kinds.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tunnel.units import Instant, Seconds
from tunnel.wire.frames import MAX_CANDIDATES, Candidate

Address = IPv4Address | IPv6Address

# Chosen (design, section 8).
MAX_PER_NETWORK = 4  # for each /24 or /64 that is not the peer's own
CANDIDATE_LIFE_S: Seconds = 300.0
# Fixed by RFC 1122, 1112 and 4291: "this network", the reserved ones with the broadcast address,
# and IPv4 addresses in the clothes of IPv6 ones.  No peer is reached there.
NOWHERE = (ip_network("0.0.0.0/8"), ip_network("240.0.0.0/4"), ip_network("::/96"))
OVERLAY_NETWORKS = (ip_network("100.64.0.0/10"), ip_network("fd7a:115c:a1e0::/48"))


class CandidateKind(IntEnum):
    """How a side came to know an address of its own."""

    HOST = 1  # of an interface
    REFLEXIVE = 2  # as a STUN server or the peer saw it
    MAPPED = 3  # a port mapper gave it


def is_probeable(candidate: Candidate, *, allows_loopback: bool, allows_link_local: bool) -> bool:
    """Tell whether an address may be probed at all.

    Link-local ones may be where we have one ourselves; those of IPv6 need a zone, and nobody can
    tell another machine's.
    """
    try:
        address = ip_address(candidate.ip)
    except ValueError:
        return False
    if not 0 < candidate.port < 65536:
        return False
    if address.is_loopback:
        return allows_loopback
    if address.is_link_local:
        return allows_link_local and isinstance(address, IPv4Address)
    return not address.is_multicast and not any(address in network for network in NOWHERE)


@functools.lru_cache(maxsize=MAX_CANDIDATES)
def is_link_local(ip: str) -> bool:
    """Tell whether an address is good in its own network only."""
    return ip_address(ip).is_link_local


@functools.lru_cache(maxsize=MAX_CANDIDATES)
def is_overlay(ip: str) -> bool:
    """Tell whether an address belongs to a well-known overlay network."""
    address = ip_address(ip)
    return any(address in network for network in OVERLAY_NETWORKS)


def network_of(ip: str) -> str:
    """Return the /24 or /64 an address belongs to."""
    address = ip_address(ip)
    prefix = 24 if isinstance(address, IPv4Address) else 64
    return str(ip_network((address, prefix), strict=False))


class PeerCandidates:
    """The addresses a peer offered lately.

    Each holds its place for CANDIDATE_LIFE_S after it was last offered, so a peer aims our probes
    at MAX_CANDIDATES addresses in that time, and at MAX_PER_NETWORK of a network it has not shown
    to be its own: private ones, and those `is_own` knows, where a challenge was answered.
    """

    def __init__(self) -> None:
        self._offered: dict[tuple[str, int], Candidate] = {}
        self._offered_at: dict[tuple[str, int], Instant] = {}

    def __len__(self) -> int:
        return len(self._offered)

    def __contains__(self, address: object) -> bool:
        return address in self._offered

    def offer(
        self,
        now: Instant,
        offered: Iterable[Candidate],
        may_be_probed: Callable[[Candidate], bool],
        is_own: Callable[[str], bool],
    ) -> int:
        """Take what fits of an offer; returns how many addresses did not."""
        self.expire(now)
        used = Counter(network_of(ip) for ip, _ in self._offered)
        refused = 0
        for candidate in offered:
            key, network = (candidate.ip, candidate.port), network_of(candidate.ip)
            if not may_be_probed(candidate):
                continue
            if key not in self._offered:
                is_foreign = not ip_address(candidate.ip).is_private and not is_own(network)
                is_full = len(self._offered) >= MAX_CANDIDATES
                if is_full or (is_foreign and used[network] >= MAX_PER_NETWORK):
                    refused += 1
                    continue
                used[network] += 1
            self._offered[key], self._offered_at[key] = candidate, now
        return refused

    def expire(self, now: Instant) -> None:
        """Forget what was offered too long ago."""
        for key, at in list(self._offered_at.items()):
            if now >= at + CANDIDATE_LIFE_S:
                del self._offered[key], self._offered_at[key]

    def ranked(self) -> list[Candidate]:
        """Return the addresses to probe, in order."""
        return sorted(self._offered.values(), key=lambda candidate: is_overlay(candidate.ip))
