"""`send`: offers what there is over a link, and sends what of it the other side does not hold.

    control stream (0)   OFFER, TOTALS -->   <-- ANSWER, HAVE_...   START -->   <-- PROGRESS, PIECES
    data stream          the bytes, or the archive
    repair stream        pieces of what was held there, that differ

Who says what and when is decided by `derphole.transfer.sending`; this module moves the bytes.  A
receiver that only looked, or that was killed and comes back with the same code, however late, gets
a link of its own.  Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Callable, Sequence

from gevent.event import Event

from derphole.config import NetworkOptions
from derphole.conversation import UNEXPECTED, Conversation, receipt_of
from derphole.delivery.bottleneck import Bottleneck, Waited
from derphole.delivery.goods import Goods
from derphole.delivery.notices import (
    is_unheard,
    tell_bottleneck,
    tell_entries,
    tell_relayed,
    tell_standstill,
)
from derphole.delivery.statuses import GoesOn
from derphole.errors import PartlyTaken, TimedOut
from derphole.progress import Measure, Watch, unwatched
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.common import Rendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.rendezvous.waiting import FIRST_WAIT_REPORT_S
from derphole.speech.decisions import Decision, EndData, Proved, Write
from derphole.speech.stream_states import State
from derphole.speech.transfer_decisions import (
    Compare,
    EndRepairs,
    Heard,
    OpenRepairs,
    Piece,
    ReadRepair,
    SendFrom,
    Skip,
    WriteRepair,
)
from derphole.speech.transfer_messages import Origin
from derphole.status import Notice, Report, StateChanged
from derphole.status import State as StateWord
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.text import SessionToken
from derphole.transfer.pieces import piece_digest
from derphole.transfer.sending import SendingTransfer
from derphole.transfer_status import Direction, Incomplete, Receipt
from tunnel.errors import PeerSilent
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.units import Buffer, WallTime

RECEIVER_AWAITED = "the other side to use the code"
ANSWER_AWAITED = "the receiver to answer"
MakeGoods = Callable[[], Goods]


def send(
    options: NetworkOptions,
    make_goods: MakeGoods,
    *,
    expires_at: WallTime | None,
    report: Report,
    watch: Watch = unwatched,
) -> Goods:
    """Print a code and send to whoever uses it; returns what was sent once all is confirmed.

    Args:
        options: the settings of the command.
        make_goods: makes what is sent, anew for each link.
        expires_at: when the code ends; None for the usual life.
        report: told what a person wants to know.
        watch: shows progress.

    Raises `DerpholeError`.
    """
    with IssuerRendezvous(options, report, Capability.SEND, expires_at) as rendezvous:
        rendezvous.offer()
        while True:
            link = rendezvous.wait_link(RECEIVER_AWAITED)
            goods = _serve(rendezvous, link, make_goods, watch)
            if goods is not None:
                return goods


def send_to(
    options: NetworkOptions,
    make_goods: MakeGoods,
    token: SessionToken | Code,
    *,
    report: Report,
    watch: Watch = unwatched,
) -> Goods | None:
    """Send to the receiver that made `token`; None if that only looked.

    Raises `DerpholeError`.
    """
    with ClaimerRendezvous(options, report, token, capability=Capability.RECEIVE) as rendezvous:
        report(StateChanged(StateWord.PROBING_DIRECT))
        link = rendezvous.claim(ANSWER_AWAITED)
        return _serve(rendezvous, link, make_goods, watch)


def _serve(
    rendezvous: IssuerRendezvous | ClaimerRendezvous,
    link: Link,
    make_goods: MakeGoods,
    watch: Watch,
) -> Goods | None:
    """Send over one link; None where the other side only looked, or lost its place to another."""
    rendezvous.report_path(link)
    goods = make_goods()
    sender = _Sender(rendezvous, link, goods)
    try:
        with watch(sender.shown_measure):
            sender.run()
        omitted, changed = goods.omitted, goods.changed  # before it is closed
    except TimedOut:
        sender.tell_incomplete()
        is_waiting = isinstance(rendezvous, IssuerRendezvous) and isinstance(link.end, PeerSilent)
        if not is_waiting or not (goods.is_repeatable or not sender.proof.tally.size):
            raise
        rendezvous.report(
            Notice(
                "the receiver has stopped answering; the code is still good: run the same command "
                "there again"
            )
        )
        return None
    except BaseException:
        sender.tell_incomplete()
        raise
    finally:
        goods.close()
    if sender.proof.state is State.LOOKED:
        rendezvous.report(Notice("the other side only looked; the code is still good"))
        return None
    if sender.proof.is_replaced:
        rendezvous.report(Notice("the receiver stopped answering; another one took its place"))
        return None
    rendezvous.complete()
    rendezvous.report(sender.receipt())
    sender.tell_bottleneck()
    tell_entries(rendezvous.report, "changed", changed)
    tell_entries(rendezvous.report, "omitted", omitted)
    if sender.proof.result.skipped:
        rendezvous.report(Notice(f"the other side left {sender.proof.result.skipped} as they were"))
    if sender.proof.result.refused:
        raise PartlyTaken(sender.proof.result.refused)
    return goods


class _Sender:
    """One link's work."""

    def __init__(
        self, rendezvous: IssuerRendezvous | ClaimerRendezvous, link: Link, goods: Goods
    ) -> None:
        self.proof = SendingTransfer(monotonic(), "the receiver's confirmation", goods.offer)
        self._conversation = Conversation(rendezvous, link, self.proof, self._carry_out)
        self._rendezvous: Rendezvous = rendezvous
        self._is_claimer = isinstance(rendezvous, ClaimerRendezvous)
        self._link = link
        self._goods = goods
        self._control: Stream | None = None
        self._data: Stream | None = None
        self._repairs: Stream | None = None
        self._is_answered = Event()
        self._bottleneck: Bottleneck | None = None
        self._waited = Waited.NETWORK  # for what the last bytes waited

    def run(self) -> None:
        """Send; returns when the receiver has confirmed every byte, only looked, or is replaced."""
        self._conversation.run(
            self.offer, self.tell_waiting, self.tell_relayed, self.tell_standstill
        )

    # -- works ------------------------------------------------------------------------------

    def offer(self) -> None:
        """Say what there is, and how much as it is counted."""
        link = self._link
        self._control = link.open_stream() if self._is_claimer else link.accept_stream()
        link.refuse_streams(UNEXPECTED)
        self._conversation.attend(self._control)
        self._conversation.follow(self.proof.begin())
        goods = self._goods
        while True:
            goods.has_counted.clear()
            totals = goods.totals
            self._conversation.follow(self.proof.handle_totals(totals))
            if totals.is_final:
                return
            goods.has_counted.wait()

    def tell_waiting(self) -> None:
        """Say so when the answer takes its time: somebody may be asked there."""
        if not self._is_answered.wait(FIRST_WAIT_REPORT_S):
            self._rendezvous.report(Notice("waiting for the other side to decide what to take"))

    def tell_relayed(self) -> None:
        """Say if it stays on a relay of the public map."""
        tell_relayed(self._rendezvous, self._link)

    def tell_standstill(self) -> None:
        """Say when nothing moves, and why."""
        tell_standstill(self._rendezvous.report, self._link, self.shown_measure, self.waits_for)

    def waits_for(self) -> str | None:
        """Return what is waited for; None for a stream of which nothing comes, as it may be."""
        waited = None if self._bottleneck is None else self._bottleneck.waits_for
        if waited is Waited.SOURCE and not self._goods.is_repeatable:
            return None
        if waited is Waited.NETWORK and self._data is not None and self._data.is_held_back:
            waited = Waited.OTHER_SINK
        if waited is Waited.NETWORK and is_unheard(self._link):
            return None  # that is told soon, as silence
        return None if waited is None else waited.value

    def stream(self) -> None:
        """Hand what is read to the proof, and send it."""
        goods, proof, follow = self._goods, self.proof, self._conversation.follow
        is_held = proof.origin is Origin.HELD
        goods.begin(proof.held if is_held else None)
        if not goods.is_repeatable and isinstance(self._rendezvous, IssuerRendezvous):
            self._rendezvous.keep_places()  # nobody else could have it from its beginning
        bottleneck = self._bottleneck = Bottleneck(monotonic())
        while True:
            bottleneck.wait(monotonic(), Waited.SOURCE)
            data = goods.read()
            bottleneck.go_on(monotonic())
            for key, size in goods.met():
                follow(proof.handle_entry(key, size))
            if not data:
                break
            follow(proof.handle_data(monotonic(), (data,)))
        follow(proof.handle_totals(goods.totals))
        follow(proof.handle_data_ended())

    def await_acknowledgement(self) -> None:
        """Wait until the receiver knows that we know."""
        assert self._control is not None
        self._control.wait_acknowledged()
        self._conversation.follow(self.proof.handle_acknowledged())

    # -- what is decided --------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Heard():
                self._is_answered.set()
                self._data = self._link.open_stream()
                self._conversation.follow(self.proof.start(Origin.HELD))
                self._tell_held()
                self._conversation.start(self.stream)
            case OpenRepairs():
                self._repairs = self._link.open_stream()
            case Write(chunks):
                self._send(chunks)
            case WriteRepair(chunks):
                assert self._repairs is not None
                for chunk in chunks:
                    self._repairs.write(chunk)
            case EndData():
                assert self._data is not None
                assert self._bottleneck is not None
                self._data.end()
                self._bottleneck.wait(monotonic(), self._waited)
            case EndRepairs():
                assert self._repairs is not None
                self._repairs.end()
            case Compare(piece):
                self._conversation.start(lambda: self._compare(piece))
            case ReadRepair(piece):
                data = self._goods.piece(piece)
                self._conversation.follow(self.proof.handle_repair(data or b""))
                self._conversation.follow(self.proof.handle_repaired())
            case Proved():
                if self._bottleneck is not None:  # what was on its way has arrived meanwhile
                    self._bottleneck.go_on(monotonic())
                self._conversation.start(self.await_acknowledgement)
            case Skip() | SendFrom():
                pass  # the goods know it from the same table

    def _send(self, chunks: Sequence[Buffer]) -> None:
        data, bottleneck = self._data, self._bottleneck
        assert data is not None
        assert bottleneck is not None
        for chunk in chunks:
            was_held_back = data.is_held_back
            bottleneck.wait(monotonic(), Waited.NETWORK)
            data.write(chunk)
            is_held_back = was_held_back or data.is_held_back
            self._waited = Waited.OTHER_SINK if is_held_back else Waited.NETWORK
            bottleneck.go_on(monotonic(), self._waited)

    def _compare(self, piece: Piece) -> None:
        data = self._goods.piece(piece)
        digest = None if data is None else piece_digest(data)
        self._conversation.follow(self.proof.handle_compared(digest))

    def _tell_held(self) -> None:
        held = self.proof.held
        if self.proof.origin is Origin.HELD:
            size = sum(part.held for part in held.claims.parts)
            self._rendezvous.report(GoesOn(size, held.finished_count))

    # -- what a person is told --------------------------------------------------------------

    def shown_measure(self) -> Measure | None:
        """Return how far it is, once the other side has decided."""
        return None if self.proof.origin is None else self.measure()

    def measure(self) -> Measure:
        """Return how far it is: what the receiver has stored."""
        total = self._goods.total
        done = self._goods.held_size + self.proof.stored
        path = self._rendezvous.path_description(self._link)
        return Measure(done if total is None else min(done, total), total, path)

    def tell_incomplete(self) -> None:
        """Tell how much has come when it ended before the last byte."""
        measure = self.measure()
        if self.proof.tally.size and measure.done != measure.total:
            self._rendezvous.report(Incomplete(Direction.SENT, measure.done, measure.total))

    def tell_bottleneck(self) -> None:
        """Say what most of the time went into waiting for, if it was long."""
        tell_bottleneck(self._bottleneck, self._rendezvous, self._link)

    def receipt(self) -> Receipt:
        """Return the proof."""
        return receipt_of(Direction.SENT, self.proof.tally, self._rendezvous, self._link)
