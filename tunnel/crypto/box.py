"""NaCl crypto_box as DERP's login uses it: X25519, XSalsa20-Poly1305, a 24-byte nonce passed in.

Source: tailscale types/key/node.go SealTo and OpenFrom.
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.crypto.keys import KeyPair
from tunnel.errors import AuthenticationFailed

NONCE_SIZE = bindings.crypto_box_NONCEBYTES


def seal(ours: KeyPair, their_public: bytes, nonce: bytes, message: bytes) -> bytes:
    """Return MAC and ciphertext of `message`; raises `AuthenticationFailed` for low-order keys."""
    try:
        return bindings.crypto_box(message, nonce, their_public, ours.secret)
    except (CryptoError, RuntimeError) as error:
        raise AuthenticationFailed("a public key of low order") from error


def open_box(ours: KeyPair, their_public: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Return the message of a sealed box; raises `AuthenticationFailed`."""
    try:
        return bindings.crypto_box_open(sealed, nonce, their_public, ours.secret)
    except (CryptoError, RuntimeError, ValueError) as error:
        raise AuthenticationFailed("a box did not open") from error
