"""How conversations end: the close codes, and the sentence each side gets.

    done           everything was confirmed         interrupted    a person or the system stopped it
    output closed  the receiver's reader left       output failed  the receiver could not write
    input failed   the sender could not read        mismatch       size or digest do not agree
    expired        the token's time is over         reconnecting   the claimer comes back at once
    in use, replaced                                see tunnel.proto.meeting.places
    protocol       a side said what it may not say, on its control stream or in its packets

Every ending names its cause on both sides; words of the other side are in quotes.  Pure.
"""

from enum import IntEnum

from derphole.errors import (
    AlreadyInUse,
    ClaimRefused,
    Declined,
    DeclinedHere,
    DerpholeError,
    FeatureMissing,
    Interrupted,
    KindRefused,
    NotAwaited,
    NotTaken,
    OtherReason,
    OutputExists,
    PeerAborted,
    PeerBrokeProtocol,
    PeerLeft,
    ReceiverOutputClosed,
    ReplacedServer,
    ServerExpired,
    SinkClosed,
    SinkFailed,
    SourceFailed,
    SpaceShort,
    TargetExists,
    TargetUnwritable,
    TimedOut,
    TokenExpired,
    TokenWrongCapability,
    TransferError,
    WeBrokeProtocol,
)
from derphole.speech.transfer_messages import Answer, Reason, Verdict
from derphole.token.admission import Refusal
from derphole.token.grant import Grant
from derphole.token.text import MADE_AND_USED_BY
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent
from tunnel.proto.meeting.owner import Refused
from tunnel.units import WallTime


class Ending(IntEnum):
    """Close codes of conversations; the codes below 16 belong to the tunnel library."""

    PROTOCOL_VIOLATION = 1
    IN_USE = 2
    REPLACED = 3
    DONE = 16
    INTERRUPTED = 17
    OUTPUT_CLOSED = 18
    OUTPUT_FAILED = 19
    INPUT_FAILED = 20
    MISMATCH = 21
    EXPIRED = 22
    TIMED_OUT = 23
    FAILED = 24
    RECONNECTING = 25
    REVOKED = 26


REVOKED_WORDS = "the token was revoked"

# What the sender's person can do about an offer that was not taken.
NEXT_STEP_OF = {
    Reason.EXISTS: "there, use --overwrite, --rename or --skip, or choose another place with -o",
    Reason.NO_SPACE: "free some space there, or choose another place there with -o",
    Reason.CANNOT_WRITE: "choose another place there with -o",
    Reason.KIND: "choose a folder there with -o",
}


def ending_error(end: LinkEnded, unanswered: str) -> DerpholeError:
    """Return what the person on this side reads when the other side, or silence, ended the link.

    Args:
        end: why the link ended.
        unanswered: what was awaited from the other side.
    """
    if isinstance(end, PeerSilent):
        return TimedOut(f"{unanswered} (no answer from the other side)", end.silent_s)
    if isinstance(end, ClosedHere) and end.code == Ending.PROTOCOL_VIOLATION:
        return PeerBrokeProtocol("its packets were invalid")
    if not isinstance(end, PeerClosed):
        return PeerLeft(f"({end})")
    match end.code:
        case Ending.PROTOCOL_VIOLATION:
            return WeBrokeProtocol(end.text or None)
        case Ending.IN_USE:
            return AlreadyInUse()
        case Ending.OUTPUT_CLOSED:
            return ReceiverOutputClosed()
        case Ending.REPLACED:
            return PeerAborted("another process took over with the same token")
        case Ending.REVOKED:
            return ClaimRefused(REVOKED_WORDS)
        case Ending.DONE:
            return PeerLeft("before confirming everything")
        case _:
            return PeerAborted(end.text or None)


def ending_of(error: BaseException) -> tuple[Ending, str]:
    """Return how this side's failure is told to the other side."""
    match error:
        case SinkClosed():
            return Ending.OUTPUT_CLOSED, "its output was closed"
        case OutputExists():
            return Ending.OUTPUT_FAILED, "it could not write its output: the file exists already"
        case SinkFailed(reason=reason):
            return Ending.OUTPUT_FAILED, f"it could not write its output: {reason}"
        case SourceFailed(reason=reason):
            return Ending.INPUT_FAILED, f"it could not read its input: {reason}"
        case PeerBrokeProtocol(detail=detail):
            return Ending.PROTOCOL_VIOLATION, detail
        case TransferError():
            return Ending.MISMATCH, "the data it received does not match what was sent"
        case NotTaken():
            return Ending.FAILED, f"it did not take what was offered: {answer_of(error).text}"
        case ReplacedServer():
            return Ending.FAILED, "another one serves in its place"
        case ServerExpired():
            return Ending.EXPIRED, "the server token has expired"
        case Interrupted():
            return Ending.INTERRUPTED, f"it was {error.sentence}"
        case _:
            return Ending.FAILED, "it failed"


def answer_of(error: NotTaken) -> Answer:
    """Return how the other side is told that its offer is not taken; names no path of ours."""
    match error:
        case DeclinedHere():
            reason, text = Reason.BY_PERSON, "it was declined there"
        case TargetExists():
            reason, text = Reason.EXISTS, "there is something of that name already"
        case SpaceShort():
            reason, text = Reason.NO_SPACE, "there is not enough space"
        case TargetUnwritable(reason=why):
            reason, text = Reason.CANNOT_WRITE, f"nothing can be written there ({why})"
        case KindRefused():
            reason, text = Reason.KIND, "it cannot be put where it should be written there"
        case _:
            reason, text = Reason.OTHER, "it cannot be taken there"
    return Answer(Verdict.DECLINED, reason, text)


def declined_error(answer: Answer) -> Declined:
    """Return what the sender's person reads when the offer was not taken."""
    text = answer.text or "it does not say why"
    return Declined(text, NEXT_STEP_OF.get(answer.reason))


def refusal_error(refused: Refused, grant: Grant, now: WallTime) -> DerpholeError:
    """Return what the claimer's person reads when the issuer refused the claim."""
    match refused.verdict:
        case Refusal.EXPIRED:
            return TokenExpired(grant.expires_at, now, refused.clock_s)
        case Refusal.WRONG_CAPABILITY:
            return TokenWrongCapability(*MADE_AND_USED_BY[grant.capability])
        case Refusal.USED_UP:
            return ClaimRefused("the token has been used already")
        case Refusal.LEAVING:
            return ClaimRefused("it is about to end")
        case Refusal.REVOKED:
            return ClaimRefused(REVOKED_WORDS)
        case Refusal.NOT_AWAITED:
            return NotAwaited()
        case Refusal.CLAIMER_LACKS | Refusal.ISSUER_LACKS:
            is_here = refused.verdict == Refusal.CLAIMER_LACKS
            return FeatureMissing(is_here, program_text(refused.program))
        case _:
            return OtherReason(refused.verdict, program_text(refused.program))


def program_text(program: bytes) -> str:
    """Return what the other side's program calls itself, as text that may say anything."""
    return program.decode("ascii", "replace")
