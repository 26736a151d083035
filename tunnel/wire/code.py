"""The messages by which a short code becomes what it stands for: the disco magic, as claims have.

    HELLO    0   6  magic 54 53 f0 9f 92 ac        claimer -> meeting
             6   1  kind 4
             7   1  version
             8  16  session
            24  32  the claimer's share
            56 968  zeros
    SHARE    kind 5: session, the issuer's share, 8 zeros            meeting -> claimer
    PROOF    kind 6: session, the claimer's tag (64)                 claimer -> meeting
    ANSWER   kind 7: session, the issuer's tag (64), 528 sealed      meeting -> claimer
    WRONG    kind 8: session, 40 zeros                               meeting -> claimer
    PROBE    kind 9: session, 40 zeros                               issuer  -> meeting

A relay treats all of them as disco packets, for which they have 64 bytes at least; a HELLO is
longer than any answer, so that nobody is flooded by answers to somebody else's.  Each has one size,
and its padding is zero.  Layout: docs/protocol.md, section "Codes".
"""

from enum import IntEnum

from tunnel.errors import BadMagic, DecodeError, UnknownVersion
from tunnel.values import frozen
from tunnel.wire.disco import MAGIC, TAG_SIZE, VERSION
from tunnel.wire.reader import Reader

# Fixed by the protocol.
SESSION_SIZE = 16
SHARE_SIZE = 32
PROOF_SIZE = 64
SMALLEST_SIZE = 64
HELLO_SIZE = 1024
ANSWER_TEXT_SIZE = 512
SEALED_SIZE = ANSWER_TEXT_SIZE + TAG_SIZE


class CodeKind(IntEnum):
    """What a message of a code is; the numbers go on from those of claims."""

    HELLO = 4
    SHARE = 5
    PROOF = 6
    ANSWER = 7
    WRONG = 8
    PROBE = 9


SIZES = {
    CodeKind.HELLO: HELLO_SIZE,
    CodeKind.SHARE: SMALLEST_SIZE,
    CodeKind.PROOF: 88,
    CodeKind.ANSWER: 616,
    CodeKind.WRONG: SMALLEST_SIZE,
    CodeKind.PROBE: SMALLEST_SIZE,
}


@frozen
class Hello:
    """A claimer begins a run: its share."""

    session: bytes
    share: bytes


@frozen
class Share:
    """The issuer's share."""

    session: bytes
    share: bytes


@frozen
class Proof:
    """The claimer's proof that it knows the words."""

    session: bytes
    tag: bytes


@frozen
class Answer:
    """The issuer's proof, and what the code stands for, sealed."""

    session: bytes
    tag: bytes
    sealed: bytes


@frozen
class Wrong:
    """The proof was wrong."""

    session: bytes


@frozen
class Probe:
    """An issuer looks whether its meeting is its own."""

    session: bytes


CodeMessage = Hello | Share | Proof | Answer | Wrong | Probe


def encode_code_message(message: CodeMessage) -> bytes:
    """Return the bytes of a message."""
    match message:
        case Hello(session, share):
            return _padded(CodeKind.HELLO, session + share)
        case Share(session, share):
            return _padded(CodeKind.SHARE, session + share)
        case Proof(session, tag):
            return _padded(CodeKind.PROOF, session + tag)
        case Answer(session, tag, sealed):
            return answer_head(session, tag) + sealed
        case Wrong(session):
            return _padded(CodeKind.WRONG, session)
        case Probe(session):
            return _padded(CodeKind.PROBE, session)


def answer_head(session: bytes, tag: bytes) -> bytes:
    """Return what is in the clear before the sealed text of an answer, which is bound to it."""
    return _padded(CodeKind.ANSWER, session + tag)


def decode_code_message(data: memoryview | bytes) -> CodeMessage:
    """Read a message of a code; raises `DecodeError`."""
    reader = Reader(data)
    if reader.bytes(len(MAGIC)) != MAGIC:
        raise BadMagic("not a message of a code")
    kind, version = reader.uint(1), reader.uint(1)
    if version != VERSION:
        raise UnknownVersion(f"a message of a code in version {version}")
    message: CodeMessage
    match kind:
        case CodeKind.HELLO:
            message = Hello(reader.bytes(SESSION_SIZE), reader.bytes(SHARE_SIZE))
        case CodeKind.SHARE:
            message = Share(reader.bytes(SESSION_SIZE), reader.bytes(SHARE_SIZE))
        case CodeKind.PROOF:
            message = Proof(reader.bytes(SESSION_SIZE), reader.bytes(PROOF_SIZE))
        case CodeKind.ANSWER:
            message = Answer(
                reader.bytes(SESSION_SIZE), reader.bytes(PROOF_SIZE), reader.bytes(SEALED_SIZE)
            )
        case CodeKind.WRONG:
            message = Wrong(reader.bytes(SESSION_SIZE))
        case CodeKind.PROBE:
            message = Probe(reader.bytes(SESSION_SIZE))
        case _:
            raise DecodeError(f"a message of kind {kind}")
    if len(data) != SIZES[CodeKind(kind)] or any(reader.rest()):
        raise DecodeError("a message of a code of another size, or with other padding")
    return message


def _padded(kind: CodeKind, body: bytes) -> bytes:
    size = HELLO_SIZE if kind is CodeKind.HELLO else SMALLEST_SIZE
    return (MAGIC + bytes((kind, VERSION)) + body).ljust(size, b"\0")
