"""Who is admitted: the claim header, and what an issuer makes of it.

    header   0   1  flags (1: resuming)
             1   1  capability
             2   2  zero
             4   4  expiry u32 LE, Unix seconds
             8   8  grant id
            16  32  name, zero-padded
            48  16  instance id when resuming, else zeros

The tunnel library carries these 64 bytes and never reads them.  A header names a grant, from which
the issuer computes the secret again; whoever does not know the secret fails the MAC and learns
nothing.  Pure.  Source: docs/protocol.md, section "Meeting".
"""

from dataclasses import dataclass
from enum import IntEnum

from derphole.grant import (
    GRANT_ID_SIZE,
    MAX_NAME_SIZE,
    Capability,
    Grant,
    IssuerKeys,
    grant_secret,
    resumption_secret,
)
from tunnel.errors import DecodeError
from tunnel.units import WallTime
from tunnel.wire.handshake import ACCEPTED, HEADER_SIZE, INSTANCE_SIZE
from tunnel.wire.reader import Reader

# Fixed by the protocol.
FLAG_RESUMING = 1


class Refusal(IntEnum):
    """Why a claim with a good MAC is refused; the verdict of a decision (0 is acceptance)."""

    EXPIRED = 1
    WRONG_CAPABILITY = 2
    USED_UP = 3  # its one stream was received, or has begun to be
    LEAVING = 4  # the issuer is about to end
    REVOKED = 5


@dataclass(frozen=True, slots=True)
class ClaimHeader:
    """What a claim says of its grant.

    Args:
        grant: id, expiry, capability and name.
        instance: 16 bytes when an earlier link of this claimer is resumed, else None.
    """

    grant: Grant
    instance: bytes | None = None


def encode_header(header: ClaimHeader) -> bytes:
    """Return the 64 bytes of a claim header."""
    grant = header.grant
    flags = FLAG_RESUMING if header.instance is not None else 0
    return b"".join(
        (
            bytes((flags, grant.capability, 0, 0)),
            grant.expires_at.to_bytes(4, "little"),
            grant.id,
            grant.padded_name,
            header.instance or bytes(INSTANCE_SIZE),
        )
    )


def decode_header(data: bytes) -> ClaimHeader:
    """Read a claim header; raises `DecodeError` for bytes that `encode_header` never makes."""
    reader = Reader(data)
    flags, capability, zero = reader.uint(1), reader.uint(1), reader.uint(2)
    expires_at = reader.uint(4)
    grant_id, name = reader.bytes(GRANT_ID_SIZE), reader.bytes(MAX_NAME_SIZE)
    instance = reader.bytes(INSTANCE_SIZE)
    reader.finish()
    is_resuming = flags == FLAG_RESUMING
    if flags not in (0, FLAG_RESUMING) or zero or (not is_resuming and any(instance)):
        raise DecodeError("a claim header with bits of no known meaning")
    try:
        text = name.rstrip(b"\0").decode("ascii")
        grant = Grant(grant_id, expires_at, Capability(capability), text)
    except ValueError as error:
        raise DecodeError(f"a claim header with an impossible grant: {error}") from error
    return ClaimHeader(grant, instance if is_resuming else None)


class SessionGate:
    """Admits the claims of one session token.

    Args:
        keys: the issuer's keys.
        grant: what the token grants.
    """

    def __init__(self, keys: IssuerKeys, grant: Grant) -> None:
        self.refusal: Refusal | None = None  # set: nobody is admitted any more
        self._keys = keys
        self._grant = grant

    def secret(self, header: bytes) -> bytes | None:
        """Return the secret of the grant that `header` names, or None if it names none."""
        try:
            claim = decode_header(header)
        except DecodeError:
            return None
        if claim.instance is not None:
            bare = encode_header(ClaimHeader(claim.grant))
            return resumption_secret(self._keys.minting, bare, claim.instance)
        return grant_secret(self._keys.minting, claim.grant)

    def resumption_secret(self, instance: bytes) -> bytes:
        """Return what lets one process of a claimer come back, as long as this issuer lives."""
        bare = encode_header(ClaimHeader(self._grant))
        return resumption_secret(self._keys.minting, bare, instance)

    def grant_id(self, header: bytes) -> bytes:
        """Return the id of the grant that `header` names."""
        return header[8 : 8 + GRANT_ID_SIZE]

    def verdict(self, header: bytes, instance: bytes, wall: WallTime) -> int:
        """Return ACCEPTED or a `Refusal`; the issuer's clock decides about expiry."""
        claim = decode_header(header)
        if claim.grant.capability is not self._grant.capability:
            return Refusal.WRONG_CAPABILITY
        if self.refusal is not None:
            return self.refusal
        is_resuming = claim.instance is not None and claim.instance == instance
        if wall >= claim.grant.expires_at and not is_resuming:
            return Refusal.EXPIRED
        return ACCEPTED


assert len(encode_header(ClaimHeader(Grant(bytes(8), 0, Capability.LISTEN)))) == HEADER_SIZE
