"""Who is admitted: the claim header, and what an issuer makes of it.

    header   0   1  flags (1: resuming)
             1   1  capability
             2   2  zero
             4   4  expiry u32 LE, Unix seconds
             8   8  grant id
            16  32  name, zero-padded
            48  16  proof of the process when resuming, else zeros

The tunnel library carries these 64 bytes and never reads them.  A header names a grant, from which
the issuer computes the secret again; whoever does not know the secret fails the MAC and learns
nothing.  A resuming claim proves who makes it instead: see `derphole.token.resumption`.  Pure.
Source: docs/protocol.md, section "Meeting".
"""

from enum import IntEnum, unique

from derphole.token.grant import (
    GRANT_ID_SIZE,
    MAX_NAME_SIZE,
    RESUMPTION_PROOF_SIZE,
    Capability,
    Grant,
    IssuerKeys,
    grant_secret,
    resumption_proof,
)
from derphole.token.resumption import Resumptions
from tunnel.errors import DecodeError
from tunnel.proto.meeting.owner import (
    ACCEPTED,
    CLAIMER_LACKS,
    HEADER_SIZE,
    ISSUER_LACKS,
    HeaderMaker,
    Named,
)
from tunnel.units import WallTime
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
FLAG_RESUMING = 1


@unique
class Refusal(IntEnum):
    """Why a claim with a good MAC is refused; the verdict of a decision (0 is acceptance)."""

    EXPIRED = 1
    WRONG_CAPABILITY = 2
    USED_UP = 3  # its one stream was received, or has begun to be
    LEAVING = 4  # the issuer is about to end
    REVOKED = 5
    NOT_AWAITED = 6  # it resumes, but left, or its place was given away
    # Of the tunnel library: one side needs a feature that the other does not know.
    CLAIMER_LACKS = CLAIMER_LACKS
    ISSUER_LACKS = ISSUER_LACKS
    SERVED = 9  # somebody serves with this token already


@frozen
class ClaimHeader:
    """What a claim says of its grant.

    Args:
        grant: id, expiry, capability and name.
        proof: 16 bytes when this claimer was here before and comes back, else None.
    """

    grant: Grant
    proof: bytes | None = None


def encode_header(header: ClaimHeader) -> bytes:
    """Return the 64 bytes of a claim header."""
    grant = header.grant
    flags = FLAG_RESUMING if header.proof is not None else 0
    return b"".join(
        (
            bytes((flags, grant.capability, 0, 0)),
            grant.expires_at.to_bytes(4, "little"),
            grant.id,
            grant.padded_name,
            header.proof or bytes(RESUMPTION_PROOF_SIZE),
        )
    )


def claim_header(grant: Grant, resumption_secret: bytes | None = None) -> HeaderMaker:
    """Return what makes the headers of claims for a grant, or of ones that come back to it."""

    def make(ephemeral: bytes) -> bytes:
        if resumption_secret is None:
            return encode_header(ClaimHeader(grant))
        return encode_header(ClaimHeader(grant, resumption_proof(resumption_secret, ephemeral)))

    return make


def decode_header(data: bytes) -> ClaimHeader:
    """Read a claim header; raises `DecodeError` for bytes that `encode_header` never makes."""
    reader = Reader(data)
    flags, capability, zero = reader.uint(1), reader.uint(1), reader.uint(2)
    expires_at = reader.uint(4)
    grant_id, name = reader.bytes(GRANT_ID_SIZE), reader.bytes(MAX_NAME_SIZE)
    proof = reader.bytes(RESUMPTION_PROOF_SIZE)
    reader.finish()
    is_resuming = flags == FLAG_RESUMING
    if flags not in (0, FLAG_RESUMING) or zero or (not is_resuming and any(proof)):
        raise DecodeError("a claim header with bits of no known meaning")
    try:
        text = name.rstrip(b"\0").decode("ascii")
        grant = Grant(grant_id, expires_at, Capability(capability), text)
    except ValueError as error:
        raise DecodeError(f"a claim header with an impossible grant: {error}") from error
    return ClaimHeader(grant, proof if is_resuming else None)


class SessionGate:
    """Admits the claims of one session token, and those who come back to it.

    Args:
        keys: the issuer's keys.
        grant: what the token grants.
    """

    def __init__(self, keys: IssuerKeys, grant: Grant) -> None:
        self.refusal: Refusal | None = None  # set: nobody is admitted any more
        self.resumptions = Resumptions(keys.minting, encode_header(ClaimHeader(grant)))
        self._keys = keys
        self._grant = grant

    def named(self, header: bytes, ephemeral: bytes) -> Named | None:
        """Return whom a claim's header names, or None if that is nobody."""
        try:
            claim = decode_header(header)
        except DecodeError:
            return None
        if claim.proof is None:
            return Named(claim.grant.id, grant_secret(self._keys.minting, claim.grant))
        who = self.resumptions.who(claim.proof, ephemeral) if claim.grant == self._grant else None
        return None if who is None else Named(claim.grant.id, who[1], who[0])

    def verdict(self, header: bytes, instance: bytes | None, wall: WallTime) -> int:
        """Return ACCEPTED or a `Refusal`; the issuer's clock decides about expiry."""
        claim = decode_header(header)
        if claim.grant.capability is not self._grant.capability:
            return Refusal.WRONG_CAPABILITY
        if self.refusal is not None:
            return self.refusal
        if instance is not None:
            may_come_back = self.resumptions.may_come_back(instance)
            return ACCEPTED if may_come_back else Refusal.NOT_AWAITED
        return ACCEPTED if wall < claim.grant.expires_at else Refusal.EXPIRED


assert len(encode_header(ClaimHeader(Grant(bytes(8), 0, Capability.LISTEN)))) == HEADER_SIZE
