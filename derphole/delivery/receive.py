"""`receive`: takes what is offered, or not, and goes on with what an earlier run left.

    OFFER comes             where it goes is decided; a person may be asked
    ANSWER, HAVE_... -->    what is held there
    START comes             bytes are written, pieces of what was held compared and repaired
    FIN comes               everything agrees: it gets its name, and CONFIRM goes out

Who says what and when is decided by `derphole.transfer.receiving`; this module moves the bytes.
Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Iterable

from gevent.event import Event

from derphole.config import NetworkOptions
from derphole.conversation import UNEXPECTED, Conversation, receipt_of
from derphole.delivery.bottleneck import Bottleneck, Waited
from derphole.delivery.goods import named
from derphole.delivery.notices import tell_bottleneck, tell_entries, tell_relayed, tell_standstill
from derphole.delivery.statuses import Contents, GoesOn, Planned
from derphole.delivery.target import Target
from derphole.delivery.targets import Place, target_for
from derphole.delivery.wishes import Wishes
from derphole.errors import (
    DeclinedHere,
    NotTaken,
    PartlyReceived,
    PeerBrokeProtocol,
    SizeNotWanted,
)
from derphole.progress import Measure, Watch, unwatched
from derphole.rendezvous.claimer import ABSENCE_S, ClaimerRendezvous
from derphole.rendezvous.common import Rendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.rendezvous.waiting import FIRST_WAIT_REPORT_S
from derphole.speech.decisions import Decision, Flush, KeepPlace, Proved, Write
from derphole.speech.transfer_decisions import (
    Begin,
    Counted,
    Offered,
    Piece,
    ReadPieces,
    WritePiece,
)
from derphole.speech.transfer_messages import NOT_KNOWN, Kind, Offer, Origin, Totals
from derphole.status import Caution, Notice, Report, StateChanged, size_text
from derphole.status import State as StateWord
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.text import ClientToken, SessionToken, token_text
from derphole.transfer.journal import TokenKept
from derphole.transfer.pieces import piece_digest
from derphole.transfer.receiving import ReceivingTransfer
from derphole.transfer_status import Direction, Incomplete, Receipt
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.units import ByteCount, Seconds, WallTime
from tunnel.values import replace

READ_SIZE: ByteCount = 4 << 20
# Chosen: a sender whose relay restarts is back by then.
KEPT_ABSENCE_S: Seconds = 10.0
SENDER_AWAITED = "the other side to use the token"
OFFER_AWAITED = "the sender to answer"
TREES = (Kind.FOLDER, Kind.SEVERAL)


def receive(
    options: NetworkOptions,
    token: SessionToken | Code,
    code: Code | None,
    wishes: Wishes,
    place: Place,
    *,
    report: Report,
    watch: Watch = unwatched,
) -> None:
    """Take what the sender that made `token` offers, or only look; the receipt is reported.

    Args:
        options: the settings of the command.
        token: the token or code that the sender printed.
        code: the code that the person typed, if it was one; kept with what comes.
        wishes: what the person wants.
        place: where things are.
        report: told what a person wants to know.
        watch: shows progress.

    Raises `DerpholeError`.
    """
    with ClaimerRendezvous(options, report, token, capability=Capability.SEND) as rendezvous:
        report(StateChanged(StateWord.PROBING_DIRECT))
        # A code that led to a token before: its command has often ended, and shows another one.
        is_kept = code is not None and not isinstance(token, Code)
        link = rendezvous.claim(OFFER_AWAITED, KEPT_ABSENCE_S if is_kept else ABSENCE_S)
        place = replace(place, token=_kept(rendezvous.token, code))
        _Receiver(rendezvous, link, wishes, place).take(watch)


def _kept(token: SessionToken | ClientToken, code: Code | None) -> TokenKept:
    """Return what a later run of the same command needs."""
    text = token_text(token)
    return TokenKept(
        text if code is None else f"{code.text} {text}", WallTime(token.grant.expires_at)
    )


def receive_from_anybody(
    options: NetworkOptions,
    wishes: Wishes,
    place: Place,
    *,
    expires_at: WallTime | None,
    report: Report,
    watch: Watch = unwatched,
) -> None:
    """Print a token and take what whoever uses it offers; as `receive` else."""
    with IssuerRendezvous(options, report, Capability.RECEIVE, expires_at) as rendezvous:
        rendezvous.offer()
        while True:
            link = rendezvous.wait_link(SENDER_AWAITED)
            receiver = _Receiver(rendezvous, link, wishes, place)
            receiver.take(watch)
            if not receiver.proof.is_replaced:
                return
            report(Notice("the sender stopped answering; another one took its place"))


class _Receiver:
    """One link's work."""

    def __init__(
        self,
        rendezvous: IssuerRendezvous | ClaimerRendezvous,
        link: Link,
        wishes: Wishes,
        place: Place,
    ) -> None:
        self.proof = ReceivingTransfer(monotonic(), "the sender", keeps_what_came=True)
        self._conversation = Conversation(rendezvous, link, self.proof, self._carry_out)
        self._rendezvous: Rendezvous = rendezvous
        self._issuer = rendezvous if isinstance(rendezvous, IssuerRendezvous) else None
        self._report = rendezvous.report
        self._link = link
        self._wishes = wishes
        self._place = place
        self._target: Target | None = None
        self._control: Stream | None = None
        self._has_counted = Event()
        self._bottleneck: Bottleneck | None = None
        self._would_decline: NotTaken | None = None
        self._promised: ByteCount | None = None  # what the person was asked about, or not
        self._is_counted = False  # and the person knows what comes

    def take(self, watch: Watch) -> None:
        """Do it, and tell what came of it."""
        self._rendezvous.report_path(self._link)
        try:
            try:
                with watch(self.shown_measure):
                    self._conversation.run(
                        self.tell_relayed, self.tell_standstill, reading=self.hear
                    )
            except BaseException:
                self.tell_incomplete()
                raise
            if self._would_decline is not None:
                raise self._would_decline
            if self.proof.has_succeeded:
                self._rendezvous.complete()
                self._report(self.receipt())
                self.finish()
        finally:
            if self._target is not None:
                self._target.close()

    # -- works ------------------------------------------------------------------------------

    def hear(self) -> None:
        """Hear what is offered."""
        link = self._link
        self._control = link.accept_stream() if self._issuer is not None else link.open_stream()
        self._conversation.attend(self._control)

    def tell_relayed(self) -> None:
        """Say if it stays on a relay of the public map."""
        tell_relayed(self._rendezvous, self._link)

    def tell_standstill(self) -> None:
        """Say when nothing moves, and why."""
        tell_standstill(self._report, self._link, self.shown_measure, self.waits_for)

    def waits_for(self) -> str | None:
        """Return what is waited for; None for a stream of which nothing comes, as it may be."""
        waited = None if self._bottleneck is None else self._bottleneck.waits_for
        offer = self.proof.offer
        is_stream = offer is not None and offer.kind is Kind.STREAM
        if waited is None or (waited is Waited.SENDER and is_stream):
            return None
        return waited.value

    def decide(self) -> None:
        """Decide about the offer."""
        proof, follow = self.proof, self._conversation.follow
        offer = proof.offer
        assert offer is not None
        try:
            target = self._chosen(offer)
        except NotTaken as error:
            if not self._wishes.only_looks:
                self._leave(proof.decline(monotonic(), error))
                return
            self._would_decline = error
            self._leave(proof.look(monotonic()))
            return
        if self._wishes.only_looks:
            size = self._known_size(offer)
            self._report(Planned(named(offer), target.shown, target.would, size, target.free))
            self._leave(proof.look(monotonic()))
            return
        self._tell_contents()
        follow(proof.go(target.parts()))
        for keys in target.finished_keys():
            follow(proof.hold(keys))
        if self._wishes.verifies and target.goes_on:
            self._report(Notice("comparing what an earlier run finished by its content"))
        for files in target.checked_files():
            follow(proof.hold_checked(files))
        follow(proof.end_held())

    def _chosen(self, offer: Offer) -> Target:
        """Return where it goes; raises `NotTaken`."""
        wishes = self._wishes
        if wishes.ask_above is not None or wishes.only_looks:
            self._await_totals(offer)
        self._check_wanted(offer)
        target = self._target = target_for(offer, wishes, self._place)
        self.proof.keeps_what_came = target.keeps_what_came
        needed = self._known_size(offer) if wishes.checks_space else None
        target.check(needed)
        return target

    def _check_wanted(self, offer: Offer) -> None:
        """Raise `NotTaken` for a size that the person does not want."""
        limit, wishes = self._wishes.ask_above, self._wishes
        if limit is None or wishes.accepts:
            return
        size = self._known_size(offer)
        self._promised = size
        if size is not None and size <= limit:
            return
        amount = "an unknown size" if size is None else size_text(size)
        answer = wishes.ask(f"receive {named(offer)}, {amount}?")
        if answer is False:
            raise DeclinedHere
        if answer is None:
            raise SizeNotWanted(amount, size_text(limit))

    def _known_size(self, offer: Offer) -> ByteCount | None:
        """Return how large it is, once that is told."""
        totals = self.proof.totals
        if offer.size != NOT_KNOWN and offer.kind not in TREES:
            return offer.size
        if totals is None or not totals.is_final or totals.size == NOT_KNOWN:
            return None
        return totals.size

    def _await_totals(self, offer: Offer) -> None:
        is_told = False
        while self._known_size(offer) is None and offer.kind in TREES:
            self._has_counted.clear()
            limit_s = None if is_told else FIRST_WAIT_REPORT_S
            if not self._has_counted.wait(limit_s):
                self._report(Notice("waiting for the other side to count what it sends"))
                is_told = True

    def receive(self) -> None:
        """Hand what comes to the proof, and write it."""
        proof, follow = self.proof, self._conversation.follow
        data = self._link.accept_stream()
        bottleneck = self._bottleneck = Bottleneck(monotonic())
        while True:
            bottleneck.wait(monotonic(), Waited.SENDER)
            chunks = data.read(READ_SIZE)
            bottleneck.go_on(monotonic())
            if not chunks:
                break
            follow(proof.handle_data(monotonic(), chunks))
            follow(proof.handle_stored(monotonic()))
        if proof.claims.count:
            self._conversation.start_reading(self.receive_repairs)
        else:
            self._link.refuse_streams(UNEXPECTED)
        follow(proof.handle_data_ended())

    def receive_repairs(self) -> None:
        """Write pieces that came again; behind the data, since files of a tree are begun in it."""
        proof, follow = self.proof, self._conversation.follow
        repairs = self._link.accept_stream()
        self._link.refuse_streams(UNEXPECTED)
        while chunks := repairs.read(READ_SIZE):
            follow(proof.handle_repair_data(chunks))
        follow(proof.handle_repairs_ended())

    def compare(self, pieces: Iterable[Piece]) -> None:
        """Read what is held, beside the running transfer."""
        assert self._target is not None
        for piece in pieces:
            digest = piece_digest(self._target.piece(piece))
            self._conversation.follow(self.proof.handle_pieces((digest,)))

    def flush(self) -> None:
        """Keep everything under its name, and say so."""
        assert self._target is not None
        self._target.finish()
        received = self._target.received
        result = self.proof.tell_result(received.refused.count, received.skipped.count)
        self._conversation.follow(result)
        self._conversation.follow(self.proof.handle_flushed(monotonic()))

    def await_parting(self) -> None:
        """Wait until the sender knows our answer."""
        assert self._control is not None
        self._control.wait_acknowledged()
        self._conversation.follow(self.proof.handle_acknowledged())

    def _leave(self, decisions: list[Decision]) -> None:
        self._conversation.follow(decisions)
        self._conversation.start(self.await_parting)

    # -- what is decided --------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        target = self._target
        match decision:
            case Offered():
                self._conversation.start(self.decide)
            case Counted():
                self._take_count()
            case Begin(origin):
                assert target is not None
                goes_on = origin is Origin.HELD
                target.begin(goes_on=goes_on, claimed=self.proof.claims.held)
                self._tell_begin(origin)
                self._conversation.start_reading(self.receive)
            case ReadPieces(pieces):
                self._conversation.start(lambda: self.compare(pieces))
            case Write(chunks):
                assert target is not None
                assert self._bottleneck is not None
                self._bottleneck.wait(monotonic(), Waited.SINK)
                target.write(chunks)
                self._bottleneck.go_on(monotonic())
                if self._promised is not None and target.stored > self._promised:
                    raise PeerBrokeProtocol("more came than it had told")
            case WritePiece(key, offset, data):
                assert target is not None
                target.repair(key, offset, data)
            case KeepPlace():
                if self._issuer is not None:
                    self._issuer.keep_places()
            case Flush():
                self._conversation.start(self.flush)
            case Proved():
                pass

    def _take_count(self) -> None:
        """Look whether a tree fits, as soon as it is counted."""
        self._has_counted.set()
        offer, target, totals = self.proof.offer, self._target, self.proof.totals
        if offer is None or target is None or totals is None or self._is_counted:
            return
        size = self._known_size(offer)
        if size is None or not self._tell_contents() or not self._wishes.checks_space:
            return
        held = sum(part.held for part in self.proof.claims.parts)
        left = size - max(target.stored, totals.held_size, held)
        self._conversation.start(lambda: target.check(max(0, left)))

    def _tell_contents(self) -> bool:
        """Tell what comes, once and as soon as it is counted; returns whether it was told."""
        offer, target = self.proof.offer, self._target
        assert offer is not None
        assert target is not None
        totals = self.proof.totals or Totals(0, NOT_KNOWN)
        if self._is_counted or (offer.kind in TREES and not totals.is_final):
            return False
        self._is_counted = True
        self._report(Contents.of(Direction.RECEIVED, named(offer), offer, totals, target.shown))
        if target.has_changed:
            self._report(Notice("it has changed since the last run, and comes from the beginning"))
        return True

    def _tell_begin(self, origin: Origin) -> None:
        proof = self.proof
        if origin is Origin.HELD:
            size = sum(part.held for part in proof.claims.parts)
            self._report(GoesOn(size, proof.held_count))

    # -- what a person is told --------------------------------------------------------------

    def shown_measure(self) -> Measure | None:
        """Return how far it is, once the sender has begun."""
        return None if self.proof.origin is None else self.measure()

    def measure(self) -> Measure:
        """Return how far it is."""
        path = self._rendezvous.path_description(self._link)
        offer, target, totals = self.proof.offer, self._target, self.proof.totals
        if offer is None or target is None:
            return Measure(0, None, path)
        held = totals.held_size if totals is not None and offer.kind in TREES else 0
        parts = sum(part.held for part in self.proof.claims.parts)
        done = target.stored + max(0, held - parts)
        total = self._known_size(offer)
        return Measure(done if total is None else min(done, total), total, path)

    def tell_incomplete(self) -> None:
        """Tell how much has come when it ended before the last byte."""
        measure, target = self.measure(), self._target
        if not self.proof.tally.size or measure.done == measure.total:
            return
        self._report(Incomplete(Direction.RECEIVED, measure.done, measure.total))
        if target is not None and target.keeps_what_came:
            self._report(
                Notice(
                    "what came is kept: run the same command again to go on; if the sender has "
                    "ended, start it again and use its new code"
                )
            )

    def finish(self) -> None:
        """Tell what became of the entries; raises `PartlyReceived` where some were not made."""
        assert self._target is not None
        received = self._target.received
        tell_bottleneck(self._bottleneck, self._rendezvous, self._link)
        tell_entries(self._report, "changed", received.changed)
        tell_entries(self._report, "renamed", received.renamed)
        tell_entries(self._report, "skipped", received.skipped)
        tell_entries(self._report, "refused", received.refused)
        omitted = self.proof.totals.omitted if self.proof.totals is not None else 0
        if omitted:
            verb = "was" if omitted == 1 else "were"
            self._report(
                Caution(f"{omitted} {verb} left out by the other side, where it is said why")
            )
        if not self.proof.is_acknowledged:
            self._report(
                Caution(
                    "all data was written and verified, but the confirmation did not reach the "
                    "sender, which may report a failure"
                )
            )
        if received.refused.count:
            raise PartlyReceived(received.refused.count)

    def receipt(self) -> Receipt:
        """Return the proof."""
        return receipt_of(Direction.RECEIVED, self.proof.tally, self._rendezvous, self._link)
