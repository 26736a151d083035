"""CPace: two sides that share a few words agree on a key, and nobody can test guesses offline.

    generator = map(hash(words, channel, session))     the same for both who know the words
    share     = secret x generator                     told in the open; says nothing of the words
    key       = hash(session, secret x their share, both shares)

The suite is CPACE-X25519-SHA512 with an initiator and a responder, and each proves by a tag that it
has the key.  A wrong guess of the words costs a whole exchange with somebody who knows them.  The
map works on Python's integers, without branches that depend on what it maps; multiplication is
libsodium's.  Randomness is passed in.

Source: draft-irtf-cfrg-cpace-21; RFC 7748; RFC 9380, section 6.7.1 (Elligator 2).
"""

import hashlib
import hmac
from enum import Enum

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.errors import AuthenticationFailed
from tunnel.units import KEY_SIZE
from tunnel.values import frozen_secret

# Fixed by the draft.
SHARE_SIZE = KEY_SIZE
TAG_SIZE = 64
DOMAIN = b"CPace255"
KEY_DOMAIN = b"CPace255_ISK"
TAG_DOMAIN = b"CPaceMac"
HASH_BLOCK_SIZE = 128  # of SHA-512

# Curve25519: y^2 = x^3 + A x^2 + x over the integers modulo P; 2 is no square there.
P = 2**255 - 19
A = 486662
NO_SQUARE = 2
HALF = pow(2, -1, P)
_NEUTRAL = bytes(SHARE_SIZE)


class Role(Enum):
    """Who sends first."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


@frozen_secret
class Agreement:
    """What a run leads to.

    Args:
        key: 64 secret bytes, the same on both sides if both knew the words.
        initiator_tag: the 64 bytes by which the initiator proves that it has the key.
        responder_tag: the same of the responder.
    """

    key: bytes
    initiator_tag: bytes
    responder_tag: bytes

    def __repr__(self) -> str:
        return "<Agreement>"


class CPace:
    """One side of one run.

    Args:
        role: which side.
        words: what both know.
        channel: what identifies both sides and what they do.
        session: the run's own bytes, random.
        secret: 32 random bytes, used for this run alone.
        data: what each side says along with its share, the initiator's first; it need not be sent.

    Attributes:
        share: the 32 bytes for the other side.
    """

    def __init__(
        self,
        role: Role,
        words: bytes,
        channel: bytes,
        session: bytes,
        secret: bytes,
        data: tuple[bytes, bytes],
    ) -> None:
        self._role = role
        self._session = session
        self._secret = secret
        self._data = data
        self.share = multiply(secret, generator(words, channel, session))

    def __repr__(self) -> str:
        return f"<CPace {self._role.value}>"

    def agree(self, their_share: bytes) -> Agreement:
        """Return what the run leads to; raises `AuthenticationFailed` for a share of low order."""
        shared = multiply(self._secret, their_share)
        shares = (self.share, their_share)
        first, second = shares if self._role is Role.INITIATOR else reversed(shares)
        initiator, responder = (
            length_value(share, said)
            for share, said in zip((first, second), self._data, strict=True)
        )
        head = length_value(KEY_DOMAIN, self._session, shared)
        key = hashlib.sha512(head + initiator + responder).digest()
        tag_key = hashlib.sha512(TAG_DOMAIN + self._session + key).digest()
        return Agreement(key, _tag(tag_key, initiator), _tag(tag_key, responder))


def is_tag(tag: bytes, expected: bytes) -> bool:
    """Tell, in constant time, whether a tag is the expected one."""
    return hmac.compare_digest(tag, expected)


def multiply(secret: bytes, point: bytes) -> bytes:
    """Return the product; raises `AuthenticationFailed` where it is the neutral element.

    The topmost bit of a point is ignored, as RFC 7748 has it.
    """
    if len(secret) != KEY_SIZE or len(point) != SHARE_SIZE:
        raise AuthenticationFailed("a share of another size")
    try:
        product = bindings.crypto_scalarmult(secret, point)
    except (CryptoError, RuntimeError) as error:  # libsodium refuses points of low order itself
        raise AuthenticationFailed("a share of low order") from error
    if product == _NEUTRAL:
        raise AuthenticationFailed("a share of low order")
    return product


def generator(words: bytes, channel: bytes, session: bytes) -> bytes:
    """Return the point that a run begins at."""
    text = generator_string(words, channel, session)
    hashed = hashlib.sha512(text).digest()[:SHARE_SIZE]
    return map_to_curve(int.from_bytes(hashed, "little") & (2**255 - 1))


def generator_string(words: bytes, channel: bytes, session: bytes) -> bytes:
    """Return what is hashed; zeros fill the first block, so that the words have it alone."""
    used = len(length_value(DOMAIN)) + len(length_value(words)) + 1
    pad = bytes(max(0, HASH_BLOCK_SIZE - used))
    return length_value(DOMAIN, words, pad, channel, session)


def map_to_curve(number: int) -> bytes:
    """Return the u coordinate that Elligator 2 maps a number to."""
    r = number % P
    v = -A * pow(1 + NO_SQUARE * r * r, P - 2, P) % P
    # 1 for a square, P - 1 (that is -1) for none.
    sign = pow(v * v * v + A * v * v + v, (P - 1) // 2, P)
    u = (sign * v - (1 - sign) * A * HALF) % P
    return u.to_bytes(SHARE_SIZE, "little")


def length_value(*parts: bytes) -> bytes:
    """Return the parts, each behind its length as LEB128."""
    return b"".join(_length(len(part)) + part for part in parts)


def _length(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _tag(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, said, "sha512")
