"""What a link is told when it begins, and what it has counted at its end."""

from dataclasses import dataclass
from enum import IntFlag

from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, Secret
from tunnel.units import Seconds
from tunnel.values import frozen
from tunnel.wire.packet import RELAY_PATH


class Feature(IntFlag):
    """What a side knows, wants and requires; a decision carries what is in force for both."""

    RELAY_ONLY = 1 << 0  # wanted by either side, it holds for both
    DATAGRAMS = 1 << 1  # wanted by both sides, either may send them


NO_FEATURE = Feature(0)
WANTED_BY_EITHER, WANTED_BY_BOTH = Feature.RELAY_ONLY, Feature.DATAGRAMS
SUPPORTED_FEATURES = WANTED_BY_EITHER | WANTED_BY_BOTH


def features_in_force(ours: int, theirs: int) -> int:
    """Return what holds for a link whose sides want these features; unknown ones never do."""
    return ((ours | theirs) & WANTED_BY_EITHER) | (ours & theirs & WANTED_BY_BOTH)


@frozen
class LinkParameters:
    """What the handshake settled.

    Args:
        is_issuer: our role.
        peer_key: the peer's DERP key.
        root: the root key of key phase 0.
        aead: the AEAD both sides use.
        peer_index: the index by which the peer knows this link.
        features: what both sides can do, see `Feature`.
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
