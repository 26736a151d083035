"""`listen` and `pipe`: one byte stream from the claimer to the issuer, and the proof that it came.

    pipe                                            listen
    control stream (0), data stream (2)  -------->
    bytes, end of the data stream        -------->  written, digest kept
    FIN(size, digest)                    -------->  all written and flushed, digest equal
                                         <--------  CONFIRM(size, digest)
    exit 0    CONFIRM_ACK                -------->  exit 0

`pipe` succeeds only on CONFIRM, `listen` only when everything is written and the digest agrees.
Standard input is read only after the link is up.  Messages are read beside the data, so that one
out of turn ends the run at once (`derphole.turns`).
"""

from collections.abc import Callable

import gevent
from gevent.event import AsyncResult, Event
from xxhash import xxh3_128

from derphole.config import NetworkOptions
from derphole.edges.stdio import ByteSink, ByteSource
from derphole.errors import (
    DerpholeError,
    DigestMismatch,
    PeerAborted,
    PeerBrokeProtocol,
    SinkClosed,
    SizeMismatch,
)
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.common import Rendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.rendezvous.receipt_paths import traffic_of
from derphole.speech.control import Control
from derphole.speech.endings import Ending, ending_error, ending_of
from derphole.speech.messages import Confirm, ConfirmAck, Fin
from derphole.speech.turns import Stage
from derphole.status import (
    Caution,
    Direction,
    Notice,
    Receipt,
    Report,
    State,
    StateChanged,
    TokenIssued,
)
from derphole.token.grant import Capability
from derphole.token.text import SessionToken
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, StreamReset
from tunnel.net.clock import monotonic
from tunnel.net.link import Link
from tunnel.net.tasks import TaskGroup
from tunnel.units import ByteCount, Instant, Seconds, WallTime

# Chosen (design, section 9).
CONFIRM_S: Seconds = 10.0  # how long `listen` sees to it that its CONFIRM arrives
LINGER_S: Seconds = 1.0  # how long `pipe` sees to it that its CONFIRM_ACK arrives
READ_SIZE: ByteCount = 4 << 20
# Chosen: when our output's reader leaves, what the sender gets to end its stream as well.
HANG_UP_GRACE_S: Seconds = 2.0
SENDER_AWAITED = "the other side to use the token"
# Chosen: the code of streams that this conversation does not have.
UNEXPECTED = 1
# Chosen: what a greenlet that waits on a file or a terminal gets to notice the end of the link.
NOTICE_S: Seconds = 0.5


class Conversation:
    """Runs the work of one link, and tells the other side how it ended.

    Args:
        rendezvous: where the link came from.
        link: the link.
        unanswered: what this side waits for when nothing comes.
    """

    def __init__(self, rendezvous: Rendezvous, link: Link, unanswered: str) -> None:
        self.rendezvous = rendezvous
        self.link = link
        self.may_outlive_link = False  # set once nothing more is needed from the other side
        self._unanswered = unanswered
        self._done = Event()

    def run(self, *works: Callable[[], None]) -> None:
        """Run `works` at once until all are done or one fails, or the link ends.

        Raises what failed, the other side's ending included, and tells the other side.
        """
        self.rendezvous.watch(self._done.set)
        with TaskGroup("conversation", on_failure=lambda _: self._done.set()) as tasks:
            children = [tasks.spawn(work.__name__, work) for work in works]
            for child in children:
                child.rawlink(lambda _: self._done.set())
            watcher = tasks.spawn("link", self._watch)
            try:
                while not all(child.ready() for child in children):
                    self._done.clear()
                    if self.rendezvous.failure is not None:
                        raise self.rendezvous.failure
                    self._done.wait()
                    if self.link.end is not None and not self.may_outlive_link:
                        gevent.joinall(children, timeout=NOTICE_S)
                        break
                watcher.kill()
                tasks.raise_failure()
                if not all(child.ready() for child in children) and self.link.end is not None:
                    raise self.link.end
            except LinkEnded as end:
                raise ending_error(end, self._unanswered) from end
            except StreamReset as reset:
                end_of_link = self.link.wait_ended(NOTICE_S)
                if end_of_link is not None:
                    raise ending_error(end_of_link, self._unanswered) from reset
                raise PeerAborted(None) from reset
            except BaseException as error:
                code, text = ending_of(error)
                self.link.close(code, text)
                raise

    def _watch(self) -> None:
        self.link.wait_ended()
        self._done.set()


def listen(
    options: NetworkOptions, *, expires_at: WallTime | None, report: Report, sink: ByteSink
) -> Receipt:
    """Print a token and write the stream of whoever uses it to `sink`.

    Raises `DerpholeError`; returns only when every byte is written and its digest agrees.
    """
    with IssuerRendezvous(options, report, Capability.LISTEN, expires_at) as rendezvous:
        with TaskGroup("output", on_failure=_raise_in(gevent.getcurrent())) as tasks:
            watcher = tasks.spawn("hang-up", _watch_output, sink)
            token = rendezvous.issue()
            report(StateChanged(State.WAITING_FOR_CLAIM))
            report(TokenIssued(token))
            link = rendezvous.wait_link(SENDER_AWAITED)
            watcher.kill()
        while not (receiver := _receive(rendezvous, link, sink, report)).is_complete:
            link = rendezvous.wait_link(SENDER_AWAITED)
        receiver.finish()
        report(StateChanged(State.STREAM_COMPLETE))
        return receiver.receipt()


def pipe(
    options: NetworkOptions, token: SessionToken, *, report: Report, source: ByteSource
) -> Receipt:
    """Send `source` to the listener that made `token`.

    Raises `DerpholeError`; returns only when the listener has confirmed every byte.
    """
    with ClaimerRendezvous(options, report, token) as rendezvous:
        report(StateChanged(State.PROBING_DIRECT))
        link = rendezvous.claim("the listener to answer")
        rendezvous.report_path(link)
        sender = _Sender(rendezvous, link, source)
        sender.conversation.run(sender.send, sender.await_confirmation)
        sender.finish()
        report(StateChanged(State.STREAM_COMPLETE))
        return sender.receipt()


def _receive(
    rendezvous: IssuerRendezvous, link: Link, sink: ByteSink, report: Report
) -> "_Receiver":
    """Receive from one claimer, who may lose the place to another before its first byte."""
    rendezvous.report_path(link)
    receiver = _Receiver(rendezvous, link, sink, report)
    try:
        receiver.conversation.run(receiver.receive, receiver.take_messages, receiver.watch_output)
    except DerpholeError:
        if not receiver.was_replaced:
            raise
        report(
            Notice("the sender stopped answering before its first byte; another one took its place")
        )
    return receiver


def _raise_in(greenlet: gevent.Greenlet) -> Callable[[BaseException], None]:
    """Return a function that raises an error in `greenlet`."""
    return lambda error: gevent.kill(greenlet, error)


def _watch_output(sink: ByteSink) -> None:
    """Fail when nobody reads our output any more."""
    sink.wait_closed()
    raise SinkClosed(sink.bytes_written)


class _Tally:
    """Size, digest and duration of a stream."""

    def __init__(self) -> None:
        self.size: ByteCount = 0
        self.started_at: Instant = monotonic()
        self.ended_at: Instant = self.started_at
        self._digest = xxh3_128()

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Count the next bytes."""
        if not self.size:
            self.started_at = monotonic()
        self.size += len(data)
        self._digest.update(data)

    @property
    def digest(self) -> bytes:
        """XXH3-128 of everything so far, big-endian."""
        return self._digest.digest()

    def receipt(self, direction: Direction, rendezvous: Rendezvous, link: Link) -> Receipt:
        """Return the proof at the end."""
        return Receipt(
            direction,
            self.size,
            self.ended_at - self.started_at,
            rendezvous.path_description(link),
            rendezvous.reason_relayed(link),
            self.digest.hex(),
            traffic_of(direction, link.machine),
        )


class _Receiver:
    """The listener's half of the conversation."""

    def __init__(
        self, rendezvous: IssuerRendezvous, link: Link, sink: ByteSink, report: Report
    ) -> None:
        self.conversation = Conversation(rendezvous, link, "the sender")
        self._rendezvous = rendezvous
        self._link = link
        self._sink = sink
        self._report = report
        self._tally = _Tally()
        self.is_complete = False  # everything is written, and its digest agrees
        self._control: Control | None = None
        self._has_control = Event()
        self._fin: AsyncResult[Fin] = AsyncResult()
        self._is_confirmed = False
        self._was_told_nonsense: str | None = None  # instead of CONFIRM_ACK
        self._has_answer = Event()  # to CONFIRM, or nobody can answer any more
        self._has_all = Event()
        self._is_over = Event()

    def receive(self) -> None:
        """Write the stream; check it against FIN; confirm."""
        try:
            control = self._control = Control(self._link.accept_stream(), Stage.LISTEN_BEFORE_FIN)
            self._has_control.set()
            data = self._link.accept_stream()
            self._link.refuse_streams(UNEXPECTED)
            while chunks := data.read(READ_SIZE):
                if not self._tally.size:
                    self._keep_place()
                for chunk in chunks:
                    self._tally.add(chunk)
                self._check_room()
                self._sink.write(chunks)
            fin = self._fin.get()
            self._keep_place()  # an empty stream's, too
            self.conversation.may_outlive_link = True
            self._sink.flush()
            self._check(fin)
            self._tally.ended_at = monotonic()
            self.is_complete = True
            self._has_all.set()
            self._confirm(control, fin)
        finally:
            self._is_over.set()

    def take_messages(self) -> None:
        """Take what the sender says while its data comes, and after; ends with `receive`."""
        with TaskGroup("control", on_failure=lambda _: self._is_over.set()) as tasks:
            tasks.spawn("messages", self._await_messages)
            self._is_over.wait()
            tasks.raise_failure()

    def watch_output(self) -> None:
        """Notice a closed output also while nothing comes; ends with `receive`."""
        with TaskGroup("output", on_failure=lambda _: self._is_over.set()) as tasks:
            tasks.spawn("hang-up", self._await_hang_up)
            self._is_over.wait()
            tasks.raise_failure()

    def _await_hang_up(self) -> None:
        self._sink.wait_closed()
        # A reader may know the end of its data before we do, as tar does: that is not a failure if
        # nothing but the end of the stream was still to come.
        if not self._has_all.wait(HANG_UP_GRACE_S):
            raise SinkClosed(self._sink.bytes_written)

    def finish(self) -> None:
        """Close the link; warn if the other side may not know that all is well."""
        self._link.close(Ending.DONE, "done")
        if not self._is_confirmed:
            nonsense = self._was_told_nonsense
            told = (
                f"the sender then broke the protocol ({nonsense}) and"
                if nonsense
                else "the confirmation did not reach the sender, which"
            )
            self._report(
                Caution(f"all data was written and verified, but {told} may report a failure")
            )

    @property
    def was_replaced(self) -> bool:
        """Whether the place went to another claimer before the first byte was written.

        Later only the sender's own process can take it, and its new stream would follow half of
        the old one: that is a failure.
        """
        end = self._link.end
        is_replaced = isinstance(end, ClosedHere | PeerClosed) and end.code == Ending.REPLACED
        return is_replaced and not self._tally.size

    def receipt(self) -> Receipt:
        """Return the proof."""
        return self._tally.receipt(Direction.RECEIVED, self._rendezvous, self._link)

    def _keep_place(self) -> None:
        # Once a byte was written nobody else can take over: the stream would have a hole.
        self._rendezvous.machine.places.may_replace = False

    def _await_messages(self) -> None:
        """Wait for FIN, then for CONFIRM_ACK; what comes out of turn ends the run."""
        self._has_control.wait()
        control = self._control
        assert control is not None
        try:
            fin = control.receive()
            assert isinstance(fin, Fin)
            control.stage = Stage.LISTEN_AFTER_FIN
            self._fin.set(fin)
            self._check_room()
            control.receive()
            self._is_confirmed = True
        except LinkEnded as end:
            if not self._fin.ready():
                self._fin.set_exception(end)
        except PeerBrokeProtocol as error:
            if not self.is_complete:
                raise
            self._was_told_nonsense = error.detail
            self._link.close(*ending_of(error))
        except StreamReset:
            if not self.is_complete:
                raise
        finally:
            self._has_answer.set()

    def _check_room(self) -> None:
        """Raise once more has come than FIN told."""
        if self._fin.ready() and self._tally.size > self._fin.get().size:
            raise SizeMismatch(self._fin.get().size, self._tally.size)

    def _check(self, fin: Fin) -> None:
        if fin.size != self._tally.size:
            raise SizeMismatch(fin.size, self._tally.size)
        if fin.digest != self._tally.digest:
            raise DigestMismatch(fin.digest.hex(), self._tally.digest.hex())

    def _confirm(self, control: Control, fin: Fin) -> None:
        """Send CONFIRM until it is answered: the link repeats it, we only wait."""
        control.stage = Stage.LISTEN_CONFIRMED
        try:
            with gevent.Timeout(CONFIRM_S, False):
                control.send(Confirm(fin.size, fin.digest))
                self._has_answer.wait()
        except (LinkEnded, StreamReset):
            return  # everything is written: what the other side knows is its own matter


class _Sender:
    """The claimer's half of the conversation."""

    def __init__(self, rendezvous: ClaimerRendezvous, link: Link, source: ByteSource) -> None:
        self.conversation = Conversation(rendezvous, link, "the listener's confirmation")
        self._rendezvous = rendezvous
        self._link = link
        self._source = source
        self._tally = _Tally()
        link.refuse_streams(UNEXPECTED)
        self._control = Control(link.open_stream(), Stage.PIPE_BEFORE_FIN)
        self._data = link.open_stream()

    def send(self) -> None:
        """Send the source, then how much it was."""
        while data := self._source.read():
            self._tally.add(data)
            self._data.write(data)
        self._data.end()
        self._control.stage = Stage.PIPE_AFTER_FIN
        self._control.send(Fin(self._tally.size, self._tally.digest))

    def await_confirmation(self) -> None:
        """Wait until the listener has written everything; raises `TransferError`."""
        message = self._control.receive()
        assert isinstance(message, Confirm)
        self._tally.ended_at = monotonic()
        if message.size != self._tally.size:
            raise SizeMismatch(self._tally.size, message.size)
        if message.digest != self._tally.digest:
            raise DigestMismatch(self._tally.digest.hex(), message.digest.hex())
        self.conversation.may_outlive_link = True

    def finish(self) -> None:
        """Let the listener know that we know; that it does not hear it changes nothing."""
        try:
            self._control.send(ConfirmAck())
            self._control.stream.wait_acknowledged(LINGER_S)
        except (DerpholeError, LinkEnded, StreamReset):
            return

    def receipt(self) -> Receipt:
        """Return the proof."""
        return self._tally.receipt(Direction.SENT, self._rendezvous, self._link)
