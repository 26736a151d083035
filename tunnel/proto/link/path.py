"""Path: a way out of a link, as its sender sees it; the relay's, and all of a link together.

    Path <-- RelayPath      path 0, by whichever relay connection is in use
         <-- DirectPath     one address pair (`tunnel.proto.paths.direct_path`)

What differs between the two is asked here by name, and each answers for itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from tunnel.proto.machine import Destination, RelayEndpoint
from tunnel.proto.paths.table import PathTable
from tunnel.proto.rate.relay import RelayController
from tunnel.proto.recovery.loss import SentLedger
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.wire.frames import Ack
from tunnel.wire.packet import RELAY_PATH

# Chosen: a claimer whose relay is silent for so long follows the issuer.
RELAY_SILENCE_S: Seconds = 1.0
FLIGHT_FRAMES = 2  # lost, and nothing else on its way: a flight, not a frame that was dropped
CUT_OFF_S: Seconds = 1.0  # and it takes longer (derper: 2 s) to cut off a client that is too slow


class Path(Protocol):
    """What a sender needs of a path, and tells it.

    Attributes:
        moved_at: when an acknowledgement of what was sent on it last moved a stream on.
    """

    moved_at: Instant | None

    # -- what is true of it -----------------------------------------------------------------

    @property
    def id(self) -> int:
        """Our id of it, in the header of every packet."""

    @property
    def endpoint(self) -> Destination:
        """Where its packets go."""

    @property
    def ledger(self) -> SentLedger:
        """What is in flight on it."""

    @property
    def is_relay(self) -> bool:
        """Whether it is the relay; an acknowledgement by a path of the other kind says less."""

    @property
    def is_usable(self) -> bool:
        """Whether what goes out by it may arrive, as far as anybody knows."""

    @property
    def keeps_order(self) -> bool:
        """Whether packets arrive in the order of sending: what is late is in a queue, not lost."""

    @property
    def joins_control(self) -> bool:
        """Whether control rides in packets of small writes; else it goes before data that waits."""

    @property
    def ping_size(self) -> ByteCount:
        """How large a datagram a ping fills; 0 for as small as it is."""

    @property
    def packet_size(self) -> ByteCount:
        """The largest packet to send now, header and tag included."""

    def room(self, now: Instant) -> int:
        """Return how many full packets may leave now, all at once; 0 if not even a small one."""

    def next_send_at(self, now: Instant) -> Instant | None:
        """Return when pacing lets the next packet go, or None if only an acknowledgement will."""

    # -- what happened to what was sent on it -----------------------------------------------

    def on_sent(self, now: Instant, record: SentRecord, has_more: bool) -> None:
        """Note an ack-eliciting record; `has_more`: the sender would send more if it might."""

    def on_acked(
        self,
        now: Instant,
        arrived_at: Instant,
        ack: Ack,
        newly: Sequence[SentRecord],
        *,
        is_own: bool,
    ) -> None:
        """Learn from an acknowledgement.

        Args:
            now: the time.
            arrived_at: when it came to this machine.
            ack: what it says.
            newly: what it newly acknowledges; perhaps nothing.
            is_own: whether it came by a path of the same kind.
        """

    def on_lost(self, now: Instant, records: Sequence[SentRecord]) -> bool:
        """Note records called lost together; returns whether all in flight is to be given up."""


@dataclass(slots=True)
class RelayPath:
    """Path 0, by whichever relay connection is in use; a `Path` of its link.

    Args:
        endpoint: the relay connection and the peer's key.
        controller: keeps to the frames that the peer granted.
        heard_at: when this relay last delivered an authentic packet.
        relays_up: the relay connections that are up now; kept by the owner, read here.
    """

    id: ClassVar[int] = RELAY_PATH
    is_relay: ClassVar[bool] = True
    keeps_order: ClassVar[bool] = True
    joins_control: ClassVar[bool] = False
    ping_size: ClassVar[ByteCount] = 0

    endpoint: RelayEndpoint
    controller: RelayController
    heard_at: Instant
    relays_up: set[int]
    ledger: SentLedger = field(default_factory=lambda: SentLedger(has_packet_threshold=False))
    moved_at: Instant | None = None
    is_full: bool = False  # its connection takes no data now, only control

    @property
    def is_usable(self) -> bool:
        """Whether a relay connection is up, be it the one in use or another."""
        return bool(self.relays_up)

    def is_silent(self, now: Instant) -> bool:
        """Tell whether the relay in use is down, or delivered nothing for a while."""
        patience_s = max(RELAY_SILENCE_S, 2 * self.ledger.rtt.probe_timeout_s)
        return now >= self.heard_at + patience_s or self.endpoint.relay not in self.relays_up

    def use(self, now: Instant, relay: int) -> None:
        """Go by another relay connection, or by one made anew: its model starts over.

        Nothing is known of what a relay still held, so what is in flight is to be given up.
        """
        self.endpoint = RelayEndpoint(relay, self.endpoint.key)
        self.heard_at = now
        self.controller = RelayController(self.controller.grant, self.controller.is_polite)

    @property
    def packet_size(self) -> ByteCount:
        """The largest frame to send now."""
        return self.controller.packet_size()

    def room(self, now: Instant) -> int:
        """Return 1 if the window and the connection have room for a frame: it is not paced."""
        del now
        ledger = self.ledger
        may_send = self.controller.may_send(ledger.in_flight_packets, ledger.in_flight_bytes)
        return int(may_send and not self.is_full)

    def next_send_at(self, now: Instant) -> Instant | None:
        """Return None: the relay's TCP paces."""
        del now
        return None

    def on_sent(self, now: Instant, record: SentRecord, has_more: bool) -> None:
        """Note an ack-eliciting record; `has_more`: the sender would send more if it might."""
        if self.ledger.in_flight_packets == record.count:  # nothing else is in flight
            self.controller.on_idle_ended(now)
        self.controller.on_sent(record, has_more)

    def on_acked(
        self,
        now: Instant,
        arrived_at: Instant,
        ack: Ack,
        newly: Sequence[SentRecord],
        *,
        is_own: bool,
    ) -> None:
        """Learn the grant, and from what came back by a relay how the relay delivers."""
        del now
        if ack.relay_grant:
            self.controller.grant = ack.relay_grant
        if newly and is_own:
            self.controller.on_acked(arrived_at, newly, self.ledger.peer_delay_s)

    def on_lost(self, now: Instant, records: Sequence[SentRecord]) -> bool:
        """Start again if all there was is lost: the relay had cut the other side off.

        It may have been too much for their line.  Fewer losses change nothing: a relay drops when
        others overfill its queue.
        """
        lost = [record for record in records if record.ranges]
        is_flight = len(lost) >= FLIGHT_FRAMES and not self.ledger.has_content
        if is_flight and now >= min(record.sent_at for record in lost) + CUT_OFF_S:
            self.controller.on_flight_lost(sum(record.count * record.size for record in lost))
        return False


class Paths:
    """Every path of a link.

    Args:
        relay: path 0.
        direct: the direct ones; it stays empty where both sides keep to the relay.
    """

    def __init__(self, relay: RelayPath, direct: PathTable) -> None:
        self.relay = relay
        self.direct = direct

    @property
    def active(self) -> Path:
        """The path that data takes."""
        return self.direct.active or self.relay

    def __iter__(self) -> Iterator[Path]:
        yield self.relay
        yield from self.direct

    def by_id(self, path_id: int) -> Path | None:
        """Return a path by our id of it, if it is there still."""
        return self.relay if path_id == RELAY_PATH else self.direct.by_id(path_id)
