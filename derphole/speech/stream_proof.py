"""The proof of a stream: that every byte came, seen from both ends, as machines without I/O.

    SendingProof                                ReceivingProof

    FLOWING                                     EMPTY       another claimer may still take over
       | end of the data                           | first byte: KeepPlace, Write
       |              FIN -->                      v
       v                                        FLOWING
    FINISHED                                       | end of the data and FIN, in any order
       |                                           v size and digest agree
       |                                        WHOLE       needs nothing more from the link: Flush
       |              <-- CONFIRM                  | flushed
       v size and digest agree                     v
    PROVED            CONFIRM_ACK -->           PROVED      has succeeded, whatever comes
       | stored there, or LINGER_S                 | CONFIRM_ACK, or CONFIRM_S
       v                                           v
    OVER                                        OVER        Close

    before PROVED   a message out of turn, bytes that do not agree, the end of the link --> FAILED
                    the link's place is taken over before the first byte  --> REPLACED (receiving)
                    a stream is reset --> GIVEN_UP --the link's end, or HEAR_WHY_S--> FAILED
    in PROVED       each of them --> OVER

What happens comes in by `handle_...`; what to do about it is returned, to be done in this order.
Before its first byte a transfer is offered and answered: `derphole.transfer` puts states of its own
before FLOWING, and says what else there is to wait for before the stream is finished or whole.

The bytes themselves pass through uncopied, and nothing here knows where they come from or go to.
Pure.  Source: docs/protocol.md, section "Conversations".
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from derphole.errors import DerpholeError, PeerAborted, PeerBrokeProtocol, SizeMismatch
from derphole.speech.decisions import (
    Close,
    Decision,
    EndData,
    Fail,
    Flush,
    KeepPlace,
    Over,
    Proved,
    Replaced,
    Say,
    Write,
)
from derphole.speech.endings import Ending, ending_error
from derphole.speech.messages import Buffer, Confirm, ConfirmAck, Fin, Message, Total, encode
from derphole.speech.stream_states import UNPROVED, State
from derphole.speech.tally import Tally, mismatch
from derphole.speech.turns import Stage, TurnReader, messages_ended
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed
from tunnel.units import ByteCount, Instant, Seconds

# Chosen (design, section 9).
CONFIRM_S: Seconds = 10.0  # how long the receiver sees to it that its CONFIRM arrives
LINGER_S: Seconds = 1.0  # how long the sender sees to it that its CONFIRM_ACK arrives
# Chosen: after a stream was reset, what the end of the link gets to come and say why.
HEAR_WHY_S: Seconds = 0.5


class Proof(ABC):
    """What all ends share: messages in their turn, and how it ends.

    Args:
        now: the time.
        state: the first one.
        unanswered: what this side waits for when nothing comes, in words.

    Attributes:
        state: how far it is.
        tally: of the bytes so far.
        total: how many bytes there will be, None while nobody knows.
    """

    def __init__(self, now: Instant, state: State, unanswered: str) -> None:
        self.state = state
        self.tally = Tally(now)
        self.total: ByteCount | None = None
        self._unanswered = unanswered
        self._reader = TurnReader()
        self._deadline: Instant | None = None

    @property
    @abstractmethod
    def _stage(self) -> Stage | None:
        """Whose turn it is to say what; None when messages are not read any more."""

    @abstractmethod
    def _take(self, now: Instant, message: Message) -> list[Decision]:
        """Take a message that has its turn."""

    @abstractmethod
    def _leave(self) -> list[Decision]:
        """Leave after a success."""

    @property
    def has_succeeded(self) -> bool:
        """Whether everything is written and its digest agrees."""
        return self.state in (State.PROVED, State.OVER)

    @property
    def is_replaced(self) -> bool:
        """Whether another claimer took over, and this end can begin again with that one."""
        return self.state is State.REPLACED

    @property
    def _can_begin_again(self) -> bool:
        """Whether this end can serve another claimer as if this one had never been."""
        return False

    # -- the control stream -----------------------------------------------------------------

    def handle_message_bytes(self, now: Instant, chunks: Sequence[Buffer]) -> list[Decision]:
        """Take the next bytes of the other side's messages."""
        if self._stage is None:
            return []
        for chunk in chunks:
            self._reader.feed(chunk)
        decisions: list[Decision] = []
        try:
            while (stage := self._stage) is not None:
                message = self._reader.next_message(stage)
                if message is None:
                    break
                decisions += self._take(now, message)
        except PeerBrokeProtocol as error:
            decisions += self._break_off(error)
        return decisions

    def handle_messages_ended(self) -> list[Decision]:
        """Take the clean end of the other side's messages."""
        stage = self._stage
        return [] if stage is None else self._break_off(messages_ended(stage))

    def _break_off(self, error: PeerBrokeProtocol) -> list[Decision]:
        return self._fail(error)

    # -- how it ends ------------------------------------------------------------------------

    def handle_reset(self, now: Instant) -> list[Decision]:
        """Take that the other side gave up one of the two streams."""
        if self.state is State.PROVED:
            return self._leave()
        if self.state in UNPROVED:
            self._go(State.GIVEN_UP, now + HEAR_WHY_S)
        return []

    def handle_link_ended(self, end: LinkEnded) -> list[Decision]:
        """Take the end of the link; what came before it must have been handed in."""
        if self.state is State.PROVED:
            return self._leave()
        if self.state not in (*UNPROVED, State.GIVEN_UP):
            return []
        if _is_replaced(end) and self._can_begin_again:
            self._go(State.REPLACED)
            return [Replaced()]
        error = ending_error(end, self._unanswered)
        error.__cause__ = end
        return self._fail(error)

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due; ask again after every other call."""
        return self._deadline

    def handle_timeout(self, now: Instant) -> list[Decision]:
        """Do what is due."""
        if self._deadline is None or now < self._deadline:
            return []
        return self._leave() if self.state is State.PROVED else self._fail(PeerAborted(None))

    def _go(self, state: State, deadline: float | None = None) -> None:
        self.state = state
        self._deadline = None if deadline is None else Instant(deadline)

    def _fail(self, error: DerpholeError) -> list[Decision]:
        self._go(State.FAILED)
        return [Fail(error)]


class SendingProof(Proof):
    """The end that sends: succeeds when the other end has confirmed every byte.

    Args:
        now: the time.
        unanswered: what this side waits for when nothing comes, in words.
        total: how many bytes there will be, as far as is known; they may still be more or fewer.
    """

    def __init__(self, now: Instant, unanswered: str, total: ByteCount | None = None) -> None:
        super().__init__(now, State.FLOWING, unanswered)
        self.total = total
        self._fin = Fin(0, b"")
        self._has_data_ended = False

    def begin(self) -> list[Decision]:
        """Say what is known before the first byte."""
        return [] if self.total is None else [Say(encode(Total(self.total)))]

    def handle_data(self, now: Instant, chunks: Sequence[Buffer]) -> list[Decision]:
        """Take the next bytes to send."""
        if self.state is not State.FLOWING or self._has_data_ended:
            return []
        self.tally.add(now, chunks)
        return [Write(chunks)]

    def handle_data_ended(self) -> list[Decision]:
        """Take that there are no more bytes to send."""
        if self.state is not State.FLOWING or self._has_data_ended:
            return []
        self._has_data_ended = True
        return [EndData(), *self._check_finished()]

    @property
    def _is_all_sent(self) -> bool:
        """Whether everything that goes with the stream was sent too."""
        return True

    def _check_finished(self) -> list[Decision]:
        """Say FIN once there is nothing more to send."""
        if not self._has_data_ended or not self._is_all_sent:
            return []
        self._fin = Fin(self.tally.size, self.tally.digest)
        self.total = self.tally.size
        self._go(State.FINISHED)
        return [Say(encode(self._fin))]

    def handle_acknowledged(self) -> list[Decision]:
        """Take that the other side has stored our last word."""
        return self._leave() if self.state is State.PROVED else []

    @property
    def _stage(self) -> Stage | None:
        match self.state:
            case State.FLOWING:
                return Stage.PIPE_BEFORE_FIN
            case State.FINISHED:
                return Stage.PIPE_AFTER_FIN
            case _:
                return None

    def _take(self, now: Instant, message: Message) -> list[Decision]:
        assert isinstance(message, Confirm)
        self.tally.end(now)
        error = mismatch(self._fin, message)
        if error is not None:
            return self._fail(error)
        self._go(State.PROVED, now + LINGER_S)
        return [Say(encode(ConfirmAck())), Proved()]

    def _leave(self) -> list[Decision]:
        self._go(State.OVER)
        return [Over()]


class ReceivingProof(Proof):
    """The end that writes: succeeds when every byte is flushed and the digest agrees.

    Args:
        now: the time.
        unanswered: what this side waits for when nothing comes, in words.

    Attributes:
        is_acknowledged: whether the other side knows of the success.
        is_total_told: whether it said in advance how much there is, as it does of a file.
        nonsense: what it said in place of that, in words.
    """

    def __init__(self, now: Instant, unanswered: str) -> None:
        super().__init__(now, State.EMPTY, unanswered)
        self.is_acknowledged = False
        self.is_total_told = False
        self.nonsense: str | None = None
        self._fin: Fin | None = None
        self._has_data_ended = False
        self._has_link_ended = False

    # -- the data stream --------------------------------------------------------------------

    def handle_data(self, now: Instant, chunks: Sequence[Buffer]) -> list[Decision]:
        """Take the next bytes that came."""
        if self.state not in (State.EMPTY, State.FLOWING):
            return []
        kept = self._keep_place()
        self._go(State.FLOWING)
        self.tally.add(now, chunks)
        return self._check_room() or [*kept, Write(chunks)]

    def handle_data_ended(self) -> list[Decision]:
        """Take the clean end of the data, once all of it is written."""
        self._has_data_ended = True
        return self._check_whole()

    def handle_flushed(self, now: Instant) -> list[Decision]:
        """Take that the output keeps what was written: confirm."""
        if self.state is not State.WHOLE or self._fin is None:
            return []
        written = Confirm(self.tally.size, self.tally.digest)
        self.tally.end(now)
        self._go(State.PROVED, now + CONFIRM_S)
        if self._has_link_ended:
            return [Proved(), *self._leave()]
        return [Say(encode(written)), Proved()]

    def _keep_place(self) -> list[Decision]:
        # Once a byte is written, or an empty stream is whole, nobody else can take over: the
        # output would hold parts of two streams.
        return [KeepPlace()] if self.state is State.EMPTY else []

    def _check_room(self) -> list[Decision]:
        """Fail once more has come than FIN told."""
        if self._fin is None or self.tally.size <= self._fin.size:
            return []
        return self._fail(SizeMismatch(self._fin.size, self.tally.size))

    @property
    def _has_all_else(self) -> bool:
        """Whether everything that goes with the stream has come too."""
        return True

    def _check_whole(self) -> list[Decision]:
        """Compare, once everything has come; only what agrees is kept."""
        fin = self._fin if self._has_data_ended and self._has_all_else else None
        if fin is None or self.state not in (State.EMPTY, State.FLOWING):
            return []
        error = mismatch(fin, Confirm(self.tally.size, self.tally.digest))
        if error is not None:
            return self._fail(error)
        kept = self._keep_place()
        self._go(State.WHOLE)
        return [*kept, Flush()]

    # -- messages ---------------------------------------------------------------------------

    @property
    def _stage(self) -> Stage | None:
        match self.state:
            case State.EMPTY | State.FLOWING | State.WHOLE:
                return Stage.LISTEN_BEFORE_FIN if self._fin is None else Stage.LISTEN_AFTER_FIN
            case State.PROVED:
                return Stage.LISTEN_CONFIRMED
            case _:
                return None

    def _take(self, now: Instant, message: Message) -> list[Decision]:
        if isinstance(message, Total):
            self.total = message.size
            self.is_total_told = True
            return []
        if isinstance(message, Fin):
            self._fin = message
            self.total = message.size
            return self._check_room() or self._check_whole()
        self.is_acknowledged = True
        return self._leave()

    def _break_off(self, error: PeerBrokeProtocol) -> list[Decision]:
        """Fail; after a success only say so to the other side."""
        if self.state is not State.PROVED:
            return self._fail(error)
        self.nonsense = error.detail
        self._go(State.OVER)
        return [Close(Ending.PROTOCOL_VIOLATION, error.detail), Over()]

    # -- how it ends ------------------------------------------------------------------------

    def handle_link_ended(self, end: LinkEnded) -> list[Decision]:
        """Take the end of the link; what came before it must have been handed in."""
        if self.state is State.WHOLE:
            self._has_link_ended = True
            return []
        return super().handle_link_ended(end)

    @property
    def _can_begin_again(self) -> bool:
        return not self.tally.size

    def _leave(self) -> list[Decision]:
        self._go(State.OVER)
        return [Close(Ending.DONE, "done"), Over()]


def _is_replaced(end: LinkEnded) -> bool:
    return isinstance(end, ClosedHere | PeerClosed) and end.code == Ending.REPLACED


StreamProof = SendingProof | ReceivingProof
