"""Keys: every kind is its own type, secrets never show in `repr`, X25519, and key derivation.

    KDF(key, label, *parts) = BLAKE2b(key = key, person = "derphole v1",
                                      data = each of (label, *parts) behind its u16 LE length)

One label per purpose; the length prefix makes the encoding of the parts unambiguous.  Randomness is
passed in by the caller.  Source: RFC 7748, RFC 7693; docs/protocol.md, section "Key derivation".
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NewType

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.errors import AuthenticationFailed
from tunnel.units import KEY_SIZE

# Fixed by the protocol.
PERSONALISATION = b"derphole v1"

DerpKey = NewType("DerpKey", bytes)  # a public DERP node key, 32 bytes
NoiseKey = NewType("NoiseKey", bytes)  # a public Noise static or ephemeral key, 32 bytes


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Secret bytes that no log, trace or `repr` shows."""

    value: bytes

    def __repr__(self) -> str:
        return f"<Secret of {len(self.value)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """An X25519 key pair.

    Args:
        secret: 32 secret bytes; clamped by X25519 itself.
    """

    secret: bytes
    public: bytes

    @classmethod
    def from_secret(cls, secret: bytes) -> "KeyPair":
        """Derive the public key of 32 secret bytes; raises `ValueError` for another size."""
        _check_size(secret)
        return cls(secret, bindings.crypto_scalarmult_base(secret))

    def exchange(self, their_public: bytes) -> bytes:
        """Return the X25519 shared secret; raises `AuthenticationFailed` for low-order keys."""
        _check_size(their_public)
        try:
            return bindings.crypto_scalarmult(self.secret, their_public)
        except (CryptoError, RuntimeError) as error:
            raise AuthenticationFailed("a public key of low order") from error

    def __repr__(self) -> str:
        return f"<KeyPair {self.public.hex()[:8]}>"


def _check_size(key: bytes) -> None:
    # pynacl hands the bytes to libsodium as they are, which reads 32 of them whatever there is.
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key of {len(key)} bytes")


def derive(key: bytes, label: str, *parts: bytes, size: int = KEY_SIZE) -> bytes:
    """Return `size` (1 to 64) bytes derived from `key` (1 to 64 bytes) for one purpose.

    Args:
        key: the parent key.
        label: the purpose, ASCII.
        parts: what the derived key is bound to; each at most 65535 bytes.
        size: bytes wanted; different sizes give unrelated keys.
    """
    hasher = blake2b(key=key, person=PERSONALISATION, digest_size=size)
    for part in (label.encode("ascii"), *parts):
        _mix(hasher, part)
    return hasher.digest()


class Derivation:
    """`derive` for one key and label, many times over with other parts; it costs a third.

    Args:
        key: the parent key.
        label: the purpose, ASCII.
        size: bytes wanted.
    """

    def __init__(self, key: bytes, label: str, size: int = KEY_SIZE) -> None:
        self._begun = blake2b(key=key, person=PERSONALISATION, digest_size=size)
        _mix(self._begun, label.encode("ascii"))

    def derive(self, part: bytes) -> bytes:
        """Return what `derive` returns for this part."""
        hasher = self._begun.copy()
        _mix(hasher, part)
        return hasher.digest()


def _mix(hasher: blake2b, part: bytes) -> None:
    hasher.update(len(part).to_bytes(2, "little") + part)
