"""The relay's window; the simulated world shows it at work."""

from tunnel.proto.congestion import (
    FIRST_RELAY_FRAME,
    MAX_RELAY_FRAME,
    POLITE_AFTER,
    POLITE_WINDOW,
    RelayController,
)
from tunnel.proto.loss import SentRecord
from tunnel.proto.rtt import RttEstimator
from tunnel.units import Instant

NOW = Instant(0)
RTT = RttEstimator()


def records(size):
    """Return what was sent as one packet of `size` bytes."""
    return [SentRecord(0, 1, NOW, size, is_ack_eliciting=True)]


def test_two_small_frames_before_the_first_answer():
    controller = RelayController(24, is_polite=False)

    assert controller.packet_size() == FIRST_RELAY_FRAME
    assert controller.may_send(NOW, 1, 1 << 30)
    assert not controller.may_send(NOW, 2, 0)
    assert not RelayController(1, is_polite=False).may_send(NOW, 1, 0)


def test_then_the_grant():
    controller = RelayController(24, is_polite=False)
    controller.on_acked(NOW, records(100), RTT)
    controller.on_lost(NOW, records(1 << 20))

    assert controller.packet_size() == MAX_RELAY_FRAME
    assert controller.may_send(NOW, 23, 1 << 30)
    assert not controller.may_send(NOW, 24, 0)
    assert controller.next_send_at(NOW) is None


def test_a_polite_window_after_the_start_and_always_one_frame():
    controller = RelayController(24, is_polite=True)
    controller.on_acked(NOW, records(POLITE_AFTER), RTT)
    assert controller.may_send(NOW, 10, POLITE_WINDOW)

    controller.on_acked(NOW, records(1), RTT)

    assert controller.may_send(NOW, 3, POLITE_WINDOW - MAX_RELAY_FRAME)
    assert not controller.may_send(NOW, 3, POLITE_WINDOW - MAX_RELAY_FRAME + 1)
    assert controller.may_send(NOW, 0, POLITE_WINDOW)
