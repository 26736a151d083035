"""Back-off: quadratic, capped, jittered, forgotten on success."""

import pytest

from tunnel.proto.relay_client.backoff import CAP_S, Backoff


def delays(byte, count):
    backoff = Backoff(lambda size: bytes([byte]) * size)
    return [backoff.next_delay() for _ in range(count)]


def test_delays_grow_with_the_square_of_the_failures_up_to_the_cap():
    middle = delays(0x80, 30)

    assert middle[:3] == pytest.approx([0.01, 0.04, 0.09], rel=0.01)
    assert middle[22:] == pytest.approx([CAP_S] * 8, rel=0.01)


def test_jitter_spreads_each_delay_from_half_to_one_and_a_half():
    assert delays(0x00, 30)[-1] == CAP_S / 2
    assert delays(0xFF, 30)[-1] == pytest.approx(1.5 * CAP_S)


def test_success_starts_over():
    backoff = Backoff(lambda size: b"\x80" * size)
    first = backoff.next_delay()
    backoff.next_delay()

    backoff.reset()

    assert backoff.next_delay() == first
