"""How much may be in flight on a path: the interface of rate controllers, and the relay's.

The relay's controller keeps a fixed window of frames under the grant of the other side.  The 32
slots of a DERP server belong to the destination connection, whose owner hands them out: 24 in all
for ack-eliciting frames, so that a window below the grant never overflows the queue.
"""

from collections.abc import Sequence
from typing import Protocol

from tunnel.proto.loss import SentRecord
from tunnel.units import ByteCount, Instant, Seconds

# Fixed by the protocol.
RELAY_GRANT_TOTAL = 24  # ack-eliciting frames all peers together may have in flight to us
RELAY_GRANT_MINIMUM = 2
FIRST_RELAY_FRAME = 16 << 10
FIRST_RELAY_WINDOW = 2
MAX_RELAY_FRAME = 60 << 10
# Chosen: public relays are somebody else's; after a start of 8 MiB 256 KiB in flight will do.
POLITE_AFTER = 8 << 20
POLITE_WINDOW = 256 << 10


class RateController(Protocol):
    """Decides for one path; fed with what was sent, acknowledged and lost on it.

    A controller may keep what it wants to know of a record in `SentRecord.mark`.
    """

    def packet_size(self) -> ByteCount:
        """Return the largest packet to send now, header and tag included."""

    def may_send(self, now: Instant, packets_in_flight: int, bytes_in_flight: ByteCount) -> bool:
        """Tell whether one more ack-eliciting packet may go out now."""

    def next_send_at(self, now: Instant) -> Instant | None:
        """Return when pacing lets the next packet go, or None if only an ack will."""

    def on_sent(self, now: Instant, record: SentRecord, has_more: bool) -> None:
        """Note an ack-eliciting record; `has_more`: the sender would send more if it might."""

    def on_acked(
        self, arrived_at: Instant, records: Sequence[SentRecord], delay_s: Seconds
    ) -> None:
        """Note records acknowledged together, when, and how long the other side held the newest."""

    def on_lost(self, now: Instant, records: Sequence[SentRecord]) -> None:
        """Note records that were called lost together."""


class RelayController:
    """A fixed window of relay frames: two small ones before the first sample, then the grant.

    Args:
        grant: ack-eliciting frames the other side lets us have in flight.
        is_polite: whether the relay is a public one.
    """

    def __init__(self, grant: int, is_polite: bool) -> None:
        self.grant = grant
        self.is_polite = is_polite
        self._acked_bytes = 0

    def packet_size(self) -> ByteCount:
        """Return 16 KiB before the first acknowledgement, then 60 KiB."""
        return MAX_RELAY_FRAME if self._acked_bytes else FIRST_RELAY_FRAME

    def may_send(self, now: Instant, packets_in_flight: int, bytes_in_flight: int) -> bool:
        """Tell whether the window has room for one more frame."""
        del now
        if not self._acked_bytes:
            return packets_in_flight < min(FIRST_RELAY_WINDOW, self.grant)
        is_polite = self.is_polite and self._acked_bytes > POLITE_AFTER
        if is_polite and bytes_in_flight + self.packet_size() > POLITE_WINDOW:
            return packets_in_flight == 0
        return packets_in_flight < self.grant

    def next_send_at(self, now: Instant) -> Instant | None:
        """Return None: the relay is not paced."""
        del now
        return None

    def on_sent(self, now: Instant, record: SentRecord, has_more: bool) -> None:
        """Need nothing: the window counts packets in flight."""
        del now, record, has_more

    def on_acked(
        self, arrived_at: Instant, records: Sequence[SentRecord], delay_s: Seconds
    ) -> None:
        """Count what the other side has."""
        del arrived_at, delay_s
        self._acked_bytes += sum(record.count * record.size for record in records)

    def on_lost(self, now: Instant, records: Sequence[SentRecord]) -> None:
        """Change nothing: the window already stays below what a relay queues."""
        del now, records
