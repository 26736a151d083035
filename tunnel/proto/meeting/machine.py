"""MeetingMachine: what a driver of an issuer or of a claimer calls, beside the common contract."""

from typing import Protocol, TypeVar

from tunnel.crypto.keys import DerpKey
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import Machine, UdpEndpoint
from tunnel.units import Instant, WallTime

E_co = TypeVar("E_co", covariant=True)


class MeetingMachine(Machine[E_co], Protocol[E_co]):
    """One side of meeting, and the links that came of it."""

    @property
    def links(self) -> list[PeerLink]:
        """The links that have a place; one that has just been closed may be among them."""

    @property
    def relays_up(self) -> set[int]:
        """The numbers of the relay connections that are up."""

    def handle_packet(
        self, now: Instant, wall: WallTime, relay: int, source: DerpKey, data: memoryview
    ) -> None:
        """Take a packet that `relay` delivered from `source`."""

    def handle_datagrams(self, now: Instant, origin: UdpEndpoint, burst: ReceivedBurst) -> None:
        """Take what came by UDP."""

    def handle_peer_gone(self, now: Instant, relay: int, key: DerpKey) -> None:
        """Take a relay's word that it does not serve a key: a hint, never an end."""
