"""What both sides make of a code: where they meet, the run that its words enter, the sealed text.

    12-048219-cactus-dentist
    |place---||words-----|
      |            +--> CPace alone, with the place and both DERP keys as its channel
      +--> the meeting's key pair: whoever knows the place can be there

Nothing that a relay sees depends on the words but through CPace.  Source: docs/protocol.md, section
"Codes".
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from tunnel.crypto.cpace import Agreement, CPace, Role, length_value
from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import AuthenticationFailed
from tunnel.units import Seconds
from tunnel.values import frozen_secret
from tunnel.wire.code import (
    ANSWER_TEXT_SIZE,
    Answer,
    answer_head,
)

# Fixed by the protocol.
MEETING_PARENT = b"derphole meeting"
CHANNEL = b"derphole code 1"
SAID = (b"claimer", b"issuer")
_NONCE = bytes(bindings.crypto_aead_chacha20poly1305_ietf_NPUBBYTES)

# Chosen (the issue of codes, design section 4): a run that is not over by then never will be.
RUN_S: Seconds = 10.0


@frozen_secret
class CodeTerms:
    """A code as both sides know it.

    Args:
        place: region and digits in ASCII, as in b"12-048219": public.
        words: the words in ASCII, as in b"cactus-dentist": secret, and easily guessed.
    """

    place: bytes
    words: bytes

    def __repr__(self) -> str:
        return f"<CodeTerms of {self.place.decode('ascii')}>"

    @property
    def meeting(self) -> KeyPair:
        """The key pair of the meeting, which everybody can make."""
        return KeyPair.from_secret(derive(MEETING_PARENT, "meeting", self.place))

    def run(self, role: Role, claimer: DerpKey, session: bytes, secret: bytes) -> CPace:
        """Begin one side's run of CPace.

        Args:
            role: the claimer is the initiator.
            claimer: its DERP key.
            session: 16 random bytes that the claimer chose.
            secret: 32 random bytes of this side.
        """
        channel = length_value(CHANNEL, self.place, claimer, self.meeting.public)
        return CPace(role, self.words, channel, session, secret, SAID)


def sealed_answer(agreement: Agreement, session: bytes, text: bytes) -> Answer:
    """Return the answer that tells a text of at most 512 bytes, without a zero at its end."""
    if len(text) > ANSWER_TEXT_SIZE:
        raise ValueError(f"a text of {len(text)} bytes")
    head = answer_head(session, agreement.responder_tag)
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
        text.ljust(ANSWER_TEXT_SIZE, b"\0"), head, _NONCE, _answer_key(agreement)
    )
    return Answer(session, agreement.responder_tag, sealed)


def open_answer(agreement: Agreement, answer: Answer) -> bytes:
    """Return the text of an answer whose tag is good; raises `AuthenticationFailed`."""
    head = answer_head(answer.session, answer.tag)
    try:
        text: bytes = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
            answer.sealed, head, _NONCE, _answer_key(agreement)
        )
    except CryptoError as error:
        raise AuthenticationFailed("an answer that does not open") from error
    return text.rstrip(b"\0")


def _answer_key(agreement: Agreement) -> bytes:
    return derive(agreement.key, "code answer")
