"""What was sent on one path and not yet acknowledged, and when to call it lost.

    sent --ack--> acknowledged            a record covers one packet, or one burst of equal bulk
     |                                    datagrams with consecutive numbers
     +--older than the time threshold,--> lost: its content is sent again under new numbers
     |  or so many numbers behind            |
     |                                       +--acknowledged after all: the path reorders
     +--the path is silent--> given up: its content goes by another path
                                |
                                +--acknowledged after all: what still waits to go is not sent again

A direct path whose packets overtake each other shows it by acknowledgements of what was called
lost; the packet threshold then grows over that distance.

A relay keeps the order, so a late packet there means a queue, not a loss, and only what was
overtaken is missing.  Control goes before the data that waits in our own socket: that it has
arrived says nothing about data that was sent before it.

This module says what is lost; `tunnel.proto.link.resending` has its content sent again.
Source: RFC 9002, section 6; RFC 8985 for a threshold that learns.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

from tunnel.errors import ProtocolViolation
from tunnel.proto.recovery.rtt import RttEstimator
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import Instant, Seconds
from tunnel.wire.frames import Ack

# Fixed by RFC 9002.
PACKET_THRESHOLD = 3
# Chosen: beyond this only the time threshold counts.
MAX_PACKET_THRESHOLD = 256
# Chosen: pings in flight, which say nothing that another does not say as well.  A peer that is
# heard and acknowledges nothing, or a relay that has us ask again and again, makes any number.
MAX_PINGS = 64
MAX_SUSPECTS = 8  # records lately called lost that are remembered, should they arrive after all
# Chosen: records given up that are remembered; a path may go and come back before the
# acknowledgements that were under way do.
MAX_GIVEN_UP = 512
# Chosen: a probe timeout never backs off beyond this (design: probes at most 2 s apart).
MAX_PROBE_TIMEOUT_S = 2.0
PATIENCE = 1.5  # times the latest round trip
# Chosen: backed off so far, a probe goes out along with one of another path, so that a link whose
# paths are all silent wakes its machine as seldom as one path would.
PROBE_TOGETHER_S = MAX_PROBE_TIMEOUT_S / 2


class SentLedger:
    """The records of one path, oldest first.

    Args:
        has_packet_threshold: whether reordering by PACKET_THRESHOLD counts as loss; the path keeps
            the order where it does not.
    """

    def __init__(self, has_packet_threshold: bool) -> None:
        self.rtt = RttEstimator()
        self.in_flight_packets = 0  # ack-eliciting ones
        self.in_flight_bytes = 0
        self.probe_count = 0
        self.peer_delay_s: Seconds = 0.0  # how long they held the newest packet last acknowledged
        self.packet_threshold = PACKET_THRESHOLD  # numbers behind the newest that mean loss
        self._has_packet_threshold = has_packet_threshold
        self._called_lost: deque[tuple[int, int]] = deque(maxlen=MAX_SUSPECTS)  # first, last
        self._records: list[SentRecord] = []
        self._pings: deque[SentRecord] = deque()  # those in flight, and some answered ones
        self._given_up: list[SentRecord] = []  # and not acknowledged since, oldest first
        self._next_number = 0
        self._largest_acked = -1
        self._largest_data_acked = -1  # of what overtakes nothing
        self._probe_base: Instant | None = None  # when the probe timeout started
        self._answered_at: Instant | None = None  # when something was last acknowledged

    @property
    def unanswered_since(self) -> Instant | None:
        """Since when nothing in flight was acknowledged, or None if nothing is in flight."""
        if not self._records:
            return None
        return max(self._records[0].sent_at, self._answered_at or self._records[0].sent_at)

    @property
    def oldest(self) -> SentRecord | None:
        """The oldest ack-eliciting record in flight."""
        return next((record for record in self._records if record.is_ack_eliciting), None)

    @property
    def has_content(self) -> bool:
        """Whether something in flight would be missed: all but pings."""
        return any(record.ranges or record.frames for record in self._records)

    def sent(self, record: SentRecord) -> None:
        """Note packets that were just sealed, in the order of their numbers."""
        self._next_number = record.first + record.count
        if not record.is_ack_eliciting:
            return  # nobody answers it, and its content is worth nothing when lost
        if not self._records:
            self._probe_base = record.sent_at
        self._records.append(record)
        self.in_flight_packets += record.count
        self.in_flight_bytes += record.count * record.size

    def sent_ping(self, record: SentRecord) -> None:
        """Note a packet that only asks for an answer; of too many the last but one is forgotten.

        The first ones stay, since they tell how long nothing has been answered.
        """
        self.sent(record)
        pings, records = self._pings, self._records
        while pings and pings[0].first < records[0].first:
            pings.popleft()
        pings.append(record)
        if len(pings) > MAX_PINGS:
            spare = pings[-2]
            del pings[-2]
            place = bisect_left(records, spare.first, key=lambda each: each.first)
            if records[place] is spare:
                del records[place]
                self._forget(spare)

    def acked(
        self, now: Instant, ack: Ack, waited_s: Seconds = 0.0, *, is_own: bool = True
    ) -> list[SentRecord]:
        """Return the records an ACK newly acknowledges; raises `ProtocolViolation`.

        `waited_s` is how long it had been on this machine before anybody read it.  One that is not
        `is_own` came by a path of another kind: it says nothing about the round-trip time here, and
        that packets passed when they were sent, not that they do now.
        """
        largest = ack.ranges[0][1]
        if largest >= self._next_number:
            raise ProtocolViolation("an acknowledgement of a packet that was never sent")
        self._learn_reordering(ack)
        newly = _cut_out(self._records, ack)
        for record in newly:
            self._forget(record)
        if newly:
            newest = max(newly, key=lambda record: record.first)
            self.peer_delay_s = 0.0
            if newest.first + newest.count - 1 == largest:
                self.peer_delay_s = ack.delay_us / 1e6
                if is_own:
                    rtt_s = now - waited_s - newest.sent_at
                    self.rtt.sample(rtt_s, self.peer_delay_s)
            self.probe_count = 0
            self._probe_base = now
            answered_at = now if is_own else newest.sent_at
            self._answered_at = max(answered_at, self._answered_at or answered_at)
            data = (each.first + each.count - 1 for each in newly if not each.is_control)
            self._largest_data_acked = max(self._largest_data_acked, max(data, default=-1))
        self._largest_acked = max(self._largest_acked, largest)
        return newly

    def acked_late(self, ack: Ack) -> list[SentRecord]:
        """Return what an ACK names of the records given up: it was only late."""
        return _cut_out(self._given_up, ack)

    def lost(self, now: Instant) -> list[SentRecord]:
        """Take out and return the records that count as lost at `now`."""
        lost = []
        for record in self._overtaken():
            if not self._is_lost(record, now):
                break
            lost.append(record)
        for record in lost:
            self._records.remove(record)
            self._forget(record)
            self._called_lost.append((record.first, record.first + record.count - 1))
        return lost

    def forget_all(self) -> None:
        """Forget everything in flight: no answer counts any more."""
        self._records, self._given_up = [], []
        self.in_flight_packets = self.in_flight_bytes = 0

    def give_up(self) -> list[SentRecord]:
        """Take out and return everything in flight, which may still be acknowledged later."""
        given_up, self._records = self._records, []
        self._given_up += [record for record in given_up if record.ranges]
        del self._given_up[:-MAX_GIVEN_UP]
        self.in_flight_packets = self.in_flight_bytes = 0
        return given_up

    def all_lost(self) -> list[SentRecord]:
        """Take out and return everything in flight: the path was changed below us."""
        lost = self.give_up()
        self.probe_count = 0
        self.rtt = RttEstimator()
        self.packet_threshold = PACKET_THRESHOLD
        self._called_lost.clear()
        return lost

    def probed(self, now: Instant) -> None:
        """Note that the probe timeout was answered by a probe."""
        self.probe_count += 1
        self._probe_base = now

    def loss_deadline(self) -> Instant | None:
        """When the oldest record will count as lost by the time threshold."""
        record = next(self._overtaken(), None)
        return None if record is None else Instant(record.sent_at + self.rtt.loss_delay_s)

    def probe_deadline(self) -> Instant | None:
        """When to probe, since nothing was acknowledged for a probe timeout."""
        if not self._records or self._probe_base is None:
            return None
        return Instant(max(self._probe_base, self._records[0].sent_at) + self.probe_timeout_s)

    @property
    def probe_timeout_s(self) -> Seconds:
        """The probe timeout; after the first probe with its back-off, at most 2 s.

        The first one is at most 2 s too, or half as much again as the latest answer took: after a
        few answers that came late it would be many times what answers take by now.
        """
        base = self.rtt.probe_timeout_s
        if not self.probe_count:
            return min(base, max(MAX_PROBE_TIMEOUT_S, PATIENCE * self.rtt.latest_s))
        return min(base * 2.0 ** min(self.probe_count, 16), MAX_PROBE_TIMEOUT_S)

    @property
    def may_probe_early_s(self) -> Seconds:
        """How much before its deadline a probe may go out along with another."""
        is_slow = self.probe_count > 0 and self.probe_timeout_s >= MAX_PROBE_TIMEOUT_S
        # Where answers take long, the probe before may still be answered.
        return PROBE_TOGETHER_S if is_slow and self.rtt.probe_timeout_s < PROBE_TOGETHER_S else 0.0

    def _overtaken(self) -> Iterator[SentRecord]:
        """Yield the records in flight that were sent before one that has arrived, oldest first."""
        largest, largest_data = self._largest_acked, self._largest_data_acked
        for record in self._records:
            if record.first > largest:
                return
            if self._has_packet_threshold or record.is_control or record.first <= largest_data:
                yield record

    def _is_lost(self, record: SentRecord, now: Instant) -> bool:
        if now >= record.sent_at + self.rtt.loss_delay_s:
            return True
        last = record.first + record.count - 1
        return self._has_packet_threshold and last + self.packet_threshold <= self._largest_acked

    def _learn_reordering(self, ack: Ack) -> None:
        """Raise the packet threshold over the distance of packets wrongly called lost."""
        if not self._called_lost or not self._has_packet_threshold:
            return
        oldest = min(first for first, _ in self._called_lost)
        for low, high in ack.ranges:
            if high < oldest:
                return
            for suspect in [
                each for each in self._called_lost if low <= each[1] and each[0] <= high
            ]:
                self._called_lost.remove(suspect)
                distance = min(self._largest_acked - suspect[0] + 1, MAX_PACKET_THRESHOLD)
                self.packet_threshold = max(self.packet_threshold, distance)

    def _forget(self, record: SentRecord) -> None:
        self.in_flight_packets -= record.count
        self.in_flight_bytes -= record.count * record.size


def _cut_out(records: list[SentRecord], ack: Ack) -> list[SentRecord]:
    """Take out what an ACK names, splitting bursts at the borders of its ranges."""
    taken: list[SentRecord] = []
    for first, last in ack.ranges:
        if not records or last < records[0].first:
            break  # ranges go downwards: everything from here on was answered before
        low = bisect_left(records, first, key=lambda record: record.first + record.count - 1)
        while low < len(records) and records[low].first <= last:
            record = records[low]
            if record.first < first:
                records.insert(low, record.split(first - record.first))
                low += 1
            elif record.first + record.count - 1 > last:
                taken.append(record.split(last - record.first + 1))
                break
            else:
                taken.append(records.pop(low))
    return taken
