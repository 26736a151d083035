"""What a conversation tells the person while it runs: frozen values that render themselves.

A conversation gets a `Report` and hands it statuses; it never prints.  A status is one class here:
`sentence` is the line for people, `event` and `keys` are the `--json` event (keys are only ever
added), `level` is the lowest level that shows it.  Programs get what is VERBOSE at the usual level
already.  Pure; text of the other side is escaped in `derphole.cli.frame.output`.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from typing import ClassVar

from tunnel.units import GIB, KIB, MIB, ByteCount, Seconds, WallTime
from tunnel.values import frozen, frozen_secret

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class Level(IntEnum):
    """How much is said."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Status:
    """What every status has."""

    __slots__ = ()
    event: ClassVar[str]
    level: ClassVar[Level] = Level.NORMAL

    @property
    def sentence(self) -> str | None:
        """The line a person reads; None for what is drawn in another way."""
        raise NotImplementedError

    @property
    def details(self) -> str | None:
        """A second line at the level VERBOSE, for what few people need."""
        return None

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The keys of the `--json` event; the sentence, where nothing else is in it."""
        return {"message": self.sentence}


Report = Callable[[Status], None]


# -- the token and the way to it ----------------------------------------------------------------


@frozen_secret
class TokenIssued(Status):
    """The token to hand to the other side.

    Args:
        text: the token.
        expires_at: until when it can be used, Unix seconds.
        code_follows: whether a short code is on its way, or the word that there is none.
    """

    event = "token"
    level = Level.QUIET
    text: str
    expires_at: WallTime
    code_follows: bool = False

    @property
    def sentence(self) -> str:
        """The token and nothing else."""
        return self.text

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The token, and until when it can be used."""
        return {"token": self.text, "expires_at": int(self.expires_at)}

    def __repr__(self) -> str:
        return f"<TokenIssued of {len(self.text)} characters>"


@frozen_secret
class Instruction(Status):
    """A line that people need to go on, such as the command for the other machine; often secret."""

    event = "instruction"
    level = Level.QUIET
    text: str

    @property
    def sentence(self) -> str:
        """The line."""
        return self.text

    def __repr__(self) -> str:
        return f"<Instruction of {len(self.text)} characters>"


@frozen
class Listening(Status):
    """A local address is bound."""

    event = "listening"
    level = Level.QUIET
    address: str

    @property
    def sentence(self) -> str:
        """Where."""
        return f"listening on {self.address}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Where."""
        return {"address": self.address}


# -- words for people ---------------------------------------------------------------------------


@frozen
class Notice(Status):
    """Something worth knowing."""

    event = "notice"
    text: str

    @property
    def sentence(self) -> str:
        """The text."""
        return self.text


@frozen
class Caution(Status):
    """Something the person should change."""

    event = "warning"
    text: str

    @property
    def sentence(self) -> str:
        """The text, marked as a warning."""
        return f"warning: {self.text}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The text."""
        return {"message": self.text}


@frozen
class RelayDown(Status):
    """A relay misbehaves or is away; the conversation goes on."""

    event = "relay-trouble"
    text: str

    @property
    def sentence(self) -> str:
        """What it does."""
        return f"relay trouble: {self.text}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """What it does."""
        return {"message": self.text}


# -- waiting ------------------------------------------------------------------------------------


@frozen
class Waiting(Status):
    """Something has not come yet, and nothing is wrong so far.

    Args:
        what: what is awaited, as in "waiting for ...".
        for_s: how long so far.
        limit_s: when we give up, counted from the start; None for never.
        so_far: what is known so far; None for nothing.
    """

    event = "waiting"
    what: str
    for_s: Seconds
    limit_s: Seconds | None
    so_far: str | None = None

    @property
    def sentence(self) -> str:
        """What is awaited, and how long."""
        limit = "" if self.limit_s is None else f" of at most {self.limit_s:.0f} s"
        so_far = "" if self.so_far is None else f": {self.so_far}"
        return f"waiting for {self.what} ({self.for_s:.0f} s{limit}){so_far}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """What is awaited, and how long."""
        return {
            "what": self.what,
            "for_s": round(self.for_s, 3),
            "limit_s": None if self.limit_s is None else round(self.limit_s, 3),
            "so_far": self.so_far,
        }


@frozen
class Stalled(Status):
    """Nothing was heard from the other side although something is unanswered.

    Args:
        what: what is unanswered.
        for_s: how long nothing was heard.
        limit_s: the silence after which the link is given up.
    """

    event = "stalled"
    what: str
    for_s: Seconds
    limit_s: Seconds

    @property
    def sentence(self) -> str:
        """How long nothing was heard, and what happens then."""
        return (
            f"no answer from the other side for {self.for_s:.0f} s; "
            f"giving up after {self.limit_s:.0f} s"
        )

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, and what is unanswered."""
        return {"what": self.what, "for_s": round(self.for_s, 3), "limit_s": self.limit_s}


@frozen
class Resumed(Status):
    """The other side is heard again after a stall of `after_s` seconds."""

    event = "resumed"
    after_s: Seconds

    @property
    def sentence(self) -> str:
        """After how long."""
        return f"the other side is back after {self.after_s:.0f} s"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """After how long."""
        return {"after_s": round(self.after_s, 3)}


# -- states and paths ---------------------------------------------------------------------------


class State(StrEnum):
    """The state words of `--verbose`."""

    WAITING_FOR_CLAIM = "waiting-for-claim"
    CLAIMED = "claimed"
    PROBING_DIRECT = "probing-direct"
    CONNECTED_RELAY = "connected-relay"
    CONNECTED_DIRECT = "connected-direct"
    STREAM_COMPLETE = "stream-complete"


@frozen
class StateChanged(Status):
    """The conversation reached a state."""

    event = "state"
    level = Level.VERBOSE
    word: State

    @property
    def sentence(self) -> str:
        """The word."""
        return self.word.value

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The word."""
        return {"state": self.word.value}


@frozen
class PathTaken(Status):
    """Traffic takes another path.

    Args:
        description: the path in words, such as "relay fra (203.0.113.5:443)".
        is_direct: whether it bypasses every relay.
    """

    event = "path"
    level = Level.VERBOSE
    description: str
    is_direct: bool

    @property
    def sentence(self) -> str:
        """The path, as a debug line."""
        return f"path={'direct' if self.is_direct else 'relay'} via={self.description}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The path."""
        return {"path": self.description, "direct": self.is_direct}


@frozen
class PathDetail(Status):
    """Something that tells why traffic takes the path that it takes.

    Args:
        topic: one word: seen, router, offered, answered, relayed or direct.
        text: the sentence.
    """

    event = "path-detail"
    level = Level.VERBOSE
    topic: str
    text: str

    @property
    def sentence(self) -> str:
        """The text."""
        return self.text

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Topic and text."""
        return {"topic": self.topic, "message": self.text}


def size_text(size: ByteCount) -> str:
    """Render a size as 5B, 12.3MiB, 1.0TiB: whole bytes, else one decimal, base 1024."""
    if size < KIB:
        return f"{size}B"
    for unit, name in ((KIB, "KiB"), (MIB, "MiB"), (GIB, "GiB")):
        if round(size / unit, 1) < KIB:
            return f"{size / unit:.1f}{name}"
    return f"{size / (GIB << 10):.1f}TiB"
