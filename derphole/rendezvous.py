"""Rendezvous: from settings or a token to a claimed link; every conversation begins here.

    issuer:   relays chosen -> one connected -> token -> ... claimed -> Link
    claimer:  token -> its relays -> claim -> ... decision, first sealed packet -> Link

Nobody waits in silence: what is awaited is reported after 2 s, together with what a relay has to
say for itself.  The link outlives the relays it met on; closing a rendezvous sends what is queued.
"""

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import gevent
from gevent.event import Event

from derphole.admission import ClaimHeader, SessionGate, encode_header
from derphole.config import NetworkOptions
from derphole.endings import ending_error, ending_of, refusal_error
from derphole.errors import DerpholeError, RelayTrouble, TimedOut, TokenUnclaimed
from derphole.grant import GRANT_ID_SIZE, SEED_SIZE, Capability, Grant
from derphole.grant import Issuer as GrantIssuer
from derphole.relays import (
    RelayChoice,
    claimer_relays,
    dial_options,
    issuer_relays,
    relay_hints,
)
from derphole.status import PathChanged, Report, Resumed, Stalled, State, StateChanged, Waiting
from derphole.status import RelayTrouble as RelayTroubleStatus
from derphole.token import SESSION_LIFE_S, SessionToken, session_token, token_text
from derphole.trace import LinkTrace, TraceFile
from tunnel.crypto.aead import fast_aeads
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.net.clock import monotonic, wall
from tunnel.net.direct import DirectPaths
from tunnel.net.link import Link, LinkNews
from tunnel.net.pump import Pump
from tunnel.net.relay import RelayConnection, RelayState
from tunnel.net.tasks import TaskGroup
from tunnel.proto.claimer import Claimer, ClaimerIdentity, LinkUp, NotHere, Refused
from tunnel.proto.handshake import Feature, Meeting
from tunnel.proto.issuer import ClaimRefused, Issuer, IssuerIdentity, LinkAdmitted
from tunnel.proto.link import PeerLink
from tunnel.proto.link_events import AddressSeen, LinkResumed, LinkStalled
from tunnel.proto.link_events import PathChanged as PathMoved
from tunnel.proto.machine import UdpEndpoint
from tunnel.units import Seconds, WallTime
from tunnel.wire.derpmap import RelayRegion
from tunnel.wire.handshake import INSTANCE_SIZE

# Chosen.
FIRST_WAIT_REPORT_S: Seconds = 2.0  # design, section 5: nobody waits in silence for longer
WAIT_REPORT_S: Seconds = 30.0
CLOCK_LOOK_S: Seconds = 5.0  # nothing tells us when the wall clock jumps
CLOSE_LINGER_S: Seconds = 3.0  # for a jammed relay; one that is well takes milliseconds
ROOM_POLL_S: Seconds = 0.01  # at the end only; until then relays tell the pump of room
RELAYS_OF_ISSUER = 2  # the issuer stays connected to its first two hints


class Rendezvous:
    """What both sides share: relays, a pump, the links that came of it; a context manager.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
    """

    def __init__(self, options: NetworkOptions, report: Report) -> None:
        self.options = options
        self.report = report
        self.trace = TraceFile(options.trace)
        self._tasks = TaskGroup("rendezvous", on_failure=self._fail)
        self._links: list[Link] = []
        self._link_traces: dict[Link, LinkTrace] = {}
        self._link_count = 0
        self._new_links: deque[Link] = deque()
        self._changed = Event()
        self.failure: BaseException | None = None  # what ended the work in the background
        self._on_failure: Callable[[], None] = self._changed.set
        self._trouble: str | None = None
        self._told_troubles: set[str] = set()  # since the last report of a wait
        self._told_downs: dict[RelayConnection, str] = {}  # what was said last of one that is down
        self._is_closing = False
        self._pump: Pump | None = None
        self._direct: DirectPaths | None = None
        self._choice: RelayChoice | None = None
        self._spare_regions: deque[RelayRegion] = deque()
        self._keys: KeyPair | None = None

    # -- what a conversation asks -----------------------------------------------------------

    def path_description(self, link: Link) -> str:
        """Return the path a link uses now, in words."""
        direct = link.machine.direct_path
        return self._relay_description(link) if direct is None else _direct_description(direct)

    def _relay_description(self, link: Link) -> str:
        if self._pump is None:
            return "no relay"
        relay = self._pump.relays[link.machine.relay]
        where = relay.node.address if relay.node else relay.region.name
        code = relay.region.code or str(relay.region.id)
        return f"relay {code} ({where})"

    def reason_relayed(self, link: Link) -> str | None:
        """Return why a link uses a relay, in words; None when it does not."""
        if link.machine.is_relay_only:
            return "--force-relay was given"
        if link.machine.direct_path is not None:
            return None
        if link.machine.promotions:
            return "the direct path was lost"
        return "no direct path was found in time"

    def report_path(self, link: Link) -> None:
        """Tell which path a new link uses, and look for a better one from now on."""
        self.report(StateChanged(State.CONNECTED_RELAY))
        self.report(PathChanged(self._relay_description(link), is_direct=False))
        if self._direct is not None:
            self._direct.add_link(link.machine)

    def _report_move(self, endpoint: UdpEndpoint | None) -> None:
        """Tell that traffic moved to a direct path, or back to the relay."""
        if endpoint is None:
            self.report(StateChanged(State.CONNECTED_RELAY))
            self.report(PathChanged("relay", is_direct=False))
        else:
            self.report(StateChanged(State.CONNECTED_DIRECT))
            self.report(PathChanged(_direct_description(endpoint), is_direct=True))

    def watch(self, on_failure: Callable[[], None]) -> None:
        """Have `on_failure` called when the work in the background fails: no link goes on then."""
        self._on_failure = on_failure

    # -- waiting ----------------------------------------------------------------------------

    def _wait(
        self,
        what: str,
        is_true: Callable[[], object],
        limit_s: Seconds | None,
        deadline: WallTime | None = None,
    ) -> bool:
        """Wait until `is_true`, reporting what is awaited; returns False at `deadline`.

        The deadline is one of the wall clock, which may be set, and goes on in a machine that
        sleeps.  Raises `TimedOut` after `limit_s`, and what failed meanwhile.
        """
        started_at = monotonic()
        next_report_s = FIRST_WAIT_REPORT_S
        while not is_true():
            if self.failure is not None:
                raise self.failure
            waited_s = monotonic() - started_at
            if limit_s is not None and waited_s >= limit_s:
                self._report_trouble()
                raise TimedOut(what, waited_s, self._next_step())
            if deadline is not None and wall() >= deadline:
                return False
            if waited_s >= next_report_s:
                self._report_waiting(what, waited_s, limit_s)
                next_report_s = waited_s + WAIT_REPORT_S
            elif waited_s >= FIRST_WAIT_REPORT_S:
                self._report_trouble()
            ends = [next_report_s - waited_s]
            ends += [limit_s - waited_s] if limit_s is not None else []
            ends += [deadline - wall(), CLOCK_LOOK_S] if deadline is not None else []
            self._changed.clear()
            self._changed.wait(max(0.0, min(ends)))
        return True

    def _report_waiting(self, what: str, waited_s: Seconds, limit_s: Seconds | None) -> None:
        self._told_troubles.clear()
        self._report_trouble()
        self.report(Waiting(what, waited_s, limit_s))

    def _report_trouble(self) -> None:
        """Say what keeps the relays from being used, once for each report of a wait."""
        trouble = self._trouble or self._silence()
        if trouble and trouble not in self._told_troubles:
            self._told_troubles.add(trouble)
            self.report(RelayTroubleStatus(trouble))

    def _next_step(self) -> str:
        if self._silence() is not None:
            return "check the network, the proxy variables, --relay and --derp-map"
        return "check that the other side runs and reaches the network"

    def _silence(self) -> str | None:
        """Return which relays have not answered yet; None once one has."""
        relays = self._pump.relays if self._pump is not None else []
        if not relays or any(relay.state is RelayState.CONNECTED for relay in relays):
            return None
        asked = ", ".join(relay.node.address for relay in relays if relay.node is not None)
        return f"no relay has accepted us yet (asked: {asked or 'none so far'})"

    # -- inside -----------------------------------------------------------------------------

    def _open_relays(
        self, machine: Issuer | Claimer, choice: RelayChoice, keys: KeyPair, count: int
    ) -> Pump:
        """Connect to the first `count` reachable regions of a choice, and run `machine`."""
        self._choice, self._keys = choice, keys
        self._spare_regions = deque(choice.regions)
        pump = self._pump = Pump(machine, self._take_events, self._relay_changed)
        for _ in range(count):
            self._open_next_relay()
        pump.start(self._tasks)
        if not self.options.force_relay:
            self._direct = DirectPaths(pump, self._tasks)
            self._direct.start()
        return pump

    def _open_next_relay(self) -> None:
        if self._pump is None or self._keys is None or not self._spare_regions:
            return
        dial = dial_options(self.options)
        region = self._spare_regions.popleft()
        relay = RelayConnection(region, self._keys, self._pump, dial, self._tasks)
        self._pump.add_relay(relay)
        relay.start()

    def _is_polite(self, relay: int) -> bool:
        del relay
        return self._choice is not None and self._choice.is_public

    def _features(self) -> Feature:
        return Feature.RELAY_ONLY if self.options.force_relay else Feature(0)

    def _take_events(self) -> None:
        """Take what the machine and its links have to say; runs in the pump, never blocks."""
        if self._pump is None:
            return
        while (event := self._pump.machine.next_event()) is not None:
            self._take_event(event)
            self._changed.set()
        for link in list(self._links):
            link.dispatch()
            self._link_traces[link].sample(monotonic())
            if link.end is not None:
                self._links.remove(link)
                self._link_traces.pop(link).ended(link.end)
                self._changed.set()

    def _take_event(self, event: object) -> None:
        raise NotImplementedError

    def _add_link(self, machine: PeerLink) -> None:
        if self._pump is None:
            return
        self._link_count += 1
        traced = LinkTrace(self.trace, self._link_count, machine)
        link = Link(machine, self._pump.wake, partial(self._link_news, traced), self.trace)
        self._links.append(link)
        self._link_traces[link] = traced
        self._new_links.append(link)

    def _link_news(self, traced: LinkTrace, news: LinkNews) -> None:
        traced.news(news)
        match news:
            case LinkStalled(silent_s, give_up_in_s):
                limit_s = silent_s + give_up_in_s
                self.report(Stalled("something sent is unanswered", silent_s, limit_s))
            case LinkResumed(silent_s):
                self.report(Resumed(silent_s))
            case AddressSeen(_, ip, port):
                if self._direct is not None:
                    self._direct.address_seen(ip, port)
            case PathMoved(endpoint):
                if self._direct is not None and endpoint is None:
                    self._direct.path_lost()
                self._report_move(endpoint)

    def _relay_changed(self, relay: RelayConnection) -> None:
        state, error = relay.state, relay.last_error
        self.trace("relay.state", {"region": relay.region.id, "state": state.value})
        if error is not None:
            self._trouble = str(error)
            if not self._is_closing:
                self.trace("relay.error", {"region": relay.region.id, "error": str(error)})
        elif state is RelayState.CONNECTED:
            self._trouble = None
            self._told_downs.pop(relay, None)
        if state is RelayState.DOWN and error is not None and not self._is_closing:
            self._open_next_relay()
            if self._links and self._told_downs.get(relay) != str(error):
                self._told_downs[relay] = str(error)  # it is tried again and again: said once
                self.report(RelayTroubleStatus(str(error)))
        self._changed.set()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self._changed.set()
        self._on_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, DerpholeError):
            self.trace("run.failed", {"error": type(error).__name__, "code": error.code})
        if error is not None:
            self._say_goodbye(error)
        self.close()

    def close(self) -> None:
        """Hand what is queued to the relays, then let go of everything."""
        self._is_closing = True  # relays answer our goodbye by hanging up: no trouble
        deadline = monotonic() + CLOSE_LINGER_S
        if self._pump is not None:
            self._await_room(self._pump)
            self._pump.wake()
            gevent.sleep(0)  # one turn for the pump: a close that was just asked for goes out
            for relay in self._pump.relays:
                relay.close(max(0.0, deadline - monotonic()))
        self._tasks.kill()
        for traced in self._link_traces.values():
            traced.left()
        self.trace.close()

    def _say_goodbye(self, error: BaseException) -> None:
        """Tell the other side, which may hold a link that no conversation here has taken yet."""
        if self._pump is None:
            return
        machine = self._pump.machine
        links = machine.links if isinstance(machine, Issuer) else [machine.link]
        code, text = ending_of(error)
        for link in links:
            if link is not None:
                link.close(monotonic(), code, text)

    def _await_room(self, pump: Pump) -> None:
        """Wait until the relays take packets again: a close stands in line behind the data."""
        with gevent.Timeout(CLOSE_LINGER_S, False):
            while any(r.state is RelayState.CONNECTED and not r.has_room for r in pump.relays):
                gevent.sleep(ROOM_POLL_S)


def _direct_description(endpoint: UdpEndpoint) -> str:
    ip = f"[{endpoint.ip}]" if ":" in endpoint.ip else endpoint.ip
    return f"direct {ip}:{endpoint.port}"


class IssuerRendezvous(Rendezvous):
    """The side that makes the token.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        capability: what the token allows.
        expires_at: when it ends; None for the usual life.
    """

    def __init__(
        self,
        options: NetworkOptions,
        report: Report,
        capability: Capability,
        expires_at: WallTime | None,
    ) -> None:
        super().__init__(options, report)
        self._identity = GrantIssuer.from_seed(os.urandom(SEED_SIZE))
        self._expires_at = expires_at if expires_at is not None else wall() + SESSION_LIFE_S
        self._grant = Grant(os.urandom(GRANT_ID_SIZE), int(self._expires_at), capability)
        self.gate = SessionGate(self._identity.keys, self._grant)
        keys = self._identity.keys
        self._issuer_key = DerpKey(keys.derp.public)
        identity = IssuerIdentity(keys.noise, self._issuer_key, self._features(), fast_aeads())
        self.machine = Issuer(identity, self.gate, os.urandom, self._is_polite, self.trace)

    def issue(self) -> str:
        """Connect to a relay and return the token's text; raises `RelayTrouble`, `TimedOut`."""
        choice = issuer_relays(self.options, self._issuer_key, self.report)
        keys = self._identity.keys.derp
        pump = self._open_relays(self.machine, choice, keys, RELAYS_OF_ISSUER)
        self._wait("a relay", lambda: self._connected(pump), self.options.timeout_s)
        relay = self._connected(pump)
        if relay is None or relay.node is None:
            raise RelayTrouble(self._trouble or "none is connected")
        hints = relay_hints(choice, relay.node, relay.leaf_pin)
        return token_text(session_token(self._identity, self._grant, hints))

    def wait_link(self, what: str) -> Link:
        """Wait until somebody has used the token.

        Raises `TokenUnclaimed` when nobody did before it expired, `TimedOut`.
        """
        expires_at = WallTime(self._expires_at)
        if not self._wait(what, lambda: self._new_links, self.options.timeout_s, expires_at):
            raise TokenUnclaimed
        return self._new_links.popleft()

    def _connected(self, pump: Pump) -> RelayConnection | None:
        connected = (relay for relay in pump.relays if relay.state is RelayState.CONNECTED)
        return next(connected, None)

    def _take_event(self, event: object) -> None:
        match event:
            case LinkAdmitted(machine, _, _):
                self._add_link(machine)
            case ClaimRefused(verdict):
                self.trace("claim.refused", {"verdict": verdict})
            case _:
                pass


class ClaimerRendezvous(Rendezvous):
    """The side that uses the token.

    Args:
        options: the settings of the command.
        report: told what a person wants to know.
        token: what the other side printed.
    """

    def __init__(self, options: NetworkOptions, report: Report, token: SessionToken) -> None:
        super().__init__(options, report)
        self._token = token
        self._refusal: DerpholeError | None = None

    def claim(self, what: str) -> Link:
        """Use the token and wait until the other side has let us in.

        Raises what the other side refuses with, `RelayTrouble`, `TimedOut`.
        """
        token = self._token
        choice = claimer_relays(self.options, token.hints, token.issuer_derp, self.report)
        keys = KeyPair.from_secret(os.urandom(32))
        identity = ClaimerIdentity(
            meeting=Meeting(token.issuer_noise, token.issuer_derp, DerpKey(keys.public)),
            header=encode_header(ClaimHeader(token.grant)),
            secret=token.secret,
            instance=os.urandom(INSTANCE_SIZE),
            features=self._features(),
            fast_aeads=fast_aeads(),
        )
        relays = list(range(len(choice.regions)))
        machine = Claimer(monotonic(), identity, relays, os.urandom, self._is_polite, self.trace)
        self._open_relays(machine, choice, keys, len(relays))
        self._wait(what, lambda: self._new_links or self._refusal, self.options.timeout_s)
        if self._refusal is not None:
            raise self._refusal
        link = self._new_links.popleft()
        if link.end is not None:  # its first packet was a close: the place is taken
            raise ending_error(link.end, what)
        return link

    def _take_event(self, event: object) -> None:
        match event:
            case LinkUp(machine):
                self._add_link(machine)
            case NotHere(relay):
                self.trace("claim.not_here", {"relay": relay})
            case Refused(verdict, clock_s):
                self.trace("claim.refused", {"verdict": verdict})
                self._refusal = refusal_error(verdict, self._token.grant, wall(), clock_s)
            case _:
                pass
