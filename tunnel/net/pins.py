"""Certificate pins: prefixes of SHA-256, taken from a certificate's DER without a parser library.

    Certificate = SEQUENCE { TBS = SEQUENCE { [0] version?, serial, signature algorithm, issuer,
                             validity, subject, SubjectPublicKeyInfo, ... }, ... }

A pin of 16 to 32 bytes names a public key or a whole certificate.  Sources: RFC 5280 section 4.1,
RFC 7469 section 2.4.  This module decides nothing about trust.
"""

from hashlib import sha256
from hmac import compare_digest

from tunnel.errors import DecodeError
from tunnel.wire.reader import Reader

# Fixed by the protocol (X.690): tags of the two kinds of element that are looked for.
TAG_SEQUENCE = 0x30
TAG_VERSION = 0xA0

# Chosen: 16 bytes are beyond any second preimage and keep tokens short.
MIN_PIN_SIZE = 16
MAX_PIN_SIZE = 32
SHORT_PIN_SIZE = 16
MAX_CERTIFICATE_SIZE = 64 << 10

_FIELDS_BEFORE_KEY = 5  # serial, signature algorithm, issuer, validity, subject
_MAX_LENGTH_BYTES = 4


def public_key_pin(leaf_der: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) of a certificate's SubjectPublicKeyInfo.

    Raises:
        DecodeError: these bytes are not the DER of an X.509 certificate.
    """
    if len(leaf_der) > MAX_CERTIFICATE_SIZE:
        raise DecodeError("a certificate is too long")
    certificate = Reader(_element(Reader(leaf_der), TAG_SEQUENCE)[1])
    fields = Reader(_element(certificate, TAG_SEQUENCE)[1])
    tag, _, _ = _next_element(fields)
    # The version is absent from version 1 certificates; then this was the serial already.
    for _ in range(_FIELDS_BEFORE_KEY if tag == TAG_VERSION else _FIELDS_BEFORE_KEY - 1):
        _next_element(fields)
    return sha256(_element(fields, TAG_SEQUENCE)[0]).digest()


def pin_matches(pin: bytes, leaf_der: bytes) -> bool:
    """Tell whether a pin of 16 to 32 bytes names this certificate or its public key."""
    if not MIN_PIN_SIZE <= len(pin) <= MAX_PIN_SIZE:
        return False
    if compare_digest(pin, sha256(leaf_der).digest()[: len(pin)]):
        return True
    try:
        return compare_digest(pin, public_key_pin(leaf_der)[: len(pin)])
    except DecodeError:
        return False


def _element(reader: Reader, wanted_tag: int) -> tuple[bytes, memoryview]:
    """Take an element of that tag; return all its bytes, and a view of its contents."""
    tag, whole, contents = _next_element(reader)
    if tag != wanted_tag:
        raise DecodeError(f"a certificate has tag {tag:#04x} where {wanted_tag:#04x} belongs")
    return whole, contents


def _next_element(reader: Reader) -> tuple[int, bytes, memoryview]:
    """Take one DER element: tag byte, length (short, or 1 to 4 bytes), contents."""
    tag = reader.uint(1)
    length = first = reader.uint(1)
    header = bytes((tag, first))
    if first >= 0x80:
        size = first & 0x7F
        if not 1 <= size <= _MAX_LENGTH_BYTES:
            raise DecodeError("a certificate has an element of impossible length")
        encoded = reader.bytes(size)
        header += encoded
        length = int.from_bytes(encoded, "big")
    contents = reader.view(length)
    return tag, header + bytes(contents), contents
