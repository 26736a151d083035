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

    tunnel   TUNNEL                nothing, at both sides of a tunnel

    receive  RECEIVE_FIRST         OFFER                                 the link
             RECEIVE_OFFERED       TOTALS                                OFFER
             RECEIVE_ANSWERED      TOTALS, START                         our ANSWER, "go"
             RECEIVE_FLOWING       TOTALS, FIN                           START
             RECEIVE_AFTER_FIN     nothing                               FIN; LISTEN_CONFIRMED next
    send     SEND_OFFERED          ANSWER                                our OFFER
             SEND_ANSWERED         HAVE_PARTS, HAVE_ENTRIES, HAVE_END    ANSWER, "go"
             SEND_HEARD            nothing                               HAVE_END
             SEND_FLOWING          PIECES, PROGRESS                      our START
             SEND_AFTER_FIN        PROGRESS, RESULT, CONFIRM             our FIN

    invite   INVITE_FIRST          KEY           the link
             INVITE_LATER          nothing       KEY
    accept   ACCEPT                ACCESS        our KEY

Everything else, bytes that are not a message, and the end of the messages end the run at once,
except that who confirms has succeeded by then.  Messages of unknown types are ignored.
Pure.  Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Mapping
from enum import Enum

from derphole.errors import PeerBrokeProtocol
from derphole.speech.access_messages import Access, AccessKey
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
from derphole.speech.transfer_messages import (
    Answer,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Offer,
    Pieces,
    Progress,
    Result,
    Start,
    Totals,
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
    TUNNEL = "in a tunnel"
    RECEIVE_FIRST = "while OFFER was awaited"
    RECEIVE_OFFERED = "while the offer was not answered"
    RECEIVE_ANSWERED = "while START was awaited"
    RECEIVE_FLOWING = "after START"
    RECEIVE_AFTER_FIN = "after the FIN of a transfer"
    SEND_OFFERED = "in answer to OFFER"
    SEND_ANSWERED = "while HAVE-END was awaited"
    SEND_HEARD = "after HAVE-END and before START"
    SEND_FLOWING = "before the transfer was finished"
    SEND_AFTER_FIN = "in answer to the FIN of a transfer"
    INVITE_FIRST = "while KEY was awaited"
    INVITE_LATER = "after KEY"
    ACCEPT = "in answer to KEY"


NAMES: Mapping[type[Message], str] = {
    Fin: "FIN",
    Confirm: "CONFIRM",
    ConfirmAck: "CONFIRM-ACK",
    Resumption: "RESUMPTION",
    Total: "TOTAL",
    Offer: "OFFER",
    Totals: "TOTALS",
    Answer: "ANSWER",
    HaveParts: "HAVE-PARTS",
    HaveEntries: "HAVE-ENTRIES",
    HaveChecked: "HAVE-CHECKED",
    HaveEnd: "HAVE-END",
    Start: "START",
    Pieces: "PIECES",
    Progress: "PROGRESS",
    Result: "RESULT",
    AccessKey: "KEY",
    Access: "ACCESS",
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
    Stage.TUNNEL: (),
    Stage.RECEIVE_FIRST: (Offer,),
    Stage.RECEIVE_OFFERED: (Totals,),
    Stage.RECEIVE_ANSWERED: (Totals, Start),
    Stage.RECEIVE_FLOWING: (Totals, Fin),
    Stage.RECEIVE_AFTER_FIN: (),
    Stage.SEND_OFFERED: (Answer,),
    Stage.SEND_ANSWERED: (HaveParts, HaveEntries, HaveChecked, HaveEnd),
    Stage.SEND_HEARD: (),
    Stage.SEND_FLOWING: (Pieces, Progress),
    Stage.SEND_AFTER_FIN: (Progress, Result, Confirm),
    Stage.INVITE_FIRST: (AccessKey,),
    Stage.INVITE_LATER: (),
    Stage.ACCEPT: (Access,),
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
