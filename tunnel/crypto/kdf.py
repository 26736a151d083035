"""Key derivation: BLAKE2b keyed with the parent, one label per purpose.

    KDF(key, label, *parts) = BLAKE2b(key = key, person = "derphole v1",
                                      data = each of (label, *parts) behind its u16 LE length)

The length prefix makes the encoding of the parts unambiguous.  A module of its own, since `hashlib`
loads OpenSSL, which not everybody who has keys needs.  Source: RFC 7693; docs/protocol.md, section
"Key derivation".
"""

from hashlib import blake2b

from tunnel.units import KEY_SIZE

PERSONALISATION = b"derphole v1"


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
