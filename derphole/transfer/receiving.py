"""The receiver's end of a transfer, as a machine without I/O.

    AWAITING    <-- OFFER
    OFFERED     <-- TOTALS          the owner decides: `look` and `decline` lead to LEAVING
       |        ANSWER -->          `go`
       |        HAVE_... -->        what is held: `hold`, `end_held`
    ANSWERED    <-- START           Begin
    EMPTY       <-- data
    FLOWING     PROGRESS -->        what is stored, at most ten times a second
       |        PIECES -->          what is held, as it stands here
       |        <-- repairs         written over what is held
       | the end of the data and of the repairs, and FIN
    WHOLE                           and on as every stream: `derphole.speech.stream_proof`

    LEAVING     the other side knows, or CONFIRM_S --> LOOKED or FAILED

Nobody but this end knows what else stands where it writes: only what this source sent before is
told.  Pure.  Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from derphole.errors import NotTaken, PeerBrokeProtocol, PieceMismatch
from derphole.speech.decisions import Close, Decision, Fail, Over, Say
from derphole.speech.endings import Ending, answer_of
from derphole.speech.messages import Buffer, Fin, Message, encode
from derphole.speech.stream_proof import CONFIRM_S, ReceivingProof
from derphole.speech.stream_states import State
from derphole.speech.transfer_decisions import Begin, Counted, Offered, ReadPieces
from derphole.speech.transfer_messages import (
    MAX_CHECKED_AT_ONCE,
    MAX_KEYS_AT_ONCE,
    MAX_PARTS_AT_ONCE,
    NOT_KNOWN,
    Answer,
    Checked,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Kind,
    Offer,
    Origin,
    Part,
    Pieces,
    Progress,
    Result,
    Start,
    Totals,
    Verdict,
)
from derphole.speech.turns import Stage
from derphole.transfer.held import MAX_HELD_ENTRIES
from derphole.transfer.pieces import PIECE_SIZE, Claims
from derphole.transfer.repairs import RepairReader, WrongPiece
from tunnel.errors import DecodeError, LinkEnded
from tunnel.units import ByteCount, Instant, Seconds

# Chosen: who looks at a bar sees no more than ten steps a second.
PROGRESS_S: Seconds = 0.1

STAGES = {
    State.AWAITING: Stage.RECEIVE_FIRST,
    State.OFFERED: Stage.RECEIVE_OFFERED,
    State.ANSWERED: Stage.RECEIVE_ANSWERED,
}
FLOWING = (State.EMPTY, State.FLOWING)

T = TypeVar("T")


class ReceivingTransfer(ReceivingProof):
    """Takes what is offered, or not.

    Args:
        now: the time.
        unanswered: what this side waits for when nothing comes, in words.
        keeps_what_came: whether what is written can be gone on with over another link.
        piece_size: of what is compared; tests have small ones.

    Attributes:
        offer: what is offered, once it is.
        totals: how much there is, as far as it was told.
        claims: what is held of begun entries, as it was told; nothing if the sender begins anew.
        origin: whether that counts, once the sender has begun.
        keeps_what_came: as given; it may be changed until the answer.
    """

    def __init__(
        self,
        now: Instant,
        unanswered: str,
        keeps_what_came: bool,
        piece_size: ByteCount = PIECE_SIZE,
    ) -> None:
        super().__init__(now, unanswered)
        self._go(State.AWAITING)
        self.offer: Offer | None = None
        self.totals: Totals | None = None
        self.claims = Claims(piece_size)
        self._piece_size = piece_size
        self.origin: Origin | None = None
        self.keeps_what_came = keeps_what_came
        self._held_entries = 0
        self._pieces_read = 0
        self._repairs: RepairReader | None = None
        self._have_repairs_ended = False
        self._parting: list[Decision] = []  # what follows once the other side knows our answer
        self._stored: ByteCount = 0
        self._told: ByteCount = 0  # of that in PROGRESS
        self._may_tell_at = now

    @property
    def held_count(self) -> int:
        """How many finished entries were told."""
        return self._held_entries

    @property
    def repaired_count(self) -> int:
        """How many pieces came again."""
        return self._repairs.repaired_count if self._repairs is not None else 0

    # -- the answer -------------------------------------------------------------------------

    def go(self, parts: Iterable[Part] = ()) -> list[Decision]:
        """Want it; `hold` and `end_held` follow.

        Args:
            parts: what is held of entries that were begun; `claims` is what of them was told.
        """
        if self.state is not State.OFFERED:
            return []
        self.claims.add_what_fits(parts)
        self._go(State.ANSWERED)
        messages = b"".join(
            encode(HaveParts(tuple(self.claims.parts[start : start + MAX_PARTS_AT_ONCE])))
            for start in range(0, len(self.claims.parts), MAX_PARTS_AT_ONCE)
        )
        return [Say(encode(Answer(Verdict.GO)) + messages)]

    def hold(self, keys: Sequence[bytes]) -> list[Decision]:
        """Tell entries that are finished; of too many the last are not told, and come again."""
        return self._hold(keys, MAX_KEYS_AT_ONCE, HaveEntries)

    def hold_checked(self, files: Sequence[Checked]) -> list[Decision]:
        """Tell files that are finished and whose content is to be compared; as `hold` else."""
        return self._hold(files, MAX_CHECKED_AT_ONCE, HaveChecked)

    def _hold(
        self, items: Sequence[T], most: int, message: Callable[[tuple[T, ...]], Message]
    ) -> list[Decision]:
        if self.state is not State.ANSWERED:
            return []
        room = MAX_HELD_ENTRIES - self._held_entries
        left = iter(items[:room])
        self._held_entries += min(len(items), room)
        messages = bytearray()
        while some := tuple(islice(left, most)):
            messages += encode(message(some))
        return [Say(bytes(messages))] if messages else []

    def end_held(self) -> list[Decision]:
        """Take that everything that is held was told."""
        return [Say(encode(HaveEnd()))] if self.state is State.ANSWERED else []

    def look(self, now: Instant) -> list[Decision]:
        """Leave after a look: nothing is written."""
        return self._answer(now, Answer(Verdict.LOOKED), [])

    def decline(self, now: Instant, error: NotTaken) -> list[Decision]:
        """Leave, since this side does not take it; fails with the error once that is known."""
        return self._answer(now, answer_of(error), [Fail(error)])

    def _answer(self, now: Instant, answer: Answer, parting: list[Decision]) -> list[Decision]:
        if self.state is not State.OFFERED:
            return []
        self._parting = parting
        self._go(State.LEAVING, now + CONFIRM_S)
        return [Say(encode(answer))]

    def handle_acknowledged(self) -> list[Decision]:
        """Take that the other side has stored our last word."""
        return self._part() if self.state is State.LEAVING else []

    def _part(self) -> list[Decision]:
        if self._parting:
            self._go(State.FAILED)
            return self._parting
        self._go(State.LOOKED)
        return [Close(Ending.DONE, "it only looked"), Over()]

    # -- what comes -------------------------------------------------------------------------

    def handle_data(self, now: Instant, chunks: Sequence[Buffer]) -> list[Decision]:
        """Take the next bytes that came; call `handle_stored` once they are written."""
        decisions = super().handle_data(now, chunks)
        if self.state is State.FLOWING and self.tally.size > self._limit:
            return self._fail(PeerBrokeProtocol("more bytes came than were offered"))
        return decisions

    @property
    def _limit(self) -> float:
        """How many bytes may come."""
        offer = self.offer
        if offer is None or offer.kind is not Kind.FILE or offer.size == NOT_KNOWN:
            return float("inf")
        return offer.size - sum(part.held for part in self.claims.parts)

    def handle_stored(self, now: Instant) -> list[Decision]:
        """Take that everything that came is written."""
        self._stored = self.tally.size
        return self._tell_progress(now)

    def _tell_progress(self, now: Instant) -> list[Decision]:
        if self._tell_at is None or now < self._tell_at:
            return []
        self._may_tell_at = Instant(now + PROGRESS_S)
        self._told = self._stored
        return [Say(encode(Progress(self._told)))]

    @property
    def _tell_at(self) -> Instant | None:
        """When PROGRESS is due."""
        is_due = self.state in FLOWING and self._stored > self._told
        return self._may_tell_at if is_due else None

    def tell_result(self, refused: int, skipped: int) -> list[Decision]:
        """Tell what became of the entries, before `handle_flushed`, if not all were made."""
        if self.state is not State.WHOLE or not (refused or skipped):
            return []
        return [Say(encode(Result(refused, skipped)))]

    def handle_pieces(self, digests: Sequence[bytes]) -> list[Decision]:
        """Take the digests of the next pieces of what is held, as it stands here."""
        if self.state not in FLOWING or self._repairs is None:
            return []
        self._pieces_read += len(digests)
        assert self._pieces_read <= self.claims.count
        left, messages = iter(digests), bytearray()
        while some := tuple(islice(left, MAX_KEYS_AT_ONCE)):
            messages += encode(Pieces(some))
        return [Say(bytes(messages))]

    def handle_repair_data(self, chunks: Sequence[Buffer]) -> list[Decision]:
        """Take the next bytes of the repair stream."""
        if self.state not in FLOWING or self._repairs is None:
            return []
        try:
            return list(self._repairs.feed(chunks))
        except DecodeError as error:
            return self._fail(PeerBrokeProtocol(str(error)))
        except WrongPiece:
            return self._fail(PieceMismatch())

    def handle_repairs_ended(self) -> list[Decision]:
        """Take the clean end of the repair stream, once all of it is written."""
        if self.state not in FLOWING or self._repairs is None:
            return []
        if self._pieces_read < self.claims.count:
            return self._fail(PeerBrokeProtocol("the repairs ended before everything was compared"))
        try:
            self._repairs.finish()
        except DecodeError as error:
            return self._fail(PeerBrokeProtocol(str(error)))
        self._have_repairs_ended = True
        return self._check_whole()

    @property
    def _has_all_else(self) -> bool:
        return self._repairs is None or self._have_repairs_ended

    def _keep_place(self) -> list[Decision]:
        kept = super()._keep_place()
        return [] if self.keeps_what_came else kept

    # -- messages ---------------------------------------------------------------------------

    @property
    def _stage(self) -> Stage | None:
        if self.state in (*FLOWING, State.WHOLE):
            return Stage.RECEIVE_FLOWING if self._fin is None else Stage.RECEIVE_AFTER_FIN
        return STAGES.get(self.state) or super()._stage

    def _take(self, now: Instant, message: Message) -> list[Decision]:
        match message:
            case Offer():
                self.offer = message
                self._go(State.OFFERED)
                return [Offered(message)]
            case Totals():
                self._take_totals(message)
                return [Counted()]
            case Start(origin):
                return self._take_start(origin)
            case Fin() if self._repairs is not None and self._pieces_read < self.claims.count:
                raise PeerBrokeProtocol("FIN was sent before everything was compared")
            case _:
                return super()._take(now, message)

    def _take_totals(self, totals: Totals) -> None:
        last = self.totals
        if last is not None and (
            (last.is_final and not totals.is_final) or not _only_grows(last, totals)
        ):
            raise PeerBrokeProtocol("TOTALS tells of less than before")
        self.totals = totals

    def _take_start(self, origin: Origin) -> list[Decision]:
        if origin is Origin.HELD and not self.claims.parts and not self._held_entries:
            raise PeerBrokeProtocol("START goes on with what is held, and nothing is")
        self.origin = origin
        if origin is not Origin.HELD:
            self.claims = Claims(self._piece_size)  # it is forgotten
        self._go(State.EMPTY)
        decisions: list[Decision] = [Begin(origin)]
        if origin is Origin.HELD and self.claims.count:
            self._repairs = RepairReader(self.claims)
            decisions.append(ReadPieces(self.claims))
        return decisions

    # -- how it ends ------------------------------------------------------------------------

    @property
    def _can_begin_again(self) -> bool:
        is_untouched = not self.tally.size and self._repairs is None
        return self.keeps_what_came or is_untouched

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due; ask again after every other call."""
        due = [at for at in (super().next_timeout(), self._tell_at) if at is not None]
        return min(due, default=None)

    def handle_timeout(self, now: Instant) -> list[Decision]:
        """Do what is due."""
        if self.state is State.LEAVING:
            deadline = super().next_timeout()
            return self._part() if deadline is not None and now >= deadline else []
        return [*self._tell_progress(now), *super().handle_timeout(now)]

    def handle_reset(self, now: Instant) -> list[Decision]:
        """Take that the other side gave up one of the streams."""
        return self._part() if self.state is State.LEAVING else super().handle_reset(now)

    def handle_link_ended(self, end: LinkEnded) -> list[Decision]:
        """Take the end of the link; what came before it must have been handed in."""
        return self._part() if self.state is State.LEAVING else super().handle_link_ended(end)


def _only_grows(last: Totals, new: Totals) -> bool:
    return (
        new.entries >= last.entries
        and new.size >= last.size
        and new.held_entries >= last.held_entries
        and new.held_size >= last.held_size
        and new.omitted >= last.omitted
    )
