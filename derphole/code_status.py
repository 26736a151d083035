"""What a person is told of short codes: which one, who tried it, and when it is over.  Pure."""

from collections.abc import Mapping

from derphole.status import JsonValue, Level, Status
from tunnel.units import WallTime
from tunnel.values import frozen, frozen_secret


@frozen_secret
class CodeIssued(Status):
    """The short code to hand to the other side.

    Args:
        text: the code.
        expires_at: until when it can be used, Unix seconds.
        needs: options that the other side needs with it, as typed; empty for none.
    """

    event = "code"
    level = Level.QUIET
    text: str
    expires_at: WallTime
    needs: str = ""

    @property
    def sentence(self) -> str:
        """The code and nothing else."""
        return self.text

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The code, what it needs, and until when it can be used."""
        return {"code": self.text, "needs": self.needs, "expires_at": int(self.expires_at)}

    def __repr__(self) -> str:
        return f"<CodeIssued of {len(self.text)} characters>"


@frozen
class WrongCode(Status):
    """Somebody tried the code with other words.

    Args:
        count: how many did so far.
        limit: how many end the code.
    """

    event = "wrong-code"
    level = Level.QUIET
    count: int
    limit: int

    @property
    def sentence(self) -> str:
        """That it happened, and how often it may."""
        return (
            f"somebody tried the code with wrong words: {self.count} of {self.limit} tries; "
            "if it was not the other side, somebody is guessing"
        )

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """How often."""
        return {"count": self.count, "limit": self.limit}


@frozen
class CodeOver(Status):
    """A code that was shown is good for nothing any more.

    Args:
        place: its numbers.
        reason: why.
        is_last: whether no other one follows.
    """

    event = "code-over"
    level = Level.QUIET
    place: str
    reason: str
    is_last: bool

    @property
    def sentence(self) -> str:
        """Why, and what serves from now on."""
        rest = "there will be no other one: use the token" if self.is_last else "a new one follows"
        return f"the code {self.place} is over, since {self.reason}; {rest}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Which one, why, and whether another one follows."""
        return {"place": self.place, "reason": self.reason, "is_last": self.is_last}


@frozen
class NoCodeNow(Status):
    """There is no code; the token serves."""

    event = "no-code"
    reason: str

    @property
    def sentence(self) -> str:
        """Why."""
        return f"there is no short code this time, since {self.reason}: use the token"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Why."""
        return {"reason": self.reason}
