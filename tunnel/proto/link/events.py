"""What a link is told when it begins, and what it tells its owner."""

from collections.abc import Callable
from dataclasses import dataclass

from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, Secret
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.streams.table import StreamEvent
from tunnel.units import Seconds
from tunnel.wire.packet import RELAY_PATH


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """What the handshake settled.

    Args:
        is_issuer: our role.
        peer_key: the peer's DERP key.
        root: the root key of key phase 0.
        aead: the AEAD both sides use.
        peer_index: the index by which the peer knows this link.
        features: what both sides can do, see `tunnel.proto.handshake.Feature`.
        relay: our relay connection to start with.
        peer_grant: relay frames they let us have in flight.
        our_grant: relay frames we let them have in flight.
        is_polite: whether the relay is a public one.
        give_up_after_s: silence after which the link is given up, once something is unanswered.
        is_admitted: whether the peer has its place from the beginning; see `PeerLink.admit`.
    """

    is_issuer: bool
    peer_key: DerpKey
    root: Secret
    aead: AeadId
    peer_index: int
    features: int
    relay: int
    peer_grant: int
    our_grant: int
    is_polite: bool
    give_up_after_s: Seconds = 60.0
    is_admitted: bool = True


@dataclass(frozen=True, slots=True)
class LinkStalled:
    """Something has been unanswered for `silent_s`; the link is given up in `give_up_in_s`."""

    silent_s: Seconds
    give_up_in_s: Seconds


@dataclass(frozen=True, slots=True)
class LinkResumed:
    """The other side is heard again after `silent_s`."""

    silent_s: Seconds


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The link is over.

    Args:
        code: of the close frame; PROTOCOL_VIOLATION when a side broke the rules.
        text: a sentence from the other side, untrusted; empty otherwise.
        is_by_peer: whether the other side closed it.
    """

    code: int
    text: str
    is_by_peer: bool


@dataclass(frozen=True, slots=True)
class LinkGivenUp:
    """Nothing was heard for `silent_s`; whether the peer lives is unknown."""

    silent_s: Seconds


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Data takes another path now: a direct one, or the relay when `endpoint` is None."""

    endpoint: UdpEndpoint | None


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """The other side saw packets of ours come from this address: a reflexive candidate."""

    lane: int
    ip: str
    port: int


LinkEvent = (
    StreamEvent | LinkStalled | LinkResumed | LinkClosed | LinkGivenUp | PathChanged | AddressSeen
)
Trace = Callable[[str, dict[str, object]], None]


@dataclass(slots=True)
class LinkCounters:
    """What a link did so far, for receipts and traces."""

    packets_received: int = 0
    packets_dropped: int = 0  # not authentic, replayed, or from the wrong place
    packets_lost: int = 0
    bytes_received_relayed: int = 0
    bytes_received_direct: int = 0
    bytes_sent_relayed: int = 0
    bytes_sent_direct: int = 0
    relay_changes: int = 0
    stalls: int = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes sealed, on all paths."""
        return self.bytes_sent_relayed + self.bytes_sent_direct

    @property
    def bytes_received(self) -> int:
        """Bytes opened, on all paths."""
        return self.bytes_received_relayed + self.bytes_received_direct

    @property
    def bytes_total(self) -> int:
        """Bytes sealed and opened."""
        return self.bytes_received + self.bytes_sent

    def received(self, count: int, size: int, *, is_relayed: bool) -> None:
        """Count authentic packets of one size."""
        self.packets_received += count
        if is_relayed:
            self.bytes_received_relayed += count * size
        else:
            self.bytes_received_direct += count * size

    def sent(self, path_id: int, size: int) -> None:
        """Count a packet sent."""
        if path_id == RELAY_PATH:
            self.bytes_sent_relayed += size
        else:
            self.bytes_sent_direct += size
