"""Round-trip time of one path: smoothed, variation, minimum; and the probe timeout from them.

Source: RFC 9002, sections 5 and 6.2.
"""

from tunnel.units import Seconds

# Fixed by RFC 9002.
INITIAL_RTT_S = 0.333
GRANULARITY_S = 0.001
# Fixed by the protocol: the longest a receiver sits on an acknowledgement.
MAX_ACK_DELAY_S = 0.025


class RttEstimator:
    """Estimates from samples in seconds; starts at RFC 9002's 333 ms."""

    __slots__ = ("has_sample", "latest_s", "minimum_s", "smoothed_s", "variation_s")

    def __init__(self) -> None:
        self.has_sample = False
        self.latest_s = self.smoothed_s = self.minimum_s = INITIAL_RTT_S
        self.variation_s = INITIAL_RTT_S / 2

    def sample(self, rtt_s: Seconds, ack_delay_s: Seconds) -> None:
        """Take a sample; `ack_delay_s` is what the other side says it waited."""
        rtt_s = max(rtt_s, 0.0)
        self.latest_s = rtt_s
        if not self.has_sample:
            self.has_sample = True
            self.minimum_s = self.smoothed_s = rtt_s
            self.variation_s = rtt_s / 2
            return
        self.minimum_s = min(self.minimum_s, rtt_s)
        delay_s = min(ack_delay_s, MAX_ACK_DELAY_S)
        adjusted_s = rtt_s - delay_s if rtt_s >= self.minimum_s + delay_s else rtt_s
        deviation_s = abs(self.smoothed_s - adjusted_s)
        self.variation_s = 0.75 * self.variation_s + 0.25 * deviation_s
        self.smoothed_s = 0.875 * self.smoothed_s + 0.125 * adjusted_s

    @property
    def probe_timeout_s(self) -> Seconds:
        """How long to wait for an acknowledgement before probing (the PTO)."""
        return self.smoothed_s + max(4 * self.variation_s, GRANULARITY_S) + MAX_ACK_DELAY_S

    @property
    def loss_delay_s(self) -> Seconds:
        """How much older than an acknowledged packet a lost one is (the time threshold)."""
        return max(1.125 * max(self.smoothed_s, self.latest_s), GRANULARITY_S)
