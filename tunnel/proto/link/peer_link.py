"""PeerLink: the authenticated, encrypted association of two peers; a machine without I/O.

It opens what arrives, feeds the streams, has acknowledgements sent for what is stored, and says
when it must be called again.  The rest is its parts' matter:

    packets --> opener --> frames --> streams, datagrams
                                  --> AckRoutes       what is owed for them
                                  --> InFlight        what they acknowledge of ours
                                  --> PathTalk        what they say of direct paths
    packets <-- Packer <-- Sender <-- streams, datagrams, AckRoutes, ControlQueue, probes of paths

    OPEN --close()--> CLOSED    we ended it
     |  --CLOSE-----> CLOSED    they ended it
     +--silence-----> CLOSED    given up

What it held goes with its end: the streams when the owner has taken the last event, the rest at
once.  A peer that has no place yet (`admit`) can have nothing of streams stored here.

A silent peer is not an ending yet: see `tunnel.proto.link.liveness`.

Path 0 is the relay: the relay connection that delivers authenticated packets carries what we send.
The issuer follows the claimer at once; the claimer leaves a relay only when it is down or silent,
or else the two could chase each other for ever.  While probes stay unanswered they go out over
every relay that is up, so the two meet again on any common one.  Direct paths are found and taken
in place (`tunnel.proto.paths`); no stream notices.

No unauthenticated byte changes anything here.  What a close code means belongs to the owner.
"""

from collections import deque
from collections.abc import Callable

from tunnel.crypto.keys import Secret
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import OpenedBulk, OpenedGeneral
from tunnel.errors import DecodeError, MisuseError, ProtocolViolation
from tunnel.proto.datagrams.incoming import IncomingDatagrams
from tunnel.proto.datagrams.outgoing import OutgoingDatagrams
from tunnel.proto.link.ack_routes import AckRoutes
from tunnel.proto.link.control_queue import ControlQueue
from tunnel.proto.link.events import (
    LinkClosed,
    LinkEvent,
    LinkGivenUp,
    LinkResumed,
    LinkStalled,
)
from tunnel.proto.link.liveness import Liveness
from tunnel.proto.link.packing import Packer
from tunnel.proto.link.parameters import Feature, LinkCounters, LinkParameters
from tunnel.proto.link.path import Path, Paths, RelayPath
from tunnel.proto.link.path_talk import PathTalk
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.link.rekey import Rekeying
from tunnel.proto.link.resending import InFlight
from tunnel.proto.link.sender import Sender
from tunnel.proto.machine import Machine, RelayEndpoint, Trace, Transmit, UdpEndpoint
from tunnel.proto.paths.table import PathTable
from tunnel.proto.rate.relay import RelayController
from tunnel.proto.streams.table import Memory, Streams
from tunnel.units import Buffer, ByteCount, Instant, Seconds
from tunnel.values import replace
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

# Fixed by the protocol.
PROTOCOL_VIOLATION = 1  # the only close code this library sends by itself
# Chosen.
CLOSE_REPEAT_S: Seconds = 0.25
# Fixed by the protocol: what a peer without a place may say; all else is not acknowledged, so that
# it says it again.
EARLY_FRAMES = wire.Ping | wire.Ack | wire.Close | wire.Challenge | wire.Answer | wire.Candidates


class PeerLink(Machine[LinkEvent]):
    """One link; see the module docstring.

    Args:
        now: the instant of the handshake's end.
        parameters: what the handshake settled.
        relays_up: the relay connections that are up now; kept by the owner, read here.
        entropy: returns that many random bytes.
        trace: takes (event name, values) of what a person who looks for a fault wants to see.
        memory: what the streams of all links of the process share; its own by default.
    """

    def __init__(
        self,
        now: Instant,
        parameters: LinkParameters,
        relays_up: set[int],
        entropy: Callable[[int], bytes],
        trace: Trace,
        memory: Memory | None = None,
    ) -> None:
        # The root lives in `_rekeying` alone, which forgets it at the first re-key.
        self.parameters = replace(parameters, root=Secret(b""))
        self.streams = Streams(parameters.is_issuer, memory)
        self.datagrams_out, self.datagrams_in = OutgoingDatagrams(), IncomingDatagrams()
        self._has_datagrams = bool(parameters.features & Feature.DATAGRAMS)
        self.counters = LinkCounters()
        self.closed_at: Instant | None = None
        self.is_relay_only = bool(parameters.features & Feature.RELAY_ONLY)  # a side wants it so
        self._events: deque[LinkEvent] = deque()
        self._is_admitted = parameters.is_admitted
        self._trace = trace
        self._relays_up = relays_up
        root, aead, is_issuer = parameters.root, parameters.aead, parameters.is_issuer
        sealer, self._opener = packet_keys(root.value, aead, is_issuer, parameters.peer_index)
        self._rekeying = Rekeying(now, is_issuer, root, aead, sealer, self._opener, entropy)
        self._liveness = Liveness(now, is_issuer, parameters.give_up_after_s)
        relay = RelayPath(
            RelayEndpoint(parameters.relay, parameters.peer_key),
            RelayController(parameters.peer_grant, parameters.is_polite),
            now,
            relays_up,
        )
        self._paths = Paths(relay, PathTable(now, entropy, trace))
        self._packer = Packer(
            sealer, self.streams, self.datagrams_out, self._liveness, self.counters
        )
        self._control = ControlQueue(self.streams)
        self._acks = AckRoutes(self._paths)
        told = (self.streams, self._liveness, self.counters)
        self._in_flight = InFlight(self._paths, self._control, *told, trace)
        self._path_talk = PathTalk(
            self._paths,
            self._control,
            self._in_flight,
            self._events.append,
            self.is_relay_only,
            parameters.is_admitted,
        )
        self._sender = Sender(
            self._paths,
            self._packer,
            self._control,
            self._acks,
            self.streams,
            self.datagrams_out,
            self._liveness,
            self.counters,
        )
        self.our_grant = parameters.our_grant
        self._close: wire.Close | None = None
        self._close_is_due_at: Instant | None = None

    # -- commands ---------------------------------------------------------------------------

    def ping(self) -> None:
        """Ask the other side for a sign of life."""
        self._control.ping(self._paths.active)

    def search(self) -> None:
        """Ask the other side for a sign of life over every relay that is up."""
        self._control.ping(self._paths.relay)
        self._control.is_wide_ping_due = True

    def admit(self, now: Instant) -> None:
        """Take streams from now on: the peer has its place."""
        self._is_admitted = True
        self._path_talk.admit(now)

    def close(self, now: Instant, code: int, text: str) -> None:
        """End the link and tell the other side why; what is in flight is not waited for."""
        if self.is_closed:
            return
        self._trace("link.closed", {"code": code})
        self._close = wire.Close(code, text)
        self._close_is_due_at = now
        self._finish(now, LinkClosed(code, "", is_by_peer=False))

    def read(self, now: Instant, stream: int, size: int) -> list[Buffer]:
        """Take up to `size` bytes of a stream."""
        return self.streams.read(now, stream, size, self.rtt_s)

    def send_datagram(self, now: Instant, flow: int, data: bytes) -> None:
        """Send a datagram of a flow, once or never; 65507 bytes at most."""
        if not self._has_datagrams:
            raise MisuseError("datagrams were not agreed on")
        if not self.is_closed:
            self.datagrams_out.send(now, flow, data)

    def use_lanes(self, now: Instant, lanes: dict[int, bool], allows_loopback: bool) -> None:
        """Probe direct paths from these lanes (number -> whether IPv6), if both sides want them.

        What is in flight by a lane that is gone goes out again by another path.
        """
        self._path_talk.use_lanes(now, lanes, allows_loopback)

    def tell_receive_buffer(self, size: ByteCount) -> None:
        """Tell the other side how many bytes of datagrams may wait at each lane, if that is new."""
        self._path_talk.tell_receive_buffer(size)

    def offer_candidates(self, candidates: tuple[wire.Candidate, ...]) -> None:
        """Tell the other side where we may be reached, so that it probes us at once.

        Its link-local addresses are probed only where an interface of ours has one too.
        """
        self._path_talk.offer(candidates)

    def suspect_paths(self, now: Instant) -> None:
        """Challenge every direct path: the network, or the machine's sleep, may have broken it."""
        self._paths.direct.suspect_all(now)

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Start over on a relay connection that was made anew, if ours is that one or is down."""
        if relay == self.relay or self.relay not in self._relays_up:
            self._use_relay(now, relay)

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Go on over another relay that is up, if there is one."""
        if relay == self.relay and self._relays_up:
            self._use_relay(now, min(self._relays_up))
            self.search()

    def _use_relay(self, now: Instant, relay: int) -> None:
        """Send path 0 by another relay connection, or by one that was just made anew.

        What is in flight there is sent again.
        """
        path = self._paths.relay
        path.use(now, relay)
        self.counters.relay_changes += 1
        self._trace("path.relay_changed", {"relay": relay})
        self._in_flight.give_up(path)
        self._control.ping(path)

    # -- queries ----------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether the link is over."""
        return self.closed_at is not None

    @property
    def relay(self) -> int:
        """The relay connection that path 0 uses."""
        return self._paths.relay.endpoint.relay

    @property
    def is_relay_full(self) -> bool:
        """Whether the relay takes no data now, only control; settable."""
        return self._paths.relay.is_full

    @is_relay_full.setter
    def is_relay_full(self, is_full: bool) -> None:
        self._paths.relay.is_full = is_full

    @property
    def direct_path(self) -> UdpEndpoint | None:
        """The direct path that data takes now, None for the relay."""
        active = self._paths.direct.active
        return active.endpoint if active else None

    @property
    def direct_paths(self) -> PathTable:
        """Every direct path, for somebody who looks and changes nothing."""
        return self._paths.direct

    @property
    def promotions(self) -> int:
        """How often data moved from the relay to a direct path."""
        return self._paths.direct.promotions

    @property
    def peer_candidates(self) -> tuple[wire.Candidate, ...]:
        """The addresses that the other side told us, as far as they may be probed."""
        return self._paths.direct.candidates

    @property
    def candidates_since(self) -> Instant | None:
        """When the other side first told us addresses."""
        return self._paths.direct.candidates_since

    @property
    def last_heard(self) -> Instant | None:
        """When the last authentic packet came."""
        return self._liveness.last_heard

    @property
    def silent_since(self) -> Instant | None:
        """Since when nothing was heard though something is unanswered; None while nothing is."""
        return self._liveness.silent_since

    @property
    def our_grant(self) -> int:
        """Relay frames we let the peer have in flight; settable."""
        return self._acks.our_grant

    @our_grant.setter
    def our_grant(self, grant: int) -> None:
        self._acks.our_grant = grant

    @property
    def rtt_s(self) -> Seconds:
        """The smoothed round-trip time of the path in use."""
        return self._paths.active.ledger.rtt.smoothed_s

    @property
    def minimum_rtt_s(self) -> Seconds | None:
        """The lowest round-trip time of the path in use, or None before the first sample."""
        rtt = self._paths.active.ledger.rtt
        return rtt.minimum_s if rtt.has_sample else None

    @property
    def answer_s(self) -> Seconds:
        """How long an answer by the relay takes at most, as far as is known."""
        return self._paths.relay.ledger.rtt.probe_timeout_s

    def expect_answers_after(self, round_trip_s: Seconds) -> None:
        """Take how long the meeting's answers took, which say how slow the way is."""
        self._liveness.expect_answers_after(round_trip_s)

    @property
    def is_awaiting(self) -> bool:
        """Whether something we sent by the relay is unanswered."""
        return not self.is_closed and self._paths.relay.ledger.in_flight_packets > 0

    @property
    def has_unanswered(self) -> bool:
        """Whether something we sent is unanswered."""
        return self._liveness.is_waiting

    @property
    def _is_held_back(self) -> bool:
        """Whether bytes wait for the other side's credit, and nothing is unanswered."""
        return self.streams.has_waiting and not self._in_flight.is_awaited

    def next_event(self) -> LinkEvent | None:
        """Return what happened next, or None."""
        if self._events:
            return self._events.popleft()
        event = self.streams.next_event()
        if event is None and self.is_closed:
            self.streams.forget_all()
        return event

    # -- what comes in ----------------------------------------------------------------------

    def handle_packet(
        self,
        now: Instant,
        origin: int | UdpEndpoint,
        data: memoryview,
        waited_s: Seconds = 0.0,
    ) -> bool:
        """Take a packet that came by a relay connection or a lane; tells whether it was taken.

        What is not authentic or not fresh, or came by a way that it may not come by, is dropped and
        changes nothing: path 0 is accepted from relay connections only, and nothing else is from
        them.  `waited_s` is how long it had been on this machine before it was read.
        """
        if isinstance(origin, int) and len(data) > layout.MAX_RELAY_PACKET:
            self.counters.packets_dropped += 1
            return False
        arrived_at = Instant(now - waited_s)
        return self._take(now, arrived_at, origin, self._opener.open(data), len(data))

    def handle_burst(self, now: Instant, origin: UdpEndpoint, burst: ReceivedBurst) -> None:
        """Take datagrams of this link that came together by UDP."""
        layout_of_tag = burst.layout(self._opener.tag_size)
        if layout_of_tag is None:
            for datagram in burst.datagrams():
                self.handle_packet(now, origin, datagram, burst.waited_s)
            return
        arrived_at = Instant(now - burst.waited_s)
        missing = burst.count
        for opened in self._opener.open_burst(layout_of_tag, burst.size):
            missing -= opened.count if isinstance(opened, OpenedBulk) else 1
            self._take(now, arrived_at, origin, opened, burst.segment_size)
        self.counters.packets_dropped += missing

    def _take(
        self,
        now: Instant,
        arrived_at: Instant,
        origin: int | UdpEndpoint,
        opened: OpenedGeneral | OpenedBulk | None,
        size: int,
    ) -> bool:
        """Take an opened packet or run of packets; tells whether it was taken."""
        count = opened.count if isinstance(opened, OpenedBulk) else 1
        by = None if opened is None else self._path_back(now, origin, opened.path, count * size)
        if opened is None or by is None:
            self.counters.packets_dropped += count
            return False
        self._opener.mark(opened)
        self.counters.received(count, size, is_relayed=by.is_relay)
        self._rekeying.handle_opened(now)
        self._heard(now, origin)
        if self.is_closed:
            self._repeat_close(now)
            return True
        try:
            self._accept(now, arrived_at, by, opened)
        except (ProtocolViolation, DecodeError) as error:
            self._trace("link.violation", {"reason": str(error)})
            self.close(now, PROTOCOL_VIOLATION, str(error))
        if self._liveness.is_waiting and not self._in_flight.is_awaited:
            self._liveness.all_answered()
        return True

    def _path_back(
        self, now: Instant, origin: int | UdpEndpoint, path: int, size: ByteCount
    ) -> Path | None:
        """Return the path to answer an authentic packet on, None if it may not come that way."""
        if isinstance(origin, UdpEndpoint) == (path == layout.RELAY_PATH):
            return None
        if isinstance(origin, UdpEndpoint) and not self.is_closed:
            return None if self.is_relay_only else self._paths.direct.heard(now, origin, size)
        return self._paths.relay

    def _heard(self, now: Instant, origin: int | UdpEndpoint) -> None:
        """Note where a packet came from."""
        silent_s = self._liveness.heard(now)
        if silent_s is not None:
            self._events.append(LinkResumed(silent_s))
        if isinstance(origin, UdpEndpoint):
            return
        if origin == self.relay:
            self._paths.relay.heard_at = now
        elif not self.is_closed and self._may_follow(now):
            self._use_relay(now, origin)

    def _may_follow(self, now: Instant) -> bool:
        """Tell whether a packet by another relay moves us there; see the module docstring."""
        return self.parameters.is_issuer or self._paths.relay.is_silent(now)

    def _accept(
        self,
        now: Instant,
        arrived_at: Instant,
        by: Path,
        opened: OpenedGeneral | OpenedBulk,
    ) -> None:
        if isinstance(opened, OpenedBulk):
            if not self._is_admitted:
                return
            self._liveness.carried(now)
            if self.streams.receive_data(
                now, opened.stream, opened.offset, opened.data, is_end=False, rtt_s=self.rtt_s
            ):
                self._acks.arrived(arrived_at, by, opened.path, opened.first, opened.count, True)
            return
        is_ack_eliciting, is_stored = False, True
        for frame in wire.decode_frames(opened.frames):
            is_ack_eliciting |= not isinstance(
                frame, wire.Ack | wire.Close | wire.Challenge | wire.Answer
            )
            is_stored &= self._accept_frame(now, arrived_at, by, frame)
            if self.is_closed:
                return
        if is_stored:
            self._acks.arrived(arrived_at, by, opened.path, opened.number, 1, is_ack_eliciting)

    def _accept_frame(self, now: Instant, arrived_at: Instant, by: Path, frame: wire.Frame) -> bool:
        """Take one frame; returns False if its packet must not be acknowledged."""
        if not (self._is_admitted or isinstance(frame, EARLY_FRAMES)):
            return False
        match frame:
            case wire.StreamData(stream, offset, data, is_end):
                self._liveness.carried(now)
                return self.streams.receive_data(now, stream, offset, data, is_end, self.rtt_s)
            case wire.Datagram() if self._has_datagrams:
                self._liveness.carried(now)
                arrived = self.datagrams_in.take(now, frame)
                if arrived is not None:
                    self._events.append(arrived)
            case wire.Ack():
                self._in_flight.acked(now, arrived_at, by, frame)
            case wire.Reset() | wire.Stop() | wire.Credit() | wire.Recall() | wire.Return():
                self.streams.receive_frame(frame)
            case wire.Close(code, text):
                self._trace("link.closed_by_peer", {"code": code})
                self._finish(now, LinkClosed(code, text, is_by_peer=True))
            case wire.Rekey():
                answer = self._rekeying.handle_rekey(now, frame)
                if answer is not None:
                    self._trace("link.rekeyed", {"phase": self._rekeying.phase})
                    self._control.add(answer)
            case wire.RekeyAnswer():
                if self._rekeying.handle_answer(now, frame):
                    self._trace("link.rekeyed", {"phase": self._rekeying.phase})
                    self.ping()  # the claimer goes on at our first packet of the new phase
            case wire.Ping():
                pass  # the acknowledgement is the answer
            case _:
                self._path_talk.handle_frame(now, by, frame)
        return True

    # -- time -------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` or `packets_to_send` has something to do.

        stall, give up     the other side is silent, and owes an answer
        keepalive          nothing was sent for a while, or what came has stopped
        re-key             the keys are old, or the old phase may be dropped
        in flight          a packet is lost, a path to be probed, left, challenged or doubted
        to send            an acknowledgement, our addresses, a larger size to try
        close              it was asked for and is not sent yet: nothing else wakes then
        """
        if self.is_closed:
            return self._close_is_due_at
        liveness = self._liveness
        times = [
            liveness.stall_at(),
            liveness.give_up_at(),
            liveness.keepalive_at(self._is_held_back),
            self._rekeying.next_timeout(),
            *self._in_flight.deadlines(),
            *self._sender.deadlines(),
        ]
        return min((time for time in times if time is not None), default=None)

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return when pacing lets the next packet go, if one waits for that."""
        return None if self.is_closed else self._sender.next_pacing(now)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        if self.is_closed:
            return
        liveness = self._liveness
        liveness.forgive_sleep(now)
        give_up_at, stall_at = liveness.give_up_at(), liveness.stall_at()
        silent_s = now - liveness.heard_at
        if give_up_at is not None and now >= give_up_at:
            self._trace("link.given_up", {"silent_s": silent_s})
            self._finish(now, LinkGivenUp(silent_s))
            return
        if stall_at is not None and now >= stall_at:
            liveness.is_stalled = True
            self.counters.stalls += 1
            left_s = (give_up_at or now) - now
            self._events.append(LinkStalled(silent_s, left_s))
        self._in_flight.handle_timeout(now)
        self._path_talk.choose(now)
        if now >= liveness.keepalive_at(self._is_held_back):
            liveness.pinged()
            self.ping()
        rekey = self._rekeying.handle_timeout(now, self.counters.bytes_total)
        if rekey is not None:
            self._control.add(rekey)

    # -- what goes out ----------------------------------------------------------------------

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what may go out now, control first; ask again until it returns none."""
        if not self.is_closed:
            return self._sender.packets_to_send(now, limit)
        if self._close is None or self._close_is_due_at is None:
            return []
        self._close_is_due_at = None
        return self._sender.close_packets(now, self._close)

    # -- ending -----------------------------------------------------------------------------

    def _finish(self, now: Instant, event: LinkEvent) -> None:
        self.closed_at = now
        self._in_flight.forget_all()
        self._paths.direct.keep_active_only()
        self._packer.let_go()
        self.datagrams_out.clear()
        self.datagrams_in.clear()
        self._control.clear()
        self._acks.clear()
        self._liveness.is_stalled = False
        self._liveness.all_answered()
        self._events.append(event)

    def _repeat_close(self, now: Instant) -> None:
        is_idle = self._close is not None and self._close_is_due_at is None
        if is_idle and now >= self._liveness.last_sent + CLOSE_REPEAT_S:
            self._close_is_due_at = now
