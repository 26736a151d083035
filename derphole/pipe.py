"""`listen` and `pipe`: one byte stream from the claimer to the issuer, and the proof that it came.

    pipe                                            listen
    control stream (0), data stream (2)  -------->
    bytes, end of the data stream        -------->  written, digest kept
    FIN(size, digest)                    -------->  all written and flushed, digest equal
                                         <--------  CONFIRM(size, digest)
    exit 0    CONFIRM_ACK                -------->  exit 0

`pipe` succeeds only on CONFIRM, `listen` only when everything is written and the digest agrees.
Standard input is read only after the link is up.  Who says what and when, and what is made of what
comes, is decided by `derphole.speech.stream_proof`; this module moves the bytes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event

from derphole.config import NetworkOptions
from derphole.conversation import UNEXPECTED, Conversation, receipt_of
from derphole.edges.stdio import ByteSink, ByteSource
from derphole.errors import ClaimRefused, SinkClosed
from derphole.progress import Measure, Watch, unwatched
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.speech.decisions import Decision, EndData, Flush, KeepPlace, Proved, Write
from derphole.speech.stream_proof import ReceivingProof, SendingProof
from derphole.status import Caution, Notice, Report, State, StateChanged
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.text import SessionToken
from derphole.transfer_status import Direction, Incomplete, Receipt
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import ByteCount, Seconds, WallTime

READ_SIZE: ByteCount = 4 << 20
# Chosen: when our output's reader leaves, what the sender gets to end its stream as well.
HANG_UP_GRACE_S: Seconds = 2.0
SENDER_AWAITED = "the other side to use the token"
# Often the left side of a pipe that failed.
_EMPTY_INPUT = "nothing was read from standard input on the other side, and so nothing came"
_EMPTY_FILE = "nothing came: the file on the other side is empty"


def listen(
    options: NetworkOptions,
    *,
    expires_at: WallTime | None,
    report: Report,
    sink: ByteSink,
    watch: Watch = unwatched,
) -> Receipt:
    """Print a token and write the stream of whoever uses it to `sink`, as `watch` shows.

    Raises `DerpholeError`; returns only when every byte is written and its digest agrees.
    """
    with IssuerRendezvous(options, report, Capability.LISTEN, expires_at) as rendezvous:
        with TaskGroup("output", on_failure=_raise_in(gevent.getcurrent())) as tasks:
            watcher = tasks.spawn("hang-up", _watch_output, sink)
            rendezvous.offer()
            link = rendezvous.wait_link(SENDER_AWAITED)
            watcher.kill()
        while (receiver := _receive(rendezvous, link, sink, watch)).proof.is_replaced:
            link = rendezvous.wait_link(SENDER_AWAITED)
        receiver.finish()
        rendezvous.complete()
        return receiver.receipt()


def pipe(
    options: NetworkOptions,
    token: SessionToken | Code,
    *,
    report: Report,
    source: ByteSource,
    watch: Watch = unwatched,
) -> Receipt:
    """Send `source` to the listener that made `token`, as `watch` shows.

    Raises `DerpholeError`; returns only when the listener has confirmed every byte.
    """
    with ClaimerRendezvous(options, report, token, capability=Capability.LISTEN) as rendezvous:
        report(StateChanged(State.PROBING_DIRECT))
        link = rendezvous.claim("the listener to answer")
        rendezvous.report_path(link)
        sender = _Sender(rendezvous, link, source)
        with watch(sender.measure), _told_incomplete(report, sender.incomplete):
            sender.run()
        sender.finish()
        rendezvous.complete()
        return sender.receipt()


def _receive(rendezvous: IssuerRendezvous, link: Link, sink: ByteSink, watch: Watch) -> "_Receiver":
    """Receive from one claimer, who may lose the place to another before its first byte."""
    report = rendezvous.report
    rendezvous.report_path(link)
    receiver = _Receiver(rendezvous, link, sink)
    with watch(receiver.measure), _told_incomplete(report, receiver.incomplete):
        receiver.run()
    if receiver.proof.is_replaced:
        report(
            Notice("the sender stopped answering before its first byte; another one took its place")
        )
    return receiver


@contextmanager
def _told_incomplete(report: Report, incomplete: Callable[[], Incomplete]) -> Iterator[None]:
    """Tell how much has come when the work within fails before the last byte."""
    try:
        yield
    except ClaimRefused:  # nothing was ever to come
        raise
    except BaseException:
        status = incomplete()
        if status.done != status.total:
            report(status)
        raise


def _raise_in(greenlet: gevent.Greenlet) -> Callable[[BaseException], None]:
    """Return a function that raises an error in `greenlet`."""
    return lambda error: gevent.kill(greenlet, error)


def _watch_output(sink: ByteSink) -> None:
    """Fail when nobody reads our output any more."""
    sink.wait_closed()
    raise SinkClosed(sink.bytes_written, sink.name)


class _Receiver:
    """The listener's half: from the link to the sink."""

    def __init__(self, rendezvous: IssuerRendezvous, link: Link, sink: ByteSink) -> None:
        self.proof = ReceivingProof(monotonic(), "the sender")
        self._conversation = Conversation(rendezvous, link, self.proof, self._carry_out)
        self._rendezvous = rendezvous
        self._link = link
        self._sink = sink
        self._has_all = Event()

    def run(self) -> None:
        """Write the stream; returns when it is proved, or another claimer has the place."""
        self._conversation.run(self.watch_output, reading=self.receive)

    def receive(self) -> None:
        """Hand what comes to the proof, and write it."""
        self._conversation.attend(self._link.accept_stream())
        data = self._link.accept_stream()
        self._link.refuse_streams(UNEXPECTED)
        while chunks := data.read(READ_SIZE):
            self._conversation.follow(self.proof.handle_data(monotonic(), chunks))
        self._conversation.follow(self.proof.handle_data_ended())

    def watch_output(self) -> None:
        """Notice a closed output also while nothing comes."""
        self._sink.wait_closed()
        # A reader may know the end of its data before we do, as tar does: that is not a failure if
        # nothing but the end of the stream was still to come.
        if not self._has_all.wait(HANG_UP_GRACE_S):
            raise SinkClosed(self._sink.bytes_written, self._sink.name)

    def flush(self) -> None:
        """Have the sink keep what was written; nothing else uses it by then."""
        self._sink.flush()
        self._conversation.follow(self.proof.handle_flushed(monotonic()))

    def measure(self) -> Measure:
        """Return how far it is."""
        path = self._rendezvous.path_description(self._link)
        return Measure(self._sink.bytes_written, self.proof.total, path)

    def incomplete(self) -> Incomplete:
        """Return what has come, and what is left of it here."""
        sink = self._sink
        untouched = None if sink.keeps_parts else sink.name
        return Incomplete(Direction.RECEIVED, sink.bytes_written, self.proof.total, untouched)

    def finish(self) -> None:
        """Warn of an empty stream, and if the other side may not know that all is well."""
        report = self._rendezvous.report
        if not self.proof.tally.size:
            report(Caution(_EMPTY_FILE if self.proof.is_total_told else _EMPTY_INPUT))
        if not self.proof.is_acknowledged:
            nonsense = self.proof.nonsense
            told = (
                f"the sender then broke the protocol ({nonsense}) and"
                if nonsense
                else "the confirmation did not reach the sender, which"
            )
            report(Caution(f"all data was written and verified, but {told} may report a failure"))

    def receipt(self) -> Receipt:
        """Return the proof."""
        return receipt_of(Direction.RECEIVED, self.proof.tally, self._rendezvous, self._link)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Write(chunks):
                self._sink.write(chunks)
            case KeepPlace():
                self._rendezvous.keep_places()
            case Flush():
                self._conversation.start(self.flush)
            case Proved():
                self._has_all.set()


class _Sender:
    """The claimer's half: from the source to the link."""

    def __init__(self, rendezvous: ClaimerRendezvous, link: Link, source: ByteSource) -> None:
        total = source.size_hint()
        self._proof = SendingProof(monotonic(), "the listener's confirmation", total)
        self._conversation = Conversation(rendezvous, link, self._proof, self._carry_out)
        self._rendezvous = rendezvous
        self._link = link
        self._source = source
        self._control: Stream | None = None
        self._data: Stream | None = None

    def run(self) -> None:
        """Send the source; returns when the listener has confirmed every byte."""
        self._link.refuse_streams(UNEXPECTED)
        self._conversation.run(self.send)

    def send(self) -> None:
        """Hand what is read to the proof, and send it."""
        self._control = self._link.open_stream()
        self._data = self._link.open_stream()
        self._conversation.attend(self._control)
        self._conversation.follow(self._proof.begin())
        while data := self._source.read():
            self._conversation.follow(self._proof.handle_data(monotonic(), (data,)))
        self._conversation.follow(self._proof.handle_data_ended())

    def measure(self) -> Measure:
        """Return how far it is."""
        path = self._rendezvous.path_description(self._link)
        return Measure(self._stored, self._proof.total, path)

    def incomplete(self) -> Incomplete:
        """Return what the other side has."""
        return Incomplete(Direction.SENT, self._stored, self._proof.total)

    def finish(self) -> None:
        """Warn of an empty stream."""
        if not self._proof.tally.size:
            self._rendezvous.report(Caution(f"nothing was read from {self._source.name}"))

    @property
    def _stored(self) -> ByteCount:
        return 0 if self._data is None else self._data.stored

    def await_acknowledgement(self) -> None:
        """Wait until the listener knows that we know."""
        assert self._control is not None
        self._control.wait_acknowledged()
        self._conversation.follow(self._proof.handle_acknowledged())

    def receipt(self) -> Receipt:
        """Return the proof."""
        return receipt_of(Direction.SENT, self._proof.tally, self._rendezvous, self._link)

    def _carry_out(self, decision: Decision) -> None:
        data = self._data
        assert data is not None  # it is open before anything comes that could be decided about
        match decision:
            case Write(chunks):
                for chunk in chunks:
                    data.write(chunk)
            case EndData():
                data.end()
            case Proved():
                self._conversation.start(self.await_acknowledgement)
