"""The search for a path's datagram size, probe by probe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.proto.paths.packet_size import (
    BASE_DATAGRAM,
    MAX_DATAGRAM,
    MAX_PROBES,
    RAISE_AFTER_S,
    SizeSearch,
)
from tunnel.proto.recovery.sent import SentRecord
from tunnel.units import Instant

WAIT_S = 0.1
RTT_S = 0.02


class Path:
    """Answers probes that fit its MTU, and loses the rest."""

    def __init__(self, mtu, is_ipv6=False):
        self.mtu, self.headers = mtu, 48 if is_ipv6 else 28
        self.now = 10.0
        self.search = SizeSearch(Instant(self.now), is_ipv6)
        self.probes = []

    def carries(self, size):
        return size + self.headers <= self.mtu

    def run(self, seconds=30.0):
        """Let the search do what it wants to for a while."""
        end = self.now + seconds
        while self.search.next_timeout() is not None and self.search.next_timeout() <= end:
            self.now = max(self.now, self.search.next_timeout())
            size = self.search.probe_to_send(Instant(self.now))
            if size is None:
                continue
            number = len(self.probes)
            self.probes.append((self.now, size))
            self.search.probed(Instant(self.now), number, WAIT_S)
            if self.carries(size):
                self.now += RTT_S
                self.search.handle_ack(Instant(self.now), ((number, number),))
        self.now = end

    def send(self, count=10, size=None):
        """Send data and lose it if it is too large; returns whether the search fell back."""
        record = SentRecord(10_000, count, Instant(self.now), size or self.search.size, True)
        self.now += RTT_S
        if self.carries(record.size):
            self.search.on_acked([record])
            return False
        return self.search.on_lost(Instant(self.now), [record])

    @property
    def sizes(self):
        return [size for _, size in self.probes]


def settled(mtu, is_ipv6=False):
    path = Path(mtu, is_ipv6)
    path.run()
    return path


@pytest.mark.parametrize(
    ("mtu", "is_ipv6", "size"),
    [
        (1228, False, 1200), (1280, True, 1232), (1280, False, 1248), (1400, False, 1368),
        (1420, False, 1392), (1420, True, 1368), (1492, False, 1464), (1500, False, 1472),
        (1500, True, 1448), (9000, False, 8864), (65_536, False, MAX_DATAGRAM),
        (65_536, True, MAX_DATAGRAM),
    ],
)  # fmt: skip
def test_the_search_ends_at_the_largest_size_that_the_path_carries(mtu, is_ipv6, size):
    assert settled(mtu, is_ipv6).search.size == size


def test_ethernet_is_found_with_the_first_probe():
    path = settled(1500)

    assert path.sizes[0] == 1472
    assert path.probes[1][0] - path.probes[0][0] == pytest.approx(RTT_S)


def test_a_size_is_given_up_after_three_lost_probes_and_not_before():
    path = settled(1400)

    tried = [size for size in path.sizes if not path.carries(size)]
    assert {size: tried.count(size) for size in tried} == dict.fromkeys(tried, MAX_PROBES)


def test_a_settled_search_is_silent_for_ten_minutes_and_looks_for_more_then():
    path = settled(1400)
    count = len(path.probes)
    path.run(RAISE_AFTER_S - 40)
    assert len(path.probes) == count

    path.mtu = 1500
    path.run(60)

    assert path.search.size == 1472
    assert len(path.probes) > count


def test_the_largest_size_needs_no_more_probes():
    path = settled(65_536)

    assert path.search.next_timeout() is None


def test_an_acknowledgement_that_comes_late_proves_the_size_still():
    search = SizeSearch(Instant(10.0), is_ipv6=False)
    now = 10.0
    for number in range(MAX_PROBES):
        assert search.probe_to_send(Instant(now)) == 1472
        search.probed(Instant(now), number, WAIT_S)
        now += WAIT_S
    assert search.probe_to_send(Instant(now)) < 1472

    assert search.handle_ack(Instant(now), ((0, 2),))

    assert search.size == 1472


def test_an_acknowledgement_of_other_packets_proves_nothing():
    search = SizeSearch(Instant(10.0), is_ipv6=False)
    search.probe_to_send(Instant(10.0))
    search.probed(Instant(10.0), 7, WAIT_S)

    assert not search.handle_ack(Instant(10.1), ((8, 9), (0, 6)))
    assert search.size == BASE_DATAGRAM


def test_larger_packets_lost_twice_in_a_row_are_a_black_hole():
    path = settled(1500)
    path.mtu = 1400

    assert not path.send()
    assert path.send()
    assert path.search.size == BASE_DATAGRAM
    count = len(path.probes)
    path.run(5)
    assert path.search.size == 1368
    assert 1472 not in path.sizes[count:]


def test_one_round_of_losses_is_no_black_hole():
    path = settled(1500)
    early = SentRecord(1, 40, Instant(path.now), 1472, True)
    also_early = SentRecord(41, 40, Instant(path.now), 1472, True)

    assert not path.search.on_lost(Instant(path.now + 0.02), [early])
    assert not path.search.on_lost(Instant(path.now + 0.03), [also_early])
    assert path.search.size == 1472


def test_one_large_packet_that_passes_ends_the_suspicion():
    path = settled(1500)
    path.mtu = 1400
    path.send()
    path.mtu = 1500
    path.send(1)
    path.mtu = 1400

    assert not path.send()


def test_a_smaller_packet_that_passes_does_not():
    path = settled(1500)
    path.mtu = 1400
    path.send()
    path.send(size=1300)

    assert path.send()


def test_lost_packets_of_the_first_size_are_none():
    path = settled(1200)
    lost = SentRecord(1, 40, Instant(path.now), BASE_DATAGRAM, True)

    for _ in range(10):
        path.now += 1
        lost.sent_at = Instant(path.now)
        assert not path.search.on_lost(Instant(path.now), [lost])


def test_a_path_that_swallows_each_size_that_it_seemed_to_carry_ends_at_the_first():
    path = settled(1500)
    for _ in range(20):
        size = path.search.size
        if size == BASE_DATAGRAM:
            break
        path.mtu = 1200
        path.send()
        assert path.send()
        path.mtu = 1500
        path.run(5)
        assert path.search.size < size

    assert path.search.size == BASE_DATAGRAM


@given(st.integers(1228, 70_000), st.booleans(), st.lists(st.integers(1248, 70_000), max_size=5))
def test_whatever_the_path_becomes_the_search_settles_at_what_it_carries(mtu, is_ipv6, changes):
    path = settled(mtu, is_ipv6)
    for other in changes:
        path.mtu = other
        for _ in range(3):
            path.send()
        path.run(RAISE_AFTER_S + 60)

        assert path.carries(path.search.size) or path.search.size == BASE_DATAGRAM
        assert all(size % 8 == 0 and size <= MAX_DATAGRAM for size in path.sizes)
        higher = [size for size in path.search._sizes if size > path.search.size]
        assert not higher or not path.carries(higher[0])
    assert len(path.probes) < 60 * (1 + len(changes))
