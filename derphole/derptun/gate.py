"""TunnelGate: admits the clients of one server token, and answers who else serves with it.

    capability_tunnel   a client: let in while neither its token nor the server's has expired, and
                        it is not revoked
    capability_serve    another `derptun serve` with the same token asks whether somebody serves
                        already, and is told; one that takes over is let in, and heard once its
                        link is proved: what a relay repeats ends nothing

Only who has the seed can make a claim of the second kind.  Pure.  Source: docs/protocol.md,
section "Meeting".
"""

from derphole.token.admission import ClaimHeader, Refusal, decode_header
from derphole.token.grant import Capability, Grant, IssuerKeys, grant_secret
from tunnel.errors import DecodeError
from tunnel.proto.meeting.owner import ACCEPTED, Named
from tunnel.units import WallTime

# Fixed by the protocol: names of grants by which a server asks.
ASKS = ""
REPLACES = "replace"
MAX_ASKED = 16  # chosen: they are taken at once


class TunnelGate:
    """Decides who may come.

    Args:
        keys: the server's keys.
        expires_at: of the server token, Unix seconds; changed when it is renewed.

    Attributes:
        expires_at: as given.
        revoked: ids of client tokens that are good no more.
        asked: grants by which somebody with the same token asked; whoever takes them clears it.
    """

    def __init__(self, keys: IssuerKeys, expires_at: int) -> None:
        self.expires_at = expires_at
        self.revoked: frozenset[bytes] = frozenset()
        self.asked: list[Grant] = []
        self._keys = keys

    def named(self, header: bytes, ephemeral: bytes) -> Named | None:
        """Return whom a claim's header names, or None if that is nobody."""
        del ephemeral
        claim = _decoded(header)
        if claim is None or claim.proof is not None:
            return None
        return Named(claim.grant.id, grant_secret(self._keys.minting, claim.grant))

    def verdict(self, header: bytes, instance: bytes | None, wall: WallTime) -> int:
        """Return ACCEPTED or a `Refusal`; the server's clock decides about expiry."""
        del instance
        grant = decode_header(header).grant
        if grant.capability is Capability.SERVE:
            if grant.name == REPLACES:
                return ACCEPTED
            self.asked = [*self.asked[-MAX_ASKED:], grant]
            return Refusal.SERVED
        if grant.capability is not Capability.TUNNEL:
            return Refusal.WRONG_CAPABILITY
        if grant.id in self.revoked:
            return Refusal.REVOKED
        if wall >= self.ends_at(grant):
            return Refusal.EXPIRED
        return ACCEPTED

    def ends_at(self, grant: Grant) -> int:
        """Return when a client's link ends at the latest, Unix seconds."""
        return min(grant.expires_at, self.expires_at)


def _decoded(header: bytes) -> ClaimHeader | None:
    try:
        return decode_header(header)
    except DecodeError:
        return None
