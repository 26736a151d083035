"""Turns: which message may come next on a control stream, by how far the conversation is.

    side     stage                 may come      stage begins with
    listen   LISTEN_BEFORE_FIN     TOTAL, FIN    the link
             LISTEN_AFTER_FIN      nothing       FIN
             LISTEN_CONFIRMED      CONFIRM_ACK   our CONFIRM
    pipe     PIPE_BEFORE_FIN       nothing       the link
             PIPE_AFTER_FIN        CONFIRM       our FIN
    share    SHARE                 nothing       the link
    open     OPEN_FIRST            RESUMPTION    the link
             OPEN_LATER            nothing       RESUMPTION

Everything else, bytes that are not a message, and the end of the messages end the run at once,
except that `listen` has succeeded by the time it confirms.  Messages of unknown types are ignored.
Pure.  Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Mapping
from enum import Enum

from derphole.errors import PeerBrokeProtocol
from derphole.speech.messages import (
    Buffer,
    Confirm,
    ConfirmAck,
    Fin,
    Message,
    MessageReader,
    Resumption,
    Total,
)
from tunnel.errors import DecodeError


class Stage(Enum):
    """How far a conversation is, seen from the side that reads; the value says it in words."""

    LISTEN_BEFORE_FIN = "while FIN was awaited"
    LISTEN_AFTER_FIN = "after FIN"
    LISTEN_CONFIRMED = "in answer to CONFIRM"
    PIPE_BEFORE_FIN = "before anything was finished"
    PIPE_AFTER_FIN = "in answer to FIN"
    SHARE = "to a side that shares"
    OPEN_FIRST = "while RESUMPTION was awaited"
    OPEN_LATER = "after RESUMPTION"


NAMES: Mapping[type[Message], str] = {
    Fin: "FIN",
    Confirm: "CONFIRM",
    ConfirmAck: "CONFIRM-ACK",
    Resumption: "RESUMPTION",
    Total: "TOTAL",
}
MAY_COME: Mapping[Stage, tuple[type[Message], ...]] = {
    Stage.LISTEN_BEFORE_FIN: (Total, Fin),
    Stage.LISTEN_AFTER_FIN: (),
    Stage.LISTEN_CONFIRMED: (ConfirmAck,),
    Stage.PIPE_BEFORE_FIN: (),
    Stage.PIPE_AFTER_FIN: (Confirm,),
    Stage.SHARE: (),
    Stage.OPEN_FIRST: (Resumption,),
    Stage.OPEN_LATER: (),
}


class TurnReader:
    """Cuts a control stream into messages, each of which may come in its stage."""

    def __init__(self) -> None:
        self._reader = MessageReader()

    def feed(self, data: Buffer) -> None:
        """Append bytes of the stream."""
        self._reader.feed(data)

    def next_message(self, stage: Stage) -> Message | None:
        """Return the next whole message of a known type, or None.

        Raises `PeerBrokeProtocol` for one that may not come in this stage, and for bytes that are
        none.
        """
        try:
            message = self._reader.next_message()
        except DecodeError as error:
            raise unreadable(stage, str(error)) from error
        if message is not None:
            check_turn(stage, message)
        return message


def check_turn(stage: Stage, message: Message) -> None:
    """Raise `PeerBrokeProtocol` for a message that may not come now."""
    if type(message) not in MAY_COME[stage]:
        raise PeerBrokeProtocol(f"{NAMES[type(message)]} was sent {stage.value}")


def messages_ended(stage: Stage) -> PeerBrokeProtocol:
    """Return the error for a side that ends its messages while the conversation goes on."""
    return PeerBrokeProtocol(f"the end of its messages came {stage.value}")


def unreadable(stage: Stage, detail: str) -> PeerBrokeProtocol:
    """Return the error for bytes that are not a message."""
    return PeerBrokeProtocol(f"a message that cannot be read was sent {stage.value}: {detail}")
