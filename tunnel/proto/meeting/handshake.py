"""Claim and decision: building, checking and opening them, for both roles.

    claimer                                        issuer
    header -> secret (from its token)              MAC checked with KDF(secret of the header)
    Noise message 1 in the claim            -->    Noise message 1 opened
    Noise message 2 opened                  <--    Noise message 2 in the decision
    both: root = KDF(split keys), one traffic key for each direction

The MAC is checked before any curve work.  A claim of another version is answered under a key of its
own, once its MAC is good.  Key derivation: docs/protocol.md, "Meeting".
"""

from hmac import compare_digest

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.crypto import noise
from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.crypto.link_keys import root_key
from tunnel.errors import AuthenticationFailed
from tunnel.units import KEY_SIZE
from tunnel.values import frozen
from tunnel.wire.handshake import (
    MAC_SIZE,
    PAYLOAD_SIZE,
    VERSION,
    Claim,
    ClaimPayload,
    Decision,
    DecisionPayload,
    OtherVersion,
    decode_claim_payload,
    decode_decision_payload,
    decode_program,
    encode_claim,
    encode_claim_payload,
    encode_decision,
    encode_decision_payload,
    encode_other_version,
    encode_program,
    other_version_head,
)

# Fixed by the protocol.
PROLOGUE_LABEL = b"derphole link"
HEADER_NONCE_SIZE = 24
OTHER_VERSION_NONCE_SIZE = 12


@frozen
class Meeting:
    """The public facts both sides bind the handshake to.

    Args:
        issuer_noise: the issuer's static Noise key.
        issuer_derp: the issuer's DERP key.
        claimer_derp: the claimer's DERP key, as the relay names it.
    """

    issuer_noise: NoiseKey
    issuer_derp: DerpKey
    claimer_derp: DerpKey

    def prologue(self, header: bytes) -> bytes:
        """Return what Noise mixes in first."""
        return b"".join(
            (PROLOGUE_LABEL, bytes((VERSION,)), header, self.claimer_derp, self.issuer_derp)
        )


def _header_key(issuer_noise: NoiseKey) -> bytes:
    return derive(issuer_noise, "claim header")


def _mac(secret: bytes, claim: Claim, meeting: Meeting) -> bytes:
    """Return the MAC over every byte of `claim` but its MAC, and both DERP keys."""
    covered = encode_claim(
        Claim(claim.version, claim.ephemeral, claim.sealed_header, b"", claim.sealed_payload)
    )
    key = derive(secret, "claim mac")
    parts = (covered, meeting.claimer_derp, meeting.issuer_derp)
    return derive(key, "claim", *parts, size=MAC_SIZE)


def _psk(secret: bytes) -> bytes:
    return derive(secret, "psk", size=KEY_SIZE)


def _other_version_key(secret: bytes, mac: bytes) -> bytes:
    """Return the key of the one message that answers the claim with this MAC."""
    return derive(secret, "other version", mac, size=KEY_SIZE)


def other_version(secret: bytes, claim: Claim, program: bytes) -> bytes:
    """Return the answer to a claim of another version, whose MAC is good.

    The same claim has the same answer, so one key seals one payload and the nonce may be zero.
    """
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
        encode_program(program).ljust(PAYLOAD_SIZE, b"\0"),
        other_version_head(VERSION),
        bytes(OTHER_VERSION_NONCE_SIZE),
        _other_version_key(secret, claim.mac),
    )
    return encode_other_version(OtherVersion(VERSION, sealed))


def open_header(issuer_noise: NoiseKey, claim: Claim) -> bytes:
    """Return the header of a claim, in the clear; raises `AuthenticationFailed`."""
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            claim.sealed_header,
            None,
            claim.ephemeral[:HEADER_NONCE_SIZE],
            _header_key(issuer_noise),
        )
    except (CryptoError, ValueError) as error:
        raise AuthenticationFailed("a claim header did not open") from error


class OutgoingClaim:
    """One claim, from its bytes to the keys of its decision.

    Args:
        meeting: whom we claim from, and as whom.
        header: 64 bytes that name the grant.
        secret: the grant's secret, 16 bytes.
        payload: what we say of ourselves.
        ephemeral: a fresh key pair.
    """

    def __init__(
        self,
        meeting: Meeting,
        header: bytes,
        secret: bytes,
        payload: ClaimPayload,
        ephemeral: KeyPair,
    ) -> None:
        self._noise = noise.Initiator(
            meeting.issuer_noise, _psk(secret), meeting.prologue(header), ephemeral
        )
        sealed_header = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            header, None, ephemeral.public[:HEADER_NONCE_SIZE], _header_key(meeting.issuer_noise)
        )
        sealed_payload = self._noise.write_message_1(encode_claim_payload(payload))
        bare = Claim(VERSION, ephemeral.public, sealed_header, b"", sealed_payload)
        mac = _mac(secret, bare, meeting)
        self._other_version_key = _other_version_key(secret, mac)
        self.message = encode_claim(
            Claim(VERSION, ephemeral.public, sealed_header, mac, sealed_payload)
        )
        self.payload = payload

    def read_decision(self, decision: Decision) -> tuple[DecisionPayload, bytes]:
        """Return the decision's payload and the root key; raises `AuthenticationFailed`."""
        payload, split = self._noise.read_message_2(decision.ephemeral, decision.sealed_payload)
        return decode_decision_payload(payload), root_key(split)

    def read_other_version(self, message: OtherVersion) -> bytes:
        """Return the name of an issuer's program that speaks another version.

        Raises `AuthenticationFailed`.
        """
        try:
            payload = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                message.sealed_payload,
                other_version_head(message.version),
                bytes(OTHER_VERSION_NONCE_SIZE),
                self._other_version_key,
            )
        except (CryptoError, ValueError) as error:
            raise AuthenticationFailed("an answer of another version did not open") from error
        return decode_program(payload)


class IncomingClaim:
    """One claim whose MAC is good: its payload, and the answer to it.

    Raises `AuthenticationFailed` unless MAC and payload verify; the MAC comes first.
    """

    def __init__(
        self, static: KeyPair, meeting: Meeting, header: bytes, secret: bytes, claim: Claim
    ) -> None:
        self._responder = noise.Responder(
            static, _psk(secret), meeting.prologue(header), claim.ephemeral, claim.sealed_payload
        )
        self.payload = decode_claim_payload(self._responder.payload)

    def decide(self, payload: DecisionPayload, ephemeral: KeyPair) -> tuple[bytes, bytes]:
        """Return the decision's bytes and the root key."""
        sealed, split = self._responder.write_message_2(encode_decision_payload(payload), ephemeral)
        return encode_decision(Decision(VERSION, ephemeral.public, sealed)), root_key(split)


def check_mac(meeting: Meeting, secret: bytes, claim: Claim) -> None:
    """Check a claim's MAC in constant time; raises `AuthenticationFailed`."""
    if not compare_digest(_mac(secret, claim, meeting), claim.mac):
        raise AuthenticationFailed("a claim with a wrong MAC")
