"""A key is handed over: both ends, as machines without I/O.

    GivingKey (accept)                         TakingKey (invite)

    OFFERED     KEY -->                        AWAITING    another claimer may still take over
       |                                          | KEY: KeyOffered (REPLACED without one for KEY_S)
       |                                       OFFERED     the owner decides
       |                                          | `keep_place`
       |                                       OFFERED     and keeps the key, whatever comes
       |                                          | `answer`
       |        <-- ACCESS                     LEAVING
       v                                          v it has arrived, or CONFIRM_S
    OVER        Close                          OVER        Close

Who takes a key answers when it is on the disk, and not before.  While it is written there nothing
ends the run: the key may let in already, and somebody has to be told.  Pure.  Source:
docs/protocol.md, section "Conversations".
"""

from derphole.errors import PeerBrokeProtocol
from derphole.speech.access_messages import LETS_IN, Access, AccessKey
from derphole.speech.decisions import Close, Decision, KeepPlace, KeyOffered, Over, Replaced, Say
from derphole.speech.endings import Ending
from derphole.speech.messages import Message, encode
from derphole.speech.stream_proof import CONFIRM_S, Proof
from derphole.speech.stream_states import State
from derphole.speech.turns import Stage
from tunnel.errors import LinkEnded, PeerClosed
from tunnel.units import Instant, Seconds

# Chosen: who has the token sends its key at once.
KEY_S: Seconds = 10.0


class GivingKey(Proof):
    """The end that wants to be let in.

    Args:
        now: the time.
        unanswered: what this side waits for when nothing comes, in words.
        line: of the public key.

    Attributes:
        access: what became of it, once that is known.
    """

    def __init__(self, now: Instant, unanswered: str, line: bytes) -> None:
        super().__init__(now, State.OFFERED, unanswered)
        self._line = line
        self.access: Access | None = None

    def begin(self) -> list[Decision]:
        """Offer the key."""
        return [Say(encode(AccessKey(self._line)))]

    @property
    def _stage(self) -> Stage | None:
        return Stage.ACCEPT if self.state is State.OFFERED else None

    def _take(self, now: Instant, message: Message) -> list[Decision]:
        assert isinstance(message, Access)
        self.access = message
        return self._leave()

    def _leave(self) -> list[Decision]:
        self._go(State.OVER)
        return [Close(Ending.DONE, "done"), Over()]


class TakingKey(Proof):
    """The end that lets in.

    Args:
        now: the time.
        unanswered: what this side waits for when nothing comes, in words.

    Attributes:
        access: what was answered; None before.
        key_came: whether a key was offered.
        is_acknowledged: whether the other side knows it.
        nonsense: what it said while the key was kept, and may not say, in words.
    """

    def __init__(self, now: Instant, unanswered: str) -> None:
        super().__init__(now, State.AWAITING, unanswered)
        self._go(State.AWAITING, now + KEY_S)
        self.key_came = False
        self.access: Access | None = None
        self.is_acknowledged = False
        self.nonsense: str | None = None
        self._is_keeping = False
        self._has_other_side_ended = False

    @property
    def lets_in(self) -> bool:
        """Whether the key lets the other side in now."""
        return self.access is not None and self.access.verdict in LETS_IN

    def keep_place(self) -> list[Decision]:
        """Take that the key is about to be kept: nobody can take over; [] if it must not be."""
        if self.state is not State.OFFERED:
            return []
        self._is_keeping = True
        return [KeepPlace()]

    def answer(self, now: Instant, access: Access) -> list[Decision]:
        """Say what became of the key, if anybody is there to hear it."""
        if self.state is not State.OFFERED:
            return []
        self.access = access
        if self._has_other_side_ended:
            return self._leave()
        self._go(State.LEAVING, now + CONFIRM_S)
        return [Say(encode(access))]

    def handle_acknowledged(self) -> list[Decision]:
        """Take that the answer has arrived."""
        if self.state is not State.LEAVING:
            return []
        self.is_acknowledged = True
        return self._leave()

    @property
    def _stage(self) -> Stage | None:
        if self._has_other_side_ended:
            return None
        match self.state:
            case State.AWAITING:
                return Stage.INVITE_FIRST
            case State.OFFERED:
                return Stage.INVITE_LATER
            case _:
                return None

    def _take(self, now: Instant, message: Message) -> list[Decision]:
        assert isinstance(message, AccessKey)
        self.key_came = True
        self._go(State.OFFERED)
        return [KeyOffered(message.line)]

    def _leave(self) -> list[Decision]:
        self._go(State.OVER)
        if self.nonsense is not None:
            return [Close(Ending.PROTOCOL_VIOLATION, self.nonsense), Over()]
        return [Close(Ending.DONE, "done"), Over()]

    @property
    def _can_begin_again(self) -> bool:
        return self.access is None

    # -- how it ends: what is kept, and what was answered, stands --------------------------------

    def handle_timeout(self, now: Instant) -> list[Decision]:
        """Do what is due."""
        if self.state is State.AWAITING and self._deadline is not None and now >= self._deadline:
            self._go(State.REPLACED)  # whoever says nothing keeps nobody else out
            return [Close(Ending.TIMED_OUT, "no key came"), Replaced()]
        if self.state is State.LEAVING and self._deadline is not None and now >= self._deadline:
            return self._leave()
        return super().handle_timeout(now)

    def handle_reset(self, now: Instant) -> list[Decision]:
        """Take that the other side gave up the stream."""
        if self._keeps_on():
            return []
        return self._leave() if self.state is State.LEAVING else super().handle_reset(now)

    def handle_link_ended(self, end: LinkEnded) -> list[Decision]:
        """Take the end of the link; what came before it must have been handed in."""
        if self._keeps_on():
            return []
        if self.state is State.LEAVING:
            self.is_acknowledged = self.is_acknowledged or _is_done(end)
            return self._leave()
        return super().handle_link_ended(end)

    def _break_off(self, error: PeerBrokeProtocol) -> list[Decision]:
        if self._keeps_on():
            self.nonsense = error.detail
            return []
        return super()._break_off(error)

    def _keeps_on(self) -> bool:
        """Tell whether the key is being kept: then the other side is left when that is done."""
        if self.state is not State.OFFERED or not self._is_keeping:
            return False
        self._has_other_side_ended = True
        return True


def _is_done(end: LinkEnded) -> bool:
    """Tell whether the other side closed the link because it knows everything."""
    return isinstance(end, PeerClosed) and end.code == Ending.DONE
