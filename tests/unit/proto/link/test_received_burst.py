"""Reads that follow each other become one burst, where they are datagrams of one kind."""

import pytest

from tunnel.proto.link.received_burst import LEAST_JOINED, MAX_READ, ReceivedBurst

BULK, GENERAL = 0x81, 0x82


def read(burst: ReceivedBurst, size: int, kind: int = BULK, segment_size: int = 0) -> bool:
    """Put a read into the burst as a lane does; tells whether it was joined."""
    burst.free[:size] = bytes([kind]) + bytes([size % 251]) * (size - 1)
    if burst.try_join(size, segment_size or size):
        return True
    burst.begin_with_last(size, segment_size or size)
    return False


def test_equal_datagrams_are_joined_and_a_shorter_one_is_the_last():
    burst = ReceivedBurst()
    assert not read(burst, 1400)

    assert read(burst, 1400)
    assert read(burst, 1200)

    assert [len(datagram) for datagram in burst.datagrams()] == [1400, 1400, 1200]
    assert burst.is_complete
    assert not read(burst, 1400)
    assert [len(datagram) for datagram in burst.datagrams()] == [1400]


def test_what_the_kernel_joined_is_joined_further():
    burst = ReceivedBurst()
    read(burst, 4200, segment_size=1400)

    assert read(burst, 2800, segment_size=1400)
    assert read(burst, 2000, segment_size=1400)

    assert [len(datagram) for datagram in burst.datagrams()] == [1400] * 6 + [600]


@pytest.mark.parametrize(
    ("size", "kind", "segment_size"),
    [(1408, BULK, 0), (1400, GENERAL, 0), (2400, BULK, 1200), (200, BULK, 100)],
    ids=[
        "longer",
        "another type of packet",
        "joined by the kernel in another size",
        "two short ones joined by the kernel",
    ],
)
def test_another_kind_of_datagram_begins_a_new_burst(size, kind, segment_size):
    burst = ReceivedBurst()
    read(burst, 1400)

    assert not read(burst, size, kind, segment_size)

    assert burst.size == size
    assert burst.memory[0] == kind
    assert bytes(burst.view[1:size]) == bytes([size % 251]) * (size - 1)


def test_a_short_datagram_is_complete_by_itself():
    burst = ReceivedBurst()

    read(burst, LEAST_JOINED - 1)

    assert burst.is_complete


@pytest.mark.parametrize(("size", "count"), [(1000, 1), (1001, 2), (2000, 2), (2999, 3)])
def test_the_last_datagram_counts_however_short_it_is(size, count):
    burst = ReceivedBurst()

    burst.set(size, 1000)

    assert burst.count == count == len(list(burst.datagrams()))


def test_there_is_always_room_for_the_largest_read():
    burst = ReceivedBurst()
    for size in (1000, 1400, 8864, 32_000, MAX_READ):
        burst.size = 0
        read(burst, size)
        while not burst.is_complete:
            assert len(burst.free) >= MAX_READ
            assert read(burst, size)
        assert len(burst.free) >= MAX_READ
        assert burst.layout(16) is None or burst.size <= burst.layout(16).slots * size
