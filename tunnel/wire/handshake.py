"""Claim and decision: the two handshake messages, as bytes; and the answer to another version.

All wear the disco magic and are at least 62 bytes long, so that a DERP server answers a claim to
an absent issuer with PeerGone(NotHere) and keeps handshakes in the queue that bulk cannot flush.

    claim      0   6  magic 54 53 f0 9f 92 ac
               6   1  kind 1
               7   1  version
               8  32  claimer's ephemeral key
              40  80  sealed header (64 bytes and a 16-byte tag)
             120  16  MAC
             136  80  Noise message 1 payload, sealed (of another version: anything)
    decision   0   6  magic
               6   1  kind 2
               7   1  version
               8  32  issuer's ephemeral key
              40  80  Noise message 2 payload, sealed
    other      0   6  magic
    version    6   1  kind 3
               7   1  version that the issuer speaks
               8  80  sealed payload

The payloads are 64 bytes each, zeros behind the last field.  All integers are little-endian.  A
claim's first 136 bytes and the whole of the last message are the same in every version.
What the header says is not known here: to this library it is 64 opaque bytes
(`derphole.token.admission` writes and reads it).  Layout: docs/protocol.md, section "Meeting".
"""

from enum import IntEnum

from tunnel.errors import BadMagic, DecodeError, UnknownVersion
from tunnel.units import KEY_SIZE
from tunnel.values import frozen
from tunnel.wire.disco import MAGIC as MAGIC
from tunnel.wire.disco import TAG_SIZE as TAG_SIZE
from tunnel.wire.disco import VERSION as VERSION
from tunnel.wire.reader import Reader

# Fixed by the protocol.
HEADER_SIZE = 64
MAC_SIZE = 16
PAYLOAD_SIZE = 64
INSTANCE_SIZE = 16
CLAIM_SIZE = 216
DECISION_SIZE = 120
OTHER_VERSION_SIZE = 88
PROGRAM_SIZE = 24
# A claim of another version: what is fixed and a tag at least, so that no answer is larger than it.
SMALLEST_CLAIM = 152
LARGEST_CLAIM = 1024
# The decision's verdict; any other value is a reason of refusal.  These belong to this library.
ACCEPTED = 0
CLAIMER_LACKS = 7
ISSUER_LACKS = 8


class Kind(IntEnum):
    """What a message in the disco magic is."""

    CLAIM = 1
    DECISION = 2
    OTHER_VERSION = 3


@frozen
class Claim:
    """A claim as it is on the wire; nothing in it is proved until the MAC is checked."""

    version: int
    ephemeral: bytes
    sealed_header: bytes
    mac: bytes
    sealed_payload: bytes


@frozen
class Decision:
    """A decision as it is on the wire."""

    version: int
    ephemeral: bytes
    sealed_payload: bytes


@frozen
class OtherVersion:
    """The answer to a claim of a version that the issuer does not speak.

    Args:
        version: the one it speaks.
        sealed_payload: what its program is called, sealed for the maker of the claim.
    """

    version: int
    sealed_payload: bytes


@frozen
class ClaimPayload:
    """What a claimer says of itself.

    Args:
        features: bit set, see `tunnel.proto.meeting.handshake.Feature`.
        instance: 16 random bytes, one per process.
        link_index: the index the issuer puts into packets for this link (u32).
        fast_aeads: bit set of AEADs this machine has hardware for.
        relay_grant: ack-eliciting relay frames the issuer may have in flight (u8).
        supported: bit set of the features the claimer knows.
        required: of those that the issuer must know, too.
        program: name and version of the claimer's program, at most 24 bytes, untrusted.
    """

    features: int
    instance: bytes
    link_index: int
    fast_aeads: int
    relay_grant: int
    supported: int = 0
    required: int = 0
    program: bytes = b""


@frozen
class DecisionPayload:
    """The issuer's answer.

    Args:
        verdict: `ACCEPTED`, `CLAIMER_LACKS`, `ISSUER_LACKS`, or a reason of refusal (u8) whose
            meaning the caller owns.
        aead: the AEAD chosen (u8).
        relay_grant: ack-eliciting relay frames the claimer may have in flight (u8).
        holds_link: whether the issuer holds a link of the claimer's instance.
        features: the features both sides have.
        link_index: the index the claimer puts into packets for this link (u32).
        clock_ms: the issuer's wall clock, milliseconds since 1970 (u64).
        lacking: bit set of the features that one side requires and the other does not know.
        program: name and version of the issuer's program, at most 24 bytes, untrusted.
    """

    verdict: int
    aead: int
    relay_grant: int
    holds_link: bool
    features: int
    link_index: int
    clock_ms: int
    lacking: int = 0
    program: bytes = b""


def is_handshake(data: memoryview | bytes) -> bool:
    """Tell whether `data` starts with the disco magic."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def encode_claim(claim: Claim) -> bytes:
    """Return the bytes of a claim, 216 in this version."""
    prefix = MAGIC + bytes((Kind.CLAIM, claim.version))
    return b"".join((prefix, claim.ephemeral, claim.sealed_header, claim.mac, claim.sealed_payload))


def encode_decision(decision: Decision) -> bytes:
    """Return the 120 bytes of a decision."""
    prefix = MAGIC + bytes((Kind.DECISION, decision.version))
    return prefix + decision.ephemeral + decision.sealed_payload


def encode_other_version(message: OtherVersion) -> bytes:
    """Return the 88 bytes of the answer to another version."""
    return other_version_head(message.version) + message.sealed_payload


def other_version_head(version: int) -> bytes:
    """Return what is in the clear before the sealed payload."""
    return MAGIC + bytes((Kind.OTHER_VERSION, version))


def decode_message(data: memoryview | bytes) -> Claim | Decision | OtherVersion:
    """Read a handshake message; raises `DecodeError`.

    Of a claim of another version the front is read, which is the same in all of them.
    """
    reader = Reader(data)
    if reader.bytes(len(MAGIC)) != MAGIC:
        raise BadMagic("not a handshake message")
    kind, version = reader.uint(1), reader.uint(1)
    if version != VERSION and kind == Kind.CLAIM:
        if not SMALLEST_CLAIM <= len(data) <= LARGEST_CLAIM:
            raise UnknownVersion(f"a claim of version {version} with {len(data)} bytes")
    elif version != VERSION and kind != Kind.OTHER_VERSION:
        raise UnknownVersion(f"handshake version {version}")
    message: Claim | Decision | OtherVersion
    if kind == Kind.CLAIM:
        message = Claim(
            version,
            reader.bytes(KEY_SIZE),
            reader.bytes(HEADER_SIZE + TAG_SIZE),
            reader.bytes(MAC_SIZE),
            reader.bytes(PAYLOAD_SIZE + TAG_SIZE if version == VERSION else reader.remaining),
        )
    elif kind == Kind.DECISION:
        message = Decision(version, reader.bytes(KEY_SIZE), reader.bytes(PAYLOAD_SIZE + TAG_SIZE))
    elif kind == Kind.OTHER_VERSION:
        message = OtherVersion(version, reader.bytes(PAYLOAD_SIZE + TAG_SIZE))
    else:
        raise DecodeError(f"handshake kind {kind}")
    reader.finish()
    return message


def encode_claim_payload(payload: ClaimPayload) -> bytes:
    """Return the 64 plaintext bytes of a claim's payload."""
    return b"".join(
        (
            payload.features.to_bytes(4, "little"),
            payload.instance,
            payload.link_index.to_bytes(4, "little"),
            bytes((payload.fast_aeads, payload.relay_grant)),
            payload.supported.to_bytes(4, "little"),
            payload.required.to_bytes(4, "little"),
            encode_program(payload.program),
        )
    ).ljust(PAYLOAD_SIZE, b"\0")


def decode_claim_payload(data: bytes) -> ClaimPayload:
    """Read a claim's payload; bytes behind the last field are left to later versions."""
    reader = Reader(data)
    return ClaimPayload(
        features=reader.uint(4),
        instance=reader.bytes(INSTANCE_SIZE),
        link_index=reader.uint(4),
        fast_aeads=reader.uint(1),
        relay_grant=reader.uint(1),
        supported=reader.uint(4),
        required=reader.uint(4),
        program=decode_program(reader.bytes(PROGRAM_SIZE)),
    )


def encode_program(program: bytes) -> bytes:
    """Return a program's name and version in their field; what is longer is cut."""
    return program[:PROGRAM_SIZE].ljust(PROGRAM_SIZE, b"\0")


def decode_program(field: bytes) -> bytes:
    """Return a program's name and version without the zeros behind it."""
    return field[:PROGRAM_SIZE].rstrip(b"\0")


def encode_decision_payload(payload: DecisionPayload) -> bytes:
    """Return the 64 plaintext bytes of a decision's payload."""
    return b"".join(
        (
            bytes((payload.verdict, payload.aead, payload.relay_grant, payload.holds_link)),
            payload.features.to_bytes(4, "little"),
            payload.link_index.to_bytes(4, "little"),
            payload.clock_ms.to_bytes(8, "little"),
            payload.lacking.to_bytes(4, "little"),
            encode_program(payload.program),
        )
    ).ljust(PAYLOAD_SIZE, b"\0")


def decode_decision_payload(data: bytes) -> DecisionPayload:
    """Read a decision's payload; bytes behind the last field are left to later versions."""
    reader = Reader(data)
    return DecisionPayload(
        verdict=reader.uint(1),
        aead=reader.uint(1),
        relay_grant=reader.uint(1),
        holds_link=bool(reader.uint(1) & 1),
        features=reader.uint(4),
        link_index=reader.uint(4),
        clock_ms=reader.uint(8),
        lacking=reader.uint(4),
        program=decode_program(reader.bytes(PROGRAM_SIZE)),
    )
