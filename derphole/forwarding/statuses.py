"""What `share`, `open` and derptun tell: who came and went, how each connection ended.  Pure."""

from collections.abc import Mapping
from enum import StrEnum

from derphole.status import JsonValue, Level, Status, size_text
from tunnel.units import ByteCount, Seconds
from tunnel.values import frozen


class Departure(StrEnum):
    """Why a client is not connected any more; the values are words of `--json`."""

    LEFT = "left"
    RECONNECTING = "reconnecting"
    LOST = "lost"
    REPLACED = "replaced"
    BROKE_PROTOCOL = "broke-protocol"
    ACCUSED_US = "accused-us"
    EXPIRED = "expired"
    REVOKED = "revoked"


@frozen
class ClientJoined(Status):
    """A client is connected.

    Args:
        number: of the client in this run, from 1.
        is_back: whether it was here before, and has come back.
        token: what its token is called, of derptun; None where there is one token for all.
    """

    event = "client-joined"
    number: int
    is_back: bool
    token: str | None = None

    @property
    def sentence(self) -> str:
        """Who, and whether for the first time."""
        who = client_text(self.number, self.token)
        return f"{who} is {'back' if self.is_back else 'connected'}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, and the sentence."""
        return {
            "client": self.number,
            "back": self.is_back,
            "token": self.token,
            "message": self.sentence,
        }


@frozen
class ClientLeft(Status):
    """A client is not connected any more.

    Args:
        number: of the client in this run, from 1.
        departure: why.
        detail: the same in words of one of the sides; None without any.
        silent_s: how long nothing was heard of it; 0 for one that said goodbye.
        may_come_back_s: how long it may come back; None where that does not end, or never begins.
        token: what its token is called, of derptun; None where there is one token for all.
    """

    event = "client-left"
    number: int
    departure: Departure
    detail: str | None = None
    silent_s: Seconds = 0.0
    may_come_back_s: Seconds | None = None
    token: str | None = None

    @property
    def sentence(self) -> str:
        """Who, why, and for how long it may come back."""
        return f"{client_text(self.number, self.token)} {self._words()}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, and the sentence."""
        return {
            "client": self.number,
            "reason": self.departure.value,
            "detail": self.detail,
            "may_come_back": self.may_come_back,
            "may_come_back_s": self.may_come_back_s,
            "token": self.token,
            "message": self.sentence,
        }

    @property
    def may_come_back(self) -> bool:
        """Whether it may come back with what it was given."""
        return self.may_come_back_s is not None

    def _words(self) -> str:
        said = f" ({self.detail})" if self.detail else ""
        match self.departure:
            case Departure.LEFT:
                return f"left: {self.detail}" if self.detail else "left"
            case Departure.RECONNECTING:
                return "is reconnecting"
            case Departure.LOST:
                silence = f"has not answered for {self.silent_s:.0f} s"
                if self.may_come_back_s is None:
                    return f"{silence}, and counts as gone"
                return f"{silence}; it can reconnect within {self.may_come_back_s / 60:.0f} min"
            case Departure.REPLACED:
                return "stopped answering, and another one took its place"
            case Departure.BROKE_PROTOCOL:
                return f"was disconnected: protocol error{said}"
            case Departure.ACCUSED_US:
                return f"left: it says that this side broke the protocol{said}"
            case Departure.EXPIRED:
                return "was disconnected: its token has expired"
            case Departure.REVOKED:
                return "was disconnected: its token is revoked"


def client_text(number: int, token: str | None) -> str:
    """Return what a client is called."""
    return f"client {number}" if token is None else f"client {number} ({token})"


@frozen
class TargetUnreachable(Status):
    """The target cannot be connected to; told once until it works again.

    Args:
        target: the target.
        reason: in words.
    """

    event = "target-unreachable"
    target: str
    reason: str

    @property
    def sentence(self) -> str:
        """What, why, and what is done about it, marked as a warning."""
        return f"warning: {self._text()}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, and the text."""
        return {"target": self.target, "reason": self.reason, "message": self._text()}

    def _text(self) -> str:
        return (
            f"cannot connect to {self.target}: {self.reason}; trying again for each new connection"
        )


@frozen
class ConnectionsReset(Status):
    """Connections are reset before a byte went through; told once until one works again.

    Args:
        reason: why, in words.
    """

    event = "connections-reset"
    reason: str

    @property
    def sentence(self) -> str:
        """Why, and what is done about it, marked as a warning."""
        return f"warning: {self._text()}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The reason, and the text."""
        return {"reason": self.reason, "message": self._text()}

    def _text(self) -> str:
        return f"connections are reset: {self.reason}; trying again for each new connection"


@frozen
class ConnectionsWait(Status):
    """New connections are not taken, since the system gives no socket; told once a minute at most.

    Args:
        reason: why, in words.
    """

    event = "connections-wait"
    reason: str

    @property
    def sentence(self) -> str:
        """Why, and until when, marked as a warning."""
        return f"warning: {self._text()}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The reason, and the text."""
        return {"reason": self.reason, "message": self._text()}

    def _text(self) -> str:
        return f"new connections wait: {self.reason}; they go on when others have ended"


@frozen
class Reconnecting(Status):
    """`open` has lost its link and makes a new one; its port stays open."""

    event = "reconnecting"

    @property
    def sentence(self) -> str:
        """What happens."""
        return "the link to the other side ended; the port stays open, reconnecting"


@frozen
class Reconnected(Status):
    """`open` has a link again, after `after_s` seconds without."""

    event = "reconnected"
    after_s: Seconds

    @property
    def sentence(self) -> str:
        """What happened."""
        return "connected again"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """After how long, and the sentence."""
        return {"after_s": round(self.after_s, 3), "message": self.sentence}


@frozen
class ForwardingEnded(Status):
    """A forwarded connection is over.

    Args:
        number: of the connection in this run, from 1; None for one that found no place.
        peer: whose it is, in words.
        sent: bytes from here to the other side of the link.
        received: bytes from there.
        seconds: from its beginning.
        reason: why it ended, in words.
        code: of its reset; None when both ways ended cleanly.
    """

    event = "connection"
    level = Level.VERBOSE
    number: int | None
    peer: str
    sent: ByteCount
    received: ByteCount
    seconds: Seconds
    reason: str
    code: int | None

    @property
    def sentence(self) -> str:
        """Whose, how much, how long, and why it ended."""
        number = "" if self.number is None else f" {self.number}"
        return (
            f"connection{number} of {self.peer}: sent {size_text(self.sent)}, "
            f"received {size_text(self.received)} in {self.seconds:.1f} s, {self.reason}"
        )

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Every figure."""
        return {
            "connection": self.number,
            "peer": self.peer,
            "sent": self.sent,
            "received": self.received,
            "seconds": round(self.seconds, 6),
            "reason": self.reason,
            "code": self.code,
        }
