"""The keys of a link: a root for each key phase, a traffic key for each direction.

    root 0 = KDF(both split keys of Noise);  root n+1 comes from a re-key
    traffic key = KDF(root, AEAD, direction)

docs/protocol.md, "Keys of a link".
"""

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.kdf import derive
from tunnel.crypto.packets import PacketOpener, PacketSealer


def root_key(split: tuple[bytes, bytes]) -> bytes:
    """Return the root of key phase 0 from Noise's two split keys."""
    return derive(split[0] + split[1], "root")


def traffic_key(root: bytes, aead: AeadId, is_from_issuer: bool) -> bytes:
    """Return the key of one direction in the phase of `root`."""
    direction = b"issuer" if is_from_issuer else b"claimer"
    return derive(root, "traffic", aead.name.encode("ascii"), direction)


def packet_keys(
    root: bytes, aead: AeadId, is_issuer: bool, peer_index: int
) -> tuple[PacketSealer, PacketOpener]:
    """Return what seals our packets and opens theirs."""
    algorithm = BY_ID[aead]
    ours, theirs = (traffic_key(root, aead, side) for side in (is_issuer, not is_issuer))
    return PacketSealer(algorithm, ours, peer_index), PacketOpener(algorithm, theirs)
