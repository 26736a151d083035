"""Pump: runs one meeting machine, an issuer's or a claimer's, over its relay connections.

    relays, lanes --packets--> machine --packets--> relay queues, lanes
                                  |
    one greenlet here: does what is due, dispatches events, sends what there is room for, and
    sleeps until the next deadline or until somebody wakes it

The numbers by which machines name relays are indices into `relays`.  Into the machine call the
pump's own greenlet, the readers of relays and lanes, and by `flush` whoever has written something
that is not to wait; no call blocks or gives way to another greenlet.
"""

from collections.abc import Callable
from typing import Any

from gevent import get_hub
from gevent.event import Event

from tunnel.crypto.keys import DerpKey
from tunnel.net.clock import monotonic, wall
from tunnel.net.deadlines import Deadlines
from tunnel.net.heap import keep_freed_memory
from tunnel.net.relay_client.connection import RelayConnection, RelayState
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.lane import UdpLane
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.meeting.machine import MeetingMachine
from tunnel.units import Instant
from tunnel.wire.derp import GoneReason

# Chosen: packets sealed before the queues are looked at again.
SEND_BATCH = 8
# Chosen: while a socket is full its `relay_has_room` wakes us; deadlines that passed wait so long.
FULL_SOCKET_PAUSE_S = 0.02


class Pump:
    """Drives one machine; it is the observer of its relay connections.

    Attributes:
        companions: connections of others to the same relays, that are looked at with ours.

    Args:
        machine: the issuer or claimer to run.
        on_events: called after the machine worked, to take its events; must not block.
        on_relay_changed: told when a relay's state or error changed; must not block.
        on_peer_gone: told which key a relay misses; must not block.
    """

    def __init__(
        self,
        machine: MeetingMachine[object],
        on_events: Callable[[], None],
        on_relay_changed: Callable[[RelayConnection], None],
        on_peer_gone: Callable[[RelayConnection, DerpKey], None] = lambda relay, key: None,
    ) -> None:
        self.machine = machine
        self.relays: list[RelayConnection] = []
        self.companions: list[RelayConnection] = []
        self._numbers: dict[RelayConnection, int] = {}
        self._on_events = on_events
        self._on_relay_changed = on_relay_changed
        self._on_peer_gone = on_peer_gone
        self._lanes: dict[int, UdpLane] = {}
        self._wake = Event()
        self._deadlines = Deadlines("the machine of the links")
        self._alarm: Any = None  # a timer that wakes us
        self._alarm_at: Instant | None = None

    def add_relay(self, relay: RelayConnection) -> int:
        """Add a relay connection whose observer is this pump; returns its number."""
        number = len(self.relays)
        self.relays.append(relay)
        self._numbers[relay] = number
        return number

    def check_alive(self) -> None:
        """Find out soon which relay connections still work: the network has changed."""
        for relay in (*self.relays, *self.companions):
            relay.check_alive()

    def use_lanes(self, lanes: list[UdpLane]) -> None:
        """Send what goes to UDP endpoints by these lanes."""
        self._lanes = {lane.number: lane for lane in lanes}

    def change_machine(self, machine: MeetingMachine[object]) -> None:
        """Run another machine from now on, which is told of the relays that are connected."""
        self.machine = machine
        for number, relay in enumerate(self.relays):
            if relay.state is RelayState.CONNECTED:
                machine.handle_relay_up(monotonic(), number)
        self.wake()

    def start(self, tasks: TaskGroup) -> None:
        """Run until the task group ends."""
        keep_freed_memory()
        tasks.spawn("pump", self._run)

    def wake(self) -> None:
        """Have the machine looked at soon."""
        self._wake.set()

    def flush(self) -> None:
        """Send what is due now, from any greenlet; works also when the pump's own has failed."""
        self._send_all(monotonic())

    def read_done(self) -> None:
        """Work on what a read brought: whoever waits for it goes first, what to send comes next."""
        self._on_events()
        self.wake()

    # -- RelayObserver ----------------------------------------------------------------------

    def relay_packet(self, relay: RelayConnection, source: DerpKey, packet: memoryview) -> None:
        """Hand a packet to the machine."""
        number = self._numbers[relay]
        self.machine.handle_packet(monotonic(), wall(), number, source, packet)

    def relay_read_done(self, relay: RelayConnection) -> None:
        """Work on what a socket read brought."""
        del relay
        self.read_done()

    def relay_peer_gone(self, relay: RelayConnection, key: DerpKey, reason: GoneReason) -> None:
        """Tell the machine that a relay misses a key."""
        del reason
        self.machine.handle_peer_gone(monotonic(), self._numbers[relay], key)
        self._on_peer_gone(relay, key)
        self.wake()

    def relay_changed(self, relay: RelayConnection) -> None:
        """Tell the machine that a relay came or went."""
        number, now = self._numbers[relay], monotonic()
        was_up = number in self.machine.relays_up
        if relay.state is RelayState.CONNECTED and not was_up:
            self.machine.handle_relay_up(now, number)
        elif relay.state is RelayState.DOWN or (relay.state is RelayState.CONNECTING and was_up):
            self.machine.handle_relay_down(now, number)
        self._on_relay_changed(relay)
        self.wake()

    def relay_has_room(self, relay: RelayConnection) -> None:
        """Go on sending."""
        del relay
        self.wake()

    # -- inside -----------------------------------------------------------------------------

    def _run(self) -> None:
        deadline: Instant | None = None
        try:
            while True:
                self._wake.clear()
                now = monotonic()
                # An earlier deadline that arose meanwhile is the next one: we come back at once.
                deadline = self._work(now, deadline is not None and deadline <= now)
                come_back_at = self._deadlines.come_back_at(deadline, now)
                if come_back_at is not None and not self._wake.is_set():
                    self._set_alarm(come_back_at)
                self._wake.wait()
        finally:
            if self._alarm_at is not None:
                self._alarm.close()

    def _set_alarm(self, deadline: Instant) -> None:
        """Have the deadline wake us; an alarm that is set for earlier does so on its way."""
        if self._alarm_at is not None:
            if self._alarm_at <= deadline:
                return
            self._alarm.close()
        self._alarm_at = deadline
        self._alarm = get_hub().loop.timer(max(0.0, deadline - monotonic()))
        self._alarm.start(self._alarmed)

    def _alarmed(self) -> None:
        self._alarm.close()
        self._alarm_at = None
        self._wake.set()

    def _work(self, now: Instant, is_due: bool) -> Instant | None:
        """Let the machine do what is due and send; returns when to come back."""
        machine = self.machine
        if is_due:
            machine.handle_timeout(now)
        self._on_events()
        has_room = self._send_all(now)
        awaited = {link.relay for link in machine.links if link.is_awaiting}
        for number, relay in enumerate(self.relays):
            relay.is_awaited = number in awaited
        self._on_events()
        deadline = _earlier(machine.next_timeout(), machine.next_pacing(now))
        if deadline is None or has_room:
            return deadline
        return Instant(max(deadline, now + FULL_SOCKET_PAUSE_S))

    def _send_all(self, now: Instant) -> bool:
        """Send what there is room for; returns whether that was everything."""
        while True:
            has_room = self._tell_full()
            packets = self.machine.packets_to_send(now, SEND_BATCH)
            if not packets:
                return has_room
            for packet in packets:
                to = packet.to
                if isinstance(to, UdpEndpoint):
                    lane = self._lanes.get(to.lane)
                    if lane is not None:
                        lane.send(to.ip, to.port, packet.data, packet.segment_size)
                else:
                    relay = self.relays[to.relay]
                    relay.send(to.key, (packet.data,), is_control=packet.is_control)

    def _tell_full(self) -> bool:
        """Tell links whose relay is full, so that its data waits and nothing else does.

        What a relay that is down gets is lost.  Returns whether no link has data to hold back.
        """
        full = {
            number
            for number, relay in enumerate(self.relays)
            if relay.state is RelayState.CONNECTED and not relay.has_room
        }
        has_room = True
        for link in self.machine.links:
            link.is_relay_full = link.relay in full
            has_room = has_room and not (link.is_relay_full and link.direct_path is None)
        return has_room


def _earlier(first: Instant | None, second: Instant | None) -> Instant | None:
    """Return the earlier of two instants, either of which may be missing."""
    return min((time for time in (first, second) if time is not None), default=None)
