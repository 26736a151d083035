"""Code: `12-048219-cactus-dentist`, a short way to a session token.  Pure.

    12       the region of the relay map where both meet; 0 for the relay that both were given
    048219   six digits: the meeting, which everybody may know
    words    two to six of one list, the secret

How people type it is read in `derphole.token.typed_code`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tunnel.values import frozen_secret

if TYPE_CHECKING:
    from tunnel.proto.code.terms import CodeTerms

MAX_REGION = 65535
OWN_RELAY_REGION = 0
DIGITS = 6
LEAST_WORDS = 2
MOST_WORDS = 6


@frozen_secret
class Code:
    """A code.

    Args:
        region: of the relay map, 0 for the relay that both sides were given.
        digits: six, the meeting.
        words: two to six, secret.
    """

    region: int
    digits: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The code as it is shown."""
        return "-".join((str(self.region), self.digits, *self.words))

    @property
    def terms(self) -> "CodeTerms":
        """What both sides make of it."""
        # Imported late: few commands have codes, and each start counts.
        from tunnel.proto.code.terms import CodeTerms

        place, words = f"{self.region}-{self.digits}", "-".join(self.words)
        return CodeTerms(place.encode("ascii"), words.encode("ascii"))

    def __repr__(self) -> str:
        return f"<Code {self.region}-{self.digits}>"


def drawn_code(region: int, words: int, entropy: Callable[[int], bytes]) -> Code:
    """Return a new code.

    Args:
        region: where its meeting is, 0 to 65535.
        words: how many, 2 to 6.
        entropy: returns that many random bytes.
    """
    from derphole.token.code_words import WORDS

    digits = int.from_bytes(entropy(16), "big") % 10**DIGITS
    drawn = (int.from_bytes(entropy(2), "big") % len(WORDS) for _ in range(words))
    return Code(region, f"{digits:0{DIGITS}}", tuple(WORDS[number] for number in drawn))
