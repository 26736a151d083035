"""`listen` and `pipe` in the simulated world: the product's own proof of a stream, polled by a host.

    Sender                                          Receiver
    SendingProof                                    ReceivingProof
    control stream (0), data stream (2)  -------->  as many of them as claimers had the place

Nothing is decided here: what the link brought is handed in, and what `derphole.speech.stream_proof`
decides is carried out, as `derphole.pipe` does with sockets and files.
"""

from collections.abc import Callable
from enum import Enum

from world import Host, Inbox

from derphole.errors import DerpholeError
from derphole.speech.control import CONTROL_STREAM
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
from derphole.speech.endings import ending_of
from derphole.speech.stream_proof import ReceivingProof, SendingProof, StreamProof
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent
from tunnel.proto.link.events import LinkClosed, LinkGivenUp
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.meeting.owner import Refused
from tunnel.proto.streams.receive_stream import ReceiveState
from tunnel.proto.streams.send_stream import SendState

DATA_STREAM = 2
EXIT_S = 1.0  # derphole.rendezvous, CLOSE_LINGER_S: what a goodbye gets to leave the process


class Outcome(Enum):
    """What a side knows of the transfer."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOOKED = "looked"


class Side:
    """One half of a conversation; polled by its host.

    Its control stream, and the others that the other side may give up, are in `stream_ids`.

    Attributes:
        outcome: what the process would report.
        cause: why it failed.
        error: the same, as it would be raised.
        is_over: whether the process has ended.
        served: which of the host's links the conversation runs over, counted from 0.
        proof: of the stream over that link; None before there is one.
        decided: every decision so far.
    """

    stream_ids: tuple[int, ...] = (CONTROL_STREAM, DATA_STREAM)

    def __init__(self, host: Host) -> None:
        self.host = host
        self.outcome = Outcome.RUNNING
        self.error: DerpholeError | None = None
        self.is_over = False
        self.served = 0
        self.proof: StreamProof | None = None
        self.decided: list[Decision] = []
        self._steps = 0  # whatever was handed in
        self._wakes_at: float | None = None
        self._begin()
        host.application = self.poll

    @property
    def cause(self) -> str:
        """Why it failed, in words."""
        return str(self.error or "")

    def poll(self) -> bool:
        """Do what can be done now; tells whether anything was."""
        before = self._steps
        if not self.is_over:
            self._meet()
        if self._link is not None and not self.is_over:
            self._hand_in(self._link)
        return self._steps != before

    @property
    def _link(self) -> PeerLink | None:
        links = self.host.links
        return links[self.served] if self.served < len(links) else None

    @property
    def _inbox(self) -> Inbox:
        return self.host.inboxes[self.served]

    def _begin(self) -> None:
        """Begin with a new link."""
        self.proof = None
        self._taken: dict[int, int] = {}
        self._told: set[str] = set()  # what happens once
        self._deadline: float | None = None

    def _meet(self) -> None:
        """Take what the host's machine said of the meeting."""

    # -- what comes -------------------------------------------------------------------------

    def _hand_in(self, link: PeerLink) -> None:
        """Hand everything that came to the proof, the end of the link last."""
        if self.proof is None:
            self.proof = self._new_proof()
        proof = self.proof
        self._hand_in_data(proof)
        if data := self._bytes(CONTROL_STREAM):
            self._follow(proof.handle_message_bytes(self.host.instant, [data]))
        if CONTROL_STREAM in self._inbox.ended:
            self._once("messages ended", proof.handle_messages_ended)
        if any(map(self._is_reset, self.stream_ids)):
            self._give_up(proof)
        if link.is_closed:
            self._once("link ended", lambda: proof.handle_link_ended(self._end()))
        self._keep_time(proof)

    def _new_proof(self) -> StreamProof:
        raise NotImplementedError

    def _hand_in_data(self, proof: StreamProof) -> None:
        raise NotImplementedError

    def _bytes(self, stream: int) -> bytes:
        """Take what a stream brought."""
        whole = self._inbox.received.get(stream, b"")
        taken = self._taken.get(stream, 0)
        self._taken[stream] = len(whole)
        return bytes(memoryview(whole)[taken:])

    def _is_reset(self, stream: int) -> bool:
        receiving = self._inbox.receiving.get(stream)
        return receiving is not None and receiving.state is ReceiveState.RESET

    def _give_up(self, proof: StreamProof) -> None:
        self._once("reset", lambda: proof.handle_reset(self.host.instant))

    def _end(self) -> LinkEnded:
        """Return the end of the link, as `tunnel.net.link` tells it."""
        (end,) = [e for e in self._inbox.events if isinstance(e, LinkClosed | LinkGivenUp)]
        if isinstance(end, LinkGivenUp):
            return PeerSilent(end.silent_s)
        return PeerClosed(end.code, end.text) if end.is_by_peer else ClosedHere(end.code)

    def _once(self, what: str, hand_in: Callable[[], list[Decision]]) -> None:
        if what not in self._told and not self.is_over:
            self._told.add(what)
            self._follow(hand_in())

    def _keep_time(self, proof: StreamProof) -> None:
        """Have the proof do what is due, and this host woken when the next is."""
        deadline = proof.next_timeout()
        if deadline is None or self.is_over:
            return
        wakes_at = deadline + self.host.lag
        if self.host.world.now >= wakes_at:
            self._follow(proof.handle_timeout(max(deadline, self.host.instant)))
        elif self._wakes_at != wakes_at:
            self._wakes_at = wakes_at
            self.host.world.at(wakes_at, lambda: None)

    # -- what is decided --------------------------------------------------------------------

    def _follow(self, decisions: list[Decision]) -> None:
        self._steps += 1
        for decision in decisions:
            self.decided.append(decision)
            match decision:
                case Say(data):
                    self.say(data)
                case Proved():
                    self.outcome = Outcome.SUCCEEDED
                case Close(code, text):
                    assert self._link is not None
                    self._link.close(self.host.instant, code, text)
                case Over():
                    self._leave()
                case Fail(error):
                    self._fail(error)
                case _:
                    self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        raise NotImplementedError

    def say(self, data: bytes) -> None:
        """Write to the control stream."""
        self._write(CONTROL_STREAM, data)

    def _write(self, stream: int, data: bytes) -> None:
        """Write to a stream, unless the link is over or nobody wants to read it."""
        streams = self._link.streams
        sending = streams.sending(stream)
        if sending is None:
            return
        if sending.state is SendState.OPEN:
            streams.write(stream, data)
        else:
            self._give_up(self.proof)

    def _fail(self, error: DerpholeError) -> None:
        """Fail, and tell every link of this process."""
        assert self.outcome is Outcome.RUNNING
        self.outcome, self.error = Outcome.FAILED, error
        for link in self.host.links:
            link.close(self.host.instant, *ending_of(error))
        self._leave()

    def _leave(self) -> None:
        self.is_over = True
        self.host.world.at(self.host.world.now + EXIT_S, self._exit)

    def _exit(self) -> None:
        self.host.is_asleep = True
        for relay in self.host.world.relays:
            relay.disconnect(self.host)


class Sender(Side):
    """`pipe`: sends `payload` and waits for its confirmation."""

    def __init__(self, host: Host, payload: bytes) -> None:
        super().__init__(host)
        self._payload = payload

    def _meet(self) -> None:
        refused = self.host.all(Refused)
        if refused:
            self._steps += 1
            self._fail(DerpholeError(f"refused: {refused[0].verdict}"))

    def _new_proof(self) -> SendingProof:
        streams = (self.host.open(), self.host.open()) if not self._link.is_closed else ()
        assert streams in ((CONTROL_STREAM, DATA_STREAM), ())
        return SendingProof(self.host.instant, "the listener's confirmation")

    def _hand_in_data(self, proof: StreamProof) -> None:
        assert isinstance(proof, SendingProof)
        if self._payload:
            payload, self._payload = self._payload, b""
            self._follow(proof.handle_data(self.host.instant, [payload]))
        self._once("data ended", proof.handle_data_ended)
        if proof.has_succeeded and self._is_stored():
            self._once("stored", proof.handle_acknowledged)

    def _is_stored(self) -> bool:
        """Tell whether the other side has everything that was said."""
        sending = self._link.streams.sending(CONTROL_STREAM)
        return sending is not None and not sending.buffered

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Write(chunks):
                for chunk in chunks:
                    self._write(DATA_STREAM, bytes(chunk))
            case EndData() if self._link.streams.is_known(DATA_STREAM):
                self._link.streams.end(DATA_STREAM)


class Receiver(Side):
    """`listen`: writes what the claimer sends.

    Args:
        flush_s: how long the output takes to keep what was written.

    Attributes:
        written: what standard output got.
        has_flushed: whether it keeps all of that.
    """

    def __init__(self, host: Host, flush_s: float = 0.0) -> None:
        super().__init__(host)
        self.written = bytearray()
        self.has_flushed = False
        self._flush_s = flush_s

    def _new_proof(self) -> ReceivingProof:
        return ReceivingProof(self.host.instant, "the sender")

    def _hand_in_data(self, proof: StreamProof) -> None:
        assert isinstance(proof, ReceivingProof)
        if data := self._bytes(DATA_STREAM):
            self._follow(proof.handle_data(self.host.instant, [data]))
        if DATA_STREAM in self._inbox.ended:
            self._once("data ended", proof.handle_data_ended)
        if self.has_flushed:
            self._once("flushed", lambda: proof.handle_flushed(self.host.instant))

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Write(chunks):
                for chunk in chunks:
                    self.written += chunk
            case KeepPlace():
                self.host.machine.places.may_replace = False
            case Flush():
                self.host.world.at(self.host.world.now + self._flush_s, self._flush)
            case Replaced():
                self.served += 1
                self._begin()

    def _flush(self) -> None:
        self.has_flushed = True
