"""The contract of sans-IO machines, and what they send.

    handle_*         bytes, time and news come in; bad input never raises, it is dropped and counted
    *_to_send        what to hand to the network now
    next_*           when to come back, what happened
    other verbs      commands of the owner

A driver does this again and again, whatever woke it:

    1  handle_timeout(now)                  if a deadline has come; spurious calls are harmless
    2  next_event()                         until it returns None
    3  packets_to_send(now)                 until it returns none, with room for all of them
    4  next_event()                         again: a link may have ended meanwhile
    5  next_timeout(), next_pacing(now)     sleeps until the earlier one; both ahead, after 1 to 4

In between, at any time: what a socket read brings, and commands; then 2 to 5, since either may have
made something due.  `handle_relay_up` comes before anything that this relay delivers, and again
after each `handle_relay_down`; what is sent by a relay that is down is lost.

A machine does no I/O and so can never yield: between two of its statements no other greenlet runs,
and it needs no locks.  Drivers never call into a machine while they hold a half-updated view of it.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from tunnel.addresses import host_and_port
from tunnel.crypto.keys import DerpKey
from tunnel.units import Buffer, Instant
from tunnel.values import frozen

E_co = TypeVar("E_co", covariant=True)


@frozen
class RelayEndpoint:
    """A peer as a relay addresses it.

    Args:
        relay: which of our relay connections, by the number its owner gave it.
        key: the peer's DERP key.
    """

    relay: int
    key: DerpKey


@frozen
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


@frozen
class Transmit:
    """Bytes to send.

    Args:
        data: one packet; it must not change any more.
        to: where to.
        is_control: whether it goes before data that waits in the same socket.
        segment_size: for a burst of datagrams of that size (the last may be shorter), 0 for one
            packet.  A burst lies in memory that the next call of `packets_to_send` may use again.
    """

    data: Buffer
    to: Destination
    is_control: bool
    segment_size: int = 0


class Timed(Protocol):
    """What has deadlines; where it only asks, what is due goes out by its `*_to_send(now)`."""

    def next_timeout(self) -> Instant | None:
        """Return when to come back, None for never; ask after everything was sent."""


class Clockwork(Timed, Protocol):
    """What has something to do at its deadlines, beside sending."""

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""


class Machine(Clockwork, Protocol[E_co]):
    """A link, or what makes links: sends packets by relays and lanes, and tells what happened."""

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is up, the first time or again."""

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is down, or could not be made."""

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return up to about `limit` packets, control first; ask again until it returns none."""

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets data go that waits for that, None if none does."""

    def next_event(self) -> E_co | None:
        """Return what happened next, or None."""
