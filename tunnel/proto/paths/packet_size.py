"""SizeSearch: the largest datagram that one direct path carries, found by probes (DPLPMTUD).

    1200 bytes --probe acknowledged--> larger --three probes lost--> smaller steps --> settled
      ^                                                                                  |  |
      +-- black hole: larger packets lost twice in a row, and none acknowledged ---------+  |
                                            larger sizes are tried again after 10 min <-----+

A probe is a padded PING.  It is not in flight for the rate controller or the ledger: a lost one is
neither congestion nor a reason to doubt the path, and its own acknowledgement is all that counts;
an ICMP message is never believed.  Source: RFC 8899, sections 3, 4.3 and 5.3.  Knows nothing of
what packets carry, of rates, or of whether the path still lives.
"""

from collections.abc import Iterable, Sequence

from tunnel.proto.machine import Timed
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import ByteCount, Instant, Seconds

# Fixed by the protocol.
BASE_DATAGRAM: ByteCount = 1200  # every path carries that much; larger ones must be proved
MAX_DATAGRAM: ByteCount = 32_000  # two of them are a burst that one segmented send takes
MAX_PROBES = 3  # RFC 8899: so many lost probes of a size mean that the path does not carry it
RAISE_AFTER_S: Seconds = 600.0  # RFC 8899's PMTU_RAISE_TIMER
# Chosen: what links carry in an IP packet, from IPv6's least to loopback.  Between them: tunnels
# (1400, WireGuard 1420, VXLAN 1450, GCP 1460, GRE 1476, 6in4 1480, PPPoE 1492), Ethernet, jumbo
# frames as clouds have them.
LINK_MTUS = (
    1280, 1340, 1380, 1400, 1420, 1440, 1450, 1460, 1476, 1480, 1492, 1500, 8896, 16_384, 32_048,
)  # fmt: skip
LIKELY_MTUS = (1500, 8896)  # tried first while they are open; between others the search bisects
IPV4_HEADERS, IPV6_HEADERS = 28, 48  # IP and UDP
ALIGNMENT = 8  # bulk packets are filled in steps of 8 bytes, so that a probe is as long as they are
# Chosen: one lost packet may be chance, three in two goes are not.
BLACK_HOLE_PACKETS = 3


class SizeSearch(Timed):
    """Searches one path; a path that is new or came back gets a new one.

    Args:
        now: when the path was taken into use.
        is_ipv6: whether it is one over IPv6, whose headers are longer.
    """

    def __init__(self, now: Instant, is_ipv6: bool) -> None:
        self.size: ByteCount = BASE_DATAGRAM  # the largest that was proved
        headers = IPV6_HEADERS if is_ipv6 else IPV4_HEADERS
        self._sizes = sorted({_fitting(mtu - headers) for mtu in LINK_MTUS})
        self._likely = [self._sizes.index(_fitting(mtu - headers)) for mtu in LIKELY_MTUS]
        self._proved = -1  # index of the largest proved size; -1: BASE_DATAGRAM
        self._refused = len(self._sizes)  # index of the smallest refused size
        self._probes: dict[int, int] = {}  # packet number -> index of its size
        self._tries = 0  # of the size that is probed now
        self._due_at: Instant | None = now  # the next probe, or the end of waiting for the last
        self._is_waiting = False  # for the acknowledgement of a probe
        self._suspected_at: Instant | None = None  # larger packets were lost then, none acked since
        self._lost_size: ByteCount = 0  # the smallest of them
        self._lost_packets = 0

    def next_timeout(self) -> Instant | None:
        """Return when `probe_to_send` has something to do."""
        return self._due_at

    # -- probing ----------------------------------------------------------------------------

    def probe_to_send(self, now: Instant) -> ByteCount | None:
        """Return the size of the datagram to probe with now, or None; it must be sent then."""
        if self._due_at is None or now < self._due_at:
            return None
        if self._is_waiting:
            self._is_waiting = False
            if self._tries >= MAX_PROBES:
                self._refuse(now)
        elif self._is_settled:
            self._refused = len(self._sizes)
        index = self._next_index()
        if index is None:
            self._settle(now)
            return None
        return self._sizes[index]

    def probed(self, now: Instant, number: int, timeout_s: Seconds) -> None:
        """Note that the probe asked for left as packet `number`; it is lost after `timeout_s`."""
        index = self._next_index()
        if index is None:
            raise ValueError("a probe that nobody asked for")
        self._probes[number] = index
        while len(self._probes) > MAX_PROBES:
            del self._probes[next(iter(self._probes))]
        self._tries += 1
        self._is_waiting = True
        self._due_at = Instant(now + timeout_s)

    def handle_ack(self, now: Instant, ranges: Iterable[tuple[int, int]]) -> bool:
        """Take the packet numbers of an acknowledgement; returns whether the size grew."""
        if not self._probes:
            return False
        covered = [
            number
            for number in self._probes
            if any(first <= number <= last for first, last in ranges)
        ]
        if not covered:
            return False
        self._prove(now, max(self._probes.pop(number) for number in covered))
        return True

    # -- black holes ------------------------------------------------------------------------

    def on_acked(self, records: Sequence[SentRecord]) -> None:
        """Note packets that passed."""
        if self._suspected_at is None:
            return
        if any(record.size >= self._lost_size for record in records):
            self._forget_suspicion()

    def on_lost(self, now: Instant, records: Sequence[SentRecord]) -> bool:
        """Note packets called lost; returns whether the path swallows larger ones, and falls back.

        It does when they are lost, sent again and lost again while nothing of their size passes.
        That something passes at all is known: or else nothing would be called lost.
        """
        large = [record for record in records if record.size > BASE_DATAGRAM]
        if not large:
            return False
        smallest = min(record.size for record in large)
        self._lost_packets += sum(record.count for record in large)
        if self._suspected_at is None:
            self._suspected_at, self._lost_size = now, smallest
            return False
        self._lost_size = min(self._lost_size, smallest)
        is_again = max(record.sent_at for record in large) >= self._suspected_at
        if not is_again or self._lost_packets < BLACK_HOLE_PACKETS:
            return False
        self._fall_back(now)
        return True

    def _forget_suspicion(self) -> None:
        self._suspected_at = None
        self._lost_packets = 0

    def _fall_back(self, now: Instant) -> None:
        """Begin anew, with the size that was swallowed refused until it is time to try again."""
        self._refused = max(self._proved, 0)
        self._proved = -1
        self.size = BASE_DATAGRAM
        self._probes.clear()
        self._forget_suspicion()
        self._tries, self._is_waiting, self._due_at = 0, False, now
        if self._is_settled:
            self._settle(now)

    # -- the search -------------------------------------------------------------------------

    @property
    def _is_settled(self) -> bool:
        return self._refused - self._proved <= 1

    def _next_index(self) -> int | None:
        """Return which size to try, between the largest proved and the smallest refused one."""
        if self._is_settled:
            return None
        for index in self._likely:
            if self._proved < index < self._refused:
                return index
        return (self._proved + self._refused) // 2

    def _refuse(self, now: Instant) -> None:
        index = self._next_index()
        self._refused = self._refused if index is None else index
        self._tries = 0
        if self._is_settled:
            self._settle(now)

    def _prove(self, now: Instant, index: int) -> None:
        """Take a proof, perhaps of a size that had been given up too early."""
        if index <= self._proved:
            return
        self._proved = index
        self._refused = max(self._refused, index + 1)
        self.size = self._sizes[index]
        self._tries, self._is_waiting, self._due_at = 0, False, now
        if self._is_settled:
            self._settle(now)

    def _settle(self, now: Instant) -> None:
        """Wait until it is time to look for more, if there may be more at all."""
        is_at_top = self._proved == len(self._sizes) - 1
        self._due_at = None if is_at_top else Instant(now + RAISE_AFTER_S)


def _fitting(size: ByteCount) -> ByteCount:
    """Return the largest datagram of at most `size` bytes that bulk packets fill."""
    return min(size, MAX_DATAGRAM) // ALIGNMENT * ALIGNMENT
