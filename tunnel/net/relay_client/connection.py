"""RelayConnection: a relay region that is kept connected, whatever happens to its servers.

    DOWN --> CONNECTING --> CONNECTED --connection ends--> DOWN --back-off--> CONNECTING ...
                 +--a node fails: the next one of the region; all failed: DOWN

It tries for ever; `last_error` says in a sentence what went wrong last, and `refused_since` whether
that can pass by itself.  Packets sent while not
connected are dropped and counted: DERP promises nothing, and the link repeats what it must.
Source: tailscale wgengine/magicsock/derp.go; design §8, §10.
"""

import logging
import os
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NoReturn, Protocol

from gevent.event import Event

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.errors import MisuseError, RelayError, RelayLate, RelaySilent, RelayUnreachable
from tunnel.net.clock import monotonic
from tunnel.net.relay_client.dial import Dialling, DialOptions, DialStep
from tunnel.net.relay_client.session import HIGH_WATER_BYTES, RelaySession
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_client.backoff import Backoff
from tunnel.proto.relay_client.derp_client import ClientEvent, Connected, DerpClient, HealthChanged
from tunnel.proto.relay_client.outgoing import smaller_segments
from tunnel.proto.relay_client.patience import DialLimits, Patience
from tunnel.units import Buffer, ByteCount, Instant, Seconds
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, GoneReason, PeerGone, Restarting
from tunnel.wire.derpmap import RelayNode, RelayRegion

if TYPE_CHECKING:
    from gevent import Greenlet

# Chosen: a relay that says it restarts is believed for a minute.
MAX_RESTART_PAUSE_S = 60.0
# Chosen: after a relay that accepts us and hangs up at once we do not come back at once.
PROVEN_AFTER_S = 5.0
# Chosen: an answer that took so long says that the others will.
SLOW_STEP_S: Seconds = 0.5
# Chosen: below it, copying a packet behind its header costs less than one more buffer to write.
JOINED_BYTES = 4 << 10
MAX_PARTS = 8

_log = logging.getLogger(__name__)


class RelayState(Enum):
    """How a relay region is."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DOWN = "down"


class RelayObserver(Protocol):
    """Who is told about a relay; called from its greenlets, and must not block for long."""

    def relay_packet(self, relay: "RelayConnection", source: DerpKey, packet: memoryview) -> None:
        """Take a packet; the view is valid during the call only."""

    def relay_read_done(self, relay: "RelayConnection") -> None:
        """Note that everything of one socket read was delivered."""

    def relay_peer_gone(self, relay: "RelayConnection", key: DerpKey, reason: GoneReason) -> None:
        """Note that the relay does not serve that key (any more): a hint."""

    def relay_changed(self, relay: "RelayConnection") -> None:
        """Note that `state`, `last_error` or `health` changed."""

    def relay_has_room(self, relay: "RelayConnection") -> None:
        """Note that `has_room` became true again."""


class RelayConnection:
    """Keeps one connection to a region of relays.

    Args:
        region: whose nodes are tried in order.
        keys: our DERP node key.
        observer: told about everything.
        options: how to dial.
        tasks: the group that the greenlets belong to.

    Attributes:
        node: the node in use or tried last; None before the first attempt.
        last_error: why it is not connected, a sentence; None while connected.
        refused_since: since when every node of the region answers what does not pass by itself
            (our key or its certificate is not accepted) or, before any of them worked, is no relay;
            None else.
        health: what the relay says is wrong with it, or "".
        is_loopback: the connected relay is on this machine.
        leaf_pin: 16-byte pin of its certificate's key, if the certificate is not publicly trusted.
        step: how far the attempt has come; None between attempts and while connected.
        round_trip_s: how long it took to answer when we connected last; None before.
        dropped_packets: packets that `send` did not queue.
    """

    def __init__(
        self,
        region: RelayRegion,
        keys: KeyPair,
        observer: RelayObserver,
        options: DialOptions,
        tasks: TaskGroup,
    ) -> None:
        self.region = region
        self.state = RelayState.DOWN
        self.node: RelayNode | None = None
        self.last_error: RelayError | None = None
        self.refused_since: Instant | None = None
        self.health = ""
        self.is_loopback = False
        self.leaf_pin: bytes | None = None
        self.step: DialStep | None = None
        self.round_trip_s: Seconds | None = None
        self.dropped_packets = 0
        self._keys = keys
        self._observer = observer
        self._options = options
        self._tasks = tasks
        self._backoff = Backoff(os.urandom)
        self._patience = Patience(options.limits)
        self._segment_size: ByteCount | None = None
        self._step_began_at = Instant(0.0)
        self._slowest_s: Seconds = 0.0  # of the steps of this attempt that were answered
        self._session: RelaySession | None = None
        self._is_awaited = False
        self._is_closed = False
        self._has_worked = False
        self._failure = ""
        self._failures_alike = 0  # since we were last connected
        self._connected_at: Instant | None = None
        self._restart_pause_s: Seconds | None = None
        self._runner: Greenlet | None = None
        self._hurry = Event()

    # -- commands ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, in the background and for ever."""
        name = f"relay {self.region.code or self.region.id}"
        self._runner = self._tasks.spawn(name, self._run)

    def close(self, linger_s: Seconds = 0.0) -> None:
        """Give the connection up; the observer is not called any more.

        Args:
            linger_s: wait at most that long until the relay has taken what is queued.
        """
        if self._is_closed:
            return
        # First: the relay answers a goodbye by hanging up, and nobody is to come back then.
        self._is_closed = True
        session = self._session
        if session is not None and linger_s > 0 and self.state is RelayState.CONNECTED:
            session.finish(linger_s)
        self.state = RelayState.DOWN
        if session is not None:
            session.end(RelayUnreachable("was closed by us"))
        elif self._runner is not None:
            self._runner.kill(block=False)  # it is dialling or waiting

    def send(
        self,
        destination: DerpKey,
        packet: Sequence[Buffer],
        *,
        is_control: bool,
    ) -> None:
        """Queue a packet; never blocks.

        Args:
            destination: the peer's key.
            packet: the parts of one packet, together at most 64 KiB; they must not change any more,
                since they are written later, and not copied before if they are large.
            is_control: goes before all data that waits.
        """
        size = sum(map(len, packet))
        if size > derp.MAX_PACKET_SIZE:
            raise MisuseError(f"a relay packet of {size} bytes")
        if self.state is not RelayState.CONNECTED or self._session is None:
            self.dropped_packets += 1
            return
        header = derp.packet_header(FrameType.SEND_PACKET, destination, size)
        parts: tuple[Buffer, ...] = (header, *packet)
        if size < JOINED_BYTES or len(parts) > MAX_PARTS:
            parts = (b"".join(parts),)
        if not self._session.send(parts, len(header) + size, is_control=is_control):
            self.dropped_packets += 1

    def check_alive(self) -> None:
        """Find out soon whether the connection still works: the network has changed.

        Connected, the relay must answer a ping within 5 s, unless the address that we had is gone:
        then nothing can come any more.  Down, the next attempt is now.
        """
        self._backoff.reset()
        self._hurry.set()
        session = self._session
        if session is None:
            return
        if session.has_lost_address:
            session.end(RelayUnreachable("was reached from an address this machine has no longer"))
        else:
            session.demand_answer()

    # -- state ------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Connected, and less than 128 KiB waits in this process."""
        session = self._session
        if session is None or self.state is not RelayState.CONNECTED:
            return False
        return session.backlog_bytes < HIGH_WATER_BYTES

    @property
    def is_awaited(self) -> bool:
        """Data is outstanding on this relay, so that silence is suspicious; settable."""
        return self._is_awaited

    @is_awaited.setter
    def is_awaited(self, value: bool) -> None:
        if value != self._is_awaited:
            self._is_awaited = value
            if self._session is not None:
                self._session.set_awaited(is_awaited=value)

    @property
    def is_trying(self) -> bool:
        """Whether nothing but the time speaks against trying on: no relay has said no."""
        error = self.last_error
        return self.state is not RelayState.DOWN or error is None or isinstance(error, RelayLate)

    @property
    def is_getting_on(self) -> bool:
        """Whether an attempt is only slow: its name is looked up, or answers took their time."""
        return self.step is DialStep.NAME or self._slowest_s >= SLOW_STEP_S

    # -- the connecting greenlet ------------------------------------------------------------

    def _run(self) -> None:
        nodes = self.region.relay_nodes
        if not nodes:
            name = self.region.name or self.region.id
            self._change(RelayState.DOWN, RelayUnreachable(f"relay region {name} has no relay"))
            return
        turn = failed_nodes = lasting = late = 0
        deadline = monotonic()
        while True:
            limits = self._patience.limits(has_others=len(nodes) > 1)
            if failed_nodes == 0:
                lasting = late = 0
                deadline = Instant(monotonic() + limits.step_s)
            self.node = nodes[turn % len(nodes)]
            error = self._attempt(self.node, limits)
            if self._is_closed:
                return
            failed_nodes += 1
            lasting += error.is_lasting or (error.is_misdirected and not self._has_worked)
            late += isinstance(error, RelayLate)
            is_round_over = failed_nodes >= len(nodes) or monotonic() >= deadline
            if self._restart_pause_s is None:
                turn += 1
            if is_round_over or self._connected_at is not None:
                failed_nodes = 0
                if late:
                    self._patience.ran_out()
                self._note_round(is_refused=lasting == len(nodes))
                self._pause(error)
            else:
                self._change(RelayState.CONNECTING, error)

    def _attempt(self, node: RelayNode, limits: DialLimits) -> RelayError:
        """Dial one node and serve it until the connection ends; returns why it did."""
        self._connected_at = None
        self._restart_pause_s = None
        self._change(RelayState.CONNECTING, self.last_error)
        try:
            self._serve(node, limits)
        except RelayError as error:
            is_cut = isinstance(error, RelayLate) and self.step not in (DialStep.NAME, DialStep.TCP)
            if isinstance(error, RelaySilent) or is_cut:
                # Perhaps it is only large packets that vanish, on either way.
                self._segment_size = smaller_segments(self._segment_size)
            return error.about(f"relay {node.address}")
        finally:
            self._session = None
            self.step = None
            if self._connected_at and monotonic() - self._connected_at > PROVEN_AFTER_S:
                self._backoff.reset()

    def _serve(self, node: RelayNode, limits: DialLimits) -> NoReturn:
        stream = Dialling(node, self._options, limits, self._begin, self._segment_size).relay()
        self.is_loopback = stream.is_loopback
        self.leaf_pin = stream.leaf_pin
        self.round_trip_s = stream.round_trip_s
        self._begin(DialStep.LOGIN)
        now = monotonic()
        deadline = Instant(now + limits.step_s)
        client = DerpClient(self._keys, os.urandom, now, deadline, self._options.timing)
        client.set_awaited(now, is_awaited=self._is_awaited)
        self._session = RelaySession(stream, client, self, self._tasks)
        self._session.run()

    def _begin(self, step: DialStep) -> None:
        now = monotonic()
        if self.step is None:
            self._slowest_s = 0.0
        elif self.step is not DialStep.NAME:
            self._slowest_s = max(self._slowest_s, now - self._step_began_at)
        self.step, self._step_began_at = step, now

    def _note_round(self, *, is_refused: bool) -> None:
        if not is_refused or self._connected_at is not None:
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = monotonic()

    def _pause(self, error: RelayError) -> None:
        """Be down for the back-off, for what a restarting relay asked for, or until hurried."""
        self._hurry.clear()
        self._change(RelayState.DOWN, error)
        pause_s = self._restart_pause_s
        self._hurry.wait(self._backoff.next_delay() if pause_s is None else pause_s)

    def _change(self, state: RelayState, error: RelayError | None) -> None:
        if self._is_closed or (state is self.state and error is self.last_error):
            return
        self.state = state
        self.last_error = error
        if state is RelayState.DOWN:
            self._log_failure(str(error))
        elif state is RelayState.CONNECTED and self.node is not None:
            self._failures_alike = 0
            _log.info("connected to relay %s", self.node.address)
        self._observer.relay_changed(self)

    def _log_failure(self, text: str) -> None:
        """Log why an attempt failed; what comes again and again, at each doubling of its number."""
        self._failures_alike = self._failures_alike + 1 if text == self._failure else 1
        self._failure = text
        number = self._failures_alike
        if number & (number - 1) == 0:
            _log.info("%s%s", text, f" (time {number})" if number > 1 else "")

    # -- what a session reports -------------------------------------------------------------

    def session_packet(self, source: DerpKey, packet: memoryview) -> None:
        """Pass a packet on."""
        self._backoff.reset()
        self._observer.relay_packet(self, source, packet)

    def session_read_done(self) -> None:
        """Pass the end of a read on."""
        if self.state is RelayState.CONNECTED:
            self._observer.relay_read_done(self)

    def session_has_room(self) -> None:
        """Pass the low-water mark on."""
        if self.state is RelayState.CONNECTED:
            self._observer.relay_has_room(self)

    def session_event(self, event: ClientEvent) -> None:
        """React to what is not a packet."""
        match event:
            case Connected():
                self._has_worked = True
                self._connected_at = monotonic()
                self.step = None
                self._patience.reset()
                self.health = ""
                self.refused_since = None
                self._change(RelayState.CONNECTED, None)
            case PeerGone(key, reason):
                self._observer.relay_peer_gone(self, DerpKey(key), reason)
            case Restarting(reconnect_in_s, _):
                self._restart_pause_s = min(reconnect_in_s, MAX_RESTART_PAUSE_S)
                if self._session is not None:
                    self._session.end(RelayUnreachable("is restarting"))
            case HealthChanged(text):
                self.health = text
                _log.info("relay %s reports: %s", self.region.code, text or "all is well")
                self._observer.relay_changed(self)
            case _:
                pass
