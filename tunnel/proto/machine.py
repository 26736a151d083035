"""The contract of sans-IO machines, and what they send.

    handle_*             bytes and time come in; bad input never raises, it is dropped and counted
    packets_to_send      what to hand to the network now
    next_timeout         when to call handle_timeout; spurious calls are harmless
    next_event           what happened, for the owner

A machine does no I/O and so can never yield: between two of its statements no other greenlet runs,
and it needs no locks.  Drivers never call into a machine while they hold a half-updated view of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tunnel.addresses import host_and_port
from tunnel.crypto.keys import DerpKey
from tunnel.units import Instant

E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, slots=True)
class RelayEndpoint:
    """A peer as a relay addresses it.

    Args:
        relay: which of our relay connections, by the number its owner gave it.
        key: the peer's DERP key.
    """

    relay: int
    key: DerpKey


@dataclass(frozen=True, slots=True)
class UdpEndpoint:
    """A direct way to a peer: one of our UDP sockets and an address behind it.

    Args:
        lane: which of our UDP sockets, by the number its owner gave it.
        ip: an IPv4 or IPv6 literal, without brackets or zone.
        port: 1 to 65535.
    """

    lane: int
    ip: str
    port: int

    @property
    def address(self) -> str:
        """The address behind it, as people write it."""
        return host_and_port(self.ip, self.port)


Destination = RelayEndpoint | UdpEndpoint
# Takes (event name, values) of what a person who looks for a fault wants to see.
Trace = Callable[[str, dict[str, object]], None]


@dataclass(frozen=True, slots=True)
class Transmit:
    """Bytes to send.

    Args:
        data: one packet; it must not change any more.
        to: where to.
        is_control: whether it goes before data that waits in the same socket.
        segment_size: for a burst of datagrams of that size (the last may be shorter), 0 for one
            packet.  A burst lies in memory that the next call of `packets_to_send` may use again.
    """

    data: bytes | bytearray | memoryview
    to: Destination
    is_control: bool
    segment_size: int = 0


class Machine(Protocol[E_co]):
    """What every machine that speaks packets offers."""

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return up to about `limit` packets; ask again until it returns none."""

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due; ask after `packets_to_send`."""

    def next_event(self) -> E_co | None:
        """Return what happened next, or None."""
