"""Grants, and every key that comes from an issuer's seed.

    seed (32 bytes)
     ├─ derive "noise static" ─ X25519 key pair of the handshake
     ├─ derive "derp node"    ─ X25519 key pair the relay knows us by (never the same key)
     └─ derive "minting"      ─ minting key
          ├─ derive "grant secret", id, expiry (u32 LE), capability (u8), name (32, zero-padded)
          └─ derive "resume", claim header, claimer instance id
               └─ derive "resuming", claim's ephemeral key

Minting is offline and the issuer keeps no list: what a claim says about its grant is enough to
compute the grant's secret again.  Source: docs/protocol.md, section "Tokens and grants".  This
module does not know how a token is written (`derphole.token`) nor who is let in
(`derphole.token.admission`).
"""

from enum import IntEnum

from tunnel.crypto.kdf import Derivation, derive
from tunnel.crypto.keys import KeyPair
from tunnel.values import frozen, frozen_secret

# Fixed by the protocol.
SEED_SIZE = 32
GRANT_ID_SIZE = 8
GRANT_SECRET_SIZE = 16
RESUMPTION_PROOF_SIZE = 16
MAX_NAME_SIZE = 32
MAX_EXPIRY = (1 << 32) - 1  # u32 Unix seconds: the year 2106


class Capability(IntEnum):
    """What a grant allows its claimer to do."""

    LISTEN = 1
    SHARE = 2
    SSH = 3
    SEND = 4
    RECEIVE = 5
    TUNNEL = 6
    SERVE = 7  # asks whether somebody serves already; who has the seed alone can


@frozen
class Grant:
    """What a token allows, without its secret.

    Args:
        id: 8 bytes that tell this grant from every other one of its issuer.
        expires_at: Unix seconds, u32.
        capability: what it allows.
        name: at most 32 printable ASCII characters; empty when nobody gave one.

    Raises `ValueError` for values that no claim could carry.
    """

    id: bytes
    expires_at: int
    capability: Capability
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.id) != GRANT_ID_SIZE:
            raise ValueError(f"a grant id has {GRANT_ID_SIZE} bytes, not {len(self.id)}")
        if not 0 <= self.expires_at <= MAX_EXPIRY:
            raise ValueError(f"an expiry of {self.expires_at} does not fit 32 bits")
        check_name(self.name)

    @property
    def padded_name(self) -> bytes:
        """The name as 32 bytes, zero-padded."""
        return self.name.encode("ascii").ljust(MAX_NAME_SIZE, b"\0")


@frozen_secret
class IssuerKeys:
    """What an issuer derives from its seed.

    Args:
        noise: static key pair of the handshake.
        derp: node key pair on relays.
        minting: 32 bytes; every grant secret comes from it.
    """

    noise: KeyPair
    derp: KeyPair
    minting: bytes

    def __repr__(self) -> str:
        return f"<IssuerKeys {self.noise.public.hex()[:8]}>"


@frozen
class Mint:
    """The side that makes tokens.

    Args:
        keys: everything derived from the seed; the seed itself is not kept.
    """

    keys: IssuerKeys

    @classmethod
    def from_seed(cls, seed: bytes) -> "Mint":
        """Derive an issuer's keys from 32 secret bytes; raises `ValueError` for another size."""
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
        return cls(
            IssuerKeys(
                noise=KeyPair.from_secret(derive(seed, "noise static")),
                derp=KeyPair.from_secret(derive(seed, "derp node")),
                minting=derive(seed, "minting"),
            )
        )

    def secret_of(self, grant: Grant) -> bytes:
        """Return the 16-byte secret of a grant of this issuer."""
        return grant_secret(self.keys.minting, grant)


def grant_secret(minting: bytes, grant: Grant) -> bytes:
    """Return the 16-byte secret that proves a grant."""
    return derive(
        minting,
        "grant secret",
        grant.id,
        grant.expires_at.to_bytes(4, "little"),
        bytes([grant.capability]),
        grant.padded_name,
        size=GRANT_SECRET_SIZE,
    )


def resumption_secret(minting: bytes, header: bytes, instance_id: bytes) -> bytes:
    """Return the 16-byte secret that lets one claimer instance come back after expiry.

    Args:
        minting: the issuer's minting key.
        header: the claim's grant header in the clear, as the resuming claim carries it.
        instance_id: the claimer's instance id.
    """
    return derive(minting, "resume", header, instance_id, size=GRANT_SECRET_SIZE)


def resumption_proof(secret: bytes, ephemeral: bytes) -> bytes:
    """Return the 16 bytes that say, in one claim only, who has a resumption secret.

    Args:
        secret: the resumption secret.
        ephemeral: the claim's ephemeral public key.
    """
    return resumption_proofs(secret).derive(ephemeral)


def resumption_proofs(secret: bytes) -> Derivation:
    """Return what derives the proofs of one resumption secret from ephemeral keys."""
    return Derivation(secret, "resuming", size=RESUMPTION_PROOF_SIZE)


def check_name(name: str) -> None:
    """Raise `ValueError` unless `name` is at most 32 printable ASCII characters."""
    if len(name) > MAX_NAME_SIZE:
        raise ValueError(f"a name has at most {MAX_NAME_SIZE} characters, not {len(name)}")
    if not (name.isascii() and name.isprintable()):
        raise ValueError("a name has printable ASCII characters only")
