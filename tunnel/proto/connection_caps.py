"""How many connections a server holds, in all and from one source.

A source is an IPv4 address or an IPv6 /64.  Loopback counts in the total alone: who is on this
machine, or comes through its reverse proxy, is not one sender.
"""

from collections import Counter

from tunnel.proto.source_network import is_loopback, source_network


class ConnectionCaps:
    """Counts connections against two bounds.

    Args:
        total: connections at once.
        per_source: of these, from one source.
    """

    def __init__(self, total: int, per_source: int) -> None:
        self._total = total
        self._per_source = per_source
        self._count = 0
        self._count_by_source: Counter[bytes] = Counter()

    def try_add(self, address: str) -> bool:
        """Count a connection from a plain address; False: it is one too many, do not count it."""
        source = _source(address)
        is_one_sender = not is_loopback(address)
        if self._count >= self._total:
            return False
        if is_one_sender and self._count_by_source[source] >= self._per_source:
            return False
        self._count += 1
        self._count_by_source[source] += 1
        return True

    def remove(self, address: str) -> None:
        """Forget a connection that was counted."""
        source = _source(address)
        self._count -= 1
        self._count_by_source[source] -= 1
        if not self._count_by_source[source]:
            del self._count_by_source[source]


def _source(address: str) -> bytes:
    return source_network(address) if ":" in address else address.encode("ascii")
