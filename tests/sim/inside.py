"""Where tests look into a link: each of its parts that they see is named here, once."""

from tunnel.crypto.packets import PacketSealer
from tunnel.proto.link.path import RelayPath
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.paths.table import PathTable


def relay_path(link: PeerLink) -> RelayPath:
    """Return path 0: its rate controller, and what is in flight on it."""
    return link._paths.relay


def direct_paths(link: PeerLink) -> PathTable:
    """Return the direct paths and which of them is active."""
    return link._paths.direct


def sealer_of(link: PeerLink) -> PacketSealer:
    """Return what seals the packets of a link: whoever has it says what the peer believes."""
    return link._packer._sealer
