"""The two AEADs of sealed packets, sealing into buffers that the caller owns.

libsodium is called through pynacl's own binding module, which costs a fraction of the bytes API
and neither copies nor allocates.  `sodium_init` must run first: without it libsodium detects no
CPU feature and AEGIS is a hundred times slower.

Source: libsodium crypto_aead_aegis256.h, crypto_aead_chacha20poly1305.h; RFC 8439;
draft-irtf-cfrg-aegis-aead.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from nacl._sodium import ffi, lib

from tunnel.units import KEY_SIZE
from tunnel.values import frozen

NULL = ffi.NULL

if lib.sodium_init() < 0:
    raise ImportError("libsodium could not be initialised")

from_buffer = ffi.from_buffer  # the result keeps its object alive: hold on to it


class AeadId(IntEnum):
    """AEADs as they are named in claim (as bits 1 << id) and decision."""

    CHACHA20_POLY1305 = 0
    AEGIS_256 = 1


@frozen
class Aead:
    """One AEAD: its sizes in bytes and its two functions.

    seal(out, NULL, message, size, ad, ad_size, NULL, nonce, key)
    open(out, NULL, NULL, sealed, sealed_size, ad, ad_size, nonce, key), 0 when authentic
    """

    id: AeadId
    nonce_size: int
    tag_size: int
    seal: Callable[..., int]
    open: Callable[..., int]


CHACHA20_POLY1305 = Aead(
    AeadId.CHACHA20_POLY1305,
    lib.crypto_aead_chacha20poly1305_ietf_npubbytes(),
    lib.crypto_aead_chacha20poly1305_ietf_abytes(),
    lib.crypto_aead_chacha20poly1305_ietf_encrypt,
    lib.crypto_aead_chacha20poly1305_ietf_decrypt,
)
AEGIS_256 = Aead(
    AeadId.AEGIS_256,
    lib.crypto_aead_aegis256_npubbytes(),
    lib.crypto_aead_aegis256_abytes(),
    lib.crypto_aead_aegis256_encrypt,
    lib.crypto_aead_aegis256_decrypt,
)
BY_ID = {aead.id: aead for aead in (CHACHA20_POLY1305, AEGIS_256)}


def fast_aeads() -> int:
    """Return the bit set of AEADs this machine does fast.

    libsodium reports AES instructions only through AES-256-GCM; AEGIS needs the same ones.
    """
    has_aes = bool(lib.crypto_aead_aes256gcm_is_available())
    return 1 << AeadId.CHACHA20_POLY1305 | has_aes << AeadId.AEGIS_256


def choose_aead(ours: int, theirs: int) -> AeadId:
    """Return the AEAD both sides use: AEGIS-256 where both have the hardware."""
    both = ours & theirs
    return AeadId.AEGIS_256 if both >> AeadId.AEGIS_256 & 1 else AeadId.CHACHA20_POLY1305


def new_key(key: bytes) -> Any:
    """Return `key` as memory that libsodium may read; Any, since cffi has no type for it."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key of {len(key)} bytes")
    return ffi.new("unsigned char[]", key)
