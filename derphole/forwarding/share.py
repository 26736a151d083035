"""`share`: whoever uses the token reaches one target of this machine.

    client ──control stream (0)──►  RESUMPTION goes back: with it the client may come back
           ──stream 2, 4, ...────►  a connection to the target: `derphole.forwarding.admission`

A client that is lost may come back for ten minutes, also after the token has expired.  The command
ends by itself when the token has expired and nobody is left.
"""

from derphole.config import NetworkOptions
from derphole.forwarding.admission import Service
from derphole.forwarding.dial import DIAL_S
from derphole.forwarding.endpoints import ServiceAddress
from derphole.forwarding.limits import COME_BACK_S, DEFAULT_CONNECTIONS
from derphole.forwarding.statuses import ClientJoined, ClientLeft, Departure
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.speech.control import Control
from derphole.speech.endings import Ending
from derphole.speech.messages import Resumption
from derphole.speech.turns import Stage
from derphole.status import Notice, Report, State, StateChanged
from derphole.token.grant import Capability
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant, Seconds, WallTime
from tunnel.values import frozen

CLIENT_AWAITED = "the other side to use the token"


@frozen
class ShareOptions:
    """What is shared, and with how many.

    Args:
        target: where connections go.
        expires_at: when the token ends; None for the usual life.
        max_clients: clients at once.
        max_connections: connections at once, of all clients together.
        dial_s: how long the target may take to answer.
    """

    target: ServiceAddress
    expires_at: WallTime | None = None
    max_clients: int = 1
    max_connections: int = DEFAULT_CONNECTIONS
    dial_s: Seconds = DIAL_S


def share(options: NetworkOptions, wanted: ShareOptions, *, report: Report) -> None:
    """Print a token and serve those who use it until the token has expired and all have left.

    Raises `TokenUnclaimed` when nobody ever came, other `DerpholeError`.
    """
    places = wanted.max_clients
    with (
        IssuerRendezvous(
            options, report, Capability.SHARE, wanted.expires_at, places
        ) as rendezvous,
        TaskGroup("share", on_failure=rendezvous.fail) as tasks,
    ):
        _Share(rendezvous, wanted, report, tasks).run()


class _Share:
    def __init__(
        self, rendezvous: IssuerRendezvous, wanted: ShareOptions, report: Report, tasks: TaskGroup
    ) -> None:
        self._rendezvous = rendezvous
        self._report = report
        self._tasks = tasks
        self._service = Service(wanted.target, report, tasks, wanted.max_connections, wanted.dial_s)
        self._links: set[Link] = set()
        self._numbers: dict[bytes, int] = {}  # of clients here and of those that may come back
        self._lost_at: dict[bytes, Instant] = {}
        self._client_count = 0

    def run(self) -> None:
        """Serve until the token has expired and nobody is left."""
        self._tasks.spawn("target", self._service.look_ahead)
        self._rendezvous.offer()
        link: Link | None = self._rendezvous.wait_link(CLIENT_AWAITED)
        try:
            while link is not None:
                self._links.add(link)
                self._tasks.spawn("client", self._serve, link)
                link = self._rendezvous.next_link(self._is_over)
        finally:
            self._service.cut_all()
        self._report(Notice("the token has expired and nobody is connected any more"))

    def _is_over(self) -> bool:
        """Tell whether the token has expired and nobody is here or may come back."""
        now = monotonic()
        resumptions = self._rendezvous.gate.resumptions
        for client, lost_at in list(self._lost_at.items()):
            if now >= lost_at + COME_BACK_S or not resumptions.may_come_back(client):
                del self._lost_at[client]
                del self._numbers[client]
        return self._rendezvous.is_expired and not self._links and not self._lost_at

    # -- clients ----------------------------------------------------------------------------

    def _serve(self, link: Link) -> None:
        """Serve one link of a client to its end."""
        client = self._rendezvous.client_of(link)
        number = self._greet(link, client)

        def greet(control: Control) -> None:
            control.send(Resumption(self._rendezvous.resumption_secret(link)))

        self._service.serve(link, f"client {number}", Stage.SHARE, greet)
        self._part(link, client, number, link.wait_ended())

    def _greet(self, link: Link, client: bytes) -> int:
        """Tell that a client is here; returns its number."""
        is_back = self._lost_at.pop(client, None) is not None or client in self._numbers
        if client not in self._numbers:
            self._client_count += 1
            self._numbers[client] = self._client_count
        number = self._numbers[client]
        self._report(StateChanged(State.CLAIMED))
        self._rendezvous.report_path(link)
        self._report(ClientJoined(number, is_back))
        return number

    def _part(self, link: Link, client: bytes, number: int, end: LinkEnded | None) -> None:
        """Tell how a client left, and remember it if it may come back."""
        self._links.discard(link)
        left = _farewell(number, end, self._service.reason_of(link))
        has_another = any(self._rendezvous.client_of(other) == client for other in self._links)
        if not has_another:
            if left.may_come_back:
                self._lost_at[client] = monotonic()
            else:
                self._numbers.pop(client, None)
            resumptions = self._rendezvous.gate.resumptions
            if isinstance(end, PeerClosed) and end.code == Ending.REPLACED:
                resumptions.forget(client)  # it claims anew, as if it had never been here
            else:
                resumptions.part(client, left.may_come_back)
            self._report(left)
        self._rendezvous.notice()


def _farewell(number: int, end: LinkEnded | None, detail: str | None) -> ClientLeft:
    """Return what to say of a client whose link has ended.

    Args:
        number: of the client.
        end: of its link.
        detail: what it did against the protocol, where it was this side that noticed.
    """
    match end:
        case PeerClosed(code=Ending.RECONNECTING | Ending.REPLACED):
            return ClientLeft(number, Departure.RECONNECTING, may_come_back_s=COME_BACK_S)
        case PeerClosed(code=Ending.PROTOCOL_VIOLATION, text=text):
            return ClientLeft(number, Departure.ACCUSED_US, text or None)
        case PeerClosed(text=text):
            return ClientLeft(number, Departure.LEFT, text or None)
        case PeerSilent(silent_s=silent_s):
            return ClientLeft(number, Departure.LOST, None, silent_s, COME_BACK_S)
        case ClosedHere(code=Ending.REPLACED):
            return ClientLeft(number, Departure.REPLACED)
        case _:
            return ClientLeft(number, Departure.BROKE_PROTOCOL, detail)
