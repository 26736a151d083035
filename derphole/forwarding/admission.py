"""Admission: every stream that a client opens becomes a connection to the target, or is refused.

    client ──control stream (0)──►  greeted
           ──any message───────►  it is sent away: a client has nothing to say
           ──stream 2, 4, ...────►  dial the target ──► copy both ways
                                    no answer, no room ──► reset, with a code that says why

The target is first connected to when a client wants it: it may be a server that serves one
connection.
"""

from collections.abc import Callable

from derphole.errors import PeerBrokeProtocol, TargetFailed
from derphole.forwarding.dial import DIAL_S, Dialler, target_failed
from derphole.forwarding.endpoints import ServiceAddress
from derphole.forwarding.limits import DEFAULT_CONNECTIONS
from derphole.forwarding.presence import expected_failure
from derphole.forwarding.statuses import TargetUnreachable
from derphole.forwarding.switchboard import Switchboard, refuse
from derphole.speech.control import CONTROL_STREAM, Control
from derphole.speech.endings import ending_of
from derphole.speech.resets import ResetCode
from derphole.speech.turns import Stage
from derphole.status import Report
from tunnel.errors import LinkEnded, StreamReset
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import Seconds

Greet = Callable[[Control], None]


def greet_nobody(control: Control) -> None:
    """Say nothing to a client."""
    del control


class Service:
    """One target, and the connections to it.

    Args:
        target: where connections go.
        report: told of a target that fails, and of every connection's end.
        tasks: the group that the greenlets of connections belong to.
        max_connections: connections at once, of all clients together.
        dial_s: how long the target may take to answer.
    """

    def __init__(
        self,
        target: ServiceAddress,
        report: Report,
        tasks: TaskGroup,
        max_connections: int = DEFAULT_CONNECTIONS,
        dial_s: Seconds = DIAL_S,
    ) -> None:
        self._target = target
        self._report = report
        self._tasks = tasks
        self._dialler = Dialler(target, dial_s)
        self._board = Switchboard(report, max_connections, tasks)
        self._told_failure: str | None = None
        self._reasons: dict[Link, str] = {}  # why a client was sent away, until that is told

    def look_ahead(self) -> None:
        """Say at once what is wrong with the target, as far as it shows without a connection."""
        error = expected_failure(self._target)
        if error is not None:
            self._tell_failure(target_failed(error))

    def serve(self, link: Link, peer: str, stage: Stage, greet: Greet = greet_nobody) -> None:
        """Serve one link of a client to its end.

        Args:
            link: the link.
            peer: the client, in words.
            stage: of the control stream.
            greet: what the client is told first.
        """
        try:
            stream = link.accept_stream()
            if stream.id != CONTROL_STREAM:  # it was given up before we saw it
                raise PeerBrokeProtocol("its control stream is missing")
            control = Control(stream, stage)
            greet(control)
            self._tasks.spawn("control", self._refuse_messages, link, control)
            while True:
                stream = link.accept_stream()
                self._tasks.spawn("connection", self._connect, link, stream, peer)
        except LinkEnded:
            pass
        except StreamReset:
            self._send_away(link, PeerBrokeProtocol("its control stream was given up"))
        except PeerBrokeProtocol as error:
            self._send_away(link, error)
        finally:
            self._board.cut(link)

    def reason_of(self, link: Link) -> str | None:
        """Return what a client did against the protocol, where this side noticed; once."""
        return self._reasons.pop(link, None)

    def cut_all(self) -> None:
        """Reset every connection there is."""
        self._board.cut_all()

    def _refuse_messages(self, link: Link, control: Control) -> None:
        """Send the client away once it says anything: it has nothing to say."""
        try:
            control.receive()
        except LinkEnded:
            return
        except StreamReset:
            self._send_away(link, PeerBrokeProtocol("its control stream was given up"))
        except PeerBrokeProtocol as error:
            self._send_away(link, error)

    def _send_away(self, link: Link, error: PeerBrokeProtocol) -> None:
        """Close the link of a client that broke the protocol."""
        if link.end is None:
            self._reasons[link] = error.detail
        link.close(*ending_of(error))

    def _connect(self, link: Link, stream: Stream, peer: str) -> None:
        """Connect one stream to the target, and copy."""
        began_at = monotonic()
        with self._board.admit() as number:
            if number is None:
                refuse(stream, ResetCode.TOO_MANY)
                self._board.tell_refused(None, peer, began_at, ResetCode.TOO_MANY)
                return
            try:
                sock = self._dialler.dial()
            except TargetFailed as error:
                refuse(stream, error.reset)
                self._board.tell_refused(number, peer, began_at, error.reset)
                self._tell_failure(error)
                return
            self._told_failure = None
            self._board.carry(sock, stream, link, (number, peer, began_at))

    def _tell_failure(self, error: TargetFailed) -> None:
        """Warn of a target that fails, once until it works again."""
        if error.reason != self._told_failure:
            self._told_failure = error.reason
            self._report(TargetUnreachable(str(self._target), error.reason))
