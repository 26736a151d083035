"""`serve`: whoever has a client token reaches one target of this machine, for months.

    files        the server token and the revocations are read again when they change, and when told
    clients      each with its own token; `derphole.derptun.keeper` says when their links end
    another one  that serves with the same token is refused, or takes over where it was told to

A client that is lost comes back with its token; nothing is kept of it.
"""

import os
from collections.abc import Callable
from itertools import chain, repeat

import gevent
from gevent.event import Event

from derphole.config import NetworkOptions
from derphole.derptun.described import described_link
from derphole.derptun.gate import TunnelGate
from derphole.derptun.keeper import Announced, Cause, Keeper
from derphole.derptun.limits import DEFAULT_CLIENTS
from derphole.derptun.minting import server_id
from derphole.derptun.patience import patiently
from derphole.derptun.server import ServerRendezvous
from derphole.derptun.statuses import EndNears, Serving
from derphole.derptun.watched_files import WatchedFiles
from derphole.errors import ReplacedServer, ServedElsewhere, ServerExpired
from derphole.forwarding.admission import Service
from derphole.forwarding.dial import DIAL_S
from derphole.forwarding.endpoints import ServiceAddress
from derphole.forwarding.limits import MOST_CONNECTIONS
from derphole.forwarding.statuses import ClientJoined, ClientLeft, Departure, client_text
from derphole.rendezvous.relay_words import relay_text
from derphole.rendezvous.relays import RelayChoice
from derphole.rendezvous.waiting import FIRST_WAIT_REPORT_S
from derphole.speech.endings import Ending
from derphole.speech.turns import Stage
from derphole.status import Caution, Report, State, StateChanged, Waiting
from derphole.token.admission import decode_header
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.text import ServerToken
from tunnel.errors import ClosedHere, LinkEnded, PeerClosed, PeerSilent
from tunnel.net.clock import monotonic, wall
from tunnel.net.endpoint import Link
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant, Seconds, WallTime
from tunnel.values import frozen

# Chosen: what a file says, and what time has come, is seen after so long at the latest.
LOOK_S: Seconds = 4.0
# Chosen: when another one that serves with this token is asked for, after the first time.
SECOND_QUESTION_S: Seconds = 10.0
LATER_QUESTIONS_S: Seconds = 600.0
ASKED_TOLD_S: Seconds = 3600.0
SPARE_PLACES = 8  # for those who are told that there is none, and for who takes over
SHARE_OF_TOKEN = 2  # of all places one token has no more than one in so many
RENEW_STEP = "renew it with `derptun token server --renew FILE`"
CLIENT_STEP = "make its owner a new one with `derptun token client`"
ENDINGS = {
    Cause.REVOKED: (Ending.REVOKED, "the token was revoked"),
    Cause.EXPIRED: (Ending.EXPIRED, "the token has expired"),
}
DEPARTURES = {Cause.REVOKED: Departure.REVOKED, Cause.EXPIRED: Departure.EXPIRED}


@frozen
class ServeOptions:
    """What is served, and to how many.

    Args:
        target: where connections go.
        max_clients: links at once.
        max_connections: connections at once, of all clients together.
        dial_s: how long the target may take to answer.
        replaces: whether another one that serves with this token is to end.
    """

    target: ServiceAddress
    max_clients: int = DEFAULT_CLIENTS
    max_connections: int = MOST_CONNECTIONS
    dial_s: Seconds = DIAL_S
    replaces: bool = False


@frozen
class Client:
    """One link of a client.

    Args:
        number: in this run, from 1.
        grant: of its token.
        since: when it came.
    """

    number: int
    grant: Grant
    since: WallTime

    @property
    def token(self) -> str:
        """What its token is called: its name and its id, which is what can be revoked."""
        return f"{self.grant.name} {self.grant.id.hex()}".strip()


class Serve:
    """One run of `serve`.

    Args:
        options: the settings of the command.
        server: the token.
        wanted: what is served.
        files: what is read again while it runs.
        report: told what a person wants to know.
    """

    def __init__(
        self,
        options: NetworkOptions,
        server: ServerToken,
        wanted: ServeOptions,
        files: WatchedFiles,
        report: Report,
    ) -> None:
        self._server = server
        self._wanted = wanted
        self._files = files
        self._report = report
        self._gate = TunnelGate(Mint.from_seed(server.seed).keys, server.expires_at)
        self._gate.revoked = files.revoked
        self._keeper = Keeper(wall(), server.expires_at)
        # Who has no place is told by `_greet`: whoever is silent keeps its own for ten minutes.
        self._rendezvous = ServerRendezvous(
            options, report, server, self._gate, wanted.max_clients + SPARE_PLACES, self._asked
        )
        self._here: dict[Link, Client] = {}
        self._ended: dict[Link, Cause] = {}  # by us, until that is told
        self._client_count = 0
        self._since = wall()
        self._is_look_due = Event()
        self._are_files_due = Event()
        self._is_over = False
        self._asked_at: Instant | None = None

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until the token has expired or another one took over; raises `DerpholeError` then.

        Args:
            on_ready: called once clients can come.
        """
        if self._keeper.is_over(wall()):
            raise ServerExpired(self._server.expires_at)
        with (
            self._rendezvous as rendezvous,
            TaskGroup("serve", on_failure=rendezvous.fail) as tasks,
        ):
            wanted = self._wanted
            service = Service(
                wanted.target, self._report, tasks, wanted.max_connections, wanted.dial_s
            )
            tasks.spawn("target", service.look_ahead)
            choice = patiently(rendezvous.find_relays, rendezvous.options.timeout_s, self._report)
            if self._is_served_elsewhere(choice):
                self._note_other()
            self._report(StateChanged(State.WAITING_FOR_CLAIM))
            relay = rendezvous.connect(choice)
            self._report(
                Serving(
                    str(wanted.target),
                    server_id(self._server),
                    relay_text(relay),
                    self._keeper.expires_at,
                )
            )
            if on_ready is not None:
                on_ready()
            tasks.spawn("ask", self._ask_again, choice)
            tasks.spawn("files", self._follow_files)
            tasks.spawn("keep", self._keep)
            try:
                while (link := rendezvous.next_link(lambda: self._is_over)) is not None:
                    client = self._greet(link)
                    if client is not None:
                        tasks.spawn("client", self._serve, service, link, client)
            finally:
                service.cut_all()
            raise ServerExpired(self._keeper.expires_at)

    def describe(self) -> dict[str, object]:
        """Return how things are, for `derptun status`; never blocks."""
        links = [
            described_link(
                self._rendezvous.path_description(link),
                client.since,
                link.counters.bytes_sent,
                link.counters.bytes_received,
                client=client.number,
                token=client.grant.name or None,
                id=client.grant.id.hex(),
            )
            for link, client in self._here.items()
        ]
        return {
            "command": "serve",
            "pid": os.getpid(),
            "since": round(self._since, 3),
            "target": str(self._wanted.target),
            "server": server_id(self._server),
            "expires_at": self._keeper.expires_at,
            "links": links,
        }

    def look(self) -> None:
        """Read the files again now; never blocks."""
        self._files.forget()
        self._are_files_due.set()

    # -- others that serve ------------------------------------------------------------------

    def _is_served_elsewhere(self, choice: RelayChoice) -> bool:
        """Ask before we are at the relays, and say so if that takes its time."""
        limit_s = self._rendezvous.options.timeout_s
        waiting = Waiting("a relay", FIRST_WAIT_REPORT_S, limit_s)
        word = gevent.spawn_later(FIRST_WAIT_REPORT_S, lambda: self._report(waiting))
        try:
            return self._rendezvous.is_served_elsewhere(choice, replaces=self._wanted.replaces)
        finally:
            word.kill()

    def _note_other(self) -> None:
        """Refuse to serve beside another one, unless it was told to end."""
        if not self._wanted.replaces:
            raise ServedElsewhere
        self._report(Caution("another `derptun serve` had this token; it was told to end"))

    def _ask_again(self, choice: RelayChoice) -> None:
        """Look whether another one began at the same moment, or while this machine slept."""
        for pause_s in chain((0.0, SECOND_QUESTION_S), repeat(LATER_QUESTIONS_S)):
            gevent.sleep(pause_s)
            if self._rendezvous.is_served_elsewhere(choice):
                self._note_other()

    def _asked(self) -> None:
        """Take that another one asks; a relay that repeats the question is told of once an hour."""
        now = monotonic()
        if self._asked_at is None or now >= self._asked_at + ASKED_TOLD_S:
            self._asked_at = now
            self._report(
                Caution(
                    "another `derptun serve` was started with this token: one token serves one "
                    "machine, and it ends while this one answers"
                )
            )

    # -- clients ----------------------------------------------------------------------------

    def _greet(self, link: Link) -> Client | None:
        """Tell that a client is here; None for one that has no place, or is no client."""
        header = self._rendezvous.header_of(link)
        grant = decode_header(header).grant
        if grant.capability is Capability.SERVE:
            self._rendezvous.fail(ReplacedServer())
            return None
        cause = self._keeper.ends(wall(), self._gate.revoked, {link: grant}).get(link)
        if cause is not None:  # while it came
            link.close(*ENDINGS[cause])
            return None
        if not self._has_room(grant):
            link.close(Ending.IN_USE, "already in use")
            return None
        self._client_count += 1
        client = self._here[link] = Client(self._client_count, grant, wall())
        self._report(StateChanged(State.CLAIMED))
        self._report(StateChanged(State.PROBING_DIRECT))
        self._rendezvous.report_path(link)
        self._report(ClientJoined(client.number, is_back=False, token=client.token))
        return client

    def _has_room(self, grant: Grant) -> bool:
        """Tell whether one more link may live; of a token's own, a silent one gives way."""
        most = self._wanted.max_clients
        own = [link for link, client in self._here.items() if client.grant == grant]
        if len(self._here) < most and len(own) < max(1, most // SHARE_OF_TOKEN):
            return True
        silent = next((link for link in own if link.is_silent), None)
        if silent is not None:
            silent.close(Ending.REPLACED, "a newer link with the same token took its place")
        return silent is not None

    def _serve(self, service: Service, link: Link, client: Client) -> None:
        """Serve one link to its end, and tell how it left."""
        service.serve(link, client_text(client.number, client.token), Stage.TUNNEL)
        end = link.wait_ended()
        del self._here[link]
        self._report(_farewell(client, end, self._ended.pop(link, None), service.reason_of(link)))

    # -- as time goes by --------------------------------------------------------------------

    def _keep(self) -> None:
        """Do what is due, again and again."""
        was_over = False
        while True:
            now = wall()
            here = {link: client.grant for link, client in self._here.items()}
            for link, cause in self._keeper.ends(now, self._gate.revoked, here).items():
                self._ended[link] = cause
                link.close(*ENDINGS[cause])
            if self._keeper.is_over(now) and was_over:
                self._is_over = True
                self._rendezvous.notice()
                return
            was_over = self._keeper.is_over(now)  # twice: a clock may be set, and set right again
            for told in self._keeper.announcements(now, here):
                self._announce(told)
            self._is_look_due.clear()
            self._is_look_due.wait(LOOK_S)

    def _follow_files(self) -> None:
        """Take what changes in the files; a disk that hangs holds up nothing else."""
        while True:
            if self._files.look():
                self._gate.revoked = self._files.revoked
                renewed = self._files.server
                if renewed.expires_at != self._keeper.expires_at:
                    self._gate.expires_at = renewed.expires_at
                    self._keeper.renew(wall(), renewed.expires_at)
                self._is_look_due.set()
            self._are_files_due.clear()
            self._are_files_due.wait(LOOK_S)

    def _announce(self, told: Announced) -> None:
        if told.grant is None:
            whose, step = "this server token", RENEW_STEP
        else:
            name = told.grant.name or told.grant.id.hex()
            whose, step = f"the client token {name}", CLIENT_STEP
        self._report(EndNears(whose, told.expires_at, told.left_s, step))


def _farewell(
    client: Client, end: LinkEnded | None, cause: Cause | None, detail: str | None
) -> ClientLeft:
    """Return what to say of a client whose link has ended."""
    departure, silent_s = Departure.BROKE_PROTOCOL, 0.0
    if cause is not None:
        departure, detail = DEPARTURES[cause], None
    else:
        match end:
            case PeerClosed(code=Ending.RECONNECTING | Ending.REPLACED):
                departure = Departure.RECONNECTING
            case PeerClosed(code=Ending.PROTOCOL_VIOLATION, text=text):
                departure, detail = Departure.ACCUSED_US, text or None
            case PeerClosed(text=text):
                departure, detail = Departure.LEFT, text or None
            case PeerSilent(silent_s=silent):
                departure, silent_s = Departure.LOST, silent
            case ClosedHere(code=Ending.REPLACED):
                departure = Departure.REPLACED
            case _:
                pass
    return ClientLeft(client.number, departure, detail, silent_s, None, client.token)
