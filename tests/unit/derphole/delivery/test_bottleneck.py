"""What a transfer waited for most, in words."""

import pytest

from derphole.delivery.bottleneck import PROCESSOR, Bottleneck, Waited


def after(*spent: tuple[float, Waited | None], relay: str | None = None) -> str | None:
    """Return the words after waiting for these, one after the other."""
    now = 100.0
    bottleneck = Bottleneck(now)
    for seconds, waited in spent:
        if waited is not None:
            bottleneck.wait(now, waited)
        now += seconds
        bottleneck.go_on(now)
    return bottleneck.words(now, relay)


@pytest.mark.parametrize("waited", list(Waited))
def test_what_took_more_than_half_of_the_time_is_named(waited):
    assert after((6.0, waited), (3.0, None)) == waited.value


def test_nothing_is_named_that_took_less():
    assert after((4.0, Waited.SOURCE), (4.0, Waited.NETWORK), (1.0, None)) is None


def test_nothing_is_said_of_a_short_transfer():
    assert after((4.9, Waited.SOURCE)) is None


def test_time_without_waiting_is_the_processor_s():
    assert after((2.0, Waited.SOURCE), (8.0, None)) == PROCESSOR
    assert after((10.0, None)) == PROCESSOR


def test_a_network_that_is_a_relay_is_named_with_the_reason():
    spent = ((9.0, Waited.NETWORK), (1.0, None))
    assert after(*spent, relay="--force-relay was given") == "the relay (--force-relay was given)"
    assert after((9.0, Waited.SOURCE), relay="it was lost") == Waited.SOURCE.value


def test_what_is_waited_for_is_known_meanwhile_and_may_turn_out_to_be_something_else():
    bottleneck = Bottleneck(100.0)
    assert bottleneck.waits_for is None

    bottleneck.wait(100.0, Waited.NETWORK)
    assert bottleneck.waits_for is Waited.NETWORK
    bottleneck.go_on(109.0, Waited.OTHER_SINK)

    assert bottleneck.waits_for is None
    assert bottleneck.words(110.0, None) == Waited.OTHER_SINK.value
