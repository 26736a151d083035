"""The sender's end of a transfer, as a machine without I/O.

    OFFERED     OFFER -->           what it is; TOTALS --> follow as things are counted
       |        <-- ANSWER          not wanted: FAILED; only looked: LOOKED
    ANSWERED    <-- HAVE_...        what is held there
       |        <-- HAVE_END
    HEARD                           `start` settles whether that counts
       |        START -->
    FLOWING     data -->            from where what is held ends
       |        <-- PROGRESS        what is stored there
       |        <-- PIECES          what is held, as it stands there: Compare
       |        repairs -->         the pieces that differ, on a stream of their own
       | data ended, everything compared, everything that differs sent again
    FINISHED    FIN -->             and on as every stream: `derphole.speech.stream_proof`

What the owner reads, and where from, is its own affair; `handle_entry` says for each thing where to
begin.  Pure.  Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Sequence

from derphole.errors import PeerBrokeProtocol
from derphole.speech.decisions import Close, Decision, Over, Say
from derphole.speech.endings import Ending, declined_error
from derphole.speech.messages import Message, encode
from derphole.speech.stream_proof import SendingProof
from derphole.speech.stream_states import State
from derphole.speech.transfer_decisions import (
    Compare,
    EndRepairs,
    Heard,
    OpenRepairs,
    ReadRepair,
    SendFrom,
    Skip,
    WriteRepair,
)
from derphole.speech.transfer_messages import (
    Answer,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Kind,
    Offer,
    Origin,
    Pieces,
    Progress,
    Result,
    Start,
    Totals,
    Verdict,
)
from derphole.speech.turns import Stage
from derphole.transfer.held import Held
from derphole.transfer.pieces import PIECE_SIZE, Comparison
from derphole.transfer.repairs import repair_header
from tunnel.units import Buffer, ByteCount, Instant

STAGES = {
    State.OFFERED: Stage.SEND_OFFERED,
    State.ANSWERED: Stage.SEND_ANSWERED,
    State.HEARD: Stage.SEND_HEARD,
    State.FLOWING: Stage.SEND_FLOWING,
    State.FINISHED: Stage.SEND_AFTER_FIN,
}
COUNTING = (State.OFFERED, State.ANSWERED, State.HEARD, State.FLOWING)


class SendingTransfer(SendingProof):
    """Offers something, and sends what of it is not held there.

    Args:
        now: the time.
        unanswered: what this side waits for when nothing comes, in words.
        offer: what is sent.
        piece_size: of what is compared; tests have small ones.

    Attributes:
        stored: bytes of this link's data that the other side has stored.
        held: what it says it held before.
        origin: whether that counted, once `start` was called.
        result: what the other side made of the entries, where it did not make all of them.
    """

    def __init__(
        self, now: Instant, unanswered: str, offer: Offer, piece_size: ByteCount = PIECE_SIZE
    ) -> None:
        super().__init__(now, unanswered)
        self._go(State.OFFERED)
        self.offer = offer
        self.stored: ByteCount = 0
        self.held = Held(piece_size)
        self.origin: Origin | None = None
        self.result = Result(0, 0)
        self._piece_size = piece_size
        self._comparison: Comparison | None = None

    @property
    def repaired_count(self) -> int:
        """How many pieces were sent again."""
        return self._comparison.repaired_count if self._comparison is not None else 0

    # -- what is offered --------------------------------------------------------------------

    def begin(self) -> list[Decision]:
        """Make the offer."""
        return [Say(encode(self.offer))]

    def handle_totals(self, totals: Totals) -> list[Decision]:
        """Tell how much there is, as far as it is counted; the counts only grow."""
        return [Say(encode(totals))] if self._may_tell else []

    @property
    def _may_tell(self) -> bool:
        return self.state in COUNTING

    def start(self, origin: Origin) -> list[Decision]:
        """Begin, from what is held or anew.

        Args:
            origin: `HELD` if what is held may count, else why not.
        """
        if self.state is not State.HEARD:
            return []
        self.origin = Origin.NOTHING_HELD if self.held.is_nothing else origin
        self._go(State.FLOWING)
        decisions: list[Decision] = [Say(encode(Start(self.origin)))]
        if self.origin is Origin.HELD and self.held.claims.count:
            self._comparison = Comparison(self.held.claims)
            decisions.append(OpenRepairs())
        return decisions

    # -- what is sent -----------------------------------------------------------------------

    def handle_entry(self, key: bytes, size: ByteCount) -> list[Decision]:
        """Take that the source has an entry: says whether, and from where on, to send it.

        Args:
            key: of the entry.
            size: of its content.
        """
        if self.state is not State.FLOWING:
            return []
        if self.origin is not Origin.HELD:
            return [SendFrom(0)]
        held = self.held.claims.held(key)
        if held > size:
            return self._fail(PeerBrokeProtocol("more of an entry is held than there is of it"))
        if self._comparison is not None and held:
            self._comparison.meet(key)
            return [SendFrom(held), *self._compare_next()]
        return [Skip()] if key in self.held.finished else [SendFrom(0)]

    def handle_data_ended(self) -> list[Decision]:
        """Take that there are no more entries, and no more bytes to send."""
        if self.state is State.FLOWING and self._comparison is not None:
            self._comparison.close()
        return super().handle_data_ended()

    def handle_compared(self, digest: bytes | None) -> list[Decision]:
        """Take the source's digest of the piece to compare, None where it cannot be read."""
        comparison = self._comparison
        if self.state is not State.FLOWING or comparison is None or comparison.under_way is None:
            return []
        piece = comparison.under_way
        return self._compare_next() if comparison.is_equal(digest) else [ReadRepair(piece)]

    def handle_repair(self, data: Buffer) -> list[Decision]:
        """Take the piece that was read again; shorter where the source has become shorter.

        Call `handle_repaired` once it is written: until then it is under way, since writing may
        wait, and the next one must come behind it.
        """
        comparison = self._comparison
        if self.state is not State.FLOWING or comparison is None or comparison.under_way is None:
            return []
        header = repair_header(comparison.under_way.number, data)
        return [WriteRepair((b"".join((header, data)),))]

    def handle_repaired(self) -> list[Decision]:
        """Take that the piece is written to the repair stream."""
        comparison = self._comparison
        if self.state is not State.FLOWING or comparison is None or comparison.under_way is None:
            return []
        comparison.repair()
        return self._compare_next()

    def _compare_next(self) -> list[Decision]:
        """Have the next piece compared; where there is none, the transfer may be finished."""
        assert self._comparison is not None
        piece = self._comparison.next_piece()
        return self._check_finished() if piece is None else [Compare(piece)]

    @property
    def _is_all_sent(self) -> bool:
        return self._comparison is None or self._comparison.is_complete

    def _check_finished(self) -> list[Decision]:
        finished = super()._check_finished()
        return [EndRepairs(), *finished] if finished and self._comparison is not None else finished

    # -- messages ---------------------------------------------------------------------------

    @property
    def _stage(self) -> Stage | None:
        return STAGES.get(self.state)

    def _take(self, now: Instant, message: Message) -> list[Decision]:
        try:
            match message:
                case Answer():
                    return self._take_answer(message)
                case HaveParts(parts):
                    self.held.add_parts(parts)
                case HaveEntries(keys):
                    self.held.add_entries(keys)
                case HaveChecked(files):
                    self.held.add_checked(files)
                case HaveEnd():
                    self._go(State.HEARD)
                    return [Heard()]
                case Pieces(digests):
                    return self._take_pieces(digests)
                case Progress(stored):
                    self._take_progress(stored)
                case Result():
                    self.result = message
                case _:
                    return super()._take(now, message)
        except ValueError as error:
            raise PeerBrokeProtocol(str(error)) from error
        return []

    def _take_answer(self, answer: Answer) -> list[Decision]:
        if answer.verdict is Verdict.DECLINED:
            return self._fail(declined_error(answer))
        if answer.verdict is Verdict.LOOKED:
            self._go(State.LOOKED)
            return [Close(Ending.DONE, "it only looked"), Over()]
        self._go(State.ANSWERED)
        return []

    def _take_pieces(self, digests: Sequence[bytes]) -> list[Decision]:
        if self._comparison is None:
            raise PeerBrokeProtocol("PIECES were sent, and nothing is held")
        self._comparison.hear(digests)
        return self._compare_next()

    def _take_progress(self, stored: ByteCount) -> None:
        if not self.stored < stored <= self.tally.size:
            raise PeerBrokeProtocol("PROGRESS tells of bytes that were never sent")
        self.stored = stored

    # -- how it ends ------------------------------------------------------------------------

    @property
    def _can_begin_again(self) -> bool:
        # A stream that was read cannot be read again.
        return self.offer.kind is not Kind.STREAM or not self.tally.size
