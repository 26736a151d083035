"""Which connections a server takes and when it begins with each: one sender delays no other.

    floor      a few of every network      served at once, whatever others do
    network    many of one network         wait their turn, or are refused
    total      of all networks             what one network is refused is not charged to the others

A network is a /24 of IPv4 or a /64 of IPv6.  Besides these rates there are bounds on connections at
once: for a source (an IPv4 address or an IPv6 /64), from which loopback is excepted, since who is
on this machine, or comes through its reverse proxy, is not one sender; and in all.  When the server
is full, a newcomer displaces the oldest connection, not yet a client, of the network that has
most of them: a crowd of strangers keeps out its own kind only.

Of those beyond a source's bound a few at a time are taken all the same, only to be told so.  What
comes by a proxy counts for nobody until the proxy has told for whom (`move`), and then as if it had
come from there.
"""

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from tunnel.proto.relay_server.source_network import is_loopback, source_network
from tunnel.proto.token_bucket import Allowance, Buckets, TokenBucket
from tunnel.units import Instant, Seconds
from tunnel.values import frozen

# Chosen: a pair with its probes is served at once; who comes again and again is slowed down.
FLOOR = Allowance(rate=2.0, burst=16.0)
# Chosen: half of all, so that one network leaves as much to the others; a proxy is one network.
OF_A_NETWORK = Allowance(rate=100.0, burst=200.0)
# Chosen: a TLS handshake costs about a millisecond of the processor.
OF_ALL = Allowance(rate=200.0, burst=400.0)
# Chosen: five times as many as are begun with in all; a proxy is not one sender.
OF_A_PROXY = Allowance(rate=1000.0, burst=2000.0)
# Chosen: clients give up after 3 s and more; who would wait longer is refused.
MAX_WAIT_S: Seconds = 2.0
# Chosen: a megabyte when full; who is forgotten begins afresh.
MAX_NETWORKS = 4096
# Chosen: of one source, beyond its bound; enough for its programs to read why.
TOLD_AT_ONCE = 4


class Refusal(Enum):
    """Why a connection is not served."""

    SOURCE = "one address has as many as it may"
    RATE = "one network begins too many"
    TOTAL = "there are as many as the server may have"
    CLIENTS = "as many clients are logged in as may be"


@frozen
class AcceptRates:
    """How many connections a server begins with.

    Args:
        floor: of each network, served at once.
        network: of each network, above its floor.
        total: of all networks, above their floors.
        proxy: by each network with a proxy, before it is known for whom.
    """

    floor: Allowance = FLOOR
    network: Allowance = OF_A_NETWORK
    total: Allowance = OF_ALL
    proxy: Allowance = OF_A_PROXY


@dataclass(slots=True, eq=False)
class Admitted:
    """A connection that was taken.

    Args:
        source: the address, or IPv6 network, it counts for; b"" for none.
        network: the network it came from.
        serve_at: when to begin with it.
        displaced: the connection that has to end for it, and has left already.
        is_beyond: its source has as many as it may: it is only to be told so.
        is_of_proxy: it is somebody else's, whom `ConnectionCaps.move` is told.
    """

    source: bytes
    network: bytes
    serve_at: Instant
    displaced: "Admitted | None" = None
    is_beyond: bool = False
    is_of_proxy: bool = False


class ConnectionCaps:
    """Decides on every new connection of a server.

    Args:
        total: connections at once.
        per_source: of these, from one source.
        rates: how many it begins with.
        now: when the server starts.
    """

    def __init__(self, total: int, per_source: int, rates: AcceptRates, now: Instant) -> None:
        self._total = total
        self._per_source = per_source
        self._floors: Buckets[bytes] = Buckets(rates.floor, MAX_NETWORKS)
        self._networks: Buckets[bytes] = Buckets(rates.network, MAX_NETWORKS)
        self._all = TokenBucket(rates.total, now)
        self._proxies: Buckets[bytes] = Buckets(rates.proxy, MAX_NETWORKS)
        self._held: set[Admitted] = set()
        self._count_by_source: Counter[bytes] = Counter()
        self._beyond_by_source: Counter[bytes] = Counter()
        # Those that are not clients yet, in order of arrival.
        self._strangers_by_network: dict[bytes, dict[Admitted, None]] = {}

    def admit(self, now: Instant, address: str, *, is_of_proxy: bool = False) -> Admitted | Refusal:
        """Decide on a connection from a plain address; a refused one is to be closed.

        One that `is_of_proxy` is somebody else's; `move` tells whose.
        """
        network, source = _origin(address)
        if is_of_proxy:
            source = b""
        is_beyond = self._has_enough(source)
        if is_beyond and self._beyond_by_source[source] >= TOLD_AT_ONCE:
            return Refusal.SOURCE
        is_full = len(self._held) >= self._total
        displaced = self._displaceable(network) if is_full else None
        if is_full and displaced is None:
            return Refusal.TOTAL
        if is_of_proxy:
            serve_at = now if self._proxies.try_take(now, network) else None
        else:
            serve_at = self._turn(now, network)
        if serve_at is None:
            return Refusal.RATE
        if displaced is not None:
            self.remove(displaced)
        admitted = Admitted(source, network, serve_at, displaced, is_beyond, is_of_proxy)
        self._held.add(admitted)
        self._count(admitted, 1)
        self._strangers_by_network.setdefault(network, {})[admitted] = None
        return admitted

    def move(self, now: Instant, admitted: Admitted, address: str) -> Refusal | None:
        """Count a connection for another plain address, and set anew when to begin with it.

        What is refused counts for its network alone, until it has ended.  What has given way
        counts for nobody any more.
        """
        if admitted not in self._held:
            return Refusal.TOTAL
        network, source = _origin(address)
        is_stranger = admitted in self._strangers_by_network.get(admitted.network, {})
        self.settle(admitted)
        self._count(admitted, -1)
        admitted.network, admitted.source = network, b""
        if is_stranger:
            self._strangers_by_network.setdefault(network, {})[admitted] = None
        if self._has_enough(source):
            return Refusal.SOURCE
        serve_at = self._turn(now, network)
        if serve_at is None:
            return Refusal.RATE
        admitted.source, admitted.serve_at = source, serve_at
        self._count(admitted, 1)
        return None

    def settle(self, admitted: Admitted) -> None:
        """Note that a connection became a client, which nobody displaces."""
        strangers = self._strangers_by_network.get(admitted.network)
        if strangers is not None and admitted in strangers:
            del strangers[admitted]
            if not strangers:
                del self._strangers_by_network[admitted.network]

    def remove(self, admitted: Admitted) -> None:
        """Forget a connection; once is enough, and more is harmless."""
        if admitted not in self._held:
            return
        self.settle(admitted)
        self._held.remove(admitted)
        self._count(admitted, -1)
        admitted.displaced = None  # or each would keep all who went before it

    def _has_enough(self, source: bytes) -> bool:
        return bool(source) and self._count_by_source[source] >= self._per_source

    def _count(self, admitted: Admitted, change: int) -> None:
        counts = self._beyond_by_source if admitted.is_beyond else self._count_by_source
        if admitted.source:
            counts[admitted.source] += change
            if not counts[admitted.source]:
                del counts[admitted.source]

    def _turn(self, now: Instant, network: bytes) -> Instant | None:
        """Return when a network's next connection is served; None: it would wait too long."""
        if self._floors.try_take(now, network):
            return now
        for bucket in (self._networks.of(now, network), self._all):
            if bucket.ready_at() > now + MAX_WAIT_S:
                return None
        return max(self._networks.of(now, network).take(now, 1), self._all.take(now, 1))

    def _displaceable(self, network: bytes) -> Admitted | None:
        """Return the oldest stranger of the network with most of them, unless it is the same."""
        if not self._strangers_by_network:
            return None
        crowd = max(self._strangers_by_network.values(), key=len)
        own = self._strangers_by_network.get(network, {})
        return next(iter(crowd)) if len(crowd) > len(own) + 1 else None


def _origin(address: str) -> tuple[bytes, bytes]:
    """Return network and source of a plain address; loopback is no single source."""
    network = source_network(address)
    if is_loopback(address):
        return network, b""
    return network, network if ":" in address else address.encode("ascii")
