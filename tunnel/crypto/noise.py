"""Noise_NKpsk0_25519_ChaChaPoly_BLAKE2b, both roles, one handshake each.

    <- s                      the claimer knows the issuer's static key from the token
    -> psk, e, es             message 1, carried by the claim
    <- e, ee                  message 2, carried by the decision

Source: The Noise Protocol Framework, revision 34.  Ephemeral keys are passed in.  A failed read
raises `AuthenticationFailed` and leaves the state as it was, so a forged answer costs nothing.
"""

import hmac
from hashlib import blake2b

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.crypto.keys import KeyPair
from tunnel.errors import AuthenticationFailed
from tunnel.units import KEY_SIZE
from tunnel.values import frozen_secret, replace

# Fixed by the protocol.
PROTOCOL_NAME = b"Noise_NKpsk0_25519_ChaChaPoly_BLAKE2b"
HASH_SIZE = 64
TAG_SIZE = 16


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2b")


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """Return 2 or 3 outputs of HASH_SIZE bytes (Noise section 4.3)."""
    temporary = _hmac(chaining_key, material)
    results: tuple[bytes, ...] = ()
    previous = b""
    for counter in range(1, outputs + 1):
        previous = _hmac(temporary, previous + bytes((counter,)))
        results += (previous,)
    return results


@frozen_secret
class SymmetricState:
    """Noise's SymmetricState as a value: every step returns the next one."""

    hash: bytes
    chaining_key: bytes
    key: bytes = b""
    nonce: int = 0

    def mix_hash(self, data: bytes) -> "SymmetricState":
        """Absorb `data` into the transcript."""
        return replace(self, hash=blake2b(self.hash + data).digest())

    def mix_key(self, material: bytes) -> "SymmetricState":
        """Mix a DH result or a public key into the chaining key."""
        chaining_key, key = _hkdf(self.chaining_key, material, 2)
        return replace(self, chaining_key=chaining_key, key=key[:KEY_SIZE], nonce=0)

    def mix_key_and_hash(self, material: bytes) -> "SymmetricState":
        """Mix a pre-shared key into both the chaining key and the transcript."""
        chaining_key, absorbed, key = _hkdf(self.chaining_key, material, 3)
        state = replace(self, chaining_key=chaining_key).mix_hash(absorbed)
        return replace(state, key=key[:KEY_SIZE], nonce=0)

    def mix_public(self, public: bytes) -> "SymmetricState":
        """The `e` token: with a psk the ephemeral is mixed into the key too (section 9.2)."""
        return self.mix_hash(public).mix_key(public)

    def encrypt_and_hash(self, plaintext: bytes) -> tuple[bytes, "SymmetricState"]:
        """Seal a payload under the transcript."""
        sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            plaintext, self.hash, self._nonce_bytes(), self.key
        )
        return sealed, replace(self, nonce=self.nonce + 1).mix_hash(sealed)

    def decrypt_and_hash(self, sealed: bytes) -> tuple[bytes, "SymmetricState"]:
        """Open a payload; raises `AuthenticationFailed`."""
        try:
            plaintext = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                sealed, self.hash, self._nonce_bytes(), self.key
            )
        except (CryptoError, ValueError) as error:
            raise AuthenticationFailed("a handshake payload did not open") from error
        return plaintext, replace(self, nonce=self.nonce + 1).mix_hash(sealed)

    def split(self) -> tuple[bytes, bytes]:
        """Return the two transport keys: initiator to responder, responder to initiator."""
        first, second = _hkdf(self.chaining_key, b"", 2)
        return first[:KEY_SIZE], second[:KEY_SIZE]

    def _nonce_bytes(self) -> bytes:
        return bytes(4) + self.nonce.to_bytes(8, "little")


def _initialize(prologue: bytes, responder_static: bytes) -> SymmetricState:
    start = PROTOCOL_NAME.ljust(HASH_SIZE, b"\0")
    return SymmetricState(start, start).mix_hash(prologue).mix_hash(responder_static)


class Initiator:
    """The claimer's side of one handshake.

    Args:
        responder_static: the issuer's Noise public key.
        psk: 32 bytes shared through the token.
        prologue: bytes both sides must agree on.
        ephemeral: a fresh key pair, used only for this handshake.
    """

    def __init__(
        self, responder_static: bytes, psk: bytes, prologue: bytes, ephemeral: KeyPair
    ) -> None:
        self._ephemeral = ephemeral
        self._state = (
            _initialize(prologue, responder_static)
            .mix_key_and_hash(psk)
            .mix_public(ephemeral.public)
            .mix_key(ephemeral.exchange(responder_static))
        )

    def write_message_1(self, payload: bytes) -> bytes:
        """Return the sealed payload; it follows the ephemeral public key on the wire."""
        sealed, self._state = self._state.encrypt_and_hash(payload)
        return sealed

    def read_message_2(
        self, their_ephemeral: bytes, sealed: bytes
    ) -> tuple[bytes, tuple[bytes, bytes]]:
        """Return payload and transport keys; raises `AuthenticationFailed`."""
        state = self._state.mix_public(their_ephemeral).mix_key(
            self._ephemeral.exchange(their_ephemeral)
        )
        payload, state = state.decrypt_and_hash(sealed)
        return payload, state.split()


class Responder:
    """The issuer's side of one handshake; reading message 1 happens on construction.

    Raises `AuthenticationFailed` if the payload does not open.
    """

    def __init__(
        self, static: KeyPair, psk: bytes, prologue: bytes, their_ephemeral: bytes, sealed: bytes
    ) -> None:
        state = (
            _initialize(prologue, static.public)
            .mix_key_and_hash(psk)
            .mix_public(their_ephemeral)
            .mix_key(static.exchange(their_ephemeral))
        )
        self.payload, self._state = state.decrypt_and_hash(sealed)
        self._their_ephemeral = their_ephemeral

    def write_message_2(
        self, payload: bytes, ephemeral: KeyPair
    ) -> tuple[bytes, tuple[bytes, bytes]]:
        """Return the sealed payload (it follows `ephemeral.public`) and the transport keys."""
        state = self._state.mix_public(ephemeral.public).mix_key(
            ephemeral.exchange(self._their_ephemeral)
        )
        sealed, state = state.encrypt_and_hash(payload)
        return sealed, state.split()
