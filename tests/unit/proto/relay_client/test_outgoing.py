"""Whether what we send to a relay arrives: stuck is told from slow, from paused and from idle."""

import pytest

from tunnel.errors import RelaySilent
from tunnel.proto.relay_client.outgoing import (
    FIRST_LOOK_S,
    STUCK_S,
    Outgoing,
    Unacknowledged,
    smaller_segments,
)
from tunnel.units import Instant


def watch(seen, seconds=60.0):
    """Write once and let `seen` tell what the kernel knows at a time; return when looking ended."""
    outgoing, now = Outgoing(), Instant(0.0)
    outgoing.wrote(now)
    while (look_at := outgoing.next_timeout()) is not None and look_at <= seconds:
        now = look_at
        outgoing.looked(now, seen(now))
    return now


def test_what_is_sent_again_and_again_in_vain_ends_the_connection():
    with pytest.raises(RelaySilent, match="has not received what we sent for 4 s"):
        watch(lambda now: Unacknowledged(12, 5000, repeats=5))


def test_a_slow_line_that_takes_a_little_all_the_time_is_waited_for():
    assert watch(lambda now: Unacknowledged(40, int(now * 500), repeats=3)) == 60.0


def test_a_relay_that_reads_nothing_has_nothing_unacknowledged_and_is_waited_for():
    assert watch(lambda now: Unacknowledged(0, 5000, repeats=0)) == FIRST_LOOK_S


def test_a_long_round_trip_without_repeats_is_waited_for():
    acknowledged_at = 2 * STUCK_S
    seen = lambda now: Unacknowledged(12 * (now < acknowledged_at), 0, repeats=1)  # noqa: E731

    assert watch(seen) == acknowledged_at


def test_a_system_that_tells_nothing_is_not_asked_again():
    assert watch(lambda now: None) == FIRST_LOOK_S


def test_segments_become_smaller_down_to_what_every_network_passes():
    sizes = [None]
    for _ in range(3):
        sizes.append(smaller_segments(sizes[-1]))

    assert sizes == [None, 1200, 536, 536]
