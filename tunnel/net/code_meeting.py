"""CodeMeeting: runs the codes of an issuer over two connections to one relay.

    home       the issuer's own connection, which the pump has: PROBEs go out, NotHere comes in
    meeting    a connection of its own, with the key of the code's digits, made and left as the
               series of codes says

It is the observer of the meeting's connection alone; the endpoint tells it what happens at home.
"""

from collections.abc import Callable

from gevent.event import Event

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.net.clock import monotonic
from tunnel.net.pump import Pump
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.net.tasks import TaskGroup
from tunnel.proto.code.code_issuer import CodeRedeemed, Way, WrongProof
from tunnel.proto.code.code_series import (
    CodeDead,
    CodeReady,
    CodeSeries,
    Enter,
    Leave,
    LookAlive,
    NoCode,
)
from tunnel.units import Seconds
from tunnel.wire.derp import GoneReason

CodeNews = CodeReady | WrongProof | CodeRedeemed | CodeDead | NoCode
# Chosen: what a relay needs to take the last answer of a meeting that is left.
LINGER_S: Seconds = 1.0


class CodeMeeting:
    """The codes of one issuer.

    Args:
        series: which codes.
        pump: has the connection at home.
        home: that connection, connected.
        dial: how the relay is dialled.
        tasks: the group that the greenlets belong to.
        on_news: takes what happens; must not block.
    """

    def __init__(
        self,
        series: CodeSeries,
        pump: Pump,
        home: RelayConnection,
        dial: DialOptions,
        tasks: TaskGroup,
        on_news: Callable[[CodeNews], None],
    ) -> None:
        self._series = series
        self._pump = pump
        self._home = home
        self._dial = dial
        self._tasks = tasks
        self._on_news = on_news
        self._meeting: RelayConnection | None = None
        self._wake = Event()

    def start(self) -> None:
        """Begin; does not wait."""
        self._tasks.spawn("code", self._run)

    def rest(self) -> None:
        """Leave the meeting: nobody is to come for now."""
        self._series.rest()
        self._wake.set()

    def resume(self) -> None:
        """Go on with the code that rested, if it did."""
        self._series.resume(monotonic())
        self._wake.set()

    def close(self) -> None:
        """Let go of the meeting."""
        if self._meeting is not None:
            self._meeting.close()

    # -- what happens at home ---------------------------------------------------------------

    def home_changed(self, relay: RelayConnection) -> None:
        """Note that a connection of the issuer changed."""
        if relay is self._home:
            is_up = relay.state is RelayState.CONNECTED
            self._series.handle_home(monotonic(), is_up=is_up)
            self._wake.set()

    def home_misses(self, relay: RelayConnection, key: DerpKey) -> None:
        """Note that a relay says that a key is not connected."""
        if relay is self._home:
            self._series.handle_not_here(monotonic(), key)
            self._wake.set()

    # -- RelayObserver, of the meeting ------------------------------------------------------

    def relay_packet(self, relay: RelayConnection, source: DerpKey, packet: memoryview) -> None:
        """Take a packet that came to the meeting."""
        if relay is self._meeting:
            self._series.handle_packet(monotonic(), source, packet)

    def relay_read_done(self, relay: RelayConnection) -> None:
        """Answer what a read brought."""
        del relay
        self._wake.set()

    def relay_peer_gone(self, relay: RelayConnection, key: DerpKey, reason: GoneReason) -> None:
        """Nobody is missed at a meeting: who wants an answer asks again."""

    def relay_changed(self, relay: RelayConnection) -> None:
        """Note that the meeting's connection came or went."""
        if relay is self._meeting:
            is_up = relay.state is RelayState.CONNECTED
            self._series.handle_meeting(monotonic(), is_up=is_up)
            self._wake.set()

    def relay_has_room(self, relay: RelayConnection) -> None:
        """Nothing waits here."""

    # -- inside -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.clear()
            now = monotonic()
            due_at = self._series.next_timeout()
            if due_at is not None and due_at <= now:
                self._series.handle_timeout(now)
            self._work()
            due_at = self._series.next_timeout()
            self._wake.wait(None if due_at is None else max(0.0, due_at - monotonic()))

    def _work(self) -> None:
        """Send what is to be sent, then take what happened: a meeting is left after that."""
        for packet in self._series.packets_to_send():
            by = self._home if packet.way is Way.HOME else self._meeting
            if by is not None:
                by.send(packet.to, (packet.data,), is_control=True)
        while (event := self._series.next_event()) is not None:
            match event:
                case Enter(keys):
                    self._enter(keys)
                case Leave():
                    self._leave()
                case LookAlive():
                    for relay in (self._home, self._meeting):
                        if relay is not None:
                            relay.check_alive()
                case _:
                    self._on_news(event)

    def _enter(self, keys: KeyPair) -> None:
        relay = RelayConnection(self._home.region, keys, self, self._dial, self._tasks)
        self._meeting = relay
        self._pump.companions = [relay]
        relay.start()

    def _leave(self) -> None:
        relay, self._meeting = self._meeting, None
        self._pump.companions = []
        if relay is not None:
            self._tasks.spawn("code-leave", relay.close, LINGER_S)
