"""Pacing of one path: bytes leave at a rate, in bursts that spare system calls.

    credit grows with the rate     closed --credit reaches one burst--> open
    up to its depth, and every       ^                                    |
    packet sent takes from it        +--less credit than one packet-------+

Waiting for a whole burst before opening keeps the wake-ups few and the bursts long.  The depth is
what a late wake-up may catch up with.  Sans-IO: the clock is an argument.  It knows no acks.
"""

from tunnel.units import ByteCount, BytesPerSecond, Instant, Seconds

# Fixed by the protocol: what the other side's socket must be able to take at once.
BURST_S: Seconds = 0.001
MIN_BURST = 2  # packets: an acknowledgement is due after two
MAX_PACED_BURST = 45  # packets
MAX_BURST_BYTES = 64_000  # of one segmented send: 45 packets of 1400 bytes, or two of 32000
CATCH_UP_S: Seconds = 0.002
BUFFER_SHARE = 4  # a burst takes at most a quarter of the other side's receive buffer
# Chosen: at low rates 2 ms are less than a packet, and a sender whose timers are late by 5 ms would
# get stuck at a tenth of what it might send; RFC 6928 lets any sender begin with as many.
CATCH_UP_PACKETS = 10
# Chosen.
WHOLE_PACKET = 0.99  # this much of a packet's credit is a packet: the rest is rounding
MAX_PACKETS_WAITING = 512  # at one instant, when the other side did not tell its buffer


class Pacer:
    """Credit for packets of one path; starts with one burst.

    Args:
        now: when it was made.
        rate: bytes a second to start with, over 0.
        packet_size: bytes of a full packet.
        peer_buffer: bytes of the other side's receive buffer, or None if it did not tell.
    """

    __slots__ = (
        "_credit", "_filled_at", "_is_open", "_packet_size", "_peer_buffer", "_rate",
        "_wasted_s", "burst_packets", "depth",
    )  # fmt: skip

    def __init__(
        self,
        now: Instant,
        rate: BytesPerSecond,
        packet_size: ByteCount,
        peer_buffer: ByteCount | None,
    ) -> None:
        self._rate = rate
        self._packet_size = packet_size
        self._peer_buffer = peer_buffer
        self._filled_at = now
        self._is_open = True
        self._wasted_s: Seconds = 0.0  # for which credit was lost, since bytes last left
        self.burst_packets = self.depth = 0
        self._credit: float = 0.0
        self._set_limits()
        self._credit = self.burst_packets * packet_size

    def set_rate(self, now: Instant, rate: BytesPerSecond) -> None:
        """Go on at another rate, over 0; credit already earned stays, within the new depth."""
        self._fill(now)
        self._rate = rate
        self._set_limits()

    def set_packet_size(self, packet_size: ByteCount) -> None:
        """Go on with packets of another size."""
        self._packet_size = packet_size
        self._set_limits()

    def set_peer_buffer(self, peer_buffer: ByteCount) -> None:
        """Keep bursts to what the other side says about its receive buffer now."""
        self._peer_buffer = peer_buffer
        self._set_limits()

    def sendable_packets(self, now: Instant) -> int:
        """Return how many full packets may leave now in one burst; 0 while it is closed."""
        self._fill(now)
        if not self._is_open:
            self._is_open = self._missing < (1 - WHOLE_PACKET) * self._packet_size
            if not self._is_open:
                return 0
        return max(
            1, min(int(self._credit / self._packet_size + 1 - WHOLE_PACKET), self.burst_packets)
        )

    def next_send_at(self, now: Instant) -> Instant:
        """Return when the next burst may leave; `now` if it may already."""
        self._fill(now)
        if self._is_open:
            return now
        return Instant(now + max(0.0, self._missing / self._rate))

    def on_sent(self, now: Instant, size: ByteCount) -> Seconds:
        """Take the credit of `size` bytes that left; control packets may run into debt.

        Returns for how long credit had been lost since bytes last left: nobody sent any.
        """
        self._fill(now)
        # One depth of debt at most, so that many control packets cannot silence the path.
        self._credit = max(self._credit - size, -float(self.depth))
        wasted_s, self._wasted_s = self._wasted_s, 0.0
        if self._credit < self._packet_size * WHOLE_PACKET:
            self._is_open = False
        return wasted_s

    def _set_limits(self) -> None:
        """Work out the longest burst, and the most bytes that may leave at one instant."""
        packet_rate = self._rate / self._packet_size
        most = MAX_PACKETS_WAITING
        if self._peer_buffer is not None:
            most = max(MIN_BURST, self._peer_buffer // BUFFER_SHARE // self._packet_size)
        longest = min(MAX_PACED_BURST, MAX_BURST_BYTES // self._packet_size, most)
        self.burst_packets = max(MIN_BURST, min(int(packet_rate * BURST_S), longest))
        late_packets = min(max(int(packet_rate * CATCH_UP_S), CATCH_UP_PACKETS), most)
        self.depth = max(self.burst_packets, late_packets) * self._packet_size
        self._credit = min(self._credit, self.depth)

    @property
    def _missing(self) -> float:
        """Bytes of credit short of one burst; negative when there is more."""
        return self.burst_packets * self._packet_size - self._credit

    def _fill(self, now: Instant) -> None:
        elapsed_s = now - self._filled_at
        if elapsed_s <= 0.0:
            return  # a clock that stands still or goes back fills nothing
        self._filled_at = now
        self._credit += elapsed_s * self._rate
        if self._credit > self.depth:
            self._wasted_s += (self._credit - self.depth) / self._rate
            self._credit = self.depth
