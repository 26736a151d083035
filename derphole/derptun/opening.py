"""`open` of a tunnel: a port that leads to the server for as long as the token is good.

Unlike that of a share it takes connections at once and never gives the server up: whether that is
started later, restarted, moves, or is away for days.  Silence is borne for ten minutes, in which
the streams wait; a server that is another process by then is found out after three seconds.
"""

import os
from math import inf

import gevent
from gevent import socket

from derphole.config import NetworkOptions
from derphole.derptun.announcements import Announcements
from derphole.derptun.described import described_link
from derphole.derptun.limits import GIVE_UP_S, RENEW_AFTER_S
from derphole.derptun.minting import id_of_key
from derphole.derptun.patience import patiently
from derphole.derptun.statuses import EndNears, TunnelDown, TunnelUp
from derphole.errors import AlreadyInUse, ClaimRefused, PeerBrokeProtocol, TokenExpired
from derphole.forwarding.bind import address_text
from derphole.forwarding.opening import CONNECTION_WAIT_S, Opening
from derphole.forwarding.switchboard import Switchboard
from derphole.rendezvous.common import Rendezvous, endpoint_options
from derphole.speech.control import Control
from derphole.speech.endings import REVOKED_WORDS, Ending, ending_error
from derphole.speech.turns import Stage
from derphole.status import Report, Status
from derphole.token.grant import Grant
from derphole.token.text import ClientToken
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent, StreamReset
from tunnel.net.clock import monotonic, wall
from tunnel.net.endpoint import Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import Seconds, WallTime
from tunnel.values import replace

SERVER_AWAITED = "the server to answer"  # of one whose id is not at hand
SERVER_FULL = "the server has as many clients as it takes"
# Chosen: pauses before a server is asked again that has no place free.
FIRST_PAUSE_S: Seconds = 1.0
LAST_PAUSE_S: Seconds = 30.0
CLOCK_LOOK_S: Seconds = 60.0  # nothing tells us when the wall clock jumps
ASK_FOR_ANOTHER = "ask the server's owner for another one"


class TunnelOpening(Opening):
    """One run of `open` of a tunnel.

    Args:
        options: the settings of the command.
        token: leads to the server.
        listener: a socket that listens; closed by its owner.
        report: told what a person wants to know.
        connection_wait_s: how long a new connection waits for the server during an outage.
    """

    takes_at_once = True

    def __init__(
        self,
        options: NetworkOptions,
        token: ClientToken,
        listener: socket.socket,
        report: Report,
        connection_wait_s: Seconds = CONNECTION_WAIT_S,
    ) -> None:
        behaviour = endpoint_options(options, GIVE_UP_S, RENEW_AFTER_S)
        super().__init__(options, token, listener, report, connection_wait_s, behaviour)
        self._token, self._grant = token, token.grant
        self._awaited = awaited(token)
        self._since = self._link_since = wall()

    def describe(self) -> dict[str, object]:
        """Return how things are, for `derptun status`; never blocks."""
        link = self._link
        about = described_claimer("open", self._token, self._since)
        about["address"] = address_text(self._listener)
        about["links"] = (
            [] if link is None else [described_of(self._rendezvous, link, self._link_since)]
        )
        return about

    def _use(self, link: Link, tasks: TaskGroup, board: Switchboard) -> None:
        self._link_since = wall()
        super()._use(link, tasks, board)

    def _first_link(self, tasks: TaskGroup) -> Link:
        """Return the first link, however long the server takes to come."""
        tasks.spawn("announce", self._announce)
        rendezvous, limit_s, began_at = self._rendezvous, self._options.timeout_s, monotonic()
        patiently(rendezvous.find_relays, limit_s, self._report)
        if limit_s is not None:
            left_s = max(0.1, began_at + limit_s - monotonic())
            rendezvous.options = replace(self._options, timeout_s=left_s)
        try:
            link = rendezvous.claim(self._awaited, inf)
        except AlreadyInUse:
            self._report(TunnelDown(SERVER_FULL))
            link = self._come_back()
        self._report(TunnelUp(id_of_key(self._token.issuer_derp)))
        return link

    def _come_back(self) -> Link:
        """Return a new link, however long the server takes."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return self._rendezvous.resume(None, self._awaited, self._options.timeout_s)
            except AlreadyInUse:
                gevent.sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _follow(self, stream: Stream) -> None:
        """Read the control stream, on which nobody has anything to say."""
        try:
            Control(stream, Stage.TUNNEL).receive()
        except LinkEnded:
            return
        except StreamReset as reset:
            raise PeerBrokeProtocol("its control stream was given up") from reset

    def _down(self, end: LinkEnded) -> Status:
        """Return why the tunnel is down; raises what a person reads if it will not be up again."""
        return TunnelDown(why_down(end, self._grant))

    def _up(self, after_s: Seconds) -> Status:
        return TunnelUp(id_of_key(self._token.issuer_derp), after_s)

    def _finish(self) -> None:
        self._rendezvous.complete()

    def _announce(self) -> None:
        """Say in time that the token ends."""
        announcements = Announcements(wall(), self._grant.expires_at)
        while True:
            now = wall()
            left_s = announcements.due(now)
            if left_s is not None:
                expires_at = self._grant.expires_at
                self._report(EndNears("this client token", expires_at, left_s, ASK_FOR_ANOTHER))
            due_s = announcements.next_at() - now
            gevent.sleep(min(CLOCK_LOOK_S, due_s) if due_s > 1.0 else CLOCK_LOOK_S)


def awaited(token: ClientToken) -> str:
    """Return what is awaited by who goes to a server, in words."""
    return f"server {id_of_key(token.issuer_derp)} to answer"


def described_claimer(command: str, token: ClientToken, since: WallTime) -> dict[str, object]:
    """Return what `derptun status` is told of a process that goes to a server."""
    return {
        "command": command,
        "pid": os.getpid(),
        "since": round(since, 3),
        "server": id_of_key(token.issuer_derp),
        "id": token.grant.id.hex(),
        "name": token.grant.name,
        "expires_at": token.grant.expires_at,
    }


def described_of(rendezvous: Rendezvous, link: Link, since: WallTime) -> dict[str, object]:
    """Return what `derptun status` is told of its link."""
    counters = link.counters
    path = rendezvous.path_description(link)
    return described_link(path, since, counters.bytes_sent, counters.bytes_received)


def why_down(end: LinkEnded, grant: Grant) -> str:
    """Return why a link to a server ended, in words; raises what a person reads if for good.

    Args:
        end: of the link.
        grant: of the client token.
    """
    match end:
        case PeerSilent(silent_s=silent_s):
            return f"the server has not answered for {silent_s:.0f} s"
        case ClosedHere(code=Ending.RECONNECTING):
            return "this side was told to reconnect"
        case ClosedHere(code=Ending.REPLACED):
            return "the server holds the link no more: it was started again, or refuses the token"
        case PeerClosed(code=Ending.EXPIRED) if wall() >= grant.expires_at:
            raise TokenExpired(grant.expires_at, wall()) from end
        case PeerClosed(code=Ending.EXPIRED):
            raise ClaimRefused("the server token has expired") from end
        case PeerClosed(code=Ending.REVOKED):
            raise ClaimRefused(REVOKED_WORDS) from end
        case PeerClosed(code=Ending.IN_USE):
            return SERVER_FULL
        case PeerClosed(code=Ending.PROTOCOL_VIOLATION):
            raise ending_error(end, SERVER_AWAITED) from end
        case PeerClosed(text=text):
            return f"the server has ended its link ({text})" if text else "the server has left"
        case _:
            raise ending_error(end, SERVER_AWAITED) from end
