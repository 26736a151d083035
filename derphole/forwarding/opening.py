"""`open`: a port of this machine whose connections end at the target of a share.

    bound --claim--> linked --silence--> stalled --heard--> linked
                       ^                    | given up after 60 s, or on request
                       +---resuming claim-- away      connections are reset
                                            | nobody answers for 10 min, or the share has ended
                                            +--> over

The port is bound before the token is used, and kept.  A connection made while the other side is
unheard waits for it, for ten seconds at most, and is then reset.
"""

from contextlib import suppress

import gevent
from gevent import socket
from gevent.event import Event

from derphole.config import NetworkOptions
from derphole.edges.tcp import NO_ROOM, close_with_reset, prepare
from derphole.errors import DerpholeError, NotAwaited, PeerBrokeProtocol, ShareEnded
from derphole.forwarding.bind import address_text
from derphole.forwarding.limits import COME_BACK_S, MOST_CONNECTIONS
from derphole.forwarding.statuses import ConnectionsWait, Reconnected, Reconnecting
from derphole.forwarding.switchboard import Switchboard
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.speech.control import Control
from derphole.speech.endings import Ending, ending_error
from derphole.speech.messages import Resumption
from derphole.speech.resets import NOT_MADE, ResetCode
from derphole.speech.turns import Stage
from derphole.status import Listening, Report, State, StateChanged, Status
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.text import ClientToken, SessionToken
from tunnel.addresses import host_and_port
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent, StreamReset
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import EndpointOptions, Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant, Seconds

SHARE_AWAITED = "the other side to answer"
RETURN_AWAITED = "the other side to come back"
# Chosen: how long a connection that is made during an outage waits for the other side.
CONNECTION_WAIT_S: Seconds = 10.0
# Chosen: how exactly those ten seconds are kept while a link is stalled.
STALL_LOOK_S: Seconds = 0.5
# Chosen: pauses after the system had no file for a connection.
FIRST_PAUSE_S: Seconds = 0.01
LAST_PAUSE_S: Seconds = 1.0
# Chosen: a port at its bound takes one connection and then has no room again.
WAIT_TOLD_S: Seconds = 60.0
# Ends of a link that do not end the share.
SAID_OTHERWISE = (Ending.IN_USE, Ending.REPLACED, Ending.PROTOCOL_VIOLATION)


class Opening:
    """One run of `open`.

    Args:
        options: the settings of the command.
        token: what the share printed, or a code that leads to it.
        listener: a socket that listens; closed by its owner.
        report: told what a person wants to know.
        connection_wait_s: how long a new connection waits for the other side during an outage.
        behaviour: of the endpoint; None for the usual one.
    """

    takes_at_once = False  # connections before there is a first link

    def __init__(
        self,
        options: NetworkOptions,
        token: SessionToken | ClientToken | Code,
        listener: socket.socket,
        report: Report,
        connection_wait_s: Seconds = CONNECTION_WAIT_S,
        behaviour: EndpointOptions | None = None,
    ) -> None:
        self._options = options
        self._connection_wait_s = connection_wait_s
        self._listener = listener
        self._report = report
        self._rendezvous = ClaimerRendezvous(options, report, token, behaviour, Capability.SHARE)
        self._link: Link | None = None
        self._has_link = Event()
        self._secret: bytes | None = None

    def run(self) -> None:
        """Serve the port until the share has ended; raises `DerpholeError` then, never returns."""
        with (
            self._rendezvous as rendezvous,
            TaskGroup("open", on_failure=rendezvous.fail) as tasks,
        ):
            board = Switchboard(self._report, MOST_CONNECTIONS, tasks, NOT_MADE)
            self._report(StateChanged(State.PROBING_DIRECT))
            if self.takes_at_once:
                self._listen(tasks, board)
            link = self._first_link(tasks)
            self._use(link, tasks, board)
            if not self.takes_at_once:
                self._listen(tasks, board)
            try:
                while True:
                    end = rendezvous.wait_end(link)
                    self._leave(link, board)
                    self._report(self._down(end))
                    ended_at = monotonic()
                    link = self._come_back()
                    self._use(link, tasks, board)
                    self._report(self._up(monotonic() - ended_at))
            finally:
                board.cut_all()
                self._finish()

    def _listen(self, tasks: TaskGroup, board: Switchboard) -> None:
        """Take connections from now on, and say where."""
        self._report(Listening(address_text(self._listener)))
        tasks.spawn("accept", self._accept, tasks, board)

    def reconnect(self) -> None:
        """Make a new link now; never blocks."""
        link = self._link
        if link is not None:
            link.close(Ending.RECONNECTING, "it reconnects")
        else:
            self._rendezvous.hurry()

    # -- what differs between a share and a tunnel ------------------------------------------

    def _first_link(self, tasks: TaskGroup) -> Link:
        """Return the first link; raises what ends the run."""
        del tasks
        return self._rendezvous.claim(SHARE_AWAITED)

    def _down(self, end: LinkEnded) -> Status:
        """Return what to say of a link's end; raises what a person reads if it ends the run."""
        match end:
            case PeerSilent() | ClosedHere(code=Ending.RECONNECTING):
                return Reconnecting()
            case PeerClosed(code=code, text=text) if code not in SAID_OTHERWISE:
                error: DerpholeError = ShareEnded(text or None)
            case _:
                error = ending_error(end, SHARE_AWAITED)
        raise error from end

    def _up(self, after_s: Seconds) -> Status:
        """Return what to say once there is a link again."""
        return Reconnected(after_s)

    def _finish(self) -> None:
        """Say what there is to say at the end of the run."""

    # -- the link ---------------------------------------------------------------------------

    def _use(self, link: Link, tasks: TaskGroup, board: Switchboard) -> None:
        """Have connections take a link."""
        self._rendezvous.report_path(link)
        with suppress(LinkEnded):  # which the main greenlet finds out
            # Before any connection: it is the first stream that makes it the control stream.
            tasks.spawn("control", self._follow, link.open_stream())
        tasks.spawn("stalls", self._watch_stalls, link, board)
        link.refuse_streams(ResetCode.INTERNAL)  # only this side makes connections
        self._link = link
        self._has_link.set()

    def _leave(self, link: Link, board: Switchboard) -> None:
        """Have connections wait for another link."""
        self._link = None
        self._has_link.clear()
        board.cut(link)

    def _come_back(self) -> Link:
        """Return a new link; the token serves once more where we are awaited no longer."""
        limit_s = self._options.timeout_s
        if limit_s is None and not self._options.is_patient:
            limit_s = COME_BACK_S
        try:
            return self._rendezvous.resume(self._secret, RETURN_AWAITED, limit_s)
        except NotAwaited:
            self._secret = None
            return self._rendezvous.resume(None, RETURN_AWAITED, limit_s)

    def _follow(self, stream: Stream) -> None:
        """Keep what the other side hands out for coming back; anything else ends the run."""
        try:
            control = Control(stream, Stage.OPEN_FIRST)
            message = control.receive()
            assert isinstance(message, Resumption)
            self._secret = message.secret
            control.stage = Stage.OPEN_LATER
            control.receive()
        except LinkEnded:
            return
        except StreamReset as reset:
            raise PeerBrokeProtocol("its control stream was given up") from reset

    def _watch_stalls(self, link: Link, board: Switchboard) -> None:
        """While the other side is silent, reset what was opened since and has waited too long."""
        while link.end is None:
            if not link.wait_stalled():
                continue
            while link.end is None and not link.wait_heard(STALL_LOOK_S):
                board.cut_unheard(link, Instant(monotonic() - self._connection_wait_s))

    # -- connections ------------------------------------------------------------------------

    def _accept(self, tasks: TaskGroup, board: Switchboard) -> None:
        """Take connections; where the system has no file for one, later."""
        pause_s, tell_at = FIRST_PAUSE_S, monotonic()
        while True:
            try:
                sock, address = self._listener.accept()
            except ConnectionError:
                continue  # it left before we came
            except OSError as error:
                reason = NO_ROOM.get(error.errno or 0)
                if reason is None:
                    raise
                if monotonic() >= tell_at:
                    tell_at = Instant(monotonic() + WAIT_TOLD_S)
                    self._report(ConnectionsWait(reason))
                gevent.sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            tasks.spawn("connection", self._connect, sock, _peer_text(address), board)

    def _connect(self, sock: socket.socket, peer: str, board: Switchboard) -> None:
        began_at = monotonic()
        with board.admit() as number:
            link = None if number is None else self._await_link(began_at)
            try:
                stream = None if link is None else link.open_stream()
            except LinkEnded:
                stream = None
            if number is None or link is None or stream is None:
                close_with_reset(sock)
                code = ResetCode.TOO_MANY if number is None else ResetCode.NO_LINK
                board.tell_refused(number, peer, began_at, code)
                return
            prepare(sock)
            board.carry(sock, stream, link, (number, peer, began_at))

    def _await_link(self, began_at: Instant) -> Link | None:
        """Wait for a link whose other side answers, for as long as a new connection may wait."""
        while (left_s := began_at + self._connection_wait_s - monotonic()) > 0:
            link = self._link
            if link is None:
                self._has_link.wait(left_s)
            elif link.wait_heard(left_s):
                return link
            elif link.end is not None:
                gevent.sleep(0)  # the main greenlet has yet to take it away
        return None


def _peer_text(address: object) -> str:
    """Return whose connection it is, in words."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return host_and_port(host, port)
    return "a local program"
