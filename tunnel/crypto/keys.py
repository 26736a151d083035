"""Key types and X25519: every key is its own type, and secrets never show in `repr`.

Source: RFC 7748.  Randomness is passed in by the caller.
"""

from typing import NewType

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.errors import AuthenticationFailed
from tunnel.units import KEY_SIZE
from tunnel.values import frozen_secret

DerpKey = NewType("DerpKey", bytes)  # a public DERP node key, 32 bytes
NoiseKey = NewType("NoiseKey", bytes)  # a public Noise static or ephemeral key, 32 bytes


@frozen_secret
class Secret:
    """Secret bytes that no log, trace or `repr` shows."""

    value: bytes

    def __repr__(self) -> str:
        return f"<Secret of {len(self.value)} bytes>"


@frozen_secret
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
