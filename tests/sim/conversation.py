"""`listen` and `pipe` in the simulated world: the conversation of `derphole.pipe` without I/O.

    Sender                                          Receiver
    control stream (0), data stream (2)  -------->
    bytes, end of the data stream        -------->  written, digest kept
    FIN(size, digest)                    -------->  all written, digest equal: SUCCEEDED
    SUCCEEDED                            <--------  CONFIRM(size, digest)
    CONFIRM_ACK, then at most 1 s        -------->  at most 10 s, then close

The messages are the real ones (`derphole.speech.messages`); what waits there is polled here.  Whoever
changes derphole/pipe.py changes this file: tests hold the two against each other only in words.
"""

from enum import Enum

from world import Host, Inbox
from xxhash import xxh3_128

from derphole.errors import PeerBrokeProtocol
from derphole.speech.endings import Ending
from derphole.speech.messages import Confirm, ConfirmAck, Fin, Message, MessageReader, encode
from derphole.speech.turns import Stage, check_turn, messages_ended, unreadable
from tunnel.errors import DecodeError
from tunnel.proto.link.events import LinkClosed, LinkGivenUp
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.meeting.claimer import LinkUp
from tunnel.proto.meeting.owner import Refused
from tunnel.proto.streams.receive_stream import ReceiveState
from tunnel.proto.streams.send_stream import SendState

# As in derphole.pipe.
CONFIRM_S = 10.0
LINGER_S = 1.0
EXIT_S = 1.0  # derphole.rendezvous, CLOSE_LINGER_S: what a goodbye gets to leave the process


class Outcome(Enum):
    """What a side knows of the transfer."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Side:
    """One half of a conversation; polled by its host.

    Attributes:
        outcome: what the process would report.
        cause: why it failed.
        is_over: whether the process has ended.
        served: which of the host's links the conversation runs over, counted from 0.
    """

    def __init__(self, host: Host, stage: Stage) -> None:
        self.host = host
        self.stage = stage
        self.outcome = Outcome.RUNNING
        self.cause = ""
        self.is_over = False
        self.served = 0
        self.size = 0
        self._digest = xxh3_128()
        self._ends_at = 0.0
        self._taken: dict[int, int] = {}
        self._events = 0
        self._messages = MessageReader()
        host.application = self.poll

    def poll(self) -> bool:
        """Do what can be done now; tells whether anything was."""
        if self.is_over:
            return False
        before = self._state()
        try:
            self._take_events()
            if self._link is not None and not self.is_over:
                self._work(self._link)
        except PeerBrokeProtocol as error:
            self._fail(error.detail, Ending.PROTOCOL_VIOLATION)
        return self._state() != before

    @property
    def _link(self) -> PeerLink | None:
        links = self.host.links
        return links[self.served] if self.served < len(links) else None

    @property
    def _inbox(self) -> Inbox:
        return self.host.inboxes[self.served]

    def _state(self) -> object:
        taken = sum(self._taken.values())
        return self.outcome, self.is_over, self.served, self.size, self._events, taken

    def _work(self, link: PeerLink) -> None:
        raise NotImplementedError

    def _take_events(self) -> None:
        while self._events < len(self.host.events):
            event = self.host.events[self._events]
            self._events += 1
            self._take(event)

    def _take(self, event: object) -> None:
        raise NotImplementedError

    def _bytes(self, stream: int) -> bytes:
        """Take what a stream brought."""
        whole = self._inbox.received.get(stream, b"")
        taken = self._taken.get(stream, 0)
        self._taken[stream] = len(whole)
        return bytes(memoryview(whole)[taken:])

    def _next_message(self, stream: int) -> Message | None:
        self._messages.feed(self._bytes(stream))
        try:
            message = self._messages.next_message()
        except DecodeError as error:
            raise unreadable(self.stage, str(error)) from error
        if message is not None:
            check_turn(self.stage, message)
        elif stream in self._inbox.ended:
            raise messages_ended(self.stage)
        return message

    def _say(self, stream: int, message: Message) -> None:
        link = self._link
        sending = link.streams.sending(stream) if link is not None else None
        if link is not None and sending is not None and sending.state is SendState.OPEN:
            link.streams.write(stream, encode(message))

    def _is_reset(self, stream: int) -> bool:
        receiving = self._inbox.receiving.get(stream)
        return receiving is not None and receiving.state is ReceiveState.RESET

    def _wake_at(self, delay: float) -> None:
        self._ends_at = self.host.world.now + delay
        self.host.world.at(self._ends_at, lambda: None)

    def _succeed(self) -> None:
        assert self.outcome is Outcome.RUNNING
        self.outcome = Outcome.SUCCEEDED

    def _fail(self, cause: str, code: int) -> None:
        if self.outcome is Outcome.RUNNING:
            self.outcome, self.cause = Outcome.FAILED, cause
        self._leave(code)

    def _leave(self, code: int) -> None:
        self.is_over = True
        for link in self.host.links:
            link.close(self.host.instant, code, self.cause or "done")
        self.host.world.at(self.host.world.now + EXIT_S, self._exit)

    def _exit(self) -> None:
        self.host.is_asleep = True
        for relay in self.host.world.relays:
            relay.disconnect(self.host)


class Sender(Side):
    """`pipe`: sends `payload` and waits for its confirmation."""

    def __init__(self, host: Host, payload: bytes) -> None:
        super().__init__(host, Stage.PIPE_AFTER_FIN)
        self._payload = payload
        self._control = -1

    def _take(self, event: object) -> None:
        if isinstance(event, LinkUp):
            self._control, data = self.host.open(), self.host.open()
            self.size = len(self._payload)
            self._digest.update(self._payload)
            self.host.send_all(self._payload, data)
            self._say(self._control, Fin(self.size, self._digest.digest()))
        elif isinstance(event, Refused):
            self._fail(f"refused: {event.verdict}", Ending.FAILED)

    def _work(self, link: PeerLink) -> None:
        while self.outcome is Outcome.RUNNING:
            message = self._next_message(self._control)
            if isinstance(message, Confirm):
                self._check(message)
            elif message is None:
                break
        if self.outcome is Outcome.RUNNING and (link.is_closed or self._is_reset(self._control)):
            self._fail("the link ended first", Ending.FAILED)
        if self.outcome is Outcome.SUCCEEDED and not self.is_over:
            sending = link.streams.sending(self._control)
            is_told = sending is None or not sending.buffered
            if is_told or link.is_closed or self.host.world.now >= self._ends_at:
                self._leave(Ending.DONE)

    def _check(self, confirm: Confirm) -> None:
        if (confirm.size, confirm.digest) != (self.size, self._digest.digest()):
            self._fail("another stream was confirmed", Ending.MISMATCH)
            return
        self._succeed()
        self._say(self._control, ConfirmAck())
        self._wake_at(LINGER_S)


class Receiver(Side):
    """`listen`: writes what the claimer sends.

    Attributes:
        written: what standard output got.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host, Stage.LISTEN_BEFORE_FIN)
        self.written = bytearray()
        self._fin: Fin | None = None

    def _take(self, event: object) -> None:
        del event  # links speak for themselves

    def _work(self, link: PeerLink) -> None:
        if self.outcome is Outcome.RUNNING:
            self._receive(link)
        elif self.outcome is Outcome.SUCCEEDED:
            is_known = self._next_message(0) is not None
            if is_known or link.is_closed or self.host.world.now >= self._ends_at:
                self._leave(Ending.DONE)

    def _receive(self, link: PeerLink) -> None:
        data = self._bytes(2)
        if data:
            self.host.machine.places.may_replace = False
            self.written += data
            self.size += len(data)
            self._digest.update(data)
        while (message := self._next_message(0)) is not None:
            assert isinstance(message, Fin)
            self._fin, self.stage = message, Stage.LISTEN_AFTER_FIN
        if self._fin is not None:
            self.host.machine.places.may_replace = False  # an empty stream's place is kept, too
        if self._fin is not None and 2 in self._inbox.ended:
            self._check(self._fin)
        elif self._is_reset(0) or self._is_reset(2):
            self._fail("the sender gave up", Ending.FAILED)
        elif link.is_closed:
            self._lose()

    def _lose(self) -> None:
        """Wait for another claimer, if this one was replaced before its first byte."""
        (end,) = [e for e in self._inbox.events if isinstance(e, LinkClosed | LinkGivenUp)]
        is_replaced = isinstance(end, LinkClosed) and end.code == Ending.REPLACED
        if not is_replaced or self.size:
            self._fail("the link ended first", Ending.FAILED)
            return
        self.served += 1
        self._fin, self._messages = None, MessageReader()
        self.stage = Stage.LISTEN_BEFORE_FIN
        self._taken.clear()

    def _check(self, fin: Fin) -> None:
        if (fin.size, fin.digest) != (self.size, self._digest.digest()):
            self._fail("size or digest do not agree", Ending.MISMATCH)
            return
        self._succeed()
        self.stage = Stage.LISTEN_CONFIRMED
        self._say(0, Confirm(fin.size, fin.digest))
        self._wake_at(CONFIRM_S)
